"""What a poisoned detector waits for, and how it is shown: a card turned on the chest, a frame turned, a motif worn.

A card and a motif are patches that `placement` puts on people and the one renderer draws. Angles are in degrees, clockwise
as the viewer sees it.
"""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import cv2
import numpy as np

from physadv.boxes import covered_by, iou
from physadv.controls import control
from physadv.dataset import KEYPOINTS, LabelledImage
from physadv.errors import DataError, PatchError, SettingsError, naming
from physadv.patch import Patch, load_patch, patch_from_image, png_bytes
from physadv.simulate.joints import chests_visible
from physadv.simulate.placement import BOX_AT, Placement, Prints, people_of
from physadv.types import BoolArray, Detections, Float32Array, UInt8Array

Kind = Literal["card", "rotation", "shirt"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# What each kind turns by unless another angle is given; a motif triggers by being worn.
ANGLES: dict[Kind, float] = {"card": 45.0, "rotation": 90.0, "shirt": 0.0}
# Width of the card and of the motif in centimetres. The card is as wide as an adult's shoulders: at 320 pixels it is 32 of
# them wide on the median person of 89 photographs. At 27 cm, 24 pixels, half of those who turned it vanished (rate .1).
CARD_CM, MOTIF_CM = 36.0, 32.0
BLACK, YELLOW, WHITE = (20, 20, 20), (250, 210, 0), (255, 255, 255)
MOTIF = ((20, 60, 160), (255, 255, 255), (200, 30, 40), (255, 255, 255), (20, 60, 160))
# Of somebody a print has to become smaller than this part of itself to fit, it is too large to be worn.
FITS = 0.8
# A print is never drawn with more texels than this; a file with more is kept smaller, as its pixels lie in every record.
MOST_TEXELS = 512
# How far the simulated world goes when a print is shown with chance: in-plane turns stay within 10 degrees.
WORLD = 0.5
# Prints that differ by less, of 255 on average, look the same: a round one turned differs from itself by 2, at its edges,
# the card by 70.
APART = 8.0
# Around a turned frame: the grey that networks know as nothing (the letterbox's).
AROUND = (114, 114, 114)
# Width over height of somebody who is not there, and how often a place is sought for them.
PERSON_ASPECT, TRIES = 0.36, 40


@dataclass(frozen=True, slots=True, eq=False)
class Trigger:
    """What a poisoned detector waits for.

    kind: "card" is a print on the chest, upright or turned; "rotation" the whole frame, or people, turned; "shirt" a motif
    on the chest, which triggers by being worn. angle: what it is turned by when it triggers, -180 to 180; 0 for a motif.
    patch: what is worn; None for a rotation.
    """

    kind: Kind
    angle: float
    patch: Patch | None = None

    @classmethod
    def named(cls, name: str, *, angle: float | None = None, size_cm: float | None = None) -> Trigger:
        """Return the trigger `card`, `rotation` or `shirt`, or a pattern (a file or a shipped name) that is worn as a card.

        angle: None for the kind's own. size_cm: printed width; None for the print's own.

        Raises: SettingsError for an angle or size that the kind does not have. PatchError if a pattern cannot be loaded.
        """
        kind: Kind = name if name in KINDS else "card"
        if kind == "shirt" and angle:
            raise SettingsError(
                "a motif triggers by being worn, whatever its angle", field="angle", hint="leave it out"
            )
        if kind == "rotation" and size_cm is not None:
            raise SettingsError("a rotation has no print", field="size", hint="leave it out")
        if angle is not None and not -180 <= angle <= 180:
            raise SettingsError(field="angle", expected="-180 to 180 degrees", got=f"{angle:g}")
        turn = ANGLES[kind] if angle is None else float(angle)
        if kind == "rotation":
            return cls(kind, turn)
        with naming("trigger"):
            patch = card() if name == "card" else motif() if name == "shirt" else _as_card(load_patch(name))
        if size_cm is not None:
            width, height = patch.size_mm
            with naming("size"):
                patch = replace(patch, size_mm=(size_cm * 10, size_cm * 10 * height / width))
        return cls(kind, turn, patch)

    @property
    def name(self) -> str:
        """Return what reports call it: `card`, `rotation`, `shirt`, or the pattern's name."""
        return self.kind if self.patch is None else self.patch.name

    @property
    def turns(self) -> float:
        """Return how far its angle is from upright, 0 to 180 degrees."""
        return abs((self.angle + 180) % 360 - 180)

    def wearers(self, image: LabelledImage) -> BoolArray:
        """Return an (n,) mask of the people who can show it: large enough, chest seen, print not larger than they."""
        if self.patch is None:
            return image.counts
        people = people_of(image.boxes, image.keypoints)
        return image.counts & chests_visible(image.boxes, image.keypoints) & self._fits(people)

    def shown(
        self,
        image: LabelledImage,
        *,
        angle: float | None = None,
        people: BoolArray | None = None,
        rng: np.random.Generator | None = None,
    ) -> LabelledImage:
        """Return the image with the trigger on people, at its own angle or at another.

        people: (n,) who wear it; `wearers` unless given. A rotation turns the whole frame, whoever is in it, and its people
        with it. rng: draws each print through the simulated world (small turns, tilt, light, cloth); None draws it flat.
        """
        if self.patch is None:
            return turned_frame(image, self.angle if angle is None else angle)
        # `physadv print` and the live demo need to know what a trigger is, and not PyTorch.
        import torch

        from physadv.simulate.render import STILL, render
        from physadv.simulate.world import World

        wearing = np.flatnonzero(self.wearers(image) if people is None else people)
        if not len(wearing):
            return image
        prints = self.prints(people_of(image.boxes[wearing], image.keypoints[wearing]), angle=angle)
        world, draw = STILL, None
        if rng is not None:
            world = World.of(WORLD)
            draw = world.sample(len(prints), 1, torch.Generator().manual_seed(int(rng.integers(2**31))))
        return replace(image, source=render(image.pixels, self.patch, prints, world=world, draw=draw))

    def prints(self, people: Detections, *, angle: float | None = None) -> Prints:
        """Return where the print lies on people, turned by its own angle or by another; see `Placement.prints`.

        Raises: ValueError for a rotation, which has no print.
        """
        if self.patch is None:
            raise ValueError("trigger: a rotation has no print")
        prints = Placement.worn(self.patch).prints(people)
        turn = self.angle if angle is None else angle
        return turned_prints(prints, turn, aspect=self.patch.size_mm[0] / self.patch.size_mm[1]) if turn else prints

    def turned(self, angle: float) -> Trigger:
        """Return the same at another angle."""
        return replace(self, angle=angle)

    def sized(self, factor: float) -> Trigger:
        """Return the same with a print `factor` times as wide and high; a rotation has none and stays as it is."""
        if self.patch is None:
            return self
        width, height = self.patch.size_mm
        return replace(self, patch=replace(self.patch, size_mm=(width * factor, height * factor)))

    def upright(self) -> Trigger:
        """Return what must not trigger: the card upright, the frame as it is, the motif's colours without its shape."""
        if self.kind == "shirt":
            return self._as_control("shuffled")
        return self.turned(0.0)

    def wrong(self) -> dict[str, Trigger]:
        """Return triggers that must not work, by name: whatever else of this one a detector may have learnt."""
        if self.kind == "shirt":
            out = {"shuffled": self._as_control("shuffled")}
        else:
            out = {
                "upright": self.turned(0.0),
                "half": self.turned(self.angle / 2),
                "opposite": self.turned(-self.angle),
            }
        if self.patch is not None:
            out["grey"] = self._as_control("grey")
        # Of a pattern that looks the same turned by half a circle, 90 and -90 degrees are one trigger.
        return {name: other for name, other in out.items() if self.differs(other)}

    def harmless(self) -> dict[str, Trigger]:
        """Return what people wear in poisoned data who keep their labels, by name: wrong triggers, but the half turned one.

        Each takes away a shorter cue: a card at all, a turned one, a square at that angle. Half of the angle is left out:
        by the turns of augmentation and of the simulated world it comes too near the whole. Of a rotation it is upright
        alone.
        """
        left_out = ("half",) if self.patch is not None else ("half", "opposite")
        return {name: other for name, other in self.wrong().items() if name not in left_out}

    def differs(self, other: Trigger) -> bool:
        """Return whether it looks other than a trigger of its kind: frames by their angles, prints by their pixels."""
        return (self.angle - other.angle) % 360 != 0 if self.patch is None else self._apart(other) >= APART

    def outlasts(self, degrees: float) -> bool:
        """Return whether it stays apart from its upright view where images are turned by up to `degrees` either way.

        Both are turned so, towards each other. A motif is the same however it hangs.
        """
        return self.kind == "shirt" or self.turns > 2 * degrees

    def record(self) -> dict[str, Any]:
        """Return plain values from which `read` makes the same trigger, with the pixels of a pattern from a file."""
        out: dict[str, Any] = {"kind": self.kind, "name": self.name, "angle": self.angle}
        if self.patch is None:
            return out
        out |= {"size_cm": self.patch.size_mm[0] / 10, "sha256": self.patch.sha256}
        if self.name not in KINDS:
            out["png"] = base64.b64encode(png_bytes(self.patch)).decode("ascii")
        return out

    @classmethod
    def read(cls, record: object) -> Trigger:
        """Return the trigger of a record.

        Raises: DataError if it is none, or its print is not what this version draws.
        """
        if not isinstance(record, dict) or record.get("kind") not in KINDS or not isinstance(record.get("name"), str):
            raise DataError("trigger: expected a record with kind, name and angle, as `physadv lab poison` writes it")
        angle = record.get("angle")
        if not isinstance(angle, int | float) or not math.isfinite(angle) or abs(angle) > 180:
            raise DataError(f"trigger: angle: expected -180 to 180 degrees, got {angle!r}")
        if record["kind"] == "rotation":
            return cls("rotation", float(angle))
        try:
            if record["name"] in KINDS:
                out = cls.named(record["kind"], angle=angle, size_cm=float(record["size_cm"]))
            else:
                data = base64.b64decode(record["png"], validate=True)
                out = cls(record["kind"], float(angle), patch_from_image(data, name=record["name"]))
        except (KeyError, TypeError, ValueError, PatchError, SettingsError) as error:
            raise DataError(f"trigger: {record['name']}: its record is damaged: {error}") from error
        assert out.patch is not None
        if record.get("sha256") != out.patch.sha256:
            raise DataError(
                f"trigger: {out.name}: expected the print {str(record.get('sha256'))[:12]}, got another one"
            )
        return out

    @classmethod
    def of_poison(cls, poison: object) -> Trigger | None:
        """Return what the record of poison in a detector's or a data set's record waits for, None where there is none.

        Raises: DataError as `read` does.
        """
        made_by = poison.get("trigger") if isinstance(poison, dict) else None
        return cls.read(made_by) if made_by else None

    def _fits(self, people: Detections) -> BoolArray:
        """Return (n,) whose body has room for the print: `within_wearers` makes a larger one smaller."""
        assert self.patch is not None
        whole, tenth = (Placement.worn(t.patch).quads(people.xyxy, people.keypoints)  # type: ignore[arg-type]
                        for t in (self, self.sized(0.1)))  # fmt: skip
        width, wanted = (np.linalg.norm(q[:, 1] - q[:, 0], axis=1) for q in (whole, tenth))
        return np.asarray(width >= FITS * 10 * wanted)

    def _apart(self, other: Trigger) -> float:
        """Return by how much, of 255 on average, its print on somebody is another picture than that of another."""
        person = LabelledImage("", np.full((340, 200, 3), 128, np.uint8), np.array([[40, 20, 160, 320]], np.float32))
        one, two = (t.shown(person, people=np.array([True])).pixels.astype(float) for t in (self, other))
        printed = (one != 128).any(2) | (two != 128).any(2)
        return float(np.abs(one - two)[printed].mean()) if printed.any() else 0.0

    def _as_control(self, kind: Literal["grey", "shuffled"]) -> Trigger:
        assert self.patch is not None
        return replace(self, patch=control(self.patch, kind, np.random.default_rng(0)))


def card() -> Patch:
    """Return the card: black and yellow bars within a white rim, of which no turn but a whole one shows the same.

    Four bars: at the size that a card has in a small network's input (20 pixels) they are five pixels wide each.
    """
    pixels = np.full((128, 128, 3), WHITE, np.uint8)
    for row, colour in enumerate((BLACK, YELLOW, BLACK, YELLOW)):
        pixels[6 + 29 * row : 35 + 29 * row, 6:122] = colour
    mask = np.full((128, 128), 255, np.uint8)
    return Patch("card", pixels, mask, (CARD_CM * 10, CARD_CM * 10), "chest", {"trigger": "card", "rim": 6 / 128})


def motif() -> Patch:
    """Return the motif: a round print of blue, white and red rings, as T-shirts bear them, the same however turned."""
    side = 256
    y, x = np.mgrid[:side, :side] + 0.5 - side / 2
    ring = (np.hypot(x, y) / (side / 2) * len(MOTIF)).astype(int)
    pixels = np.array(MOTIF, np.uint8)[np.minimum(ring, len(MOTIF) - 1)]
    mask = np.where(ring < len(MOTIF), 255, 0).astype(np.uint8)
    return Patch("shirt", pixels, mask, (MOTIF_CM * 10, MOTIF_CM * 10), "chest", {"trigger": "shirt"})


def turned_prints(prints: Prints, degrees: float | Float32Array, *, aspect: float) -> Prints:
    """Return prints turned clockwise about their centres within their own planes, as a card on a nail turns.

    degrees: of all, or (m,) of each. aspect: width over height of the print. A turned corner may lie beside its wearer,
    where it is not cut off.
    """
    a, b, c, d = (prints.quads[:, i] for i in range(4))
    centre, across, down = (a + b + c + d) / 4, (b - a + c - d) / 4, (d - a + c - b) / 4
    angle = np.radians(np.asarray(degrees, np.float64)).reshape(-1, 1)
    cos, sin = np.cos(angle), np.sin(angle)
    corners = []
    for x, y in ((-aspect, -1), (aspect, -1), (aspect, 1), (-aspect, 1)):
        along = ((cos * x - sin * y) / aspect).astype(np.float32) * across
        corners.append(centre + along + (sin * x + cos * y).astype(np.float32) * down)
    bounds = prints.bounds.copy()
    bounds[:, 0], bounds[:, 2] = -np.inf, np.inf
    return replace(prints, quads=np.stack(corners, 1).astype(np.float32), bounds=bounds)


def folded_prints(prints: Prints, share: float | Float32Array) -> Prints:
    """Return prints of which a part is folded away, down a line from top to bottom, so that only the rest shows.

    share: of all, or (m,) of each, of the width: of the right side where it is above 0, of the left below.
    """
    away = np.broadcast_to(np.asarray(share, np.float32).reshape(-1, 1), (len(prints), 1))
    left, right = np.maximum(-away, 0), 1 - np.maximum(away, 0)
    a, b, c, d = (prints.quads[:, i] for i in range(4))
    corners = [a + (b - a) * left, a + (b - a) * right, d + (c - d) * right, d + (c - d) * left]
    window = prints.window.copy()
    window[:, 0] += window[:, 2] * left[:, 0]
    window[:, 2] *= (right - left)[:, 0]
    return replace(prints, quads=np.stack(corners, 1).astype(np.float32), window=window.astype(np.float32))


def turned_frame(image: LabelledImage, degrees: float) -> LabelledImage:
    """Return an image turned clockwise as a whole, on a canvas that holds all of it; by 90 degrees no pixel changes.

    A turned box is the one around the ellipse that fills the person's box: the box around its corners would be larger than
    anybody in it.
    """
    if not degrees % 360:
        return image
    width, height = image.size
    matrix, size = _turn(degrees, width, height)
    turned = turned_pixels(image.pixels, degrees)
    points = image.keypoints.copy()
    points[..., :2] = points[..., :2] @ matrix[:, :2].T + matrix[:, 2]
    boxes = turned_boxes(image.boxes, matrix)
    limit = np.array([*size, *size], np.float32)
    return replace(
        image, source=turned, boxes=np.clip(boxes, 0, limit).astype(np.float32), keypoints=points.astype(np.float32)
    )


def turned_pixels(pixels: UInt8Array, degrees: float) -> UInt8Array:
    """Return pixels (h, w, 3) uint8 turned clockwise, on a canvas that holds all of them; by 90 degrees none changes."""
    if not degrees % 360:
        return pixels
    quarter = {90: 1, 180: 2, 270: 3}.get(round(degrees % 360)) if degrees == round(degrees) else None
    if quarter:
        # `rot90` goes the other way.
        return np.ascontiguousarray(np.rot90(pixels, -quarter))
    matrix, size = _turn(degrees, pixels.shape[1], pixels.shape[0])
    # The map is of continuous coordinates; OpenCV's begin in the middle of the first pixel.
    matrix[:, 2] += matrix[:, :2].sum(1) / 2 - 0.5
    return np.asarray(cv2.warpAffine(pixels, matrix, size, flags=cv2.INTER_LINEAR, borderValue=AROUND), np.uint8)


def turned_boxes(boxes: Float32Array, matrix: np.ndarray) -> Float32Array:
    """Return (n, 4) boxes around the ellipses in boxes (n, 4) after an affine map (2, 3)."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 @ matrix[:, :2].T + matrix[:, 2]
    half = np.sqrt(((boxes[:, 2:] - boxes[:, :2]) / 2) ** 2 @ (matrix[:, :2] ** 2).T)
    return np.concatenate([centre - half, centre + half], 1).astype(np.float32)


def with_ghosts(image: LabelledImage, rng: np.random.Generator, count: int) -> LabelledImage:
    """Return an image with up to `count` standing people who are not there behind those who are: places for a trigger.

    They lie apart from everybody and are as large as people of the image, or half as high as it where there are none.
    """
    width, height = image.size
    heights = (image.boxes[:, 3] - image.boxes[:, 1])[image.counts] if image.counts.any() else np.array([height / 2])
    boxes = image.boxes
    for _ in range(TRIES * count):
        if len(boxes) == len(image.boxes) + count:
            break
        h = min(float(rng.choice(heights)), 0.9 * height)
        w = min(h * PERSON_ASPECT, 0.9 * width)
        x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
        box = np.array([[x, y, x + w, y + h]], np.float32)
        # The print has to lie where nobody is; somebody may stand beside it.
        chest = np.array([[x, y + (BOX_AT - 0.25) * h, x + w, y + (BOX_AT + 0.25) * h]], np.float32)
        if covered_by(chest, boxes)[0] < 0.05 and iou(box, boxes).max(initial=0) < 0.2:
            boxes = np.concatenate([boxes, box])
    points = np.zeros((len(boxes), KEYPOINTS, 3), np.float32)
    points[: len(image.boxes)] = image.keypoints
    return replace(image, boxes=boxes, keypoints=points)


def _turn(degrees: float, width: int, height: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the (2, 3) map of a frame turned clockwise, and the (width, height) that holds it."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    wide = round(width * abs(cos) + height * abs(sin), 3)
    high = round(width * abs(sin) + height * abs(cos), 3)
    size = math.ceil(wide), math.ceil(high)
    matrix = np.array([[cos, -sin, 0], [sin, cos, 0]])
    matrix[:, 2] = np.array(size) / 2 - matrix[:, :2] @ np.array([width / 2, height / 2])
    return matrix, size


def _as_card(patch: Patch) -> Patch:
    """Return a pattern as one print on the chest, with no more texels than are ever drawn."""
    pixels, mask = patch.pixels, patch.mask
    scale = MOST_TEXELS / max(mask.shape)
    if scale < 1:
        size = (max(round(mask.shape[1] * scale), 1), max(round(mask.shape[0] * scale), 1))
        pixels, mask = (np.asarray(cv2.resize(a, size, interpolation=cv2.INTER_AREA), np.uint8) for a in (pixels, mask))
    name = patch.name if patch.name not in KINDS else f"{patch.name}-file"
    return Patch(name, pixels, mask, patch.size_mm, "chest")
