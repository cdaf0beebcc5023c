"""`physadv preview`: a contact sheet of what EOT shows the detector."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from physadv.cli.detectors import Trust, trust_detectors
from physadv.cli.outputs import Overwrite, check_png, check_writable
from physadv.cli.terminal import say
from physadv.dataset import check_outside
from physadv.detect.weights import DEFAULT_DETECTOR
from physadv.settings import DetectorName, Folder, Groups, Metavar, Names, PatternName, Pixels, Positional, Settings
from physadv.simulate.placement import Framing

EXAMPLES = ("physadv preview webcam --images photos --out preview.png",)


class PreviewVerb(Settings):
    """A pattern, the people that it is shown on, and the sheet."""

    groups: ClassVar[Groups] = {
        "data": ("images", "labels"),
        "views": ("framing", "large", "strength", "columns", "rows", "view_size", "seed"),
        "result": ("out", "overwrite", "detector", "trust"),
    }

    patch: Positional[PatternName] = Field(
        description="a shipped name (webcam), a patch file, an image or a run folder"
    )
    images: Annotated[Names, Metavar("PATH")] = Field(
        default=[],
        description="folder of images or videos, YOLO data set, or video; repeatable, or several between commas",
    )
    labels: Folder | None = Field(default=None, description="folder of YOLO labels; without it the detector labels")
    out: Path = Field(default=Path("preview.png"), description="file to write, .png")
    overwrite: Overwrite = False
    framing: Framing | None = Field(
        default=None,
        description="whole people in the street, upper bodies before a webcam, or half of each; unless given as the "
        "pattern was trained, mixed where its record does not say",
    )
    large: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="share of the views in which the person takes .6 of the side or more; unless given as the pattern was "
        "trained, 0 (by chance) where its record does not say",
    )
    strength: float = Field(
        default=0.3,
        ge=0,
        le=3,
        description="of the simulated world: 0 pastes, 1 is what cameras and cloth do, 3 the most",
    )
    columns: int = Field(default=6, ge=1, le=20, description="views side by side")
    rows: int = Field(
        default=4, ge=1, le=20, description="rows of views; below them comes a row for each transform by itself"
    )
    view_size: Pixels = Field(default=224, ge=64, le=640, multiple_of=32, description="size of a view in pixels")
    seed: int = Field(
        default=0, ge=0, lt=2**31, description="chooses views and draws; the same again gives the same sheet"
    )
    detector: DetectorName = Field(
        default=DEFAULT_DETECTOR, description="model whose confidences are written in, by name or path"
    )
    trust: Trust = False


def run(settings: PreviewVerb) -> int:
    """Write a contact sheet: a pattern on people under the simulated world, with the detector's confidences.

    Raises: SettingsError if the sheet is not to be a PNG.
    """
    from physadv.arrays import write_png
    from physadv.attack.preview import contact_sheet
    from physadv.attack.recipe import Recipe
    from physadv.detect import load_gradient_detector
    from physadv.evaluate.images import Labeller, gather, labelling, labels_cache
    from physadv.evaluate.steps import finish
    from physadv.marks import LEGEND
    from physadv.patch import load_patch
    from physadv.simulate.world import World

    check_png("out", settings.out)
    check_writable("out", settings.out, overwrite=settings.overwrite)
    check_outside("out", settings.out, settings.images)
    trust_detectors([settings.detector], settings.trust, "physadv preview")
    patch = load_patch(settings.patch)
    labeller = Labeller(lambda: labelling(settings.detector), labels_cache(settings.detector))
    found = finish(gather(settings.images, settings.labels, labeller), say)
    trained = Recipe.of_patch(patch)
    sheet = contact_sheet(
        patch,
        found.images,
        world=World.of(settings.strength),
        framing=settings.framing or trained.framing,
        placements=trained.placement_range,
        large=trained.large if settings.large is None else settings.large,
        columns=settings.columns,
        rows=settings.rows,
        size=settings.view_size,
        seed=settings.seed,
        detector=load_gradient_detector(settings.detector, device="cpu"),
    )
    write_png(settings.out, sheet)
    say(f"{settings.out}: {settings.columns * settings.rows} views; {LEGEND} (confidence under .25)")
    return 0
