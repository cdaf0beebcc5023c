"""YOLO on onnxruntime. The only file that imports onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnxruntime
import torch

from physadv import __version__
from physadv.detect.cache import Progress, exported
from physadv.detect.head import HeadSpec
from physadv.detect.network import NetworkDetector
from physadv.detect.weights import Weights
from physadv.detect.yolo import BytesNet, load_net
from physadv.errors import BackendError
from physadv.types import Float32Array, UInt8Array

MODEL_FILE = "model.onnx"
OPSET = 17


class OnnxDetector(NetworkDetector):
    """A YOLO network on onnxruntime's CPU provider, float32; batch, height and width are free."""

    backend = "onnxruntime"

    def __init__(
        self,
        weights: Weights,
        *,
        imgsz: int = 640,
        min_conf: float = 0.05,
        iou_above: float = 0.7,
        progress: Progress | None = None,
    ) -> None:
        folder, spec = exported(weights, self.backend, _versions(), lambda folder: _export(weights, folder), progress)
        super().__init__(weights, spec, precision="fp32", imgsz=imgsz, min_conf=min_conf, iou_above=iou_above)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # Threads that spin between frames would take the second core from decoding and drawing.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(folder / MODEL_FILE), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has its own unexported error types
            raise BackendError(f"{folder}: the exported network cannot be read; delete this folder") from error
        self._input = self._session.get_inputs()[0].name

    def infer(self, batch: UInt8Array) -> Sequence[Float32Array]:
        """Return logit (b, a), distance (b, 4 * reg_max, a) and perhaps keypoints (b, 51, a) for (b, h, w, 3) RGB."""
        return list(self._session.run(None, {self._input: batch}))


def _versions() -> str:
    return f"opset{OPSET}-torch{torch.__version__.split('+')[0]}-{__version__}"


def _export(weights: Weights, folder: Path) -> HeadSpec:
    """Write model.onnx with batch, height and width left open.

    Raises: BackendError if this model cannot be exported.
    """
    net = load_net(weights)
    example = torch.zeros(2, net.spec.stride * 3, net.spec.stride * 4, 3, dtype=torch.uint8)
    try:
        # The exporter by tracing: the newer one needs a further package and no input of ours differs in structure.
        torch.onnx.export(
            BytesNet(net).eval(),
            (example,),
            str(folder / MODEL_FILE),
            opset_version=OPSET,
            input_names=["images"],
            dynamic_axes={"images": {0: "batch", 1: "height", 2: "width"}},
            dynamo=False,
        )
    except Exception as error:  # exporting foreign graphs fails in ways that no list covers
        raise BackendError(
            f"{weights.name}: this model cannot be exported to ONNX ({str(error).splitlines()[0][:120]}); "
            "use --backend torch"
        ) from error
    return net.spec
