"""What every verb with a detector shares: `imgsz` rounded up, detectors found, and `trust` said when it is used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import Field

from physadv.boxes import STRIDE
from physadv.cli.terminal import say
from physadv.detect.names import OnnxName, PluginName, parse_name, with_layout
from physadv.detect.weights import find_weights, trust
from physadv.errors import SettingsError, WeightsError
from physadv.settings import Metavar


def rounded_imgsz(imgsz: int, label: str) -> int:
    """Return an image size rounded up to a multiple of the stride of networks; a line on stderr says so if it changes."""
    rounded = -(-imgsz // STRIDE) * STRIDE
    if rounded != imgsz:
        say(f"{label}: `imgsz` {imgsz} is rounded up to {rounded}, a multiple of {STRIDE}", error=True)
    return rounded


def check_detectors(**named: str | Iterable[str] | None) -> None:
    """Raise WeightsError, under the name of its field, for a detector that cannot be found.

    named: a detector, several or none by the field that names them.
    """
    for field, names in named.items():
        for name in [names] if isinstance(names, str) else names or ():
            try:
                find_weights(name)
            except WeightsError as error:
                raise error.at(field) from error


def say_device(detectors: Iterable[str], device: str, label: str) -> None:
    """Say on stderr which detectors do not run on the device that was asked for: they choose where they run themselves."""
    alone = [name for name in detectors if isinstance(parse_name(name), OnnxName | PluginName)]
    if alone and device != "cpu":
        say(
            f"{label}: `device` {device} is not used for {', '.join(alone)}: it runs where it chooses itself",
            error=True,
        )


Trust = Annotated[
    bool, Field(description="run code that the weights files of `detector` hold: only where you trust their makers")
]

Layout = Annotated[
    str | None,
    Metavar("LAYOUT"),
    Field(
        description="how the outputs of .onnx files in `detector` are read: yolo, yolo-nms, rtdetr, detr or ssd, perhaps "
        "with the number of the class of people (ssd:0); exports of Ultralytics say it themselves"
    ),
]


def with_layouts(detectors: Sequence[str], layout: str | None) -> list[str]:
    """Return detectors' names with the layout that was declared for the ONNX files among them.

    Raises: SettingsError if it was declared and there is none.
    """
    out = [with_layout(name, layout) for name in detectors]
    if layout is not None and out == list(detectors):
        raise SettingsError(
            field="layout", expected="an .onnx file without a layout of its own in `detector`", got="none"
        )
    return out


def trust_detectors(detectors: Iterable[str], wanted: bool, label: str) -> None:
    """Let the code of these detectors' files run where `--trust` was given, saying so on stderr.

    Raises: WeightsError if one cannot be found.
    """
    for name in detectors if wanted else ():
        trust(name)
        say(f"{label}: `trust`: code that {name} holds runs with your rights", error=True)
