"""Errors speak the page's language, and leave commands that are to be typed as they are."""

import pytest

from physadv.web.words import on_page


@pytest.mark.parametrize(
    ("path", "text", "says"),
    [
        ("/api/print/file", "`cmyk`: PNG cannot hold CMYK; write a PDF (`out=poster.pdf`)",
         "CMYK profile: PNG cannot hold CMYK; write a PDF (“Download PDF”)"),
        ("/api/print/preview", "`garment=panels`: x; print it with `garment=dtg`, or\n`physadv train --paper a4`",
         "panels to cut and sew: x; print it with “garment printer (PNG)”, or `physadv train --paper a4`"),
        ("/api/print/preview", "`printer`: given beside `cmyk`",
         "Colours for a measured printer: given beside “CMYK profile”"),
        ("/api/calibrate/colour", "`printer`: expected up to 64 letters",
         "Name of printer and paper: expected up to 64 letters"),
        ("/api/source", "`source`: expected a file", "Source: expected a file"),
        ("/api/detector", "`detector`: no such file; use `backend=torch`", "Detector: no such file; use “Backend” torch"),
        ("/api/controls", "`defend`: vote: samples: expected", "Defences: vote: samples: expected"),
        ("/api/controls", "`wear_size`: expected", "Printed width: expected"),
        ("/api/recording", "x: no room; choose another with `recordings`", "x: no room; choose another with “recordings”"),
    ],
)  # fmt: skip
def test_fields_become_labels(path: str, text: str, says: str) -> None:
    assert on_page(text, path) == says
