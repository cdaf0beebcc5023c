"""What a detector costs and how old it is: parameters, operations an image, year of publication."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from physadv.detect.base import BareDetector
from physadv.detect.gradients import BareGradient, imgsz_for

# Years of publication by the beginning of a name, the longest that fits.
YEARS = {
    "yolov3": 2018, "yolov5": 2020, "yolov8": 2023, "yolov9": 2024, "yolov10": 2024, "yolo11": 2024, "yolo12": 2025,
    "yolo26": 2026, "rtdetr": 2023, "ssd300": 2016, "ssdlite320": 2019, "retinanet": 2017, "fcos": 2019,
    "fasterrcnn": 2015, "maskrcnn": 2017, "keypointrcnn": 2017,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class DetectorFacts:
    """parameters: weights. gflops: operations of one square image at the detector's size, a multiplication and an addition
    being two, in thousands of millions. year: of publication. None for what is not known."""

    parameters: int | None = None
    gflops: float | None = None
    year: int | None = None


def facts_of(
    name: str, detector: BareDetector, attacked: BareGradient | None, imgsz: int, *, parent: str = ""
) -> DetectorFacts:
    """Return what is known of a detector. attacked: the same with gradients; without it operations are not known.

    imgsz: side in pixels of the image that operations are counted of. parent: of a run of the lab the name it comes from.
    """
    year = next((year for stem, year in sorted(YEARS.items(), reverse=True) if (parent or name).startswith(stem)), None)
    parameters = detector.parameters if attacked is None else attacked.parameters
    return DetectorFacts(parameters, None if attacked is None else _gflops(attacked, imgsz), detector.year or year)


def _gflops(detector: BareGradient, imgsz: int) -> float | None:
    side = imgsz_for(imgsz, detector)
    images = torch.full((1, 3, side, side), 0.5, device=detector.device)
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            detector.candidates(images)
    except (RuntimeError, NotImplementedError):
        return None
    flops = counter.get_total_flops()
    return round(flops / 1e9, 3) if flops else None
