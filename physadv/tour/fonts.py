"""Which font the video's words are drawn with: Pillow's own has no Chinese, and not every machine has one that does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
# Where Linux and macOS keep fonts.
FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.fonts", "~/.local/share/fonts", "/System/Library/Fonts",
           "/Library/Fonts", "~/Library/Fonts")  # fmt: skip
SUFFIXES = (".ttf", ".ttc", ".otf")
# Fonts without serifs that have Chinese are tried first: others are thin on a screen.
LIKELY = re.compile(r"notosans.*(cjk|sc)|sourcehansans|wqy|droidsansfallback|pingfang|heiti|hiragino", re.IGNORECASE)


def latin_font() -> Path | None:
    """Return the font file that the matplotlib package carries, without importing it: Pillow's own has no accents."""
    spec = find_spec("matplotlib")
    path = Path(spec.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf" if spec and spec.origin else None
    return path if path is not None and path.is_file() else None


def font_with(text: str, *, folders: Sequence[str] = FOLDERS) -> Path | None:
    """Return a font file of this machine that has every character of a text; None if there is none."""
    found = sorted(_files(folders), key=lambda path: (LIKELY.search(path.name) is None, path.name))
    return next((path for path in found if has_all(path, text)), None)


def _files(folders: Sequence[str]) -> Iterator[Path]:
    for folder in folders:
        yield from (path for path in Path(folder).expanduser().rglob("*") if path.suffix.lower() in SUFFIXES)


def has_all(path: Path, text: str) -> bool:
    """Return whether a font file has every character of a text; one that cannot be read has none."""
    try:
        font = ImageFont.truetype(str(path), 20)
        # A character that no font has is drawn as the box for what is missing. A font of last resort draws one box for
        # each script: characters that look the same are not there either.
        missing = bytes(font.getmask("\U0010fffe"))
        drawn = {bytes(font.getmask(character)) for character in set(text)}
        return len(drawn) == len(set(text)) and not drawn & {missing, b""}
    except OSError:
        return False


@cache
def sized(path: Path | None, size: int) -> Font:
    """Return a font `size` pixels high. path: its file; None for the one that Pillow carries."""
    return ImageFont.load_default(size) if path is None else ImageFont.truetype(str(path), size)
