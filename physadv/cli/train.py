"""`physadv train`: images of people in, a printable pattern out."""

from __future__ import annotations

import shlex
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pydantic import Field
from rich.console import Console

from physadv.address import masked
from physadv.attack.settings import AUTO, RANDOM, TrainSettings
from physadv.cli.begun import BEGUN, absolute, read_begun
from physadv.cli.console import Terminal
from physadv.cli.detectors import Trust, trust_detectors
from physadv.cli.edge import INTERRUPTED, Stop, interruptible
from physadv.cli.outputs import Overwrite, check_folder, check_own_folder, only_writer
from physadv.cli.progress import ProgressBar
from physadv.errors import SettingsError
from physadv.files import write_json
from physadv.settings import Groups

if TYPE_CHECKING:
    from physadv.attack.data import Inputs
    from physadv.attack.optimise import Progress
    from physadv.attack.parallel import Processes
    from physadv.attack.training import Outcome

T = TypeVar("T")
S = TypeVar("S", bound=TrainSettings)
SHOWN = {
    "recall25": "recall25",
    "AP50": "ap50",
    "asr_strict25": "asr_strict25",
    "hidden25": "hidden25",
    "mean conf": "mean_max_conf",
    "dormant recall25": "dormant_recall25",
    "joint25": "joint25",
}
EXAMPLES = (
    "physadv train --images photos --target chest --framing webcam --minutes 10 --out mine",
    "physadv train --resume --out mine",
)


class TrainVerb(TrainSettings):
    """A training run, and what only the command has."""

    groups: ClassVar[Groups] = {
        **TrainSettings.groups,
        "run": (*TrainSettings.groups["run"], "overwrite", "trust", "tensorboard"),
    }

    overwrite: Overwrite = False
    trust: Trust = False
    tensorboard: bool = Field(default=False, description="write TensorBoard events to OUT/tensorboard")


def run(settings: TrainVerb) -> int:
    """Train a printable patch or T-shirt pattern on people, and score it on people held out.

    By expectation over transformation (EOT): in each step the pattern is put on people as cloth, camera and light would
    show it, and made to hide them all the same.

    Raises: SettingsError if there is nothing to train on, fields do not go together, or the run to be resumed cannot be
    read.
    """
    from physadv.attack.data import read_inputs
    from physadv.attack.parallel import Processes
    from physadv.attack.run import CHECKPOINT, START
    from physadv.attack.training import PROGRESS
    from physadv.dataset import check_outside

    if settings.resume and settings.minutes is not None:
        raise SettingsError("a run's steps are fixed at its start", field="minutes", hint="leave it out with `resume`")
    settings = anchored(as_begun(settings) if settings.resume else settings)
    trust_detectors(settings.detector, settings.trust, "physadv train")
    inputs = read_inputs(settings)
    check_folder("out", settings.out)
    if not settings.resume:
        files = ("patch.safetensors", "patch.png", "run.json", "split.json", PROGRESS, CHECKPOINT, START, BEGUN)
        check_own_folder("out", settings.out, files, overwrite=settings.overwrite)
        check_outside("out", settings.out, settings.images)
    processes = Processes.join()
    console = Terminal(stderr=True, quiet=not processes.first)
    try:
        with only_writer("out", settings.out) if processes.first else nullcontext():
            outcome = _train(settings, inputs, processes, console)
    except KeyboardInterrupt:
        console.print(_stopped(settings), highlight=False, markup=False, soft_wrap=True)
        return INTERRUPTED
    finally:
        processes.leave()
    if processes.first:
        report(outcome, Terminal(), settings.images if settings.labels is None else [])
    return 0 if outcome.done else INTERRUPTED


def _train(settings: TrainVerb, inputs: Inputs, processes: Processes, console: Console) -> Outcome:
    """Train step by step, showing each, until the end or a signal."""
    from physadv.attack.training import conclude, prepare, trained

    with ExitStack() as stack:
        events = stack.enter_context(_events(settings.out)) if settings.tensorboard and processes.first else None
        stop = Stop()
        stack.enter_context(interruptible(stop))
        shown = stack.enter_context(ProgressBar("physadv train", console=console))
        line = ProgressLine(shown)
        prepared = _said(prepare(inputs, processes=processes), shown.say)
        if not settings.resume and processes.first:
            write_flags(settings, prepared.start)
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


def as_begun(settings: TrainVerb) -> TrainVerb:
    """Return the flags with which the run in `out` was begun, and those given now over them.

    Raises: SettingsError if they cannot be read.
    """
    from physadv.attack.run import START

    start = settings.out / START

    def now(begun: dict[str, Any]) -> dict[str, Any]:
        if begun.get("start", RANDOM) != RANDOM and start.is_file():
            begun["start"] = str(start)
        # A run that says nothing of a start has begun from random colours.
        return {"start": RANDOM, **begun, **given(settings), "trust": settings.trust}

    return read_begun(type(settings), settings.out, now, given=given(settings))


def given(settings: TrainSettings) -> dict[str, Any]:
    """Return the flags that were given, without `--trust`: a run's folder may come from somebody else."""
    return settings.model_dump(mode="json", include=settings.model_fields_set - {"trust"})


def write_flags(settings: TrainVerb, start: str | None) -> None:
    """Write the flags with which the run can be resumed. start: the name of the pattern that it started from."""
    # By its name: another one may be shipped by then.
    chosen = {"start": start or RANDOM} if settings.start_wanted == AUTO else {}
    # To go on, the people that were recorded are enough: the camera's password is not kept.
    camera = {} if settings.source is None else {"source": masked(settings.source)}
    write_json(settings.out / BEGUN, {**given(settings), **chosen, **camera})


def anchored(settings: S) -> S:
    """Return the flags with absolute paths, so that a run can be resumed from any folder."""
    from physadv.camera.profile import CameraProfile, PrinterProfile
    from physadv.detect import names as detector_names

    s = settings
    paths: dict[str, Any] = {
        "images": [str(Path(p).resolve()) for p in s.images],
        "detector": [detector_names.absolute(d) for d in s.detector],
        "labels": s.labels and s.labels.resolve(),
        "look": s.look and s.look.resolve(),
        "region": s.region and s.region.resolve(),
        "start": s.start and absolute(s.start),
        "camera": s.camera and str(CameraProfile.find(s.camera).resolve()),
        "printer": s.printer and str(PrinterProfile.find(s.printer).resolve()),
        "through": s.through and _anchored_pipeline(s.through),
    }
    return s.model_copy(update={n: v for n, v in paths.items() if n in s.model_fields_set})


def _anchored_pipeline(text: str) -> str:
    """Return a pipeline whose defences name their weights by absolute paths."""
    from physadv.defend import parse_pipeline

    pipeline = parse_pipeline(text, field="through")
    resolved = pipeline.resolved()
    return text if resolved == pipeline else resolved.text


def _stopped(settings: TrainVerb) -> str:
    """Return what to show of a run that was stopped in the middle of something: what is left, and how to go on."""
    from physadv.attack.data import RECORDED
    from physadv.attack.run import CHECKPOINT

    out = shlex.quote(str(settings.out))
    if (settings.out / CHECKPOINT).exists():
        return f"stopped; the last checkpoint is kept, go on with: physadv train --resume --out {out}"
    people = settings.out / RECORDED
    if settings.source is not None and people.is_dir():
        return f"stopped before the first checkpoint; who was recorded is kept: --images {shlex.quote(str(people))}"
    return "stopped before the first checkpoint; nothing was trained"


@contextmanager
def _events(folder: Path) -> Iterator[Callable[[Progress], None]]:
    """Yield a writer of TensorBoard events, whose file is whole when the run ends, however it does.

    Raises: SettingsError if tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise SettingsError("not installed", field="tensorboard", hint='pip install "physadv[tensorboard]"') from error
    writer = SummaryWriter(str(folder / "tensorboard"))

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


def _said(work: Generator[str, None, T], say: Callable[[str], None]) -> T:
    """Return the result of work that yields lines, saying each."""
    while True:
        try:
            say(next(work))
        except StopIteration as end:
            return end.value


class ProgressLine:
    """The line of progress: the mean loss of the last steps, held-out figures as they are and of the best so far."""

    def __init__(self, shown: ProgressBar) -> None:
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
        self._shown.show(progress.step / progress.steps, where, line=progress.score is not None)


def _held_out(now: dict[str, Any], best: dict[str, Any]) -> str:
    """Return the figures on held-out people as text: of the pattern as it is, and of the best so far."""
    text = ""
    for title, table in (("held out", now), ("best", best)):
        shown = [
            f"{n} asr {_figure(v['asr_strict25'])} recall {_figure(v['recall25'])}"
            + (f" dormant {_figure(v['dormant_recall25'])}" if "dormant_recall25" in v else "")
            for n, v in table.items()
        ]
        text += f"  {title}: {'  '.join(shown)}" if shown else ""
    return text


def report(outcome: Outcome, console: Terminal, images: Sequence[str] = ()) -> None:
    """Print where the pattern is and its held-out figures beside those of no pattern and of grey.

    images: what was trained on, if its own labels are all that it needs: the part held out can be scored next.
    """
    say = console.say
    for framing, controls in outcome.controls.items():
        figures = outcome.held_out.get(framing)
        rows = {**controls, **({"pattern": figures} if figures else {})}
        for name, row in rows.items():
            figures_shown = "  ".join(f"{label} {_figure(row[key])}" for label, key in SHOWN.items() if key in row)
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
        # A tie is decided by the confidence in those who are seen: that is no success to speak of.
        equal = all(
            figures[key] == outcome.controls.get(framing, {}).get("start", {}).get(key)
            for framing, figures in outcome.held_out.items()
            for key in ("recall25", "asr_strict25", "hidden25")
        )
        better = "hides as many of those held out as" if equal else "does better on those held out than"
        yield (
            f"kept is a trained pattern: it {better} {outcome.start}, from which it began"
            + (", and no more: the training gained little" if equal else "")
        )
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
    shirt = outcome.patch.tiles
    return [
        f"physadv live --wear {folder}",
        f"physadv evaluate {folder} --images {scored} --held-out",
        f"physadv print {folder} " + ("--garment panels --shirt M" if shirt else f"--size {width:g}cm"),
    ]


def _figure(value: float | None) -> str:
    """Return a figure to three places, or a dash where there was no one to count."""
    return "-" if value is None else f"{value:.3f}"
