"""The old form of a verb, until all are functions: a model with a method `run`."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from physadv.settings import Settings


class Command(Settings):
    """A verb: its fields are its flags. examples: lines to type that work."""

    examples: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def run(self) -> int:
        """Do the work and return the exit code."""
