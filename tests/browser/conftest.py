"""A real Chromium, and waiting for what a page says."""

import shutil
import time
from collections.abc import Iterator
from typing import Any

import cv2
import pytest

from tests.live.scene import picture

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


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("LOUD SKIP: there is no Chromium here, so the page is not tested; apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="LOUD SKIP: playwright is not installed")
    film = tmp_path_factory.mktemp("camera") / "fake.mjpeg"
    film.write_bytes(b"".join(cv2.imencode(".jpg", picture(i, width=640, height=480))[1].tobytes() for i in range(30)))
    with sync_api.sync_playwright() as playwright:
        flags = [*FLAGS, f"--use-file-for-fake-video-capture={film}"]
        out = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield out
        out.close()


def eventually(page: Any, condition: str, argument: Any = None, *, timeout: float = 2) -> None:
    """Wait until a JavaScript function says yes. Playwright's own waiting needs `eval`, which the page's policy forbids."""
    deadline = time.monotonic() + timeout
    while not page.evaluate(condition, argument):
        assert time.monotonic() < deadline, f"not within {timeout} s: {condition}"
        time.sleep(0.03)
