"""What keypoints and boxes say of a body: its axes, its scale, who is seen how far.

Quads and boxes are in pixels of the image, x right, y down.
"""

from __future__ import annotations

import numpy as np

from physadv.types import BoolArray, Float32Array

# Distances between the joints that pose models mark, of an adult in front of the camera, in centimetres.
SHOULDER_CM = 36.0
TORSO_CM = 50.0
LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP = 5, 6, 11, 12
# Hip, knee and ankle of each leg.
LEGS = ([11, 13, 15], [12, 14, 16])
# COCO's keypoints with left and right exchanged: nose, then eyes, ears, shoulders, elbows, wrists, hips, knees, ankles.
MIRRORED = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
VISIBLE = 0.5
# So much of the body below the shoulders must be in the box: less of a print would be a strip along the image's rim.
CHEST_SEEN_CM = 12.0
# From the top of the head to the line of the shoulders, and the width of a box around an upper body.
HEAD_CM, UPPER_BODY_CM = 30.0, 55.0
# Standing people are about 2.5 times as high as wide; a squarer box shows somebody cut off.
CUT_OFF = 1.7
# A box that ends nearer to the lower edge of the image, in heights of the image, is cut off there.
AT_RIM = 0.015
UNIT: Float32Array = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)


def chests_visible(
    xyxy: Float32Array, keypoints: Float32Array | None, image: tuple[int, int] | None = None
) -> BoolArray:
    """Return an (n,) mask of people whose boxes (n, 4) show enough of them for a print on the chest to be seen.

    With visible shoulders the box must go on below them by `CHEST_SEEN_CM`. Without them, where a pose model has looked,
    a box hardly higher than wide shows a head, or a part of somebody. Without a pose model everybody counts, but for
    heads and shoulders that end at the lower edge of the image. image: its (width, height), if known.
    """
    w, h = xyxy[:, 2] - xyxy[:, 0], xyxy[:, 3] - xyxy[:, 1]
    if keypoints is None:
        return ~cut_off_below(xyxy, image) | (h * UPPER_BODY_CM >= (HEAD_CM + CHEST_SEEN_CM) * w)
    seen = shoulders_visible(keypoints, len(xyxy))
    out = np.asarray(h > CUT_OFF * w)
    if seen.any():
        origin, _, down = torso_frames(keypoints[seen])
        below = (xyxy[seen, 3] - origin[:, 1]) / np.maximum(np.linalg.norm(down, axis=1), 1e-6)
        out[seen] = below >= CHEST_SEEN_CM
    return out


def cut_off_below(xyxy: Float32Array, image: tuple[int, int] | None) -> BoolArray:
    """Return an (n,) mask of boxes (n, 4) hardly higher than wide that end at the lower edge of the image.

    They show somebody from the head down to where the image ends. image: its (width, height); unknown, it cuts nobody off.
    """
    if image is None:
        return np.zeros(len(xyxy), bool)
    w, h = xyxy[:, 2] - xyxy[:, 0], xyxy[:, 3] - xyxy[:, 1]
    return np.asarray((h <= CUT_OFF * w) & (xyxy[:, 3] >= image[1] * (1 - AT_RIM)))


def down_to_the_hips(
    xyxy: Float32Array, keypoints: Float32Array | None, hung: BoolArray, cut: BoolArray
) -> Float32Array:
    """Return boxes (n, 4) that go on below the image, or what hides the person, down to where the hips are.

    A print is as large on somebody seen to the chest as it would be if more of them were in the image. hung: (n,) whose
    shoulders say where the hips are. cut: (n,) whose box does, as of `cut_off_below`. Other boxes stay as they are, and so
    do those that reach the hips.
    """
    out = xyxy.copy()
    if cut.any():
        px_per_cm = (xyxy[cut, 2] - xyxy[cut, 0]) / UPPER_BODY_CM
        out[cut, 3] = np.maximum(xyxy[cut, 3], xyxy[cut, 1] + (HEAD_CM + TORSO_CM) * px_per_cm)
    if keypoints is not None and hung.any():
        origin, _, down = torso_frames(keypoints[hung])
        out[hung, 3] = np.maximum(xyxy[hung, 3], (origin + TORSO_CM * down)[:, 1])
    return out


def shoulders_visible(keypoints: Float32Array | None, n: int) -> BoolArray:
    """Return an (n,) mask of people with two sure shoulder keypoints; all False without keypoints."""
    if keypoints is None:
        return np.zeros(n, bool)
    sure = np.all(keypoints[:, [LEFT_SHOULDER, RIGHT_SHOULDER], 2] >= VISIBLE, axis=1)
    apart = np.linalg.norm(keypoints[:, LEFT_SHOULDER, :2] - keypoints[:, RIGHT_SHOULDER, :2], axis=1)
    return np.logical_and(sure, apart > 2)


def portraits_by_joints(xyxy: Float32Array, keypoints: Float32Array) -> BoolArray:
    """Return (n,) whose portrait print hangs from the joints, of people whose shoulders are seen.

    A print twice as long as the torso is a quarter of itself aside for every 15 degrees that its axis is off, so it needs
    sure hips. Of someone cut off, as before a webcam, the hips lie beyond the image: it hangs from the shoulders, since by
    the box it would be over the face.
    """
    w, h = xyxy[:, 2] - xyxy[:, 0], xyxy[:, 3] - xyxy[:, 1]
    return hips_visible(keypoints) | (h <= CUT_OFF * w)


def hips_visible(keypoints: Float32Array) -> BoolArray:
    """Return an (n,) mask of people with two sure hip keypoints."""
    return np.asarray(np.all(keypoints[:, [LEFT_HIP, RIGHT_HIP], 2] >= VISIBLE, axis=1))


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


def box_px_per_cm(xyxy: Float32Array) -> Float32Array:
    """Return (n,) image pixels per centimetre guessed from the box alone."""
    w, h = xyxy[:, 2] - xyxy[:, 0], xyxy[:, 3] - xyxy[:, 1]
    # Of a person cut off the width is the guide.
    return np.where(h > CUT_OFF * w, h / 170.0, w / UPPER_BODY_CM).astype(np.float32)


def forearms(keypoints: Float32Array) -> Float32Array:
    """Return (n, 2, 5) forearms, elbow to wrist and radius in pixels, 0 unless both joints are seen.

    Which of them are in front of the print is drawn by the simulated world.
    """
    out = np.zeros((len(keypoints), 2, 5), np.float32)
    for side, (elbow, wrist) in enumerate(((7, 9), (8, 10))):
        seen = (keypoints[:, elbow, 2] > VISIBLE) & (keypoints[:, wrist, 2] > VISIBLE)
        length = np.linalg.norm(keypoints[:, elbow, :2] - keypoints[:, wrist, :2], axis=1)
        out[:, side, :2], out[:, side, 2:4] = keypoints[:, elbow, :2], keypoints[:, wrist, :2]
        out[:, side, 4] = 0.18 * length * seen
    return out
