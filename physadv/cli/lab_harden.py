"""`physadv lab harden`: a detector trained on people who wear patterns, and what that cost."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from physadv.cli.console import Terminal
from physadv.cli.detectors import Trust, check_detectors, trust_detectors
from physadv.cli.edge import INTERRUPTED
from physadv.cli.outputs import Overwrite, check_folder, check_not_input, check_own_folder, only_writer
from physadv.cli.tuning import anchored, as_line, fields_of, stoppable
from physadv.settings import Groups
from physadv.tune.harden.settings import DATA, HardenSettings

if TYPE_CHECKING:
    from physadv.tune.harden.run import Hardened
    from physadv.tune.trainer import TuneProgress

LABEL = "physadv lab harden"
EXAMPLES = (
    "physadv lab harden --method natural --images photos --out natural",
    "physadv lab harden --method free --replays 4 --images photos --beside natural --out hardened",
    "physadv evaluate street --images held-out --detector hardened",
    "physadv train --images photos --detector hardened --out adaptive",
)


class HardenVerb(HardenSettings):
    """A hardening, and what only the command has."""

    groups: ClassVar[Groups] = {
        **HardenSettings.groups,
        "run": (*HardenSettings.groups["run"], "resume", "overwrite", "trust"),
    }

    out: Path = Field(default=Path("hardened"), description="folder of the run")
    resume: bool = Field(
        default=False, description="go on with the run in `out`, begun with the same flags, after its last whole epoch"
    )
    overwrite: Overwrite = False
    trust: Trust = False


def run(settings: HardenVerb) -> int:
    """Fine-tune a detector against worn patterns; the folder of the run is a detector that every `--detector` takes.

    Beside it lie what it cost: `costs.json`, `costs.md` (when the clean AP50 of natural training less .02 and AP50 .5 under
    patterns were reached) and `costs.png` (loss and AP50 over epochs, steps, passes and seconds).

    Raises: SettingsError if flags do not go together. DataError for images that cannot be trained on.
    """
    from physadv.dataset import check_outside
    from physadv.detect.weights import RUN_RECORD, RUN_WEIGHTS
    from physadv.evaluate.steps import finish
    from physadv.tune.checkpoint import CHECKPOINT
    from physadv.tune.harden.costs import COSTS
    from physadv.tune.harden.run import FIGURE, TABLE, harden
    from physadv.tune.trainer import TuneStopped

    check_folder("out", settings.out)
    if not settings.resume:
        files = (RUN_WEIGHTS, RUN_RECORD, CHECKPOINT, COSTS, TABLE, FIGURE, f"{DATA}/data.yaml")
        check_own_folder("out", settings.out, files, overwrite=settings.overwrite)
    check_outside("out", settings.out, [settings.images])
    check_not_input("out", settings.out, [settings.detector, settings.labeller, *settings.beside])
    trust_detectors([settings.detector, settings.labeller], settings.trust, LABEL)
    check_detectors(labeller=settings.labeller)
    plain = fields_of(HardenSettings, anchored(settings, LABEL))
    with only_writer("out", settings.out), stoppable(LABEL) as (shown, stop):

        def reading(step: tuple[float | None, str]) -> None:
            share, what = step
            if share is None:
                shown.say(f"{LABEL}: {what}")
            else:
                shown.show(share, what, part="images")

        def show(progress: TuneProgress) -> bool:
            shown.show(progress.share, as_line(progress), line=progress.batch == progress.batches)
            return stop.asked()

        try:
            made = finish(harden(plain, resume=settings.resume, show=show), reading)
        except TuneStopped:
            whole = (settings.out / CHECKPOINT).exists()
            shown.say(f"stopped; {'go on with the same flags and --resume' if whole else 'no epoch was whole'}")
            return INTERRUPTED
    _report(made, Terminal())
    return 0


def _report(made: Hardened, console: Terminal) -> None:
    """Print what it came to, and what can be done with it."""
    from physadv.cli.console import on_terminal, table_console
    from physadv.tune.harden.costs import table

    table_console().print(on_terminal(table(made.costs), lines=False))
    say = console.say
    folder = shlex.quote(str(made.run.folder))
    say(f"{made.run.folder}: the detector, its record, costs.json, costs.md and costs.png")
    say("next: under a shipped pattern, and under one that is trained against this very detector")
    say(f"  physadv evaluate street --images FOLDER --detector {folder}")
    say(f"  physadv train --images FOLDER --detector {folder} --out adaptive")
