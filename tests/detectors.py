"""Bases of the detectors that tests make up: they offer all that a detector offers, and find what a test says."""

from abc import ABC

from physadv.detect.base import BareDetector
from physadv.detect.gradients import BareGradient


class FakeDetector(BareDetector, ABC):
    """Subclasses write `detect_batch`."""

    name = "fake"
    backend = "none"


class FakeGradient(BareGradient, ABC):
    """Subclasses write `candidates`."""

    name = "fake"
