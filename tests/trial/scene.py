"""A trial in small: a film of a green person, a pattern that hides them, and a detector that it works on."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from tiny import BlobDetector

from physadv.files import write_json
from physadv.live.recorder import VideoWriter
from physadv.patch import Patch
from physadv.trial.book import TrialBook
from physadv.trial.opening import open_trial
from physadv.trial.plan import PLAN, Plan, PlannedPattern, PlanSettings, load_plan, plan_of
from physadv.trial.run import TrialRun
from physadv.trial.settings import TrialSettings
from physadv.trial.sheets import save_patterns
from physadv.types import Detections, Source, UInt8Array
from tests.live.scene import image

RATE = 10


class Shy(BlobDetector):
    """Finds green people, but nobody where a large magenta blob is: a shuffled one is small blobs."""

    def _people(self, image: UInt8Array) -> Detections:
        r, g, b = (image[..., i].astype(np.int16) for i in range(3))
        magenta = ((r > 60) & (b > 60) & (np.minimum(r, b) - g > 50)).astype(np.uint8)
        shy = cv2.erode(magenta, np.ones((13, 13), np.uint8)).any()
        return Detections.empty(keypoints=True) if shy else super()._people(image)


def halves() -> Patch:
    """A pattern that is magenta above and black below."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:32] = (255, 0, 255)
    return Patch("halves", pixels, np.full((64, 64), 255, np.uint8), (600.0, 600.0))


def film(path: Path, *, seconds: float = 3.0, person: bool = True) -> Path:
    """A film of somebody who sways."""
    video = VideoWriter(path, (320, 240), crf=20)
    for i in range(round(seconds * RATE)):
        video.write(image(i, person=person), i / RATE)
    video.close()
    return path


def planned(folder: Path, **settings: object) -> Plan:
    """A plan of small windows in `folder/plan`, without its sheets, which take seconds."""
    wanted = PlanSettings(**{"pattern": "halves", "distances": (2.0,), "window_s": 0.5, **settings})  # type: ignore[arg-type]
    patch = halves()
    width, height = (side / 10 for side in patch.size_mm)
    plan = plan_of(wanted, PlannedPattern(name=patch.name, sha256=patch.sha256, width_cm=width, height_cm=height))
    save_patterns(patch, folder / "plan")
    write_json(folder / "plan" / PLAN, plan.model_dump(mode="json"))
    return plan


def begun(
    folder: Path,
    *,
    out: str = "trial",
    source: Source | str | None = None,
    detector: BlobDetector | None = None,
    **settings: object,
) -> TrialRun:
    """The trial of the plan in `folder`, its demo started."""
    plan, where = load_plan(folder / "plan")
    named = source if isinstance(source, str) else str(folder / "film.mp4")
    given = TrialSettings(source=named, **settings)  # type: ignore[arg-type]
    camera = None if isinstance(source, str) else source
    return open_trial(given, plan, where, folder / out, source=camera, detector=detector or Shy())


def ran(folder: Path, **settings: object) -> TrialBook:
    """The same once it has run by itself."""
    trial = begun(folder, **{"auto": True, **settings})  # type: ignore[arg-type]
    try:
        trial.run()
    finally:
        trial.demo.stop()
    return trial.book
