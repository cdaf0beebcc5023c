"""The layer picker's calls: a map as a picture, and one line where there is none."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient

from physadv.errors import SettingsError
from physadv.live import looking
from physadv.live.demo import Demo
from physadv.live.looking import PersonLook
from physadv.live.shown import Shown
from physadv.web.app import build_app


class Stub:
    """Makes maps without a network."""

    def __init__(self, where: object) -> None:
        self.where = where

    def look(self, shown: Shown, layer: int | None) -> PersonLook:
        if layer == 99:
            raise SettingsError(field="layer", expected="0 to 22", got="99")
        heat = np.full((8, 6, 4), layer or 1, np.uint8)
        return PersonLook(shown.number, (1, 2, 30, 40), heat, 0.5, 3.0)

    def layers(self, name: str) -> list[tuple[int, str]]:
        return [(16, "C3k2, P3")]


def test_the_page_gets_a_map_of_the_newest_frame(running: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "Looking", Stub)
    client = TestClient(build_app(running), base_url="http://127.0.0.1")
    found = client.get("/api/look?layer=16").json()
    assert found["box"] == [1, 2, 30, 40]
    assert found["score"] == 0.5
    head, _, coded = found["image"].partition(",")
    assert head == "data:image/png;base64"
    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(coded), np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    assert pixels.shape == (8, 6, 4)
    assert (pixels == 16).all()
    assert client.get("/api/look/layers").json() == [{"layer": 16, "kind": "C3k2, P3"}]
    refused = client.get("/api/look?layer=99")
    assert refused.status_code == 422
    assert refused.json() == {"error": "Layer: expected 0 to 22, got 99", "field": "layer"}
