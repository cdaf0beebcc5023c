"""Reading weights files without running code that they hold.

A weights file of Ultralytics is a pickled network, and Python's unpickler calls any function that a file names. Here
torch's restricted unpickler turns every global that is no tensor into an inert stub. Modules are then rebuilt from the
stubs, of torch's and Ultralytics' layer classes alone. Every other stub is dropped.
"""

from __future__ import annotations

import io
import pickletools
import re
import sys
import threading
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Iterable
from pathlib import Path
from types import FunctionType
from typing import IO, Any, ClassVar, cast

import torch
from torch import nn

from physadv.errors import WeightsError

# Where layers live. They are looked up in loaded modules; nothing is imported because a file names it.
LAYERS = ("torch.nn.modules.", "ultralytics.nn.modules.", "ultralytics.nn.tasks.")
LAYERS_IN = tuple(place.rstrip(".") for place in LAYERS)
# What checkpoints hold beside the network (losses, optimisers, arguments, paths): stubs that are never read.
PASSED_OVER = (
    *("ultralytics.", "torch.nn.", "torch.optim.", "torch.amp.", "torch.cuda.amp.", "torchvision.transforms."),
    *("pathlib.", "argparse.Namespace", "types.SimpleNamespace", "collections.defaultdict", "datetime."),
    *("builtins.dict", "builtins.list", "builtins.tuple", "builtins.object", "copyreg."),
    *("numpy.dtype", "numpy.core.multiarray.", "numpy._core.multiarray.", "numpy.ndarray"),
)
# What torch's restricted unpickler accepts or refuses by itself.
TORCH = (
    *("torch.", "collections.OrderedDict", "collections.Counter", "_codecs.encode"),
    *("builtins.bytearray", "builtins.set", "builtins.complex"),
)
GETATTR = "builtins.getattr"
# Methods of a layer that a file may name: layers saved after fusing have `forward = self.forward_fuse`.
METHODS = ("forward", "forward_fuse", "forward_split")
# Layers that newer releases of Ultralytics have under another name.
RENAMED = {
    "ultralytics.nn.modules.block.Silence": "torch.nn.modules.linear.Identity",
    "ultralytics.nn.tasks.YOLOv10DetectionModel": "ultralytics.nn.tasks.DetectionModel",
}
PLAIN = (str, int, float, complex, bytes, type(None), torch.Size, torch.device, torch.dtype)
# Parts of a legacy file: magic number, version, system, content, keys of its storages.
LEGACY_PARTS = 5
ZIP = b"PK\x03\x04"
NOT_ONE = "not an ultralytics model that can be loaded"
# Stands for what was loaded but is not rebuilt.
DROPPED = object()
# torch keeps one list of allowed globals for the whole process.
_LOCK = threading.Lock()


class Stub:
    """An inert stand-in for a global named in a file: its arguments and state, with no way to call it."""

    name: ClassVar[str]
    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any) -> Stub:
        """Return a stub that keeps what its original would have been called with."""
        self = super().__new__(cls)
        self.args, self.state = args, None
        return self

    def __init__(self, *args: Any) -> None:
        del args

    def __setstate__(self, state: Any) -> None:
        self.state = state


def read_network(path: Path) -> nn.Module:
    """Return the network in a weights file of Ultralytics (its EMA if there is one), built of known layers alone.

    Ultralytics has to be imported before, or its layers are not found.

    Raises: WeightsError if the file needs anything else, or is damaged or another kind of file.
    """
    try:
        names = _globals(path)
        _check_known(names)
        content = _load(path, names)
        if isinstance(content, dict):
            content = content.get("ema") or content.get("model")
        network = _Builder().built(content)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    except Exception as error:  # damaged files fail in many ways
        raise WeightsError(f"{path}: {unreadable(error)}") from error
    if not isinstance(network, nn.Module):
        raise WeightsError(f"{path}: {NOT_ONE}: it holds no network")
    return network


def unreadable(error: Exception) -> str:
    """Return the message for a file that cannot be loaded, with the reason."""
    return f"{NOT_ONE}, or a damaged one: {reason(error)}"


def reason(error: Exception) -> str:
    """Return the first sentence of a foreign error about a file, cut if it is long."""
    # torch begins with the advice to switch the restriction off; the reason comes after this mark.
    text = " ".join(str(error).rpartition("WeightsUnpickler error: ")[2].split())
    text = re.split("Please use `torch| Check the doc", text)[0].strip() or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}..."


def _globals(path: Path) -> set[str]:
    """Return the globals named by the pickles in a file.

    Raises: WeightsError if it is no whole archive as torch saves them. ValueError or OSError if it is damaged.
    """
    with path.open("rb") as stream:
        if stream.read(len(ZIP)) != ZIP:
            stream.seek(0)
            found: set[str] = set()
            for _ in range(LEGACY_PARTS):
                found |= _named(stream)
            _check_known(found)
            # In that format torch's restricted unpickler accepts tensors only, no modules.
            raise WeightsError(f"{NOT_ONE}: no archive as torch saves them since version 1.6")
    if not zipfile.is_zipfile(path):
        raise WeightsError(f"{NOT_ONE}: cut off or damaged, as its end is missing; copy or download it again")
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(m.filename.endswith("/constants.pkl") for m in members):
            raise WeightsError(f"{NOT_ONE}: a TorchScript export; name the .pt that it was made from")
        if wrong := archive_fault(archive):
            raise WeightsError(f"{NOT_ONE}: {wrong}")
        return set().union(*(_named(io.BytesIO(archive.read(m))) for m in members if m.filename.endswith("data.pkl")))


def archive_fault(archive: zipfile.ZipFile) -> str:
    """Return why an archive is not as torch saves them, "" if it is: parts compressed, or not as they were written."""
    # A megabyte of deflated zeros unpacks to a gigabyte.
    if any(m.compress_type != zipfile.ZIP_STORED for m in archive.infolist()):
        return "its parts are compressed, as torch never saves them"
    # torch does not check the checksums that it writes.
    wrong = archive.testzip()
    return "" if wrong is None else f"damaged in {wrong[:80]!r}; copy or download it again"


def _named(stream: IO[bytes]) -> set[str]:
    """Return the globals named by one pickle, as far as it can be read; torch reports what is wrong with the rest."""
    found = set()
    last: list[str] = ["", ""]
    try:
        for code, value, _ in pickletools.genops(stream):
            if code.name in ("GLOBAL", "INST"):
                found.add(_modern(*str(value).split(" ", 1)))
            elif code.name == "STACK_GLOBAL":
                found.add(_modern(*last))
            elif isinstance(value, str):
                last = [last[1], value]
    except (ValueError, UnicodeError, TypeError):
        pass
    return found


def _modern(module: str, name: str = "") -> str:
    """Return a global's full name in Python 3: these pickles use the names of Python 2."""
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return f"{module}.{name}"


def _check_known(names: set[str]) -> None:
    """Raise WeightsError, naming one, if any global is neither a layer nor what checkpoints hold beside the layers."""
    foreign = sorted(n for n in names if n != GETATTR and not n.startswith((*PASSED_OVER, *TORCH)))
    if any(n.startswith("models.") for n in foreign):
        raise WeightsError("a YOLOv5 model of its own repository; expected one of Ultralytics, YOLOv8 to YOLO26")
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise WeightsError(
            f"not loaded: it asks for {foreign[0][:80]!r}{more}, no part of a YOLO network, and code of the "
            "file would run with your rights; if you trust who made it, add `trust`"
        )


def names_class(path: Path, name: str) -> bool:
    """Return whether a weights file's pickle names a class, such as RTDETRDecoder; False for what cannot be read."""
    try:
        return any(each.rpartition(".")[2] == name for each in _globals(path))
    except (WeightsError, ValueError, OSError, zipfile.BadZipFile):
        return False


def _load(path: Path, names: set[str]) -> Any:
    """Return the content of a file: tensors, plain values, and stubs for known globals that are not torch's own."""
    stubs = [
        (type("Stub", (Stub,), {"name": name}), name)
        for name in names
        if name == GETATTR or name.startswith(PASSED_OVER)
    ]
    with _LOCK, warnings.catch_warnings(), torch.serialization.safe_globals(stubs):  # type: ignore[arg-type]
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


class _Builder:
    """Builds modules and plain values from loaded content; each object once, however often it is referred to."""

    def __init__(self) -> None:
        self._made: dict[int, Any] = {}

    def built(self, value: Any) -> Any:
        """Return a value with modules in place of their stubs, or `DROPPED` if it contains anything else.

        Raises: WeightsError for a layer that the installed Ultralytics lacks. RecursionError.
        """
        if isinstance(value, PLAIN) or type(value) in (torch.Tensor, nn.Parameter):
            return value
        if id(value) not in self._made:
            self._made[id(value)] = DROPPED
            self._made[id(value)] = self._new(value)
        return self._made[id(value)]

    def _new(self, value: Any) -> Any:
        if isinstance(value, Stub):
            return self._of_stub(value)
        if isinstance(value, dict):
            keys, parts = self._each(value), self._each(value.values())
            return DROPPED if keys is None or parts is None else type(value)(zip(keys, parts, strict=True))
        if isinstance(value, list | tuple | set):
            items = self._each(value)
            return DROPPED if items is None else type(value)(items)
        return DROPPED

    def _each(self, values: Iterable[Any]) -> list[Any] | None:
        out = [self.built(v) for v in values]
        return None if any(v is DROPPED for v in out) else out

    def _of_stub(self, stub: Stub) -> Any:
        if type(stub).name == GETATTR:
            return self._method(*stub.args)
        layer = _layer(type(stub).name)
        if layer is None:
            return DROPPED
        module = layer.__new__(layer)
        nn.Module.__init__(module)
        # Registered before its parts are built: they may refer to it.
        self._made[id(stub)] = module
        state = stub.state if isinstance(stub.state, dict) else {}
        own = {n: self.built(v) for n, v in state.items() if "_hooks" not in n and n != "_compiled_call_impl"}
        if any(own.get(n) is DROPPED for n in ("_parameters", "_buffers", "_modules")):
            raise WeightsError(f"{NOT_ONE}: {type(stub).name} holds parts that are no layers")
        cast(Any, module).__setstate__({n: v for n, v in own.items() if v is not DROPPED})
        return module

    def _method(self, of: Any = None, name: Any = None) -> Any:
        """Return the method of a layer named by a file."""
        module = self.built(of)
        if not isinstance(module, nn.Module) or not isinstance(name, str) or name not in METHODS:
            return DROPPED
        method = getattr(type(module), name, None)
        return method.__get__(module) if isinstance(method, FunctionType) else DROPPED


def _layer(name: str) -> type[nn.Module] | None:
    """Return the layer class of this name; None for anything else.

    Raises: WeightsError if the name is a layer's but there is no such layer.
    """
    name = RENAMED.get(name, name)
    place, _, short = name.rpartition(".")
    if not f"{place}.".startswith(LAYERS):
        return None
    found = getattr(sys.modules.get(place), short, None)
    if found is None:
        raise WeightsError(f"{NOT_ONE}: the installed ultralytics or torch has no layer {name[:80]!r}")
    ours = isinstance(found, type) and issubclass(found, nn.Module) and found.__module__.startswith(LAYERS_IN)
    return found if ours else None
