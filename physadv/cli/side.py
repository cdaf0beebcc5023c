"""`--imgsz` wherever it is asked for: the same bounds, and rounded up to what networks can take."""

from __future__ import annotations

import sys
from typing import Any

from pydantic import Field

from physadv.boxes import STRIDE

RULE = f"long side of the network's input in pixels, rounded up to a multiple of {STRIDE}"


def imgsz_field(default: int | None, *, text: str = "") -> Any:
    """Return the field of `--imgsz`. text: what else is to be said of it."""
    return Field(default=default, ge=32, le=4096, description=f"{RULE}{text}")


def rounded_side(imgsz: int, label: str) -> int:
    """Return `--imgsz` rounded up to a multiple of the stride of networks, saying so on stderr where that changes it."""
    side = -(-imgsz // STRIDE) * STRIDE
    if side != imgsz:
        print(f"{label}: --imgsz {imgsz} is rounded up to {side}, a multiple of {STRIDE}", file=sys.stderr)
    return side
