"""Defences of others: found by the name that an installed package declares, and checked at each answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
import torch

from physadv import plugins
from physadv.defend.base import Defence, Guarded
from physadv.detect.gradients import WrappedGradient, checked_candidates
from physadv.errors import PhysadvError, PluginError
from physadv.types import Candidates, Detections, Frame, GradientDetector, UInt8Array

T = TypeVar("T")


# Classes that packages declare, as far as they were loaded.
_LOADED: set[type[Defence]] = set()


def is_plugin(defence: Defence) -> bool:
    """Return whether a defence is one that another package declares."""
    return type(defence) in _LOADED


def plugin_defences(names: Iterable[str]) -> dict[str, type[Defence]]:
    """Return the defences of others by these names; what no package declares is left out.

    Raises: PluginError for one that cannot be loaded, or is no defence.
    """
    found = {name: plugins.reference_of(plugins.DEFENCES, name, field="defend") for name in names}
    return {name: _checked(name, reference) for name, reference in found.items() if reference is not None}


def _checked(name: str, reference: str) -> type[Defence]:
    """Return a class that is a defence.

    Raises: PluginError if it is none.
    """
    found = plugins.load(reference, field="defend")
    if not (isinstance(found, type) and issubclass(found, Defence)):
        got = f"{reference}, {type(found).__name__}"
        raise PluginError(name, field="defend", expected="a subclass of physadv.defend.Defence", got=got)
    missing = [part for part in ("name", "title", "cost", "paper") if not isinstance(getattr(found, part, None), str)]
    if missing or found.name != name:
        raise PluginError(
            reference,
            field="defend",
            expected=f"a class with texts name (here {name!r}), title, cost and paper",
            got=f"none of {', '.join(missing)}" if missing else f"the name {found.name!r}",
        )
    _LOADED.add(found)
    return found


class CheckedGuard(Guarded[Defence]):
    """A detector behind a defence of others, `inner`: an error in it, or a wrong answer, is one line with its name."""

    def ahead(self, frame: Frame) -> Frame | None:
        """Return what the detector will be asked about a frame that comes soon, as the defence says."""
        return self.inner.ahead(frame) if isinstance(self.inner, Guarded) else None

    def respond(self, frame: Frame) -> Detections:
        """Return the defended answer for one frame.

        Raises: PluginError if the defence fails, or answers wrongly.
        """
        return self._checked(self._run(lambda: self.ask(frame)))

    def respond_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        """Return the defended answer for each (h, w, 3) uint8 RGB image of one common size.

        Raises: PluginError if the defence fails, or answers wrongly.
        """
        answers = self._run(lambda: self.ask_batch(images))
        if not isinstance(answers, list) or len(answers) != len(images):
            raise self._wrong(f"a list of {len(images)} answers", type(answers).__name__)
        return [self._checked(answer) for answer in answers]

    def _run(self, task: Callable[[], T]) -> T:
        try:
            return task()
        except PhysadvError:
            raise
        except Exception as error:  # the code of others fails in many ways
            raise PluginError(f"the defence {self.defence.name} failed ({plugins.short(error)})") from error

    def _checked(self, answer: object) -> Detections:
        if not isinstance(answer, Detections):
            raise self._wrong("Detections", type(answer).__name__)
        if not (np.isfinite(answer.xyxy).all() and np.isfinite(answer.score).all()):
            raise self._wrong("finite boxes and scores", "NaN or infinity")
        return answer

    def _wrong(self, expected: str, got: str) -> PluginError:
        return PluginError(f"the defence {self.defence.name} answered wrongly", expected=expected, got=got)


class CheckedTwin(WrappedGradient):
    """The twin of a defence of others: what it returns is checked before anything is learned from it."""

    def __init__(self, name: str, twin: GradientDetector) -> None:
        super().__init__(twin)
        self.defence_name = name

    def candidates(self, images: torch.Tensor) -> Candidates:
        """Return candidates for images (b, 3, h, w) in [0, 1], RGB.

        Raises: PluginError if the defence fails, or answers wrongly.
        """
        what = f"the twin of the defence {self.defence_name}"
        try:
            found = self.inner.candidates(images)
        except PhysadvError:
            raise
        except Exception as error:  # the code of others fails in many ways
            raise PluginError(f"{what} failed ({plugins.short(error)})") from error
        return found if found.head is not None else checked_candidates(what, (found.logit, found.xyxy), images)
