"""`physadv lab finetune`: a data set in, a detector out that every `--detector` takes."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from physadv.cli.begun import BEGUN, read_begun
from physadv.cli.console import Terminal
from physadv.cli.detectors import Trust, trust_detectors
from physadv.cli.edge import INTERRUPTED
from physadv.cli.outputs import Overwrite, check_folder, check_not_input, check_own_folder, only_writer
from physadv.cli.progress import in_words
from physadv.cli.tuning import anchored, as_line, fields_of, stoppable
from physadv.errors import SettingsError
from physadv.files import write_json
from physadv.settings import Groups
from physadv.tune.settings import FineTuneSettings
from physadv.version import __version__

if TYPE_CHECKING:
    from physadv.detect.runs import LabRun
    from physadv.tune.trainer import TuneProgress

LABEL = "physadv lab finetune"
EXAMPLES = (
    "physadv lab finetune --data poisoned --out backdoored",
    "physadv lab finetune --resume --out backdoored",
    "physadv live --detector backdoored",
)


class FineTuneVerb(FineTuneSettings):
    """A fine-tuning, and what only the command has."""

    groups: ClassVar[Groups] = {
        **FineTuneSettings.groups,
        "run": (*FineTuneSettings.groups["run"], "resume", "overwrite", "trust"),
    }

    data: Path = Field(
        default=Path("poisoned"), description="data set in Ultralytics' format: a folder with data.yaml, or that file"
    )
    resume: bool = Field(
        default=False, description="go on with the run in `out` after its last whole epoch, to the same result"
    )
    overwrite: Overwrite = False
    trust: Trust = False


def run(settings: FineTuneVerb) -> int:
    """Fine-tune a detector on a data set with Ultralytics' own trainer, without downloads or files outside `out`.

    The run's folder is a detector: `--detector OUT` takes it anywhere. A run that was killed goes on by `--resume`.

    Raises: SettingsError if flags do not go together, or the run to be resumed cannot be read. DataError for a data set
    that cannot be trained on.
    """
    from physadv.dataset import check_outside
    from physadv.detect.weights import RUN_RECORD, RUN_WEIGHTS
    from physadv.tune.checkpoint import CHECKPOINT

    check_folder("out", settings.out)
    console = Terminal(stderr=True)
    if settings.resume:
        settings = as_begun(settings)
        if not (settings.out / CHECKPOINT).exists() and (settings.out / RUN_RECORD).exists():
            raise SettingsError(f"{settings.out} is finished: there is nothing to go on with", field="resume")
    else:
        files = (RUN_WEIGHTS, RUN_RECORD, CHECKPOINT, BEGUN)
        check_own_folder("out", settings.out, files, overwrite=settings.overwrite)
        check_outside("out", settings.out, [settings.data])
        check_not_input("out", settings.out, [settings.detector])
    settings = anchored(settings, LABEL)
    trust_detectors([settings.detector], settings.trust, LABEL)
    with only_writer("out", settings.out):
        made = _trained(settings)
    if made is None:
        out = shlex.quote(str(settings.out))
        left = "the last whole epoch is kept" if (settings.out / CHECKPOINT).exists() else "no epoch was whole"
        console.print(f"stopped; {left}, go on with: {LABEL} --resume --out {out}", highlight=False, soft_wrap=True)
        return INTERRUPTED
    _report(made, Terminal())
    return 0


def _trained(settings: FineTuneVerb) -> LabRun | None:
    """Return the run, or None if a signal stopped it."""
    from physadv.tune.checkpoint import CHECKPOINT
    from physadv.tune.trainer import TuneStopped, fine_tune

    with stoppable(LABEL) as (shown, stop):
        begun = settings.resume

        def show(progress: TuneProgress) -> bool:
            nonlocal begun
            if not begun:
                # Not before data and parent were found good: what was refused leaves nothing to resume.
                write_json(settings.out / BEGUN, {"physadv": __version__, **_given(settings)})
                begun = True
            shown.show(progress.share, as_line(progress), line=progress.batch == progress.batches)
            return stop.asked()

        plain = fields_of(FineTuneSettings, settings)
        # Killed before its first epoch was whole, a run has nothing to go on from, and begins again.
        resume = settings.resume and (settings.out / CHECKPOINT).exists()
        try:
            return fine_tune(plain, resume=resume, show=show)
        except TuneStopped:
            return None


def as_begun(settings: FineTuneVerb) -> FineTuneVerb:
    """Return the flags with which the run in `out` was begun, and those given now over them.

    Raises: SettingsError if they cannot be read.
    """
    now = settings.model_dump(mode="json", include=settings.model_fields_set)
    return read_begun(type(settings), settings.out, lambda begun: {**begun, **now}, given=now)


def _given(settings: FineTuneVerb) -> dict[str, Any]:
    """Return the flags to resume by, without `trust`: a run's folder may come from somebody else."""
    kept = settings.model_fields_set | {"data", "detector", "imgsz"}
    return settings.model_dump(mode="json", include=kept - {"trust", "resume", "overwrite", "out"})


def _report(made: LabRun, console: Terminal) -> None:
    """Print what was made and what can be done with it."""
    say = console.say
    record, folder = made.record, shlex.quote(str(made.folder))
    data = record["data"]
    poison = f", {data['poisoned_images']} of them poisoned" if data["poisoned_images"] else ""
    say(
        f"{made.folder}: {record['parent']['name']} fine-tuned on {data['images']} images with {data['people']} labelled "
        f"people{poison}, {len(record['history'])} epochs in {in_words(record['seconds'])}"
    )
    for line in data["left_out"]:
        say(line)
    say("next:")
    say(f"  physadv live --detector {folder}")
