"""Person detectors: YOLO on every backend; RT-DETR, torchvision's models, ONNX files and plug-ins. Most have gradients.

This package imports fast: torch, ultralytics and the backends are imported when a detector is loaded.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, get_args

from physadv.detect.names import OnnxName, PluginName, onnx_name, parse_name, plugin_name
from physadv.detect.weights import DEFAULT_DETECTOR, Weights, find_weights
from physadv.errors import BackendError, PhysadvError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from physadv.detect.base import BareDetector
    from physadv.detect.candidate_net import CandidateNet
    from physadv.detect.gradients import BareGradient
    from physadv.detect.network import NetworkDetector, Options

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
    backend: Backend | Literal["reference"] = "auto",
    imgsz: int = 640,
    min_conf: float = 0.05,
    iou_above: float | None = None,
    precision: Precision = "auto",
    device: str = "auto",
    progress: Callable[[str], None] | None = None,
) -> BareDetector:
    """Return a person detector.

    name: as `names.parse_name` reads it: the embedded model, an official name, a file, a plug-in. backend: "auto" takes
    torch if there is a GPU, else the fastest of OpenVINO, onnxruntime and torch that is installed and can run this model.
    "reference" takes the one whose figures count: torch, or the only one that an ONNX file or a plug-in has. imgsz: long
    side in pixels, rounded up to the network's stride; what takes images of one size alone keeps its own. min_conf: lowest
    score returned. iou_above: overlap above which the weaker box is suppressed; None for that of the network's makers, .7
    for YOLO. precision: "auto" is float32, or bfloat16 with OpenVINO on CPUs that compute in it. device: "auto", "cpu",
    "cuda", "cuda:1" or "mps"; only torch uses it. progress: called with a line when a network is exported, which happens
    once.

    Raises: SettingsError for a value out of range. WeightsError if there are no such weights. BackendError if the backend
    is not installed, or cannot run this model or precision. PluginError for a plug-in that cannot be loaded.
    """
    _check(backend, imgsz, min_conf, iou_above, precision)
    weights = find_weights(name)
    if weights.kind == "plug-in":
        from physadv.detect.plugin import PluginDetector, load_finder

        _check_only("plug-in", weights, backend, precision)
        return PluginDetector(load_finder(plugin_name(name)), weights, imgsz=imgsz, min_conf=min_conf)
    if weights.kind == "onnx":
        from physadv.detect.onnx_file import OnnxFileDetector

        _check_only("onnxruntime", weights, backend, precision)
        layout = onnx_name(name).layout
        return OnnxFileDetector(weights, layout, imgsz=imgsz, min_conf=min_conf, iou_above=iou_above)
    net = _candidate_net(weights)
    if net is not None:
        from physadv.detect.candidate_net import CandidateDetector
        from physadv.detect.pytorch import pick_device

        _check_only("torch", weights, backend, precision)
        where = pick_device(device)
        return CandidateDetector(net, weights, device=where, imgsz=imgsz, min_conf=min_conf, iou_above=iou_above)
    options: Options = {"imgsz": imgsz, "min_conf": min_conf, "iou_above": 0.7 if iou_above is None else iou_above}
    return _load_yolo(weights, "torch" if backend == "reference" else backend, precision, device, progress, options)


def _load_yolo(
    weights: Weights,
    backend: Backend,
    precision: Precision,
    device: str,
    progress: Callable[[str], None] | None,
    options: Options,
) -> NetworkDetector:
    """Return a YOLO on the first backend that can run it.

    Raises: BackendError, WeightsError as `load_detector` does.
    """
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
    raise failed or BackendError(f"nothing here can run {weights.name}", field=f"backend={backend}")


def _candidate_net(weights: Weights) -> CandidateNet | None:
    """Return a network of torchvision or an RT-DETR; None for a YOLO.

    Raises: WeightsError if it cannot be loaded.
    """
    if weights.kind == "torchvision":
        from physadv.detect.torchvision_models import load_torchvision

        return load_torchvision(weights)
    from physadv.detect.restricted import names_class
    from physadv.detect.rtdetr import HEAD, load_rtdetr

    return load_rtdetr(weights) if names_class(weights.path, HEAD) else None


def load_gradient_detector(
    name: str = DEFAULT_DETECTOR, *, device: str = "auto", precision: Literal["fp32", "bf16"] = "fp32"
) -> BareGradient:
    """Return a detector to attack: frozen, batch norm folded. YOLO's end-to-end models keep both heads.

    name: as `load_detector` takes it. precision: what a YOLO computes in; all others compute in float32, and say so.

    Raises: WeightsError if there are no such weights. BackendError if there is no such device. PluginError for an ONNX
    file, a plug-in without gradients, or one that cannot be loaded.
    """
    from physadv.detect.pytorch import pick_device

    weights = find_weights(name)
    where = pick_device(device)
    if weights.kind in ("plug-in", "onnx"):
        from physadv.detect.plugin import PluginGradient, load_finder, without_gradients

        if weights.kind == "onnx":
            raise without_gradients(name)
        return PluginGradient(load_finder(plugin_name(name)), weights, device=where)
    net = _candidate_net(weights)
    if net is not None:
        from physadv.detect.candidate_net import CandidateGradient

        return CandidateGradient(net, device=where, sha256=weights.sha256)
    from physadv.detect.yolo import YoloGradient, load_net

    return YoloGradient(load_net(weights, both_heads=True), device=where, precision=precision, sha256=weights.sha256)


def check_attackable(name: str) -> None:
    """Check that a detector has gradients, before anything large is loaded. name: as `load_detector` takes it.

    Raises: PluginError if it has none, or is a plug-in that cannot be loaded.
    """
    named = parse_name(name)
    if isinstance(named, OnnxName):
        from physadv.detect.plugin import without_gradients

        raise without_gradients(name)
    if isinstance(named, PluginName):
        load_gradient_detector(name, device="cpu")


def _check_only(own: str, weights: Weights, backend: str, precision: str) -> None:
    """Raise BackendError if a backend or precision is asked for that this kind of detector has not."""
    if backend not in ("auto", "reference", own):
        raise BackendError(
            f"{weights.name} runs on {own} alone", field=f"backend={backend}", hint="leave the backend out"
        )
    if precision == "bf16":
        raise BackendError(f"{weights.name} computes in fp32 here", field="precision=bf16", hint="leave it out")


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


def _check(backend: str, imgsz: int, min_conf: float, iou_above: float | None, precision: str) -> None:
    if backend not in (*get_args(Backend), "reference"):
        raise SettingsError(field="backend", expected=f"one of {', '.join(get_args(Backend))}", got=repr(backend))
    if precision not in get_args(Precision):
        raise SettingsError(field="precision", expected=f"one of {', '.join(get_args(Precision))}", got=repr(precision))
    if not 32 <= imgsz <= 4096:
        raise SettingsError(field="imgsz", expected="32 to 4096 pixels", got=str(imgsz))
    if not 0 <= min_conf < 1:
        raise SettingsError(field="min_conf", expected="at least 0 and below 1", got=str(min_conf))
    if iou_above is not None and not 0 < iou_above <= 1:
        raise SettingsError(field="iou_above", expected="above 0 and at most 1", got=str(iou_above))
