"""Patches scored on labelled images or recordings: `physadv.evaluate(patches, data, ...)` is the one call.

The package itself can be called: the import of any of its modules makes it the attribute `evaluate` of `physadv`, where the
function is expected as well.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from physadv.evaluate.adaptive import AdaptiveAttack
    from physadv.evaluate.results import Results
    from physadv.evaluate.run import Conditions, Data, DefencesGiven, Detectors, Patches, Update
    from physadv.evaluate.settings import EvaluateSettings

__all__ = ["evaluate", "evaluation"]


def evaluate(
    patches: Patches = (),
    data: Data = (),
    detectors: Detectors | None = None,
    defences: DefencesGiven = (),
    conditions: Conditions = (),
    *,
    settings: EvaluateSettings | None = None,
    labels: Path | str | None = None,
    held_out: bool = False,
    adaptive: AdaptiveAttack | None = None,
    certify: bool = False,
    clean_video: Path | str | None = None,
    curve: str | None = None,
    progress: Callable[[Update], None] | None = None,
) -> Results:
    """Return the cells of patches, their controls and nothing at all, before every detector and behind every defence.

    patches: names, files, run folders or Patch objects, one or several. data: a folder of images or YOLO data set, labelled
    images, a video (with `every` and `wear_from`: a `physadv.evaluate.video.Recording`), or recordings to compare
    (`physadv.evaluate.pairs.Pairs`). detectors: names, paths, or
    detectors as they are, each at its own size; the embedded one unless given. defences: one or several, as `physadv live
    --defend` has them, each scored. conditions: "robust" for the fixed grid of 16, "folds" for those of tall prints, or
    conditions of your own. labels: folder of YOLO labels; where there are none the embedded detector labels. held_out:
    leave out images that any of the patches was trained on. adaptive: trains patterns through each defence, on images that
    are then not scored (`physadv.attack.adaptive.ThroughDefence`); of detectors by name or path. certify: also the
    certified recall of each defence that gives certificates. clean_video: each defence's false alarms on a video.
    curve: score over a whole condition instead (tilt, yaw, fold, distance, light or colour), on both its sides, and there
    what each defence notices. progress: called with every step.

    Raises: PhysadvError for anything that cannot be read or does not go together.
    """
    results = None
    options: dict[str, Any] = {"settings": settings, "labels": labels, "held_out": held_out, "adaptive": adaptive}
    options |= {"certify": certify, "clean_video": clean_video, "curve": curve}
    for update in evaluation(patches, data, detectors, defences, conditions, **options):
        results = update.results
        if progress is not None:
            progress(update)
    assert results is not None, "an evaluation says at least that it is finished"
    return results


def evaluation(
    patches: Patches = (),
    data: Data = (),
    detectors: Detectors | None = None,
    defences: DefencesGiven = (),
    conditions: Conditions = (),
    **options: Any,
) -> Iterator[Update]:
    """Yield how far an evaluation is, step by step, with the results so far; arguments as of `evaluate`.

    Leave the loop whenever you like: the results of the last step stay.

    Raises: PhysadvError as `evaluate` does.
    """
    from physadv.detect.weights import DEFAULT_DETECTOR
    from physadv.evaluate.run import start

    return start(patches, data, detectors or DEFAULT_DETECTOR, defences, conditions, **options)


class _CallablePackage(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Results:
        """Return what `evaluate` returns."""
        return evaluate(*args, **options)


sys.modules[__name__].__class__ = _CallablePackage
