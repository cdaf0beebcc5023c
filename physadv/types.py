"""The nouns that everything shares: a frame, the detections in it, and what a source and a detector offer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image of a source and when it was captured.

    pixels: (h, w, 3) uint8, RGB, made read-only here. index: the source's own count from 0; a gap means lost frames.
    captured_ns: `time.monotonic_ns()` at which the image was taken or decoded. pts_s: presentation time in seconds in
    the source's own clock; for a live camera, seconds since its first frame.
    """

    pixels: UInt8Array
    index: int
    captured_ns: int
    pts_s: float

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 3 or self.pixels.dtype != np.uint8:
            raise ValueError(f"pixels: expected (h, w, 3) uint8, got {self.pixels.shape} {self.pixels.dtype}")
        self.pixels.setflags(write=False)

    @property
    def size(self) -> tuple[int, int]:
        """Return (width, height) in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]

    def with_pixels(self, pixels: UInt8Array) -> Frame:
        """Return the same moment with other pixels (a patch put on, a defence's view)."""
        return replace(self, pixels=pixels)


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that a defence shows to the people who watch.

    kind: a short stable word ("vanished", "probe", "removed"). text: one sentence with the reason. xyxy: where, in
    frame pixels; None for the whole image.
    """

    kind: str
    text: str
    xyxy: tuple[float, float, float, float] | None = None


# What `Detections` may say of each person, by its type.
PER_PERSON = {"held": bool, "certified": bool, "track": np.int64}


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """People found in one image, as parallel arrays sorted by falling score.

    xyxy: (n, 4) float32, pixels of the frame. score: (n,) float32 in [0, 1]. keypoints: (n, 17, 3) float32, COCO order,
    x, y in frame pixels and confidence; None if the model has none. held: (n,) bool, people that a defence reports
    whatever their score (a coasting track); None means nobody. certified: (n,) bool, whether a certificate holds for each;
    None if none was sought. track: (n,) int64 identities, or None. seen: the image that a defence gave to the detector,
    (h, w, 3) uint8 RGB, for the page: of any size, turned or mirrored as the defence does. to_seen: (2, 3) affine from
    frame pixels to those of `seen`; None where they coincide.
    """

    xyxy: Float32Array
    score: Float32Array
    keypoints: Float32Array | None = None
    alerts: tuple[Alert, ...] = ()
    held: BoolArray | None = None
    certified: BoolArray | None = None
    track: Int64Array | None = None
    seen: UInt8Array | None = field(default=None, repr=False)
    to_seen: npt.NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        n = len(self.score)
        if self.xyxy.shape != (n, 4):
            raise ValueError(f"xyxy: expected ({n}, 4), got {self.xyxy.shape}")
        if self.keypoints is not None and self.keypoints.shape != (n, 17, 3):
            raise ValueError(f"keypoints: expected ({n}, 17, 3), got {self.keypoints.shape}")
        for name in PER_PERSON:
            value = getattr(self, name)
            if value is not None and value.shape != (n,):
                raise ValueError(f"{name}: expected ({n},), got {value.shape}")

    def __len__(self) -> int:
        return len(self.score)

    @classmethod
    def empty(cls, *, keypoints: bool = False) -> Detections:
        """Return an answer with nobody; with `keypoints`, in the shape of a pose model's answer."""
        return cls(
            np.zeros((0, 4), np.float32),
            np.zeros((0,), np.float32),
            np.zeros((0, 17, 3), np.float32) if keypoints else None,
        )

    def pick(self, index: npt.NDArray[np.intp] | BoolArray) -> Detections:
        """Return the people at `index` (integers or a mask), in that order; alerts and `seen` are kept."""

        def take(a: npt.NDArray[Any] | None) -> npt.NDArray[Any] | None:
            return None if a is None else a[index]

        return replace(
            self,
            xyxy=self.xyxy[index],
            score=self.score[index],
            keypoints=take(self.keypoints),
            held=take(self.held),
            certified=take(self.certified),
            track=take(self.track),
        )

    def with_held(
        self,
        xyxy: Float32Array,
        score: Float32Array,
        keypoints: Float32Array | None = None,
        track: Int64Array | None = None,
    ) -> tuple[Detections, BoolArray]:
        """Return the answer with further people, held, sorted by falling score, and which of the people are new.

        xyxy: (m, 4). score: (m,). keypoints: (m, 17, 3); None for points of confidence 0. track: (m,); None for -1.
        """
        n, more = len(self), len(score)
        points = np.zeros((more, 17, 3), np.float32) if keypoints is None else keypoints
        identities = np.full(more, -1, np.int64) if track is None else track
        out = replace(
            self,
            xyxy=np.concatenate([self.xyxy, xyxy]).astype(np.float32),
            score=np.concatenate([self.score, score]).astype(np.float32),
            keypoints=None if self.keypoints is None else np.concatenate([self.keypoints, points]).astype(np.float32),
            held=np.concatenate([np.zeros(n, bool) if self.held is None else self.held, np.ones(more, bool)]),
            certified=None if self.certified is None else np.concatenate([self.certified, np.zeros(more, bool)]),
            track=None if self.track is None else np.concatenate([self.track, identities]),
        )
        order = np.argsort(-out.score, kind="stable")
        return out.pick(order), order >= n

    def above(self, conf: float) -> Detections:
        """Return the people with score >= conf and those that a defence holds."""
        keep = self.score >= conf
        if self.held is not None:
            keep = keep | self.held
        return self.pick(keep)


@runtime_checkable
class Source(Protocol):
    """A stream of frames. It never invents one: no black frame, no repeated frame in place of a lost one."""

    name: str
    live: bool

    def read(self) -> Frame:
        """Return the next frame; raise `EndOfStream` after the last, `CameraLost` when a live source goes silent."""
        ...

    def close(self) -> None:
        """Release the device, file or socket. May be called twice and from another thread."""
        ...


@runtime_checkable
class Detector(Protocol):
    """Finds people in images: every candidate that survives suppression down to `min_conf`; callers apply a threshold.

    name: what a report calls it. backend, precision: what runs it ("torch", "fp32"). min_conf: the lowest score returned.
    imgsz: long side in pixels to which images are scaled. sha256: of its weights file; None without one. deterministic:
    whether equal images get equal answers, on which certificates rest. cost_ms: milliseconds an image that the last
    answer took beyond one plain pass; 0 without a defence. `physadv.detect.base` has bases for implementations.
    """

    name: str
    backend: str
    precision: str
    min_conf: float
    imgsz: int
    sha256: str | None
    deterministic: bool
    cost_ms: float

    def detect(self, frame: Frame) -> Detections:
        """Return the people in one frame, boxes in its own pixels."""
        ...

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        """Return the people in each (h, w, 3) uint8 RGB image of one common size."""
        ...

    def activation(self, image: UInt8Array) -> Float32Array:
        """Return a coarse map in [0, 1] over an (h, w, 3) uint8 RGB image: how much of a person is seen at each place."""
        ...

    def lanes(self) -> tuple[Detector, ...]:
        """Return detectors with equal answers that find more images a second side by side, each on a thread of its own.

        Itself alone where nothing is gained.
        """
        ...

    def reset(self) -> None:
        """Forget everything that came from earlier frames."""
        ...

    def fingerprint(self) -> str:
        """Return a hash of the weights as they are now, or the name where there are none to hash."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What a detector thinks before suppression, with gradients.

    logit: (b, a) person logits before the sigmoid. xyxy: (b, a, 4) boxes in pixels of the images given. head: (a,) number
    of the head that each candidate comes from (end-to-end families have two, listed along `a`); None for a single head.
    """

    logit: torch.Tensor
    xyxy: torch.Tensor
    head: torch.Tensor | None = None


@runtime_checkable
class GradientDetector(Protocol):
    """A detector that can be attacked: images in, logits out, gradients back to the images.

    name: what a report calls it. device: where its images have to be. precision: "fp32" or "bf16". stride: height and
    width of images are multiples of it, 32 or with P6 models 64. sha256: of its weights file; None without one.
    reentrant: whether several threads may ask at once. `physadv.detect.gradients` has bases for implementations.
    """

    name: str
    device: torch.device
    precision: str
    stride: int
    sha256: str | None
    reentrant: bool

    def candidates(self, images: torch.Tensor) -> Candidates:
        """Return candidates for images (b, 3, h, w) in [0, 1], RGB, h and w multiples of `stride`."""
        ...

    def reseed(self, seed: tuple[int, ...]) -> None:
        """Restart all random draws: equal seeds give equal draws, whatever was drawn before."""
        ...

    def fingerprint(self) -> str:
        """Return a hash of the weights as they are now, or the name where there are none to hash."""
        ...
