"""A board rendered with known intrinsics: found again, and every wrong board, view or fit refused."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from physadv.camera.charuco import BOARDS, LAYOUTS, Board, BoardFinder, BoardView, WrongBoard, board_of, layout_of
from physadv.camera.guide import CalibrationGuide
from physadv.camera.intrinsics import calibrate
from physadv.camera.lens import undistortion_preview
from physadv.camera.profile import CameraProfile
from physadv.cli import main
from physadv.errors import CalibrationError
from physadv.types import UInt8Array
from tests.camera.views import Lens, views_of

LENS = Lens(focal=610.0, cx=330.0, cy=232.0, distortion=(-0.2, 0.06, 0.0005, -0.0004, 0.0), size=(640, 480), blur=0.6)


@pytest.fixture(scope="module")
def images() -> list[UInt8Array]:
    return views_of(BOARDS["a4"], LENS, 14)


@pytest.fixture(scope="module")
def views(images: list[UInt8Array]) -> list[BoardView]:
    finder = BoardFinder(BOARDS["a4"])
    found = [finder.find(p, name=str(k)) for k, p in enumerate(images)]
    return [v for v in found if v is not None]


@pytest.fixture
def folder(tmp_path: Path, images: list[UInt8Array]) -> Iterator[Path]:
    for k, image in enumerate(images):
        cv2.imwrite(str(tmp_path / f"{k:02d}.png"), image)
    yield tmp_path


def test_known_intrinsics_are_found(views: list[BoardView], images: list[UInt8Array]) -> None:
    profile, left_out = calibrate(views, BOARDS["a4"], name="cam")
    assert not left_out
    assert abs(profile.focal_px / LENS.focal - 1) < 0.005
    assert profile.rms_px < 0.5
    assert np.hypot(profile.matrix[0][2] - LENS.cx, profile.matrix[1][2] - LENS.cy) < 4
    assert abs(profile.focal_px - LENS.focal) < 6 * profile.focal_error_px + 0.5
    assert undistortion_preview(profile, images[0]).shape[0] > 480


def test_a_spoilt_view_is_left_out(views: list[BoardView]) -> None:
    spoilt = BoardView(
        views[3].ids,
        views[3].corners + np.array([[0, 1]]) * np.arange(len(views[3].ids))[:, None] % 9,
        views[3].size,
        "x",
    )
    bad = BoardView(spoilt.ids, spoilt.corners.astype(np.float32), spoilt.size, "x")
    profile, left_out = calibrate([*views[:3], bad, *views[4:]], BOARDS["a4"], name="cam")
    assert left_out == ["x"]
    assert abs(profile.focal_px / LENS.focal - 1) < 0.005


@pytest.mark.parametrize("text", ["10x7", "8x10", "5x7", "a3"])
def test_another_number_of_squares_is_refused(text: str, images: list[UInt8Array]) -> None:
    with pytest.raises(WrongBoard, match=r"it fits a board of 7 x"):
        for k in (0, 2, 6):
            BoardFinder(board_of(text)).find(images[k])


def test_a_board_longer_than_the_printed_one_is_refused(views: list[BoardView]) -> None:
    with pytest.raises(CalibrationError, match="7 x 10 squares"):
        calibrate(views, board_of("7x11"), name="cam")


def test_another_marker_size_or_family_is_refused(images: list[UInt8Array]) -> None:
    with pytest.raises(WrongBoard):
        BoardFinder(board_of("7x10", square_mm=25, marker_mm=12)).find(images[0])
    with pytest.raises(WrongBoard, match="family 5x5"):
        BoardFinder(board_of("7x10", dictionary="4x4")).find(images[0])


@pytest.mark.parametrize(
    ("board", "tells"),
    [
        (BOARDS["a4"], True),
        (board_of("8x6", square_mm=24, marker_mm=18, dictionary="4x4"), True),
        (board_of("8x7", square_mm=24, marker_mm=18, dictionary="6x6"), False),
    ],
    ids=["odd columns", "even columns", "odd rows"],
)
def test_both_layouts_of_a_board_are_found(board: Board, tells: bool) -> None:
    finder = BoardFinder(board)
    for layout in LAYOUTS:
        images = views_of(board, LENS, 4, layout=layout)
        found = [finder.find(image) for image in images]
        views = [view for view in found if view is not None]
        assert len(views) == 4 and all(len(view.ids) >= 8 for view in views)
        assert layout_of(views) == (layout if tells else "standard")
        # A mirrored board is named as one, whatever the layout and the markers.
        with pytest.raises(WrongBoard, match="the image is mirrored"):
            finder.find(images[1][:, ::-1])


def test_the_layout_before_opencv_4_6_calibrates_live_and_from_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = views_of(BOARDS["a4"], LENS, 10, layout="legacy")
    guide = CalibrationGuide(BOARDS["a4"], still=True, new=True)
    for image in images:
        guide.look(image)
        guide.look(image)
    assert len(guide.views) >= 8
    profile, _ = calibrate(guide.checked_views(), BOARDS["a4"], name="cam")
    assert profile.board["layout"] == "legacy" and abs(profile.focal_px / LENS.focal - 1) < 0.005
    for k, image in enumerate(images):
        cv2.imwrite(str(tmp_path / f"{k:02d}.png"), image)
    assert main(["calibrate", "camera", "--source", str(tmp_path), "--out", str(tmp_path / "cam.json")]) == 0
    assert "legacy layout" in capsys.readouterr().out
    saved = CameraProfile.load(tmp_path / "cam.json")
    assert saved.board["layout"] == "legacy" and abs(saved.focal_px / profile.focal_px - 1) < 0.005


def test_views_of_two_layouts_serve_and_the_profile_says_so(views: list[BoardView]) -> None:
    assert calibrate(views, BOARDS["a4"], name="cam")[0].board["layout"] == "standard"
    finder = BoardFinder(BOARDS["a4"])
    old = [finder.find(image) for image in views_of(BOARDS["a4"], LENS, 6, layout="legacy")]
    profile, _ = calibrate([*views[6:], *(v for v in old if v is not None)], BOARDS["a4"], name="cam")
    assert profile.board["layout"] == "mixed" and abs(profile.focal_px / LENS.focal - 1) < 0.005


def test_a_mirrored_camera_is_named_as_one_and_gives_no_profile(
    images: list[UInt8Array], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guide = CalibrationGuide(BOARDS["a4"], still=True, new=True)
    look = guide.look(images[0][:, ::-1])
    assert look.wrong and look.text.startswith("the image is mirrored") and "switch mirroring off" in look.text
    for k, image in enumerate(images[:9]):
        cv2.imwrite(str(tmp_path / f"{k:02d}.png"), image[:, ::-1])
    out = tmp_path / "cam.json"
    assert main(["calibrate", "camera", "--source", str(tmp_path), "--out", str(out)]) == 2
    printed = capsys.readouterr()
    assert "00.png, 01.png, 02.png, 03.png and 5 more: the image is mirrored" in printed.out
    assert "9 of 9 images cannot be used" in printed.err and "switch mirroring off" in printed.err
    assert not out.exists()


def test_views_count_as_the_sensor_took_them_whatever_their_tags(
    images: list[UInt8Array], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for k, image in enumerate(images[:10]):
        exif = Image.Exif()
        exif[0x0112] = (1, 6, 8, 3)[k % 4]
        Image.fromarray(image).save(tmp_path / f"{k:02d}.jpg", quality=95, exif=exif)
    (tmp_path / "03.jpg").write_bytes((tmp_path / "03.jpg").read_bytes()[:500])
    assert main(["calibrate", "camera", "--source", str(tmp_path), "--out", str(tmp_path / "cam.json")]) == 0
    printed = capsys.readouterr()
    assert "9 images, 9 views" in printed.out and "03.jpg" in printed.out + printed.err
    profile = CameraProfile.load(tmp_path / "cam.json")
    assert (profile.width, profile.height) == LENS.size and abs(profile.focal_px / LENS.focal - 1) < 0.005


def test_the_unit_of_the_board_does_not_matter(images: list[UInt8Array], views: list[BoardView]) -> None:
    twice = Board(columns=7, rows=10, square_mm=50, marker_mm=36)
    view = BoardFinder(twice).find(images[0])
    assert view is not None
    np.testing.assert_allclose(view.corners, views[0].corners, atol=1e-3)


def test_too_few_too_alike_or_mixed_views_are_refused(views: list[BoardView]) -> None:
    with pytest.raises(CalibrationError, match="too few views"):
        calibrate(views[:5], BOARDS["a4"], name="cam")
    with pytest.raises(CalibrationError):
        calibrate(views[:1] * 10, BOARDS["a4"], name="cam")
    other = BoardView(views[0].ids, views[0].corners, (1280, 960))
    with pytest.raises(CalibrationError, match="different sizes"):
        calibrate([*views, other], BOARDS["a4"], name="cam")


def test_a_bad_fit_is_refused(views: list[BoardView]) -> None:
    rng = np.random.default_rng(0)
    shaken = [
        BoardView(v.ids, (v.corners + rng.normal(size=v.corners.shape) * 3).astype(np.float32), v.size, v.name)
        for v in views
    ]
    with pytest.raises(CalibrationError, match=r"bad fit|uncertain"):
        calibrate(shaken, BOARDS["a4"], name="cam")


def test_the_guide_says_what_is_missing_and_takes_nothing_twice(images: list[UInt8Array]) -> None:
    guide = CalibrationGuide(BOARDS["a4"], still=True, new=True)
    first = guide.look(images[0])
    assert not first.accepted and "still" in first.text
    assert guide.look(images[0]).accepted
    assert not guide.look(images[0]).accepted
    assert "left" in guide.missing() or "right" in guide.missing()
    for image in images[1:]:
        guide.look(image)
        guide.look(image)
    state = guide.state()
    assert state["views"] >= 8 and state["coverage"] > 0.6
    assert "not seen" in guide.look(np.full((480, 640, 3), 128, np.uint8)).text


def test_the_command_saves_a_profile(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, preview = tmp_path / "cam.json", tmp_path / "preview.png"
    # Some views were taken by a telephone held upright; the sensor's images count.
    for path in sorted(folder.iterdir())[::3]:
        tagged = Image.open(path)
        exif = tagged.getexif()
        exif[0x112] = 6
        tagged.save(path, exif=exif)
    argv = [
        "calibrate",
        "camera",
        "--source",
        str(folder),
        "--name",
        "cam",
        "--out",
        str(out),
        "--preview",
        str(preview),
    ]
    assert main(argv) == 0
    assert abs(CameraProfile.load(out).focal_px / LENS.focal - 1) < 0.005
    assert preview.is_file()
    assert "rms" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [["--board", "9x13"], ["--board", "seven"], ["--name", "a/b"], ["--marker-mm", "12"]])
def test_the_command_saves_nothing_bad(
    flags: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "cam.json"
    assert main(["calibrate", "camera", "--source", str(folder), "--out", str(out), *flags]) == 2
    assert not out.exists()
    assert "Traceback" not in capsys.readouterr().err


def test_the_sheet_is_a_pdf_that_fits_its_paper(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = tmp_path / "board.pdf"
    assert main(["calibrate", "camera", "--sheet", str(sheet)]) == 0
    assert sheet.read_bytes().startswith(b"%PDF")
    assert main(["calibrate", "camera", "--sheet", str(sheet), "--square-mm", "60"]) == 2
    assert "does not fit" in capsys.readouterr().err


def test_a_camera_that_is_not_there_is_said_and_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("physadv.capture.latest.FIRST_TRIES", 2)
    source = "http://admin:hunter2@127.0.0.1:9/x"
    assert main(["calibrate", "camera", "--source", source, "--ui", "headless", "--out", str(tmp_path / "c.json")]) == 2
    said = capsys.readouterr()
    assert "Connection refused; trying again" in said.out
    assert "no image in 2 tries" in said.err
    assert "hunter2" not in said.out + said.err
