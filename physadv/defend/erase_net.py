"""A network that marks pasted patterns: a small head on the first layers of the embedded detector's frozen backbone."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from physadv.detect.weights import DEFAULT_DETECTOR, find_weights

if TYPE_CHECKING:
    from physadv.detect.yolo import PersonNet

CPU = torch.device("cpu")
CELL = 4
MULTIPLE = 32
# Layers of yolo11n-pose's backbone whose answers the head looks at: at a quarter, an eighth and a sixteenth of the size.
LAYERS = (2, 4, 6)
CHANNELS = 64 + 128 + 128


class EraseHead(nn.Module):
    """Logits of "this was pasted" from backbone features (b, 320, h / 8, w / 8): (b, 1, h / 4, w / 4)."""

    def __init__(self) -> None:
        super().__init__()
        # Features differ in scale by orders of magnitude; these are their statistics over the training scenes.
        self.register_buffer("centre", torch.zeros(CHANNELS))
        self.register_buffer("spread", torch.ones(CHANNELS))
        self.squeeze = nn.Conv2d(CHANNELS, 48, 1)
        self.around = nn.Conv2d(48, 48, 3, 1, 1)
        self.wide = nn.Conv2d(48, 48, 3, 1, 2, 2)
        self.far = nn.Conv2d(48, 48, 3, 1, 4, 4)
        self.fine = nn.Conv2d(48, 4, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        x = (features - self.centre[:, None, None]) / self.spread[:, None, None]  # type: ignore[index]
        x = F.relu(self.squeeze(x.clamp(-8, 8)))
        x = x + F.relu(self.around(x))
        x = x + F.relu(self.wide(x))
        x = x + F.relu(self.far(x))
        return F.pixel_shuffle(self.fine(x), 2)


def backbone_features(images: torch.Tensor) -> torch.Tensor:
    """Return (b, 320, h / 8, w / 8) features of images (b, 3, h, w) in [0, 1], h and w multiples of 32, with gradients.

    Raises: WeightsError if the embedded detector is not installed.
    """
    quarter, eighth, sixteenth = backbone(images.device).early(images, LAYERS)
    return torch.cat([F.avg_pool2d(quarter, 2), eighth, F.interpolate(sixteenth, scale_factor=2.0)], 1)


@lru_cache(maxsize=4)
def backbone(device: torch.device) -> PersonNet:
    """Return the embedded detector's network on a device, frozen, whatever detector is being defended.

    Raises: WeightsError if it is not installed.
    """
    from physadv.detect.yolo import load_net

    # Kept for good: weights first made while some caller only infers could never carry a gradient afterwards.
    with torch.inference_mode(False):
        return load_net(find_weights(DEFAULT_DETECTOR)).to(device).to(memory_format=torch.channels_last)
