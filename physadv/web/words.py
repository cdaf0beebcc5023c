"""The page's words for what errors call by the flags of the command line."""

from __future__ import annotations

import re
from collections.abc import Callable

from physadv.defend import DEFENCES

# Where a request went -> flag -> the label of its field there. The first that fits counts.
LABELS: dict[str, dict[str, str]] = {
    "/api/print": {
        "--pattern": "Pattern",
        "--control": "Control",
        "--size": "Width",
        "--for-person": "For a person",
        "--person-height": "For a person",
        "--person": "For a person",
        "--scale": "Side, as a share",
        "--garment panels": "T-shirt panels",
        "--garment dtg": "Garment printer",
        "--garment": "On",
        "--shirt": "Shirt size",
        "--paper": "Paper",
        "--texels": "Cells of the pattern",
        "--printer": "Colours for a measured printer",
        "--cmyk": "CMYK profile",
        "--out poster.pdf": "Download PDF",
        "--out": "File",
        "--sheet": "Sheet",
        "--distance": "Distance",
        "--camera": "Camera",
        "--fov": "Field of view",
        "--resolution": "Image",
        "--imgsz": "Detector",
    },
    "/api/calibrate": {
        "--name": "Name of the camera",
        "--camera": "Name of the camera",
        "--printer": "Name of printer and paper",
        "--board": "Board",
        "--square-mm": "Square, mm",
        "--marker-mm": "Marker, mm",
        "--dictionary": "Markers",
        "--paper": "Paper",
    },
    "/api": {
        "--source": "Source",
        "--spec": "Source",
        "--detector": "Detector",
        "--name": "Detector",
        "--backend": "Backend",
        "--imgsz": "Input size",
        **{f"--defend {name}": name for name in DEFENCES},
        "--defend": "Defences",
    },
}
# What is to be typed into a terminal stays as it is.
COMMAND = r"physadv [a-z][^;:,)`]*"


def on_page(text: str, path: str = "/api") -> str:
    """Return an error's text with the labels of the page that asked in place of flags, on one line.

    path: of the request.
    """
    labels = next((some for start, some in LABELS.items() if path.startswith(start)), {})
    line = " ".join(text.split())
    return _pattern(tuple(labels)).sub(_label(labels), line) if labels else line


def field_of(text: str) -> str | None:
    """Return the flag, without its dashes, that an error's text is about by its beginning; None if it names none."""
    match = re.match(r"--([a-z][a-z-]*)\b", text)
    return match[1] if match else None


def _pattern(flags: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(flags, key=len, reverse=True)
    return re.compile(f"{COMMAND}|(?:{'|'.join(map(re.escape, longest_first))})(?![\\w-])")


def _label(labels: dict[str, str]) -> Callable[[re.Match[str]], str]:
    def label(match: re.Match[str]) -> str:
        said = labels.get(match[0])
        if said is None:
            return match[0]
        return said if match.start() == 0 else f"“{said}”"

    return label
