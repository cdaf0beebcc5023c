"""ONNX files of others as person detectors: how their inputs are filled and their outputs read is declared as a layout."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torchvision.ops import nms

from physadv.boxes import STRIDE, Letterbox
from physadv.detect.base import BareDetector
from physadv.detect.head import KEYPOINTS, MAX_PEOPLE
from physadv.detect.onnx import session_of
from physadv.detect.weights import Weights
from physadv.detect.yolo import class_names, person_class
from physadv.errors import BackendError, WeightsError, did_you_mean
from physadv.types import Detections, Float32Array, UInt8Array

# How outputs are read -> what they are, in words.
LAYOUTS = {
    "yolo": "one output (1, 4 + classes, candidates): centre x, y, width, height in pixels, scores; as YOLOv8 to YOLO26",
    "yolo-nms": "one output (1, n, 6): x0, y0, x1, y1 in pixels, score, class; after suppression, as end-to-end YOLOs",
    "rtdetr": "one output (1, n, 6): centre x, y, width, height as shares of the image, score, class; as RT-DETR",
    "detr": "one output (1, n, 4 + classes): centre x, y, width, height as shares of the image, scores; older RT-DETR",
    "ssd": "boxes (n, 4) x0, y0, x1, y1 in pixels, whole-numbered labels (n,), scores (n,); as torchvision's models",
}
# The number of the class "person" where a file does not name its classes: COCO's 80, and torchvision's with background.
PERSON = {"ssd": 1}
# Overlap above which the weaker box is suppressed, as Ultralytics does.
YOLO_IOU = 0.7
# Scores may be beyond 0 and 1 by rounding.
ROUNDING = 1e-3
TYPES: dict[str, Any] = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


@dataclass(frozen=True, slots=True)
class OutputLayout:
    """How a file's outputs are read. name: in `LAYOUTS`. person: number of the class. keypoints: whether 51 numbers follow.

    classes: how many, 0 if unknown.
    """

    name: str
    person: int
    classes: int = 0
    keypoints: bool = False

    @property
    def stretches(self) -> bool:
        """Return whether images fill the input whatever their proportions."""
        return self.name in ("rtdetr", "detr")


class OnnxFileDetector(BareDetector):
    """An ONNX file on onnxruntime's CPU provider, one image at a time. It has no gradients."""

    backend = "onnxruntime"

    def __init__(
        self,
        weights: Weights,
        layout: str | None = None,
        *,
        imgsz: int = 640,
        min_conf: float = 0.05,
        iou_above: float | None = None,
    ) -> None:
        """layout: as `FILE.onnx=LAYOUT` has it, `ssd` or `ssd:0`; None for what Ultralytics wrote into its exports.

        Raises: WeightsError if the file cannot be read, needs a layout, or answers in another one.
        """
        self.name = weights.name
        self.sha256 = weights.sha256
        self.min_conf = min_conf
        self._path = weights.path
        self._iou_above = YOLO_IOU if iou_above is None else iou_above
        self._lock = threading.Lock()
        try:
            self._session = session_of(str(weights.path))
        except Exception as error:  # onnxruntime has its own unexported error types
            reason = " ".join(str(error).split())[:160]
            raise WeightsError(f"{weights.path}: onnxruntime cannot read it ({reason})") from error
        table = dict(self._session.get_modelmeta().custom_metadata_map)
        self.layout = _declared(layout, table) if layout is not None else _of_export(table, self._shapes(), weights)
        self._stride = max(int(table["stride"]) if table.get("stride", "").isdecimal() else 0, STRIDE)
        self._input, self._type, self._size = self._wanted()
        # What scales images itself gets them as they are.
        self.own_size = self._size is not None or self.layout.name == "ssd"
        self.imgsz = max(self._size) if self._size is not None else -(-imgsz // self._stride) * self._stride
        self._check_runs()

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        """Return the people in each (h, w, 3) uint8 RGB image of one common size.

        Raises: BackendError if the network fails on an image, or answers with NaN.
        """
        return [self._people(image) for image in images]

    def fingerprint(self) -> str:
        """Return a hash of the file and of how its outputs are read: another layout answers otherwise."""
        return hashlib.sha256(f"{self.sha256} {self.layout} {self._iou_above}".encode()).hexdigest()

    def _people(self, image: UInt8Array) -> Detections:
        height, width = image.shape[:2]
        box = self._letterbox(width, height)
        with self._lock:
            outputs = self._run(box.apply(image))
        xyxy, score, points = _read(outputs, self.layout, box)
        if not all(np.isfinite(part).all() for part in (xyxy, score, points) if part is not None):
            raise BackendError(f"{self._path}: the network returns NaN or infinity")
        keep = np.flatnonzero(score >= self.min_conf)
        if self.layout.name == "yolo":
            kept = nms(torch.from_numpy(xyxy[keep]), torch.from_numpy(score[keep]), self._iou_above).numpy()
        else:
            kept = np.argsort(-score[keep], kind="stable")
        keep = keep[kept][:MAX_PEOPLE]
        found = Detections(box.boxes_to_frame(xyxy[keep]), score[keep])
        return found if points is None else replace(found, keypoints=box.points_to_frame(points[keep]))

    def _letterbox(self, width: int, height: int) -> Letterbox:
        """Return how an image of this size goes into the network."""
        if self._size is not None:
            return Letterbox.into(width, height, *self._size, stretch=self.layout.stretches)
        if self.layout.name == "ssd":
            return Letterbox.into(width, height, width, height)
        if self.layout.stretches:
            return Letterbox.into(width, height, self.imgsz, self.imgsz, stretch=True)
        return Letterbox.fit(width, height, self.imgsz, stride=self._stride)

    def _run(self, image: UInt8Array) -> list[np.ndarray[Any, Any]]:
        """Return the outputs for an image (h, w, 3) uint8 RGB of the size of the input.

        Raises: BackendError if onnxruntime fails.
        """
        batch = np.ascontiguousarray(image.transpose(2, 0, 1))
        if self._type is not np.uint8:
            batch = (batch.astype(np.float32) / np.float32(255)).astype(self._type)
        if len(self._session.get_inputs()[0].shape) == 4:
            batch = batch[None]
        try:
            return [np.asarray(out) for out in self._session.run(None, {self._input: batch})]
        except Exception as error:  # onnxruntime has its own unexported error types
            reason = " ".join(str(error).split())[:160]
            raise BackendError(f"{self._path}: onnxruntime failed on an image of {batch.shape} ({reason})") from error

    def _wanted(self) -> tuple[str, Any, tuple[int, int] | None]:
        """Return the input's name, its numpy type, and its width and height where they are fixed.

        Raises: WeightsError if images cannot be given as (1, 3, h, w) or (3, h, w).
        """
        inputs = self._session.get_inputs()
        shape = list(inputs[0].shape)
        plain = [s for s in shape[-3:] if isinstance(s, int)]
        if len(inputs) != 1 or len(shape) not in (3, 4) or shape[-3] != 3 or inputs[0].type not in TYPES:
            got = "; ".join(f"{i.name} {i.shape} of {i.type}" for i in inputs)
            raise WeightsError(f"{self._path}: expected one input of images (1, 3, h, w) or (3, h, w), got {got[:200]}")
        fixed = (shape[-1], shape[-2]) if len(plain) == 3 else None
        return inputs[0].name, TYPES[inputs[0].type], fixed

    def _shapes(self) -> list[list[Any]]:
        return [list(out.shape) for out in self._session.get_outputs()]

    def _check_runs(self) -> None:
        """Raise WeightsError if the answer to a grey image is none of the layout."""
        width, height = self._size or (self.imgsz, self.imgsz)
        grey = np.full((height, width, 3), 114, np.uint8)
        try:
            outputs = self._run(grey)
        except BackendError as error:
            raise WeightsError(error.text) from error
        wrong = _wrong(outputs, self.layout)
        if wrong:
            raise WeightsError(
                f"{self._path}: expected the layout {self.layout.name} ({LAYOUTS[self.layout.name]}), got {wrong}",
                field="layout",
                hint=f"declare another one of {', '.join(LAYOUTS)}",
            )


def _declared(text: str, table: dict[str, str]) -> OutputLayout:
    """Return a layout that was declared, `ssd` or `ssd:0`, with what a file's metadata say of its classes.

    Raises: WeightsError for one that is not known.
    """
    name, colon, number = text.partition(":")
    if name not in LAYOUTS or (colon and not number.isdecimal()):
        raise WeightsError(
            field="layout",
            expected=f"one of {', '.join(LAYOUTS)}, perhaps with the number of the class of people (ssd:0)",
            got=repr(text) + did_you_mean(name, list(LAYOUTS)),
        )
    person, classes = PERSON.get(name, 0), 0
    if "names" in table:
        person, classes = person_class(table["names"]), len(class_names(table["names"]))
    return OutputLayout(name, int(number) if colon else person, classes, _has_keypoints(table))


def _of_export(table: dict[str, str], shapes: list[list[Any]], weights: Weights) -> OutputLayout:
    """Return the layout of an export of Ultralytics, from its metadata.

    Raises: WeightsError if the file has none.
    """
    if "names" not in table or table.get("task") not in ("detect", "pose"):
        raise WeightsError(
            f"{weights.path}: it does not say how its outputs are to be read",
            field="layout",
            expected=f"one of {', '.join(LAYOUTS)}",
            got="none",
            hint=f"declare it, also as {weights.path.name}=ssd",
        )
    classes, keypoints = len(class_names(table["names"])), _has_keypoints(table)
    last = shapes[0][-1] if shapes and len(shapes[0]) == 3 else None
    # RT-DETR of before version 8.4 has no `head`; it alone lists a score for each class in rows.
    if table.get("head") == "RTDETRDecoder":
        name = "rtdetr" if last == 6 else "detr"
    elif last == 6 + 3 * KEYPOINTS * keypoints:
        name = "yolo-nms"
    else:
        name = "detr" if last == 4 + classes else "yolo"
    return OutputLayout(name, person_class(table["names"]), classes, keypoints)


def _has_keypoints(table: dict[str, str]) -> bool:
    return table.get("task") == "pose" and "".join(table.get("kpt_shape", "").split()) == f"[{KEYPOINTS},3]"


def _wrong(outputs: list[np.ndarray[Any, Any]], layout: OutputLayout) -> str:
    """Return what is wrong with outputs in a layout, or ""."""
    shapes = ", ".join(f"{out.dtype} {out.shape}" for out in outputs)
    if layout.name == "ssd":
        return "" if _parts(outputs) is not None else shapes
    if len(outputs) != 1 or outputs[0].ndim != 3 or len(outputs[0]) != 1 or outputs[0].dtype.kind != "f":
        return shapes
    table = outputs[0][0].T if layout.name == "yolo" else outputs[0][0]
    rows, columns = table.shape
    more = 3 * KEYPOINTS if layout.keypoints else 0
    if layout.name in ("yolo", "detr"):
        # Without names the longer side is that of the candidates: 8400 of them, 4 + 80 numbers each.
        fits = columns == 4 + layout.classes + more if layout.classes else 4 < columns < rows
        fits = fits and layout.person < columns - 4 - more
        scores = table[:, 4 : columns - more]
    else:
        fits, scores = columns == 6 + more, table[:, 4:5]
    if not fits:
        return shapes
    if not np.isfinite(scores).all() or scores.min(initial=0) < -ROUNDING or scores.max(initial=0) > 1 + ROUNDING:
        return f"scores from {scores.min():g} to {scores.max():g}, which are no probabilities"
    return ""


def _parts(outputs: list[np.ndarray[Any, Any]]) -> tuple[Any, Any, Any] | None:
    """Return boxes (n, 4), labels (n,) and scores (n,) of outputs in any order, a batch of 1 taken off; None if wrong."""
    boxes = [out for out in outputs if out.shape[-1:] == (4,) and out.ndim in (2, 3) and out.dtype.kind == "f"]
    rest = [out for out in outputs if all(out is not box for box in boxes)]
    labels = [out.reshape(-1) for out in rest if out.dtype.kind in "iu"]
    scores = [out.reshape(-1) for out in rest if out.dtype.kind == "f" and out.ndim <= 2]
    if not (boxes and labels and scores):
        return None
    xyxy = boxes[0].reshape(-1, 4)
    return (xyxy, labels[0], scores[0]) if len(xyxy) == len(labels[0]) == len(scores[0]) else None


def _read(
    outputs: list[np.ndarray[Any, Any]], layout: OutputLayout, box: Letterbox
) -> tuple[Float32Array, Float32Array, Float32Array | None]:
    """Return boxes (n, 4) in pixels of the input, scores (n,) and perhaps keypoints (n, 17, 3) of people, in any order."""
    points = None
    if layout.name == "ssd":
        parts = _parts(outputs)
        assert parts is not None, "checked when the file was loaded"
        xyxy, labels, score = parts
        person = labels == layout.person
        return xyxy[person].astype(np.float32), score[person].astype(np.float32), None
    table = outputs[0][0].astype(np.float32)
    if layout.name == "yolo":
        table = table.T
    numbers = table[:, :4]
    if layout.name in ("yolo", "detr"):
        score = table[:, 4 + layout.person]
    else:
        table = table[table[:, 5].round() == layout.person]
        numbers, score = table[:, :4], table[:, 4]
    if layout.keypoints:
        points = np.ascontiguousarray(table[:, -3 * KEYPOINTS :]).reshape(-1, KEYPOINTS, 3)
    if layout.name != "yolo-nms":
        centre, half = numbers[:, :2], numbers[:, 2:] / 2
        numbers = np.concatenate([centre - half, centre + half], 1)
    if layout.stretches:
        numbers = numbers * np.array([box.width, box.height] * 2, np.float32)
    return np.ascontiguousarray(numbers), np.ascontiguousarray(score), points
