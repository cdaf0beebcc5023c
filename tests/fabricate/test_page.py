"""The page prints, advises and shows what the command line does."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from pypdf import PdfReader

from physadv.fabricate.poster import printed_size
from physadv.fabricate.settings import PrintSettings
from physadv.live.library import PatchLibrary
from physadv.patch import Patch, save_patch
from physadv.web.app import build_app
from tests.camera.test_profile import camera


@pytest.fixture
def client(cells: Patch, tmp_path: Path) -> Iterator[TestClient]:
    save_patch(cells, tmp_path)
    app = build_app(None, library=PatchLibrary([str(tmp_path / "patch.safetensors")]))
    with TestClient(app, base_url="http://127.0.0.1") as out:
        yield out


def test_pages_and_options(client: TestClient) -> None:
    assert "bank card" in client.get("/show").text
    assert client.get("/print").status_code == 200
    options = client.get("/api/print/options").json()
    assert options["patterns"][0]["name"] == "cells" and "a4" in options["papers"]
    assert {"path": "/print", "title": "Print"} in client.get("/api/pages").json()


def test_preview_and_download(client: TestClient, tmp_path: Path) -> None:
    wanted = {"pattern": "cells", "size": "25cm", "paper": "a4", "control": "grey"}
    answer = client.post("/api/print/preview", json={**wanted, "sheet": 1})
    assert answer.status_code == 200 and answer.headers["x-sheets"] == "2"
    path = tmp_path / "p.png"
    path.write_bytes(answer.content)
    with Image.open(path) as image:
        assert abs(image.width - 900) <= 1
    answer = client.get("/api/print/file", params=wanted)
    assert (
        answer.headers["content-type"] == "application/pdf"
        and "cells-grey.pdf" in answer.headers["content-disposition"]
    )
    path.write_bytes(answer.content)
    assert len(PdfReader(path).pages) == 3
    answer = client.get("/api/print/file", params={"pattern": "cells", "garment": "dtg", "size": "5cm", "kind": ".png"})
    assert answer.content[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("preview", {"pattern": "cells", "size": "0cm"}, "Width: expected a length above zero, got 0cm"),
        ("preview", {"pattern": "cells", "size": "-5cm"}, "Width: expected a length above zero, got -5cm"),
        ("preview", {"pattern": "cells", "for_person": "2m", "scale": 3}, "Side, as a share: expected a fraction"),
        ("preview", {"pattern": "cells", "size": "139cm", "paper": "150x110mm"}, "Paper: 139 x"),
        ("preview", {"pattern": "", "size": "25cm"}, "Pattern: expected at least 1 character, got ''"),
        ("preview", {"pattern": "cells", "sheet": -1}, "Sheet: expected at least 0, got -1"),
        ("preview", {"pattern": "nobody"}, "nobody"),
        ("preview", {"pattern": "cells", "sheet": 99}, "Sheet: expected"),
        (
            "preview",
            {"pattern": "cells", "garment": "panels"},
            "panels to cut and sew: cells is a chest",
        ),
        ("preview", {"pattern": "cells", "profile": "gone"}, "CMYK profile: this profile is not here any more"),
        ("advise", {"pattern": "cells", "fov": 0}, "Field of view: "),
        ("advise", {"pattern": "cells", "distance": 0}, "Distance: "),
        (
            "advise",
            {"pattern": "cells", "size": 180},
            "Width: a print 180 cm high is longer than a person of 170 cm from neck to floor",
        ),
        ("advise", {"pattern": "cells", "person_height": 20}, "For a person: expected 50 to 250 cm"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    client: TestClient, path: str, body: dict[str, object], message: str
) -> None:
    answer = client.post(f"/api/print/{path}", json=body)
    assert answer.status_code == 422 and message in answer.json()["error"]


def test_an_error_names_the_field_it_is_about(client: TestClient) -> None:
    for body, field in (
        ({"size": "0cm"}, "size"),
        ({"for_person": "9m"}, "for_person"),
        ({"garment": "panels"}, "garment"),
    ):
        assert client.post("/api/print/preview", json={"pattern": "cells", **body}).json()["field"] == field
    assert "field" not in client.post("/api/print/preview", json={"pattern": "nobody"}).json()


def test_a_profile_that_is_none_is_called_by_its_own_name(client: TestClient) -> None:
    answer = client.post("/api/print/profile?name=my%20shop.icc", content=b"nothing").json()
    assert answer["error"] == "CMYK profile: my shop.icc is not an ICC profile; ask the print shop for its .icc file"
    assert answer["field"] == "cmyk"


def test_a_image_larger_than_memory_is_refused_before_it_is_drawn(client: TestClient) -> None:
    asked = {"pattern": "cells", "kind": ".png", "paper": "fit", "size": "139cm"}
    answer = client.get("/api/print/file", params=asked)
    assert answer.status_code == 422 and "PDF" in answer.json()["error"]


def test_the_size_for_a_person_is_the_one_that_is_printed(client: TestClient, cells: Patch) -> None:
    for asked in (
        {"size": "25cm"},
        {"for_person": "190cm"},
        {"for_person": "190cm", "rule": "height", "scale": 0.3},
        {"for_person": "170cm", "rule": "area", "scale": 0.45},
    ):
        got = client.post("/api/print/size", json={"pattern": "cells", **asked}).json()
        width, height = printed_size(cells, PrintSettings.model_validate(asked))
        assert (got["width_cm"], got["height_cm"]) == pytest.approx((width / 10, height / 10), abs=0.006)
    for wrong, says in (({"for_person": "190cm", "scale": 2}, "Side, as a share"), ({"size": "1mm"}, "too small")):
        answer = client.post("/api/print/size", json={"pattern": "cells", **wrong})
        assert answer.status_code == 422 and says in answer.json()["error"]


def test_advice_for_a_calibrated_camera(client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    camera().model_copy(update={"name": "desk"}).save(tmp_path / "calib" / "cameras" / "desk.json")
    assert "desk" in client.get("/api/print/options").json()["cameras"]
    asked = {"pattern": "cells", "distance": 4, "size": 30}
    got = client.post("/api/print/advise", json={**asked, "camera": "desk"}).json()
    assert got["sides_px"] == pytest.approx([500 * 0.3 / 4] * 2, abs=0.1)
    for other in ("nobody", "../desk"):
        answer = client.post("/api/print/advise", json={**asked, "camera": other})
        assert answer.status_code == 422 and answer.json()["error"]


def test_advice_without_a_curve_gives_the_optics(client: TestClient) -> None:
    got = client.post("/api/print/advise", json={"pattern": "cells", "distance": 4, "size": 30}).json()
    assert (
        got["sides_px"] == pytest.approx([41.6] * 2, abs=0.1) and got["expected"] is None and "--measure" in got["text"]
    )


def test_advice_for_a_t_shirt_is_without_a_size(client: TestClient) -> None:
    got = client.post("/api/print/advise", json={"pattern": "tshirt", "wanted": 0.9}).json()
    assert (
        got["sides_px"] is None
        and got["covers"] == ""
        and got["person_px"] == pytest.approx(314, abs=0.5)
        and "--" not in got["text"]
    )
    answer = client.post("/api/print/advise", json={"pattern": "tshirt", "size": 40})
    assert answer.status_code == 422 and answer.json()["error"].startswith("Width: tshirt is worn as a whole T-shirt")


def test_a_control_is_shown(client: TestClient) -> None:
    grey = client.get("/api/print/image", params={"pattern": "cells", "kind": "grey"})
    assert (
        grey.headers["content-type"] == "image/png"
        and grey.content != client.get("/api/print/image", params={"pattern": "cells"}).content
    )
