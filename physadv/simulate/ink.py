"""Ink on paper or cloth: the colours a print can show, and how they differ from what was asked for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field

from physadv.camera.colour import ColourMap
from physadv.simulate.transform import Draw, Transform, normal, uniform

LUMA = torch.tensor([0.299, 0.587, 0.114])
# A common ink-jet print on plain paper or cotton, photographed so that paper is nearly white: no ink is darker than
# `BLACK`, nothing is brighter than `WHITE`, and colours lose about a fifth of their saturation.
BLACK, WHITE, SATURATION = 0.10, 0.94, 0.82


@dataclass(frozen=True, slots=True, eq=False)
class InkDraw(Draw):
    """gain, offset: (b, 3, 1, 1) error of the colours. saturation: (b, 1, 1, 1) what is kept of it."""

    gain: torch.Tensor
    offset: torch.Tensor
    saturation: torch.Tensor


class Ink(Transform[InkDraw]):
    """Digital colours as a camera would see them printed.

    A plausible ink-jet; `MeasuredInk` is a printer that was measured.
    Source: the default gamut's shape follows Sharif et al. 2016 (printable colours) as a matrix instead of a list.
    """

    error: float = Field(default=0.03, ge=0, le=0.3, description="standard deviation of the colours' unexplained error")

    def sample(self, batch: int, generator: torch.Generator) -> InkDraw:
        """Return the errors of `batch` prints."""
        s = self.strength
        keep = 1 - s * (1 - SATURATION) * uniform((batch, 1, 1, 1), 0.5, 1.5, generator)
        return InkDraw(
            1 + normal((batch, 3, 1, 1), self.error * s, generator),
            normal((batch, 3, 1, 1), self.error * s, generator),
            keep,
        )

    def apply(self, images: torch.Tensor, params: InkDraw) -> torch.Tensor:
        """Return images (b, 3, h, w) as printed."""
        if self.strength == 0:
            return images
        s = min(self.strength, 1.0)
        black, white = BLACK * s, 1 - (1 - WHITE) * s
        luma = (images * LUMA.to(images).view(1, 3, 1, 1)).sum(1, keepdim=True)
        dull = luma + params.saturation * (images - luma)
        return (black + (white - black) * dull) * params.gain + params.offset

    def printed(self, pattern: torch.Tensor) -> torch.Tensor:
        """Return a pattern (3, h, w) with what is the same in all its prints done to it: here nothing."""
        return pattern

    def vary(self, images: torch.Tensor, params: InkDraw) -> torch.Tensor:
        """Return prints (b, 3, h, w) of what `printed` gave, each with its own error."""
        return self.apply(images, params)


class MeasuredInk(Ink):
    """A printer and camera that were measured with a colour chart: at strength 1 as measured, above it with more spread.

    The map is not linear, so it comes before any shrinking: the camera averages printed colours, not digital ones.
    """

    colours: dict[str, object] = Field(description="the colour map, as `ColourMap.to_dict` gives it")

    def sample(self, batch: int, generator: torch.Generator) -> InkDraw:
        """Return draws of the map's own residual spread."""
        residual = ColourMap.from_dict(self.colours, name="colours").sample_residual(batch, generator)
        one = torch.ones(batch, 1, 1, 1)
        return InkDraw(one.expand(-1, 3, -1, -1).clone(), residual * self.strength, one)

    def apply(self, images: torch.Tensor, params: InkDraw) -> torch.Tensor:
        """Return images (b, 3, h, w) as this camera sees this print."""
        return self.vary(self._mapped(images), params)

    def printed(self, pattern: torch.Tensor) -> torch.Tensor:
        """Return a pattern (3, h, w) as this camera sees this print."""
        return self._mapped(pattern[None])[0]

    def vary(self, images: torch.Tensor, params: InkDraw) -> torch.Tensor:
        """Return prints (b, 3, h, w), each with its own draw of the residual spread."""
        return images + params.offset

    def _mapped(self, images: torch.Tensor) -> torch.Tensor:
        if self.strength == 0:
            return images
        seen = ColourMap.from_dict(self.colours, name="colours").apply(images.clamp(0, 1))
        return torch.lerp(images, seen, min(self.strength, 1.0))


def default_palette(steps: int = 6) -> torch.Tensor:
    """Return (steps^3, 3) digital colours, an even cube: what to send to the printer.

    Like `PrinterProfile.printable_digital`, not the colours that then are seen. Printed by the default ink without its
    error they span its gamut: even steps from `BLACK` to `WHITE`, with `SATURATION` of their distance to grey.
    """
    line = torch.linspace(0, 1, steps)
    return torch.cartesian_prod(line, line, line)
