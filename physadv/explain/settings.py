"""The settings of an explanation: who is explained, at which size, and how it is checked."""

from __future__ import annotations

from pydantic import Field

from physadv.settings import Imgsz, Settings


class ExplainSettings(Settings):
    """What decides the figures besides the image, the pattern, the detector and the defence."""

    people: int = Field(default=2, ge=1, le=8, description="so many people are explained, the largest first")
    imgsz: Imgsz | None = Field(
        default=None,
        description="long side of the network's input, rounded up to a multiple of 32; unless given the pattern's own, 640 "
        "without one",
    )
    check: bool = Field(
        default=True, description="check the maps: deletion, insertion and random weights; half of the time"
    )
    layer: int | None = Field(
        default=None,
        description="also show this layer of the network (16): the channels that add most to the first person's score, "
        "where they are strongest, and that projected back to pixels",
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="of random orders, and where clothes are cut")
    device: str = Field(default="cpu", description="cpu, cuda, mps or auto")
