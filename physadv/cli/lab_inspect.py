"""`physadv lab inspect`: find poisoned images in a data set."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from physadv.cli.detectors import Trust, check_detectors, rounded_imgsz, trust_detectors
from physadv.cli.outputs import Overwrite, check_folder, check_own_folder, only_writer
from physadv.detect.weights import DEFAULT_DETECTOR
from physadv.settings import DetectorName, Folder, Groups, Positional
from physadv.tune.inspect import InspectSettings

EXAMPLES = (
    "physadv lab inspect data --detector poisoned --out suspects",
    "physadv lab inspect data --clean trusted --out suspects",
)
LABEL = "physadv lab inspect"


class LabInspectVerb(InspectSettings):
    """Which data set is inspected, by which detectors."""

    groups: ClassVar[Groups] = {
        "data": ("clean", "min_area"),
        "detectors": ("detector", "reference", "turned", "trust", "imgsz", "device"),
        "result": ("out", "overwrite", "seed"),
    }

    data: Positional[Folder] = Field(description="a YOLO data set: its folder, or its data.yaml")
    clean: Folder | None = Field(
        default=None, description="a data set that nobody tampered with: what is named in it are false alarms"
    )
    detector: DetectorName = Field(
        default=DEFAULT_DETECTOR,
        description="its features are clustered: best what was trained on the data; run folder, name or path",
    )
    reference: DetectorName = Field(
        default=DEFAULT_DETECTOR, description="clean detector that finds people that the labels lack"
    )
    out: Folder = Field(
        default=Path("inspection"), description="folder for the list, the contact sheet and the figures"
    )
    overwrite: Overwrite = False
    trust: Trust = False


def run(settings: LabInspectVerb) -> int:
    """List the images of a data set that look poisoned, with a contact sheet.

    Labels that a clean detector contradicts, activation clustering and spectral signatures. No threshold knows of poison;
    where the data set has a poison.json, it says how many poisoned images were found and how many were named wrongly.
    """
    from physadv.cli.console import show_results
    from physadv.cli.progress import ProgressBar
    from physadv.dataset import check_outside
    from physadv.detect import load_detector
    from physadv.detect.pytorch import TorchDetector, pick_device
    from physadv.detect.weights import find_weights
    from physadv.detect.yolo import load_net
    from physadv.evaluate.images import LABEL_IMGSZ
    from physadv.evaluate.settings import USUAL_IMGSZ
    from physadv.evaluate.steps import finish
    from physadv.tune.inspect import inspect
    from physadv.tune.origin import origin_of
    from physadv.tune.suspects import NAMES, tables, write_inspection

    check_folder("out", settings.out)
    check_own_folder("out", settings.out, NAMES, overwrite=settings.overwrite)
    check_outside("out", settings.out, [settings.data, *([settings.clean] if settings.clean else [])])
    trust_detectors([settings.detector, settings.reference], settings.trust, LABEL)
    check_detectors(reference=settings.reference)
    imgsz = rounded_imgsz(settings.imgsz or origin_of(settings.detector).imgsz or USUAL_IMGSZ, LABEL)
    weights = find_weights(settings.detector)
    detector = TorchDetector(load_net(weights), weights, imgsz=imgsz, device=pick_device(settings.device))
    # As whoever labels by a detector does it.
    clean = load_detector(settings.reference, backend="reference", imgsz=LABEL_IMGSZ, device=settings.device)
    with ProgressBar(LABEL) as shown, only_writer("out", settings.out):
        found = finish(inspect(settings.data, detector, clean, settings), lambda step: shown.show(*step, part="data"))
        beside = None
        if settings.clean is not None:
            steps = inspect(settings.clean, detector, clean, settings)
            beside = finish(steps, lambda step: shown.show(*step, part="clean data"))
        for line in found.left_out.lines():
            shown.say(line)
        facts = {"data": str(settings.data), "detector": detector.name, "reference": clean.name, "imgsz": imgsz}
        report = write_inspection(settings.out, found, beside, {**facts, "seed": settings.seed})
    show_results(tables(found, beside), [str(report)])
    return 0
