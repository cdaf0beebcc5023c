"""Ultralytics YOLO models as person networks, with gradients where asked. The only file that imports ultralytics."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import nn

# Ultralytics would otherwise install packages while the demo runs.
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("YOLO_VERBOSE", "false")

from ultralytics.models import YOLO
from ultralytics.nn.modules.head import Detect, Pose26, WorldDetect, YOLOEDetect
from ultralytics.utils import LOGGER
from ultralytics.utils.downloads import attempt_download_asset

from physadv.detect.attacked import joined
from physadv.detect.head import KEYPOINTS, HeadSpec, decode_boxes, decode_keypoints
from physadv.detect.weights import Weights
from physadv.errors import WeightsError
from physadv.types import Candidates

Raw = dict[str, torch.Tensor]


def download(target: Path) -> None:
    """Fetch an official ultralytics model to `target`.

    Raises: WeightsError if there is no such model or no network.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    level = LOGGER.level
    LOGGER.setLevel(logging.CRITICAL)
    try:
        attempt_download_asset(str(target))
    except Exception as error:  # ultralytics raises many kinds: URL errors, assertion, HTTP status
        reason = re.sub(r"[^ -~]+", " ", str(error)).strip(" .")
        raise WeightsError(
            f"--detector: {target.name} is not a file here and could not be fetched ({reason}); give the path of a .pt file"
        ) from error
    finally:
        LOGGER.setLevel(level)
    if not target.is_file():
        raise WeightsError(f"--detector: {target.name} is not a file here, nor a model ultralytics offers for download")


class PersonNet(nn.Module):
    """A YOLO network that answers for one class only.

    end2end: whether inference uses a head that needs no suppression. Such a model has a second head as long as fusing has
    not removed it; `heads(every=True)` gives both.
    """

    def __init__(self, model: nn.Module, person: int, *, name: str) -> None:
        super().__init__()
        self.model = model
        self.person = person
        self.name = name
        layers: list[Any] = list(cast(nn.ModuleList, model.model))
        self._body, self._head = layers[:-1], layers[-1]
        self._kept = set(cast("list[int]", model.save))
        self.spec = _spec(self._head)

    @property
    def end2end(self) -> bool:
        """Return whether the inference head needs no suppression."""
        return self.spec.end2end

    def heads(self, images: torch.Tensor, *, every: bool = True, keypoints: bool = True) -> dict[str, Raw]:
        """Return the raw answers ("boxes", "scores", "kpts") of each head there is, for (b, 3, h, w) in [0, 1] RGB.

        every: False leaves out the head that inference does not use. keypoints: False leaves them out.
        """
        # Ultralytics' own forward also decodes, and ranks, every class of every cell; the layers are run one by one here
        # to get at the head's raw answer without that price.
        outputs: list[Any] = []
        x: Any = images
        for layer in self._body:
            x = layer(_inputs(layer, outputs, x))
            outputs.append(x if layer.i in self._kept else None)
        features = _inputs(self._head, outputs, x)
        names = ["one2one", "one2many"] if self.end2end else ["one2many"]
        answers = {}
        for name in names if every else names[:1]:
            parts = dict(getattr(self._head, name))
            if not keypoints and "pose_head" in parts:
                parts["pose_head"] = None
            answers[name] = self._head.forward_head(features, **parts)
        return {n: cast(Raw, raw) for n, raw in answers.items() if raw}

    def early(self, images: torch.Tensor, layers: tuple[int, ...]) -> list[torch.Tensor]:
        """Return what the layers of these numbers answer, for (b, 3, h, w) in [0, 1] RGB; later layers are not run.

        For layers of the backbone, which follow one another without a branch.
        """
        out = []
        x = images
        for number, layer in enumerate(self._body[: max(layers) + 1]):
            x = layer(x)
            if number in layers:
                out.append(x)
        return out

    def raw(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return logit (b, a), distance (b, 4 * reg_max, a) and perhaps keypoints (b, 51, a) of the inference head."""
        answer = next(iter(self.heads(images, every=False).values()))
        out = answer["scores"][:, self.person], answer["boxes"]
        return out if self.spec.keypoints is None else (*out, answer["kpts"])

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return logit (b, a), xyxy (b, a, 4) and, for pose models, keypoints (b, a, 51) of the inference head."""
        logit, distance, *keypoints = self.raw(images)
        h, w = images.shape[2:]
        points = [decode_keypoints(k, self.spec, h, w).flatten(2) for k in keypoints]
        return (logit, decode_boxes(distance, self.spec, h, w), *points)

    def decode(self, raw: Raw, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return person logits (b, a) and corner boxes (b, a, 4) of one head's raw answer."""
        return raw["scores"][:, self.person].float(), decode_boxes(raw["boxes"], self.spec, height, width)


class BytesNet(nn.Module):
    """A network that takes bytes as a camera gives them, (b, h, w, 3) uint8 RGB: what is exported to other backends."""

    def __init__(self, net: PersonNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return what `PersonNet.raw` does."""
        # NHWC bytes seen as NCHW are already in channels_last order: no copy but the conversion.
        return self.net.raw(batch.permute(0, 3, 1, 2).float() / 255)


def load_net(weights: Weights, *, fuse: bool = True, both_heads: bool = False) -> PersonNet:
    """Return the frozen network in eval mode, float32, on the CPU.

    fuse: fold batch norm into convolutions. both_heads: keep the head of end-to-end families that inference does not use,
    for an attack through both; ultralytics' own fusing deletes it.

    Raises: WeightsError if the file is no ultralytics detection or pose model, or has no class "person".
    """
    try:
        yolo = YOLO(str(weights.path))
        model = cast(Any, yolo.model)
        head = model.model[-1]
    except Exception as error:  # unpickling a foreign file fails in ways that no list covers
        raise WeightsError(f"{weights.path}: not an ultralytics model that can be loaded: {_short(error)}") from error
    if not isinstance(head, Detect) or yolo.task not in ("detect", "pose"):
        raise WeightsError(f"{weights.path}: expected a detection or pose model, got task {yolo.task!r}")
    if isinstance(head, WorldDetect | YOLOEDetect):
        raise WeightsError(f"{weights.path}: open-vocabulary models are not supported; name a YOLOv8 to YOLO26 model")
    return person_net(model, name=weights.name, fuse=fuse, both_heads=both_heads)


def person_net(model: nn.Module, *, name: str, fuse: bool = True, both_heads: bool = False) -> PersonNet:
    """Return an ultralytics detection or pose module as a frozen `PersonNet`.

    Raises: WeightsError if it has no class "person".
    """
    names = cast("dict[int, str]", model.names)
    person = next((int(i) for i, label in names.items() if str(label).lower() == "person"), None)
    if person is None:
        some = ", ".join(list(names.values())[:5])
        raise WeightsError(f"{name}: the model has no class 'person' (it has {len(names)}: {some}, ...)")
    yolo = cast(Any, model).float().eval()
    head = yolo.model[-1]
    # The head that end-to-end families are built around, whatever default the installed ultralytics has for them.
    head.end2end = getattr(head, "one2one_cv2", None) is not None
    if fuse:
        if both_heads:
            # Shadows the method that would delete a head; everything else is still folded.
            head.fuse = lambda: None
        yolo.fuse(verbose=False)
        head.__dict__.pop("fuse", None)
    out = PersonNet(yolo, person, name=name)
    out.requires_grad_(False)
    return out.eval()


class YoloGradient:
    """A network as something to attack: logits of every candidate of every head, with gradients to the images.

    precision: "fp32", or "bf16" for autocast; answers are float32 either way, boxes decoded in float32. sha256: of the
    weights file. reentrant: several threads may ask for candidates at once.
    """

    reentrant = True

    def __init__(
        self, net: PersonNet, *, device: str = "cpu", precision: Literal["fp32", "bf16"] = "fp32", sha256: str = ""
    ) -> None:
        self.net = net.to(device).to(memory_format=torch.channels_last)
        self.name = net.name
        self.device = torch.device(device)
        self.precision = precision
        self.sha256 = sha256

    @property
    def stride(self) -> int:
        """Return the network's largest stride: sides of images are multiples of it."""
        return self.net.spec.stride

    def candidates(self, images: torch.Tensor) -> Candidates:
        """Return candidates for images (b, 3, h, w) in [0, 1], RGB, h and w multiples of `stride`."""
        images = images.to(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            answers = self.net.heads(images, keypoints=False)
        h, w = images.shape[2:]
        decoded = [Candidates(*self.net.decode(raw, h, w)) for raw in answers.values()]
        if len(decoded) == 1:
            return decoded[0]
        return joined(
            [replace(d, head=torch.full(d.logit.shape[1:], i, device=d.logit.device)) for i, d in enumerate(decoded)]
        )

    def fingerprint(self) -> str:
        """Return a hash of every weight and buffer as they are now: equal before and after means nothing changed."""
        return fingerprint(self.net)


def fingerprint(net: nn.Module) -> str:
    """Return the SHA-256 of a module's parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _inputs(layer: Any, outputs: list[Any], previous: Any) -> Any:
    """Return what a layer of ultralytics' graph takes: the previous output, an earlier one, or a list of them."""
    if layer.f == -1:
        return previous
    if isinstance(layer.f, int):
        return outputs[layer.f]
    return [previous if j == -1 else outputs[j] for j in layer.f]


def _spec(head: Any) -> HeadSpec:
    pose = hasattr(head, "kpts_decode") and tuple(head.kpt_shape) == (KEYPOINTS, 3)
    kind: Literal["double", "plain"] = "plain" if isinstance(head, Pose26) else "double"
    return HeadSpec(
        strides=tuple(int(s) for s in head.stride.tolist()),
        reg_max=int(head.reg_max),
        end2end=bool(head.end2end),
        keypoints=kind if pose else None,
    )


def _short(error: BaseException) -> str:
    """Return the first sentence of a foreign error, which may run over many lines."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}..."
