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


def begin(*words: str, cwd: Path, python: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    # A test run in the background may itself ignore Ctrl-C, which would be inherited.
    return subprocess.Popen(
        [sys.executable, *python, "-m", "physadv", *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@pytest.mark.parametrize("imported", ["physadv.cli", "numpy", "torch"])
def test_ctrl_c_while_it_starts_is_silent(imported: str, tmp_path: Path) -> None:
    # Python says what it has imported: how far a start is after so many seconds depends on the machine.
    with begin("evaluate", "webcam", "--images", ".", cwd=tmp_path, python=("-X", "importtime")) as process:
        assert process.stderr is not None
        while process.stderr.readline().rpartition("|")[2].strip() != imported:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        said = [line for line in process.stderr if not line.startswith("import time:")]
        # What it imports by then is imported to the end, and then it may end by itself: nobody is in an empty folder. After
        # it has run everything, the system ends it.
        assert process.wait(60) in (130, 2, -signal.SIGINT)
    assert len(said) <= 1 and "Traceback" not in "".join(said)


def test_a_signal_in_an_import_waits_for_its_end_and_no_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slowly_imported.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(.1)\nDONE = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), interruptible():
        module = import_module("slowly_imported")
        # Short sleeps: a signal that comes between Python's last look for one and a long sleep waits for its end.
        for _ in range(2000):
            time.sleep(0.01)
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
