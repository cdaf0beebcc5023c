"""A calibrated camera in the live loop: the lens taken out of each image, people's sizes in centimetres."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from physadv.camera.lens import Lens, size_cm
from physadv.camera.profile import CameraProfile
from physadv.simulate.placement import LEFT_SHOULDER, RIGHT_SHOULDER, SHOULDER_CM, shoulders_visible
from physadv.types import Detections


class Measure(Lens):
    """What `--camera` adds: undistorted images and lengths."""

    def __init__(self, where: str | Path) -> None:
        """where: a camera profile by name or path.

        Raises: CalibrationError if it is missing, damaged, changed or stale.
        """
        profile = CameraProfile.load(where)
        profile.check_age()
        super().__init__(profile)

    def told(self, people: Detections) -> tuple[str, ...]:
        """Return width, height and distance of each person as text.

        The scale is that of an adult's shoulders where both are seen, else of a whole adult: see `size_cm`.
        """
        shoulders = None
        if people.keypoints is not None:
            across = people.keypoints[:, LEFT_SHOULDER, :2] - people.keypoints[:, RIGHT_SHOULDER, :2]
            seen = shoulders_visible(people.keypoints, len(people))
            shoulders = np.where(seen, np.linalg.norm(across, axis=1), np.nan).astype(np.float32)
        sizes, scale = size_cm(people.xyxy, shoulders_px=shoulders, shoulders_cm=SHOULDER_CM)
        metres = self.profile.focal_px / scale / 100
        return tuple(f"{w:.0f} x {h:.0f} cm, {m:.1f} m" for (w, h), m in zip(sizes, metres, strict=True))

    def record(self) -> dict[str, Any]:
        """Return the profile's name and hash, for a recording's session."""
        return {"name": self.profile.name, "sha256": self.profile.sha256}
