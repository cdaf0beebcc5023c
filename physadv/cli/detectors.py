"""What every verb with a detector shares: `imgsz` rounded up, and `trust` said on the screen when it is used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from physadv.boxes import STRIDE
from physadv.cli.terminal import say
from physadv.detect.weights import trust


def rounded_imgsz(imgsz: int, label: str) -> int:
    """Return an image size rounded up to a multiple of the stride of networks; a line on stderr says so if it changes."""
    rounded = -(-imgsz // STRIDE) * STRIDE
    if rounded != imgsz:
        say(f"{label}: `imgsz` {imgsz} is rounded up to {rounded}, a multiple of {STRIDE}", error=True)
    return rounded


Trust = Annotated[
    bool, Field(description="run code that the weights files of `detector` hold: only where you trust their makers")
]


def trust_detectors(detectors: Iterable[str], wanted: bool, label: str) -> None:
    """Let the code of these detectors' files run where `--trust` was given, saying so on stderr.

    Raises: WeightsError if one cannot be found.
    """
    for name in detectors if wanted else ():
        trust(name)
        say(f"{label}: `trust`: code that {name} holds runs with your rights", error=True)
