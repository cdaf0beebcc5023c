"""Profiles: saved and read back, and refused when changed, stale, foreign or for another size."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from physadv.camera.colour import ColourMap, Lattice
from physadv.camera.lens import Undistorter, size_cm
from physadv.camera.profile import CameraProfile, PrinterProfile, load_profiles
from physadv.errors import CalibrationError


def camera(**changes: Any) -> CameraProfile:
    values: dict[str, Any] = {
        "name": "cam",
        "created": datetime.now(UTC),
        "width": 640,
        "height": 480,
        "matrix": [[500.0, 0.0, 322.0], [0.0, 500.0, 238.0], [0.0, 0.0, 1.0]],
        "distortion": [-0.2, 0.05, 0.0, 0.0, 0.0],
        "rms_px": 0.2,
        "focal_error_px": 0.5,
        "views": 14,
        "coverage": 0.9,
    }
    return CameraProfile.model_validate({**values, **changes})


def printer(**changes: Any) -> PrinterProfile:
    values: dict[str, Any] = {
        "name": "p+cam",
        "created": datetime.now(UTC),
        "printer": "p",
        "camera": "cam",
        "map": ColourMap.identity().to_dict(),
        "held_out": {"mean": 1.0},
        "palette": [[0.9, 0.9, 0.9], [0.1, 0.1, 0.1]],
        "palette_digital": [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]],
        "paper_white": [1.0, 1.0, 1.0],
        "darkest": [0.0, 0.0, 0.0],
        "inverse": Lattice.nodes(5).tolist(),
    }
    return PrinterProfile.model_validate({**values, **changes})


def test_a_profile_comes_back_as_it_was(tmp_path: Path) -> None:
    for profile in (camera(), printer()):
        path = tmp_path / f"{profile.kind}.json"
        profile.save(path)
        again = type(profile).load(path)
        assert again == profile
        assert json.loads(path.read_text())["sha256"] == again.sha256


def test_a_changed_profile_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cam.json"
    camera().save(path)
    path.write_text(path.read_text().replace("500.0", "510.0"))
    with pytest.raises(CalibrationError, match="changed since it was saved"):
        CameraProfile.load(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": "printer"}', "\x00\xff", '{"kind":"camera","version":2}'])
def test_a_damaged_profile_is_one_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cam.json"
    path.write_text(text)
    with pytest.raises(CalibrationError, match=str(path)):
        CameraProfile.load(path)


def test_a_missing_profile_names_those_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    camera(name="kitchen").save(tmp_path / "calib" / "cameras" / "kitchen.json")
    assert CameraProfile.load("kitchen").name == "kitchen"
    with pytest.raises(CalibrationError, match="kitchen"):
        CameraProfile.load("hall")


def test_stale_foreign_and_other_sizes_are_refused(tmp_path: Path) -> None:
    old = camera(created=datetime.now(UTC) - timedelta(days=400))
    with pytest.raises(CalibrationError, match="400 days old"):
        old.check_age()
    with pytest.raises(CalibrationError, match="future"):
        camera(created=datetime.now(UTC) + timedelta(days=3)).check_age()
    with pytest.raises(CalibrationError, match="640 x 480 images, got 1280 x 720"):
        camera().check_size(1280, 720)
    one, other = camera(), camera(rms_px=0.3)
    one.save(tmp_path / "c.json")
    printer(camera_sha256=other.sha256).save(tmp_path / "p.json")
    with pytest.raises(CalibrationError, match="another calibration"):
        load_profiles(tmp_path / "c.json", tmp_path / "p.json")
    printer(camera="phone").save(tmp_path / "p.json")
    with pytest.raises(CalibrationError, match="through camera 'phone'"):
        load_profiles(tmp_path / "c.json", tmp_path / "p.json")
    printer(camera_sha256=one.sha256).save(tmp_path / "p.json")
    assert load_profiles(tmp_path / "c.json", tmp_path / "p.json", size=(640, 480))[1] is not None


def test_impossible_values_are_refused() -> None:
    for changes in (
        {"matrix": [[5.0, 0, 0], [0, 5.0, 0], [0, 0, 1.0]]},
        {"width": 5},
        {"name": "../x"},
        {"rms_px": -1},
        {"distortion": [0.1] * 6},
        {"distortion": [0.1] * 7},
        {"distortion": [0.1, float("nan"), 0.0, 0.0]},
        {"matrix": [[500.0, 0.0, 322.0], [0.0, 0.0, 238.0], [0.0, 0.0, 1.0]]},
    ):
        with pytest.raises(ValueError, match=next(iter(changes))):
            camera(**changes)
    falling = {**ColourMap.identity().to_dict(), "curve_in": [[1.0, 0.0]] * 3}
    with pytest.raises(ValueError, match="never fall"):
        printer(map=falling)


def test_the_map_is_differentiable_and_its_spread_follows_its_covariance() -> None:
    table = {**ColourMap.identity().to_dict(), "covariance": (np.diag([4e-4, 1e-4, 9e-4])).tolist()}
    model = ColourMap.from_dict(table, name="x")
    images = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    out = model.apply(images)
    torch.testing.assert_close(out, images)
    out.sum().backward()  # type: ignore[no-untyped-call]
    assert images.grad is not None and torch.all(images.grad > 0.9)
    draws = model.sample_residual(4000, torch.Generator().manual_seed(1))
    assert draws.shape == (4000, 3, 1, 1)
    torch.testing.assert_close(draws.std(0).ravel(), torch.tensor([0.02, 0.01, 0.03]), rtol=0.1, atol=0)
    again = model.sample_residual(4000, torch.Generator().manual_seed(1))
    assert torch.equal(draws, again)


def test_a_lattice_reads_its_nodes_in_rgb_order() -> None:
    nodes = Lattice.nodes(4)
    table = Lattice.from_rows((nodes * torch.tensor([1.0, 0.5, 0.25])).tolist())
    images = torch.rand(2, 3, 3, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(table.apply(images), images * torch.tensor([1.0, 0.5, 0.25]).reshape(1, 3, 1, 1))


def test_lines_bent_by_the_lens_come_out_straight() -> None:
    import cv2

    profile = camera()
    matrix, distortion = np.array(profile.matrix), np.array(profile.distortion)
    line = np.array([[x, 0.32, 1.0] for x in np.linspace(-0.5, 0.5, 9)])
    bent = cv2.projectPoints(line, np.zeros(3), np.zeros(3), matrix, distortion)[0].reshape(-1, 2).astype(np.float32)
    assert np.ptp(bent[:, 1]) > 3
    straight = Undistorter(profile, (640, 480)).points(bent)
    assert np.ptp(straight[:, 1]) < 0.05
    image = np.zeros((480, 640, 3), np.uint8)
    cv2.polylines(image, [bent.round().astype(np.int32).reshape(-1, 1, 2)], False, (255, 255, 255), 3)
    rows = np.nonzero(Undistorter(profile, (640, 480)).apply(image)[..., 0] > 100)[0]
    assert np.ptp(rows) <= 7 < np.ptp(np.nonzero(image[..., 0])[0]) - 2


def test_sizes_in_centimetres() -> None:
    boxes = np.array([[0, 0, 100, 340], [0, 0, 220, 200]], np.float32)
    sizes, scale = size_cm(boxes)
    np.testing.assert_allclose(sizes, [[50, 170], [55, 50]], rtol=1e-5)
    np.testing.assert_allclose(scale, [2, 4], rtol=1e-5)
    sizes, scale = size_cm(boxes, shoulders_px=np.array([np.nan, 108], np.float32))
    np.testing.assert_allclose(scale, [2, 3], rtol=1e-5)
