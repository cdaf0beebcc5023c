"""`physadv evaluate`: patterns, controls and defences scored on labelled images or a recorded video."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from physadv.address import is_url
from physadv.attack.people import VIDEO_SUFFIXES
from physadv.cli.base import Command as BaseCommand
from physadv.cli.imgsz import rounded_imgsz
from physadv.cli.outputs import check_folder, check_own_folder, only_writer
from physadv.cli.progress import Progress
from physadv.cli.scoreboard import show_cells, show_video
from physadv.cli.tables import table_console
from physadv.cli.terminal import say
from physadv.cli.trust import Trust, trust_detectors
from physadv.dataset import Dataset, LabelledImage, check_outside, split_images
from physadv.defend import Pipeline, parse_pipeline
from physadv.detect import load_detector, load_gradient_detector
from physadv.detect.matching import AP_CONF, FOUND_CONF
from physadv.detect.pytorch import pick_device
from physadv.detect.weights import DEFAULT_DETECTOR
from physadv.errors import DataError, SettingsError, SourceError, naming
from physadv.evaluate import doubts, video
from physadv.evaluate.cell import Cell
from physadv.evaluate.certified import CertifiedRecall, add_image, seekers, table, write_certified
from physadv.evaluate.own import FILLS, Asked, Fit, fit_of, in_words, share_of_image
from physadv.evaluate.report import RUN, WORN, Examples, write_report, write_video_report
from physadv.evaluate.scene import read_dataset
from physadv.evaluate.settings import EvaluateSettings
from physadv.evaluate.trial import Progress as Tell
from physadv.evaluate.trial import Trial, entries, run
from physadv.files import file_name, parse_json, told_apart, write_json
from physadv.lineage import Seen
from physadv.patch import Patch, load_patch
from physadv.settings import Imgsz, Metavar, Names, Positional, each_apart, parse
from physadv.simulate.placement import Placement, Rule
from physadv.types import Detector
from physadv.version import __version__

EXAMPLES = 3
FIELDS = EvaluateSettings.model_fields
# Flags that say nothing about a video.
IMAGES_ONLY = ("adaptive", "held_out", "grid", "clean_video", "labels", "min_area")

# Flags that say nothing unless patterns are trained through the defences.
ADAPTIVE_ONLY = ("restarts", "attack_steps", "attack_views", "score_share")
# Flags that decide the figures.
FLAGS = (
    *(
        "every",
        "wear_from",
        "held_out",
        "rule",
        "scale",
        "at",
        "detector",
        "imgsz",
        "min_area",
        "grid",
        "defend",
        "adaptive",
    ),
    *ADAPTIVE_ONLY,
    *("certify", "conf", "resamples", "seed"),
)
# What an evaluation was asked, in its run.json.
ASKED = "asked"
OWN_FILES = (RUN, "results.json", "report.md")


class Command(BaseCommand):
    """Score patterns beside the same-size controls none, grey, white, noise and shuffled; always in float32."""

    groups: ClassVar[dict[str, tuple[str, ...]]] = {
        "data": ("images", "video", "labels", "every", "wear_from", "held_out", "min_area"),
        "run": ("out", "overwrite", "detector", "trust", "imgsz", "conf", "grid", "resamples", "seed", "device"),
        "how patterns are worn": ("scale", "rule", "at"),
        "defences": ("defend", "clean_video", "certify"),
        "adaptive attacks": ("adaptive", "restarts", "attack_steps", "attack_views", "score_share"),
    }
    examples: ClassVar[tuple[str, ...]] = (
        "physadv evaluate chest-v1,chest-v3 --images photos --held-out",
        "physadv evaluate chest-v3 --video clip.mp4 --defend balanced --out clip",
    )

    patches: Positional[Annotated[Names, Metavar("PATTERN")]] = Field(
        default=[],
        description="shipped names, patch files, images or run folders: several as words, or between commas",
    )
    images: Path | None = Field(default=None, description="folder of photographs, or a YOLO data set")
    labels: Path | None = Field(
        default=None, description="folder of YOLO labels; without any the clean detector labels"
    )
    video: Path | None = Field(default=None, description="score a video frame by frame instead of photographs")
    every: int = Field(default=1, ge=1, description="with --video: take every n-th frame")
    wear_from: float = Field(
        default=0, ge=0, description="with --video: seconds into it from which patterns are worn, as live --wear-from"
    )
    held_out: bool = Field(default=False, description="leave out images that any of the patterns was trained on")
    rule: Rule | None = Field(
        default=None,
        description="what --scale is a fraction of, of the person's box: area (sqrt(width x height), as in train, since "
        "boxes of people who sit or bend differ least in it), diagonal or height; each pattern's own unless given",
    )
    scale: float | None = Field(
        default=None,
        description="side of the pattern as a fraction of --rule; each pattern's own unless given, in the street .35 for "
        "a print of 36 cm, before a webcam .65 for 48 cm",
    )
    at: str | None = Field(
        default=None,
        description="centre down the person's box, 0 top, 1 bottom; or chest, by keypoints; or shirt, cut anywhere. Each "
        "pattern's own unless given: .42 in the street, chest before a webcam, shirt for T-shirts",
    )
    detector: str = Field(default=DEFAULT_DETECTOR, description="detectors by name or path, separated by commas")
    trust: Trust = False
    imgsz: Imgsz | None = Field(
        default=None,
        description="long side of the network's input, rounded up to a multiple of 32; unless given each pattern's own: "
        "416 in the street, 320 and 640 before a webcam; 640 without any",
    )
    min_area: float = Field(default=0.02, description=FIELDS["min_area"].description)
    grid: Literal["none", "robust"] = Field(default="none", description="robust: 16 conditions more, fixed and seeded")
    defend: list[str] = Field(
        default=[],
        description="a defence, preset or pipeline, as in live; repeatable, each is scored: see physadv defences",
    )
    adaptive: bool = Field(
        default=False, description="train patterns through each defence, on images that are then not scored"
    )
    restarts: int = Field(default=3, ge=1, le=50, description="adaptive attacks on each defence; the worst is reported")
    attack_steps: int = Field(default=400, ge=1, description="optimiser steps of each adaptive attack")
    attack_views: int = Field(
        default=12, ge=1, le=256, description="views of 224 pixels a step, fewer where they are larger"
    )
    score_share: float = Field(
        default=0.25,
        gt=0,
        lt=1,
        description="with --adaptive: share of the photographs that is scored, unless the patterns' own split "
        "says which",
    )
    certify: bool = Field(
        default=False,
        description="certified recall of each --defend with objectseeker, or of its defaults; many views an image",
    )
    clean_video: Path | None = Field(default=None, description="video without patterns: each defence's false alarms")
    conf: float = Field(default=FOUND_CONF, description=FIELDS["conf"].description)
    resamples: int = Field(default=500, description=FIELDS["resamples"].description)
    seed: int = Field(default=0, description=FIELDS["seed"].description)
    device: str = Field(default="cpu", description="cpu, cuda, mps or auto")
    out: Path = Field(
        default=Path("evaluation"),
        description="folder for results.json, run.json, report.md and images; unless given, where that holds another "
        "evaluation the first free one of evaluation-2, evaluation-3 and so on",
        json_schema_extra={"metavar": "FOLDER"},
    )
    overwrite: bool = Field(default=False, description="write over an evaluation in --out that was asked anything else")

    def run(self) -> int:
        """Score, write the folder, print the table.

        Raises: SettingsError for flags that do not go together. DataError for a camera in place of a video.
        """
        patches = _named_apart([load_patch(p) for p in self.patches], self.patches)
        asked = self._as_asked()
        settings = self._settings(asked)
        if (self.images is None) == (self.video is None):
            raise SettingsError("expected --images FOLDER or --video FILE, one of the two; see physadv evaluate --help")
        if self.images is not None and self.images.suffix.lower() in VIDEO_SUFFIXES and self.images.is_file():
            raise SettingsError(
                field="images", expected="photographs", got=f"the video {str(self.images)!r}", hint="give it by --video"
            )
        pipelines = [parse_pipeline(text) for text in self.defend]
        self._check_video()
        self._check_unused()
        _check_worn(patches, asked)
        if self.adaptive and not pipelines:
            raise SettingsError(field="adaptive", expected="a defence to attack", hint="name one or more with --defend")
        for pipeline in pipelines:
            with naming("defend"):
                pipeline.weights()
            if self.adaptive and pipeline.defences and all(d.over_time for d in pipeline.defences):
                raise SettingsError(
                    f"{pipeline} does nothing in single images, so there is nothing to attack",
                    field="adaptive",
                    hint="leave it out, or score a recording with --video",
                )
        pick_device(settings.device)
        here = self.model_copy(update={"out": self._free(patches)})
        check_folder("out", here.out)
        check_own_folder("out", here.out, OWN_FILES, overwrite=self.overwrite)
        for field, film in (("video", self.video), ("clean_video", self.clean_video)):
            if film is not None:
                _check_video_file(field, film)
        check_outside("out", here.out, [path for path in (self.images, self.video) if path is not None])
        with only_writer("out", here.out), _said_when_stopped(here.out):
            if self.video is not None:
                return here._video(self.video, settings, asked, patches, pipelines)
            assert self.images is not None
            return here._images(self.images, settings, asked, patches, pipelines)

    def _free(self, patches: Sequence[Patch]) -> Path:
        """Return the folder to write to: one without an evaluation, or with one that is only made again.

        Raises: SettingsError if the folder that was named holds another evaluation.
        """
        if self.overwrite:
            return self.out
        if "out" not in self.model_fields_set:
            numbered = (self.out.with_name(f"{self.out.name}-{number}") for number in count(2))
            return next(f for f in chain([self.out], numbered) if self._other(f, patches) is None and _own(f))
        other = self._other(self.out, patches)
        if other is not None:
            raise SettingsError(
                f"{self.out} holds an evaluation of {other}",
                field="out",
                hint="name another folder, or give --overwrite",
            )
        return self.out

    def _other(self, folder: Path, patches: Sequence[Patch]) -> str | None:
        """Return what an evaluation in a folder is of; None if there is none, or what is asked now would make it again."""
        try:
            run = parse_json((folder / RUN).read_bytes())
            names = ", ".join(p["name"] for p in run["patches"]) or "no pattern"
            before = run.get(ASKED) or {}
            where = run.get("images") or run.get("video") or "other images"
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        now = self._asked(patches)
        changed = [name for name in now if before.get(name) != now[name]]
        if not changed:
            return None
        flags = [f"--{name.replace('_', '-')}" for name in changed]
        return f"{names} on {where}" + (f", with another {', '.join(flags)}" if set(changed) <= set(FLAGS) else "")

    def _asked(self, patches: Sequence[Patch]) -> dict[str, Any]:
        """Return all that decides an evaluation: flags, patterns, and what is read, files by name and size."""
        read = [path for path in (self.images, self.video, self.labels, self.clean_video) if path is not None]
        return {
            **self.model_dump(mode="json", include=set(FLAGS)),
            "patterns": sorted(p.sha256 for p in patches),
            "read": [[path.resolve().name, _listing(path.resolve(), without=self.out.resolve())] for path in read],
        }

    def _check_video(self) -> None:
        """Do nothing if every flag given has a meaning for a video.

        Raises: SettingsError otherwise.
        """
        if self.video is None:
            return
        if self.certify:
            raise SettingsError(
                field="certify", expected="--images", hint="labelled people are needed to say how many are certified"
            )
        if self.wear_from and not self.patches:
            raise SettingsError(field="wear_from", expected="a pattern that is worn from then on", got="none")
        given = self._changed(IMAGES_ONLY)
        if given:
            raise SettingsError(
                f"{', '.join(given)}: expected --images; a video's frames are scored as they come, without labels"
            )

    def _check_unused(self) -> None:
        """Do nothing if every flag given has a meaning beside the others.

        Raises: SettingsError otherwise.
        """
        if self.video is None and (given := self._changed(("every", "wear_from"))):
            raise SettingsError(f"{', '.join(given)}: expected --video; photographs are all scored")
        given = [] if self.adaptive else self._changed(ADAPTIVE_ONLY)
        if given:
            raise SettingsError(f"{', '.join(given)}: expected --adaptive; no pattern is trained here without it")

    def _changed(self, names: Sequence[str]) -> list[str]:
        """Return those of the flags that are not as they are by default."""
        changed = [n for n in names if getattr(self, n) != type(self).model_fields[n].default]
        return ["--" + n.replace("_", "-") for n in changed]

    def _images(
        self,
        images: Path,
        settings: EvaluateSettings,
        asked: Asked,
        patches: list[Patch],
        pipelines: list[Pipeline],
    ) -> int:
        with Progress("physadv evaluate") as shown:
            data, others = self._scenes(images, settings, asked, patches, partial(shown.tell, part="reading images"))
            for line in data.notes():
                shown.say(line)
            filling = share_of_image(data.images) > FILLS
            fits = {p.name: fit_of(p, asked, filling=filling) for p in patches}
            rounds = self._rounds(settings, patches, fits)
            cells: list[Cell] = []
            proven: list[CertifiedRecall] = []
            drawn: list[Path] = []
            facts: dict[str, Any] = {"detectors": [], "skipped": list(data.notes()), "defences": self.defend}
            facts |= {"images": images.resolve().name, ASKED: self._asked(patches)}
            for name in settings.detectors:
                for number, (own, worn) in enumerate(rounds):
                    detector = _detector(name, own)
                    if not number:
                        facts["detectors"].append(_identity(detector))
                    for pipeline in pipelines:
                        # A defence that cannot work with this detector is said before anything is scored.
                        with naming("defend"):
                            pipeline.guard(detector)
                    at = f"{detector.name} at {own.side_of(detector)} px"
                    tell = partial(shown.tell, part=at)
                    suffix = f"-{own.imgsz}" if len(rounds) > 1 else ""
                    examples = Examples(_most_people(data), own.conf, suffix)
                    first = name == settings.detectors[0]
                    trial = Trial(data, detector, own, shown=examples if first else None, progress=tell)
                    trial.scored = partial(_keep, self.out, facts, patches, list(cells))
                    these = [p for p in patches if p.name in worn]
                    run(trial, these, pipelines=pipelines, robust=self.grid == "robust", worn=worn)
                    if self.adaptive:
                        self._attack(name, trial, pipelines, others, these, partial(shown.tell, part=f"{at}, adaptive"))
                    doubts.unattacked(trial.cells)
                    self._alarms(detector, trial.cells, pipelines, partial(shown.tell, part=f"{at}, false alarms"))
                    proven += self._proven(detector, data, pipelines, partial(shown.tell, part=f"{at}, certificates"))
                    cells += trial.cells
                    drawn += examples.write(self.out, these) if first else []
        console = table_console()
        write_report(self.out, cells, settings, patches, facts=facts, examples=drawn)
        show_cells(cells, console)
        if proven:
            write_certified(self.out, proven)
            console.print(table(proven), markup=False, highlight=False, soft_wrap=True)
        console.print(str(self.out / "report.md"), markup=False, highlight=False, soft_wrap=True)
        return 0

    def _rounds(
        self, settings: EvaluateSettings, patches: Sequence[Patch], fits: dict[str, Fit]
    ) -> list[tuple[EvaluateSettings, dict[str, Placement]]]:
        """Return for each size of image its settings and how the patterns that are scored at it are worn, by name.

        Raises: SettingsError where adaptive attacks would have to be made for patterns that are worn in several ways.
        """
        if not patches:
            return [(settings, {})]
        sizes = list(dict.fromkeys(s for fit in fits.values() for s in fit.sizes))
        placements = list(dict.fromkeys(fit.placement for fit in fits.values()))
        if self.adaptive:
            if len(placements) > 1:
                raise SettingsError(
                    field="adaptive",
                    expected="patterns that are worn alike, since attacks are trained as they are worn",
                    got="; ".join(map(in_words, placements)),
                    hint="give --scale and --at, or evaluate them apart",
                )
            # One attack a defence is dear enough: the largest of the patterns' sizes.
            sizes = [max(sizes)]
        out = []
        for size in sizes:
            worn = {name: fit.placement for name, fit in fits.items() if self.adaptive or size in fit.sizes}
            first = next(iter(worn.values()))
            values = {"imgsz": size, "rule": first.rule, "scale": first.scale or settings.scale, "at": first.where}
            out.append((settings.model_copy(update=values), worn))
        return out

    def _attack(
        self,
        name: str,
        trial: Trial,
        pipelines: list[Pipeline],
        others: Sequence[LabelledImage],
        patches: Sequence[Patch],
        tell: Tell,
    ) -> None:
        from physadv.evaluate.adaptive import Budget, attacker, score_adaptive, training

        settings = trial.settings
        attacked = load_gradient_detector(name, device=settings.device)
        budget = Budget(self.restarts, self.attack_steps)
        train = training(settings, others, views=self.attack_views)
        total = budget.restarts * len(pipelines)

        def step(pipeline: Pipeline, restart: int, at: Any) -> None:
            done = pipelines.index(pipeline) * budget.restarts + restart + at.step / max(at.steps, 1)
            tell(done / total, f"through {pipeline}, restart {restart + 1}, step {at.step}")

        attack = attacker(others, attacked, budget, train, step, self.out / "adaptive" / name.replace("/", "-"))
        score_adaptive(trial, pipelines, attack, budget, attacked, patches)

    def _proven(
        self, detector: Detector, data: Dataset, pipelines: list[Pipeline], tell: Tell
    ) -> list[CertifiedRecall]:
        out = []
        for inner, defence in seekers(detector, pipelines) if self.certify else []:
            out.append(CertifiedRecall(defence, detector=inner.name))
            for i, image in enumerate(data.images):
                tell(i / len(data.images), f"image {i + 1} of {len(data.images)}")
                add_image(out[-1], inner, image.pixels, image.boxes, min_area=self.min_area)
        return out

    def _alarms(self, detector: Detector, cells: list[Cell], pipelines: list[Pipeline], tell: Tell) -> None:
        if self.clean_video is None:
            return
        for pipeline in pipelines:
            named = partial(_named_tell, tell, str(pipeline))
            counted = video.alarms_per_1000(self.clean_video, pipeline.guard(detector), progress=named)
            for cell in cells:
                if cell.defence == str(pipeline) and cell.condition == "none":
                    cell.extra |= counted

    def _video(
        self, path: Path, settings: EvaluateSettings, asked: Asked, patches: list[Patch], pipelines: list[Pipeline]
    ) -> int:
        fits = {p.name: fit_of(p, asked, filling=True) for p in patches}
        rows: list[dict[str, Any]] = []
        frames: dict[str, str] = {}
        facts: dict[str, Any] = {"detectors": [], "defences": self.defend, ASKED: self._asked(patches)}
        rounds = self._rounds(settings, patches, fits)
        with Progress("physadv evaluate") as shown:
            for name in settings.detectors:
                for number, (own, worn) in enumerate(rounds):
                    detector = _detector(name, own)
                    if not number:
                        facts["detectors"].append(_identity(detector))
                    these = [p for p in patches if p.name in worn]
                    cells, table = video.score_video(
                        path,
                        entries(these, robust=False, seed=settings.seed, worn=worn),
                        detector,
                        own,
                        pipelines=pipelines,
                        every=self.every,
                        wear_from=self.wear_from,
                        say=shown.say,
                        progress=partial(shown.tell, part=f"{detector.name} at {own.side_of(detector)} px"),
                    )
                    video.compare(cells)
                    rows += cells
                    frames[detector.name + (f"-{own.imgsz}" if len(rounds) > 1 else "")] = table
                    write_video_report(self.out, rows, settings, patches, video=path, frames=frames, facts=facts)
        console = table_console()
        show_video(rows, console)
        console.print(str(self.out / "report.md"), markup=False, highlight=False, soft_wrap=True)
        return 0

    def _as_asked(self) -> Asked:
        """Return what is asked for in place of each pattern's own.

        Raises: SettingsError for a place that is none.
        """
        imgsz = None if self.imgsz is None else rounded_imgsz(self.imgsz, "physadv evaluate")
        return Asked(self.rule, self.scale, None if self.at is None else _at(self.at), imgsz)

    def _settings(self, asked: Asked) -> EvaluateSettings:
        names = tuple(each_apart([self.detector]))
        if not names:
            raise SettingsError(field="detector", expected="one name or path or more, separated by commas", got="none")
        _called(names)
        trust_detectors(names, self.trust, "physadv evaluate")
        fields = ("min_area", "conf", "resamples", "seed", "device")
        values: dict[str, Any] = {name: getattr(self, name) for name in fields}
        # What is not asked for is each pattern's own; these stand where there is none.
        given = {name: getattr(asked, name) for name in WORN if getattr(asked, name) is not None}
        return parse(EvaluateSettings, {**values, **given, "detectors": names})

    def _scenes(
        self,
        images: Path,
        settings: EvaluateSettings,
        asked: Asked,
        patches: Sequence[Patch],
        progress: Tell = lambda *_: None,
    ) -> tuple[Dataset, list[LabelledImage]]:
        """Return the images to score, and those left for adaptive attacks to train on."""

        def labeller() -> Detector:
            return load_detector(backend="torch", precision="fp32", device=settings.device)

        fits = [fit_of(p, asked, filling=filling) for p in patches for filling in (False, True)]
        keypoints = self.adaptive or any(fit.placement.target != "poster" for fit in fits)
        data = read_dataset(
            images, self.labels, min_area=settings.min_area, labeller=labeller, keypoints=keypoints, progress=progress
        )
        trained = doubts.trained_on(patches)
        drawn = self.adaptive and not any(trained.saw(s.name, s.sha256) for s in data.images)
        if drawn:
            names_and_hashes = [(s.name, s.sha256) for s in data.images]
            names = split_images(names_and_hashes, held_out=self.score_share, seed=settings.seed)[0]
            trained = Seen((name, ()) for name in names)
        if not (self.held_out or self.adaptive):
            return data, []
        left = [s for s in data.images if not trained.saw(s.name, s.sha256)]
        others = [s for s in data.images if trained.saw(s.name, s.sha256) and len(s.boxes)]
        if not any(s.counts.any() for s in left):
            raise DataError(self._nobody(images, "score", drawn=drawn))
        if self.adaptive and not others:
            raise DataError(self._nobody(images, "train on", drawn=drawn))
        return replace(data, images=left), others

    def _nobody(self, images: Path, use: Literal["score", "train on"], *, drawn: bool) -> str:
        """Return what to say where a split leaves nobody. drawn: by --score-share, else by the patterns' own records."""
        trained = f"the patterns were trained on every image of {images} that shows people"
        if not self.adaptive:
            return f"--held-out: {trained}"
        if drawn:
            change = "raise" if use == "score" else "lower"
            return (
                f"--adaptive: --score-share {self.score_share:g} leaves nobody of {images} to {use}; {change} it, or give "
                "more images of people"
            )
        why = trained if use == "score" else f"nobody is in the images of {images} that the patterns were trained on"
        return f"--adaptive: {why}, and their records go before --score-share; give other images"


def _listing(path: Path, *, without: Path) -> str:
    """Return a hash of the names and sizes of the files at a path, those in the folder `without` left out."""
    inside = path.rglob("*") if path.is_dir() else [path]
    files = sorted(p for p in inside if p.is_file() and without not in p.parents)
    listed = [(p.relative_to(path).as_posix(), p.stat().st_size) for p in files]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def _check_video_file(field: str, film: Path) -> None:
    """Do nothing for a video, or what else is read in order, that can be opened.

    Raises: SettingsError, naming the flag, if it is not there. DataError for a camera. SourceError for what is no video.
    """
    try:
        video.open_video(film).close()
    except SourceError as error:
        if not film.exists() and not is_url(str(film).replace(":/", "://", 1)):
            raise SettingsError(
                f"there is no {str(film)!r}", field=field, expected="a video file or a folder of images"
            ) from error
        raise error.at(field) from error


def _detector(name: str, settings: EvaluateSettings) -> Detector:
    """Return the reference detector: PyTorch, float32, down to the lowest score that AP counts."""
    detector = load_detector(
        name, backend="torch", precision="fp32", imgsz=settings.imgsz, min_conf=AP_CONF, device=settings.device
    )
    detector.name = _called(settings.detectors)[name]
    return detector


def _identity(detector: Detector) -> dict[str, str]:
    """Return what run.json says of a detector: its name and the hash of its weights."""
    return {"name": detector.name, "sha256": detector.sha256 or ""}


def _own(folder: Path) -> bool:
    """Return whether a folder holds no other program's file by a name of ours."""
    try:
        check_own_folder("out", folder, OWN_FILES, overwrite=False)
    except SettingsError:
        return False
    return True


def _keep(folder: Path, facts: dict[str, Any], patches: Sequence[Patch], before: list[Cell], cells: list[Cell]) -> None:
    """Write what is scored so far: an evaluation of hours that fails keeps what it has, and says that it is not whole."""
    named = [{"name": p.name, "sha256": p.sha256} for p in patches]
    write_json(folder / RUN, {"physadv": __version__, "done": False, "patches": named, **facts})
    write_json(folder / "results.json", [c.plain() for c in (*before, *cells)])


def _written_at(path: Path) -> int | None:
    """Return when a file was written, in nanoseconds, or None if there is none."""
    return path.stat().st_mtime_ns if path.exists() else None


@contextmanager
def _said_when_stopped(folder: Path) -> Iterator[None]:
    """Say of an evaluation that is interrupted within what of it is kept."""
    rows = folder / "results.json"
    before = _written_at(rows)
    try:
        yield
    except KeyboardInterrupt:
        nothing = _written_at(rows) == before
        kept = "nothing was scored yet" if nothing else f"the rows scored until then are in {rows}"
        say(f"physadv evaluate: stopped; {kept}", error=True)
        raise


def _at(text: str) -> float | Literal["chest", "shirt"]:
    if text == "chest":
        return "chest"
    if text == "shirt":
        return "shirt"
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        raise SettingsError(field="at", expected="a fraction from 0 to 1, chest or shirt", got=repr(text))
    return value


def _named_apart(patches: Sequence[Patch], where: Sequence[str]) -> list[Patch]:
    """Return the patterns, those of one name called after the file or folder that they were given as."""
    paths = [str(Path(w).with_suffix("")) if Path(w).is_file() else w for w in where]
    names = _apart([p.name for p in patches], paths, what="patterns")
    return [replace(p, name=n) for p, n in zip(patches, names, strict=True)]


def _called(detectors: Sequence[str]) -> dict[str, str]:
    """Return what reports call each detector: as its file, and those of one name after its folder too.

    Raises: SettingsError if one is named twice, or two cannot be told apart.
    """
    paths = [d.removesuffix(".pt") for d in detectors]
    files = [Path(f"{p}.pt").expanduser().resolve() for p in paths]
    twice = next((d for d, f in zip(detectors, files, strict=True) if files.count(f) > 1), None)
    if twice is not None:
        raise SettingsError(f"{twice} is named twice", field="detector", hint="name each detector once")
    return dict(zip(detectors, _apart([Path(p).name for p in paths], paths, what="detectors"), strict=True))


def _apart(names: Sequence[str], paths: Sequence[str], *, what: str) -> list[str]:
    """Return the names, those that several share replaced by the ends of the paths by which they differ.

    Raises: SettingsError if some are still the same.
    """
    out = [file_name(e) if names.count(n) > 1 else n for n, e in zip(names, told_apart(paths), strict=True)]
    twice = next((n for n in out if out.count(n) > 1), None)
    if twice is not None:
        raise SettingsError(
            f"two {what} are called {twice!r}: their rows could not be told apart; rename one's file or folder"
        )
    return out


def _named_tell(tell: Tell, name: str, share: float | None, what: str) -> None:
    tell(share, f"{name}, {what}")


def _check_worn(patches: Sequence[Patch], asked: Asked) -> None:
    """Do nothing if the patterns can be worn where they go.

    Raises: SettingsError for a T-shirt of a pattern that does not repeat without a seam.
    """
    other = next((p for p in patches if p.target != "tshirt"), None)
    if asked.at == "shirt" and other is not None:
        raise SettingsError(
            field="at=shirt",
            expected="T-shirt textures (physadv train --target tshirt)",
            got=f"{other.name}, a {other.target} pattern",
            hint="score it with --at chest",
        )


def _most_people(data: Dataset) -> tuple[int, ...]:
    order = sorted(range(len(data.images)), key=lambda i: -int(data.images[i].counts.sum()))
    return tuple(order[:EXAMPLES])
