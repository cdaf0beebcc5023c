"""Attack, defend and demonstrate a camera's person detector in the physical world.

In a notebook:

    import physadv

    patch = physadv.train("photographs", minutes=5)         # or physadv.load_patch("webcam")
    results = physadv.evaluate(patch, "photographs", defences=["balanced"], held_out=True)
    print(results.table().markdown())
    results.report("evaluation")
    detector = physadv.guard(physadv.load_detector(), "erase", "persistence")
    people = detector.detect_batch([physadv.read_image("photographs/1.jpg")])[0]

`help(physadv.evaluate)` has the arguments of `evaluate`, and of `evaluate.evaluation`, which yields its progress.
The command line, `physadv --help`, does the same and more: camera demo, printing, calibration.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from physadv.version import __version__ as __version__

if TYPE_CHECKING:
    from physadv.arrays import read_image as read_image
    from physadv.attack import train as train
    from physadv.capture import open_source as open_source
    from physadv.dataset import LabelledImage as LabelledImage
    from physadv.defend import Defence, Pipeline
    from physadv.detect import load_detector as load_detector
    from physadv.errors import PhysadvError as PhysadvError
    from physadv.evaluate import evaluate as evaluate
    from physadv.patch import Patch as Patch
    from physadv.patch import load_patch as load_patch
    from physadv.patch import save_patch as save_patch
    from physadv.types import Detections as Detections
    from physadv.types import Detector
    from physadv.types import Frame as Frame

# Threads of torch's OpenMP that wait by spinning take the time of those that work as soon as anything else runs on the
# machine: with one of two cores taken, `evaluate` of 20 photographs took more than 90 s, and takes 24 s since (13 s idle).
# Read when torch is loaded, so set before that by whatever imports physadv first.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Where each name lies. It is imported when it is first asked for, so that `import physadv` takes milliseconds.
_HOMES = {
    "load_detector": "physadv.detect",
    "train": "physadv.attack",
    "evaluate": "physadv.evaluate",
    "load_patch": "physadv.patch",
    "save_patch": "physadv.patch",
    "read_image": "physadv.arrays",
    "open_source": "physadv.capture",
    "Patch": "physadv.patch",
    "LabelledImage": "physadv.dataset",
    "Frame": "physadv.types",
    "Detections": "physadv.types",
    "PhysadvError": "physadv.errors",
}
__all__ = [*_HOMES, "guard"]


def guard(detector: Detector, *defences: str | Pipeline | Defence) -> Detector:
    """Return a detector behind defences: again a detector, whose answers they change.

    defences: each as `physadv live --defend` takes it ("lgs:threshold=.1", "balanced"), or as an object. Those that change
    images run in the order given; those that compare answers come outside all of them.

    Raises: DefenceError if a defence is not known, cannot work with this detector, or is named twice.
    """
    from physadv.defend import Pipeline, parse_pipeline

    chosen: list[Defence] = []
    for defence in defences:
        pipeline = parse_pipeline(defence) if isinstance(defence, str) else defence
        chosen += pipeline.defences if isinstance(pipeline, Pipeline) else (pipeline,)
    return Pipeline(tuple(chosen)).guard(detector)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'physadv' has no attribute {name!r}")
    home = import_module(_HOMES[name])
    # `evaluate` is a package that can be called: to import any of its modules makes it the attribute of that name.
    value = home if home.__name__ == f"physadv.{name}" else getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
