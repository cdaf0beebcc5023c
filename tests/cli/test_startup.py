"""What the light commands load: the page at true size and a replay start without torch, defences or training."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECORDING = ROOT / "tests" / "data" / "v0.1" / "recording"
HEAVY = (
    "torch",
    "torchvision",
    "kornia",
    "ultralytics",
    "scipy",
    "physadv.attack",
    "physadv.defend",
    "physadv.evaluate",
)


@pytest.mark.parametrize(
    ("command", "asked"),
    [
        (["show", "webcam"], ["/api/pages", "/api/print/options", "/api/print/image?pattern=webcam", "/calibrate"]),
        (["replay", str(RECORDING)], ["/", "/api/options", "/api/state", "/api/patches", "/api/world.jpg"]),
    ],
    ids=["show", "replay"],
)
def test_it_starts_and_answers_without_heavy_libraries(command: list[str], asked: list[str], tmp_path: Path) -> None:
    log = tmp_path / "imports.txt"
    with log.open("w") as imports:
        process = subprocess.Popen(
            [sys.executable, "-X", "importtime", "-m", "physadv", *command, "--port", "0", "--seconds", "90"],
            stdout=subprocess.PIPE,
            stderr=imports,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1].partition("show?")[0].rstrip("/")
        for path in asked:
            try:
                with urllib.request.urlopen(url + path, timeout=20) as answer:
                    assert answer.status == 200, path
            except urllib.error.HTTPError as error:
                # Nothing is worn that could be drawn.
                assert path == "/api/world.jpg" and "no pattern is worn" in json.load(error)["error"]
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    loaded = {
        line.rpartition("|")[2].strip() for line in log.read_text().splitlines() if line.startswith("import time:")
    }
    assert "physadv.web.serve" in loaded
    # Nothing was printed.
    heavy = (*HEAVY, "fpdf")
    assert [m for m in sorted(loaded) if m in heavy or m.startswith(tuple(f"{h}." for h in heavy))] == []


@pytest.mark.parametrize("command", [["patterns"], ["print", "webcam", "--out", "sheet.pdf"]], ids=lambda c: c[0])
def test_it_runs_without_heavy_libraries(command: list[str], tmp_path: Path) -> None:
    script = "import sys; from physadv.cli import main; print(main(sys.argv[1:]), sorted(sys.modules), file=sys.stderr)"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", script, *command]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, env=env, check=True)
    code, _, loaded = done.stderr.splitlines()[-1].partition(" ")
    assert code == "0"
    assert [m for m in HEAVY if f"'{m}'" in loaded] == []
