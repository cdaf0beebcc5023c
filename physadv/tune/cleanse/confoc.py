"""ConFoc: retrain on clean images whose content is kept and whose style is removed or swapped.

Source: Villarreal-Vasquez & Bhargava, "ConFoc: Content-Focus Protection Against Trojan Attacks on Neural Networks"
(2020). The paper draws style by a VGG network and optimises each image for it. Here style is the mean and the standard
deviation of each colour in each band of a Laplacian pyramid: the statistics that AdaIN (Huang & Belongie 2017) takes of
features, taken of pixels. Features of the detector itself would be those of the poisoned network, another network would
have to be fetched, and a batch of pixels takes milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from physadv.tune.cleanse.job import Cleansed, CleanseJob
from physadv.tune.hook import Hook

# Bands from fine grain to the shapes of limbs: at 320 pixels the coarsest is about 32 pixels across.
LEVELS = 4
# A flat image has no grain to amplify: without a limit it would be drawn in the noise of its JPEG blocks.
GAIN = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Style:
    """The style of images: mean (b, 3) of each colour, deviations (b, levels + 1, 3) of each band, finest first."""

    mean: torch.Tensor
    deviations: torch.Tensor

    def of(self, index: torch.Tensor) -> Style:
        """Return the styles of these numbers."""
        return Style(self.mean[index], self.deviations[index])

    def average(self) -> Style:
        """Return the one style (b = 1) in the middle of all."""
        return Style(self.mean.mean(0, keepdim=True), self.deviations.mean(0, keepdim=True))


class StyleSwap(Hook):
    """Shows the network images whose style is gone, or another image's."""

    def __init__(self, styles: Style) -> None:
        self._styles = styles

    def batch(self, model: nn.Module, batch: dict[str, Any]) -> None:
        """Change the style of images of a batch."""
        del model
        batch["img"] = restyled(batch["img"], self._styles)


def confoc(job: CleanseJob) -> Cleansed:
    """Fine-tune the detector of a job on its clean images in the styles of all of them."""
    network = job.network()
    styles = [style_of(batch["img"]) for batch in job.batches(network)]
    joined = Style(torch.cat([s.mean for s in styles]), torch.cat([s.deviations for s in styles]))
    tuned = job.tune("tuned", network, hooks=[StyleSwap(joined)])
    return Cleansed(tuned.network, tuned.details(), tuned.record["seconds"])


def bands_of(images: torch.Tensor) -> list[torch.Tensor]:
    """Return the Laplacian pyramid of (b, 3, h, w), finest band first, what is left over last; their sum is the images.

    All are of the images' own size: `joined` needs no more than a sum.
    """
    out = []
    rest = images
    for level in range(1, LEVELS + 1):
        small = F.avg_pool2d(images, 2**level, ceil_mode=True, count_include_pad=False)
        smooth = F.interpolate(small, images.shape[2:], mode="bilinear", align_corners=False)
        out.append(rest - smooth)
        rest = smooth
    return [*out, rest]


def style_of(images: torch.Tensor) -> Style:
    """Return the style of (b, 3, h, w) images in [0, 1]."""
    return Style(images.mean((2, 3)), torch.stack([band.std((2, 3)) for band in bands_of(images)], 1))


def with_style(images: torch.Tensor, style: Style) -> torch.Tensor:
    """Return (b, 3, h, w) images in [0, 1] with the content that they have and the style given, b or 1 of it.

    Each band is scaled to the deviation of its colour, by `GAIN` at most.
    """
    bands = bands_of(images)
    own = style_of(images)
    gains = (style.deviations / own.deviations.clamp_min(1e-6)).clamp(1 / GAIN, GAIN)
    gains = gains[..., None, None]
    rest = (bands[-1] - own.mean[..., None, None]) * gains[:, -1] + style.mean[..., None, None]
    fine = sum((band * gains[:, i] for i, band in enumerate(bands[:-1])), torch.zeros_like(images))
    return (fine + rest).clamp(0, 1)


def restyled(images: torch.Tensor, styles: Style) -> torch.Tensor:
    """Return a batch in which each image stays, loses its style (takes the average one) or takes another's, by chance.

    styles: of the clean images. A third each, so that the detector still sees images as a camera gives them. Drawn from
    torch's own generator, which the trainer seeds for each epoch.
    """
    kind = torch.randint(3, (len(images),))
    other = torch.randint(len(styles.mean), (len(images),))
    out = images.clone()
    plain, swapped = kind == 1, kind == 2
    if plain.any():
        out[plain] = with_style(images[plain], styles.average())
    if swapped.any():
        out[swapped] = with_style(images[swapped], styles.of(other[swapped]))
    return out
