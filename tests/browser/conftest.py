"""A real Chromium, and the demo's page in it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest

from tests.browser.stand import Stand, Still
from tests.live.scene import image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
]


@pytest.fixture(scope="package")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("LOUD SKIP: there is no Chromium here, so the page is not tested; apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="LOUD SKIP: playwright is not installed")
    film = tmp_path_factory.mktemp("camera") / "fake.mjpeg"
    film.write_bytes(b"".join(cv2.imencode(".jpg", image(i, width=640, height=480))[1].tobytes() for i in range(30)))
    with sync_api.sync_playwright() as playwright:
        flags = [*FLAGS, f"--use-file-for-fake-video-capture={film}"]
        out = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield out
        out.close()


@pytest.fixture
def stand(browser: Any, tmp_path: Path) -> Iterator[Stand]:
    out = Stand(browser, tmp_path, Still())
    yield out
    out.close()
    assert not out.problems
