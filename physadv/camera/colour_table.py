"""The colour map of a printer as plain values: what a profile holds, checked without torch."""

from __future__ import annotations

import itertools
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from physadv.errors import CalibrationError
from physadv.settings import Settings

KINDS = ("affine", "multilinear", "quadratic", "cubic")
MAX_KNOTS = 65
MAX_DEGREE = 4
Value = Annotated[float, Field(ge=-1e3, le=1e3)]
Covariance = Annotated[
    list[Annotated[list[Value], Field(min_length=3, max_length=3)]], Field(min_length=3, max_length=3)
]
Curves = Annotated[
    list[Annotated[list[Value], Field(min_length=2, max_length=MAX_KNOTS)]], Field(min_length=3, max_length=3)
]
Powers = Annotated[list[Annotated[int, Field(ge=0, le=MAX_DEGREE)]], Field(min_length=3, max_length=3)]


def exponents(kind: str) -> list[tuple[int, int, int]]:
    """Return the powers of (red, green, blue) of each term of a polynomial.

    kind: "affine", "multilinear" (products of different channels: what overprinted dots mix, Neugebauer), "quadratic" or
    "cubic" (multilinear terms included).

    Raises: CalibrationError for another kind.
    """
    limits = {"affine": (1, 1), "multilinear": (3, 1), "quadratic": (2, 2), "cubic": (3, 3)}
    if kind not in limits:
        raise CalibrationError(f"polynomial: expected one of {', '.join(limits)}, got {kind!r}")
    total, each = limits[kind]
    powers = range(each + 1)
    terms = [(i, j, k) for i, j, k in itertools.product(powers, powers, powers) if i + j + k <= total]
    return sorted(terms, key=lambda p: (sum(p), p))


class ColourTable(Settings):
    """A colour map as plain values; see `ColourMap`, which is made of it."""

    curve_in: Curves
    terms: Annotated[list[Powers], Field(min_length=1, max_length=64)]
    weights: Annotated[list[Annotated[list[Value], Field(max_length=64)]], Field(min_length=3, max_length=3)]
    curve_out: Curves
    covariance: Covariance
    shift_covariance: Covariance

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        for name, rows in (("curve_in", self.curve_in), ("curve_out", self.curve_out), ("weights", self.weights)):
            if len({len(row) for row in rows}) > 1:
                raise ValueError(
                    f"{name}: expected three rows of one length, got {', '.join(str(len(r)) for r in rows)}"
                )
            if name != "weights" and any(b - a < -1e-6 for row in rows for a, b in itertools.pairwise(row)):
                raise ValueError(f"{name}: expected curves that never fall")
        if len(self.weights[0]) != len(self.terms):
            raise ValueError(f"weights: expected one for each of {len(self.terms)} terms, got {len(self.weights[0])}")
        for name, rows in (("covariance", self.covariance), ("shift_covariance", self.shift_covariance)):
            square = np.array(rows)
            if not np.allclose(square, square.T, atol=1e-8) or np.linalg.eigvalsh(square).min() < -1e-6:
                raise ValueError(f"{name}: expected a covariance (symmetric, not negative)")
        return self
