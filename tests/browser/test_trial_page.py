"""A trial driven by keys in a real browser, killed within a window and resumed: its report is that of one never killed."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from physadv.trial.report import write_report
from physadv.trial.state import read_state
from physadv.web.serve import Listener, PageServer
from tests.browser.stand import eventually
from tests.live.scene import until
from tests.trial.scene import begun, film, planned, ran

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parent.parent.parent
# The first half runs in a process of its own, which is killed: everything of it is gone but what is on disk.
SERVE = """
import sys, time
from pathlib import Path
from physadv.web.serve import Listener, PageServer
from tests.trial.scene import Shy, begun

class Slow(Shy):
    def detect_batch(self, images):
        if len(list((Path(sys.argv[1]) / "trial" / "windows").glob("*.jsonl"))) == 4:
            time.sleep(0.2)
        return super().detect_batch(images)

trial = begun(Path(sys.argv[1]), proxy="digital", countdown=0, detector=Slow())
server = PageServer(Listener(port=0), trial.demo, trial=trial)
server.start()
print(server.url, flush=True)
trial.run()
"""
PHASE = "(phase) => document.body.dataset.phase === phase"


def recorded(folder: Path) -> int:
    state = read_state(folder / "trial")
    return 0 if state is None else len(state.windows)


def record_by_key(page: Any, folder: Path, count: int) -> None:
    """Press Space for each window until so many are recorded.

    A page that is behind shows the prompt of a window that is over: whoever presses then presses again.
    """
    while (before := recorded(folder)) < count:
        eventually(page, PHASE, "prompt", timeout=60)
        page.keyboard.press("Space")
        with suppress(AssertionError):
            until(lambda before=before: recorded(folder) > before or not page.evaluate(PHASE, "prompt"), timeout=5)
            until(lambda before=before: recorded(folder) > before, timeout=30)


def test_killed_within_a_window_and_resumed_it_says_what_an_uninterrupted_one_says(
    browser: Any, tmp_path: Path
) -> None:
    film(tmp_path / "film.mp4")
    planned(tmp_path, blocks=2)
    write_report(ran(tmp_path, out="whole"))
    problems: list[str] = []

    def opened(url: str, **context: Any) -> Any:
        page = browser.new_context(viewport={"width": 1280, "height": 720}, **context).new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(url)
        return page

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "scripts")])}
    command = [sys.executable, "-c", SERVE, str(tmp_path)]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            page = opened(process.stdout.readline().strip())
            record_by_key(page, tmp_path, 3)
            eventually(page, PHASE, "prompt", timeout=20)
            page.keyboard.press("Space")
            until(lambda: len(list((tmp_path / "trial" / "windows").glob("*.jsonl"))) == 4, timeout=60)
        finally:
            process.send_signal(signal.SIGKILL)
    page.context.close()
    problems.clear()
    assert recorded(tmp_path) in (3, 4)

    trial = begun(tmp_path, proxy="digital", countdown=0)
    server = PageServer(Listener(port=0), trial.demo, trial=trial)
    server.start()
    thread = threading.Thread(target=trial.run, daemon=True)
    thread.start()
    try:
        page = opened(server.url)
        assert page.url.endswith("/trial")
        eventually(page, "() => document.getElementById('do').textContent.startsWith('Software puts on')", timeout=20)
        # Paused, Space does nothing; on again, it does.
        page.keyboard.press("p")
        eventually(page, PHASE, "paused")
        page.keyboard.press("Space")
        page.keyboard.press("p")
        eventually(page, PHASE, "prompt")
        record_by_key(page, tmp_path, 8)
        eventually(page, PHASE, "done", timeout=20)
        assert page.text_content("#windows") == "8 of 8 windows at most"
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        thread.join(10)
        # Nothing else is served that could change what is recorded.
        assert page.evaluate("async () => (await fetch('/api/controls', { method: 'POST' })).status") == 404
        page.context.close()
    finally:
        trial.demo.stop()
        server.close()
    write_report(trial.book)
    assert (tmp_path / "trial" / "results.json").read_bytes() == (tmp_path / "whole" / "results.json").read_bytes()
    assert not problems
