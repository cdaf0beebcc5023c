"""A small U-shaped network that marks pasted patterns: pictures in, a logit a cell of four by four pixels out."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

CELL = 4
MULTIPLE = 16


class Step(nn.Module):
    """3 x 3 convolution, batch norm, ReLU; added to its input where shapes agree."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.add = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (b, outputs, h / stride, w / stride)."""
        y = F.relu(self.norm(self.conv(x)), inplace=True)
        return x + y if self.add else y


class EraseNet(nn.Module):
    """Logits of "this was pasted" for images (b, 3, h, w) in [0, 1], h and w multiples of 16: (b, 1, h / 4, w / 4).

    The costly quarter scale holds one convolution; sight of about 200 pixels comes from dilation at a sixteenth.
    """

    def __init__(self) -> None:
        super().__init__()
        self.quarter = nn.Sequential(
            nn.Conv2d(3, 24, 6, CELL, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU(inplace=True)
        )
        self.eighth = nn.Sequential(Step(24, 40, stride=2), Step(40, 40))
        self.sixteenth = nn.Sequential(
            Step(40, 48, stride=2), Step(48, 48, dilation=2), Step(48, 48, dilation=4), Step(48, 48)
        )
        self.lift = nn.Conv2d(48, 40, 1)
        self.join = Step(40, 40)
        self.fine = nn.Conv2d(40, 64, 1)
        self.skip = nn.Conv2d(24, 16, 1)
        self.head = nn.Conv2d(16, 1, 3, 1, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        quarter = self.quarter(images * 4 - 2)
        eighth = self.eighth(quarter)
        deep = F.interpolate(self.lift(self.sixteenth(eighth)), scale_factor=2.0, mode="nearest")
        fine = F.pixel_shuffle(self.fine(self.join(eighth + deep)), 2)
        return cast(torch.Tensor, self.head(F.relu(fine + self.skip(quarter), inplace=True)))
