"""Pages for people to read and print: one self-contained HTML file with pictures inside."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable

import cv2
import numpy as np

from physadv.types import UInt8Array
from physadv.version import __version__

# Of photographs in a page.
QUALITY = 90
STYLE = """
body { margin: 2rem auto; max-width: 1900px; padding: 0 1.2rem; color: #14181c; background: #fff;
  font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .8rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; }
.faint { color: #5f666c; }
table { border-collapse: collapse; margin: .6rem 0 1.2rem; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #e3e6e8; text-align: left; }
td:not(:first-child) { font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
ul { padding-left: 1.1rem; margin: .3rem 0; }
figure { margin: 0; }
@media print {
  body { margin: 0; max-width: none; font-size: 10pt; }
  h2, caption { break-after: avoid; }
  tr, figure, svg { break-inside: avoid; }
}
"""


def page(title: str, parts: Iterable[str], *, style: str = "") -> str:
    """Return an HTML file that needs nothing else. parts: HTML below the title. style: rules beside `STYLE`.

    By the mark at its end a later run knows the file as one of physadv's own.
    """
    named = html.escape(title)
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{named}</title><style>{STYLE}{style}</style>"
    )
    sign = f'<script type="application/json">{{"physadv": "{__version__}"}}</script>'
    body = f"<h1>{named}</h1>{''.join(parts)}{sign}"
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def picture(pixels: UInt8Array) -> str:
    """Return an image (h, w, 3) uint8 RGB as an HTML element that holds it as JPEG.

    Raises: OSError if it cannot be encoded.
    """
    # As PNG a page of photographs is seven times as large.
    bgr = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2BGR)
    ok, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not ok:
        raise OSError("JPEG encoding failed")
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}">'


def picture_of(png: bytes, *, caption: str = "") -> str:
    """Return a PNG file's bytes as an HTML element that holds it. caption: its text in place of the image."""
    coded = base64.b64encode(png).decode()
    return f'<img alt="{html.escape(caption, quote=True)}" src="data:image/png;base64,{coded}">'
