"""A patch on the people of an image under a fixed grid of conditions, which a robust patch must withstand."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from zlib import crc32

import cv2
import numpy as np
import torch

from physadv.files import text_bytes
from physadv.patch import Patch
from physadv.simulate.activation import Ranges
from physadv.simulate.cloth import CONTROL, Cloth
from physadv.simulate.fast_render import fast_render
from physadv.simulate.garment import FRONT_CM
from physadv.simulate.geometry import FLAT, HINGE, Geometry, GeometryDraw, homography, project, sides_px
from physadv.simulate.light import Light
from physadv.simulate.lit import lit_of
from physadv.simulate.occlusion import Occlusion
from physadv.simulate.placement import Placement, Prints
from physadv.simulate.render import STILL, render, still_draw
from physadv.simulate.spline import spline_basis
from physadv.simulate.states import OF_IMAGE, drawn_state, gain_of, put, relit
from physadv.simulate.world import World, WorldDraw
from physadv.types import Detections, UInt8Array

# How far worn cloth lies from flat, in sides of the piece.
WRINKLES = 0.05
# A condition bends a print by a grid of so many points a side.
BENT = 4


@dataclass(frozen=True, slots=True)
class Condition:
    """One cell of the robust grid, or of `FOLDS`.

    Of the print: turn and yaw in degrees, brightness added, contrast multiplied about mid grey, bend (thin-plate spline, in
    sides), covered (share of its area hidden), fold (how high the part below the hips is seen, of its own height, as of
    whoever sits or walks; of prints down to the thighs alone). Of the whole image, at the size at which the detector sees
    it where it is larger: blur (sigma in pixels), jpeg (quality), shrink (resolution kept).
    """

    name: str = ""
    turn: float = 0.0
    yaw: float = 0.0
    brightness: float = 0.0
    contrast: float = 1.0
    bend: float = 0.0
    covered: float = 0.0
    fold: float = 1.0
    blur: float = 0.0
    jpeg: int = 0
    shrink: float = 1.0
    state: tuple[tuple[str, Ranges], ...] = ()

    @property
    def of_image(self) -> bool:
        """Return whether the image changes even without a patch."""
        return bool(self.blur or self.jpeg or self.shrink != 1.0) or any(name in OF_IMAGE for name, _ in self.state)

    def turned(self, prints: Prints, aspect: float) -> Prints:
        """Return the prints turned in their plane, then about the vertical through their centre, seen in perspective.

        All pieces of one part of a person are turned with the first, sleeves with the shirt's front, each half of a leg by
        itself. aspect: width over height of the first, lying flat: a print that is no square is turned and not sheared.
        """
        if self.turn == 0 and self.yaw == 0:
            return prints
        _, first, group = np.unique(
            np.stack([prints.person, prints.part]), axis=1, return_index=True, return_inverse=True
        )
        front = prints.quads[first[group]].astype(np.float64)
        a, b, _, d = front.transpose(1, 0, 2)
        # Seen from its edge there is nothing to turn.
        seen = np.abs(np.linalg.det(np.stack([b - a, d - a], 1))) >= 4e-6
        if not seen.any():
            return prints
        zero = torch.zeros(1, dtype=torch.float64)
        pose = GeometryDraw(
            turn=zero + math.radians(self.turn),
            yaw=zero + math.radians(self.yaw),
            pitch=zero,
            scale=zero + 1,
            shift=torch.zeros(1, 2).double(),
            fold=torch.tensor([FLAT]),
        )
        quads = torch.from_numpy(front[seen])
        width, height = sides_px(quads).unbind(1)
        aspects = torch.where(torch.from_numpy(prints.part[seen] == 0), zero + aspect, width / height.clamp_min(1e-6))
        corners = Geometry().corners(pose, aspects)
        plane = homography(quads)
        turned = homography(project(plane, corners)) @ torch.linalg.inv(plane)
        out = prints.quads.copy()
        out[seen] = project(turned, torch.from_numpy(out[seen].astype(np.float64))).numpy()
        return replace(prints, quads=out)

    def drawn(self, count: int, rng: np.random.Generator | None, *, cloth: bool) -> tuple[World, WorldDraw]:
        """Return what the renderer does to `count` prints, and how.

        cloth: whether they are pieces of cloth, which lie in wrinkles in any case but that of no `rng`, no chance.
        """
        draw = still_draw(count)
        parts: dict[str, Light | Cloth | Occlusion] = {}
        if self.brightness or self.contrast != 1:
            parts["light"] = Light(strength=1)
            offset = 0.5 * (1 - self.contrast) + self.brightness
            lit = replace(draw.light, gain=draw.light.gain * self.contrast, offset=torch.full((count, 3), offset))
            draw = replace(draw, light=lit)
        bend = self.bend or (WRINKLES if cloth else 0.0)
        if bend and rng is not None:
            parts["cloth"] = Cloth(strength=1)
            # Cloth counts in half sides.
            moved = torch.from_numpy(rng.uniform(-2 * bend, 2 * bend, (count, BENT * BENT, 2))).float()
            draw = replace(draw, cloth=replace(draw.cloth, control=_bending() @ moved))
        if self.fold != 1:
            folded = torch.tensor([[sum(HINGE) / 2, self.fold, 0.0]]).expand(count, 3)
            draw = replace(draw, geometry=replace(draw.geometry, fold=folded))
        if self.covered and rng is not None:
            parts["erase"] = Occlusion(strength=1)
            # A square hole, as an arm or a bag would make.
            side = 2 * math.sqrt(self.covered)
            corner = rng.uniform(-1, 1 - side, (count, 1, 2))
            hole = torch.from_numpy(np.concatenate([corner, corner + side], 2)).float()
            draw = replace(draw, erase=replace(draw.erase, blocks=torch.cat([hole, draw.erase.blocks[:, 1:]], 1)))
        return (STILL.model_copy(update=parts) if parts else STILL), draw


PLAIN = Condition()
GRID_SEED = 0
ROBUST: tuple[Condition, ...] = (
    Condition("rotation 10", turn=10),
    Condition("rotation 20", turn=20),
    Condition("brightness -.1", brightness=-0.1),
    Condition("brightness +.1", brightness=0.1),
    Condition("contrast .8", contrast=0.8),
    Condition("contrast 1.2", contrast=1.2),
    Condition("blur 1 px", blur=1),
    Condition("blur 2 px", blur=2),
    Condition("JPEG 60", jpeg=60),
    Condition("half resolution", shrink=0.5),
    Condition("TPS .1", bend=0.1),
    Condition("yaw 15", yaw=15),
    Condition("yaw 30", yaw=30),
    Condition("occlusion .1", covered=0.1),
    Condition("occlusion .2", covered=0.2),
    Condition("occlusion .3", covered=0.3),
)
# Beside the grid and not in it: a fold changes tall prints alone, and means over the grid compare patterns of all shapes.
FOLDS: tuple[Condition, ...] = (
    Condition("folded to .9", fold=0.9),
    Condition("folded to .7", fold=0.7),
    Condition("folded to .5", fold=0.5),
)


def chance_of(name: str, *, seed: int, condition: Condition = PLAIN) -> np.random.Generator:
    """Return the generator for the image of that name: the same wherever it stands in a list, so scores agree.

    seed: of the plain image; the conditions of the grid are the same for everybody.
    """
    return np.random.default_rng([seed if condition == PLAIN else GRID_SEED, crc32(text_bytes(name))])


def apply_patch(
    pixels: UInt8Array,
    people: Detections,
    patch: Patch | None,
    placement: Placement | None,
    condition: Condition = PLAIN,
    *,
    rng: np.random.Generator | None,
    imgsz: int,
    lit: bool = False,
) -> UInt8Array:
    """Return an image (h, w, 3) uint8 RGB whose people all wear a patch, under a condition.

    people: boxes and keypoints of those who wear it; their scores are not looked at. patch: None for nothing. rng: decides
    what chance there is; None leaves it out, so that cloth is cut from its corner and lies flat. imgsz: long side in pixels
    at which the detector sees an image. lit: whether prints take light, blur and noise of the cloth under them, as in the
    live demo, without wrinkles; under a condition of the grid they do not, as that is what is done to them.
    """
    values = drawn_state(dict(condition.state), rng)
    if patch is not None and placement is not None and len(people):
        placement = placement.shaped(patch)
        cloth = placement.cloth
        prints = placement.prints(people, rng, image=(pixels.shape[1], pixels.shape[0]))
        prints = condition.turned(prints, FRONT_CM[0] / FRONT_CM[1] if cloth else placement.width / placement.height)
        if lit and condition == PLAIN:
            return fast_render(pixels, patch, prints, lit_of(pixels, people.xyxy, prints))
        # Placed by the box, as in the street, nothing says that a print hangs down to the thighs.
        prints = replace(prints, folds=np.full(len(prints), patch.target == "portrait"))
        world, draw = condition.drawn(len(prints), rng, cloth=cloth)
        if values:
            shown = put(values, prints, draw, aspect=placement.aspect)
            prints, draw = shown.prints, shown.draw
        pixels = render(pixels, patch, prints, world=world, draw=draw)
    if values:
        pixels = relit(pixels, gain_of(values)[0])
    return filmed(pixels, condition, imgsz)


@lru_cache(maxsize=1)
def _bending() -> torch.Tensor:
    """Return (25, 16): how far each control point of `Cloth` moves when one of the condition's points moves by one."""
    coarse, fine = (torch.linspace(-1, 1, n, dtype=torch.float64) for n in (BENT, CONTROL))
    with torch.inference_mode(False):
        grids = [torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).reshape(-1, 2) for line in (coarse, fine)]
        return spline_basis(*grids).float()


def filmed(pixels: UInt8Array, condition: Condition, imgsz: int) -> UInt8Array:
    """Return the image as a worse camera would give it: blurred, at lower resolution, compressed.

    imgsz: long side at which the detector sees it. A larger image is changed at that size and enlarged again: two pixels
    of blur on a photograph of twelve megapixels would be none by the time that it is looked at.
    """
    if not condition.of_image:
        return pixels
    h, w = pixels.shape[:2]
    ratio = imgsz / max(h, w)
    out = pixels
    if ratio < 1:
        # By the detector's own way of shrinking, so that the effect is all that differs.
        seen = (max(1, round(w * ratio)), max(1, round(h * ratio)))
        out = cv2.resize(out, seen, interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    if condition.blur:
        out = cv2.GaussianBlur(out, (0, 0), condition.blur)  # type: ignore[assignment]
    if condition.shrink != 1:
        size = out.shape[1::-1]
        small = (max(1, round(size[0] * condition.shrink)), max(1, round(size[1] * condition.shrink)))
        reduced = cv2.resize(out, small, interpolation=cv2.INTER_AREA)
        out = cv2.resize(reduced, size, interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    if condition.jpeg:
        _, data = cv2.imencode(".jpg", out[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, condition.jpeg])
        out = np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB))
    return out if ratio >= 1 else np.asarray(cv2.resize(out, (w, h), interpolation=cv2.INTER_LINEAR), np.uint8)
