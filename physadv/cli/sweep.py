"""`physadv sweep`: a training with many values of some settings, run beside each other, the best named."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from physadv.attack.settings import TrainSettings
from physadv.cli.begun import BEGUN, read_begun
from physadv.cli.detectors import Trust, check_detectors, trust_detectors
from physadv.cli.executors import Address, RunsOn, Workers
from physadv.cli.outputs import Overwrite, check_folder, check_own_folder, only_writer
from physadv.cli.terminal import say
from physadv.cli.train import anchored, given
from physadv.errors import SettingsError
from physadv.files import parse_json, write_json
from physadv.settings import Folder, Groups, Metavar
from physadv.version import __version__

EXAMPLES = (
    "physadv sweep --images photos --vary lr=0.01:0.1:log --vary tv=0,0.02 --trials 20 --out sweep",
    "physadv sweep --resume --out sweep",
)
LABEL = "physadv sweep"
MOST_TRIALS = 100_000
# What is not kept, and what else may change when a sweep goes on.
UNKEPT = ("resume", "out", "overwrite", "trust")
FREE = (*UNKEPT, "trials", "executor", "address", "workers", "physadv")
# Some trials failed, and none of the others is the best.
NOTHING = 1


class SweepVerb(TrainSettings):
    """The training that is varied, what is varied in it, and where trials run."""

    groups: ClassVar[Groups] = {
        "sweep": ("vary", "trials", "executor", "address", "workers"),
        **TrainSettings.groups,
        "run": (*TrainSettings.groups["run"], "overwrite", "trust"),
    }

    vary: list[Annotated[str, Metavar("FIELD=VALUES")]] = Field(
        default=[],
        description="a setting of the training and its values: LOW:HIGH, LOW:HIGH:log, or choices between commas (lists as "
        "choices: between semicolons); repeatable",
    )
    trials: int | None = Field(
        default=None,
        ge=1,
        le=MOST_TRIALS,
        description="trials to be finished in all; unless given each combination of choices once, else 20",
    )
    executor: RunsOn = "local"
    address: Address = None
    workers: Workers = None
    out: Folder = Field(default=Path("sweep"), description="folder of the sweep")
    resume: bool = Field(default=False, description="go on with the sweep in `out`; the same flags do so too")
    overwrite: Overwrite = False
    trust: Trust = False


def run(settings: SweepVerb) -> int:
    """Train with many values of some settings, each training a trial, and name the best by people held out.

    Optuna chooses the values. A trial that does worse than the best, person by person (Wilcoxon), is left early; one whose
    worker dies is marked as failed and its values are tried again.

    Raises: SettingsError for settings that do not go together, or if the folder belongs to another sweep.
    """
    from physadv.attack.data import read_inputs
    from physadv.scale.executors import make_executor
    from physadv.scale.sweep import RESULTS, TRIALS_CSV, Sweep
    from physadv.scale.varied import count_combinations, read_varied, settings_of

    settings = anchored(_begun(settings) if settings.resume else settings)
    if settings.source is not None:
        hint = "record first with `physadv train`, and give its people as `images`"
        raise SettingsError("trials train on the same people", field="source", hint=hint)
    varied = read_varied(settings.vary)
    if settings.trials is None and (count := count_combinations(varied)) > MOST_TRIALS:
        expected = f"how many of the {count} combinations are run, at most {MOST_TRIALS}"
        raise SettingsError(field="trials", expected=expected, got="none")
    trust_detectors(settings.detector, settings.trust, LABEL)
    # Else every trial would fail at it.
    check_detectors(detector=settings.detector)
    threads = settings.threads or 1
    base = {**_base(settings), "threads": threads}
    for one in varied:
        for value in one.ends:
            # What a training does not take is said before any is begun.
            read_inputs(settings_of({**base, "out": str(settings.out)}, {one.field: value}))
    check_folder("out", settings.out)
    if not (settings.out / BEGUN).exists():
        check_own_folder("out", settings.out, (RESULTS, TRIALS_CSV), overwrite=settings.overwrite)
    with only_writer("out", settings.out):
        begun = _check_same(settings)
        sweep = Sweep(settings.out.resolve(), base, varied, trials=settings.trials, trusted=settings.trust)
        if not begun:
            write_json(settings.out / BEGUN, {"physadv": __version__, **_kept(settings)})
        if not sweep.missing:
            say(f"{LABEL}: nothing to do: {sweep.trials} of {sweep.trials} trials are over")
        else:
            gpu = settings.device.startswith("cuda")
            executor = make_executor(
                settings.executor,
                workers=settings.workers,
                threads=threads,
                address=settings.address,
                gpu=gpu,
                retries=0,
            )
            _work(sweep, executor, settings)
        sweep.write()
        return _report(sweep)


def _work(sweep: Any, executor: Any, settings: SweepVerb) -> None:
    """Run what is missing; say how to go on where that is interrupted."""
    from physadv.cli.progress import ProgressBar

    try:
        with executor, ProgressBar(LABEL) as shown:
            shown.show(0, f"{sweep.missing} of {sweep.trials} trials to run")
            for line in sweep.run(executor):
                shown.say(f"{LABEL}: {line}")
    except KeyboardInterrupt:
        say(f"{LABEL}: stopped; go on with: physadv sweep --resume --out {shlex.quote(str(settings.out))}", error=True)
        raise


def _report(sweep: Any) -> int:
    """Print the trials and the best one's folder."""
    from physadv.cli.console import show_results
    from physadv.scale.trial import folder_of

    best = sweep.best()
    table = sweep.table()
    if best is None:
        show_results([table])
        say(f"{LABEL}: no trial is done: nothing can be said of any", error=True)
        return NOTHING
    values = ", ".join(f"{name} {value}" for name, value in best.values.items())
    show_results([table], [f"best: trial {best.number} ({values}): {folder_of(sweep.folder, best.number)}"])
    return 0


def _base(settings: SweepVerb) -> dict[str, Any]:
    """Return the fields that all trials share, as they were given."""
    names = set(TrainSettings.model_fields) - {"out", "resume"}
    return settings.model_dump(mode="json", include=settings.model_fields_set & names)


def _begun(settings: SweepVerb) -> SweepVerb:
    """Return the flags with which the sweep in `out` was begun, with what may change as it is given now."""
    now = {**given(settings), "trust": settings.trust}
    return read_begun(type(settings), settings.out, lambda begun: {**begun, **now}, given=now)


def _kept(settings: SweepVerb) -> dict[str, Any]:
    """Return the flags that a sweep's folder keeps."""
    return {name: value for name, value in given(settings).items() if name not in UNKEPT}


def _check_same(settings: SweepVerb) -> bool:
    """Return whether the folder holds a sweep, of the same flags.

    Raises: SettingsError if it belongs to another sweep.
    """
    path, now = settings.out / BEGUN, _kept(settings)
    if not path.exists():
        return False
    try:
        before = parse_json(path.read_bytes())
        changed = [name for name in {**before, **now} if name not in FREE and before.get(name) != now.get(name)]
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}"[:300], field="out") from error
    if changed:
        hint = "name another folder, or give the same flags to go on"
        what = f"{settings.out} belongs to a sweep with another {', '.join(f'`{name}`' for name in changed)}"
        raise SettingsError(what, field="out", hint=hint)
    return True
