"""`--imgsz`, rounded up to what networks take, with a word about it."""

from __future__ import annotations

from physadv.boxes import STRIDE
from physadv.cli.terminal import say


def rounded_imgsz(imgsz: int, label: str) -> int:
    """Return an image size rounded up to a multiple of the stride of networks; a line on stderr says so if it changes."""
    rounded = -(-imgsz // STRIDE) * STRIDE
    if rounded != imgsz:
        say(f"{label}: `imgsz` {imgsz} is rounded up to {rounded}, a multiple of {STRIDE}", error=True)
    return rounded
