"""Where a pattern acts: is evidence for a person removed from the body, or evidence against one put at the print?

The pattern's image goes through the network once. In what the head is given (P3, P4, P5) the cells of the print are
blanked, at the mean of the image: what stood against a person there is gone then. Or the rest of the body's cells, or the
print's own, are exchanged for those of the same person with a grey print: what was removed is there again.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from physadv.boxes import Letterbox
from physadv.explain.odam import Odam
from physadv.explain.score import MIN_CONF
from physadv.simulate.placement import Prints
from physadv.types import BoolArray, Float32Array, UInt8Array

# Logits that a pattern must take from a person before it is asked where they went.
LEAST = 0.5
# Share of a cell from which a print covers it.
COVERED = 0.5


@dataclass(frozen=True, slots=True)
class Evidence:
    """One person's logits, and what brings back what the pattern took.

    grey, pattern: with either print. print_exchanged, body_exchanged: with the pattern, and the cells of the print, or
    those of the rest of the box, as they are with grey. print_blank, grey_blank: with either print, and its cells at the
    mean of the whole image: what the second loses against `grey`, no pattern has taken.
    """

    grey: float
    pattern: float
    print_exchanged: float
    body_exchanged: float
    print_blank: float
    grey_blank: float

    @property
    def negative(self) -> float | None:
        """Return the share of the lost that comes back when the print's cells say nothing: evidence against a person."""
        return self._back(self.print_blank)

    @property
    def from_body(self) -> float | None:
        """Return the share that comes back when the body around the print is restored: evidence removed from it."""
        return self._back(self.body_exchanged)

    @property
    def at_print(self) -> float | None:
        """Return the share that comes back when the print's own cells are restored: evidence removed from them."""
        return self._back(self.print_exchanged)

    def _back(self, logit: float) -> float | None:
        """Return which share of the lost logits another state brings back; None where hardly any were lost."""
        lost = self.grey - self.pattern
        return None if lost < LEAST else (logit - self.pattern) / lost


def evidence(odam: Odam, grey: UInt8Array, pattern: UInt8Array, boxes: Float32Array, prints: Prints) -> list[Evidence]:
    """Return for each of (n, 4) boxes where the pattern acts on that person.

    grey, pattern: (h, w, 3) RGB, the same people in either print. prints: of everybody, in the image's pixels.
    """
    fit = odam.letterbox(grey)
    low = float(np.log(MIN_CONF / (1 - MIN_CONF)))
    with torch.inference_mode():
        with_grey, with_pattern = odam.features(grey), odam.features(pattern)
        shapes = [(level.shape[2], level.shape[3]) for level in with_grey]
        covered = [_cells(_filled(fit, prints.quads), shape) for shape in shapes]
        blank, grey_blank = (
            [x.mean((2, 3), keepdim=True).expand_as(x) for x in levels] for levels in (with_pattern, with_grey)
        )

        def asked(features: list[torch.Tensor], box: Float32Array) -> float:
            best = odam.best_logit(features, box, fit)
            return low if best is None else max(best, low)

        out = []
        for box in boxes:
            corners = np.array([[box[[0, 1]], box[[2, 1]], box[[2, 3]], box[[0, 3]]]], np.float32)
            body = [_cells(_filled(fit, corners), s) & ~c for s, c in zip(shapes, covered, strict=True)]
            out.append(
                Evidence(
                    asked(with_grey, box),
                    asked(with_pattern, box),
                    asked(_mixed(with_pattern, with_grey, covered), box),
                    asked(_mixed(with_pattern, with_grey, body), box),
                    asked(_mixed(with_pattern, blank, covered), box),
                    asked(_mixed(with_grey, grey_blank, covered), box),
                )
            )
    return out


def _filled(fit: Letterbox, quads: Float32Array) -> UInt8Array:
    """Return (height, width) of the network's input, 255 within any of (m, 4, 2) quadrangles of image pixels."""
    out = np.zeros((fit.height, fit.width), np.uint8)
    for quad in quads * np.array(fit.scale, np.float32) + np.array([fit.left, fit.top], np.float32):
        cv2.fillPoly(out, [quad.round().astype(np.int32)], 255)
    return out


def _cells(mask: UInt8Array, shape: tuple[int, int]) -> BoolArray:
    """Return (rows, columns): the cells that are covered by half or more; where none is, those covered most."""
    share = np.asarray(cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_AREA), np.float32) / 255
    return share >= min(COVERED, max(float(share.max()), 1e-6))


def _mixed(base: list[torch.Tensor], other: list[torch.Tensor], where: list[BoolArray]) -> list[torch.Tensor]:
    """Return each level's map with the cells of a mask taken from another."""
    masks = [torch.from_numpy(mask).to(level.device) for mask, level in zip(where, base, strict=True)]
    return [torch.where(mask, o, b) for mask, o, b in zip(masks, other, base, strict=True)]
