"""`physadv explain`: what a detector looks at in one image, bare, with a print, and behind a defence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from physadv.cli.detectors import Trust, rounded_imgsz, trust_detectors
from physadv.cli.outputs import Overwrite, check_folder, check_own_folder, only_writer
from physadv.cli.terminal import say
from physadv.detect.weights import DEFAULT_DETECTOR
from physadv.explain.settings import ExplainSettings
from physadv.settings import Defences, DetectorName, Folder, Groups, Metavar, PatternName, Positional, Seconds

if TYPE_CHECKING:
    from physadv.dataset import LabelledImage
    from physadv.evaluate.steps import Steps
    from physadv.explain.run import Explainer, Worn
    from physadv.patch import Patch
    from physadv.types import UInt8Array

EXAMPLES = (
    "physadv explain photo.jpg --wear street --defend balanced",
    "physadv explain recordings --at 12 --wear webcam --out why",
)
LABEL = "physadv explain"


class ExplainVerb(ExplainSettings):
    """What is explained, worn and defended, and where the sheet goes."""

    groups: ClassVar[Groups] = {
        "image": ("at", "people", "images"),
        "detector": ("wear", "defend", "detector", "trust", "imgsz", "layer", "device"),
        "result": ("out", "overwrite", "check", "seed"),
    }

    image: Annotated[Positional[Path], Metavar("IMAGE|SESSION")] = Field(
        description="an image, or a recording of `physadv live`: any file of it, or its folder; sample is the built-in one"
    )
    at: Seconds | None = Field(
        default=None, ge=0, description="moment of a recording; the frame with the most people unless given"
    )
    images: Folder | None = Field(
        default=None,
        description="folder of photographs of people: for texture against outline, and for `layer`; the image alone unless "
        "given",
    )
    wear: PatternName | None = Field(
        default=None, description="pattern that everybody wears, beside its grey control: a shipped name, file or run"
    )
    defend: Defences = Field(default="none", description="defence of the last column, as in live")
    detector: DetectorName = Field(
        default=DEFAULT_DETECTOR, description="model that is explained, by name or path: see docs/detectors.md"
    )
    trust: Trust = False
    out: Folder = Field(default=Path("explanation"), description="folder for sheet.png, sheet.html and results.json")
    overwrite: Overwrite = False


def run(settings: ExplainVerb) -> int:
    """Show what a detector looks at: maps of each person's score, checked, and where a pattern acts.

    Occlusion is exact, a pass for each place of a grey window. Gradient times activation (ODAM) is about one box. Each is
    held against deletion, insertion and random weights.
    """
    from physadv.cli.console import show_results
    from physadv.cli.progress import ProgressBar
    from physadv.defend import parse_pipeline
    from physadv.evaluate.steps import finish
    from physadv.explain.report import NAMES, tables, write_explanation
    from physadv.patch import load_patch

    check_folder("out", settings.out)
    check_own_folder("out", settings.out, NAMES, overwrite=settings.overwrite)
    trust_detectors([settings.detector], settings.trust, LABEL)
    pipeline = parse_pipeline(settings.defend)
    patch = None if settings.wear is None else load_patch(settings.wear)
    image, name = _image(settings)
    people = _labelled(image, settings.detector)
    worn, own_imgsz = (None, None) if patch is None else _worn(patch, people, settings)
    explainer = _explainer(settings, own_imgsz)
    if settings.layer is not None:
        _check_layer(explainer, settings.layer)
    with ProgressBar(LABEL) as shown, only_writer("out", settings.out):
        # First: whoever names a folder without images is not to learn it after a minute of maps.
        others = finish(_others(settings), lambda step: shown.show(*step, part="reading images"))
        explained = finish(explainer.explain(image, worn, pipeline), lambda step: shown.show(*step, part="maps"))
        finish(explainer.compare(explained, people, others), lambda step: shown.show(*step, part="all images"))
        facts: dict[str, Any] = {
            "image": name,
            "detector": {
                "name": explainer.answers.name,
                "sha256": explainer.answers.sha256,
                "imgsz": explainer.answers.imgsz,
            },
            "answers": explainer.answers.backend,
            "worn": None if patch is None else {"name": patch.name, "sha256": patch.sha256},
            "defence": str(pipeline),
            "seed": settings.seed,
        }
        sheet = write_explanation(settings.out, explained, facts)
    show_results(tables(explained), (*(f"note: {note}" for note in explained.notes), str(sheet)))
    return 0


def _image(settings: ExplainVerb) -> tuple[UInt8Array, str]:
    """Return the image (h, w, 3) to explain, no longer than `LONG_SIDE`, and what it is called.

    Raises: SettingsError for a moment of something that is no recording, or beyond its end.
    """
    from physadv.arrays import IMAGE_SUFFIXES, read_image
    from physadv.capture.sample import SampleSource
    from physadv.errors import SettingsError
    from physadv.explain.run import shrunk
    from physadv.live.moments import frame_of

    path = settings.image
    if str(path) == "sample" and not path.exists():
        source = SampleSource()
        return source.image(round((settings.at or 0.0) * source.fps)), "sample"
    if path.suffix.lower() in IMAGE_SUFFIXES:
        if settings.at is not None:
            raise SettingsError(field="at", expected="a recording, whose moment it is", got=f"the image {path}")
        return shrunk(read_image(path)), path.name
    frame = frame_of(path, settings.at)
    say(f"{LABEL}: the frame at {frame.pts_s:.2f} s")
    return shrunk(frame.pixels), f"{path.resolve().name} at {frame.pts_s:.2f} s"


def _labelled(image: UInt8Array, detector: str) -> LabelledImage:
    """Return an image with everybody that the clean detector sees, and their joints, as evaluations label people."""
    from physadv.dataset import NO_KEYPOINTS, LabelledImage
    from physadv.detect.matching import LABEL_CONF
    from physadv.evaluate.images import labelling
    from physadv.types import Frame

    found = labelling(detector).detect(Frame(image, 0, 0, 0.0)).above(LABEL_CONF)
    return LabelledImage("", image, found.xyxy, NO_KEYPOINTS if found.keypoints is None else found.keypoints)


def _worn(patch: Patch, people: LabelledImage, settings: ExplainVerb) -> tuple[Worn, int]:
    """Return what everybody wears, placed as in an evaluation, and the size at which that pattern's detector looks."""
    import numpy as np

    from physadv.evaluate.own import FILLS, own_fit
    from physadv.explain.run import Worn

    fit = own_fit(patch, filling=people.share > FILLS)
    return Worn.on(people, patch, fit.placement, np.random.default_rng(settings.seed)), max(fit.sizes)


def _others(settings: ExplainVerb) -> Steps[list[LabelledImage]]:
    """Return the labelled photographs of `images`, at most `MOST_IMAGES` of them, evenly; none unless they are given."""
    import numpy as np

    from physadv.detect.weights import DEFAULT_DETECTOR
    from physadv.evaluate.images import Labeller, labelling, labels_cache, read_dataset
    from physadv.explain.run import MOST_IMAGES

    if settings.images is None:
        return []
    labeller = Labeller(labelling, labels_cache(DEFAULT_DETECTOR))
    data = yield from read_dataset(settings.images, None, labeller, keypoints=True)
    for line in data.notes():
        say(f"{LABEL}: {line}")
    count = min(len(data.images), MOST_IMAGES)
    return [data.images[round(place)] for place in np.linspace(0, len(data.images) - 1, count).tolist()]


def _explainer(settings: ExplainVerb, own_imgsz: int | None) -> Explainer:
    """Return what explains: the network with gradients, and whatever answers fastest by the same weights."""
    from physadv.detect import load_detector
    from physadv.detect.pytorch import TorchDetector
    from physadv.evaluate.settings import USUAL_IMGSZ
    from physadv.explain.run import Explainer
    from physadv.explain.score import MIN_CONF

    imgsz = rounded_imgsz(settings.imgsz or own_imgsz or USUAL_IMGSZ, LABEL)
    reference = load_detector(
        settings.detector, backend="reference", precision="fp32", imgsz=imgsz, min_conf=MIN_CONF, device=settings.device
    )
    own = ExplainSettings(**{name: getattr(settings, name) for name in ExplainSettings.model_fields})
    if not isinstance(reference, TorchDetector):
        return Explainer(reference, None, own)
    # A map of occlusion is a hundred passes: OpenVINO makes them in a third of the time, and its answers are the same to
    # four digits.
    answers = load_detector(
        settings.detector,
        precision="fp32",
        imgsz=imgsz,
        min_conf=MIN_CONF,
        device=settings.device,
        progress=lambda line: say(f"{LABEL}: {line}"),
    )
    return Explainer(answers, reference, own)


def _check_layer(explainer: Explainer, layer: int) -> None:
    """Raise SettingsError if there is no such layer to look at."""
    from physadv.errors import SettingsError
    from physadv.explain.channels import check_layer

    if explainer.torch is None:
        raise SettingsError(
            field="layer",
            expected="a YOLO, whose layers can be looked at",
            got=f"the detector {explainer.answers.name}",
        )
    check_layer(explainer.torch.net, layer)
