"""`physadv advise`: whether a print is large enough for your camera and distance, and what would be."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from physadv.arrays import LeftOut, identity_of, read_image
from physadv.camera.lens import PERSON_CM
from physadv.cli.detectors import Trust, rounded_imgsz, trust_detectors
from physadv.cli.outputs import check_writable
from physadv.cli.terminal import say
from physadv.dataset import ImageFile, labelled_images
from physadv.detect.weights import DEFAULT_DETECTOR
from physadv.errors import DataError, FabricationError, PatchError
from physadv.fabricate.settings import AdviceSettings
from physadv.lineage import Seen, seen_by
from physadv.patch import SHIPPED, Patch, load_patch, save_tensors
from physadv.settings import DetectorName, Folder, Groups, PatternName, Positional
from physadv.simulate.activation import Activation

if TYPE_CHECKING:
    from physadv.fabricate.advise import PrintInView

EXAMPLES = ("physadv advise webcam --distance 2m --size 40cm --resolution 1280x720",)


class AdviseVerb(AdviceSettings):
    """A question about a print, and what its size curve is measured on."""

    groups: ClassVar[Groups] = {
        **AdviceSettings.groups,
        "measuring a size curve": ("measure", "images", "labels", "detector", "trust"),
    }

    patch: Positional[PatternName] = Field(description="a shipped name (webcam), a patch file or a run folder")
    measure: bool = Field(
        default=False, description="measure the pattern's size curve on `images` and keep it in its .safetensors file"
    )
    images: Folder | None = Field(default=None, description="images of people not trained on: folder or YOLO data set")
    labels: Folder | None = Field(
        default=None, description="their YOLO label files, where they are not beside the images"
    )
    detector: DetectorName = Field(default=DEFAULT_DETECTOR, description="pose model that is measured against")
    trust: Trust = False


def run(settings: AdviseVerb) -> int:
    """Say how large a print appears to the detector, what to expect there, and what size or distance would do.

    Raises: FabricationError if flags do not go together.
    """
    from physadv.cli.console import Terminal
    from physadv.fabricate.advise import SizeCurve, advise, aspect_of, instead_of, optics_of, placed, seen, width_cm

    patch = load_patch(settings.patch)
    width = width_cm(patch, settings.size)
    settings = settings.model_copy(update={"imgsz": rounded_imgsz(settings.imgsz, "physadv advise")})
    optics = optics_of(settings)
    unused = [name for name in ("images", "labels", "detector", "trust") if name in settings.model_fields_set]
    if settings.measure:
        patch = _measured(settings, patch)
    elif unused:
        raise FabricationError("only of use with `measure`, which measures the size curve", field=unused[0])
    aspect = aspect_of(patch)
    console = Terminal(highlight=False, soft_wrap=True)
    place = {"distance_m": settings.distance, "person_cm": settings.person_height}
    view = seen(optics, side_cm=width * aspect**0.5, **place)
    covers = placed(patch, width, settings.person_height, view.shown)
    console.print(_appears(patch, view, width, settings.distance), markup=False)
    if covers:
        console.print(covers, markup=False)
    if patch.when:
        text = Activation.of(patch.when, patch.otherwise).text
        console.print(f"{patch.name} {text}: what is expected below is expected where it acts", markup=False)
    table = patch.record.get("size_curve")
    if table is None:
        console.print(
            f"{patch.name} has no size curve, so what to expect there is not known; measure it on people it was not "
            f"trained on: physadv advise {settings.patch} --measure --images FOLDER",
            markup=False,
        )
        return 0
    curve = SizeCurve(table)
    found = advise(curve, optics, width_cm=width, aspect=aspect, wanted=settings.wanted, **place)
    got = found.expected
    console.print(
        f"expected: {got.asr:.0%} of people hidden ({got.low:.0%} to {got.high:.0%}, measured on {got.people} people "
        f"in photographs; {curve.about.get('detector', 'detector')} at confidence {curve.about.get('conf', 0.25):g})",
        markup=False,
    )
    text = f"{found.text} or a lower --wanted" if found.hopeless else found.text
    console.print(text, style="green" if found.enough else "yellow", markup=False)
    other = instead_of(patch, got, optics, **place)
    if other is not None:
        console.print(other.text, style="yellow", markup=False)
    return 0


def _measured(settings: AdviseVerb, patch: Patch) -> Patch:
    """Return the patch with its size curve, saved where records are kept."""
    from physadv.cli.progress import ProgressBar
    from physadv.detect import load_detector
    from physadv.evaluate.size_curve import CANVAS, measure, subjects

    if settings.images is None:
        raise FabricationError(
            "needs images of people the pattern was not trained on", field="measure", hint="name them by `images`"
        )
    path = file_of(settings.patch)
    check_writable("measure", path)
    patch = with_record(patch, path)
    left_out = LeftOut()
    images = held_out(labelled_images(settings.images, settings.labels, left_out), patch)
    trust_detectors([settings.detector], settings.trust, "physadv advise")
    found = load_detector(settings.detector, imgsz=CANVAS, precision="fp32")
    with ProgressBar("physadv advise") as shown:
        shown.show(None, f"people in {len(images)} images")
        people = subjects(images, found, left_out=left_out)
        table = measure(patch, people, found, progress=partial(shown.show, part=f"{len(people)} people"))
    for line in left_out.lines():
        say(line)
    table["pictures"] = len(images) - len(left_out.damaged)
    patch = replace(patch, record={**patch.record, "size_curve": table})
    save_tensors(patch, path)
    say(
        f"measured on {len(people)} people in {table['pictures']} images{_measured_sizes(patch, table)}; kept in {path}"
    )
    if Path(settings.patch).is_file() and Path(settings.patch) != path:
        say(f"an image holds no size curve: name that file from now on, physadv advise {path}")
    return patch


def _measured_sizes(patch: Patch, table: dict[str, Any]) -> str:
    """Return the smallest and the largest print measured, on an adult, in words; of clothes nothing."""
    from physadv.fabricate.advise import aspect_of
    from physadv.fabricate.units import size_in_words

    if patch.tiles:
        return ""
    aspect, sides = aspect_of(patch), [cell["relative"] * PERSON_CM for cell in table["cells"]]
    low, high = (size_in_words(round(side / aspect**0.5, 1), aspect) for side in (min(sides), max(sides)))
    return f", prints of {low} to {high} on an adult"


def _appears(patch: Patch, view: PrintInView, width: float, distance: float) -> str:
    """Return how large pattern and wearer appear to the detector, in words."""
    from physadv.fabricate.advise import aspect_of
    from physadv.fabricate.body import TRAINED
    from physadv.fabricate.units import size_in_words

    part = "whole in the image" if view.shown == 1 else f"{view.shown:.0%} of the body in the image"
    if patch.tiles:
        over = "torso and legs" if TRAINED[patch.target] == "outfit" else "the torso"
        return f"worn over {over} at {distance:g} m: on a person of {view.person_px:.0f} detector pixels, {part}"
    aspect = aspect_of(patch)
    wide, high = view.sides_px(aspect)
    pixels = f"{wide:.0f}" if size_in_words(width, aspect) == f"{width:g} cm" else f"{wide:.0f} x {high:.0f}"
    person = f"on a person of {view.person_px:.0f}"
    return f"{size_in_words(width, aspect)} at {distance:g} m: {pixels} detector pixels {person}, {part}"


def held_out(images: list[ImageFile], patch: Patch) -> list[ImageFile]:
    """Return the images that the pattern was not trained on, by the split in its record.

    Raises: PatchError if it was trained on all of them.
    """
    trained = seen_by(patch) or Seen()
    kept = [p for p in images if not trained.saw(p.path.name, _pixels_of(p.path))]
    if not kept:
        raise PatchError("the pattern was trained on every one of these images", field="images", hint="give others")
    return kept


def _pixels_of(path: Path) -> str:
    """Return the hash of an image's pixels, "" for one that cannot be read."""
    try:
        return identity_of(path, read_image(path))
    except DataError:
        return ""


def file_of(where: str) -> Path:
    """Return the .safetensors file that keeps the record of a patch given as `where`; for an image, one beside it."""
    path = Path(where)
    if path.is_dir():
        return path / "patch.safetensors"
    if not path.exists():
        return SHIPPED / f"{where}.safetensors"
    return path.with_suffix(".safetensors")


def with_record(patch: Patch, path: Path) -> Patch:
    """Return the patch with the record that the file has of it, or as it is where there is no such file.

    Raises: PatchError if the file cannot be read or holds another pattern, which would be overwritten.
    """
    if not path.exists():
        return patch
    kept = load_patch(path)
    if kept.sha256 != patch.sha256:
        raise PatchError(
            f"{path}: holds another pattern than the image beside it; name that file, or rename one of them"
        )
    return kept
