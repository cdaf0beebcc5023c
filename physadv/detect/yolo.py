"""Ultralytics YOLO models as person networks, with gradients where asked."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import nn
from ultralytics.models import YOLO
from ultralytics.nn.modules.head import OBB, Detect, Pose26, RTDETRDecoder, Segment, WorldDetect, YOLOEDetect

from physadv.detect.gradients import BareGradient, joined
from physadv.detect.head import KEYPOINTS, HeadSpec, decode_boxes
from physadv.detect.network import weights_hash
from physadv.detect.restricted import read_network, unreadable
from physadv.detect.weights import Weights, is_trusted
from physadv.errors import WeightsError
from physadv.types import Candidates

Raw = dict[str, torch.Tensor]
# Takes the number and the output of a layer, and returns the output that the network goes on with.
Visit = Callable[[int, torch.Tensor], torch.Tensor]
# Of the coarsest level, with room beyond P7's 128.
LARGEST_STRIDE = 256


class PersonNet(nn.Module):
    """A YOLO network that answers for the class "person" alone.

    end2end: whether inference uses a head that needs no suppression. Such a model has a second head until fusing removes
    it; `heads(every=True)` gives both.
    """

    def __init__(self, model: nn.Module, person: int, *, name: str) -> None:
        super().__init__()
        self.model = model
        self.person = person
        self.name = name
        self._body, self._head, self._kept = body_of(model)
        self.spec = _spec(self._head)

    @property
    def end2end(self) -> bool:
        """Return whether the inference head needs no suppression."""
        return self.spec.end2end

    @property
    def levels(self) -> tuple[int, ...]:
        """Return the numbers of the layers that the head is given, the finest (P3) first."""
        return tuple(cast("list[int]", self._head.f))

    @property
    def layers(self) -> tuple[str, ...]:
        """Return what each layer before the head is, by its number: "Conv", "C3k2", "SPPF"."""
        return tuple(type(layer).__name__ for layer in self._body)

    def heads(
        self, images: torch.Tensor, *, every: bool = True, keypoints: bool = True, visit: Visit | None = None
    ) -> dict[str, Raw]:
        """Return the raw answers ("boxes", "scores", "kpts") of each head, for (b, 3, h, w) in [0, 1] RGB.

        every: False leaves out the head that inference does not use. keypoints: False leaves the keypoints out. visit: as
        in `features`.
        """
        return self.answers(self.features(images, visit=visit), every=every, keypoints=keypoints)

    def answers(self, features: list[torch.Tensor], *, every: bool = True, keypoints: bool = True) -> dict[str, Raw]:
        """Return the raw answers of each head to what `features` returns, or to what somebody has changed in it."""
        names = ["one2one", "one2many"] if self.end2end else ["one2many"]
        answers = {}
        for name in names if every else names[:1]:
            parts = dict(getattr(self._head, name))
            if not keypoints and "pose_head" in parts:
                parts["pose_head"] = None
            answers[name] = self._head.forward_head(features, **parts)
        return {n: cast(Raw, raw) for n, raw in answers.items() if raw}

    def features(self, images: torch.Tensor, *, visit: Visit | None = None) -> list[torch.Tensor]:
        """Return what the head is given: a map (b, c, h / stride, w / stride) of each level, the finest (P3) first.

        images: (b, 3, h, w) in [0, 1] RGB. visit: given the number and the output of each layer; the network goes on with
        what it returns.
        """
        # Ultralytics' own forward also decodes and ranks every class of every cell. Running the layers one by one gives
        # the head's raw answer without that cost.
        return run_layers(self._body, self._head, self._kept, images, visit)

    def evidence(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the last hidden layer before the class scores of the inference head: a map a level, finest first.

        images: (b, 3, h, w) in [0, 1] RGB.
        """
        branches = dict(getattr(self._head, "one2one" if self.end2end else "one2many"))["cls_head"]
        return [branch[:-1](level) for branch, level in zip(branches, self.features(images), strict=True)]

    def early(self, images: torch.Tensor, layers: tuple[int, ...]) -> list[torch.Tensor]:
        """Return the outputs of the layers of these numbers, for (b, 3, h, w) in [0, 1] RGB; later layers are not run.

        Only for layers of the backbone, which follow one another without a branch.
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

    def decode(self, raw: Raw, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return person logits (b, a) and corner boxes (b, a, 4) of one head's raw answer."""
        return raw["scores"][:, self.person].float(), decode_boxes(raw["boxes"], self.spec, height, width)


class BytesNet(nn.Module):
    """A network that takes a camera's bytes, (b, h, w, 3) uint8 RGB: this is exported to other backends."""

    def __init__(self, net: PersonNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return what `PersonNet.raw` returns."""
        # NHWC bytes viewed as NCHW are in channels_last order already: only the conversion copies.
        return self.net.raw(batch.permute(0, 3, 1, 2).float() / 255)


def load_net(weights: Weights, *, fuse: bool = True, both_heads: bool = False) -> PersonNet:
    """Return the frozen network in eval mode, float32, on the CPU.

    Code in the file is not run unless `trust` was called for it. fuse: fold batch norm into convolutions. both_heads: keep
    the head of end-to-end families that inference does not use, for an attack through both; ultralytics' own fusing deletes
    it.

    Raises: WeightsError if the file is no ultralytics detection or pose model of RGB images, has no class "person", would
    run code, or is damaged.
    """
    model = read_model(weights)
    try:
        _check_kind(model)
        net = person_net(model, name=weights.name, fuse=fuse, both_heads=both_heads)
        _check_runs(net)
    except WeightsError as error:
        raise WeightsError(f"{weights.path}: {error}") from error
    except Exception as error:  # a damaged network fails in many ways
        raise WeightsError(f"{weights.path}: {unreadable(error)}") from error
    return net


def read_model(weights: Weights) -> nn.Module:
    """Return the network in a weights file of Ultralytics as it is; code in the file runs only if it was trusted.

    Raises: WeightsError if the weights are of another kind, cannot be loaded, or would run code.
    """
    if weights.kind != "ultralytics":
        kind = {"onnx": "an ONNX file"}.get(weights.kind, f"a {weights.kind} detector")
        raise WeightsError(
            field="detector",
            expected="a network of Ultralytics (.pt)",
            got=f"{weights.name}, {kind}",
            hint="others are attacked, defended and evaluated, but not trained or taken apart here",
        )
    return _trusted_network(weights.path) if is_trusted(weights) else read_network(weights.path)


def _trusted_network(path: Path) -> nn.Module:
    """Return the network of a file whose code may run.

    Raises: WeightsError if it cannot be loaded.
    """
    try:
        return cast(nn.Module, YOLO(str(path)).model)
    except Exception as error:  # unpickling a foreign file fails in many ways
        raise WeightsError(f"{path}: {unreadable(error)}") from error


def _check_kind(model: Any) -> None:
    """Raise WeightsError if a model is no detection or pose model of RGB images."""
    head = model.model[-1]
    if isinstance(head, RTDETRDecoder):
        raise WeightsError("an RT-DETR is attacked, defended and evaluated, but not trained or taken apart here")
    if isinstance(head, WorldDetect | YOLOEDetect):
        raise WeightsError("open-vocabulary models are not supported; name a YOLOv8 to YOLO26 model")
    if not isinstance(head, Detect) or isinstance(head, Segment | OBB):
        raise WeightsError(f"expected a detection or pose model, got one whose head is {type(head).__name__}")
    channels = next(m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d))
    if channels != 3:
        raise WeightsError(
            f"the model expects images of {channels} channel{'s' * (channels > 1)}; only RGB models serve"
        )
    if not all(0 < stride <= LARGEST_STRIDE for stride in head.stride.tolist()):
        raise WeightsError(f"expected strides up to {LARGEST_STRIDE} pixels, got {head.stride.tolist()}")


@torch.inference_mode()
def _check_runs(net: PersonNet) -> None:
    """Raise WeightsError if the answers to a small image have other shapes than the head promises, or are no numbers.

    A damaged network may raise anything.
    """
    height, width = net.spec.stride * 2, net.spec.stride * 3
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    cells = sum((height // s) * (width // s) for s in net.spec.strides)
    want = [(1, cells), (1, 4 * net.spec.reg_max, cells), (1, KEYPOINTS * 3, cells)]
    for raw in net.heads(image).values():
        answer = [raw["scores"][:, net.person], raw["boxes"], *([raw["kpts"]] if net.spec.keypoints else [])]
        shapes = [tuple(part.shape) for part in answer]
        if shapes != want[: len(shapes)]:
            raise WeightsError(f"expected answers of shape {want[: len(shapes)]}, got {shapes}; the file is damaged")
        if not all(part.isfinite().all() for part in answer):
            raise WeightsError("the network returns NaN or infinity; the file is damaged, or training diverged")


def person_net(model: nn.Module, *, name: str, fuse: bool = True, both_heads: bool = False) -> PersonNet:
    """Return an ultralytics detection or pose module as a frozen `PersonNet`.

    Raises: WeightsError if it has no class "person".
    """
    person = person_class(getattr(model, "names", None))
    yolo = cast(Any, model).float().eval()
    head = yolo.model[-1]
    if person >= head.nc:
        raise WeightsError(f"the class 'person' has number {person}, but the model knows {head.nc} classes alone")
    # End-to-end families use the head they are built around, whatever the installed ultralytics has for a default.
    head.end2end = getattr(head, "one2one_cv2", None) is not None
    if fuse:
        if both_heads:
            # Shadows the method that deletes a head; everything else is still folded.
            head.fuse = lambda: None
        yolo.fuse(verbose=False)
        head.__dict__.pop("fuse", None)
    out = PersonNet(yolo, person, name=name)
    out.requires_grad_(False)
    return out.eval()


def class_names(names: object) -> dict[Any, Any]:
    """Return the names of classes by number from what ultralytics takes: list, dict, or either as text; {} of others."""
    if isinstance(names, str):
        try:
            # The metadata of exported models.
            names = ast.literal_eval(names)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            names = [names]
    return names if isinstance(names, dict) else dict(enumerate(names)) if isinstance(names, list | tuple) else {}


def person_class(names: object) -> int:
    """Return the number of the class "person" in names as ultralytics takes them: list, dict, or either as text.

    Case and blanks around a name do not count; keys may be text ("0").

    Raises: WeightsError if there is no such class, or no names.
    """
    table = class_names(names)
    if not table:
        raise WeightsError("the model does not name its classes, so which one is 'person' is not known")
    for key, label in table.items():
        if str(label).strip().lower() == "person" and str(key).strip().isdecimal():
            return int(key)
    some = ", ".join(str(label)[:20] for label in list(table.values())[:5])
    raise WeightsError(f"the model has no class 'person' (it has {len(table)}: {some}{', ...' * (len(table) > 5)})")


class YoloGradient(BareGradient):
    """A network to attack: logits of every candidate of every head, with gradients to the images.

    Several threads may ask at once. precision: "fp32", or "bf16" for autocast; answers are float32 either way, and
    boxes are decoded in float32. sha256: of the weights file. stride: the network's largest.
    """

    reentrant = True

    def __init__(
        self,
        net: PersonNet,
        *,
        device: str = "cpu",
        precision: Literal["fp32", "bf16"] = "fp32",
        sha256: str | None = None,
    ) -> None:
        self.net = net.to(device).to(memory_format=torch.channels_last)
        self.name = net.name
        self.parameters = sum(p.numel() for p in net.parameters())
        self.device = torch.device(device)
        self.precision = precision
        self.sha256 = sha256
        self.stride = net.spec.stride

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
        """Return a hash of every weight and buffer as they are now."""
        return weights_hash(self.net)


def body_of(model: nn.Module) -> tuple[list[Any], Any, set[int]]:
    """Return the layers of a network of Ultralytics before its head, its head, and which outputs are used again."""
    layers: list[Any] = list(cast(nn.ModuleList, model.model))
    return layers[:-1], layers[-1], set(cast("list[int]", model.save))


def run_layers(
    body: list[Any], head: Any, kept: set[int], images: torch.Tensor, visit: Visit | None = None
) -> list[torch.Tensor]:
    """Return what the head is given by the layers of `body_of`, for images (b, 3, h, w) in [0, 1] RGB.

    visit: gets the number and the output of each layer, and returns what goes on in its place.
    """
    outputs: list[Any] = []
    x: Any = images
    for layer in body:
        x = layer(_inputs(layer, outputs, x))
        if visit is not None:
            x = visit(layer.i, x)
        outputs.append(x if layer.i in kept else None)
    return cast("list[torch.Tensor]", _inputs(head, outputs, x))


def _inputs(layer: Any, outputs: list[Any], previous: Any) -> Any:
    """Return the input of a layer of ultralytics' graph: the previous output, an earlier one, or a list of them."""
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
