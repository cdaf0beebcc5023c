"""`physadv train`: images of people in, a printable pattern out."""

from __future__ import annotations

import shlex
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, Literal, TypeVar

import torch
from pydantic import Field, ValidationError, field_validator
from rich.console import Console

from physadv.address import masked
from physadv.attack.data import RECORDED, Inputs, check_given, with_printer
from physadv.attack.losses import Goal, Mix
from physadv.attack.optimise import Progress
from physadv.attack.parallel import Processes
from physadv.attack.run import CHECKPOINT
from physadv.attack.settings import STRENGTH, Preset, TrainSettings, preset
from physadv.attack.start import AUTO
from physadv.attack.training import PROGRESS, Outcome, conclude, prepare, timed, trained
from physadv.camera.profile import CameraProfile, PrinterProfile, load_profiles
from physadv.cli import base
from physadv.cli.console import Terminal
from physadv.cli.edge import INTERRUPTED
from physadv.cli.outputs import Overwrite, check_folder, check_own_folder, only_writer
from physadv.cli.progress import Progress as Shown
from physadv.cli.trust import Trust, trust_detectors
from physadv.dataset import check_outside
from physadv.defend import parse_pipeline
from physadv.detect import load_gradient_detector
from physadv.detect.pytorch import pick_device
from physadv.detect.weights import DEFAULT_DETECTOR
from physadv.errors import SettingsError, naming
from physadv.fabricate.units import LARGEST_MM, SMALLEST_MM, length_in
from physadv.files import parse_json, write_json
from physadv.patch import Target
from physadv.settings import each_apart, one_line, parse
from physadv.simulate.placement import Framing, Rule
from physadv.simulate.world import World
from physadv.types import GradientDetector

T = TypeVar("T")
# As a pattern's name in --start: none.
RANDOM = "none"
BEGUN = "flags.json"
FILES = ("patch.safetensors", "patch.png", "run.json", "split.json", PROGRESS, CHECKPOINT, BEGUN)
# Characters of what is said of a damaged file.
SAID = 400
SHOWN = {
    "recall25": "recall25",
    "AP50": "ap50",
    "asr_strict25": "asr_strict25",
    "hidden25": "hidden25",
    "mean conf": "mean_max_conf",
}
# Flag -> the field of the simulated world. What hides parts is `erase` there; as a flag it would be taken for the defence.
DIALS = {
    "ink": "ink",
    "cloth": "cloth",
    "geometry": "geometry",
    "light": "light",
    "occlusion": "erase",
    "sensor": "sensor",
}


class Command(base.Command):
    """Train a printable patch or T-shirt pattern on people, and score it on people held out.

    By expectation over transformation (EOT): in each step the pattern is put on people as cloth, camera and light would
    show it, and made to hide them all the same.
    """

    groups: ClassVar[dict[str, tuple[str, ...]]] = {
        "data": ("images", "labels", "source", "seconds", "held_out"),
        "run": ("out", "resume", "overwrite", "preset", "minutes", "steps", "detector", "trust", "mix", "through", "seed",
                "device", "precision", "threads", "tensorboard"),
        "pattern": ("target", "framing", "goal", "width_mm", "height_mm", "rule", "scale", "webcam_scale", "at", "start",
                    "colours", "look", "look_weight", "region", "texels"),
        "simulated world": ("strength", "ink", "cloth", "geometry", "light", "occlusion", "sensor", "camera", "printer"),
        "optimiser (for experts)": ("lr", "batch", "accumulate", "crops", "warm", "starts", "worst_of", "pyramid", "margin",
                                    "spread", "noise", "tv", "nps", "smooth"),
    }  # fmt: skip
    examples: ClassVar[tuple[str, ...]] = (
        "physadv train --images photos --target chest --framing webcam --minutes 10 --out mine",
        "physadv train --resume --out mine",
    )

    images: list[str] = Field(
        default_factory=list,
        description="folders of images or videos, YOLO data sets, or videos: several as words, or between commas",
    )
    labels: Path | None = Field(None, description="folder of YOLO labels; without it the clean detector labels")
    source: str | None = Field(None, description="record this camera instead of --images, e.g. 0")
    seconds: float = Field(60, gt=0, le=3600, description="how long --source records")
    out: Path = Field(Path("run"), description="folder of the run", json_schema_extra={"metavar": "FOLDER"})
    resume: bool = Field(False, description="go on with the run in --out, to the same result as without the break")
    overwrite: Overwrite = False
    preset: Preset = Field(
        "quick",
        description="quick: about 5 minutes on two CPU cores, 2 with bfloat16; standard: about 20 with it, two cores idle; "
        "strong: hours",
    )
    minutes: float | None = Field(None, gt=0, description="time instead of the preset's steps; measured at the start")
    steps: int | None = Field(None, ge=1, description="optimiser steps instead of the preset's")
    target: Target = Field("chest", description="poster, chest (a print) or tshirt (a texture that tiles)")
    framing: Framing = Field("street", description="street, webcam (the person fills the image) or mixed")
    goal: Goal = Field("vanish", description="vanish, or missize: boxes that no longer fit")
    detector: list[str] = Field(
        default_factory=lambda: [DEFAULT_DETECTOR],
        description=f"by name or path; several as words, or between commas; {DEFAULT_DETECTOR} unless given",
    )
    trust: Trust = False
    mix: Mix = Field("mean", description="how several detectors are weighed: mean, max, minmax (learned)")
    through: str | None = Field(None, description="train through a defence pipeline's twin, e.g. lgs,median")
    seed: int = Field(0, ge=0, lt=2**31, description="of every draw: the same again gives the same pattern")
    strength: float | None = Field(
        None,
        ge=0,
        le=3,
        description=f"one dial for the whole simulated world: 0 off, 1 what cameras and cloth do, {STRENGTH:g} unless "
        "given: a stronger world hides fewer people in a clean image and more in a bad one",
    )
    ink: float | None = Field(None, ge=0, le=3, description="dial of printed colours: 0 off, 1 as measured, 3 the most")
    cloth: float | None = Field(None, ge=0, le=3, description="dial of wrinkles and folds")
    geometry: float | None = Field(None, ge=0, le=3, description="dial of turns, perspective, size and offset")
    light: float | None = Field(None, ge=0, le=3, description="dial of light, shadows and glare")
    occlusion: float | None = Field(
        None,
        ge=0,
        le=3,
        description="dial of what hides parts of the print: forearms, bags, folds (in records: world.erase)",
    )
    sensor: float | None = Field(None, ge=0, le=3, description="dial of blur, noise and compression")
    worst_of: int | None = Field(None, ge=1, le=8, description="draws of which the most harmful is trained on")
    starts: int | None = Field(
        None,
        ge=1,
        le=16,
        description="patterns begun from different random colours; the one that does best on held-out people goes on",
    )
    texels: int | None = Field(
        None,
        ge=8,
        le=512,
        description="texels along the pattern's side; unless given 48 for prints in the street, 64 before a webcam, one "
        "for each 6.25 mm of a T-shirt's texture",
    )
    pyramid: bool = Field(
        False, description="add a coarse grid of colours to the fine one, so that large shapes are found sooner"
    )
    batch: int | None = Field(None, ge=1, le=1024, description="views a step, over all processes")
    accumulate: int | None = Field(
        None,
        ge=1,
        le=64,
        description="compute each batch in so many parts: less memory, the same step; divides --batch",
    )
    crops: list[int] | None = Field(None, description="sides of the views in pixels, in turn, e.g. 224,256,320")
    warm: float | None = Field(
        None,
        ge=0,
        le=1,
        description="share of the steps, at the start, on many views of the first size of --crops alone; .4 "
        "unless given",
    )
    lr: float | None = Field(
        None,
        gt=0,
        le=1,
        description="learning rate of the pattern's texels; unless given .08, or .03 from a pattern to begin with",
    )
    margin: float | None = Field(
        None, ge=-5, le=10, description="logits below minus this are low enough; 1.5, before a webcam 2.5"
    )
    spread: float | None = Field(
        None, ge=0, le=0.5, description="share of the side over which gradients are spread at first"
    )
    noise: float | None = Field(
        None,
        ge=0,
        le=1,
        description="noise under which colours are trained at first; unless given .15, 0 for prints before a webcam",
    )
    tv: float | None = Field(
        None,
        ge=0,
        description="weight of the total variation: how much patches of even colour are preferred to grain; "
        ".02 unless given",
    )
    nps: float | None = Field(
        None,
        ge=0,
        description="weight of the non-printability score: how much colours that printers can print are "
        "preferred; .02 unless given",
    )
    smooth: float | None = Field(
        None,
        ge=0,
        description="weight of the curvature between texels: how much gradual changes of colour are "
        "preferred; 0 unless given",
    )
    colours: int | None = Field(
        None, ge=0, le=64, description="hold the pattern to so many colours that print as intended"
    )
    look: Path | None = Field(None, description="an image that the pattern should resemble")
    look_weight: float | None = Field(None, ge=0, description="how strongly; 2 if --look is given alone")
    region: Path | None = Field(None, description="mask: ink where it is white, or opaque")
    start: str | None = Field(
        None,
        description="pattern to begin with, and its shape: a file or a shipped name; auto: the shipped one for this "
        "target, framing and detector, if nobody held out was in its training; none: random colours. Unless given auto "
        "for --preset quick, none for longer ones",
    )
    camera: str | None = Field(
        None,
        description="camera profile of `physadv calibrate camera`: takes the lens out of what --source "
        "records (--images "
        "stay as they are), and must be the one through which --printer was measured",
    )
    printer: str | None = Field(
        None, description="printer profile of `physadv calibrate colour`: trains and scores the colours it prints"
    )
    width_mm: float | None = Field(
        None,
        ge=SMALLEST_MM,
        le=LARGEST_MM,
        description="width of the print in mm, or with its unit (36cm); unless given, by --target",
    )
    height_mm: float | None = Field(
        None,
        ge=SMALLEST_MM,
        le=LARGEST_MM,
        description="height of the print in mm, or with its unit (36cm); unless given, the width",
    )
    rule: Rule = Field(
        "area",
        description="what --scale is a fraction of, of the person's box as the camera sees it: sqrt(width x "
        "height), as in "
        "evaluate, since boxes of people who sit or bend differ least in it (print, with a standing person, has diagonal)",
    )
    scale: float | None = Field(
        None, ge=0.02, le=2, description="side as a fraction of --rule; unless given, by --width-mm on a grown-up"
    )
    webcam_scale: float | None = Field(
        None, ge=0.02, le=2, description="with --framing mixed: the same for people before a webcam"
    )
    at: float | None = Field(
        None,
        ge=0,
        le=1,
        description="centre of the pattern down the person's box, 0 top, 1 bottom; .42 unless given, the "
        "chest of somebody "
        "who stands, at which evaluate scores photographs too",
    )
    held_out: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="share of images not trained on, by which the best step is chosen; .25 unless given",
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="bf16 where the CPU or GPU computes in it")
    threads: int | None = Field(None, ge=1, le=256, description="CPU threads; the same number for the same result")
    tensorboard: bool = Field(False, description="write TensorBoard events to OUT/tensorboard")

    def run(self) -> int:
        """Train, and print where the pattern is and how it did beside grey.

        Raises: SettingsError if there is nothing to train on, flags do not go together, or the run to be resumed cannot be
        read.
        """
        if self.resume and self.minutes is not None:
            raise SettingsError(
                "a run's steps are fixed at its start", field="minutes", hint="leave it out with --resume"
            )
        return (self._as_begun() if self.resume else self)._anchored()._go()

    _lengths = field_validator("width_mm", "height_mm", mode="before")(length_in("mm"))

    @field_validator("images", "detector")
    @classmethod
    def _apart(cls, values: list[str]) -> list[str]:
        """Return each name or path by itself."""
        names = each_apart(values)
        if values and not names:
            raise ValueError("expected one name or path or more, got none")
        return names

    def _as_begun(self) -> Command:
        """Return the flags with which the run in --out was begun, and those given now over them.

        Raises: SettingsError if they cannot be read.
        """
        path = self.out / BEGUN
        try:
            begun = parse_json(path.read_bytes())
            if not isinstance(begun, dict):
                raise ValueError(f"expected a table of flags, got {type(begun).__name__}")
            # A run that says nothing of a start has begun from random colours.
            return type(self).model_validate({"start": RANDOM, **begun, **self._given(), "trust": self.trust})
        except FileNotFoundError as error:
            raise SettingsError(
                f"no run here to go on with: {self.out} has no {BEGUN}",
                field="resume",
                hint="name the run's folder by --out, or begin one without --resume",
            ) from error
        except ValidationError as error:
            damage = one_line(error)
            raise SettingsError(f"{path} is damaged: {damage}"[:SAID], field="resume") from error
        except (OSError, ValueError, TypeError, RecursionError) as error:
            text = f"{path} cannot be read, so there is no run to go on with: {error}"
            raise SettingsError(text[:SAID], field="resume") from error

    def _given(self) -> dict[str, Any]:
        """Return the flags that were given, without --trust: a run's folder may come from somebody else."""
        return self.model_dump(mode="json", include=self.model_fields_set - {"trust"})

    def _anchored(self) -> Command:
        """Return the flags with absolute paths, so that a run can be resumed from any folder."""
        anchored: dict[str, Any] = {
            "images": [str(Path(p).resolve()) for p in self.images],
            "detector": [_absolute(d) if d.endswith(".pt") else d for d in self.detector],
            "labels": self.labels and self.labels.resolve(),
            "look": self.look and self.look.resolve(),
            "region": self.region and self.region.resolve(),
            "start": self.start and _absolute(self.start),
            "camera": self.camera and str(CameraProfile.find(self.camera).resolve()),
            "printer": self.printer and str(PrinterProfile.find(self.printer).resolve()),
            "through": self.through and _anchored_pipeline(self.through),
        }
        return self.model_copy(update={n: v for n, v in anchored.items() if n in self.model_fields_set})

    def _go(self) -> int:
        if self.threads:
            torch.set_num_threads(self.threads)
        trust_detectors(self.detector, self.trust, "physadv train")
        if not self.images and self.source is None:
            raise SettingsError(
                field="images", expected="a folder, data set or video with people (or --source 0)", got="none"
            )
        if self.images and self.source is not None:
            raise SettingsError("--images and --source: expected one of the two, got both")
        if self.labels is not None and self.source is not None:
            raise SettingsError(
                field="labels", expected="--images that they belong to", got="--source, whom the detector labels"
            )
        if self.source is None and "seconds" in self.model_fields_set:
            raise SettingsError(field="seconds", expected="a camera by --source to record", got="none")
        if self.look_weight is not None and self.look is None:
            raise SettingsError(field="look_weight", expected="an image by --look that it is about", got="none")
        trained_through = self._trained_through()
        pick_device(self.device)
        check_folder("out", self.out)
        if not self.resume:
            check_own_folder("out", self.out, FILES, overwrite=self.overwrite)
            check_outside("out", self.out, self.images)
        camera, printer = load_profiles(self.camera, self.printer)
        settings = self.settings()
        if printer is not None:
            settings = with_printer(settings, printer, strength=1.0 if self.ink is None else self.ink)
        inputs = Inputs(
            images=self.images,
            labels=self.labels,
            source=self.source,
            seconds=self.seconds,
            detectors=self.detector,
            through=self.through,
            region=self.region,
            look=self.look,
            start=self._start(),
            camera=camera,
            printer=printer,
        )
        check_given(settings, inputs)
        processes = Processes.join()
        console = Terminal(stderr=True, quiet=not processes.first)
        if trained_through:
            console.print(trained_through, highlight=False, markup=False, soft_wrap=True)
        try:
            with only_writer("out", self.out) if processes.first else nullcontext():
                outcome = self._train(settings, inputs, processes, console)
        except KeyboardInterrupt:
            console.print(self._stopped(), highlight=False, markup=False, soft_wrap=True)
            return INTERRUPTED
        finally:
            processes.leave()
        if processes.first:
            report(outcome, Terminal(), self.images if self.labels is None else [])
        return 0 if outcome.done else INTERRUPTED

    def _trained_through(self) -> str:
        """Return what to say of a pipeline of which a part has no twin to train through, or "" where nothing is left out.

        Raises: SettingsError if no defence named has one. DefenceError if one is not known, or its weights are missing.
        """
        if self.through is None:
            return ""
        pipeline = parse_pipeline(self.through, field="through")
        with naming("through"):
            pipeline.weights()
        left = ", ".join(d.name for d in pipeline.defences if not d.over_time)
        out = ", ".join(pipeline.over_time)
        if out and not left:
            raise SettingsError(
                f"{out} has no twin for single images and would be ignored", field="through", hint="leave it out"
            )
        return f"--through {self.through}: trained through {left}; {out} has no twin for single images" if out else ""

    def _stopped(self) -> str:
        """Return what to say of a run that was stopped in the middle of something: what is left, and how to go on."""
        out = shlex.quote(str(self.out))
        if (self.out / CHECKPOINT).exists():
            return f"stopped; the last checkpoint is kept, go on with: physadv train --resume --out {out}"
        people = self.out / RECORDED
        if self.source is not None and people.is_dir():
            return f"stopped before the first checkpoint; who was recorded is kept: --images {shlex.quote(str(people))}"
        return "stopped before the first checkpoint; nothing was trained"

    def settings(self) -> TrainSettings:
        """Return the preset with what the flags override.

        Raises: SettingsError if they do not go together.
        """
        plain = [
            "worst_of",
            "starts",
            "texels",
            "batch",
            "accumulate",
            "crops",
            "warm",
            "lr",
            "margin",
            "spread",
            "noise",
            "tv",
            "nps",
            "smooth",
            "colours",
        ]
        plain += ["look_weight", "scale", "webcam_scale", "at", "held_out", "steps"]
        values: dict[str, Any] = {n: getattr(self, n) for n in plain if getattr(self, n) is not None}
        for name in ("target", "framing", "goal", "mix", "seed", "pyramid", "rule"):
            values[name] = getattr(self, name)
        if self.webcam_scale is not None and self.framing != "mixed":
            raise SettingsError(
                "is of use with --framing mixed alone", field="webcam_scale", hint=f"with {self.framing} give --scale"
            )
        if self.framing == "webcam" and self.scale is not None:
            values["webcam_scale"] = values.pop("scale")
        if self.look is not None:
            values.setdefault("look_weight", 2.0)
        if self.width_mm or self.height_mm:
            side = self.width_mm or self.height_mm or 0.0
            values["size_mm"] = (self.width_mm or side, self.height_mm or side)
        dials = {field: getattr(self, flag) for flag, field in DIALS.items() if getattr(self, flag) is not None}
        if dials or self.strength is not None:
            world = TrainSettings().world if self.strength is None else World.of(self.strength)
            changed = {n: getattr(world, n).model_copy(update={"strength": v}) for n, v in dials.items()}
            values["world"] = world.model_copy(update=changed)
        return parse(TrainSettings, {**preset(self.preset, self.framing), **values})

    def _train(self, settings: TrainSettings, inputs: Inputs, processes: Processes, console: Console) -> Outcome:
        where = processes.device(self.device)
        attacked = attacked_detectors(self.detector, self.through, device=where, precision=self.precision)
        if self.minutes is not None:
            settings = timed(settings, self.minutes, attacked, self.out, resume=self.resume, processes=processes)
        with ExitStack() as stack:
            events = stack.enter_context(self._events()) if self.tensorboard and processes.first else None
            stop = stack.enter_context(Stop())
            shown = stack.enter_context(Shown("physadv train", console=console))
            line = ProgressLine(shown)
            prepared = _said(
                prepare(settings, inputs, attacked, self.out, resume=self.resume, processes=processes), shown.say
            )
            if not self.resume and processes.first:
                self._write_flags(prepared.start)
            with closing(trained(prepared)) as steps:
                for progress in steps:
                    if processes.first:
                        line.show(progress)
                        if events is not None:
                            events(progress)
                    # One process that left by itself would let the others wait for it in the next sum.
                    if processes.any(stop.asked()):
                        break
            return conclude(prepared)

    def _start(self) -> str | None:
        """Return what `Inputs.start` is told."""
        start = self.start or (AUTO if self.preset == "quick" else RANDOM)
        return None if start == RANDOM else start

    def _write_flags(self, start: str | None) -> None:
        """Keep the flags, with which the run can be resumed."""
        # By its name: another one may be shipped by then.
        chosen = {"start": start or RANDOM} if self._start() == AUTO else {}
        # To go on, who was recorded is enough: the camera's password is not kept.
        camera = {} if self.source is None else {"source": masked(self.source)}
        write_json(self.out / BEGUN, {**self._given(), **chosen, **camera})

    @contextmanager
    def _events(self) -> Iterator[Callable[[Progress], None]]:
        """Yield a writer of TensorBoard events, whose file is whole when the run ends, however it does.

        Raises: SettingsError if tensorboard is not installed.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise SettingsError(
                "not installed", field="tensorboard", hint='pip install "physadv[tensorboard]"'
            ) from error
        writer = SummaryWriter(str(self.out / "tensorboard"))

        def write(progress: Progress) -> None:
            writer.add_scalar("loss", progress.loss, progress.step)
            for framing, figures in (progress.score or {}).items():
                for name in ("recall25", "ap50", "asr_strict25", "mean_max_conf"):
                    if figures[name] is not None:
                        writer.add_scalar(f"{framing}/{name}", figures[name], progress.step)

        try:
            yield write
        finally:
            writer.close()


class Stop:
    """Ctrl-C or SIGTERM as a question the loop asks: the first ends the run after its step, a second one at once.

    Before the loop has asked once there is no step to save, so that the first one ends it at once too.
    """

    def __init__(self) -> None:
        self._hit = False
        self._looping = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        self._before = {n: signal.signal(n, self._handle) for n in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, _signal: int, _frame: FrameType | None) -> None:
        if self._hit or not self._looping:
            raise KeyboardInterrupt
        self._hit = True

    def asked(self) -> bool:
        """Return whether someone asked for the run to stop; to be asked after each step."""
        self._looping = True
        return self._hit


def attacked_detectors(
    names: list[str], through: str | None, *, device: str = "auto", precision: str = "auto"
) -> list[GradientDetector]:
    """Return the detectors to attack, each behind the twin of the pipeline where one is named.

    Raises: WeightsError, BackendError or DefenceError for what cannot be had.
    """
    where = pick_device(device)
    chosen: Literal["fp32", "bf16"] = "bf16" if precision == "bf16" else "fp32"
    if precision == "auto" and _computes_bf16(where):
        chosen = "bf16"
    plain: list[GradientDetector] = [load_gradient_detector(n, device=where, precision=chosen) for n in names]
    if through is None:
        return plain
    pipeline = parse_pipeline(through)
    return [pipeline.twin(detector) for detector in plain]


def _absolute(where: str) -> str:
    """Return the absolute path of a file or folder that is there; names of what is shipped or downloaded stay."""
    path = Path(where).expanduser()
    return str(path.resolve()) if path.exists() else where


def _anchored_pipeline(text: str) -> str:
    """Return a pipeline whose defences name their weights by absolute paths."""
    pipeline = parse_pipeline(text, field="through")
    resolved = pipeline.resolved()
    return text if resolved == pipeline else resolved.text


def report(outcome: Outcome, console: Console, images: Sequence[str] = ()) -> None:
    """Print where the pattern is and its held-out figures beside those of no pattern and of grey.

    images: what was trained on, if its own labels are all that it needs: the part held out can be scored next.
    """
    say = partial(console.print, highlight=False, markup=False, soft_wrap=True)
    for framing, controls in outcome.controls.items():
        figures = outcome.held_out.get(framing)
        rows = {**controls, **({"pattern": figures} if figures else {})}
        for name, row in rows.items():
            figures_shown = "  ".join(f"{label} {_figure(row[key])}" for label, key in SHOWN.items())
            count = f"(n = {row['n_people']} people in {row['n_images']} images held out)"
            say(f"{framing:<10} {name:<8} {figures_shown}  {count}")
    for text in _verdict(outcome):
        say(text)
    say(f"pattern: {outcome.folder / 'patch.png'}")
    folder = shlex.quote(str(outcome.folder))
    if not outcome.done:
        say(f"stopped after step {outcome.step}; go on with: physadv train --resume --out {folder}")
    say("next:")
    for command in _next(outcome, images):
        say(f"  {command}")


def _verdict(outcome: Outcome) -> Iterator[str]:
    """Yield what must not be passed over in silence: the start was kept, or the pattern does no better than grey."""
    if outcome.start is not None and not outcome.held_out:
        yield (
            f"whether this is better than {outcome.start}, from which it began, is not known: nobody held out could be "
            "scored; give more photographs with people, or another --seed, which holds out others"
        )
    elif outcome.kept == "start":
        yield (
            f"kept is {outcome.start}, from which the run began: no pattern trained here did better on those held out, so "
            "the training gained nothing; train longer (--preset standard, --minutes 30), or on people more like those "
            "held out"
        )
    elif outcome.start is not None and any("start" in rows for rows in outcome.controls.values()):
        yield f"kept is a trained pattern: it does better on those held out than {outcome.start}, from which it began"
    for framing, figures in outcome.held_out.items():
        grey = outcome.controls.get(framing, {}).get("grey")
        if (
            grey
            and all(figures[key] is not None and grey[key] is not None for key in ("recall25", "hidden25"))
            and (figures["recall25"] >= grey["recall25"] and figures["hidden25"] <= grey["hidden25"])
        ):
            yield (
                f"{framing}: no better than a grey square of its size; look at the simulated world with preview, train "
                "longer, print it larger (--width-mm), or train on people more like those held out"
            )


def _next(outcome: Outcome, images: Sequence[str]) -> list[str]:
    """Return the commands that somebody who has a pattern types next."""
    alone = len(images) == 1 and Path(images[0]).is_dir() and bool(outcome.held_out)
    scored = shlex.quote(images[0]) if alone else "PHOTOGRAPHS"
    folder = shlex.quote(str(outcome.folder))
    width = outcome.patch.size_mm[0] / 10
    shirt = outcome.patch.target == "tshirt"
    return [
        f"physadv live --wear {folder}",
        f"physadv evaluate {folder} --images {scored} --held-out",
        f"physadv print {folder} " + ("--garment panels --shirt M" if shirt else f"--size {width:g}cm"),
    ]


def _figure(value: float | None) -> str:
    """Return a figure to three places, or a dash where there was no one to count."""
    return "-" if value is None else f"{value:.3f}"


def _said(work: Generator[str, None, T], say: Callable[[str], None]) -> T:
    """Return the result of work that yields lines, saying each."""
    while True:
        try:
            say(next(work))
        except StopIteration as end:
            return end.value


class ProgressLine:
    """The line of progress: the mean loss of the last steps, held-out figures as they are and of the best so far."""

    def __init__(self, shown: Shown) -> None:
        self._shown = shown
        self._losses: deque[float] = deque(maxlen=50)
        self._now: dict[str, Any] = {}

    def show(self, progress: Progress) -> None:
        """Show where the run stands after this step."""
        self._losses.append(progress.loss)
        self._now |= progress.score or {}
        text = f"loss {sum(self._losses) / len(self._losses):.3f}" + _held_out(self._now, progress.best)
        # Where no bar can be drawn (a log file) each scoring gets a line.
        where = f"step {progress.step}/{progress.steps}  {progress.seconds:.0f} s  {text}"
        self._shown.tell(progress.step / progress.steps, where, line=progress.score is not None)


def _held_out(now: dict[str, Any], best: dict[str, Any]) -> str:
    """Return the figures on held-out people as text: of the pattern as it is, and of the best so far."""
    text = ""
    for title, table in (("held out", now), ("best", best)):
        shown = [f"{n} asr {_figure(v['asr_strict25'])} recall {_figure(v['recall25'])}" for n, v in table.items()]
        text += f"  {title}: {'  '.join(shown)}" if shown else ""
    return text


def _computes_bf16(device: str) -> bool:
    """Return whether bfloat16 is fast there. CPUs without the instructions emulate it, 13 times slower than fp32."""
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported()
    return device == "cpu" and bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
