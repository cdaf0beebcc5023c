"""Networks exported to ONNX once, for OpenVINO and onnxruntime alike: one folder each in the per-user cache."""

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

import torch

from physadv import __version__
from physadv.detect.head import HeadSpec
from physadv.detect.weights import Weights, cache_dir
from physadv.detect.yolo import BytesNet, load_net
from physadv.errors import BackendError

Progress = Callable[[str], None]
MODEL_FILE = "model.onnx"
SPEC_FILE = "head.json"
# 17 has every operator these networks use, and both backends have known it for years.
OPSET = 17


def exported(weights: Weights, *, backend: str, progress: Progress | None) -> tuple[Path, HeadSpec]:
    """Return the ONNX file of a network and what its head is, exporting now if the cache does not hold it.

    Batch, height and width are left open. The cache is keyed by the weights' hash and the versions that can change the
    export; a folder appears whole or not at all, and if two processes export at once the first to end is kept.

    Raises: BackendError if the model cannot be exported or the cache cannot be written. WeightsError if the weights
    cannot be loaded.
    """
    key = f"opset{OPSET}-torch{torch.__version__.split('+')[0]}-physadv{__version__}"
    folder = cache_dir() / "exports" / f"{weights.name}-{weights.sha256[:16]}-{key}"
    spec = _read_spec(folder)
    if spec is not None:
        return folder / MODEL_FILE, spec
    if progress is not None:
        progress(f"exporting {weights.name} for {backend}: some seconds, once")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{weights.sha256[:16]}."))
        try:
            spec = _export(weights, part / MODEL_FILE)
            (part / SPEC_FILE).write_text(json.dumps(asdict(spec)), encoding="utf-8")
            part.chmod(0o755)
            _rename(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise BackendError(
            f"{folder}: the exported network cannot be written: {error.strerror or error}; free space there, set "
            "PHYSADV_CACHE to another folder, or use --backend torch"
        ) from error
    if progress is not None:
        progress(f"exported {weights.name} for {backend}")
    return folder / MODEL_FILE, spec


def _export(weights: Weights, path: Path) -> HeadSpec:
    net = load_net(weights)
    example = torch.zeros(2, net.spec.stride * 3, net.spec.stride * 4, 3, dtype=torch.uint8)
    try:
        with quiet():
            # The exporter by tracing: the newer one needs a further package, and no structure here depends on data.
            torch.onnx.export(
                BytesNet(net).eval(),
                (example,),
                str(path),
                opset_version=OPSET,
                input_names=["images"],
                dynamic_axes={"images": {0: "batch", 1: "height", 2: "width"}},
                dynamo=False,
            )
    except OSError:
        raise
    except Exception as error:  # exporting foreign graphs fails in ways that no list covers
        first = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise BackendError(f"{weights.name}: this model cannot be exported ({first}); use --backend torch") from error
    return net.spec


def _rename(part: Path, folder: Path) -> None:
    if _read_spec(folder) is None:
        # A folder that cannot be read is a damaged export.
        shutil.rmtree(folder, ignore_errors=True)
    try:
        part.replace(folder)
    except OSError:
        # Another process was first: its export is as good as ours.
        if _read_spec(folder) is None:
            raise


def _read_spec(folder: Path) -> HeadSpec | None:
    try:
        if (folder / MODEL_FILE).stat().st_size == 0:
            return None
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
