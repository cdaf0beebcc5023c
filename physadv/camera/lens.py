"""The lens taken out of an image, and lengths in centimetres from pixels."""

from __future__ import annotations

import cv2
import numpy as np

from physadv.camera.profile import CameraProfile
from physadv.types import Float32Array, Frame, UInt8Array

# An adult, where nothing better is known.
PERSON_CM = 170.0
# Colour of the lines by which a person judges whether an image is straight.
RULED = (255, 64, 160)


class Undistorter:
    """Removes lens distortion: the image that a pinhole camera of the same focal length would have taken.

    The image keeps its size and its focal length, so distances follow from `focal_px` as before; where the lens's
    distortion leaves no light at the rim, the rim is black only there.
    """

    def __init__(self, profile: CameraProfile, size: tuple[int, int]) -> None:
        """size: (width, height) of the images to come.

        Raises: CalibrationError if the profile is for images of another size.
        """
        profile.check_size(*size)
        self.profile = profile
        self._matrix = np.array(profile.matrix, np.float64)
        self._distortion = np.array(profile.distortion, np.float64)
        self._maps = cv2.initUndistortRectifyMap(
            self._matrix, self._distortion, np.eye(3), self._matrix, size, cv2.CV_16SC2
        )

    def apply(self, pixels: UInt8Array) -> UInt8Array:
        """Return an (h, w, 3) uint8 image without the lens's distortion, same size.

        Raises: CalibrationError if it has another size than given at the start.
        """
        self.profile.check_size(pixels.shape[1], pixels.shape[0])
        return cv2.remap(pixels, *self._maps, cv2.INTER_LINEAR)  # type: ignore[return-value]

    def points(self, xy: Float32Array) -> Float32Array:
        """Return (n, 2) pixel positions of the raw image in the undistorted one."""
        if not len(xy):
            return xy
        flat = cv2.undistortPoints(
            xy.reshape(-1, 1, 2).astype(np.float64), self._matrix, self._distortion, None, None, self._matrix
        )
        return flat.reshape(-1, 2).astype(np.float32)


class Lens:
    """The lens of one calibrated camera, taken out of its frames."""

    def __init__(self, profile: CameraProfile) -> None:
        self.profile = profile
        self._undistorter: Undistorter | None = None

    def flat(self, frame: Frame) -> Frame:
        """Return the same moment without the lens's distortion.

        Raises: CalibrationError if the profile is for images of another size.
        """
        if self._undistorter is None:
            self._undistorter = Undistorter(self.profile, frame.size)
        return frame.with_pixels(self._undistorter.apply(frame.pixels))


def undistortion_preview(profile: CameraProfile, pixels: UInt8Array) -> UInt8Array:
    """Return the image as it came over the image with the lens taken out, ruled so that bent lines show."""
    flat = Undistorter(profile, (pixels.shape[1], pixels.shape[0])).apply(pixels)
    out = np.concatenate([_ruled(pixels), _ruled(flat)], 0)
    scale = min(1.0, 1600 / max(out.shape[:2]))
    return np.ascontiguousarray(cv2.resize(out, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))


def _ruled(pixels: UInt8Array) -> UInt8Array:
    out = pixels.copy()
    h, w = out.shape[:2]
    thick = max(1, round(w / 900))
    for k in range(1, 8):
        cv2.line(out, (round(k * w / 8), 0), (round(k * w / 8), h), RULED, thick)
        cv2.line(out, (0, round(k * h / 8)), (w, round(k * h / 8)), RULED, thick)
    return out


def size_cm(
    xyxy: Float32Array,
    *,
    shoulders_px: Float32Array | None = None,
    shoulders_cm: float = 36.0,
    person_cm: float = PERSON_CM,
) -> tuple[Float32Array, Float32Array]:
    """Return the sizes (n, 2) in centimetres of people's boxes, width and height, and the (n,) pixels per centimetre.

    xyxy: (n, 4) boxes in pixels of an undistorted image. shoulders_px: (n,) pixels from shoulder to shoulder, NaN where
    not seen: then an adult's `shoulders_cm` gives the scale. Without shoulders a box that is 1.7 times as tall as wide or
    more is taken to be a whole person of `person_cm`; a squatter one shows an upper body about 55 cm wide.
    """
    w, h = xyxy[:, 2] - xyxy[:, 0], xyxy[:, 3] - xyxy[:, 1]
    scale = np.where(h > 1.7 * w, h / person_cm, w / 55.0)
    if shoulders_px is not None:
        seen = np.nan_to_num(shoulders_px, nan=0.0) > 2
        scale = np.where(seen, np.nan_to_num(shoulders_px, nan=1.0) / shoulders_cm, scale)
    scale = np.maximum(scale, 1e-6)
    return np.stack([w / scale, h / scale], 1).astype(np.float32), scale.astype(np.float32)
