"""Where on a person a pattern goes: squares by the box, chest quads and torso polygons by the keypoints.

All corner lists run top-left, top-right, bottom-right, bottom-left of the pattern as its wearer's viewer reads it; image
coordinates are pixels, x right, y down. One room for training, evaluation and the live demo, so that a patch is scored
where it will be worn.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from physadv.types import BoolArray, Float32Array, Int64Array

Rule = Literal["area", "diagonal", "height"]

# Distances between the joints that pose models mark, of an adult in front of the camera, in centimetres.
SHOULDER_CM = 36.0
TORSO_CM = 50.0
LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP = 5, 6, 11, 12
# COCO's keypoints with left and right exchanged: nose, then eyes, ears, shoulders, elbows, wrists, hips, knees, ankles.
MIRRORED = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
# A short sleeve as `sleeve_quads` lays it: across the arm and along it from the shoulder's joint.
SLEEVE_CM = (12.0, 20.0)
VISIBLE = 0.5
# Centre of a chest print below the line of the shoulders, in centimetres.
CHEST_DROP_CM = 17.0
# So much of the body below the shoulders must be in the box: less of a print would be a strip along the image's rim.
CHEST_SEEN_CM = 12.0
# Standing people are about 2.5 times as high as wide; a squarer box shows somebody cut off.
CUT_OFF = 1.7
UNIT: Float32Array = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)
# A T-shirt front in centimetres from the midpoint of the shoulders: neck to hip, a little wider than the joints.
FRONT_CM = (46.0, 61.0)
SHIRT_CM: Float32Array = np.array([[-23, -5], [23, -5], [21, 56], [-21, 56]], np.float32)


def side_px(xyxy: Float32Array, rule: Rule, scale: float) -> Float32Array:
    """Return the (n,) sides of square patches: `scale` times sqrt(w h), the diagonal, or the height of each box."""
    w, h = xyxy[:, 2] - xyxy[:, 0], xyxy[:, 3] - xyxy[:, 1]
    base = {"area": np.sqrt(w * h), "diagonal": np.hypot(w, h), "height": h}[rule]
    return (scale * base).astype(np.float32)


def square_quads(xyxy: Float32Array, side: Float32Array, at: float, *, aspect: float = 1.0) -> Float32Array:
    """Return (n, 4, 2) upright squares of `side` pixels centred on each box at the fraction `at` of its height.

    aspect: width over height of prints that are no squares; their area stays `side` squared.
    """
    centre = np.stack([(xyxy[:, 0] + xyxy[:, 2]) / 2, xyxy[:, 1] + at * (xyxy[:, 3] - xyxy[:, 1])], 1)
    quads = (centre[:, None] + UNIT * _shape(aspect) * side[:, None, None] / 2).astype(np.float32)
    return within_wearers(quads, xyxy, hung=False)


def within_wearers(quads: Float32Array, xyxy: Float32Array, *, hung: bool) -> Float32Array:
    """Return quads (n, 4, 2) that are no wider and no higher than their wearers' boxes (n, 4) and lie between their sides.

    A print that is too large is shrunk as a whole, so that its shape stays; one that is not keeps its very numbers. hung:
    the middle of the upper edge stays at its height, as a print hangs from the shoulders: what is below the box is cut
    off where it is drawn. Otherwise the print also lies between the box's upper and lower edge.
    """
    if not len(quads):
        return quads
    extent = quads.max(1) - quads.min(1)
    room = np.maximum(xyxy[:, 2:] - xyxy[:, :2], 1.0)
    factor = np.minimum((room / np.maximum(extent, 1e-6)).min(1), 1.0)[:, None, None]
    pivot = (quads[:, :2] if hung else quads).mean(1, keepdims=True)
    out = np.where(factor < 1, pivot + (quads - pivot) * factor, quads)
    low, high = np.maximum(xyxy[:, :2] - out.min(1), 0), np.maximum(out.max(1) - xyxy[:, 2:], 0)
    shift = low - high
    if hung:
        shift[:, 1] = 0
    return np.where(shift[:, None] != 0, out + shift[:, None], out).astype(np.float32)


def chests_visible(xyxy: Float32Array, keypoints: Float32Array | None) -> BoolArray:
    """Return an (n,) mask of people of whom enough is in their boxes (n, 4) for a print on the chest to be seen.

    With visible shoulders the box must go on below them by `CHEST_SEEN_CM`. Without them, where a pose model has looked,
    a box hardly higher than wide shows a head, or a part of somebody. Without a pose model everybody counts.
    """
    if keypoints is None:
        return np.ones(len(xyxy), bool)
    w, h = xyxy[:, 2] - xyxy[:, 0], xyxy[:, 3] - xyxy[:, 1]
    seen = shoulders_visible(keypoints, len(xyxy))
    out = np.asarray(h > CUT_OFF * w)
    if seen.any():
        origin, _, down = torso_frames(keypoints[seen])
        below = (xyxy[seen, 3] - origin[:, 1]) / np.maximum(np.linalg.norm(down, axis=1), 1e-6)
        out[seen] = below >= CHEST_SEEN_CM
    return out


def shoulders_visible(keypoints: Float32Array | None, n: int) -> BoolArray:
    """Return an (n,) mask of people both of whose shoulders the pose model is sure of; all False without keypoints."""
    if keypoints is None:
        return np.zeros(n, bool)
    sure = np.all(keypoints[:, [LEFT_SHOULDER, RIGHT_SHOULDER], 2] >= VISIBLE, axis=1)
    apart = np.linalg.norm(keypoints[:, LEFT_SHOULDER, :2] - keypoints[:, RIGHT_SHOULDER, :2], axis=1)
    return np.logical_and(sure, apart > 2)


def torso_frames(keypoints: Float32Array) -> tuple[Float32Array, Float32Array, Float32Array]:
    """Return the body's own axes for people whose shoulders are visible.

    origin: (n, 2) midpoint of the shoulders. across, down: (n, 2) image pixels per centimetre along the line of the
    shoulders (towards the image's right for an upright person) and from shoulders to hips. Turning the body shortens
    `across` alone, so a quad built on both axes is foreshortened as cloth would be. Without hips the body is taken to be
    seen from the front.
    """
    left, right = keypoints[:, LEFT_SHOULDER, :2], keypoints[:, RIGHT_SHOULDER, :2]
    hips = keypoints[:, [LEFT_HIP, RIGHT_HIP]]
    origin = (left + right) / 2
    across = (left - right) / SHOULDER_CM
    plain = np.stack([-across[:, 1], across[:, 0]], 1)
    plain = np.where(plain[:, 1:] < 0, -plain, plain)
    sure = np.all(hips[..., 2] >= VISIBLE, axis=1, keepdims=True)
    down = np.where(sure, (hips[..., :2].mean(1) - origin) / TORSO_CM, plain)
    # A back view swaps the shoulders; the print on it still reads from left to right: keep (across, down) right-handed.
    mirrored = (across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]) < 0
    across = np.where(mirrored[:, None], -across, across)
    # Seen from the side the shoulders nearly coincide, and hips lie over shoulders for someone bent towards the camera:
    # keep the ratio of the two axes within what cloth on a body shows.
    width, height = np.linalg.norm(across, axis=1), np.linalg.norm(down, axis=1)
    down = down * (np.clip(height, 0.8 * width, 2.5 * width) / np.maximum(height, 1e-6))[:, None]
    return origin.astype(np.float32), across.astype(np.float32), down.astype(np.float32)


def chest_quads(
    xyxy: Float32Array,
    keypoints: Float32Array | None,
    *,
    size_cm: tuple[float, float] | None = None,
    side: Float32Array | None = None,
    at: float = 0.42,
    aspect: float = 1.0,
) -> Float32Array:
    """Return (n, 4, 2) quads on each chest.

    Give `size_cm` = (width, height), scaled by the body, or `side` = (n,) pixels, the root of the quad's area, with
    `aspect`, the print's width over its height. People without visible shoulders get an upright print of that shape by
    the box, at the fraction `at` of its height; for `size_cm` a box is then taken to be 170 cm tall unless it is wider
    than a standing person's, when it shows the upper body. Nobody wears a print larger than themselves: see
    `within_wearers`.

    Raises: ValueError unless exactly one of `size_cm` and `side` is given.
    """
    if (size_cm is None) == (side is None):
        raise ValueError("give exactly one of size_cm and side")
    n = len(xyxy)
    by_box = side if side is not None else _box_px_per_cm(xyxy) * float(np.sqrt(np.prod(size_cm or (0, 0))))
    aspect = aspect if size_cm is None else size_cm[0] / size_cm[1]
    quads = square_quads(xyxy, by_box, at, aspect=aspect)
    seen = shoulders_visible(keypoints, n)
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
    drop = np.maximum(CHEST_DROP_CM, half_h + 3.0)
    corners = UNIT[None]
    quads[seen] = (
        origin[:, None]
        + across[:, None] * corners[..., :1] * half_w
        + down[:, None] * (corners[..., 1:] * half_h + drop)
    )
    # The shoulders alone would scale it: those of a face that fills the image lie beyond its rim.
    quads[seen] = within_wearers(quads[seen], xyxy[seen], hung=True)
    return quads


def _shape(aspect: float) -> Float32Array:
    """Return the (width, height) of a print of area 1."""
    return np.array([aspect**0.5, aspect**-0.5], np.float32)


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


def _box_px_per_cm(xyxy: Float32Array) -> Float32Array:
    """Return (n,) image pixels per centimetre guessed from the box alone."""
    w, h = xyxy[:, 2] - xyxy[:, 0], xyxy[:, 3] - xyxy[:, 1]
    # Of a person cut off the width is the guide.
    return np.where(h > CUT_OFF * w, h / 170.0, w / 55.0).astype(np.float32)


def sleeve_quads(keypoints: Float32Array, seen: BoolArray) -> tuple[Int64Array, Float32Array]:
    """Return whose each short sleeve is (k,) and its quad (k, 4, 2), from the shoulder two thirds to the elbow.

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
