"""The simulated world: a pattern printed, worn, lit, pasted on people and photographed, as one differentiable step."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from pydantic import Field, SerializeAsAny

from physadv.settings import Settings
from physadv.simulate.cloth import Cloth, ClothDraw
from physadv.simulate.erase import Erase, EraseDraw
from physadv.simulate.geometry import Geometry, GeometryDraw
from physadv.simulate.ink import Ink, InkDraw
from physadv.simulate.light import Light, LightDraw
from physadv.simulate.paste import Prints, composite, levels
from physadv.simulate.sensor import Sensor, SensorDraw
from physadv.simulate.transform import Draw, Transform

# Weight of a transparent texel's colour beside that of an opaque one's.
FAINT = 1e-4
# What chance decides for each print; the sensor's part is decided for each image.
PER_PRINT = ("ink", "cloth", "geometry", "light", "erase")


@dataclass(frozen=True, slots=True, eq=False)
class WorldDraw:
    """What chance decided for one batch: a row for each print, and for each image in `sensor`."""

    ink: InkDraw
    cloth: ClothDraw
    geometry: GeometryDraw
    light: LightDraw
    erase: EraseDraw
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

    strength is set per transform; `World.of(x)` sets all of them at once.
    """

    ink: SerializeAsAny[Ink] = Field(default_factory=lambda: Ink(strength=1.0))
    cloth: Cloth = Field(default_factory=lambda: Cloth(strength=1.0))
    geometry: Geometry = Field(default_factory=lambda: Geometry(strength=1.0))
    light: Light = Field(default_factory=lambda: Light(strength=1.0))
    erase: Erase = Field(default_factory=lambda: Erase(strength=1.0))
    sensor: Sensor = Field(default_factory=lambda: Sensor(strength=1.0))

    @classmethod
    def of(cls, strength: float) -> World:
        """Return a world all of whose dials stand at `strength`; 0 pastes the pattern and does nothing else."""
        return cls(
            ink=Ink(strength=strength),
            cloth=Cloth(strength=strength),
            geometry=Geometry(strength=strength),
            light=Light(strength=strength),
            erase=Erase(strength=strength),
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
        posed = self.geometry.quads(prints.quads, draw.geometry) if len(prints) else prints.quads
        # An arm that is not drawn to be in front has no radius.
        arms = torch.cat([prints.arms[..., :4], prints.arms[..., 4:] * draw.erase.arms[..., None]], -1)
        prints = Prints(prints.owner, posed, prints.rank, arms, prints.window)
        pattern = torch.cat([self.ink.printed(pattern[:3]), pattern[3:]])
        texels = prints.window[:, 2:].prod(1).sqrt() * (pattern.shape[-2] * pattern.shape[-1]) ** 0.5
        groups = []
        halvings = levels(posed, texels)
        # Ink, cloth and light work on the whole pattern or on its first halving, for all smaller prints at once: a few
        # more texels, far fewer operations.
        for fine in (True, False):
            index = ((halvings == 0) == fine).nonzero().squeeze(1)
            if len(index) == 0:
                continue
            tiles = self.tiles(pattern, prints.window[index], 0 if fine else 1, draw.prints(index))
            for level in sorted(set(halvings[index].tolist())):
                rows = (halvings[index] == level).nonzero().squeeze(1)
                groups.append((index[rows], halved(tiles[rows], max(level - 1, 0))))
        return self.sensor.apply(composite(images, prints, groups), draw.sensor)

    def tiles(self, pattern: torch.Tensor, window: torch.Tensor, level: int, draw: WorldDraw) -> torch.Tensor:
        """Return prints (m, 4, h, w) of the printed pattern at `level` halvings: inked, worn, lit, partly hidden."""
        shown = show(halved(pattern[None], level), window)
        colour = self.ink.vary(shown[:, :3], draw.ink)
        opacity = shown[:, 3:]
        if self.cloth.strength:
            # Opacity keeps its outline: cloth moves the colours within it, geometry has moved the outline.
            colour = self.cloth.apply(colour, draw.cloth)
        colour = self.light.apply(colour, draw.light)
        return self.erase.apply(torch.cat([colour, opacity], 1), draw.erase)


def halved(pattern: torch.Tensor, level: int) -> torch.Tensor:
    """Return patterns (m, 4, p, q), colour and opacity, after `level` halvings.

    Each texel is the mean of those it stands for, of colours weighted by their opacity: what is outside a mask was never
    trained and is not printed, and must not tint the edge. Where nothing is opaque the colours' plain mean stays.
    """
    if level == 0:
        return pattern
    opacity = pattern[:, 3:]
    if bool((opacity == 1).all()):
        return _mean(pattern, level)
    weight = opacity + FAINT
    sums = _mean(torch.cat([pattern[:, :3] * weight, opacity], 1), level)
    return torch.cat([sums[:, :3] / (sums[:, 3:] + FAINT), sums[:, 3:]], 1)


def _mean(images: torch.Tensor, level: int) -> torch.Tensor:
    p, q = images.shape[-2:]
    if p % 2**level == 0 and q % 2**level == 0:
        return F.avg_pool2d(images, 2**level)
    return F.interpolate(images, size=(max(p >> level, 1), max(q >> level, 1)), mode="area")


def show(pattern: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    """Return (m, c, h, w): the window of each print, cut from pattern (1, c, p, q) that repeats without end."""
    whole = torch.tensor([0.0, 0, 1, 1], device=window.device)
    if bool((window == whole).all()):
        return pattern.expand(len(window), -1, -1, -1)
    p, q = pattern.shape[-2:]
    h, w = (max(round(float(window[:, i].max()) * s), 1) for i, s in ((3, p), (2, q)))
    x = window[:, :1] + (torch.arange(w, device=window.device) + 0.5) / w * window[:, 2:3]
    y = window[:, 1:2] + (torch.arange(h, device=window.device) + 0.5) / h * window[:, 3:]
    # One texel of the far side at each edge, so that interpolation runs on across the seam.
    padded = F.pad(pattern, (1, 1, 1, 1), mode="circular").expand(len(window), -1, -1, -1)
    x, y = ((t % 1 * s + 1) / (s + 2) * 2 - 1 for t, s in ((x, q), (y, p)))
    grid = torch.stack([x[:, None].expand(-1, h, -1), y[:, :, None].expand(-1, -1, w)], -1)
    return F.grid_sample(padded, grid.to(pattern), align_corners=False)
