"""Detectors of others: what they offer at least, and what of it is checked before anybody relies on it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from physadv import plugins
from physadv.boxes import STRIDE
from physadv.detect.base import BareDetector
from physadv.detect.gradients import BareGradient, checked_candidates
from physadv.detect.head import KEYPOINTS
from physadv.detect.names import PluginName
from physadv.errors import PhysadvError, PluginError
from physadv.types import Candidates, Detections, Float32Array, UInt8Array

if TYPE_CHECKING:
    from physadv.detect.weights import Weights


class PersonFinder(Protocol):
    """What the factory of a plug-in returns at least. Further members, if it has them, are used:

    `imgsz`: long side in pixels at which it looks, at which defences work. `deterministic`: False if equal images may get
    unequal answers. `fingerprint()`: a text that differs with its weights. `candidates(images)`, to be attacked: person
    logits (b, a) and boxes (b, a, 4) for a tensor (b, 3, h, w) in [0, 1] RGB, with gradients to it; `stride`: of which h
    and w are multiples (32). For `physadv study`: `parameters`, how many weights it has, and `year`, when it was published.
    """

    def detect(self, image: UInt8Array) -> tuple[Any, ...]:
        """Return boxes (n, 4) x0, y0, x1, y1 in pixels, scores (n,) in [0, 1], and perhaps keypoints (n, 17, 3).

        image: (h, w, 3) uint8 RGB, read-only. All candidates after suppression, in any order; physadv takes the threshold.
        """
        ...


class PluginDetector(BareDetector):
    """A detector of others. Whatever it returns is checked, and an error in it is one line with its name."""

    backend = "plug-in"

    def __init__(self, finder: PersonFinder, weights: Weights, *, imgsz: int = 640, min_conf: float = 0.05) -> None:
        """imgsz: long side in pixels for a plug-in that names none.

        Raises: PluginError if it names what is no number of pixels.
        """
        self.name = weights.name
        self.sha256 = weights.sha256
        self.min_conf = min_conf
        # Nothing tells it a size: whatever it looks at is its own.
        self.own_size = True
        self.weights_known = callable(getattr(finder, "fingerprint", None))
        self.parameters, self.year = _count(finder, "parameters"), _count(finder, "year")
        self.imgsz = _pixels(finder, weights.name, "imgsz", imgsz)
        self.deterministic = bool(getattr(finder, "deterministic", True))
        self._finder = finder

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        """Return the people in each (h, w, 3) uint8 RGB image of one common size.

        Raises: PluginError if the plug-in fails, or returns what is no answer.
        """
        return [self._people(image) for image in images]

    def _people(self, image: UInt8Array) -> Detections:
        seen = image.view()
        seen.setflags(write=False)
        try:
            answer = self._finder.detect(seen)
        except Exception as error:  # the code of others fails in many ways
            raise PluginError(f"{self.name}: its detect failed ({plugins.short(error)})") from error
        if not isinstance(answer, tuple | list) or len(answer) not in (2, 3):
            got = f"{len(answer)} parts" if isinstance(answer, tuple | list) else type(answer).__name__
            raise self._wrong("boxes and scores, perhaps keypoints", got)
        score = self._checked("scores", answer[1], (None,))
        xyxy = self._checked("boxes", answer[0], (len(score), 4))
        points = self._checked("keypoints", answer[2], (len(score), KEYPOINTS, 3)) if len(answer) > 2 else None
        if len(score) and not 0 <= score.min() <= score.max() <= 1:
            raise self._wrong("scores from 0 to 1", f"{score.min():g} to {score.max():g}")
        if (xyxy[:, :2] > xyxy[:, 2:]).any():
            row = xyxy[(xyxy[:, :2] > xyxy[:, 2:]).any(1)][0]
            raise self._wrong("boxes x0, y0, x1, y1 with x0 <= x1 and y0 <= y1", str(row.round(1).tolist()))
        height, width = image.shape[:2]
        xyxy = np.clip(xyxy, 0, np.array([width, height] * 2, np.float32))
        order = np.argsort(-score, kind="stable")
        order = order[score[order] >= self.min_conf]
        return Detections(xyxy[order], score[order], None if points is None else points[order])

    def _checked(self, what: str, value: object, shape: tuple[int | None, ...]) -> Float32Array:
        """Return numbers as float32.

        Raises: PluginError unless they are finite numbers of this shape; None stands for any length.
        """
        try:
            array = np.asarray(value)
        except Exception as error:  # a tensor of a GPU, or anything else
            raise self._wrong(f"{what} as an array", type(value).__name__) from error
        if shape[0] == 0 and not array.size:
            # Nobody, as an empty list.
            return np.zeros([n or 0 for n in shape], np.float32)
        if array.dtype.kind not in "fiu":
            raise self._wrong(f"{what} of numbers", f"{type(value).__name__} of {array.dtype}")
        if array.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape, array.shape, strict=True)):
            words = ", ".join("n" if n is None else str(n) for n in shape)
            raise self._wrong(f"{what} of shape ({words}{',' * (len(shape) == 1)})", str(array.shape))
        if not np.isfinite(array).all():
            raise self._wrong(f"finite {what}", "NaN or infinity")
        return array.astype(np.float32)

    def _wrong(self, expected: str, got: str) -> PluginError:
        return PluginError(f"{self.name}: its detect answered wrongly", expected=expected, got=got)

    def fingerprint(self) -> str:
        """Return a hash of the plug-in's code, and of its weights where it says so."""
        return _fingerprint(self.name, self._finder, self.sha256)


def load_finder(named: PluginName) -> PersonFinder:
    """Return what the factory of a plug-in makes.

    Raises: PluginError if it cannot be imported, fails, or makes what finds nobody.
    """
    factory = plugins.load(named.reference, field="detector")
    if not callable(factory):
        raise PluginError(f"{named.name}: expected a factory to call, got {type(factory).__name__}", field="detector")
    try:
        finder = factory()
    except PhysadvError:
        raise
    except (Exception, SystemExit) as error:  # the code of others fails in many ways
        raise PluginError(f"{named.name}: its factory failed ({plugins.short(error)})", field="detector") from error
    if not callable(getattr(finder, "detect", None)):
        got = f"{type(finder).__name__} without it"
        raise PluginError(named.name, field="detector", expected="a detector with a method detect", got=got)
    return finder


def without_gradients(name: str) -> PluginError:
    """Return the error for a detector that is to be attacked and has no gradients."""
    return PluginError(
        f"{name} gives no gradients, so nothing can be trained against it",
        field="detector",
        hint="it can be evaluated, defended and shown live: train against another detector, and evaluate the pattern on it",
    )


class PluginGradient(BareGradient):
    """A detector of others to attack. What it returns is checked, gradients too, before anything is learned from it."""

    def __init__(self, finder: PersonFinder, weights: Weights, *, device: str = "cpu") -> None:
        """Raises: PluginError if the plug-in offers no gradients, or its stride is no number of pixels."""
        self._finder = finder
        self._candidates: Any = getattr(finder, "candidates", None)
        if not callable(self._candidates):
            raise without_gradients(weights.name)
        self.name = weights.name
        self.sha256 = weights.sha256
        self.device = torch.device(device)
        self.stride = _pixels(finder, weights.name, "stride", STRIDE)
        self.parameters, self.year = _count(finder, "parameters"), _count(finder, "year")

    def candidates(self, images: torch.Tensor) -> Candidates:
        """Return candidates for images (b, 3, h, w) in [0, 1], RGB, h and w multiples of `stride`.

        Raises: PluginError if the plug-in fails, or returns what is no answer.
        """
        try:
            answer = self._candidates(images)
        except Exception as error:  # the code of others fails in many ways
            raise PluginError(f"{self.name}: its candidates failed ({plugins.short(error)})") from error
        return checked_candidates(f"{self.name}: its candidates", answer, images)

    def fingerprint(self) -> str:
        """Return a hash of the plug-in's code, and of its weights where it says so."""
        return _fingerprint(self.name, self._finder, self.sha256)


def _pixels(finder: PersonFinder, name: str, member: str, otherwise: int) -> int:
    """Return a member of a plug-in that is a number of pixels, at least 1.

    Raises: PluginError if it is anything else.
    """
    value = getattr(finder, member, otherwise)
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise PluginError(
            f"{name}: its {member}", field="detector", expected="a whole number of pixels", got=repr(value)
        )
    return int(value)


def _count(finder: PersonFinder, member: str) -> int | None:
    """Return a member of a plug-in that is a whole number, for reports; None where it has none."""
    value = getattr(finder, member, None)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _fingerprint(name: str, finder: PersonFinder, code: str | None) -> str:
    """Return the hash of a plug-in's code, with what it says of its own weights.

    Raises: PluginError if that fails.
    """
    own = getattr(finder, "fingerprint", None)
    if not callable(own):
        return code or ""
    try:
        return hashlib.sha256(f"{code} {own()}".encode()).hexdigest()
    except Exception as error:  # the code of others fails in many ways
        raise PluginError(f"{name}: its fingerprint failed ({plugins.short(error)})") from error
