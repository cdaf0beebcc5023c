"""Long work as generators: each yields how far it is and returns its result, so that the caller shows, stops or waits."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")
# Yields (share done from 0 to 1 or None where that cannot be known, what is done now) and returns the result.
Steps = Generator[tuple[float | None, str], None, T]


def finish(steps: Generator[S, None, T], each: Callable[[S], object] = lambda _: None) -> T:
    """Return the result of work. each: takes whatever it yields."""
    while True:
        try:
            each(next(steps))
        except StopIteration as end:
            return end.value


def part_of(steps: Steps[T], number: int, count: int, what: str = "") -> Steps[T]:
    """Return the steps of part `number` of `count` equal ones, as steps of the whole. what: said before each."""
    while True:
        try:
            share, now = next(steps)
        except StopIteration as end:
            return end.value
        yield (number + (share or 0.0)) / count, ", ".join(filter(None, [what, now]))
