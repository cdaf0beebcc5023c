"""`--trust` wherever a detector is named: the same words, and said on the screen when it is used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from physadv.cli.terminal import say
from physadv.detect.weights import trust

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
