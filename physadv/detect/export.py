"""Networks exported to ONNX, for OpenVINO and onnxruntime: once each, into a folder of the per-user cache."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from physadv.detect.head import HeadSpec
from physadv.detect.weights import PART, Weights, cache_dir, clear_left_behind
from physadv.detect.yolo import BytesNet, load_net
from physadv.errors import BackendError
from physadv.files import parse_json
from physadv.version import __version__

MODEL_FILE = "model.onnx"
RECORD = "export.json"
# torch's exporter keeps its state for the whole process: one of two exports at once fails.
_EXPORTING = threading.Lock()
# The first version with every operator of these networks; both backends have supported it for years.
OPSET = 17


@dataclass(frozen=True, slots=True, eq=False)
class Exportable:
    """A network to be exported. net: takes (b, h, w, 3) uint8 RGB. example: such a batch. spec: what is kept beside it."""

    net: nn.Module
    example: torch.Tensor
    spec: dict[str, Any]


def exported(weights: Weights, *, backend: str, progress: Callable[[str], None] | None) -> tuple[bytes, HeadSpec]:
    """Return a detector's network as ONNX with its head's description, from the cache or exported now.

    Raises: BackendError if the model cannot be exported or the cache cannot be written. WeightsError if the weights
    cannot be loaded.
    """

    def build() -> Exportable:
        net = load_net(weights)
        example = torch.zeros(2, net.spec.stride * 3, net.spec.stride * 4, 3, dtype=torch.uint8)
        return Exportable(BytesNet(net), example, asdict(net.spec))

    key = f"{weights.name}-{weights.sha256[:16]}"
    model, spec = exported_network(key, build, name=weights.name, backend=backend, progress=progress)
    return model, HeadSpec(**{**spec, "strides": tuple(spec["strides"])})


def exported_network(
    key: str,
    build: Callable[[], Exportable],
    *,
    name: str,
    backend: str,
    progress: Callable[[str], None] | None = None,
) -> tuple[bytes, dict[str, Any]]:
    """Return a network as ONNX with what is kept beside it, from the cache or exported now.

    Batch, height and width are left open. The cache is keyed by `key`, which names the weights by their hash, and the
    versions that can change the export. A folder appears whole or not at all; of two processes that export at once the
    first to finish is kept. An export that was altered or cut off since it was written is made again.

    Raises: BackendError if the network cannot be exported or the cache cannot be written; what `build` raises.
    """
    versions = f"opset{OPSET}-torch{torch.__version__.split('+')[0]}-physadv{__version__}"
    folder = cache_dir() / "exports" / f"{key}-{versions}"
    with _EXPORTING:
        kept = _read(folder)
        if kept is not None:
            return kept
        if progress is not None:
            again = " again, as the one kept is damaged" if folder.exists() else ""
            progress(f"exporting {name} for {backend}{again}: some seconds, once")
        try:
            made = _made(build, name, folder)
        except OSError as error:
            raise BackendError(
                f"{folder}: the exported network cannot be written: {error.strerror or error}; free space there, "
                "set PHYSADV_CACHE to another folder, or use `backend=torch`"
            ) from error
    if progress is not None:
        progress(f"exported {name} for {backend}")
    return made


def _made(build: Callable[[], Exportable], name: str, folder: Path) -> tuple[bytes, dict[str, Any]]:
    """Return a new export, which is written to `folder` too.

    Raises: BackendError if the network cannot be exported. OSError; what `build` raises.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    clear_left_behind(folder.parent)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=PART))
    try:
        spec = _export(build(), name, part / MODEL_FILE)
        model = (part / MODEL_FILE).read_bytes()
        record = {"spec": spec, "sha256": _digest(model, spec)}
        (part / RECORD).write_text(json.dumps(record), encoding="utf-8")
        part.chmod(0o755)
        _rename(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return model, spec


def _export(network: Exportable, name: str, path: Path) -> dict[str, Any]:
    try:
        with quiet():
            # Exported by tracing: the newer exporter needs another package, and nothing here depends on the data.
            torch.onnx.export(
                network.net.eval(),
                (network.example,),
                str(path),
                opset_version=OPSET,
                input_names=["images"],
                dynamic_axes={"images": {0: "batch", 1: "height", 2: "width"}},
                dynamo=False,
            )
    except OSError:
        raise
    except Exception as error:  # foreign graphs fail in many ways
        first = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise BackendError(f"{name}: this model cannot be exported ({first}); use `backend=torch`") from error
    return network.spec


def _rename(part: Path, folder: Path) -> None:
    if _read(folder) is None:
        # What cannot be read is a damaged export.
        shutil.rmtree(folder, ignore_errors=True)
    try:
        part.replace(folder)
    except OSError:
        # Another process was first: its export is as good as this one.
        if _read(folder) is None:
            raise


def _read(folder: Path) -> tuple[bytes, dict[str, Any]] | None:
    """Return a kept export, or None if it is missing or not as it was written. Hashing takes 1 ms a megabyte."""
    try:
        record = parse_json((folder / RECORD).read_text(encoding="utf-8"))
        model = (folder / MODEL_FILE).read_bytes()
        return (model, record["spec"]) if record["sha256"] == _digest(model, record["spec"]) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _digest(model: bytes, spec: dict[str, Any]) -> str:
    """Return the SHA-256 of an export: its network and what is kept beside it."""
    digest = hashlib.sha256(model)
    digest.update(json.dumps(spec, sort_keys=True).encode())
    return digest.hexdigest()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the tracer's warnings and loggers within: they warn of what is intended."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
