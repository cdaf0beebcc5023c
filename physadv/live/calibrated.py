"""A calibrated camera in the demo: the lens taken out of frames, and people's sizes in centimetres."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from physadv.camera.lens import Lens, size_cm
from physadv.camera.profile import CameraProfile
from physadv.errors import CalibrationError
from physadv.live.notices import Notices
from physadv.simulate.joints import LEFT_SHOULDER, RIGHT_SHOULDER, SHOULDER_CM, shoulders_visible
from physadv.types import Detections, Frame


class CalibratedCamera(Lens):
    """What a camera's profile adds: undistorted frames, and people's sizes in centimetres."""

    def __init__(self, where: str | Path) -> None:
        """where: a camera profile by name or path.

        Raises: CalibrationError if it is missing, damaged, changed or stale.
        """
        profile = CameraProfile.load(where)
        profile.check_age()
        super().__init__(profile)

    def sizes(self, people: Detections) -> tuple[str, ...]:
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


class LensCorrection:
    """Takes the lens out of frames as long as the profile fits them. camera: None without a profile, or after a misfit."""

    def __init__(self, camera: CalibratedCamera | None, notices: Notices) -> None:
        self.camera, self._notices = camera, notices
        self._none_yet = True

    def flat(self, frame: Frame) -> Frame:
        """Return the frame undistorted, or as it is.

        Raises: CalibrationError if the profile does not fit the very first frame.
        """
        first, self._none_yet = self._none_yet, False
        if self.camera is None:
            return frame
        try:
            return self.camera.flat(frame)
        except CalibrationError as error:
            # Chosen at the start it is a mistake; a source that came later goes on without it.
            if first:
                raise
            self.camera = None
            self._notices.add("error", "camera", error.marked)
            return frame

    def sizes(self, people: Detections) -> tuple[str, ...]:
        """Return each person's size and distance as text, none without a profile."""
        return () if self.camera is None else self.camera.sizes(people)

    def record(self) -> dict[str, Any] | None:
        """Return the profile's name and hash, for a recording's session; None without one."""
        return None if self.camera is None else self.camera.record()
