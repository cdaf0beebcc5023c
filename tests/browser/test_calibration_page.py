"""The calibration guide in a real Chromium: every view taken by itself, the profile saved, the printer's colours read."""

import itertools
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pypdf import PdfReader

from physadv.camera.charuco import BOARDS
from physadv.camera.colour import ColourMap, Lattice
from physadv.camera.fit import Samples
from physadv.camera.printer import Photo
from physadv.camera.profile import CameraProfile, PrinterProfile
from physadv.errors import CalibrationError
from physadv.types import Frame
from physadv.web.calibrate import Calibration
from physadv.web.serve import Listener, PageServer
from tests.browser.stand import eventually
from tests.camera.views import Lens, views_of
from tests.live.scene import until

pytestmark = pytest.mark.browser
LENS = Lens(focal=450.0, cx=326.0, cy=176.0, distortion=(-0.12, 0.03, 0.0, 0.0, 0.0), size=(640, 360), noise=1.5)


def fitted(photos: list[Photo], *, printer: str, camera: str, **_: Any) -> tuple[PrinterProfile, Samples]:
    """A profile without a fit, of a photograph that is at least not blank."""
    if photos[0].pixels.std() < 1:
        raise CalibrationError(f"{photos[0].name}: no chart in the image")
    colours = np.array([[1, 1, 1], [0.5, 0.2, 0.1], [0, 0, 0]], np.float32)
    numbers = np.arange(3)
    profile = PrinterProfile(
        name=f"{printer}+{camera}",
        created=datetime.now(UTC),
        printer=printer,
        camera=camera,
        map=ColourMap.identity().table(),
        held_out={"mean": 1.0, "p95": 2.0, "no_map_mean": 9.0},
        palette=colours.tolist(),
        palette_digital=colours.tolist(),
        paper_white=[1.0, 1.0, 1.0],
        darkest=[0.0, 0.0, 0.0],
        inverse=Lattice.nodes(3).tolist(),
    )
    return profile, Samples(colours, colours, np.ones(3, np.float32), numbers, numbers)


def test_the_guide_leads_to_a_profile_and_reads_the_chart(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # The fit itself is tested without a page, and takes its time.
    read: list[int] = []

    def fit(photos: list[Photo], **names: Any) -> tuple[PrinterProfile, Samples]:
        read.append(len(photos))
        return fitted(photos, **names)

    monkeypatch.setattr("physadv.camera.printer.chart_profile", fit)
    # Each pose is held for some images, as a person would.
    shown = itertools.chain.from_iterable([view] * 2 for view in itertools.cycle(views_of(BOARDS["a4"], LENS, 16)))
    numbers = itertools.count()
    calibration = Calibration(images=lambda: Frame(next(shown), 0, next(numbers), 0.0))
    server = PageServer(Listener(port=0), calibration=calibration)
    server.start()
    problems: list[str] = []
    try:
        page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"{server.url}calibrate")
        eventually(page, "() => document.getElementById('square').value === '25'", timeout=10)
        page.click("#again")
        eventually(page, "() => !document.getElementById('finish').disabled", timeout=60)
        assert page.locator("#poses li[data-done]").count() >= 6
        assert page.evaluate("document.getElementById('frame').width") == 640
        # What stands in the fields at the end counts, without another start.
        page.fill("#name", "desk")
        page.fill("#square", "24.8")
        page.click("#finish")
        page.wait_for_selector("#result:not([hidden])", timeout=30000)
        saved = CameraProfile.load(tmp_path / "calib" / "cameras" / "desk.json")
        assert saved.focal_px == pytest.approx(450, rel=0.005) and saved.rms_px < 0.5
        assert saved.name == "desk" and saved.board["square_mm"] == 24.8
        assert f"{saved.focal_px:.1f}" in page.text_content("#result-text")
        eventually(page, "() => document.getElementById('preview').naturalHeight > 0", timeout=10)

        page.fill("#name", "phone")
        photo = tmp_path / "blank.jpg"
        cv2.imwrite(str(photo), np.full((600, 800, 3), 180, np.uint8))
        page.set_input_files("#chart-photo", str(photo))
        eventually(page, "() => document.querySelector('#colour-says[data-wrong]')", timeout=20)
        assert "chart" in page.text_content("#colour-says")
        assert not (tmp_path / "calib" / "printers").exists()
        charts = [tmp_path / "chart.jpg", tmp_path / "again.jpg"]
        for photo in charts:
            cv2.imwrite(str(photo), np.random.default_rng(0).integers(0, 255, (600, 800, 3), np.uint8))
        page.fill("#printer", "matt")
        page.set_input_files("#chart-photo", [str(photo) for photo in charts])
        eventually(page, "() => document.getElementById('colours').naturalWidth > 0", timeout=20)
        assert "saved matt+phone from 2 photographs" in page.text_content("#colour-says")
        assert read == [1, 2]
        assert "no camera profile named phone" in page.text_content("#colour-says")
        assert PrinterProfile.load(tmp_path / "calib" / "printers" / "matt+phone.json").held_out["mean"] == 1
    finally:
        for context in browser.contexts:
            context.close()
        server.close()
    assert not problems


def test_another_board_is_described_and_printed(browser: Any) -> None:
    calibration = Calibration()
    server = PageServer(Listener(port=0), calibration=calibration)
    server.start()
    try:
        page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        page.goto(f"{server.url}calibrate")
        eventually(page, "() => document.getElementById('square').value === '25'", timeout=10)
        page.select_option("#board", "a3")
        eventually(page, "() => document.getElementById('square').value === '30'")
        page.select_option("#board", "own")
        assert page.is_visible("#own-board")
        page.fill("#squares", "8x11")
        page.select_option("#dictionary", "4x4")
        page.fill("#square", "20")
        page.fill("#marker", "16")
        page.press("#marker", "Tab")
        until(lambda: str(calibration.board) == "8 x 11 squares of 20 mm, 4x4 markers of 16 mm")
        page.select_option("#paper", "a3")
        with page.expect_download() as download:
            page.click("#own-sheet")
        text = PdfReader(download.value.path()).pages[0].extract_text()
        assert "8 x 11 squares of 20 mm, 4x4 markers of 16 mm" in text
        page.select_option("#paper", "letter")
        page.fill("#squares", "8by11")
        page.click("#own-sheet")
        eventually(page, "() => document.querySelector('.toasts .bad')?.textContent.includes('such as 7x10')")
    finally:
        for context in browser.contexts:
            context.close()
        server.close()
