"""`physadv show`: a pattern at true size on a phone, tablet or monitor."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

from pydantic import Field

from physadv.cli.terminal import say
from physadv.controls import Control
from physadv.fabricate.units import Centimetres, checked_size
from physadv.live.settings import LOOPBACK, PageAddress
from physadv.settings import PatternName, Positional, Seconds

EXAMPLES = ("physadv show webcam --size 20cm --host 0.0.0.0",)


class ShowVerb(PageAddress):
    """A pattern, how large it is shown, and where."""

    patch: Positional[PatternName] = Field(
        description="a shipped name (webcam), a patch file, an image or a run folder"
    )
    size: Centimetres | None = Field(
        default=None, description="shown width in cm, or with its unit (200mm); without it the pattern's own"
    )
    control: Control | None = Field(
        default=None, description="begin with a control of the same size; without it with the pattern"
    )
    seconds: Seconds | None = Field(default=None, gt=0, description="end after this many seconds; without it at Ctrl-C")


def run(settings: ShowVerb) -> int:
    """Serve a page that shows a pattern at true size, after a bank card has shown how large the screen's pixels are."""
    import segno

    from physadv.live.library import PatchLibrary
    from physadv.web.serve import Listener, PageServer

    library = PatchLibrary([settings.patch])
    name = library.first[0]
    width, height = library.get(name).size_mm
    wanted = width if settings.size is None else settings.size * 10
    checked_size(wanted, wanted * height / width)
    server = PageServer(Listener(host=settings.host, port=settings.port), library=library)
    server.start()
    try:
        url = _address(server.url, name, wanted, settings.control)
        say(f"physadv show: {url}")
        if settings.host not in LOOPBACK:
            segno.make(url, error="l").terminal(compact=True)
        say("open it on the screen that is to show the pattern; Ctrl-C ends it")
        end = None if settings.seconds is None else time.monotonic() + settings.seconds
        while end is None or time.monotonic() < end:
            time.sleep(0.2)
    except KeyboardInterrupt:
        pass
    finally:
        server.close()
    return 0


def _address(url: str, name: str, width_mm: float, kind: Any) -> str:
    base, _, query = url.partition("?")
    parts = [query, f"pattern={quote(name)}", f"mm={width_mm:g}", f"kind={kind}" if kind else ""]
    return f"{base}show?{'&'.join(p for p in parts if p)}"
