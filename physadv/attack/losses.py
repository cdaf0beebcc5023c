"""What the optimiser lowers: the detectors' person logits, and what is asked of a pattern besides its effect.

Logits are those of the candidates that overlap each person, before suppression. Priors are smoothness, printable colours
and a likeness; all are float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from physadv.attack.settings import MARGIN, Mix
from physadv.detect.matching import MATCH_IOU
from physadv.types import Candidates

# Of the exponentiated gradient by which `minmax` learns how much each detector counts.
MIXING_RATE = 0.05
# Logits that a candidate without any overlap counts less, and the overlap from which on it counts whole.
UNFIT, FITS = 2.0, 0.3
# Best candidates of a person that are looked at.
TOP = 12
# Where boxes on parts count: how many are lowered alike, and how much their mean counts beside the best.
ALIKE, EACH = 40, 2.0


# A logit that no detector gives: of boxes that do not count.
NOBODY = -30.0
# Logits that a pattern which must not act may take from a box beside what grey leaves.
SLACK = 0.5
# Below this logit under grey, 2 % of confidence, nobody is there to stay seen.
SEEN_AT_ALL = -4.0


def overlap(boxes: torch.Tensor, xyxy: torch.Tensor) -> torch.Tensor:
    """Return (n, a) intersection over union of people (n, 4) with their image's candidates (n, a, 4)."""
    low = torch.maximum(boxes[:, None, :2], xyxy[..., :2])
    high = torch.minimum(boxes[:, None, 2:], xyxy[..., 2:])
    inter = (high - low).clamp_min(0).prod(-1)
    area = (boxes[:, 2:] - boxes[:, :2]).clamp_min(0).prod(-1)[:, None]
    other = (xyxy[..., 2:] - xyxy[..., :2]).clamp_min(0).prod(-1)
    return inter / (area + other - inter).clamp_min(1e-6)


def concerned(boxes: torch.Tensor, xyxy: torch.Tensor, *, at_least: float = 0.1, inside: float = 0.6) -> torch.Tensor:
    """Return the (n, a) mask of candidates that say "someone is there" about people (n, 4), from boxes (n, a, 4).

    Those that overlap a person by `at_least`, and those that lie within one by `inside` of their own area: without these
    a pattern learns to look like a crowd of small people, which hides its wearer and still shows people.
    """
    low = torch.maximum(boxes[:, None, :2], xyxy[..., :2])
    high = torch.minimum(boxes[:, None, 2:], xyxy[..., 2:])
    inter = (high - low).clamp_min(0).prod(-1)
    own = (xyxy[..., 2:] - xyxy[..., :2]).clamp_min(0).prod(-1)
    return (overlap(boxes, xyxy) >= at_least) | (inter >= inside * own.clamp_min(1e-6))


def vanish(
    candidates: Candidates,
    owner: torch.Tensor,
    boxes: torch.Tensor,
    *,
    margin: float = MARGIN,
    parts: float = 0.0,
    alone: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return (n,) losses: how far the detector's best candidates of each person are above the logit -margin.

    owner: (n,) image of each person. boxes: (n, 4) pixels. Of a logit counts softplus(2 (logit + margin)) / 2: nearly
    straight above -margin and soon flat below, so that whoever is hidden by now leaves the gradient to those who are still
    seen. The mean over the best `TOP`, weighted by their own softmax, keeps a gradient on those that would be next.

    parts: how much boxes on a part of a person count, on the head, the legs or the print itself. 0: candidates count up to
    `UNFIT` logits less the worse they fit, so that the box around the whole person goes first: a small print cannot reach
    the others. 1: each counts whole, and the plain mean over the best `ALIKE` is added `EACH` times, as every box that is
    left counts against strict success. alone: (n,) whether someone fills the image: there every box is about them, and
    counts whole. Each head of a model counts by itself: one that is left out could be the one that is used.
    """
    with torch.no_grad():
        xyxy = candidates.xyxy.detach()[owner]
        near = concerned(boxes, xyxy)
        unfit = (1 - parts) * UNFIT * (1 - overlap(boxes, xyxy) / FITS).clamp_min(0)
        if alone is not None:
            unfit = unfit * ~alone[:, None]
    logit = (candidates.logit[owner] - unfit).masked_fill(~near, NOBODY)
    out = []
    for one in _heads(logit, candidates):
        best = one.topk(min(ALIKE if parts else TOP, one.shape[1]), 1).values
        surest = _above(_soft_top(best[:, :TOP]), margin)
        out.append(surest + parts * EACH * _above(best, margin).mean(1) if parts else surest)
    return torch.stack(out).mean(0)


def _above(logit: torch.Tensor, margin: float) -> torch.Tensor:
    """Return how far logits are above -margin: nearly straight there, soon flat below."""
    return F.softplus(2 * (logit + margin)) / 2


def missize(candidates: Candidates, owner: torch.Tensor, boxes: torch.Tensor, *, at_most: float = 0.45) -> torch.Tensor:
    """Return (n,) losses: how well the most certain boxes fit each person; 0 once none overlaps by `at_most`.

    The person may be seen, but with a box that no longer counts as a hit at IoU .5.
    """
    fits, logits = overlap(boxes, candidates.xyxy[owner]), candidates.logit[owner]
    out = []
    for fit, logit in zip(_heads(fits, candidates), _heads(logits, candidates), strict=True):
        with torch.no_grad():
            index = torch.where(fit > 0.1, logit, NOBODY).topk(min(TOP, fit.shape[1]), 1).indices
        sure = logit.gather(1, index).sigmoid()
        out.append(((fit.gather(1, index) - at_most).clamp_min(0) * (0.5 + sure)).sum(1))
    return torch.stack(out).mean(0)


def fitting(candidates: Candidates, owner: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Return (h, n) the highest logit of a box that fits each person, IoU .5 or more, in each head of the detector.

    A box that merely touches somebody is no sight of them: without this bound a pattern that must leave its wearer seen
    learns to draw a box beside them.
    """
    with torch.no_grad():
        unfit = overlap(boxes, candidates.xyxy.detach()[owner]) < MATCH_IOU
    logit = candidates.logit[owner].masked_fill(unfit, NOBODY)
    return torch.stack([one.amax(1) for one in _heads(logit, candidates)])


def stays_seen(found: torch.Tensor, grey: torch.Tensor) -> torch.Tensor:
    """Return (n,) losses: how far the best fitting box falls short of what a grey print in its place leaves, less `SLACK`.

    found, grey: (h, n) of `fitting`, under the pattern and under grey in the same view. Nothing is asked for people that
    grey hides by itself.
    """
    short = (grey - SLACK - found).clamp_min(0)
    return (short * (grey > SEEN_AT_ALL)).mean(0)


def _heads(values: torch.Tensor, candidates: Candidates) -> list[torch.Tensor]:
    """Return (n, a) values of candidates as one (n, k) for each head."""
    if candidates.head is None:
        return [values]
    return [values[:, candidates.head == one] for one in range(int(candidates.head.max()) + 1)]


def _soft_top(best: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        weight = best.softmax(1)
    return (best * weight).sum(1)


def mixed(mix: Mix, losses: torch.Tensor, mixing: torch.Tensor) -> torch.Tensor:
    """Return the detectors' losses (d, ...) as one (...); mixing: (d,) log weights that `minmax` has learned."""
    if len(losses) == 1:
        return losses[0]
    if mix == "max":
        return losses.max(0).values
    weight = mixing.softmax(0) if mix == "minmax" else torch.full((len(losses),), 1 / len(losses))
    return torch.tensordot(weight.to(losses), losses, 1)


def reweighted(mixing: torch.Tensor, each: torch.Tensor) -> torch.Tensor:
    """Return the log weights (d,) after a step: the detector that still sees people gains weight.

    Exponentiated gradient on the simplex.
    """
    raised = mixing + MIXING_RATE * each.cpu()
    return raised - torch.logsumexp(raised, 0)


def total_variation(colours: torch.Tensor, *, tiles: bool) -> torch.Tensor:
    """Return the mean absolute difference of neighbouring texels of (3, h, w); across the edges too if it tiles.

    Differences down and across count by themselves (the anisotropic form). Source: Rudin, Osher & Fatemi 1992; used on
    patches by Sharif et al. 2016, who take the root of both differences' squares.
    """
    if tiles:
        return (colours - colours.roll(1, 1)).abs().mean() + (colours - colours.roll(1, 2)).abs().mean()
    return colours.diff(dim=1).abs().mean() + colours.diff(dim=2).abs().mean()


def curvature(colours: torch.Tensor, *, tiles: bool) -> torch.Tensor:
    """Return the mean squared second difference of (3, h, w), along each axis: detail finer than a few texels."""
    if tiles:
        bends = [colours.roll(1, d) - 2 * colours + colours.roll(-1, d) for d in (1, 2)]
    else:
        bends = [colours.diff(n=2, dim=d) for d in (1, 2)]
    return sum((b.square().mean() for b in bends), torch.zeros((), device=colours.device))


def non_printability(colours: torch.Tensor, palette: torch.Tensor) -> torch.Tensor:
    """Return the mean distance of digital colours (3, h, w) to the nearest of palette (k, 3), those that print as intended.

    Source: Sharif et al. 2016, equation 3, with the nearest colour in place of the product over all.
    """
    flat = colours.flatten(1).T
    with torch.no_grad():
        near = palette[torch.cdist(flat, palette).argmin(1)]
    return ((flat - near).square().sum(1) + 1e-6).sqrt().mean()


def likeness(colours: torch.Tensor, look: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean squared difference from `look` (3, h, w) where the mask (1, h, w) has ink."""
    return ((colours - look).square() * mask).sum() / (3 * mask.sum()).clamp_min(1)
