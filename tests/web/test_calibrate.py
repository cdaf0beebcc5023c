"""The calibration guide's calls without a browser: what passes for held still, under whose name profiles are saved."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pypdf import PdfReader

from physadv.camera import printer
from physadv.camera.charuco import BOARDS
from physadv.camera.profile import CameraProfile, PrinterProfile
from physadv.errors import CalibrationError
from physadv.types import Frame, UInt8Array
from physadv.web import calibrate
from physadv.web.app import build_app
from physadv.web.calibrate import Calibration
from tests.browser.test_calibration_page import LENS, fitted
from tests.camera.test_profile import camera
from tests.camera.views import views_of
from tests.web.test_page import png


def client(calibration: Calibration) -> TestClient:
    return TestClient(build_app(None, calibration=calibration), base_url="http://127.0.0.1")


def frames(*images: UInt8Array) -> Callable[[], Frame]:
    """A camera that gives each image twice: it is asked more often than it takes one."""
    shown = [Frame(pixels, i, i + 1, 0.0) for i, pixels in enumerate(images) for _ in range(2)]
    return lambda: shown.pop(0) if len(shown) > 1 else shown[0]


def test_one_image_looked_at_twice_is_no_board_held_still() -> None:
    one, other = list(views_of(BOARDS["a4"], LENS, 2))
    calibration = Calibration(images=frames(one, other, other))
    with client(calibration) as page:
        looks = [page.get("/api/calibrate/look").json() for _ in range(4)]
    assert [look["text"] for look in looks[:2]] == ["hold the board still"] * 2
    assert [look["accepted"] for look in looks] == [False, False, True, False]
    assert looks[3]["text"] == "waiting for the camera"


def test_the_page_says_that_a_camera_is_mirrored() -> None:
    mirrored = [image[:, ::-1].copy() for image in views_of(BOARDS["a4"], LENS, 3)]
    calibration = Calibration(images=frames(*mirrored))
    with client(calibration) as page:
        looks = [page.get("/api/calibrate/look").json() for _ in range(3)]
        answer = page.post("/api/calibrate/finish", json={})
    assert all(look["wrong"] and "switch mirroring off in the camera's program" in look["text"] for look in looks)
    assert answer.status_code == 422 and "the image is mirrored" in answer.json()["error"]


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of profiles, and fits that are quick: they are tested without a page."""
    monkeypatch.chdir(tmp_path)

    def quick(_: Any, board: Any, *, name: str, notes: Any) -> tuple[CameraProfile, list[str]]:
        return camera().model_copy(update={"name": name, "board": board.model_dump(), "notes": notes}), []

    monkeypatch.setattr(calibrate, "calibrate", quick)
    monkeypatch.setattr(printer, "chart_profile", fitted)
    return tmp_path / "calib"


def test_a_profile_is_saved_under_the_name_and_with_the_square_that_stand_on_the_page(profiles: Path) -> None:
    with client(Calibration(name="camera", path=profiles.parent / "out.json")) as page:
        for name, says in (("../desk", "expected up to 64 letters"), ("", "expected at least 1 character, got ''")):
            answer = page.post("/api/calibrate/finish", json={"name": name})
            assert answer.status_code == 422 and answer.json()["error"].startswith(f"Name of the camera: {says}")
        assert page.post("/api/calibrate/finish", json={"square_mm": 0}).status_code == 422
        assert not list(profiles.parent.rglob("*.json"))
        assert page.post("/api/calibrate/finish", json={"name": "desk", "square_mm": 24.5}).status_code == 200
        saved = CameraProfile.load(profiles / "cameras" / "desk.json")
        assert saved.name == "desk" and not (profiles.parent / "out.json").exists()
        assert saved.board["square_mm"] == 24.5 and saved.board["marker_mm"] == pytest.approx(24.5 * 18 / 25)
        (profiles / "cameras" / "desk.json").unlink()
        (profiles / "cameras").rmdir()
        (profiles / "cameras").write_text("in the way")
        answer = page.post("/api/calibrate/finish", json={})
        assert answer.status_code == 422 and "calib/cameras" in answer.json()["error"]


def test_another_board_is_drawn_and_looked_for(profiles: Path) -> None:
    with client(Calibration()) as page:
        own = {"board": "8x11", "square_mm": 20, "marker_mm": 15, "dictionary": "6x6"}
        sheet = page.get("/api/calibrate/sheet/board.pdf", params={**own, "paper": "a3"})
        (profiles.parent / "board.pdf").write_bytes(sheet.content)
        assert "8 x 11 squares of 20 mm, 6x6 markers of 15 mm" in PdfReader("board.pdf").pages[0].extract_text()
        state = page.post("/api/calibrate/start", json={"name": "desk", **own}).json()
        assert state["board"] == "8 x 11 squares of 20 mm, 6x6 markers of 15 mm" and state["square_mm"] == 20
        assert page.post("/api/calibrate/start", json={"square_mm": 19.5}).json()["square_mm"] == 19.5
        for wrong, says in (({"board": "8by11"}, "Board: "), ({"board": "8x11", "dictionary": "9x9"}, "Markers: ")):
            answer = page.post("/api/calibrate/start", json=wrong)
            assert answer.status_code == 422 and says in answer.json()["error"]


def test_several_photographs_make_one_profile_tied_to_the_cameras_own_name(
    profiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lens = camera().model_copy(update={"name": "desk"})
    lens.save(profiles / "cameras" / "renamed.json")
    read: list[tuple[str, tuple[int, ...]]] = []

    def seen(photos: Any, **names: Any) -> Any:
        read.extend((photo.name, photo.pixels.shape) for photo in photos)
        assert names["camera_profile"] == lens
        return fitted(photos, **names)

    monkeypatch.setattr(printer, "chart_profile", seen)
    with client(Calibration()) as page:
        send = [
            page.post(f"/api/calibrate/photograph?file={name}", content=png(*size)).json()["photo"]
            for name, size in (("one.png", (40, 30)), ("two.png", (50, 40)))
        ]
        answer = page.post("/api/calibrate/colour", json={"printer": "matt", "camera": "renamed", "photos": send})
        assert answer.json()["name"] == "matt+desk" and answer.json()["lens"]
        assert read == [("one.png", (30, 40, 3)), ("two.png", (40, 50, 3))]
        PrinterProfile.load(profiles / "printers" / "matt+desk.json").check_camera(lens)
        # What was read is not kept.
        again = page.post("/api/calibrate/colour", json={"photos": send})
        assert again.status_code == 422 and "choose them again" in again.json()["error"]
        assert page.post("/api/calibrate/colour", json={"photos": []}).status_code == 422
        wrong = [page.post("/api/calibrate/photograph?file=x.png", content=b"no image").json()["photo"]]
        answer = page.post("/api/calibrate/colour", json={"photos": wrong})
        assert answer.status_code == 422 and "x.png" in answer.json()["error"]


def test_only_the_newest_photographs_are_kept() -> None:
    kept = calibrate.Photographs()
    keys = [kept.keep(f"{i}.png", bytes([i])) for i in range(calibrate.MAX_PHOTOS + 1)]
    with pytest.raises(CalibrationError, match="choose them again"):
        kept.take(keys[:2])
    assert kept.take(keys[2:]) == [(f"{i}.png", bytes([i])) for i in range(2, len(keys))]
