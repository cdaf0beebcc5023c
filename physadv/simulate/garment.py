"""Where cloth lies on a person: a T-shirt's front and its sleeves, and the legs of trousers."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from physadv.simulate.joints import (
    CUT_OFF,
    LEFT_SHOULDER,
    LEGS,
    RIGHT_SHOULDER,
    UNIT,
    VISIBLE,
    hips_visible,
    shoulders_visible,
    torso_frames,
    within_wearers,
)
from physadv.types import BoolArray, Float32Array, Int64Array

# A short sleeve as `sleeve_quads` lays it: across the arm and along it from the shoulder's joint.
SLEEVE_CM = (12.0, 20.0)
# A T-shirt front in centimetres from the midpoint of the shoulders: neck to hip, a little wider than the joints.
FRONT_CM = (46.0, 61.0)
SHIRT_CM: Float32Array = np.array([[-23, -5], [23, -5], [21, 56], [-21, 56]], np.float32)
# Of trousers: hip to knee and knee to ankle. Between the joints that a pose model marks on 50 people who stand in 61
# photographs both are .76 of the distance from shoulders to hips.
THIGH_CM, SHIN_CM = 38.0, 38.0
# How far they reach above the hip's joint, below the shirt, and beyond the ankle.
ABOVE_HIP_CM, BELOW_ANKLE_CM = 6.0, 2.0
# Width of a leg of cloth as a camera sees it: at the hip, the knee and the hem.
HIP_CM, KNEE_CM, HEM_CM = 20.0, 17.0, 15.0
# The pieces, across and along: thigh and shin are cut from one length of cloth.
UPPER_LEG_CM = (18.0, ABOVE_HIP_CM + THIGH_CM)
LOWER_LEG_CM = (18.0, SHIN_CM + BELOW_ANKLE_CM)
# Down the box of somebody who stands: hips, knees and ankles, and how far each is from the middle, as shares of the box's
# height; the medians of those 50 people.
STANDING = ((0.50, 0.055), (0.705, 0.050), (0.91, 0.047))
# Cosine of the bend up to which thigh and shin share an edge at the knee; beyond it the thigh ends in a cap.
MITRED = np.cos(np.radians(70))
# Shorter parts of a leg, in pixels, are seen from their end.
SHORTEST_PX = 4.0
# Width of a shirt seen from the side.
SIDE_CM = 25.0
FRONT_LAYER, SLEEVE_LAYER = 5, 4


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """Pieces of cloth on people, arrays of m rows.

    person: (m,) who wears each. quads: (m, 4, 2) corners in pixels. cloth: (m, 2) centimetres across and along. layer: (m,)
    higher over lower on one person. part: (m,) as of `Prints`. after: (m,) the row whose cloth a piece goes on from, or its
    own.
    """

    person: Int64Array
    quads: Float32Array
    cloth: Float32Array
    layer: Int64Array
    part: Int64Array
    after: Int64Array

    def __len__(self) -> int:
        return len(self.person)

    @classmethod
    def alike(
        cls, person: Int64Array, quads: Float32Array, cloth: tuple[float, float], layer: int | Int64Array
    ) -> Pieces:
        """Return pieces of one size on the torso."""
        m = len(person)
        size = np.tile(np.array(cloth, np.float32), (m, 1))
        return cls(person, quads, size, np.full(m, layer), np.zeros(m, np.int64), np.arange(m))

    def __add__(self, other: Pieces) -> Pieces:
        """Return both, the other's rows last."""
        moved = {"after": other.after + len(self)}
        parts = {f.name: (getattr(self, f.name), moved.get(f.name, getattr(other, f.name))) for f in fields(self)}
        return Pieces(**{name: np.concatenate(both) for name, both in parts.items()})


def pieces(xyxy: Float32Array, keypoints: Float32Array | None, *, trousers: bool) -> Pieces:
    """Return the cloth that people wear: each one's front first, then all sleeves, then thighs and shins.

    xyxy: (n, 4). keypoints: (n, 17, 3), where they are known. A sleeve needs its elbow, a leg its hip and knee, a shin its
    ankle too. Somebody who stands, without known joints, wears trousers by the box. With trousers the shirt of
    somebody seen from the side is as wide as a side is.
    """
    fronts = shirt_fronts(xyxy, keypoints)
    legs = _legs(xyxy, keypoints, fronts) if trousers else None
    if legs is not None and keypoints is not None:
        fronts = within_wearers(_no_narrower(fronts, legs.scale * SIDE_CM), xyxy, hung=True)
    out = Pieces.alike(np.arange(len(xyxy)), fronts, FRONT_CM, FRONT_LAYER)
    if keypoints is not None:
        whose, sleeves = sleeve_quads(keypoints, shoulders_visible(keypoints, len(xyxy)))
        out = out + Pieces.alike(whose, sleeves, SLEEVE_CM, SLEEVE_LAYER)
    return out if legs is None else out + _trousers(legs)


def wears_trousers(xyxy: Float32Array, keypoints: Float32Array | None) -> BoolArray:
    """Return (n,) who wears trousers in an outfit: people with a hip and its knee in sight, or who stand as a whole."""
    out = np.zeros(len(xyxy), bool)
    out[_legs(xyxy, keypoints, shirt_fronts(xyxy, keypoints)).person] = True
    return out


def _no_narrower(fronts: Float32Array, least: Float32Array) -> Float32Array:
    """Return quads (n, 4, 2) at least so many pixels (n,) wide, across the axis from their upper to their lower edge."""
    upper, lower = fronts[:, :2].mean(1), fronts[:, 2:].mean(1)
    down = lower - upper
    across = np.stack([down[:, 1], -down[:, 0]], 1) / np.maximum(np.linalg.norm(down, axis=1, keepdims=True), 1e-6)
    half = (across * least[:, None] / 2)[:, None]
    wide = np.concatenate(
        [upper[:, None] - half, upper[:, None] + half, lower[:, None] + half, lower[:, None] - half], 1
    )
    narrow = np.linalg.norm(fronts[:, 1] - fronts[:, 0], axis=1) < least
    return np.where(narrow[:, None, None], wide, fronts).astype(np.float32)


def torso_quads(keypoints: Float32Array) -> Float32Array:
    """Return (n, 4, 2) quads that a T-shirt's front covers: neck to hip, a little wider than the joints."""
    origin, across, down = torso_frames(keypoints)
    quads = origin[:, None] + across[:, None] * SHIRT_CM[None, :, :1] + down[:, None] * SHIRT_CM[None, :, 1:]
    return quads.astype(np.float32)


def shirt_fronts(xyxy: Float32Array, keypoints: Float32Array | None) -> Float32Array:
    """Return (n, 4, 2) quads of a T-shirt's front on each person: `torso_quads`, or where no shoulders are seen by the box.

    Of 92 people in 61 photographs whose shoulders are seen the box alone gives quads with a mean IoU of .37 to the torso's.
    """
    x, top = (xyxy[:, 0] + xyxy[:, 2]) / 2, xyxy[:, 1]
    w, h = xyxy[:, 2] - xyxy[:, 0], xyxy[:, 3] - xyxy[:, 1]
    wide = np.minimum(0.7 * w, 0.5 * h)
    # A standing person's neck is a sixth down the box; the head of someone cut off at the hips takes more of it.
    top = top + np.where(h > 1.6 * w, 0.18, 0.28) * h
    half = np.stack([wide, wide * FRONT_CM[1] / FRONT_CM[0]], 1)[:, None] / 2
    quads = (np.stack([x, top + half[:, 0, 1]], 1)[:, None] + UNIT * half).astype(np.float32)
    seen = shoulders_visible(keypoints, len(xyxy))
    if keypoints is not None and seen.any():
        quads[seen] = torso_quads(keypoints[seen])
    return within_wearers(quads, xyxy, hung=True)


def sleeve_quads(keypoints: Float32Array, seen: BoolArray) -> tuple[Int64Array, Float32Array]:
    """Return the person (k,) and the quad (k, 4, 2) of each short sleeve, from the shoulder two thirds to the elbow.

    seen: (n,) people whose shoulders are visible; a sleeve needs a visible elbow too.
    """
    who, quads = [], []
    for shoulder, elbow in ((5, 7), (6, 8)):
        sure = seen & (keypoints[:, elbow, 2] >= VISIBLE)
        start, stop = keypoints[sure, shoulder, :2], keypoints[sure, elbow, :2]
        along = stop - start
        width = np.linalg.norm(keypoints[sure, LEFT_SHOULDER, :2] - keypoints[sure, RIGHT_SHOULDER, :2], axis=1)
        length = np.linalg.norm(along, axis=1)
        # An upper arm is about a third as wide as the shoulders are apart; from the side the arm's length is the guide.
        half = np.maximum(0.16 * width, 0.18 * length)[:, None] / np.maximum(length, 1e-6)[:, None]
        aside = np.stack([-along[:, 1], along[:, 0]], 1) * half
        end = start + 0.65 * along
        quad = np.stack([start + aside, start - aside, end - aside, end + aside], 1)
        keep = length > 4
        who.append(np.flatnonzero(sure)[keep])
        quads.append(quad[keep])
    return np.concatenate(who).astype(np.int64), np.concatenate(quads).reshape(-1, 4, 2).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class _Legs:
    """Legs, k rows. person: (k,). joints: (k, 3, 2) hip, knee and ankle. shin: (k,) whether the ankle is known. scale: (n,)
    pixels a centimetre of each person, 0 where it is not known."""

    person: Int64Array
    joints: Float32Array
    shin: BoolArray
    scale: Float32Array


def _trousers(legs: _Legs) -> Pieces:
    """Return the thighs of all legs, then the shins; of a person's legs the one whose knee is lower is in front."""
    upper, lower = _leg_quads(legs)
    # Layers 0 and 1, 2 and 3 for the leg in front.
    order = np.lexsort((legs.joints[:, 1, 1], legs.person))
    front = np.zeros(len(order), np.int64)
    again = legs.person[order][1:] == legs.person[order][:-1]
    front[order[1:][again]] = 2
    # Every piece is a part by itself: turned with the shirt it would swing off the body.
    number = front // 2
    thighs = Pieces.alike(legs.person, upper, UPPER_LEG_CM, front + 1)
    shins = Pieces.alike(legs.person, lower, LOWER_LEG_CM, front)
    out = thighs + shins
    part = 1 + np.concatenate([number, number + 2])
    after = np.concatenate([thighs.after, thighs.after])
    keep = np.concatenate([np.ones(len(thighs), bool), legs.shin])
    return Pieces(out.person[keep], out.quads[keep], out.cloth[keep], out.layer[keep], part[keep], after[keep])


def _legs(xyxy: Float32Array, keypoints: Float32Array | None, fronts: Float32Array) -> _Legs:
    """Return the legs that trousers cover: by the joints, or by the box and the shirt above them."""
    w, h = (xyxy[:, 2:] - xyxy[:, :2]).T
    none_known = np.ones(len(xyxy), bool)
    person, joints, shin = [np.zeros(0, np.int64)], [np.zeros((0, 3, 2), np.float32)], [np.zeros(0, bool)]
    if keypoints is not None:
        none_known = ~(shoulders_visible(keypoints, len(xyxy)) | hips_visible(keypoints))
        for leg in LEGS:
            points, sure = keypoints[:, leg, :2], keypoints[:, leg, 2] >= VISIBLE
            thigh, calf = np.linalg.norm(np.diff(points, axis=1), axis=2).T
            seen = np.flatnonzero(sure[:, 0] & sure[:, 1] & (thigh > SHORTEST_PX) & ~none_known)
            person.append(seen)
            joints.append(points[seen])
            shin.append((sure[:, 2] & (calf > SHORTEST_PX))[seen])
    scale = _scales(xyxy, keypoints, np.concatenate(person), np.concatenate(joints), np.concatenate(shin))
    standing = np.flatnonzero(none_known & (h > CUT_OFF * w) & (w > 0))
    scale[standing] = h[standing] / 170
    middle = (xyxy[standing, 0] + xyxy[standing, 2]) / 2
    shirt = fronts[standing, 2, 1]
    for side in (-1, 1):
        x = np.stack([middle + side * aside * h[standing] for _, aside in STANDING], 1)
        y = np.stack([xyxy[standing, 1] + down * h[standing] for down, _ in STANDING], 1)
        # A narrow shirt is short: trousers begin where it ends.
        y[:, 0] = np.minimum(y[:, 0], shirt + 0.9 * ABOVE_HIP_CM * scale[standing])
        person.append(standing)
        joints.append(np.stack([x, y], 2).astype(np.float32))
        shin.append(np.ones(len(standing), bool))
    whose = np.concatenate(person)
    return _Legs(whose, np.concatenate(joints).astype(np.float32), np.concatenate(shin), scale)


def _scales(
    xyxy: Float32Array, keypoints: Float32Array | None, person: Int64Array, joints: Float32Array, shin: BoolArray
) -> Float32Array:
    """Return (n,) pixels a centimetre of each person, by the longest of torso, thighs and shins: a turned one is shorter.

    person, joints, shin: of the legs that are seen.
    """
    out = np.zeros(len(xyxy), np.float32)
    if keypoints is not None:
        torso = shoulders_visible(keypoints, len(xyxy)) & hips_visible(keypoints)
        if torso.any():
            out[torso] = np.linalg.norm(torso_frames(keypoints[torso])[2], axis=1)
        thigh, calf = np.linalg.norm(np.diff(joints, axis=1), axis=2).T
        np.maximum.at(out, person, thigh / THIGH_CM)
        np.maximum.at(out, person[shin], calf[shin] / SHIN_CM)
    # A person is at least a metre high in the image, however they sit: a joint that lies elsewhere makes nobody larger.
    return np.minimum(out, (xyxy[:, 3] - xyxy[:, 1]) / 100).astype(np.float32)


def _leg_quads(legs: _Legs) -> tuple[Float32Array, Float32Array]:
    """Return (k, 4, 2) quads of the thighs and of the shins, in whose place there may be none."""
    hip, knee, ankle = legs.joints.transpose(1, 0, 2)
    shin = legs.shin[:, None]
    thigh_px, shin_px = (np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-6) for v in (knee - hip, ankle - knee))
    along = (knee - hip) / thigh_px
    down = np.where(shin, (ankle - knee) / shin_px, along)
    # To the left of a leg that points down.
    left, lower_left = (np.stack([-v[:, 1], v[:, 0]], 1) for v in (along, down))
    half = legs.scale[legs.person, None] * np.array([HIP_CM, KNEE_CM, HEM_CM], np.float32) / 2
    bend = (along * down).sum(1, keepdims=True)
    # Only where both are long enough: edges that are aslant would cross those at the hip or the hem.
    mitred = (bend > MITRED) & (np.minimum(thigh_px, shin_px) > half[:, :1])
    middle = left + lower_left
    middle = middle / np.maximum(np.linalg.norm(middle, axis=1, keepdims=True), 1e-6)
    end, begin = np.where(mitred, middle, left), np.where(mitred, middle, lower_left)
    # A knee that is bent further is a cap over the shin.
    cap = knee + along * np.where(shin & ~mitred, 0.8 * half[:, 1:2], 0.0)
    top = hip - (knee - hip) * (ABOVE_HIP_CM / THIGH_CM)
    foot = ankle + (ankle - knee) * (BELOW_ANKLE_CM / SHIN_CM)
    wide, middle_wide, hem = half[:, :1], half[:, 1:2], half[:, 2:]
    upper = (top + left * wide, top - left * wide, cap - end * middle_wide, cap + end * middle_wide)
    lower = (
        knee + begin * middle_wide,
        knee - begin * middle_wide,
        foot - lower_left * hem,
        foot + lower_left * hem,
    )
    return np.stack(upper, 1).astype(np.float32), np.stack(lower, 1).astype(np.float32)
