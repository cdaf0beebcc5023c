"""`physadv trial run`: record a planned trial, guided by a page."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from physadv.cli.detectors import Layout, Trust, rounded_imgsz, trust_detectors, with_layouts
from physadv.cli.outputs import check_folder, check_own_folder, only_writer
from physadv.cli.terminal import say
from physadv.errors import SettingsError
from physadv.settings import Folder, Groups, Positional
from physadv.trial.settings import TrialSettings

if TYPE_CHECKING:
    from physadv.trial.book import TrialBook
    from physadv.trial.run import TrialRun

EXAMPLES = (
    "physadv trial run plan --source 0 --out trial",
    "physadv trial run plan --source film.mp4 --auto --out proxy",
)
LABEL = "physadv trial run"


class TrialRunVerb(TrialSettings):
    """A trial, its plan and its folder."""

    groups: ClassVar[Groups] = {
        **TrialSettings.groups,
        "detector": ("detector", "layout", "trust", "conf", "imgsz", "backend"),
        "result": ("out",),
    }

    plan: Positional[Folder] = Field(description="folder that `physadv trial plan` wrote")
    out: Folder = Field(
        default=Path("trial"),
        description="folder for the videos, trial.json and the report; one that was begun goes on",
    )
    layout: Layout = None
    trust: Trust = False


def run(settings: TrialRunVerb) -> int:
    """Record a planned trial window by window, guided by the page; after a crash or Ctrl-C the same command goes on.

    Raises: SettingsError or DataError if plan, folder and flags do not go together. SourceError for a source that gives no
    images. RecordingError if the disk is full.
    """
    from physadv.cli.progress import ProgressBar
    from physadv.trial.book import TrialBook
    from physadv.trial.opening import checked_state, open_trial
    from physadv.trial.plan import load_plan
    from physadv.trial.report import WRITTEN
    from physadv.trial.state import STATE

    plan, plan_folder = load_plan(settings.plan)
    check_folder("out", settings.out)
    check_own_folder("out", settings.out, (STATE, *WRITTEN), overwrite=False)
    state = checked_state(settings.out, plan)
    if state is None and (found := [name for name in WRITTEN if (settings.out / name).exists()]):
        raise SettingsError(
            f"{settings.out} holds no trial, but {found[0]} of something else", field="out", hint="name another folder"
        )
    if state is not None and TrialBook(settings.out, state).next() is None:
        say(f"{LABEL}: every window is recorded", error=True)
        return show_report(settings.out)
    (detector,) = with_layouts([settings.detector], settings.layout)
    trust_detectors([detector], settings.trust, LABEL)
    settings = settings.model_copy(update={"imgsz": rounded_imgsz(settings.imgsz, LABEL), "detector": detector})
    with ExitStack() as stack:
        stack.enter_context(only_writer("out", settings.out))
        listener = None
        if not settings.auto:
            from physadv.web.serve import Listener

            listener = Listener(host=settings.host, port=settings.port, token=settings.token)
            stack.callback(listener.close)
        trial = open_trial(settings, plan, plan_folder, settings.out, say=_say)
        stack.callback(trial.demo.stop)
        if listener is not None:
            from physadv.web.serve import PageServer

            server = PageServer(listener, trial.demo, trial=trial)
            stack.callback(server.close)
            server.start()
            say(f"{LABEL}: {server.url}")
            _say("Ctrl-C ends it; the same command goes on")
        try:
            if settings.auto:
                with ProgressBar(LABEL) as shown:
                    trial.run(shown.show)
            else:
                trial.run()
        except KeyboardInterrupt:
            _say(f"stopped after {_count(trial.book)}; the same command goes on")
            raise
        code = show_report(settings.out, trial)
        if listener is not None:
            _until_seen(trial)
    return code


def show_report(folder: Path, trial: TrialRun | None = None) -> int:
    """Write the report of a trial and print what it says. trial: the one that goes on, whose page names the report.

    Raises: DataError if there is no trial, or no block of it is whole. OSError if the disk is full.
    """
    from physadv.cli.console import show_results
    from physadv.errors import DataError
    from physadv.trial.book import TrialBook
    from physadv.trial.report import write_report
    from physadv.trial.state import read_state

    book = trial.book if trial is not None else None
    if book is None:
        state = read_state(folder)
        if state is None:
            raise DataError(f"{folder}: there is no trial here", hint="record one with `physadv trial run`")
        book = TrialBook(folder, state)
    report = write_report(book)
    if trial is not None:
        trial.guide.report = str(report.path)
    show_results(report.shown, [*(f"doubt: {doubt}" for doubt in report.doubts), str(report.path)])
    return 0


def _until_seen(trial: TrialRun) -> None:
    """Let the page show that the trial is done, until Ctrl-C or its last key."""
    try:
        while not trial.guide.left:
            time.sleep(0.1)
    except KeyboardInterrupt:
        return


def _count(book: TrialBook) -> str:
    count = len(book.state.counted)
    return f"{count} {'window' if count == 1 else 'windows'}"


def _say(text: str) -> None:
    say(f"{LABEL}: {text}", error=True)
