"""Small detectors for tests and benchmarks: no weights file, milliseconds an image, the interfaces of the real ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from physadv.detect.base import BareDetector
from physadv.detect.gradients import BareGradient
from physadv.detect.head import HeadSpec, decode_boxes
from physadv.detect.pytorch import TorchDetector
from physadv.detect.weights import Weights
from physadv.detect.yolo import YoloGradient
from physadv.types import Candidates, Detections, Float32Array, UInt8Array

TINY = Weights("tiny", Path("tiny"), "0" * 64)
SPEC = HeadSpec(strides=(8, 16, 32), reg_max=1, end2end=False, keypoints="plain")
# Where the 17 COCO keypoints of a standing person lie, as fractions of the box: nose, eyes, ears, then left and right of
# shoulders, elbows, wrists, hips, knees, ankles. The person's left is on the image's right.
STANDING: Float32Array = np.array(
    [
        [0.5, 0.08], [0.53, 0.06], [0.47, 0.06], [0.57, 0.07], [0.43, 0.07], [0.7, 0.2], [0.3, 0.2], [0.8, 0.35],
        [0.2, 0.35], [0.82, 0.48], [0.18, 0.48], [0.62, 0.52], [0.38, 0.52], [0.62, 0.74], [0.38, 0.74], [0.62, 0.96],
        [0.38, 0.96],
    ],
    np.float32,
)  # fmt: skip


class TinyNet(nn.Module):
    """A seeded convolutional net with the interface of `PersonNet` and about 20,000 weights.

    It is untrained: its people are noise, but they depend on every pixel, and gradients are neither zero nor constant.
    """

    def __init__(self, seed: int = 0, *, keypoints: bool = True) -> None:
        super().__init__()
        self.name = "tiny"
        self.spec = SPEC if keypoints else HeadSpec(SPEC.strides, SPEC.reg_max, SPEC.end2end, None)
        generator = torch.Generator().manual_seed(seed)
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 4, 4), nn.SiLU(), nn.Conv2d(16, 24, 3, 2, 1), nn.SiLU())
        self.down = nn.ModuleList([nn.Conv2d(24, 24, 3, 2, 1), nn.Conv2d(24, 24, 3, 2, 1)])
        outputs = 1 + 4 + (51 if keypoints else 0)
        self.head = nn.ModuleList([nn.Conv2d(24, outputs, 1) for _ in SPEC.strides])
        for parameter in self.parameters():
            with torch.no_grad():
                spread = 1.4 / max(parameter[0].numel(), 1) ** 0.5 if parameter.ndim > 1 else 0.1
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
        self.requires_grad_(False)
        self.eval()

    def heads(
        self, images: torch.Tensor, *, every: bool = True, keypoints: bool = True
    ) -> dict[str, dict[str, torch.Tensor]]:
        """Return {"one2many": {"scores", "boxes", "kpts"}} for images (b, 3, h, w) in [0, 1] RGB."""
        del every
        x = self.stem(images - 0.45)
        levels = [x]
        for layer in self.down:
            x = torch.nn.functional.silu(layer(x))
            levels.append(x)
        flat = torch.cat([h(level).flatten(2) for h, level in zip(self.head, levels, strict=True)], 2)
        # Boxes a few cells wide around each cell; scores spread around a low mean, so that few cells are people.
        raw = {"scores": flat[:, :1] * 4 - 2, "boxes": 2 + flat[:, 1:5].tanh()}
        if self.spec.keypoints and keypoints:
            raw["kpts"] = flat[:, 5:]
        return {"one2many": raw}

    def raw(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return logit (b, a), distance (b, 4, a) and perhaps keypoints (b, 51, a)."""
        answer = self.heads(images)["one2many"]
        out = answer["scores"][:, 0], answer["boxes"]
        return (*out, answer["kpts"]) if self.spec.keypoints else out

    def decode(self, raw: dict[str, torch.Tensor], height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return person logits (b, a) and corner boxes (b, a, 4) of a raw answer."""
        return raw["scores"][:, 0].float(), decode_boxes(raw["boxes"], self.spec, height, width)


def tiny_detector(seed: int = 0, *, imgsz: int = 128, min_conf: float = 0.05, keypoints: bool = True) -> TorchDetector:
    """Return a detector around a `TinyNet`: its people are noise, its mechanics are real."""
    net: nn.Module = TinyNet(seed, keypoints=keypoints)
    return TorchDetector(net, TINY, imgsz=imgsz, min_conf=min_conf)  # type: ignore[arg-type]


def tiny_gradient(seed: int = 0) -> YoloGradient:
    """Return the network of `tiny_detector(seed)` as a detector to attack."""
    net: nn.Module = TinyNet(seed)
    return YoloGradient(net, sha256=TINY.sha256)  # type: ignore[arg-type]


class BlobDetector(BareDetector):
    """A detector of bright green rectangles, exact to the pixel: an image drawn by a test has known people.

    It finds what `draw_person` draws. The score is the share of the blob's box that is bright green: covering a part lowers
    it smoothly, covering most of it hides the person.
    """

    name = "blobs"
    backend = "numpy"
    sha256: str | None = "1" * 64

    def __init__(self, *, min_conf: float = 0.05, smallest: int = 4) -> None:
        self.min_conf = min_conf
        self.smallest = smallest

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        """Return the green rectangles of each image."""
        return [self._people(image) for image in images]

    def _people(self, image: UInt8Array) -> Detections:
        r, g, b = (image[..., i].astype(np.int16) for i in range(3))
        mask = ((g > 120) & (g - np.maximum(r, b) > 60)).astype(np.uint8)
        # Holes and slits of a few pixels do not split a person.
        whole = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
        _, _, stats, _ = cv2.connectedComponentsWithStats(whole)
        boxes, scores = [], []
        for x, y, w, h, _ in stats[1:]:
            score = float(mask[y : y + h, x : x + w].mean())
            if min(w, h) >= self.smallest and score >= self.min_conf:
                boxes.append([x, y, x + w, y + h])
                scores.append(score)
        xyxy = np.array(boxes, np.float32).reshape(-1, 4)
        score_array = np.array(scores, np.float32)
        order = np.argsort(-score_array, kind="stable")
        return Detections(xyxy[order], score_array[order], standing(xyxy[order]))


def draw_person(image: UInt8Array, xyxy: tuple[int, int, int, int]) -> None:
    """Draw onto `image` a rectangle that `BlobDetector` takes for a person, pixel corners (x0, y0, x1, y1)."""
    x0, y0, x1, y1 = xyxy
    image[y0:y1, x0:x1] = (30, 200, 40)


def standing(xyxy: Float32Array) -> Float32Array:
    """Return (n, 17, 3) keypoints of people standing upright in each box, all visible."""
    size = (xyxy[:, 2:] - xyxy[:, :2])[:, None]
    points = xyxy[:, None, :2] + STANDING[None] * size
    return np.concatenate([points, np.ones((len(xyxy), 17, 1), np.float32)], 2).astype(np.float32)


class BlobGradient(BareGradient):
    """The differentiable companion of `BlobDetector`: greenness of each cell of a grid, with gradients.

    Candidates are squares of `cell` pixels, 3 cells wide, one a cell; logit = 12 (greenness - 1/2).
    """

    name = "blobs"

    def __init__(self, cell: int = 16) -> None:
        self.cell = cell

    def candidates(self, images: torch.Tensor) -> Candidates:
        """Return candidates for images (b, 3, h, w) in [0, 1], RGB."""
        green = (images[:, 1] - torch.maximum(images[:, 0], images[:, 2])).clamp_min(0) / 0.6
        score = torch.nn.functional.avg_pool2d(green[:, None], self.cell)
        b, _, rows, columns = score.shape
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        centre = (torch.stack([x, y], 2).reshape(-1, 2).to(images) + 0.5) * self.cell
        half = 1.5 * self.cell
        xyxy = torch.cat([centre - half, centre + half], 1)
        return Candidates(12 * (score.flatten(1) - 0.5), xyxy.expand(b, -1, -1))
