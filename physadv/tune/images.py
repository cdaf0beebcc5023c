"""Ultralytics' data set and loader over what `training_data` has read: nothing is written, cached on disk or fetched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from ultralytics.data.dataset import YOLODataset

from physadv.arrays import read_image
from physadv.tune.training_data import BOX, TrainingData
from physadv.types import UInt8Array

# Decoded images are kept up to this: photographs are larger than what the network sees of them, and decoding one takes
# as long as two of them take to be augmented.
MOST_KEPT = 2**30


class TuningImages(YOLODataset):
    """Ultralytics' data set with its own augmentation, whose images and labels come from `TrainingData`."""

    def __init__(self, source: TrainingData, **options: Any) -> None:
        self.source = source
        self._kept: dict[int, tuple[UInt8Array, tuple[int, int]]] = {}
        self._bytes = 0
        super().__init__(img_path=[str(i.path) for i in source.images], **options)

    def get_img_files(self, img_path: Any) -> list[str]:
        """Return the images in the order of `source`."""
        return list(img_path)

    def get_labels(self) -> list[dict[str, Any]]:
        """Return Ultralytics' label of each image."""
        out = []
        for image in self.source.images:
            rows = image.rows
            points = rows[:, BOX:].reshape(len(rows), (rows.shape[1] - BOX) // 3, 3) if self.use_keypoints else None
            label = {"im_file": str(image.path), "shape": (0, 0), "cls": rows[:, :1], "bboxes": rows[:, 1:BOX]}
            out.append(
                {**label, "segments": [], "keypoints": points, "normalized": True, "bbox_format": "xywh"},
            )
        return out

    def load_image(
        self, i: int, rect_mode: bool = True, resize_short: bool = False
    ) -> tuple[UInt8Array, tuple[int, int], tuple[int, int]]:
        """Return (h, w, 3) uint8 BGR whose long side is `imgsz`, with its (height, width) before and after."""
        del rect_mode, resize_short
        found = self._kept.get(i)
        if found is None:
            found = self._read(i)
            if self._bytes + found[0].nbytes <= MOST_KEPT:
                self._kept[i] = found
                self._bytes += found[0].nbytes
        pixels, before = found
        # Augmentation works in place.
        return pixels.copy(), before, pixels.shape[:2]

    def _read(self, i: int) -> tuple[UInt8Array, tuple[int, int]]:
        pixels = read_image(self.source.images[i].path)
        height, width = pixels.shape[:2]
        scale = self.imgsz / max(height, width)
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small = cv2.resize(pixels, size, interpolation=how)
        return np.ascontiguousarray(small[..., ::-1]), (height, width)


class Replayed:
    """A loader each of whose batches comes several times, numbered in `replay`; else the loader itself."""

    def __init__(self, loader: Any, times: int) -> None:
        self._loader, self._times = loader, times

    def __len__(self) -> int:
        return len(self._loader) * self._times

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self._loader:
            for number in range(self._times):
                # The trainer's preparation replaces what is in the batch.
                yield {**batch, "replay": number}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
