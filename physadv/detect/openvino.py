"""YOLO on OpenVINO: the fastest on CPUs. The only file that imports openvino."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Unpack

import openvino

from physadv.boxes import Letterbox
from physadv.detect.export import exported
from physadv.detect.network import NetworkDetector, Options
from physadv.detect.weights import Weights
from physadv.errors import BackendError
from physadv.types import Detector, Float32Array, UInt8Array

# Compiled networks kept, one for each shape of batch: a folder of images of many shapes would fill the memory.
MAX_COMPILED = 6
WEBCAM = (640, 480)
TYPES = {"fp32": "f32", "bf16": "bf16"}
NAMES = {"float32": "fp32", "f32": "fp32", "bfloat16": "bf16", "bf16": "bf16", "float16": "fp16", "f16": "fp16"}


class CompiledNetwork:
    """A network on OpenVINO's CPU device, compiled for latency and for each shape of batch that it meets.

    One thread at a time may ask. precision: what it computes in for the shapes compiled so far, as OpenVINO reports it.
    """

    def __init__(self, model: bytes, *, name: str, precision: str = "auto") -> None:
        """model: as ONNX. name: what errors call it. precision: "fp32", "bf16", or "auto": the fastest that the CPU has.

        Raises: BackendError if OpenVINO cannot read it, or the CPU lacks the precision.
        """
        self._core = openvino.Core()
        # A pinned thread waits while another program has its core: with one of two cores taken an image takes 100 ms
        # instead of 65. On an idle machine pinning gains nothing.
        self._hints: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False}
        if precision == "bf16" and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise BackendError("this CPU has no bfloat16 arithmetic", field="precision=bf16", hint="use fp32 or auto")
        if precision in TYPES:
            self._hints["INFERENCE_PRECISION_HINT"] = TYPES[precision]
        try:
            self._model = self._core.read_model(model)
        except RuntimeError as error:
            raise BackendError(f"{name}: openvino cannot read its export; use `backend=torch`") from error
        self.requests: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        self.precision = precision

    def infer(self, batch: UInt8Array) -> list[Float32Array]:
        """Return the network's answers for a batch (b, h, w, 3) uint8 RGB; the next call may overwrite them."""
        request = self.request(batch.shape)
        request.infer([batch], share_inputs=True)
        return [request.get_output_tensor(i).data for i in range(len(self._model.outputs))]

    def request(self, shape: tuple[int, ...]) -> Any:
        """Return the request for batches of a shape, compiled now if that was not asked for lately."""
        if shape in self.requests:
            self.requests.move_to_end(shape)
            return self.requests[shape]
        while len(self.requests) >= MAX_COMPILED:
            self.requests.popitem(last=False)
        self._model.reshape(list(shape))
        compiled = self._core.compile_model(self._model, "CPU", self._hints)
        found = compiled.get_property("INFERENCE_PRECISION_HINT")
        name = found.get_type_name() if hasattr(found, "get_type_name") else str(found)
        self.precision = NAMES.get(name, name)
        self.requests[shape] = compiled.create_infer_request()
        return self.requests[shape]

    @property
    def threads(self) -> int:
        """Return on how many threads a batch is computed."""
        latest = next(reversed(self.requests.values())).get_compiled_model()
        return int(latest.get_property("INFERENCE_NUM_THREADS"))

    def on_threads(self, threads: int) -> CompiledNetwork:
        """Return the same network, to be compiled for so many threads, with nothing shared."""
        out = copy.copy(self)
        out._hints = {**self._hints, "INFERENCE_NUM_THREADS": threads}
        out._model = self._model.clone()
        out.requests = OrderedDict()
        return out


class OpenVinoDetector(NetworkDetector):
    """A YOLO network on OpenVINO's CPU device. precision: what the compiled network computes in."""

    backend = "openvino"

    def __init__(
        self,
        weights: Weights,
        *,
        precision: str = "auto",
        progress: Callable[[str], None] | None = None,
        **options: Unpack[Options],
    ) -> None:
        model, spec = exported(weights, backend=self.backend, progress=progress)
        super().__init__(weights, spec, precision=precision, **options)
        self.network = CompiledNetwork(model, name=weights.name, precision=precision)
        self._lanes: tuple[Detector, ...] = ()
        # For the shape of a webcam's image, so that the network compiled here is the one that the demo uses.
        box = Letterbox.fit(*WEBCAM, self.imgsz, stride=spec.stride)
        self.network.request((1, box.height, box.width, 3))
        self.precision = self.network.precision

    def lanes(self) -> tuple[Detector, ...]:
        """Return two detectors on half of the threads each: threads that share one image wait for each other.

        On two cores an image costs 18.7 ms of CPU on one thread and 21.3 on two, and the answers are equal to the last bit.
        They are compiled once, at their first image, which takes a quarter of a second.
        """
        if not self._lanes:
            threads = self.network.threads
            self._lanes = tuple(self._on_threads(-(-threads // 2)) for _ in range(2)) if threads > 1 else (self,)
        return self._lanes

    def _on_threads(self, count: int) -> OpenVinoDetector:
        out = copy.copy(self)
        out._lock = threading.Lock()
        out.network = self.network.on_threads(count)
        out._lanes = (out,)
        return out

    def infer(self, batch: UInt8Array) -> Sequence[Float32Array]:
        """Return logit (b, a), distance (b, 4 * reg_max, a) and perhaps keypoints (b, 51, a) for (b, h, w, 3) RGB."""
        return self.network.infer(batch)
