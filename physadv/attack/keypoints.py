"""People as one detector finds them, with the keypoints that a pose model gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from physadv.detect.base import WrappedDetector
from physadv.detect.matching import LABEL_CONF, match_keypoints
from physadv.types import Detections, Detector, Frame, UInt8Array


class WithKeypoints(WrappedDetector):
    """A detector whose people get keypoints from a pose model that finds them in the same place; others get none."""

    def __init__(self, detector: Detector, pose: Detector) -> None:
        super().__init__(detector)
        self._pose = pose

    def detect(self, frame: Frame) -> Detections:
        """Return the people of one image with keypoints, confidence 0 where the pose model finds nobody."""
        return self.detect_batch([frame.pixels])[0]

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        """Return the people of each image with keypoints."""
        found, poses = self.inner.detect_batch(images), self._pose.detect_batch(images)
        return [
            replace(f, keypoints=match_keypoints(f.xyxy, p.above(LABEL_CONF)))
            for f, p in zip(found, poses, strict=True)
        ]
