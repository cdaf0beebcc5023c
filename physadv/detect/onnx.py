"""onnxruntime, which no other file imports: YOLO on it, and sessions for ONNX files of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Unpack

import onnxruntime

from physadv.detect.export import exported
from physadv.detect.network import NetworkDetector, Options
from physadv.detect.weights import Weights
from physadv.errors import BackendError
from physadv.types import Float32Array, UInt8Array


class OnnxDetector(NetworkDetector):
    """A YOLO network on onnxruntime's CPU provider, float32; batch, height and width are free."""

    backend = "onnxruntime"

    def __init__(
        self,
        weights: Weights,
        *,
        progress: Callable[[str], None] | None = None,
        **options: Unpack[Options],
    ) -> None:
        model, spec = exported(weights, backend=self.backend, progress=progress)
        super().__init__(weights, spec, precision="fp32", **options)
        try:
            self._session = session_of(model)
        except Exception as error:  # onnxruntime has its own unexported error types
            raise BackendError(f"{weights.name}: onnxruntime cannot read its export; use `backend=torch`") from error
        self._input = self._session.get_inputs()[0].name

    def infer(self, batch: UInt8Array) -> Sequence[Float32Array]:
        """Return logit (b, a), distance (b, 4 * reg_max, a) and perhaps keypoints (b, 51, a) for (b, h, w, 3) RGB."""
        return list(self._session.run(None, {self._input: batch}))


def session_of(model: bytes | str) -> onnxruntime.InferenceSession:
    """Return a session on the CPU for an ONNX network or the path of one.

    Raises: what onnxruntime raises, which are many kinds that it does not export.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Threads that spin between frames take the second core from decoding and drawing.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Its fallback would try the same provider again, and print.
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"], enable_fallback=0)
