"""Ctrl-C and SIGTERM: silent at the start, and afterwards what is there is saved and closed."""

import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

from physadv.cli import main
from physadv.cli.edge import interruptible
from tests.mutations import damaged

ROOT = Path(__file__).parent.parent.parent


def begin(*words: str, cwd: Path) -> subprocess.Popen[str]:
    # A test run in the background may itself ignore Ctrl-C, which would be inherited.
    return subprocess.Popen(
        [sys.executable, "-m", "physadv", *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@pytest.mark.parametrize("after_s", [0.25, 0.6, 1.0])
def test_ctrl_c_in_the_first_second_is_silent(after_s: float, tmp_path: Path) -> None:
    with begin("evaluate", "webcam", "--images", ".", cwd=tmp_path) as process:
        time.sleep(after_s)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    # On a fast machine it has ended by itself: nobody is in an empty folder. Before Python runs anything, and after it has
    # run everything, the system ends it.
    assert process.returncode in (130, 2, -signal.SIGINT)
    assert "Traceback" not in said and said.count("\n") <= 1


def test_a_signal_in_an_import_waits_for_its_end_and_no_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slowly_imported.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(.1)\nDONE = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), interruptible():
        module = import_module("slowly_imported")
        time.sleep(20)
    assert module.DONE and time.monotonic() - began < 10


def test_sigterm_ends_show_as_ctrl_c_does(tmp_path: Path) -> None:
    with begin("show", "webcam", "--port", "0", cwd=tmp_path) as process:
        assert process.stdout is not None
        assert "http" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0 and not said


def test_damaged_configurations_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = {
        ".toml": b'size = "10cm"\npaper = "a4"\ncontrol = "grey"\nscale = 0.2\nout = "s.pdf"\n',
        ".yaml": b"size: 10cm\npaper: a4\ncontrol: grey\nscale: .2\nout: s.pdf\n",
    }
    for suffix, text in texts.items():
        path = tmp_path / f"c{suffix}"
        for data in damaged(text, 300):
            path.write_bytes(data)
            # An unknown pattern ends it before anything is written.
            assert main(["print", "no-such-pattern", "--config", str(path)]) == 2
            said = capsys.readouterr().err
            assert said.count("\n") == 1 and len(said) <= 501, (data, said)
