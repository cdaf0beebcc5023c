"""Where on a person a print lies, and how large it is: by the box, or by the joints on the chest, down to the thighs or as
clothes.

All corner lists run top-left, top-right, bottom-right, bottom-left of the pattern as the wearer's viewer reads it; image
coordinates are pixels, x right, y down. Training, scoring, evaluation, size curves and the live demo place prints here, so
that a patch is scored where it will be worn. NumPy alone: the live demo loads neither PyTorch nor Kornia for it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from physadv.patch import TEXTURES, Patch, Target
from physadv.simulate.garment import Pieces, pieces, shirt_fronts
from physadv.simulate.joints import (
    HEAD_CM,
    LEFT_HIP,
    RIGHT_HIP,
    UNIT,
    VISIBLE,
    box_px_per_cm,
    chests_visible,
    cut_off_below,
    down_to_the_hips,
    forearms,
    portraits_by_joints,
    shoulders_visible,
    torso_frames,
    within_wearers,
)
from physadv.types import BoolArray, Detections, Float32Array, Int64Array

Rule = Literal["area", "diagonal", "height"]
Framing = Literal["street", "webcam", "mixed"]
# What reports and settings call a place: the fraction of the box's height, or one of four by the joints.
Body = Literal["chest", "portrait", "shirt", "outfit"]
Where = float | Body
BODY: tuple[Body, ...] = get_args(Body)

# Centre of a print by the box, down its height: on the chest of a standing person, and of one from chest to thighs.
BOX_AT, PORTRAIT_AT = 0.42, 0.5
# Below this score on the clean image a candidate is more often furniture than somebody to wear a pattern; up to the second
# it needs shoulders, which furniture has not.
PLACE_CONF, SURE_CONF = 0.4, 0.6
# Centre of a chest print below the line of the shoulders, in centimetres.
CHEST_DROP_CM = 17.0
# A large print's upper edge is so far below that line, just under the neck.
NECK_CM = 3.0
# Smaller people wear nothing in training: a pattern on them would be a few pixels.
SMALLEST_PX = 20.0
# Prints of a smaller area, in square pixels, and prints with a corner farther out are not drawn.
SMALLEST_AREA, FARTHEST_PX = 1e-3, 1e6
# A pattern of fewer texels a side is not halved: averaged further it is a colour.
SMALLEST = 8


@dataclass(frozen=True, slots=True, eq=False)
class Prints:
    """Where prints lie in a batch of images: arrays of m rows, one a print.

    owner: (m,) the image that each is in. person: (m,) who wears it, counted over the batch. quads: (m, 4, 2) corners in
    pixels. rank: (m,) which lies on top where two meet, higher over lower, all different. window: (m, 4) the part of the
    pattern shown: left, top, width, height in patterns; (0, 0, 1, 1) is all of it, once, and beyond 1 it repeats. bounds:
    (m, 4) box beyond which nothing of the print is drawn, infinite for none. arms: (m, 2, 5) forearms that may hide it: x0,
    y0, x1, y1 and radius in pixels, or radius 0. folds: (m,) whether it reaches below the hips in one piece, so that the
    simulated world may fold it there. part: (m,) what of its wearer it covers: 0 the torso with its sleeves, 1 to 4 the
    thighs and shins.
    """

    owner: Int64Array
    person: Int64Array
    quads: Float32Array
    rank: Int64Array
    window: Float32Array
    bounds: Float32Array
    arms: Float32Array
    folds: BoolArray
    part: Int64Array

    def __len__(self) -> int:
        return len(self.owner)

    def pick(self, index: Int64Array) -> Prints:
        """Return the prints at `index`, (k,) integers."""
        return Prints(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a print lies on a person, and how large it is.

    target: a "poster" is upright, its centre at the fraction `at` of the box's height; a "chest" print follows the joints,
    of people whose shoulders are not seen the box; a "portrait" hangs from under the neck along the torso and on down the
    thighs, see `portraits_by_joints`; a "tshirt" covers torso and sleeves with a texture that
    repeats, an "outfit" the legs too, where they are seen.
    A pattern for the chest or a portrait may be placed as a poster: of small people in the street the joints are not known
    well.

    A print on the chest is cut off where the body is: by the edge of the image, or what hides the person. It is as large as
    on the same person seen to the hips. Whoever shows next to nothing of the chest wears nothing, whatever the target but a
    poster: see `dresses`.

    A print is either as large as a square of `scale` times what `rule` takes of the box, `aspect` times as wide as high; or
    `size_cm` wide and high on the body, which of clothes is the period of their texture.
    """

    target: Target
    rule: Rule = "area"
    scale: float | None = None
    size_cm: tuple[float, float] | None = None
    aspect: float = 1.0
    at: float = BOX_AT

    def __post_init__(self) -> None:
        if not self.cloth and (self.scale is None) == (self.size_cm is None):
            raise ValueError(f"placement: expected one of scale and size_cm, got {self.scale} and {self.size_cm}")

    @classmethod
    def of(cls, where: Where, rule: Rule, scale: float | None) -> Placement:
        """Return the placement of reports and settings: a place by the joints, or a fraction of the box's height."""
        if where == "shirt" or where == "outfit":
            return cls("tshirt" if where == "shirt" else where)
        if where == "chest" or where == "portrait":
            return cls(where, rule, scale, at=centre_of(where))
        return cls("poster", rule, scale, at=where)

    @classmethod
    def worn(cls, patch: Patch, size_cm: tuple[float, float] | None = None) -> Placement:
        """Return the placement of a patch on a body, in its own size or in `size_cm`; a poster hangs on the chest."""
        target: Target = "chest" if patch.target == "poster" else patch.target
        width, height = patch.size_mm
        return cls(target, size_cm=size_cm or (width / 10, height / 10), aspect=width / height, at=centre_of(target))

    @property
    def cloth(self) -> bool:
        """Return whether it is clothes of a texture that repeats, as large as their wearer, and no print."""
        return self.target in TEXTURES

    @property
    def where(self) -> Where:
        """Return the place by the joints or the fraction of the box's height, as reports and settings call it."""
        if self.target == "poster":
            return self.at
        return "shirt" if self.target == "tshirt" else self.target

    @property
    def width(self) -> float:
        """Return the print's width, in centimetres or in what `rule` takes of the box."""
        return self.size_cm[0] if self.size_cm is not None else (self.scale or 0.0) * self.aspect**0.5

    @property
    def height(self) -> float:
        """Return the print's height, in the unit of its width."""
        return self.size_cm[1] if self.size_cm is not None else (self.scale or 0.0) * self.aspect**-0.5

    def shaped(self, patch: Patch) -> Placement:
        """Return the placement of a print of this patch: its proportions, and of clothes their period."""
        width, height = patch.size_mm
        if self.cloth:
            return replace(self, size_cm=(width / 10, height / 10))
        return self if self.size_cm is not None else replace(self, aspect=width / height)

    def quads(
        self,
        xyxy: Float32Array,
        keypoints: Float32Array | None,
        *,
        side: Float32Array | None = None,
        upright: BoolArray | None = None,
        image: tuple[int, int] | None = None,
    ) -> Float32Array:
        """Return (n, 4, 2) corners of the print on each person, of clothes the front. See `prints` for arguments."""
        if self.cloth:
            return shirt_fronts(xyxy, keypoints)
        bodies = self.bodies(xyxy, keypoints, upright=upright, image=image)
        if side is None and self.scale is not None:
            side = side_px(bodies, self.rule, self.scale)
        if self.target == "poster":
            by_box = box_px_per_cm(xyxy) * float(np.sqrt(self.width * self.height)) if side is None else side
            return square_quads(xyxy, by_box, self.at, aspect=self.width / self.height)
        how: dict[str, Any] = {"size_cm": (self.width, self.height)}
        if side is not None:
            how = {"side": side, "aspect": self.aspect}
        hung, cut = self._hanging(xyxy, keypoints, upright, image)
        return chest_quads(xyxy, keypoints, hung=hung, cut=cut, bodies=bodies, at=self.at, **how)

    def bodies(
        self,
        xyxy: Float32Array,
        keypoints: Float32Array | None,
        *,
        upright: BoolArray | None = None,
        image: tuple[int, int] | None = None,
    ) -> Float32Array:
        """Return (n, 4) the boxes that a print's size is taken from: whoever is cut off at the chest has one to the hips.

        See `prints` for arguments.
        """
        if self.target == "poster" or self.cloth:
            return xyxy
        return down_to_the_hips(xyxy, keypoints, *self._hanging(xyxy, keypoints, upright, image))

    def dresses(self, people: Detections, image: tuple[int, int] | None = None) -> BoolArray:
        """Return (n,) who shows enough of the chest to wear it. A poster is placed by the box alone, on everybody.

        people: boxes and, where known, keypoints. image: (width, height) of the image they are in, if known.
        """
        if self.target == "poster":
            return np.ones(len(people), bool)
        by_box = chests_visible(people.xyxy, None, image)
        points = people.keypoints
        if points is None:
            return by_box
        # A pose model finds joints wherever it finds a person: without any, nobody's are known.
        known = (points[..., 2] > 0).any(1)
        shown = np.where(known, chests_visible(people.xyxy, points, image), by_box)
        # Clothes are seen on whoever shows a hip, though an arm hides the shoulders.
        hip = (points[:, [LEFT_HIP, RIGHT_HIP], 2] >= VISIBLE).any(1)
        return shown | hip if self.cloth else shown

    def _hanging(
        self,
        xyxy: Float32Array,
        keypoints: Float32Array | None,
        upright: BoolArray | None,
        image: tuple[int, int] | None,
    ) -> tuple[BoolArray, BoolArray]:
        """Return (n,) whose print hangs from the shoulders, and whose from a box that the image's lower edge cuts off."""
        hung = self.by_joints(xyxy, keypoints, upright=upright)
        cut = cut_off_below(xyxy, image) & ~hung
        return hung, cut if upright is None else cut & ~upright

    def by_joints(
        self, xyxy: Float32Array, keypoints: Float32Array | None, *, upright: BoolArray | None = None
    ) -> BoolArray:
        """Return (n,) whose print hangs from the joints; the others wear it by their boxes. See `prints` for arguments."""
        seen = shoulders_visible(keypoints, len(xyxy))
        if self.target == "poster":
            return np.zeros_like(seen)
        if self.target == "portrait" and keypoints is not None:
            seen = seen & portraits_by_joints(xyxy, keypoints)
        return seen if upright is None or self.cloth else seen & ~upright

    def prints(
        self,
        people: Detections,
        rng: np.random.Generator | None = None,
        *,
        owner: Int64Array | None = None,
        side: Float32Array | None = None,
        upright: BoolArray | None = None,
        image: tuple[int, int] | None = None,
    ) -> Prints:
        """Return the prints on those who wear one, see `dresses`; none on a box without an area.

        The simulated world decides which forearms hide them.

        people: boxes and, where known, keypoints; their scores are not looked at. rng: decides where on its texture
        cloth is cut; None cuts all of it from the corner. owner: (n,) the image of each person; 0 unless given. side: (n,)
        pixels, the root of each print's area, in place of the placement's own size. upright: (n,) who wears a chest print
        or a portrait by the box although the joints are seen, as a poster. image: (width, height) of the image, or of each
        of them, if known: its lower edge may cut people off.

        Raises: ValueError for clothes whose period is not known; see `shaped`.
        """
        boxes, points = people.xyxy, people.keypoints
        n = len(boxes)
        window = np.tile(np.array([0, 0, 1, 1], np.float32), (n, 1))
        bounds = np.full((n, 4), np.inf, np.float32) * np.array([-1, -1, 1, 1], np.float32)
        if self.cloth:
            worn = pieces(boxes, points, trousers=self.target == "outfit")
            window = self._cut(worn, rng)
            bounds = boxes
        else:
            quads = self.quads(boxes, points, side=side, upright=upright, image=image)
            worn = Pieces.alike(np.arange(n), quads, (0.0, 0.0), 0)
            # What hangs from the shoulders may reach below the box: there stands what hides the rest of the person.
            hung, cut = self._hanging(boxes, points, upright, image)
            bounds[hung | cut] = boxes[hung | cut]
        person, m = worn.person, len(worn)
        arms = np.zeros((m, 2, 5), np.float32)
        if points is not None:
            # A forearm crosses the front; sleeves are on the arms themselves.
            arms[:n] = forearms(points)
        out = Prints(
            owner=np.zeros(m, np.int64) if owner is None else owner[person],
            person=person,
            quads=worn.quads,
            rank=_rank(worn, boxes),
            window=window,
            bounds=bounds[person],
            arms=arms,
            folds=np.full(m, self.target == "portrait"),
            part=worn.part,
        )
        dressed = self.dresses(people, image)
        if upright is not None and not self.cloth:
            dressed = dressed | upright
        drawn = _can_be_drawn(out.quads) & dressed[person]
        return out if drawn.all() else out.pick(np.flatnonzero(drawn))

    def _cut(self, worn: Pieces, rng: np.random.Generator | None) -> Float32Array:
        """Return (m, 4) windows of the texture that pieces of cloth show."""
        if self.size_cm is None:
            raise ValueError("placement: expected the period of the clothes' texture in size_cm, got none")
        # In centimetres of cloth, so that a body turned away shows the same cloth foreshortened, and not a finer one.
        period = np.array(self.size_cm, np.float32)
        begin = np.zeros((len(worn), 2)) if rng is None else rng.random((len(worn), 2))
        before = worn.after != np.arange(len(worn))
        above = worn.after[before]
        # By eighths of the period, which are whole texels however often a pattern is halved: a centimetre off shows
        # nowhere, but renderers that round it otherwise differ by half a pixel.
        along = np.round(worn.cloth[above, 1] / period[1] * 8) / 8
        begin[before] = (begin[above] + np.stack([np.zeros_like(along), along], 1)) % 1
        return np.concatenate([begin, worn.cloth / period], 1).astype(np.float32)


def _can_be_drawn(quads: Float32Array) -> BoolArray:
    """Return (m,) whether quads (m, 4, 2) have finite corners and an area: a detector may find a box of no height.

    No camera has an image of a million pixels a side; corners so far out would overflow where they become integers.
    """
    first, second = (quads[:, 2:] - quads[:, :2]).astype(np.float64).transpose(1, 0, 2)
    area = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / 2
    return np.asarray((np.abs(quads) < FARTHEST_PX).all((1, 2)) & (area > SMALLEST_AREA))


def _rank(worn: Pieces, boxes: Float32Array) -> Int64Array:
    """Return (m,) the order of the prints: nearer people, lower in the image, over others; of each their layers.

    The fronts of all n people come first. Where boxes end at the image's rim the lower print is the nearer.
    """
    person = worn.person
    lower = worn.quads[: len(boxes), :, 1].max(1)[person]
    order = np.lexsort((worn.layer, person, lower, boxes[person, 3]))
    out = np.empty(len(person), np.int64)
    out[order] = np.arange(len(person))
    return out


class TexelGrid(NamedTuple):
    """What is kept of a pattern for one print: its size is halved so many times, then brought to height x width texels."""

    halvings: int
    height: int
    width: int


def texels_for(quads: Float32Array, window: Float32Array, shape: tuple[int, int]) -> list[TexelGrid]:
    """Return for each print the texels that one repeat of a pattern (height, width) keeps: no more than one a pixel.

    A camera averages over each pixel. Sampling a fine pattern as it is would touch some of its texels and leave the others
    out, without a gradient in training; so it is averaged by area first. Height and width are reduced each by itself: a
    body turned away is narrow and not low. quads: (m, 4, 2). window: (m, 4), as of `Prints`.
    """
    a, b, c, d = quads.astype(np.float64).transpose(1, 0, 2)
    across = np.maximum(np.linalg.norm(b - a, axis=1), np.linalg.norm(c - d, axis=1)) / window[:, 2]
    down = np.maximum(np.linalg.norm(d - a, axis=1), np.linalg.norm(c - b, axis=1)) / window[:, 3]
    out = []
    for wide, high in zip(across.tolist(), down.tolist(), strict=True):
        (height, width), halvings = shape, 0
        while min(height, width) >= SMALLEST and width // 2 >= wide and height // 2 >= high:
            height, width, halvings = height // 2, width // 2, halvings + 1
        out.append(TexelGrid(halvings, max(1, min(height, round(high))), max(1, min(width, round(wide)))))
    return out


def centre_of(target: Target) -> float:
    """Return the centre of a print for that target by the box, as a fraction of the box's height, unless given."""
    return PORTRAIT_AT if target == "portrait" else BOX_AT


def people_of(xyxy: Float32Array, keypoints: Float32Array | None = None) -> Detections:
    """Return labelled people, boxes (n, 4) and keypoints (n, 17, 3), as detections of score 1."""
    return Detections(xyxy, np.ones(len(xyxy), np.float32), keypoints)


def wears(people: Detections, image: tuple[int, int] | None = None) -> BoolArray:
    """Return (n,) whether each person found in a clean image wears the pattern: a sure detection with a visible chest.

    image: its (width, height), if known.
    """
    return sure_people(people) & chests_visible(people.xyxy, people.keypoints, image)


def sure_people(people: Detections) -> BoolArray:
    """Return (n,) whether each detection in a clean image is surely somebody, chest in sight or not."""
    sure = people.score >= PLACE_CONF
    if people.keypoints is None:
        return sure
    return sure & ((people.score >= SURE_CONF) | shoulders_visible(people.keypoints, len(people)))


def side_px(xyxy: Float32Array, rule: Rule, scale: float) -> Float32Array:
    """Return the (n,) sides of square patches: `scale` times sqrt(w h), the diagonal, or the height of each box."""
    w, h = xyxy[:, 2] - xyxy[:, 0], xyxy[:, 3] - xyxy[:, 1]
    base = {"area": np.sqrt(np.maximum(w * h, 0)), "diagonal": np.hypot(w, h), "height": h}[rule]
    return (scale * base).astype(np.float32)


def square_quads(xyxy: Float32Array, side: Float32Array, at: float, *, aspect: float = 1.0) -> Float32Array:
    """Return (n, 4, 2) upright squares of `side` pixels centred on each box at the fraction `at` of its height.

    aspect: width over height of prints that are no squares; their area stays `side` squared.
    """
    centre = np.stack([(xyxy[:, 0] + xyxy[:, 2]) / 2, xyxy[:, 1] + at * (xyxy[:, 3] - xyxy[:, 1])], 1)
    quads = (centre[:, None] + UNIT * _shape(aspect) * side[:, None, None] / 2).astype(np.float32)
    return within_wearers(quads, xyxy, hung=False)


def chest_quads(
    xyxy: Float32Array,
    keypoints: Float32Array | None,
    *,
    hung: BoolArray | None = None,
    cut: BoolArray | None = None,
    bodies: Float32Array | None = None,
    size_cm: tuple[float, float] | None = None,
    side: Float32Array | None = None,
    at: float = 0.42,
    aspect: float = 1.0,
) -> Float32Array:
    """Return (n, 4, 2) quads of prints that hang from just under the neck.

    hung: (n,) whose print does, by default everybody's whose shoulders are seen. cut: (n,) whose box alone, which the
    image cuts off, says where the neck is; nobody's unless given. bodies: (n, 4) boxes down to the hips, `xyxy` unless
    given.

    Give `size_cm` = (width, height), scaled by the body, or `side` = (n,) pixels, the root of the quad's area, with
    `aspect`, the print's width over its height. The others get an upright print of that shape by
    the box, at the fraction `at` of its height; for `size_cm` a box is then taken to be 170 cm tall unless it is wider
    than a standing person's, when it shows the upper body. Nobody wears a print larger than themselves: see
    `within_wearers`.

    Raises: ValueError unless exactly one of `size_cm` and `side` is given.
    """
    if (size_cm is None) == (side is None):
        raise ValueError("give exactly one of size_cm and side")
    by_box = side if side is not None else box_px_per_cm(xyxy) * float(np.sqrt(np.prod(size_cm or (0, 0))))
    aspect = aspect if size_cm is None else size_cm[0] / size_cm[1]
    quads = square_quads(xyxy, by_box, at, aspect=aspect)
    bodies = xyxy if bodies is None else bodies
    if cut is not None and cut.any():
        quads[cut] = _by_cut_boxes(xyxy[cut], bodies[cut], by_box[cut], aspect)
    seen = shoulders_visible(keypoints, len(xyxy)) if hung is None else hung
    if keypoints is None or not seen.any():
        return quads
    origin, across, down = torso_frames(keypoints[seen])
    half_w: Float32Array
    half_h: Float32Array
    if side is not None:
        unit = np.sqrt(np.abs(across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]))
        half = side[seen] / np.maximum(unit, 1e-6) / 2
        half_w, half_h = ((half * s)[:, None, None].astype(np.float32) for s in _shape(aspect))
    else:
        assert size_cm is not None
        half_w, half_h = (np.full((len(origin), 1, 1), s / 2, np.float32) for s in size_cm)
    # A large print hangs lower, its upper edge just under the neck.
    drop = np.maximum(CHEST_DROP_CM, half_h + NECK_CM)
    corners = UNIT[None]
    quads[seen] = (
        origin[:, None]
        + across[:, None] * corners[..., :1] * half_w
        + down[:, None] * (corners[..., 1:] * half_h + drop)
    )
    # The shoulders alone would scale it: those of a face that fills the image lie beyond its rim.
    quads[seen] = within_wearers(quads[seen], bodies[seen], hung=True)
    return quads


def _by_cut_boxes(xyxy: Float32Array, bodies: Float32Array, side: Float32Array, aspect: float) -> Float32Array:
    """Return (n, 4, 2) upright prints under the necks of people whose upper bodies are in boxes (n, 4).

    bodies: (n, 4) the boxes down to the hips. side: (n,) pixels, the root of each print's area.
    """
    size = side[:, None] * _shape(aspect)
    px_per_cm = box_px_per_cm(xyxy)
    drop = np.maximum(CHEST_DROP_CM * px_per_cm, size[:, 1] / 2 + NECK_CM * px_per_cm)
    centre = np.stack([(xyxy[:, 0] + xyxy[:, 2]) / 2, xyxy[:, 1] + HEAD_CM * px_per_cm + drop], 1)
    quads = (centre[:, None] + UNIT * size[:, None] / 2).astype(np.float32)
    return within_wearers(quads, bodies, hung=True)


def _shape(aspect: float) -> Float32Array:
    """Return the (width, height) of a print of area 1."""
    return np.array([aspect**0.5, aspect**-0.5], np.float32)
