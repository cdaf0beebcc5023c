"""What a sweep varies: a field of the training's settings, and the values that it may have."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from physadv.attack.settings import TrainSettings
from physadv.errors import SettingsError, did_you_mean
from physadv.settings import parse

# Fields that decide who is held out, or how they are scored: figures of two trials would not be of the same people.
FIXED = (
    *("images", "labels", "source", "seconds", "out", "resume", "held_out", "seed", "detector", "framing"),
    *("threads", "device", "camera", "printer"),
)


@dataclass(frozen=True, slots=True)
class Varied:
    """A field, and its values: the choices as they are typed, or where there are none a range of numbers.

    whole: integers alone. log: as many values between .01 and .1 as between .1 and 1.
    """

    field: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    log: bool = False

    @classmethod
    def of(cls, text: str) -> Varied:
        """Return what a text like `lr=0.01:0.1:log` or `tv=1,2` varies; lists as values stand between semicolons.

        Raises: SettingsError for a field that is not known or has to stay, or values that cannot be.
        """
        name, equals, values = text.partition("=")
        name = name.strip().replace("-", "_")
        info = TrainSettings.model_fields.get(name)
        if not equals or not values.strip():
            raise SettingsError(field="vary", expected="FIELD=LOW:HIGH or FIELD=VALUE,VALUE", got=repr(text))
        if info is None:
            near = did_you_mean(name, list(TrainSettings.model_fields))
            raise SettingsError(f"unknown field {name!r} of a training{near}", field="vary")
        if name in FIXED:
            why = "it decides who is scored, or how: trials could not be compared"
            raise SettingsError(f"{name} is the same in all trials", field="vary", hint=why)
        kinds = set(_kinds(info.annotation))
        low, colon, rest = values.partition(":")
        if not colon or not kinds & {int, float}:
            choices = tuple(dict.fromkeys(part.strip() for part in values.split(";" if ";" in values else ",")))
            if len(choices) < 2 or not all(choices):
                raise SettingsError(f"{name}", field="vary", expected="two values or more", got=repr(values))
            return cls(name, choices)
        high, _, scale = rest.partition(":")
        whole = float not in kinds
        try:
            ends = [int(end) if whole else float(end) for end in (low, high)]
        except ValueError:
            ends = [0, 0]
        if not ends[0] < ends[1] or scale not in ("", "log") or (scale and ends[0] <= 0):
            numbers = "whole numbers" if whole else "numbers"
            expected = f"LOW:HIGH or LOW:HIGH:log, {numbers} with LOW < HIGH, for log above 0"
            raise SettingsError(f"{name}", field="vary", expected=expected, got=repr(values))
        return cls(name, (), ends[0], ends[1], whole, scale == "log")

    @property
    def ends(self) -> tuple[Any, ...]:
        """Return the values by which it is checked that a training takes them: all choices, or both ends."""
        return self.choices or ((int(self.low), int(self.high)) if self.whole else (self.low, self.high))

    def value_of(self, trial: Any) -> Any:
        """Return the value that a trial of Optuna gives it."""
        if self.choices:
            return trial.suggest_categorical(self.field, self.choices)
        if self.whole:
            return trial.suggest_int(self.field, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.field, self.low, self.high, log=self.log)


def read_varied(texts: Sequence[str]) -> list[Varied]:
    """Return what is varied.

    Raises: SettingsError if nothing is, a field is named twice, or as `Varied.of` does.
    """
    out = [Varied.of(text) for text in texts]
    names = [one.field for one in out]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SettingsError(field="vary", expected="each field once", got=f"{twice} twice")
    if not out:
        raise SettingsError(field="vary", expected="one field or more, as lr=0.01:0.1:log", got="none")
    return out


def combinations(varied: Sequence[Varied]) -> Iterator[dict[str, str]]:
    """Yield every combination of choices; none where something is varied over a range."""
    if all(one.choices for one in varied):
        names = [one.field for one in varied]
        yield from (dict(zip(names, values, strict=True)) for values in product(*(one.choices for one in varied)))


def count_combinations(varied: Sequence[Varied]) -> int:
    """Return how many combinations of choices there are, 0 where something is varied over a range."""
    return prod(len(one.choices) for one in varied)


def settings_of(base: dict[str, Any], values: dict[str, Any]) -> TrainSettings:
    """Return the settings of a trial: the fields that all share, and its own values.

    Raises: SettingsError for a value that a training does not take.
    """
    listed = {
        name: value.split(",") if isinstance(value, str) and _is_list(name) else value for name, value in values.items()
    }
    return parse(TrainSettings, {**base, **listed})


def _is_list(name: str) -> bool:
    kinds = set(_kinds(TrainSettings.model_fields[name].annotation))
    return bool(kinds & {list, tuple})


def _kinds(annotation: Any) -> list[Any]:
    """Return the types that a field may hold, without None."""
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return [kind for part in typing.get_args(annotation) for kind in _kinds(part)]
    if origin is typing.Annotated:
        return _kinds(typing.get_args(annotation)[0])
    return [] if annotation is type(None) else [origin or annotation]
