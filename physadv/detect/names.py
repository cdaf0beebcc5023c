"""The one grammar of a detector's name. docs/detectors.md has it as a table."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from physadv.errors import SettingsError
from physadv.plugins import DETECTORS, is_reference, reference_of

DEFAULT_DETECTOR = "yolo11n-pose"
TORCHVISION = "torchvision:"
ONNX = ".onnx"


@dataclass(frozen=True, slots=True)
class UltralyticsName:
    """An official name, a .pt file, or the folder of a run of the lab: YOLO's families and RT-DETR."""

    path: str


@dataclass(frozen=True, slots=True)
class TorchvisionName:
    """`torchvision:MODEL` or `torchvision:MODEL=FILE`. file: a state dict; None for torchvision's own weights."""

    model: str
    file: str | None


@dataclass(frozen=True, slots=True)
class OnnxName:
    """`FILE.onnx` or `FILE.onnx=LAYOUT`. layout: how its outputs are to be read; None for what its metadata say."""

    file: str
    layout: str | None


@dataclass(frozen=True, slots=True)
class PluginName:
    """`module:factory`, or the name under which an installed package declares one. reference: `module:factory`."""

    name: str
    reference: str


DetectorNamed = UltralyticsName | TorchvisionName | OnnxName | PluginName


def parse_name(detector: str) -> DetectorNamed:
    """Return what a detector's name means. Nothing is opened; of a bare word installed packages are asked.

    Raises: PluginError if two packages declare it.
    """
    if detector.startswith(TORCHVISION):
        model, equals, file = detector.removeprefix(TORCHVISION).partition("=")
        return TorchvisionName(model, file if equals else None)
    if detector.lower().endswith(ONNX):
        return OnnxName(detector, None)
    file, equals, layout = detector.rpartition("=")
    if equals and file.lower().endswith(ONNX):
        return OnnxName(file, layout)
    if detector == DEFAULT_DETECTOR:
        # No installed package takes its place by declaring that name.
        return UltralyticsName(detector)
    path = Path(detector).expanduser()
    # `Path.exists` raises for what is too long to be a name; `os.path.exists` returns False.
    if path.suffix.lower() == ".pt" or os.path.exists(path):  # noqa: PTH110
        return UltralyticsName(detector)
    if is_reference(detector):
        return PluginName(detector, detector)
    if detector.replace("-", "_").isidentifier():
        reference = reference_of(DETECTORS, detector, field="detector")
        if reference is not None:
            return PluginName(detector, reference)
    return UltralyticsName(detector)


def plugin_name(detector: str) -> PluginName:
    """Return the name of a plug-in, for one that is known to be one."""
    named = parse_name(detector)
    assert isinstance(named, PluginName), detector
    return named


def onnx_name(detector: str) -> OnnxName:
    """Return the name of an ONNX file, for one that is known to be one."""
    named = parse_name(detector)
    assert isinstance(named, OnnxName), detector
    return named


def with_layout(detector: str, layout: str | None) -> str:
    """Return a detector's name with the layout that was declared for ONNX files, if it is one and has none of its own."""
    named = parse_name(detector)
    return (
        f"{detector}={layout}" if layout is not None and isinstance(named, OnnxName) and not named.layout else detector
    )


def path_in(detector: str) -> str:
    """Return a detector's name as a path without ending, for people: `b.pth/ssd300_vgg16`, `folder/model`."""
    named = parse_name(detector)
    if isinstance(named, TorchvisionName):
        return named.model if named.file is None else f"{named.file}/{named.model}"
    if isinstance(named, OnnxName):
        return named.file[: -len(ONNX)]
    return detector.removesuffix(".pt")


def absolute(detector: str) -> str:
    """Return a detector's name with the file or folder in it by its absolute path; names of what is shipped stay."""
    named = parse_name(detector)
    if isinstance(named, TorchvisionName):
        return detector if named.file is None else f"{TORCHVISION}{named.model}={_absolute(named.file)}"
    if isinstance(named, OnnxName):
        return _absolute(named.file) + (f"={named.layout}" if named.layout else "")
    return detector if isinstance(named, PluginName) else _absolute(detector)


def names_code(detector: str) -> bool:
    """Return whether a detector's name is `module:factory`: code that runs when it is loaded."""
    return is_reference(detector) and not detector.startswith(TORCHVISION)


def check_declared(detectors: object, *, where: str) -> None:
    """Raise SettingsError for `module:factory` among detectors named in a file: its code would run on another's word.

    detectors: a name, a list of names, or anything else, which is passed over. where: the file.
    """
    names = [detectors] if isinstance(detectors, str) else detectors if isinstance(detectors, list) else []
    for name in names:
        for one in map(str.strip, str(name).split(",")):
            if names_code(one):
                raise SettingsError(
                    f"{one} in {where} names code that would run",
                    field="detector",
                    hint="others may have written that file: name it on the command line",
                )


def _absolute(where: str) -> str:
    path = Path(where).expanduser()
    return str(path.resolve()) if os.path.exists(path) else where  # noqa: PTH110
