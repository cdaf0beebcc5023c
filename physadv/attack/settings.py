"""What a training run can be asked for: one schema for the command, its configuration file and notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from physadv.detect.weights import DEFAULT_DETECTOR
from physadv.errors import SettingsError
from physadv.fabricate.units import LARGEST_MM, SMALLEST_MM, Millimetres
from physadv.patch import Target
from physadv.settings import Defences, Folder, Groups, Metavar, Names, PatternName, Seconds, SourceName
from physadv.simulate.framing import PlacementFields
from physadv.simulate.placement import Framing

Goal = Literal["vanish", "missize"]
Mix = Literal["mean", "max", "minmax"]
Preset = Literal["quick", "standard", "strong"]
# In place of a pattern's name in `start`: the shipped pattern that fits, if there is one; random colours.
AUTO, RANDOM = "auto", "none"
# Someone before a webcam is 140 pixels large to a detector at 320 and 400 at 640; a pattern hides them at the sizes at
# which it was trained and at no other.
STREET_CROPS, WEBCAM_CROPS = (224, 256, 320), (224, 320, 448)
# Larger views are few in a step: they pay in long runs alone.
LONG_STREET_CROPS = (224, 256, 320, 416)
# Two people's gradients have next to nothing in common (their cosine is .003): short runs need many people a step, small
# as they may be. Before a webcam people are large.
SHORT_STREET: dict[str, Any] = {"crops": (160, 224, 320), "batch": 24}
# Steps of 12 views of 224 pixels, 9 of 256, 6 of 320 or 3 of 448. `quick` takes about 5 minutes on two CPU cores, 2 with
# bfloat16; `standard` about 20 minutes on two idle cores with bfloat16; `strong` hours.
PRESETS: dict[str, dict[str, Any]] = {
    # So few steps do not reach as far as the largest views.
    "quick": {"steps": 450, "crops": STREET_CROPS},
    # Long runs are scored less often: it takes seconds each time.
    "standard": {"steps": 5000, "starts": 2, "score_every": 200},
    "strong": {
        "steps": 20000,
        "score_every": 500,
        "batch": 32,
        "starts": 4,
        "start_steps": 300,
        "worst_of": 2,
    },
}
# Of every dial of the simulated world. Patterns of few steps do not get far in a stronger one.
STRENGTH = 0.3
# Dial -> the transform's name in the simulated world and in records.
DIALS = {
    "ink": "ink",
    "cloth": "cloth",
    "geometry": "geometry",
    "light": "light",
    "occlusion": "erase",
    "sensor": "sensor",
}
STREET_TEXELS = 48
MARGIN, TALL_MARGIN = 1.5, 2.0
# How much it counts that the wearer stays seen where a pattern with a condition must not act.
STAY_SEEN = 3.0
# Of views in which people are to be near: at 224 pixels nobody nearer than 2.5 m fits.
DISTANCE_CROPS = (224, 320, 416)
# Learning rates of the texels, from random colours and from a pattern.
LR, LR_FROM_START = 0.08, 0.03
# Prints that cover most of the body: what stays seen of their wearers are heads and legs of large people.
TALL: frozenset[Target] = frozenset({"portrait", "outfit"})
# They go on from a pattern, which noise and gradients that are spread far would take apart first.
LONG_TALL: dict[str, Any] = {
    "crops": (160, 224, 320, 416),
    "batch": 24,
    "large": 0.3,
    "noise": 0.05,
    "spread": 0.02,
}
# Of the likeness to an image that is given alone.
LOOK_WEIGHT = 2.0


def preset(name: Preset, framing: Framing, target: Target = "chest") -> dict[str, Any]:
    """Return a preset's fields of `Recipe` for that framing and target."""
    if framing != "street":
        return PRESETS[name]
    long = LONG_TALL if target in TALL else {}
    street = {"quick": SHORT_STREET, "standard": long, "strong": {"crops": LONG_STREET_CROPS, **long}}
    return {**PRESETS[name], **street[name]}


class PatternSettings(PlacementFields):
    """What is trained and how: the fields that a run's recipe shares with the command."""

    goal: Goal = Field(default="vanish", description="vanish, or missize: boxes that no longer fit")
    steps: int = Field(
        default=1000,
        ge=1,
        le=1_000_000,
        description="optimiser steps; unless given, the preset's",
    )
    batch: int = Field(
        default=12,
        ge=1,
        le=1024,
        description="views a step of the first size, over all processes; unless given, the preset's",
    )
    accumulate: int = Field(
        default=1,
        ge=1,
        le=64,
        description="compute each batch in so many parts: less memory, the same step; divides `batch`",
    )
    crops: tuple[int, ...] = Field(
        default=STREET_CROPS,
        min_length=1,
        max_length=8,
        description="sizes of the square views in pixels, in turn, e.g. 224,256,320; unless given, the preset's",
    )
    warm: float = Field(
        default=0.4,
        ge=0,
        le=1,
        description="share of the steps, at the start, on many views of the first size of `crops` alone",
    )
    large: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of the views in which the person takes .6 of the side or more: large people stay seen longest; "
        "0 leaves it to chance, about .4 in the street",
    )
    texels: int = Field(
        default=STREET_TEXELS,
        ge=8,
        le=512,
        description="texels across the pattern, as many rows as make them square; unless given 48 for prints in the "
        "street, 64 before a webcam, one for each 6.25 mm of cloth",
    )
    pyramid: bool = Field(
        default=False,
        description="add a coarse grid of colours to the fine one, so that large shapes are found sooner",
    )
    lr: float = Field(
        default=LR,
        gt=0,
        le=1,
        description=f"learning rate of the texels; unless given {LR:g}, or {LR_FROM_START:g} from a pattern to start with",
    )
    spread: float = Field(
        default=1 / 16,
        ge=0,
        le=0.5,
        description="share of the pattern's edge over which gradients are spread at first",
    )
    noise: float = Field(
        default=0.15,
        ge=0,
        le=1,
        description="standard deviation of the noise under which colours are trained at first; unless given .15, 0 "
        "for prints before a webcam",
    )
    margin: float = Field(
        default=MARGIN,
        ge=-5,
        le=10,
        description="logits below minus this are low enough; unless given 1.5, of tall prints 2, before a webcam 2.5",
    )
    parts: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="how much boxes on parts of a person count (head, legs, the print itself): 0 the less the worse they "
        "fit, 1 all alike; unless given 1 for portrait and outfit, else 0",
    )
    when: str | None = Field(
        default=None,
        max_length=200,
        description="act only then: upright, unfolded, tilt:0-15, near:METRES, far:METRES, light:bright, colour:warm, or a "
        "parameter of the simulated world as 'geometry.tilt<15'; several between commas must all hold",
    )
    otherwise: str | None = Field(
        default=None,
        max_length=200,
        description="with `when`: the wearer must stay seen then, e.g. tilt:90-180; unless given whenever `when` is "
        "clearly not so, a gap left between",
    )
    stay_seen: float = Field(
        default=STAY_SEEN,
        gt=0,
        le=20,
        description="with `when`: weight of staying seen, beside that of being hidden",
    )
    mix: Mix = Field(
        default="mean", description="how several detectors' losses are weighed: mean, max, minmax (learned)"
    )
    tv: float = Field(
        default=0.02,
        ge=0,
        description="weight of the total variation: how much patches of even colour are preferred to grain",
    )
    nps: float = Field(
        default=0.02,
        ge=0,
        description="weight of the non-printability score: how much colours that printers can print are preferred",
    )
    smooth: float = Field(
        default=0.0,
        ge=0,
        description="weight of the curvature between texels: how much gradual changes of colour are preferred",
    )
    look_weight: float = Field(
        default=0.0,
        ge=0,
        description="weight of the likeness to `look`; unless given 2 with `look`",
    )
    colours: int = Field(
        default=0,
        ge=0,
        le=64,
        description="hold the pattern to so many colours that print as intended; 0 is full colour",
    )
    worst_of: int = Field(
        default=1,
        ge=1,
        le=8,
        description="draws of the simulated world of which the one that hurts the pattern most is trained on; unless "
        "given, the preset's",
    )
    starts: int = Field(
        default=1,
        ge=1,
        le=16,
        description="patterns started from different random colours, where several with 150 steps or more each besides "
        "`steps`; the one that does best on held-out people goes on; unless given, the preset's",
    )
    held_out: float = Field(
        default=0.25, gt=0, lt=1, description="share of images not trained on, by which the best step is chosen"
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="of every draw: the same again gives the same pattern")


def _dial(what: str) -> Any:
    return Field(default=None, ge=0, le=3, description=f"dial of {what}")


class TrainSettings(PatternSettings):
    """A training run as it is asked for: data, pattern, simulated world and machine.

    What decides the result is `Recipe.of` it: the preset, with the fields that were given in place of its own.
    """

    groups: ClassVar[Groups] = {
        "data": ("images", "labels", "source", "seconds", "held_out"),
        "run": ("out", "resume", "preset", "minutes", "steps", "detector", "mix", "through", "seed", "device", "precision",
                "threads"),
        "pattern": ("target", "framing", "goal", "width_mm", "height_mm", "rule", "scale", "webcam_scale", "at", "start",
                    "colours", "look", "look_weight", "region", "texels"),
        "condition": ("when", "otherwise", "stay_seen"),
        "simulated world": ("strength", *DIALS, "camera", "printer"),
        "optimiser (for experts)": ("lr", "batch", "accumulate", "crops", "large", "warm", "starts", "worst_of", "pyramid",
                                    "margin", "parts", "spread", "noise", "tv", "nps", "smooth"),
    }  # fmt: skip

    images: Annotated[Names, Metavar("PATH")] = Field(
        default_factory=list,
        description="folders of images or videos, YOLO data sets, or videos: several as words, or between commas",
    )
    labels: Folder | None = Field(
        default=None, description="folder of YOLO labels; without it the clean detector labels"
    )
    source: SourceName | None = Field(default=None, description="record this camera instead of `images`, e.g. 0")
    seconds: Seconds = Field(default=60, gt=0, le=3600, description="how long `source` records")
    out: Folder = Field(default=Path("run"), description="folder of the run")
    resume: bool = Field(
        default=False, description="go on with the run in `out`, to the same result as without the break"
    )
    preset: Preset = Field(
        default="quick",
        description="quick: about 5 minutes on two CPU cores, 2 with bfloat16; standard: about 20 with it, two cores "
        "idle; strong: hours",
    )
    minutes: Annotated[float, Metavar("MINUTES")] | None = Field(
        default=None, gt=0, description="time instead of the preset's steps; measured at the start"
    )
    detector: Annotated[Names, Metavar("MODEL")] = Field(
        default_factory=lambda: [DEFAULT_DETECTOR], description="by name or path; several as words, or between commas"
    )
    through: Defences | None = Field(
        default=None, description="train through a defence pipeline's twin, e.g. lgs,median"
    )
    strength: float | None = Field(
        default=None,
        ge=0,
        le=3,
        description=f"one dial for the whole simulated world: 0 off, 1 what cameras and cloth do, {STRENGTH:g} unless "
        "given: a stronger world hides fewer people in a clean image and more in a bad one",
    )
    ink: float | None = _dial("printed colours: 0 off, 1 as measured, 3 the most")
    cloth: float | None = _dial("wrinkles and folds")
    geometry: float | None = _dial("turns, perspective, size and offset")
    light: float | None = _dial("light, shadows and glare")
    occlusion: float | None = _dial("what hides parts of the print: forearms, bags, folds (in records: world.erase)")
    sensor: float | None = _dial("blur, noise and compression")
    look: Path | None = Field(default=None, description="an image that the pattern should resemble")
    region: Path | None = Field(default=None, description="mask: ink where it is white, or opaque")
    start: PatternName | None = Field(
        default=None,
        description="pattern to start with, and its shape: a file or a shipped name; auto: the shipped one for this "
        "target, framing and detector, if nobody held out was in its training; none: random colours. "
        "Unless given auto for `preset=quick`, `target=portrait` and `target=outfit`, else none",
    )
    camera: str | None = Field(
        default=None,
        description="camera profile of `physadv calibrate camera`: takes the lens out of what `source` records "
        "(`images` stay as they are), and must be the one through which `printer` was measured",
    )
    printer: str | None = Field(
        default=None,
        description="printer profile of `physadv calibrate colour`: trains and scores the colours it prints",
    )
    width_mm: Millimetres | None = Field(
        default=None,
        ge=SMALLEST_MM,
        le=LARGEST_MM,
        description="width of the print in mm, or with its unit (36cm); unless given, by `target`",
    )
    height_mm: Millimetres | None = Field(
        default=None,
        ge=SMALLEST_MM,
        le=LARGEST_MM,
        description="height of the print in mm, or with its unit (36cm); unless given as `target` has it for that width",
    )
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1, mps")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="bf16 where the CPU or GPU computes in it"
    )
    threads: int | None = Field(
        default=None, ge=1, le=256, description="CPU threads; the same number for the same result"
    )

    def check(self) -> None:
        """Check what contradicts itself in the fields, before any file is looked for.

        Raises: SettingsError that names the field to change.
        """
        if not self.images and self.source is None:
            raise SettingsError(
                field="images", expected="a folder, data set or video with people (or `source=0`)", got="none"
            )
        if not self.detector:
            raise SettingsError(field="detector", expected="one name or path or more", got="none")
        if self.images and self.source is not None:
            raise SettingsError(field="images", expected="this or `source`, not both", got="both")
        if self.labels is not None and self.source is not None:
            raise SettingsError(
                field="labels",
                expected="`images` that they belong to",
                got="`source`, whose people the detector labels",
            )
        if self.source is None and "seconds" in self.model_fields_set:
            raise SettingsError(field="seconds", expected="a camera by `source` to record", got="none")
        if self.when is None and (given := {"otherwise", "stay_seen"} & self.model_fields_set):
            raise SettingsError(field=min(given), expected="a condition by `when` that it is about", got="none")
        if "look_weight" in self.model_fields_set and self.look is None:
            raise SettingsError(field="look_weight", expected="an image by `look` that it is about", got="none")
        if "webcam_scale" in self.model_fields_set and self.framing != "mixed":
            raise SettingsError(
                "is of use with `framing=mixed` alone", field="webcam_scale", hint=f"with {self.framing} give `scale`"
            )

    @property
    def start_wanted(self) -> str | None:
        """Return the pattern to start with, `AUTO`, or None for random colours.

        Short runs do not get far from those, nor do tall prints.
        """
        start = self.start or (AUTO if self.preset == "quick" or self.target in TALL else RANDOM)
        return None if start == RANDOM else start

    @property
    def wants_own(self) -> bool:
        """Return whether a mask, or a defence to train through, asks for another pattern than any that is shipped."""
        return self.region is not None or self.through is not None
