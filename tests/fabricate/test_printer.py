"""A print for a measured printer: its colours are changed so that they come out as the pattern's."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from physadv.camera.colour import ColourMap, Lattice
from physadv.camera.profile import PrinterProfile
from physadv.errors import CalibrationError, FabricationError, PhysadvError
from physadv.fabricate.poster import what_to_print
from physadv.fabricate.settings import PrintSettings
from physadv.live.library import PatchLibrary
from physadv.patch import Patch, save_patch
from physadv.web.app import build_app


def darker(age_days: int = 0) -> PrinterProfile:
    """A printer that prints the square of what it is given, so that the square root must be sent."""
    return PrinterProfile(
        name="dark",
        created=datetime.now(UTC) - timedelta(days=age_days),
        printer="dark",
        camera="cam",
        map=ColourMap.identity().table(),
        held_out={"mean": 1.0},
        palette=[[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]],
        palette_digital=[[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]],
        paper_white=[1.0, 1.0, 1.0],
        darkest=[0.0, 0.0, 0.0],
        inverse=np.sqrt(np.asarray(Lattice.nodes(17))).tolist(),
    )


def test_the_printers_darkening_is_made_up_for(cells: Patch, tmp_path: Path) -> None:
    darker().save(tmp_path / "dark.json")
    sent = what_to_print(cells, PrintSettings(printer=str(tmp_path / "dark.json"))).pixels
    printed = (sent / 255.0) ** 2 * 255
    bright = cells.pixels > 32
    assert np.abs(printed - cells.pixels)[bright].mean() < 3
    assert np.abs((cells.pixels / 255.0) ** 2 * 255 - cells.pixels)[bright].mean() > 30
    grey = what_to_print(cells, PrintSettings(printer=str(tmp_path / "dark.json"), control="grey")).pixels
    assert grey.mean() > 160


@pytest.mark.parametrize(
    ("trained", "age", "values", "message"),
    [
        ("same", 0, {}, "trained through dark"),
        ("f" * 64, 0, {}, "another printer"),
        (None, 999, {}, "999 days old"),
        (None, 0, {"cmyk": "x.icc"}, "one of the two"),
        (None, 0, {"printer": "nobody"}, "no such colour profile"),
    ],
)
def test_a_profile_that_does_not_fit_is_refused(
    cells: Patch, tmp_path: Path, trained: str | None, age: int, values: dict[str, str], message: str
) -> None:
    profile = darker(age)
    profile.save(tmp_path / "dark.json")
    record = {"printer": profile.sha256 if trained == "same" else trained}
    asked = PrintSettings.model_validate({"printer": str(tmp_path / "dark.json"), **values})
    with pytest.raises((FabricationError, CalibrationError), match=message):
        what_to_print(replace(cells, record=record), asked)


def test_the_page_offers_the_printers_that_were_measured(
    cells: Patch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    darker().save(tmp_path / "calib" / "printers" / "dark.json")
    save_patch(cells, tmp_path)
    monkeypatch.chdir(tmp_path)
    app = build_app(None, library=PatchLibrary([str(tmp_path / "patch.safetensors")]))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert "dark" in client.get("/api/print/options").json()["printers"]
        pages = [
            client.post("/api/print/preview", json={"pattern": "cells", "size": "5cm", **more})
            for more in ({}, {"printer": "dark"}, {"printer": "../dark"}, {"printer": "nobody"})
        ]
    assert pages[0].content != pages[1].content
    assert [p.status_code for p in pages] == [200, 200, 422, 422]
    assert issubclass(CalibrationError, PhysadvError)
