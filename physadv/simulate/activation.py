"""When a pattern acts: an expression over parameters of the simulated world, and values drawn on either side of it.

`upright`, `tilt:0-15`, `unfolded`, `near:2`, `far:4`, `light:bright`, `colour:warm`, or a comparison (`geometry.tilt<15`);
several between commas must all hold. `simulate.states` shows people in such a state; `simulate.conditions` is another
thing, the fixed grid that a robust pattern withstands. NumPy alone: settings are read without PyTorch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from physadv.errors import SettingsError
from physadv.types import BoolArray, Float32Array

# A union of closed intervals, in order.
Ranges = tuple[tuple[float, float], ...]
# What may be, by parameter; a parameter that is not named is free.
State = Mapping[str, Ranges]
# Share of the views that are drawn right at the border of a state, and what part of its intervals counts as that: views
# drawn evenly hardly ever show a switch where it has to decide. Source: Zhu et al. 2023 (TPatch), negatives on both sides.
AT_BORDER, BORDER = 0.25, 0.1
# Narrower intervals are no condition that anybody can hold.
NARROWEST = 1e-3


@dataclass(frozen=True, slots=True)
class WorldParameter:
    """One thing in a view that a pattern's condition can be about.

    part: the transform of the simulated world that it belongs to. unit: "" for a number without. low, high: what can be
    shown. magnitude: whether expressions speak of how far it is from 0, either way. gap: unless `otherwise` is given, what
    lies so near to the active side is neither: nobody is gone at 15 degrees and there at 16. points: where a curve is
    measured. words: names of intervals. about: what it is, for people.
    """

    name: str
    part: str
    unit: str
    low: float
    high: float
    magnitude: bool
    gap: float
    points: tuple[Ranges, ...]
    about: str
    words: Mapping[str, tuple[float, float]]

    def ranges(self, low: float, high: float) -> Ranges:
        """Return where the parameter is from `low` to `high`, both ways of one whose magnitude counts."""
        if not self.magnitude:
            return ((low, high),)
        return ((-high, high),) if low <= 0 else ((-high, -low), (low, high))

    @property
    def whole(self) -> Ranges:
        """Return everything that can be shown."""
        return self.ranges(0 if self.magnitude else self.low, self.high)

    def beyond(self, low: float, high: float) -> Ranges:
        """Return what is neither between `low` and `high` nor within the gap around; of a magnitude both ways."""
        least = 0.0 if self.magnitude else self.low
        below = low / self.gap if self.name == "distance" else low - self.gap
        above = high * self.gap if self.name == "distance" else high + self.gap
        out = [self.ranges(least, below)] if below > least else []
        out += [self.ranges(above, self.high)] if above < self.high else []
        return tuple(sorted(interval for ranges in out for interval in ranges))

    def label(self, ranges: Ranges) -> str:
        """Return a point or an interval as tables call it."""
        low, high = ranges[-1]
        if self.magnitude and len(ranges) == 1 and low < 0 < high:
            low = 0.0
        return " ".join(filter(None, [self.name, f"{low:g}" if low == high else f"{low:g} to {high:g}", self.unit]))


def _both(*values: float) -> tuple[Ranges, ...]:
    return tuple(((-v, -v), (v, v)) if v else ((0.0, 0.0),) for v in values)


def _one(*values: float) -> tuple[Ranges, ...]:
    return tuple(((v, v),) for v in values)


PARAMETERS: dict[str, WorldParameter] = {
    p.name: p
    for p in (
        WorldParameter(
            "tilt", "geometry", "degrees", 0, 180, True, 45,
            _both(0, 7, 15, 25, 35, 50, 70, 90, 120, 150, 180), "turn of the print on its wearer", {},
        ),
        WorldParameter(
            "yaw", "geometry", "degrees", 0, 60, True, 15,
            _both(0, 10, 20, 30, 40, 50, 60), "turn of the print about the vertical, away from the camera", {},
        ),
        WorldParameter(
            "fold", "geometry", "", 0, 0.5, True, 0.3125,
            _one(-0.5, -0.25, 0, 0.25, 0.5), "share of the print folded away, its right half at .5, its left at -.5",
            {"half": (0.375, 0.5)},
        ),
        WorldParameter(
            "distance", "camera", "m", 1.4, 10, False, 1.6,
            _one(1.5, 2, 2.5, 3, 4, 5, 6, 8, 10), "distance from the camera", {},
        ),
        WorldParameter(
            "light", "light", "", 0.25, 1.25, False, 0.3,
            _one(0.25, 0.4, 0.55, 0.7, 0.85, 1, 1.2), "brightness of the whole image, 1 as photographed",
            {"bright": (0.85, 1.25), "dark": (0.25, 0.45)},
        ),
        WorldParameter(
            "colour", "light", "", -1, 1, False, 0.4,
            _one(-1, -0.5, 0, 0.5, 1), "light from -1, skylight, to 1, a filament lamp, without a white balance",
            {"warm": (0.5, 1), "cool": (-1, -0.5)},
        ),
    )
}  # fmt: skip
# Whole expressions by a word.
WORDS = {"upright": ("tilt", 0.0, 15.0), "unfolded": ("fold", 0.0, 0.0625)}
NUMBER = r"-?(?:\d+(?:\.\d*)?|\.\d+)"
RANGE = re.compile(rf"({NUMBER})\s*(?:-|\.\.)\s*({NUMBER})")
COMPARED = re.compile(rf"(?:([a-z]+)\.)?([a-z]+)\s*(<=|>=|<|>)\s*({NUMBER})")
GRAMMAR = "upright, unfolded, near:METRES, far:METRES, NAME:LOW-HIGH, NAME:WORD or NAME<NUMBER"


@dataclass(frozen=True, slots=True)
class Activation:
    """When a pattern acts, and when it must not.

    when, otherwise: the expressions. active: what must be for it to act. dormant: states in any one of which its wearer
    must stay seen. What is in neither belongs to no side.
    """

    when: str
    otherwise: str
    active: State
    dormant: tuple[State, ...]

    @classmethod
    def of(cls, when: str, otherwise: str | None = None) -> Activation:
        """Return the condition of an expression.

        otherwise: when it must not act; unless given, whenever `when` is clearly not so, by `WorldParameter.gap`.

        Raises: SettingsError if an expression cannot be read, contradicts itself or the other one, or no view can meet it.
        """
        active = _state(when, "when")
        if otherwise is not None:
            dormant: tuple[State, ...] = (_state(otherwise, "otherwise"),)
        else:
            dormant = tuple({name: beyond} for name in active if (beyond := _complement(name, active[name])))
        if not dormant:
            raise SettingsError(
                field="when",
                expected="a condition that some views do not meet",
                got=repr(when),
                hint="narrow it, or say by `otherwise` when the pattern must not act",
            )
        for state in dormant:
            _check_apart(active, state)
        return cls(when, "" if otherwise is None else otherwise, active, dormant)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Return the names of the parameters that it is about."""
        return tuple(dict.fromkeys(name for state in (self.active, *self.dormant) for name in state))

    def draw(self, acts: BoolArray, rng: np.random.Generator) -> dict[str, Float32Array]:
        """Return (n,) values of each parameter, for views in which the pattern acts, (n,), and for the others."""
        n = len(acts)
        which = rng.integers(len(self.dormant), size=n)
        out = {}
        for name in self.parameters:
            whole = PARAMETERS[name].whole
            on = self.active.get(name, whole)
            values = drawn(on, _others(name, self.dormant), n, rng)
            for number, state in enumerate(self.dormant):
                off = drawn(state.get(name, whole), self.active.get(name, ()), n, rng)
                values = np.where(~acts & (which == number), off, values)
            out[name] = (np.round(values * 16) / 16 if name == "fold" else values).astype(np.float32)
        return out

    def sides(self, values: Mapping[str, Float32Array]) -> Float32Array:
        """Return (n,) 1 where the pattern acts, -1 where it must not, 0 where neither, for values of every parameter."""
        on = _within(self.active, values)
        off = np.any([_within(state, values) for state in self.dormant], axis=0)
        return np.where(on, 1, np.where(off, -1, 0)).astype(np.float32)

    def side(self, name: str, ranges: Ranges) -> str:
        """Return "active", "dormant" or "" for a point of one parameter of a curve."""
        value = {name: np.array([ranges[-1][0]], np.float32)}
        if name in self.active and bool(_within({name: self.active[name]}, value)[0]):
            return "active"
        states = [{name: state[name]} for state in self.dormant if name in state]
        return "dormant" if any(bool(_within(state, value)[0]) for state in states) else ""

    def side_now(self, values: Mapping[str, float]) -> str:
        """Return "active", "dormant" or "" for one view; what is not known of it fits neither side."""
        known = {name: np.array([value], np.float32) for name, value in values.items()}

        def holds(state: State) -> bool:
            return state.keys() <= known.keys() and bool(_within(state, known)[0])

        return "active" if holds(self.active) else "dormant" if any(map(holds, self.dormant)) else ""

    @property
    def text(self) -> str:
        """Return it in words."""
        return f"acts when {self.when}" + (f", not when {self.otherwise}" if self.otherwise else "")


def drawn(ranges: Ranges, others: Ranges, n: int, rng: np.random.Generator) -> Float32Array:
    """Return (n,) values from a union of intervals, some of them at the end that is nearest to the other side."""
    bounds = np.array(ranges, np.float64)
    length = bounds[:, 1] - bounds[:, 0]
    total = length.sum()
    picked = rng.choice(len(bounds), n, p=length / total if total > 0 else None)
    low, high = bounds[picked].T
    values = rng.uniform(low, high)
    edge = rng.random(n) < AT_BORDER
    inward = rng.random(n) * BORDER * (high - low)
    if others:
        ends = np.array(others, np.float64).ravel()
        to_low, to_high = (np.abs(end[:, None] - ends).min(1) for end in (low, high))
        # Both ends of an interval around 0 are borders.
        at_low = np.where(np.isclose(to_low, to_high), rng.random(n) < 0.5, to_low < to_high)
        values = np.where(edge, np.where(at_low, low + inward, high - inward), values)
    return values.astype(np.float32)


def _others(name: str, states: Iterable[State]) -> Ranges:
    return tuple(interval for state in states for interval in state.get(name, ()))


def _within(state: State, values: Mapping[str, Float32Array]) -> BoolArray:
    """Return (n,) whether values lie in every interval that a state names."""
    n = len(next(iter(values.values())))
    inside = np.ones(n, bool)
    for name, ranges in state.items():
        value = values[name]
        inside &= np.any([(value >= low - 1e-4) & (value <= high + 1e-4) for low, high in ranges], axis=0)
    return inside


def _complement(name: str, ranges: Ranges) -> Ranges:
    parameter = PARAMETERS[name]
    low, high = ranges[-1]
    if parameter.magnitude:
        low = max(low, 0.0) if len(ranges) > 1 else 0.0
    return parameter.beyond(low, high)


def _state(text: str, field: str) -> State:
    """Return what an expression asks for.

    Raises: SettingsError as `Activation.of` does.
    """
    terms = [t.strip() for t in re.split(r",|\band\b", text.strip().lower())]
    if not any(terms):
        raise SettingsError(field=field, expected=GRAMMAR, got="nothing")
    out: dict[str, Ranges] = {}
    for term in filter(None, terms):
        name, low, high = _term(term, field)
        parameter = PARAMETERS[name]
        least = 0.0 if parameter.magnitude else parameter.low
        if low > high or high < least or low > parameter.high:
            raise SettingsError(
                f"no view can meet {term!r}",
                field=field,
                expected=f"{name} within {least:g} to {parameter.high:g} {parameter.unit}".strip(),
            )
        new = parameter.ranges(max(low, least), min(high, parameter.high))
        before = out.get(name)
        both = new if before is None else _meet(before, new)
        if not both:
            raise SettingsError(f"{text!r} contradicts itself: {name} cannot be both", field=field)
        if sum(b - a for a, b in both) < NARROWEST:
            raise SettingsError(
                field=field, expected=f"a range of {name}", got=f"{term!r}, a single value that no view meets exactly"
            )
        out[name] = both
    return out


def _term(term: str, field: str) -> tuple[str, float, float]:
    """Return the parameter of one term, and the least and the most that it may be."""
    if term in WORDS:
        return WORDS[term]
    if match := COMPARED.fullmatch(term):
        part, name, sign, number = match.groups()
        parameter = _parameter(name, term, field, part=part)
        return (name, parameter.low, float(number)) if "<" in sign else (name, float(number), parameter.high)
    name, colon, value = (t.strip() for t in term.partition(":"))
    part, dot, short = name.rpartition(".")
    if colon and name in ("near", "far") and re.fullmatch(rf"{NUMBER}\s*m?", value):
        metres, whole = float(value.rstrip("m ")), PARAMETERS["distance"]
        return ("distance", whole.low, metres) if name == "near" else ("distance", metres, whole.high)
    if colon and name not in ("near", "far"):
        parameter = _parameter(short, term, field, part=part if dot else None)
        if value in parameter.words:
            return (short, *parameter.words[value])
        if match := RANGE.fullmatch(value):
            return short, float(match[1]), float(match[2])
        words = ", ".join(f"{short}:{word}" for word in parameter.words)
        raise SettingsError(
            field=field, expected=" or ".join(filter(None, [f"{short}:LOW-HIGH", words])), got=repr(term)
        )
    raise SettingsError(field=field, expected=GRAMMAR, got=repr(term))


def _parameter(name: str, term: str, field: str, *, part: str | None) -> WorldParameter:
    parameter = PARAMETERS.get(name)
    if parameter is None or (part is not None and part != parameter.part):
        known = ", ".join(f"{p.part}.{p.name}" for p in PARAMETERS.values())
        raise SettingsError(field=field, expected=f"a parameter of the simulated world: {known}", got=repr(term))
    return parameter


def _meet(a: Ranges, b: Ranges) -> Ranges:
    both = (((max(p[0], q[0]), min(p[1], q[1]))) for p, q in product(a, b))
    return tuple(sorted((low, high) for low, high in both if low <= high))


def _check_apart(active: State, dormant: State) -> None:
    """Raise SettingsError if some view is in both states."""
    names = {*active, *dormant}
    shared = {n: _meet(active.get(n, PARAMETERS[n].whole), dormant.get(n, PARAMETERS[n].whole)) for n in names}
    if all(shared.values()):
        said = " and ".join(PARAMETERS[n].label(shared[n]) for n in sorted(names))
        raise SettingsError(
            f"contradicts `when`: both hold at {said}",
            field="otherwise",
            expected="views in which `when` does not hold",
        )
