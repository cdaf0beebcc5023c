"""`physadv lab cleanse`: a poisoned detector and clean images in, a detector out that sees again, with its price."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, ClassVar

from physadv.cli.console import Terminal
from physadv.cli.detectors import Trust, check_detectors, trust_detectors
from physadv.cli.edge import INTERRUPTED
from physadv.cli.outputs import Overwrite, check_folder, check_not_input, check_own_folder, only_writer
from physadv.cli.progress import in_words
from physadv.cli.tuning import anchored, fields_of, stoppable
from physadv.settings import Groups
from physadv.tune.cleanse.settings import CleanseSettings

if TYPE_CHECKING:
    from physadv.detect.runs import LabRun

LABEL = "physadv lab cleanse"
EXAMPLES = (
    "physadv lab cleanse backdoored --method nad --images photos --out cleansed",
    "physadv lab score cleansed --images others --out score",
)


class CleanseVerb(CleanseSettings):
    """A cleansing, and what only the command has."""

    groups: ClassVar[Groups] = {
        **CleanseSettings.groups,
        "run": (*CleanseSettings.groups["run"], "overwrite", "trust"),
    }

    overwrite: Overwrite = False
    trust: Trust = False


def run(settings: CleanseVerb) -> int:
    """Cleanse a poisoned detector with clean images, without knowing the trigger.

    A part of the images is held out: thresholds are chosen by what is found in it, and it says what the cleansing cost.
    The run's folder is a detector: `--detector OUT` takes it anywhere.

    Raises: WeightsError or DataError for a detector or images that cannot be used.
    """
    from physadv.detect.weights import RUN_RECORD, RUN_WEIGHTS
    from physadv.tune.cleanse.run import BEGUN, STAGES

    check_folder("out", settings.out)
    check_own_folder("out", settings.out, (RUN_WEIGHTS, RUN_RECORD), overwrite=settings.overwrite)
    check_not_input("out", settings.out, [settings.detector])
    trust_detectors([settings.detector], settings.trust, LABEL)
    check_detectors(labeller=settings.labeller)
    with only_writer("out", settings.out):
        made = _cleansed(fields_of(CleanseSettings, anchored(settings, LABEL)))
    if made is None:
        left = "the same command goes on from its last whole epoch with --resume"
        begun = (settings.out / STAGES / BEGUN).exists()
        console = Terminal(stderr=True)
        console.print(f"stopped; {left if begun else 'nothing was begun'}", highlight=False, soft_wrap=True)
        return INTERRUPTED
    _report(made, Terminal())
    return 0


def _cleansed(settings: CleanseSettings) -> LabRun | None:
    """Return the run, or None if a signal stopped it."""
    from physadv.tune.cleanse.run import cleanse
    from physadv.tune.trainer import TuneStopped

    with stoppable(LABEL) as (shown, stop):

        def show(share: float | None, text: str) -> bool:
            if share is None:
                shown.say(f"{LABEL}: {text}")
            else:
                shown.show(share, text)
            return stop.asked()

        try:
            return cleanse(settings, show)
        except TuneStopped:
            return None


def _report(made: LabRun, console: Terminal) -> None:
    """Print what was made, at what price, and how it is tried."""
    say = console.say
    record, folder = made.record, shlex.quote(str(made.folder))
    price, images = record["cleanse"], record["cleanse"]["images"]
    say(
        f"{made.folder}: {record['parent']['name']} cleansed by {price['method']} with {price['clean_images']} clean "
        f"images in {in_words(record['seconds'])}"
    )
    if "pruned" in price:
        say(f"{price['pruned']['silent']} of {price['pruned']['channels']} channels are silent")
    before = price["before"]
    say(
        f"on {images['held_out_images']} held-out images: clean AP50 {before['clean_ap50']:.3f} before, "
        f"{price['clean_ap50']:.3f} now; recall {before['clean_recall25']:.3f} before, {price['clean_recall25']:.3f} now"
    )
    say("whether the trigger still works only the trigger says:")
    say(f"  physadv lab score {folder} --images FOLDER")
    if trigger := (record["poison"] or {}).get("trigger"):
        wear = "" if trigger["kind"] == "rotation" else " --wear trigger"
        say(f"  physadv live --detector {folder} --beside {shlex.quote(record['settings']['detector'])}{wear}")
