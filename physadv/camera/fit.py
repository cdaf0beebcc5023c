"""Fit the colour map in torch: the least complex one that held-out colours justify, robust against bad cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import softplus

from physadv.camera.colour import ColourMap, interpolate, polynomial
from physadv.camera.colour_table import KINDS, exponents
from physadv.camera.difference import linear_to_srgb, srgb_difference, srgb_to_lab, srgb_to_linear
from physadv.errors import CalibrationError
from physadv.types import BoolArray, Float32Array

KNOTS_IN, KNOTS_OUT = 9, 17
# A more complex map must lower the cross-validated error by this share to be taken.
WORTH = 0.03


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Colours read from prints.

    digital, seen: (n, 3) in [0, 1]. weight: (n,), 1 for a plain patch. group: (n,) int; samples that share a group (the
    same colour, or the same plate) are never split between fitting and checking. photo: (n,) int, which photograph.
    """

    digital: Float32Array
    seen: Float32Array
    weight: Float32Array
    group: np.ndarray[tuple[int], np.dtype[np.int64]]
    photo: np.ndarray[tuple[int], np.dtype[np.int64]]

    def __len__(self) -> int:
        return len(self.digital)

    def pick(self, index: BoolArray) -> Samples:
        """Return the samples at `index`."""
        return Samples(self.digital[index], self.seen[index], self.weight[index], self.group[index], self.photo[index])


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Errors in dE2000 of samples that the fit had not seen, beside those of no map at all.

    kind: the polynomial chosen. n: samples held out.
    """

    kind: str
    n: int
    mean: float
    p95: float
    no_map_mean: float
    no_map_p95: float


def fit_map(samples: Samples, kind: str, *, steps: int = 150) -> ColourMap:
    """Return the colour map of one kind that fits the samples, without spread.

    Minimises a pseudo-Huber distance in L*a*b* whose chroma counts less the stronger the colour is, as in CIE94, so that a
    few bad cells and the strongest colours do not rule the fit.

    Raises: CalibrationError if the fit does not come to finite numbers.
    """
    digital, seen = torch.from_numpy(samples.digital).double(), torch.from_numpy(samples.seen).double()
    weight = torch.from_numpy(samples.weight).double()
    weight = weight / weight.sum()
    terms = exponents(kind)
    target = srgb_to_lab(seen)
    chroma = target[:, 1:].norm(dim=1, keepdim=True)
    scale = torch.cat([torch.ones_like(chroma), 1 + 0.03 * chroma, 1 + 0.03 * chroma], 1)
    start_in, start_out = (
        srgb_to_linear(torch.linspace(0, 1, KNOTS_IN)[:, None].expand(-1, 3)).T,
        linear_to_srgb(torch.linspace(0, 1, KNOTS_OUT)[:, None].expand(-1, 3)).T,
    )
    rises_in = _unsoftplus(start_in.diff()).double().contiguous().requires_grad_()
    rises_out = _unsoftplus(start_out.diff()).double().contiguous().requires_grad_()
    floor_out = torch.zeros(3, 1, dtype=torch.float64, requires_grad=True)
    weights = _start_weights(srgb_to_linear(digital), srgb_to_linear(seen), weight, terms).requires_grad_()

    def curves() -> tuple[torch.Tensor, torch.Tensor]:
        rise_in = softplus(rises_in)
        # The input curve runs from 0 to 1: the polynomial has the scale, and one of them must be fixed.
        curve_in = torch.cat([torch.zeros(3, 1).double(), rise_in.cumsum(1) / rise_in.sum(1, keepdim=True)], 1)
        return curve_in, torch.cat([floor_out, floor_out + softplus(rises_out).cumsum(1)], 1)

    def loss() -> torch.Tensor:
        curve_in, curve_out = curves()
        mixed = polynomial(interpolate(curve_in, digital), terms) @ weights.T
        shown = interpolate(curve_out, mixed)
        off = (srgb_to_lab(shown) - target) / scale
        robust = (((off**2).sum(1) / 9 + 1).sqrt() - 1) * 9
        # Colours beyond the output curve's ends would have no gradient; smooth curves carry over to unseen colours.
        beyond = (mixed - mixed.clamp(0, 1)).abs().mean() + (shown - shown.clamp(0, 1)).abs().mean()
        bend = curve_in.diff(n=2).square().mean() + curve_out.diff(n=2).square().mean()
        large = (weights[:, 4:] ** 2).mean() if len(terms) > 4 else torch.zeros(())
        return (robust * weight).sum() + 50 * beyond + 20 * bend + 0.02 * large

    _minimise(loss, [rises_in, rises_out, floor_out, weights], steps)
    with torch.no_grad():
        curve_in, curve_out = curves()
    zero = torch.zeros(3, 3)
    fields = (curve_in.float(), weights.detach().float(), curve_out.float())
    if not all(torch.isfinite(f).all() for f in fields):
        raise CalibrationError("the colour fit did not come to a result; photograph the chart again, in even light")
    return ColourMap(fields[0], tuple(terms), fields[1], fields[2], zero, zero.clone())


def choose(samples: Samples, *, folds: int, seed: int) -> str:
    """Return the kind of polynomial for these samples: more terms only where the cross-validated error falls by it."""
    part = split_groups(samples.group, folds, seed)
    best, best_error = KINDS[0], np.inf
    for kind in KINDS:
        if len(np.unique(samples.digital.round(2), axis=0)) < 3 * len(exponents(kind)):
            break
        errors = []
        for fold in range(folds):
            model = fit_map(samples.pick(part != fold), kind, steps=80)
            errors.append(differences(model, samples.pick(part == fold)))
        error = float(np.concatenate(errors).mean())
        if error < best_error * (1 - WORTH):
            best, best_error = kind, error
    return best


def split_groups(
    group: np.ndarray[tuple[int], np.dtype[np.int64]], folds: int, seed: int
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return which fold (0 to folds - 1) each sample is in; a group is wholly in one."""
    names, index = np.unique(group, return_inverse=True)
    fold = np.random.default_rng(seed).permutation(len(names)) % folds
    return fold[index].astype(np.int64)


def held_out(group: np.ndarray[tuple[int], np.dtype[np.int64]], *, seed: int) -> BoolArray:
    """Return the (n,) mask of samples that are held out: those of a quarter of the groups, at least one."""
    return split_groups(group, min(4, max(len(np.unique(group)), 1)), seed) == 0


def differences(model: ColourMap | None, samples: Samples) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the (n,) dE2000 between what the map says and what was seen; without a map, of the digital colours."""
    shown = samples.digital if model is None else _shown(model, samples)
    return srgb_difference(shown, samples.seen)


def hold_out(samples: Samples, *, seed: int = 0) -> tuple[HeldOut, ColourMap]:
    """Return the error on held-out groups, and the map refitted on everything with the spread found on the held-out.

    The kind is chosen within the rest by cross-validation; held-out samples influence nothing that is reported.

    Raises: CalibrationError if there are too few samples or groups to hold some out.
    """
    groups = len(np.unique(samples.group))
    if groups < 3 or len(samples) < 24:
        raise CalibrationError(
            f"too few colours to fit and to check: expected 24 or more in 3 groups, got {len(samples)} in {groups}"
        )
    away = held_out(samples.group, seed=seed)
    rest, out = samples.pick(~away), samples.pick(away)
    kind = choose(rest, folds=min(4, len(np.unique(rest.group))), seed=seed + 1)
    check = fit_map(rest, kind)
    errors, plain = differences(check, out), differences(None, out)
    held = HeldOut(
        kind,
        len(out),
        float(errors.mean()),
        float(np.percentile(errors, 95)),
        float(plain.mean()),
        float(np.percentile(plain, 95)),
    )
    whole = fit_map(samples, kind)
    return held, _with_spread(whole, check, out, samples)


def _with_spread(model: ColourMap, check: ColourMap, out: Samples, samples: Samples) -> ColourMap:
    """Return the map with the covariance of held-out residuals, and of each photograph's mean residual."""
    residual = out.seen - _shown(check, out)
    # One percent at each side is bad cells, not spread.
    low, high = np.percentile(residual, [1, 99], axis=0)
    residual = np.clip(residual, low, high)
    covariance = np.cov(residual.T) if len(residual) > 3 else np.zeros((3, 3))
    photos = np.unique(samples.photo)
    shift = np.zeros((3, 3))
    if len(photos) > 1:
        left = samples.seen - _shown(model, samples)
        shift = np.cov(np.stack([left[samples.photo == p].mean(0) for p in photos]).T)
    return ColourMap(
        model.curve_in,
        model.terms,
        model.weights,
        model.curve_out,
        torch.from_numpy(covariance).float(),
        torch.from_numpy(shift).float(),
    )


def _shown(model: ColourMap, samples: Samples) -> Float32Array:
    with torch.inference_mode():
        return model.colours(torch.from_numpy(samples.digital)).clamp(0, 1).numpy()


def _unsoftplus(value: torch.Tensor) -> torch.Tensor:
    return torch.log(torch.expm1(value.clamp_min(1e-4)))


def _start_weights(
    digital: torch.Tensor, seen: torch.Tensor, weight: torch.Tensor, terms: list[tuple[int, int, int]]
) -> torch.Tensor:
    """Return (3, t) weights of the affine part by least squares in linear light, zero elsewhere."""
    affine = [i for i, t in enumerate(terms) if sum(t) <= 1]
    features = polynomial(digital, [terms[i] for i in affine]) * weight[:, None].sqrt()
    ridge = 1e-4 * torch.eye(len(affine), dtype=torch.float64)
    solved = torch.linalg.solve(features.T @ features + ridge, features.T @ (seen * weight[:, None].sqrt()))
    out = torch.zeros(3, len(terms), dtype=torch.float64)
    out[:, affine] = solved.T
    return out


def _minimise(loss: Callable[[], torch.Tensor], parameters: list[torch.Tensor], steps: int) -> None:
    optimiser = torch.optim.LBFGS(
        parameters, max_iter=steps, history_size=20, line_search_fn="strong_wolfe", tolerance_change=1e-7
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(closure)  # type: ignore[no-untyped-call]
