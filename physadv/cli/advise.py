"""`physadv advise`: whether a print is large enough for your camera and distance, and what would be."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from pydantic import Field
from pydantic_settings import CliPositionalArg

from physadv.arrays import LeftOut, identity_of, read_image
from physadv.camera.profile import CameraProfile
from physadv.cli.base import Command as BaseCommand
from physadv.cli.base import check_writable
from physadv.cli.console import Terminal
from physadv.cli.progress import Progress
from physadv.cli.side import imgsz_field, rounded_side
from physadv.cli.terminal import say
from physadv.cli.trusting import Trust, trust_detectors
from physadv.dataset import ImageFile, labelled_images
from physadv.detect import load_detector
from physadv.detect.weights import DEFAULT_DETECTOR
from physadv.errors import DataError, FabricationError, PatchError
from physadv.evaluate.size_curve import CANVAS, measure, subjects
from physadv.fabricate.advise import Optics, SizeCurve, View, advise, instead_of, is_garment, seen, width_cm
from physadv.fabricate.units import length_mm
from physadv.lineage import Seen, seen_by
from physadv.patch import SHIPPED, Patch, load_patch, save_tensors


class Command(BaseCommand):
    """Say how large a print appears to the detector, what to expect there, and what size or distance would do."""

    groups: ClassVar[dict[str, tuple[str, ...]]] = {
        "print and place": ("distance", "size", "person_height", "wanted"),
        "camera": ("fov", "resolution", "camera", "imgsz"),
        "measuring a size curve": ("measure", "images", "labels", "detector", "trust"),
    }
    examples: ClassVar[tuple[str, ...]] = ("physadv advise chest-v3 --distance 2m --size 40cm --resolution 1280x720",)

    patch: CliPositionalArg[str] = Field(description="a shipped name (chest-v1), a patch file or a run folder")
    distance: str = Field(default="3m", description="from camera to person in metres, or with its unit")
    size: str | None = Field(
        default=None,
        description="printed width in cm, or with its unit (400mm); without it the pattern's own. A T-shirt "
        "is as large as its wearer",
    )
    fov: float | None = Field(
        default=None, description="degrees that the camera sees from left to right; 60 unless given"
    )
    camera: str | None = Field(default=None, description="calibrated camera (calib/cameras) instead of --fov")
    resolution: str | None = Field(
        default=None, description="the camera's image, such as 1280x720; 640x480 unless given"
    )
    imgsz: int = imgsz_field(640)
    person_height: str = Field(default="170cm", description="height of the wearer in cm, or with its unit")
    wanted: float = Field(default=0.5, gt=0, lt=1, description="share of people who should be hidden for a size to do")
    measure: bool = Field(
        default=False, description="measure the pattern's size curve on --images and keep it in its .safetensors file"
    )
    images: Path | None = Field(default=None, description="images of people not trained on: folder or YOLO data set")
    labels: Path | None = Field(
        default=None, description="their YOLO label files, where they are not beside the images"
    )
    detector: str = Field(default=DEFAULT_DETECTOR, description="pose model that is measured against")
    trust: Trust = False

    def run(self) -> int:
        """Measure if asked to, then advise.

        Raises: FabricationError if flags do not go together.
        """
        patch = load_patch(self.patch)
        width = width_cm(patch, None if self.size is None else length_mm(self.size, field="size", unit="cm") / 10)
        optics = self._optics()
        distance = length_mm(self.distance, field="distance", unit="m") / 1000
        person = length_mm(self.person_height, field="person_height", unit="cm") / 10
        if self.measure:
            patch = self._measured(patch)
        elif unused := [
            f"--{name}" for name in ("images", "labels", "detector", "trust") if name in self.model_fields_set
        ]:
            raise FabricationError(f"{', '.join(unused)}: only of use with --measure, which measures the size curve")
        aspect = patch.size_mm[1] / patch.size_mm[0]
        console = Terminal(highlight=False, soft_wrap=True)
        view = seen(optics, distance_m=distance, side_cm=width * aspect**0.5, person_cm=person)
        console.print(_appears(patch, view, width, distance), markup=False)
        table = patch.record.get("size_curve")
        if table is None:
            console.print(
                f"{patch.name} has no size curve, so what to expect there is not known; measure it on people it was not "
                f"trained on: physadv advise {self.patch} --measure --images FOLDER",
                markup=False,
            )
            return 0
        curve = SizeCurve(table)
        found = advise(
            curve, optics, distance_m=distance, width_cm=width, aspect=aspect, person_cm=person, wanted=self.wanted
        )
        got = found.expected
        console.print(
            f"expected: {got.asr:.0%} of people hidden ({got.low:.0%} to {got.high:.0%}, measured on {got.people} people "
            f"in photographs; {curve.about.get('detector', 'detector')} at confidence {curve.about.get('conf', 0.25):g})",
            markup=False,
        )
        text = f"{found.text} or a lower --wanted" if found.hopeless else found.text
        console.print(text, style="green" if found.enough else "yellow", markup=False)
        other = instead_of(patch, got, optics, distance_m=distance, person_cm=person)
        if other is not None:
            console.print(other.text, style="yellow", markup=False)
        return 0

    def _optics(self) -> Optics:
        if self.camera is not None:
            if self.fov is not None:
                raise FabricationError("--fov and --camera: give one of the two; the profile holds the field of view")
            profile = CameraProfile.load(self.camera)
            profile.check_age()
            if self.resolution is not None:
                profile.check_size(*_resolution(self.resolution))
            return Optics(profile.width, profile.height, profile.focal_px, rounded_side(self.imgsz, "physadv advise"))
        width, height = _resolution(self.resolution or "640x480")
        side = rounded_side(self.imgsz, "physadv advise")
        return Optics.from_fov(width, height, 60.0 if self.fov is None else self.fov, side)

    def _measured(self, patch: Patch) -> Patch:
        """Return the patch with its size curve, saved where records are kept."""
        if self.images is None:
            raise FabricationError(
                "needs images of people the pattern was not trained on (--images FOLDER)", field="measure"
            )
        path = file_of(self.patch)
        check_writable("measure", path)
        patch = with_record(patch, path)
        left_out = LeftOut()
        images = held_out(labelled_images(self.images, self.labels, left_out), patch)
        trust_detectors([self.detector], self.trust, "physadv advise")
        found = load_detector(self.detector, imgsz=CANVAS, precision="fp32")
        with Progress("physadv advise") as shown:
            shown.tell(None, f"people in {len(images)} images")
            people = subjects(images, found, left_out=left_out)
            table = measure(patch, people, found, progress=partial(shown.tell, part=f"{len(people)} people"))
        for line in left_out.lines():
            say(line)
        table["pictures"] = len(images) - len(left_out.damaged)
        patch = replace(patch, record={**patch.record, "size_curve": table})
        save_tensors(patch, path)
        say(f"measured on {len(people)} people in {table['pictures']} images; kept in {path}")
        if Path(self.patch).is_file() and Path(self.patch) != path:
            say(f"an image holds no size curve: name that file from now on, physadv advise {path}")
        return patch


def _appears(patch: Patch, view: View, width: float, distance: float) -> str:
    """Return how large pattern and wearer appear to the detector, in words."""
    part = "whole in the image" if view.shown == 1 else f"{view.shown:.0%} of the body in the image"
    if is_garment(patch):
        return f"worn over the torso at {distance:g} m: on a person of {view.person_px:.0f} detector pixels, {part}"
    person = f"on a person of {view.person_px:.0f}"
    return f"{width:g} cm at {distance:g} m: {view.side_px:.0f} detector pixels {person}, {part}"


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


def _resolution(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"\s*(\d{1,5})\s*[xX]\s*(\d{1,5})\s*", text)
    if match is None:
        raise FabricationError(field="resolution", expected="WIDTHxHEIGHT such as 1280x720", got=repr(text))
    return int(match[1]), int(match[2])
