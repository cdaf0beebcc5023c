"""The page's words for the fields that errors name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

from physadv.errors import FIELD
from physadv.fabricate.settings import AdviceSettings, BoardSettings, PrintSettings
from physadv.live.settings import LiveSettings
from physadv.settings import labels_of

# Where a request went -> field, or field=value -> its label there. The first that fits counts.
LABELS: dict[str, dict[str, str]] = {
    "/api/print": {
        **labels_of(PrintSettings),
        **labels_of(AdviceSettings),
        "pattern": "Pattern",
        "out=poster.pdf": "Download PDF",
        "out": "File",
        "sheet": "Sheet",
    },
    "/api/calibrate": {
        **labels_of(BoardSettings),
        "name": "Name of the camera",
        "camera": "Name of the camera",
        "printer": "Name of printer and paper",
        "paper": "Paper",
    },
    "/api": {**labels_of(LiveSettings), "spec": "Source", "name": "Detector", "layer": "Layer"},
}


def on_page(text: str, path: str = "/api") -> str:
    """Return a text on one line in which fields between backticks (see `errors`) stand as the page labels them.

    path: of the request.
    """
    labels = next((some for start, some in LABELS.items() if path.startswith(start)), {})
    return FIELD.sub(partial(_label, labels), " ".join(text.split()))


def _label(labels: Mapping[str, str], field: re.Match[str]) -> str:
    name, value = field["name"], field["value"]
    whole = labels.get(f"{name}={value}") if value else None
    label = whole or labels.get(name, name)
    # In front it is what the text is about; within, a name among words.
    said = label if field.start() == 0 else f"“{label}”"
    return f"{said} {value}" if value and whole is None else said
