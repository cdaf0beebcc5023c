"""Networks exported once for another backend: one folder each in the per-user cache, whole or not there."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from physadv.detect.head import HeadSpec
from physadv.detect.weights import Weights, cache_dir
from physadv.errors import BackendError

Progress = Callable[[str], None]
SPEC_FILE = "head.json"
# Raised when what is exported changes, so that an older cache is not read.
EXPORT_FORMAT = 1


def exported(
    weights: Weights, kind: str, versions: str, export: Callable[[Path], HeadSpec], progress: Progress | None
) -> tuple[Path, HeadSpec]:
    """Return the folder of an exported network and its head, exporting now if it is not in the cache.

    kind: the backend. versions: whatever, if changed, makes an older export useless. export: writes into the folder given
    and returns the head. Two processes may export at once; the one that ends first is kept.

    Raises: BackendError if the cache cannot be written.
    """
    folder = cache_dir() / "exports" / f"{weights.name}-{weights.sha256[:16]}-{kind}-{versions}-{EXPORT_FORMAT}"
    spec = _read_spec(folder)
    if spec is not None:
        return folder, spec
    if progress is not None:
        progress(f"exporting {weights.name} for {kind}, once: some seconds")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name[:60]}."))
        try:
            with quiet():
                spec = export(part)
            (part / SPEC_FILE).write_text(json.dumps(asdict(spec)), encoding="utf-8")
            part.chmod(0o755)
            shutil.rmtree(folder, ignore_errors=True)
            _rename(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise BackendError(
            f"{folder}: the exported network cannot be written: {error.strerror or error}; free space there, set "
            "PHYSADV_CACHE to another folder, or use --backend torch"
        ) from error
    if progress is not None:
        progress(f"exported {weights.name} for {kind}")
    return folder, spec


def _rename(part: Path, folder: Path) -> None:
    try:
        part.replace(folder)
    except OSError:
        # Another process was first: its export is as good as ours.
        if _read_spec(folder) is None:
            raise


def _read_spec(folder: Path) -> HeadSpec | None:
    try:
        value = json.loads((folder / SPEC_FILE).read_text(encoding="utf-8"))
        return HeadSpec(**{**value, "strides": tuple(value["strides"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the tracer's warnings and loggers: they speak of things that are meant."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
