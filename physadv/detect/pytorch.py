"""The reference detector: PyTorch, float32 on any device, or bfloat16 where asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import torch

from physadv.detect.network import NetworkDetector, Options, weights_hash
from physadv.errors import BackendError
from physadv.types import Float32Array, UInt8Array

if TYPE_CHECKING:
    from physadv.detect.weights import Weights
    from physadv.detect.yolo import PersonNet


class TorchDetector(NetworkDetector):
    """A `PersonNet` run by PyTorch, channels_last; precision "fp32" or "bf16" (autocast)."""

    backend = "torch"

    def __init__(
        self,
        net: PersonNet,
        weights: Weights,
        *,
        precision: str = "fp32",
        device: str = "cpu",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(weights, net.spec, precision=precision, **options)
        self.device = torch.device(device)
        self.net = net.to(self.device).to(memory_format=torch.channels_last)

    def infer(self, batch: UInt8Array) -> Sequence[Float32Array]:
        """Return logit (b, a), distance (b, 4 * reg_max, a) and perhaps keypoints (b, 51, a) for (b, h, w, 3) RGB."""
        # A frame that needs no scaling is passed on read-only, which torch refuses.
        batch = batch if batch.flags.writeable else batch.copy()
        # NHWC bytes viewed as NCHW are in channels_last order already: only the conversion copies.
        tensor = torch.from_numpy(batch).to(self.device).permute(0, 3, 1, 2).float().div_(255)
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return [t.float().cpu().numpy() for t in self.net.raw(tensor)]

    def fingerprint(self) -> str:
        """Return a hash of the network's weights as they are now."""
        return weights_hash(self.net)


def pick_device(asked: str) -> str:
    """Return the device for "auto" (CUDA, else MPS, else CPU), or the given one.

    Raises: BackendError if it is not on this machine.
    """
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.zeros(1, device=asked)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise BackendError(
            field="device", expected="auto, cpu, cuda or mps as found on this machine", got=repr(asked)
        ) from error
    return asked
