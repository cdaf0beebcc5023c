"""What every saved record says about where it came from: versions, machine, time."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from physadv import __version__

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
    """Return what the work ran on: system, processor, cores that this process may use, memory in GB."""
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": cores,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
    }


def provenance() -> dict[str, Any]:
    """Return versions, machine and the present time (UTC, ISO 8601) as plain values for a record."""
    return {"made": datetime.now(UTC).isoformat(timespec="seconds"), "versions": versions(), "machine": machine()}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
