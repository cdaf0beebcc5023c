"""A running demo with its page in a browser."""

import threading
import time
from pathlib import Path
from typing import Any

from tiny import BlobDetector

from physadv.live.camera_demo import open_demo
from physadv.live.settings import LiveSettings
from physadv.patch import save_patch
from physadv.types import Frame
from physadv.web.serve import Listener, PageServer
from tests.live.scene import Camera, image
from tests.live.test_demo import checkers

# What is drawn on the image, coarsely: enough to tell a box or a pattern from none.
LOOK = """(id) => {
  const canvas = document.getElementById(id);
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let sum = 0;
  for (let i = 0; i < data.length; i += 4) sum = (sum * 31 + data[i] + 2 * data[i + 1] + 3 * data[i + 2]) % 1000003;
  return sum;
}"""
# How many pixels are as white as a skeleton's joints, which nothing in the scene is.
JOINTS = """() => {
  const canvas = document.getElementById("main");
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let count = 0;
  for (let i = 0; i < data.length; i += 4)
    if (data[i] > 235 && data[i + 1] > 235 && data[i + 2] > 235) count += 1;
  return count;
}"""


class Still(Camera):
    """A camera before which nothing moves but one corner pixel, and which can be held."""

    def __init__(self) -> None:
        super().__init__(fps=30)
        self.flowing = threading.Event()
        self.flowing.set()

    def read(self) -> Frame:
        self.flowing.wait(10)
        frame = super().read()
        pixels = image(0)
        pixels[0, 0] = frame.index % 251
        return frame.with_pixels(pixels)


class Stand:
    """A running demo, its page in a browser, and what went wrong on it."""

    def __init__(self, browser: Any, folder: Path, source: Camera) -> None:
        save_patch(checkers(), folder)
        self.settings = LiveSettings(
            ui="web", recordings=folder / "rec", wear=[str(folder / "patch.png")], wear_size=70.0
        )
        self.serve(source, 0)
        self.problems: list[str] = []
        self.browser = browser
        self.page = self.open()

    def serve(self, source: Camera, port: int) -> None:
        self.demo = open_demo(self.settings, source=source, detector=BlobDetector())
        self.demo.control(wear="")
        self.demo.start()
        self.server = PageServer(Listener(port=port), self.demo)
        self.server.start()

    def open(self, **context: Any) -> Any:
        page = self.browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context}).new_page()
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda line: self.problems.append(line.text) if line.type == "error" else None)
        page.goto(self.server.url)
        eventually(page, "() => window.physadv && document.getElementById('main-says').textContent !== ''", timeout=20)
        return page

    def forgive(self) -> None:
        """Close the page, which goes on reporting a lost connection, and forget what it reported."""
        self.leave()
        self.problems.clear()

    def leave(self) -> None:
        """Close every page."""
        for context in self.browser.contexts:
            context.close()

    def close(self) -> None:
        self.leave()
        self.demo.stop()
        self.server.close()


def eventually(page: Any, condition: str, argument: Any = None, *, timeout: float = 5) -> None:
    """Wait until a JavaScript function says yes. Playwright's own waiting needs `eval`, which the page's policy forbids."""
    deadline = time.monotonic() + timeout
    while not page.evaluate(condition, argument):
        assert time.monotonic() < deadline, f"not within {timeout} s: {condition}"
        time.sleep(0.03)


def open_more(page: Any) -> None:
    """Show the switches of all defences, which no card stands for."""
    page.evaluate("() => { document.getElementById('more').open = true; }")


def within_a_second(page: Any, condition: str, argument: Any = None) -> None:
    eventually(page, condition, argument, timeout=1)
