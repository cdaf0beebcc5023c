"""`physadv preview`: a contact sheet of what EOT shows the detector."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field, field_validator
from pydantic_settings import CliPositionalArg

from physadv.arrays import write_png
from physadv.attack.data import labelling, labels_cache
from physadv.attack.people import gather
from physadv.attack.preview import contact_sheet
from physadv.attack.settings import TrainSettings
from physadv.cli import base
from physadv.cli.terminal import say
from physadv.cli.trusting import Trust, trust_detectors
from physadv.dataset import check_outside
from physadv.detect import load_gradient_detector
from physadv.detect.weights import DEFAULT_DETECTOR
from physadv.marks import LEGEND
from physadv.patch import load_patch
from physadv.simulate.placement import Framing
from physadv.simulate.world import World


class Command(base.Command):
    """Write a contact sheet: a pattern on people under the simulated world, with the detector's confidences."""

    groups: ClassVar[dict[str, tuple[str, ...]]] = {
        "data": ("images", "labels"),
        "views": ("framing", "strength", "columns", "rows", "view_size", "seed"),
        "result": ("out", "overwrite", "detector", "trust"),
    }
    examples: ClassVar[tuple[str, ...]] = ("physadv preview chest-v3 --images photos --out preview.png",)

    patch: CliPositionalArg[str] = Field(
        description="a shipped name (chest-v1), a patch file, an image or a run folder"
    )
    images: list[str] = Field(
        default=[], description="folder of images or videos, YOLO data set, or video; repeatable, or between commas"
    )
    labels: Path | None = Field(None, description="folder of YOLO labels; without it the detector labels")
    out: Path = Field(Path("preview.png"), description="file to write, .png")
    overwrite: bool = Field(False, description=base.OVERWRITE)
    framing: Framing = Field(
        "mixed", description="whole people in the street, upper bodies before a webcam, or half of each"
    )
    strength: float = Field(
        0.3, ge=0, le=3, description="of the simulated world: 0 pastes, 1 is what cameras and cloth do, 3 the most"
    )
    columns: int = Field(6, ge=1, le=20, description="views side by side")
    rows: int = Field(4, ge=1, le=20, description="rows of views; below them comes a row for each transform by itself")
    view_size: int = Field(224, ge=64, le=640, multiple_of=32, description="side of a view in pixels")
    seed: int = Field(0, ge=0, lt=2**31, description="chooses views and draws; the same again gives the same sheet")
    detector: str = Field(DEFAULT_DETECTOR, description="model whose confidences are written in, by name or path")
    trust: Trust = False

    _apart = field_validator("images")(base.each_apart)

    def run(self) -> int:
        """Draw the sheet and say where it is.

        Raises: SettingsError if the sheet is not to be a PNG.
        """
        base.checked_png("out", self.out)
        base.check_writable("out", self.out, overwrite=self.overwrite)
        check_outside("out", self.out, self.images)
        trust_detectors([self.detector], self.trust, "physadv preview")
        patch = load_patch(self.patch)
        found = gather(
            self.images,
            self.labels,
            lambda: labelling(self.detector),
            cache=labels_cache(self.detector),
            say=say,
        )
        sheet = contact_sheet(
            patch,
            found.images,
            world=World.of(self.strength),
            framing=self.framing,
            wear=TrainSettings(target=patch.target, size_mm=patch.size_mm).wear,
            columns=self.columns,
            rows=self.rows,
            size=self.view_size,
            seed=self.seed,
            detector=load_gradient_detector(self.detector, device="cpu"),
        )
        write_png(self.out, sheet)
        say(f"{self.out}: {self.columns * self.rows} views; {LEGEND} (confidence under .25)")
        return 0
