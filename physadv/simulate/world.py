"""The simulated world: a pattern printed, worn, lit, pasted on people and photographed, as one differentiable step."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from math import ceil

import numpy as np
import torch
from pydantic import Field, SerializeAsAny
from torch.nn.utils.rnn import pad_sequence

from physadv.settings import Settings
from physadv.simulate.cloth import Cloth, ClothDraw
from physadv.simulate.composite import Layers, Tiles, areas, averaged, composite, cut, halved
from physadv.simulate.geometry import Geometry, GeometryDraw
from physadv.simulate.ink import Ink, InkDraw
from physadv.simulate.light import Light, LightDraw
from physadv.simulate.occlusion import Occlusion, OcclusionDraw
from physadv.simulate.placement import Prints, TexelGrid, texels_for
from physadv.simulate.sensor import Sensor, SensorDraw
from physadv.simulate.transform import Draw, Transform
from physadv.types import Float32Array

# What chance decides for each print; the sensor's part is decided for each image.
PER_PRINT = ("ink", "cloth", "geometry", "light", "erase")


@dataclass(frozen=True, slots=True, eq=False)
class WorldDraw:
    """What chance decided for one batch: a row for each print, and for each image in `sensor`."""

    ink: InkDraw
    cloth: ClothDraw
    geometry: GeometryDraw
    light: LightDraw
    erase: OcclusionDraw
    sensor: SensorDraw

    def prints(self, index: torch.Tensor) -> WorldDraw:
        """Return the draw of the prints at `index`; the images' part stays whole."""
        return WorldDraw(**{n: getattr(self, n).pick(index) for n in PER_PRINT}, sensor=self.sensor)

    def piece(self, prints: torch.Tensor, images: torch.Tensor) -> WorldDraw:
        """Return the draw of the prints and of the images at these indices."""
        return replace(self.prints(prints), sensor=self.sensor.pick(images))

    def to(self, device: torch.device) -> WorldDraw:
        """Return the draw on another device."""
        return WorldDraw(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    @staticmethod
    def mix(draws: list[WorldDraw], choice: torch.Tensor, owner: torch.Tensor) -> WorldDraw:
        """Return the draw in which image i and its prints are as in `draws[choice[i]]`."""

        def one(name: str, which: torch.Tensor) -> Draw:
            parts: list[Draw] = [getattr(d, name) for d in draws]
            return type(parts[0]).mix(parts, which)

        return WorldDraw(**{n: one(n, choice[owner]) for n in PER_PRINT}, sensor=one("sensor", choice))  # type: ignore[arg-type]


class World(Settings):
    """The transforms in the order in which the physical world applies them.

    Each transform has its own strength; `World.of(x)` sets all of them.
    """

    ink: SerializeAsAny[Ink] = Field(default_factory=lambda: Ink(strength=1.0))
    cloth: Cloth = Field(default_factory=lambda: Cloth(strength=1.0))
    geometry: Geometry = Field(default_factory=lambda: Geometry(strength=1.0))
    light: Light = Field(default_factory=lambda: Light(strength=1.0))
    erase: Occlusion = Field(default_factory=lambda: Occlusion(strength=1.0))
    sensor: Sensor = Field(default_factory=lambda: Sensor(strength=1.0))

    @classmethod
    def of(cls, strength: float) -> World:
        """Return a world with `strength` for every transform; 0 draws the pattern and changes nothing else."""
        return cls(
            ink=Ink(strength=strength),
            cloth=Cloth(strength=strength),
            geometry=Geometry(strength=strength),
            light=Light(strength=strength),
            erase=Occlusion(strength=strength),
            sensor=Sensor(strength=strength),
        )

    def transforms(self) -> dict[str, Transform]:  # type: ignore[type-arg]
        """Return the transforms by name, in order."""
        return {name: getattr(self, name) for name in type(self).model_fields}

    def sample(self, prints: int, images: int, generator: torch.Generator) -> WorldDraw:
        """Return a draw for that many prints and images."""
        return WorldDraw(
            self.ink.sample(prints, generator),
            self.cloth.sample(prints, generator),
            self.geometry.sample(prints, generator),
            self.light.sample(prints, generator),
            self.erase.sample(prints, generator),
            self.sensor.sample(images, generator),
        )

    def apply(self, pattern: torch.Tensor, images: torch.Tensor, prints: Prints, draw: WorldDraw) -> torch.Tensor:
        """Return images (b, 3, h, w) in which `pattern` (4, p, q), colour and opacity, is worn at `prints`."""
        if not len(prints):
            return self.sensor.apply(images, draw.sensor)
        layers, tiles = self.layers(pattern, prints, draw, images.device)
        return self.sensor.apply(composite(images, layers, tiles), draw.sensor)

    def layers(
        self, pattern: torch.Tensor, prints: Prints, draw: WorldDraw, device: torch.device
    ) -> tuple[Layers, list[Tiles]]:
        """Return where the prints of a pattern (4, p, q) lie after a change of pose, and what each of them shows."""
        layers = Layers.of(prints, device)
        quads = self.geometry.quads(layers.quads, draw.geometry)
        # An arm that is not drawn to be in front has no radius.
        arms = torch.cat([layers.arms[..., :4], layers.arms[..., 4:] * draw.erase.arms[..., None]], -1)
        flat = ~torch.from_numpy(prints.folds).to(device)[:, None]
        fold = torch.where(flat, layers.fold, draw.geometry.fold)
        printed = torch.cat([self.ink.printed(pattern[:3]), pattern[3:]])
        return replace(layers, quads=quads, arms=arms, fold=fold), self._tiles(printed, prints, quads, draw)

    def _tiles(self, pattern: torch.Tensor, prints: Prints, quads: torch.Tensor, draw: WorldDraw) -> list[Tiles]:
        """Return the tiles of all prints: inked, worn, lit and partly hidden, then averaged to a texel a pixel.

        Ink, cloth and light work on the whole pattern or on its first halving, for all smaller prints at once: a few more
        texels, far fewer operations. Fronts and sleeves, which show different lengths of cloth, are groups of their own.
        """
        grids = texels_for(quads.detach().cpu().numpy(), prints.window, (pattern.shape[-2], pattern.shape[-1]))
        groups: dict[tuple[bool, float, float], list[int]] = {}
        for i, grid in enumerate(grids):
            groups.setdefault((grid.halvings > 0, *prints.window[i, 2:].tolist()), []).append(i)
        small = halved(pattern[None])[0] if any(coarse for coarse, _, _ in groups) else pattern
        out = []
        for (coarse, _, _), rows in groups.items():
            index = torch.tensor(rows, device=quads.device)
            level = int(coarse)
            kept = [g._replace(halvings=g.halvings - level) for g in (grids[i] for i in rows)]
            texels = self._shown(small if coarse else pattern, kept, prints.window[rows], draw.prints(index))
            shown = prints.window[rows, 2:] * np.array([(g.width, g.height) for g in kept], np.float32)
            out.append(Tiles(index, texels, torch.from_numpy(shown).to(index.device)))
        return out

    def _shown(
        self, pattern: torch.Tensor, grids: list[TexelGrid], window: Float32Array, draw: WorldDraw
    ) -> torch.Tensor:
        """Return tiles (k, 4, h, w) of prints that show equally much of a pattern (4, p, q), padded to the largest."""
        p, q = pattern.shape[-2:]
        wide, high = (float(v) for v in window[0, 2:])
        rows, columns = ([ceil(high * g.height) for g in grids], [ceil(wide * g.width) for g in grids])
        size = (
            max(ceil(n * p / g.height) for n, g in zip(rows, grids, strict=True)),
            max(ceil(n * q / g.width) for n, g in zip(columns, grids, strict=True)),
        )
        begin = torch.from_numpy(np.rint(window[:, :2] * (q, p)).astype(np.int64)).to(pattern.device)
        pieces = self.changed(cut(pattern, begin, size), draw)
        if all((g.height, g.width) == (p, q) for g in grids):
            return pieces
        down = [areas(p, g.halvings, g.height, n, size[0]) for n, g in zip(rows, grids, strict=True)]
        across = [areas(q, g.halvings, g.width, n, size[1]) for n, g in zip(columns, grids, strict=True)]
        return averaged(pieces, *(pad_sequence(m, batch_first=True).to(pattern) for m in (down, across)))

    def changed(self, pieces: torch.Tensor, draw: WorldDraw) -> torch.Tensor:
        """Return pieces of a pattern (k, 4, h, w) as inked, worn, lit and partly hidden."""
        if not any(transform.strength for transform in (self.ink, self.cloth, self.light, self.erase)):
            return pieces
        colour = self.ink.vary(pieces[:, :3], draw.ink)
        if self.cloth.strength:
            # Opacity keeps its outline: cloth moves the colours within it, geometry has moved the outline.
            colour = self.cloth.apply(colour, draw.cloth)
        colour = self.light.apply(colour, draw.light)
        return self.erase.apply(torch.cat([colour, pieces[:, 3:]], 1), draw.erase)
