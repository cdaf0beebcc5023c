"""Person detectors: YOLO models on every backend, with and without gradients.

This package imports fast: torch, ultralytics and the backends are imported when a detector is loaded.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, get_args

from physadv.detect.weights import DEFAULT_DETECTOR, find_weights
from physadv.errors import BackendError, PhysadvError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from physadv.detect.network import NetworkDetector, Options
    from physadv.detect.yolo import YoloGradient

Backend = Literal["auto", "torch", "openvino", "onnxruntime"]
Precision = Literal["auto", "fp32", "bf16"]
# Read when ultralytics is imported: it would otherwise install packages while the demo runs.
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("YOLO_VERBOSE", "false")
# Fastest first on a CPU; torch is always there.
CPU_ORDER: tuple[Backend, ...] = ("openvino", "onnxruntime", "torch")


def load_detector(
    name: str = DEFAULT_DETECTOR,
    *,
    backend: Backend = "auto",
    imgsz: int = 640,
    min_conf: float = 0.05,
    iou_above: float = 0.7,
    precision: Precision = "auto",
    device: str = "auto",
    progress: Callable[[str], None] | None = None,
) -> NetworkDetector:
    """Return a person detector.

    name: the embedded model, an official ultralytics name, or a path. backend: "auto" takes torch if there is a GPU,
    else the fastest of OpenVINO, onnxruntime and torch that is installed and can run this model. imgsz: long side in
    pixels, rounded up to the network's stride. min_conf: lowest score returned. iou_above: overlap above which the
    weaker box is suppressed. precision: "auto" is float32, or bfloat16 with OpenVINO on CPUs that compute in it.
    device: "auto", "cpu", "cuda", "cuda:1" or "mps"; only torch uses it. progress: called with a line when a network is
    exported, which happens once.

    Raises: SettingsError for a value out of range. WeightsError if there are no such weights. BackendError if the backend
    is not installed, or cannot run this model or precision.
    """
    _check(backend, imgsz, min_conf, iou_above, precision)
    weights = find_weights(name)
    options: Options = {"imgsz": imgsz, "min_conf": min_conf, "iou_above": iou_above}
    failed: PhysadvError | None = None
    for candidate in _candidates(backend, device, precision):
        try:
            if candidate == "openvino":
                from physadv.detect.openvino import OpenVinoDetector

                return OpenVinoDetector(weights, precision=precision, progress=progress, **options)
            if candidate == "onnxruntime":
                from physadv.detect.onnx import OnnxDetector

                return OnnxDetector(weights, progress=progress, **options)
            from physadv.detect.pytorch import TorchDetector, pick_device
            from physadv.detect.yolo import load_net

            where = pick_device(device)
            chosen = "fp32" if precision == "auto" else precision
            return TorchDetector(load_net(weights), weights, precision=chosen, device=where, **options)
        except BackendError as error:
            failed = failed or error
            if progress is not None and backend == "auto":
                progress(f"{candidate} is left out: {error.text}")
    raise failed or BackendError(f"nothing here can run {name}", field=f"backend={backend}")


def load_gradient_detector(
    name: str = DEFAULT_DETECTOR, *, device: str = "auto", precision: Literal["fp32", "bf16"] = "fp32"
) -> YoloGradient:
    """Return a detector to attack: frozen, channels_last, batch norm folded. End-to-end models keep both heads.

    Raises: WeightsError if there are no such weights. BackendError if there is no such device.
    """
    from physadv.detect.pytorch import pick_device
    from physadv.detect.yolo import YoloGradient, load_net

    weights = find_weights(name)
    net = load_net(weights, both_heads=True)
    return YoloGradient(net, device=pick_device(device), precision=precision, sha256=weights.sha256)


def installed_backends() -> list[str]:
    """Return the installed backends, the fastest on a CPU first."""
    return [b for b in CPU_ORDER if find_spec(b) is not None]


def _candidates(backend: Backend, device: str, precision: Precision) -> list[Backend]:
    """Return the backends to try, best first.

    Raises: BackendError if the chosen backend is not installed.
    """
    if backend == "onnxruntime" and precision == "bf16":
        raise BackendError("onnxruntime computes in fp32 here", field="precision=bf16", hint="use openvino or torch")
    if backend != "auto":
        if find_spec(backend) is None:
            there = ", ".join(installed_backends())
            raise BackendError(
                f"the package {backend} is not installed (installed: {there})", field=f"backend={backend}"
            )
        return [backend]
    if device not in ("auto", "cpu"):
        return ["torch"]
    if device == "auto":
        from physadv.detect.pytorch import pick_device

        if pick_device("auto") != "cpu":
            return ["torch"]
    skip = {"onnxruntime"} if precision == "bf16" else set()
    return [b for b in CPU_ORDER if find_spec(b) is not None and b not in skip]


def _check(backend: str, imgsz: int, min_conf: float, iou_above: float, precision: str) -> None:
    if backend not in get_args(Backend):
        raise SettingsError(field="backend", expected=f"one of {', '.join(get_args(Backend))}", got=repr(backend))
    if precision not in get_args(Precision):
        raise SettingsError(field="precision", expected=f"one of {', '.join(get_args(Precision))}", got=repr(precision))
    if not 32 <= imgsz <= 4096:
        raise SettingsError(field="imgsz", expected="32 to 4096 pixels", got=str(imgsz))
    if not 0 <= min_conf < 1:
        raise SettingsError(field="min_conf", expected="at least 0 and below 1", got=str(min_conf))
    if not 0 < iou_above <= 1:
        raise SettingsError(field="iou_above", expected="above 0 and at most 1", got=str(iou_above))
