"""A printer and a camera that the fit knows nothing of: colours predicted within bounds, and bad photographs refused."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from sim_print_camera import PrintAndCamera, variant

from physadv.camera.chart import chart
from physadv.camera.chart_reading import read_chart
from physadv.camera.difference import srgb_difference
from physadv.camera.pairs import load_plate
from physadv.camera.profile import CameraProfile, PrinterProfile
from physadv.cli import main
from physadv.errors import CalibrationError
from physadv.types import UInt8Array
from tests.camera.test_profile import camera

CORNERS = np.array([[230, 60], [1040, 90], [1090, 1240], [170, 1180]], float)
SIZE = (1260, 1300)


def photograph(stops: float = 0.0, seed: int = 0) -> UInt8Array:
    world = PrintAndCamera()
    return world.photograph(chart().image(110), CORNERS, SIZE, np.random.default_rng(seed), stops=stops)


@pytest.fixture(scope="module")
def good() -> UInt8Array:
    return photograph()


def save(path: Path, pixels: UInt8Array) -> Path:
    cv2.imwrite(str(path), np.ascontiguousarray(pixels[..., ::-1]))
    return path


def run(photo: Path, out: Path, *flags: str) -> int:
    return main(
        ["calibrate", "colour", "--photo", str(photo), "--printer", "sim", "--camera", "sim", "--out", str(out), *flags]
    )


def test_the_chart_never_changes() -> None:
    sheet = chart()
    counts = np.bincount(sheet.cell.ravel(), minlength=len(sheet.colours))
    assert counts.min() >= 2
    # Charts that people have printed must stay readable.
    order = np.arange(sheet.cell.size).reshape(sheet.cell.shape)
    assert int((sheet.cell * order).sum()) == 11772100


def test_a_chart_gives_a_profile_within_bounds(good: UInt8Array, tmp_path: Path) -> None:
    out, preview = tmp_path / "p.json", tmp_path / "preview.png"
    assert run(save(tmp_path / "good.jpg", good), out, "--preview", str(preview)) == 0
    assert preview.is_file()
    profile = PrinterProfile.load(out)
    held = profile.held_out
    assert held["mean"] <= 3 and held["p95"] <= 7
    assert held["mean"] <= held["no_map_mean"] / 2
    # Colours that were on no chart, against the truth.
    rng = np.random.default_rng(1)
    digital = rng.uniform(size=(400, 3))
    truth = PrintAndCamera().colours(digital)
    model = profile.colour_map()
    shown = model.colours(torch.from_numpy(digital).float()).numpy()
    assert srgb_difference(shown, truth).mean() <= 3
    # Pre-compensated, printable colours come back as asked.
    target = truth[:100].astype(np.float32)
    sent = profile.precompensate(torch.from_numpy(target).T[None, :, :, None], relative=False)[0, :, :, 0].T
    assert srgb_difference(PrintAndCamera().colours(sent.double().numpy()), target).mean() < 4
    assert 100 <= len(profile.printable()) == len(profile.printable_digital())


def test_the_lens_is_taken_out_wherever_a_profile_of_that_name_is_found(
    good: UInt8Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photo, out = save(tmp_path / "good.png", good), tmp_path / "p.json"
    given: list[CameraProfile | None] = []

    def seen(*_: object, camera_profile: CameraProfile | None, **__: object) -> None:
        given.append(camera_profile)
        raise CalibrationError("far enough")

    monkeypatch.setattr("physadv.cli.calibrate_colour.chart_profile", seen)
    # As beside the package, where the working folder is another.
    monkeypatch.setattr(CameraProfile, "_folders", classmethod(lambda _: [tmp_path / "beside"]))
    camera().model_copy(update={"name": "sim"}).save(tmp_path / "beside" / "sim.json")
    assert run(photo, out) == 2
    assert given[0] is not None and given[0].name == "sim"
    assert main(["calibrate", "colour", "--photo", str(photo), "--camera", "simm"]) == 2
    assert given[1] is None
    assert "--camera simm: no camera profile of that name (known: sim)" in capsys.readouterr().out


def test_the_printer_is_tied_to_the_cameras_own_name_whatever_its_file_is_called(
    good: UInt8Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo, out = save(tmp_path / "good.png", good), tmp_path / "p.json"
    given: list[str] = []

    def seen(*_: object, camera: str, **__: object) -> None:
        given.append(camera)
        raise CalibrationError("far enough")

    monkeypatch.setattr("physadv.cli.calibrate_colour.chart_profile", seen)
    path = tmp_path / "my cam!.json"
    camera().model_copy(update={"name": "desk"}).save(path)
    argv = ["calibrate", "colour", "--camera", str(path), "--out", str(out)]
    assert main([*argv, "--photo", str(photo)]) == 2
    assert given == ["desk"]


def test_light_is_flattened(good: UInt8Array) -> None:
    reading = read_chart(good)
    assert reading.uneven > 1.1
    assert reading.repeat < 1
    turned = read_chart(np.ascontiguousarray(np.rot90(good)))
    np.testing.assert_allclose(turned.seen, reading.seen, atol=0.02)


def spoilt(kind: str, good: UInt8Array) -> UInt8Array:
    if kind == "cut off":
        return np.ascontiguousarray(good[:1000])
    if kind == "mirrored":
        return np.ascontiguousarray(good[:, ::-1])
    if kind == "over-exposed":
        return photograph(stops=2.5)
    if kind == "under-exposed":
        return photograph(stops=-4)
    if kind == "too small":
        return np.asarray(cv2.resize(good, None, fx=0.26, fy=0.26, interpolation=cv2.INTER_AREA), np.uint8)
    if kind == "shadow":
        dark = good.astype(np.float32)
        dark[:, 600:] *= 0.45
        return dark.astype(np.uint8)
    return np.full_like(good, 90)


@pytest.mark.parametrize(
    "kind", ["cut off", "mirrored", "over-exposed", "under-exposed", "too small", "shadow", "no colour chart"]
)
def test_bad_photographs_are_distinguished_and_nothing_is_saved(
    kind: str, good: UInt8Array, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = save(tmp_path / "bad.png", spoilt(kind, good))
    assert run(photo, tmp_path / "p.json") == 2
    err = capsys.readouterr().err
    assert kind in err and err.count("\n") == 1
    assert not (tmp_path / "p.json").exists()


def test_pairs_of_plates_work_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Which kind of map is best is tried out for the chart.
    monkeypatch.setattr("physadv.camera.fit.KINDS", ("multilinear",))
    digital, photo, out = tmp_path / "digital", tmp_path / "photo", tmp_path / "p.json"
    digital.mkdir()
    photo.mkdir()
    world, rng = variant(2), np.random.default_rng(0)
    for k in range(6):
        cells = rng.integers(0, 256, (9, 12, 3)).astype(np.uint8)
        plate = np.asarray(cv2.resize(cells, (480, 360), interpolation=cv2.INTER_NEAREST), np.uint8)
        save(digital / f"plate{k}.png", plate)
        off = rng.normal(size=(4, 2)) * 4
        corners = np.array([[0, 0], [620, 0], [620, 465], [0, 465]]) + off
        save(photo / f"plate{k}.jpg", world.photograph(plate, corners, (620, 465), rng))
    save(photo / "stranger.jpg", plate)
    (photo / "notes.txt").touch()
    argv = ["calibrate", "colour", "--digital", str(digital), "--photo", str(photo), "--out", str(out)]
    assert main(argv) == 0
    said = capsys.readouterr().out
    assert "left out: stranger.jpg has no original" in said and "left out: files as no images: 1 file: 1 .txt" in said
    held = PrinterProfile.load(out).held_out
    assert held["mean"] <= 3 and held["p95"] <= 7 and held["mean"] <= held["no_map_mean"] / 2


def test_plates_that_do_not_belong_together_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digital, photo, out = tmp_path / "digital", tmp_path / "photo", tmp_path / "p.json"
    digital.mkdir()
    photo.mkdir()
    rng = np.random.default_rng(0)
    for k in range(4):
        for folder in (digital, photo):
            cells = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
            save(
                folder / f"{k}.png",
                np.asarray(cv2.resize(cells, (200, 200), interpolation=cv2.INTER_NEAREST), np.uint8),
            )
    argv = ["calibrate", "colour", "--digital", str(digital), "--photo", str(photo), "--out", str(out)]
    assert main(argv) == 2
    assert "cannot be used" in capsys.readouterr().err
    for path in photo.iterdir():
        path.rename(path.with_name(f"other-{path.name}"))
    assert main(argv) == 2
    assert "same name" in capsys.readouterr().err
    assert main([*argv[:2], "--digital", str(tmp_path / "nowhere"), "--photo", str(photo), "--out", str(out)]) == 2
    assert not out.exists()


@pytest.mark.parametrize(("kind", "says"), [("bright", "over-exposed"), ("grey", "is grey"), ("good", "")])
def test_a_photograph_that_cannot_tell_colours_is_left_out_with_the_reason(
    kind: str, says: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    cells = rng.integers(0, 256, (9, 12, 3)).astype(np.uint8)
    plate = np.asarray(cv2.resize(cells, (240, 180), interpolation=cv2.INTER_NEAREST), np.uint8)
    corners = np.array([[0, 0], [300, 0], [300, 225], [0, 225]], float)
    seen = variant(2).photograph(plate, corners, (300, 225), rng, stops=3.0 if kind == "bright" else 0.0)
    if kind == "grey":
        seen = np.repeat(seen.mean(2, keepdims=True).astype(np.uint8), 3, 2)
    found, why = load_plate(save(tmp_path / "plate.png", plate), save(tmp_path / "seen.png", seen))
    assert (found is None) == bool(says)
    assert says in why


def test_the_chart_is_written_as_pdf_and_png_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "colour", "--chart", str(tmp_path / "c.pdf")]) == 0
    assert main(["calibrate", "colour", "--chart", str(tmp_path / "c.gif")]) == 2
    assert ".pdf or .png" in capsys.readouterr().err
    assert main(["calibrate", "colour"]) == 2


def test_no_chart_in_noise() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3)).astype(np.uint8)
    with pytest.raises(CalibrationError, match="no colour chart"):
        read_chart(noise)
