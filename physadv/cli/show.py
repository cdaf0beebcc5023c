"""`physadv show`: a pattern at true size on a phone, tablet or monitor."""

from __future__ import annotations

import time
from typing import Any, ClassVar
from urllib.parse import quote

import segno
from pydantic import Field
from pydantic_settings import CliPositionalArg

from physadv.cli.base import Command as BaseCommand
from physadv.cli.terminal import say
from physadv.controls import Control
from physadv.fabricate.units import checked_size, length_mm
from physadv.live.library import PatchLibrary
from physadv.live.settings import LOOPBACK
from physadv.web.serve import Listener, PageServer


class Command(BaseCommand):
    """Serve a page that shows a pattern at true size, after a bank card has told it how large the screen's pixels are."""

    examples: ClassVar[tuple[str, ...]] = ("physadv show chest-v3 --size 20cm --host 0.0.0.0",)

    patch: CliPositionalArg[str] = Field(
        description="a shipped name (chest-v1), a patch file, an image or a run folder"
    )
    size: str | None = Field(
        default=None, description="shown width in cm, or with its unit (200mm); without it the pattern's own"
    )
    control: Control | None = Field(
        default=None, description="begin with a control of the same size; without it with the pattern"
    )
    host: str = Field(default="127.0.0.1", description="address to listen on; 0.0.0.0 lets a phone in, with a token")
    port: int = Field(default=8000, ge=0, le=65535, description="port of the page; 0 takes a free one")
    seconds: float | None = Field(default=None, gt=0, description="end after this many seconds; without it at Ctrl-C")

    def run(self) -> int:
        """Serve the page until Ctrl-C."""
        library = PatchLibrary([self.patch])
        name = library.first[0]
        patch = library.get(name)
        width, height = patch.size_mm
        wanted = width if self.size is None else length_mm(self.size, field="size", unit="cm")
        checked_size(wanted, wanted * height / width)
        server = PageServer(Listener(host=self.host, port=self.port), library=library)
        server.start()
        try:
            url = _address(server.url, name, wanted, self.control)
            say(f"physadv show: {url}")
            if self.host not in LOOPBACK:
                segno.make(url, error="l").terminal(compact=True)
            say("open it on the screen that is to show the pattern; Ctrl-C ends it")
            end = None if self.seconds is None else time.monotonic() + self.seconds
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
