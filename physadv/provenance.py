"""Provenance for every saved record: versions, machine, time."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from physadv.version import __version__

PACKAGES = (
    "torch", "torchvision", "ultralytics", "numpy", "opencv-python", "av", "openvino", "onnxruntime", "kornia",
    "faster-coco-eval", "pydantic", "pillow", "pyarrow",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Return the versions of physadv, Python and each package that can change a result, as far as installed."""
    out = {"physadv": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            continue
    return out


def machine() -> dict[str, Any]:
    """Return what the work ran on: system, processor, cores that this process may use, memory in GB, GPU or None."""
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": cores,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpu": _gpu(),
    }


def provenance() -> dict[str, Any]:
    """Return versions, commit, machine and the present time (UTC, ISO 8601) as plain values for a record."""
    made = datetime.now(UTC).isoformat(timespec="seconds")
    return {"made": made, "versions": versions(), "commit": _commit(), "machine": machine()}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _gpu() -> str | None:
    # A command that never computes on a GPU need not wait for torch to be imported.
    torch = sys.modules.get("torch")
    return str(torch.cuda.get_device_name(0)) if torch is not None and torch.cuda.is_available() else None


@lru_cache(maxsize=1)
def _commit() -> str | None:
    """Return the commit of a checkout, with "+" if tracked files are changed; None for an installed package."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return None

    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None
