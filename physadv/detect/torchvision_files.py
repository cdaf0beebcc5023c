"""Which detection models torchvision has, and where their weights are."""

from __future__ import annotations

from http.client import HTTPException
from pathlib import Path

import torch
import torchvision

from physadv.detect.names import TORCHVISION, TorchvisionName
from physadv.errors import WeightsError, did_you_mean, text_of


def known_models() -> list[str]:
    """Return the names of torchvision's detection models."""
    return torchvision.models.list_models(module=torchvision.models.detection)


def torchvision_file(name: TorchvisionName) -> Path:
    """Return where the weights of a model are: the file named, or torchvision's own, fetched once by its own download.

    Raises: WeightsError if there is no such model, or its weights cannot be fetched.
    """
    known = known_models()
    if name.model not in known:
        raise WeightsError(
            field="detector",
            expected=f"{TORCHVISION} and one of {', '.join(known)}",
            got=repr(name.model) + did_you_mean(name.model, known),
        )
    return _own_file(name.model) if name.file is None else Path(name.file)


def _own_file(model: str) -> Path:
    """Return the file of torchvision's best weights of a model in its own cache, fetched if it is not there.

    Raises: WeightsError if it cannot be fetched.
    """
    url = torchvision.models.get_model_weights(model).DEFAULT.url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # It writes to another name first, and checks the hash that is in the file's name.
        prefix = path.stem.rsplit("-", 1)[1]
        torch.hub.download_url_to_file(url, str(path), hash_prefix=prefix, progress=False)
    except (OSError, RuntimeError, HTTPException) as error:
        raise WeightsError(
            f"{TORCHVISION}{model}: {url} could not be fetched ({text_of(error)})",
            field="detector",
            hint=f"fetch it elsewhere and name it: {TORCHVISION}{model}=FILE",
        ) from error
    return path
