"""What the running detector looks at in the newest frame: a map of the nearest person's score, made when it is asked for.

The demo's own detector may run by OpenVINO, which has no gradients. The map is made by the same weights in PyTorch, of the
part of the frame around one person, no larger than `LONGEST`: that takes half of a pass of the detector, where the whole
frame would take two.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import cv2
import numpy as np

from physadv.boxes import area
from physadv.detect.pytorch import TorchDetector
from physadv.errors import BackendError, DataError
from physadv.explain.channels import check_layer
from physadv.explain.odam import Odam
from physadv.live.shown import Shown
from physadv.types import Detector, Float32Array, UInt8Array

# Long side in pixels of what the network is given. With it yolo11n-pose took 17 to 19 ms of one core for a map, and a pass
# of OpenVINO over the whole frame 36 to 40.
LONGEST = 256
# Of the frame around a person, as a part of the box's sides.
AROUND = 0.5
# How much of the image the brightest place of a map hides.
COVER = 0.75
# Turns a detector's name or path into one with gradients.
GradientLoader = Callable[[str], Detector]


def load_looked_at(where: str) -> Detector:
    """Return the named detector by PyTorch, at the size of a map.

    Raises: WeightsError, BackendError.
    """
    from physadv.detect import load_detector

    return load_detector(where, backend="reference", precision="fp32", imgsz=LONGEST, device="cpu")


@dataclass(frozen=True, slots=True, eq=False)
class PersonLook:
    """What the network looks at. frame: the number of the frame. xyxy: the part of it that the map is of, in pixels.

    heat: (h, w, 4) uint8 RGBA to be laid over that part. score: of the person in that part by itself; None where no
    proposal fits them there, and the map is empty. took_ms: by the clock.
    """

    frame: int
    xyxy: tuple[int, int, int, int]
    heat: UInt8Array
    score: float | None
    took_ms: float


class Looking:
    """Makes maps of the nearest person. Safe to use from several threads: one map is made at a time.

    where: returns what the loader takes for a detector's name as a viewer chooses it.
    """

    def __init__(self, where: Callable[[str], str], loader: GradientLoader = load_looked_at) -> None:
        self._where, self._loader = where, loader
        self._lock = threading.Lock()
        self._loaded: tuple[str, TorchDetector] | None = None

    def layers(self, name: str) -> list[tuple[int, str]]:
        """Return the number and kind of each layer of a detector that can be looked at, with its level where it has one.

        Raises: BackendError if the detector has no gradients. WeightsError if it cannot be loaded.
        """
        with self._lock:
            net = self._torch(name).net
        levels = {
            number: f"P{int(np.log2(stride))}" for number, stride in zip(net.levels, net.spec.strides, strict=True)
        }
        return [(n, f"{kind}, {levels[n]}" if n in levels else kind) for n, kind in enumerate(net.layers)]

    def look(self, shown: Shown, layer: int | None) -> PersonLook:
        """Return what the network looks at in the nearest person of a frame.

        layer: None for what the head is given (P3, P4 and P5) together.

        Raises: DataError where nobody is in the frame. SettingsError if there is no such layer. BackendError if the
        detector has no gradients. WeightsError if it cannot be loaded.
        """
        # Who wears a pattern is known from the clean frame, though the detector may not find them.
        people = shown.placed if shown.placed is not None and len(shown.placed) else shown.people
        if not len(people):
            raise DataError("nobody is in the image whose score could be explained")
        box = people.xyxy[int(area(people.xyxy).argmax())]
        with self._lock:
            net = self._torch(shown.detector).net
            if layer is not None:
                check_layer(net, layer)
            began = perf_counter()
            part = _around(box, shown.frame.size)
            left, top, right, bottom = part
            pixels = np.ascontiguousarray(shown.frame.pixels[top:bottom, left:right])
            stride = net.spec.stride
            imgsz = min(-(-max(pixels.shape[:2]) // stride) * stride, -(-LONGEST // stride) * stride)
            odam = Odam(net, imgsz=imgsz, layers=() if layer is None else (layer,))
            small = odam.letterbox(pixels)
            found = odam.attribute(pixels, (box - np.array([left, top] * 2, np.float32))[None])[0]
            shape = (*small.inner[::-1], 3)
            heat = np.zeros(shape[:2], np.float32)
            if found is not None:
                heat = odam.summed(found, np.zeros(shape, np.uint8))
            score = None if found is None else float(1 / (1 + np.exp(-found.logit)))
            return PersonLook(shown.number, part, _coloured(heat), score, (perf_counter() - began) * 1000)

    def _torch(self, name: str) -> TorchDetector:
        """Return the detector of that name with gradients; only the last one is kept.

        Raises: BackendError if it has none.
        """
        # Where a name leads is looked up on the disk, which is not done again for each map.
        if self._loaded is None or self._loaded[0] != name:
            detector = self._loader(self._where(name))
            if not isinstance(detector, TorchDetector):
                raise BackendError(f"{detector.name} gives no gradients of its layers: nothing can be shown of them")
            self._loaded = name, detector
        return self._loaded[1]


def _around(box: Float32Array, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the part of a frame of (width, height) around a box, xyxy in whole pixels."""
    x0, y0, x1, y1 = box.tolist()
    wide, high = AROUND * (x1 - x0), AROUND * (y1 - y0)
    left, top = max(round(x0 - wide), 0), max(round(y0 - high), 0)
    right, bottom = min(round(x1 + wide), size[0]), min(round(y1 + high), size[1])
    return min(left, size[0] - 1), min(top, size[1] - 1), max(right, left + 1), max(bottom, top + 1)


def _coloured(heat: Float32Array) -> UInt8Array:
    """Return a map (h, w), not negative, as (h, w, 4) RGBA: clear where it is 0."""
    share = np.clip(heat / max(float(heat.max()), 1e-12), 0, 1)
    colour = cv2.applyColorMap((share * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    return np.dstack([colour, (np.sqrt(share) * COVER * 255).astype(np.uint8)])
