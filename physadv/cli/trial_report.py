"""`physadv trial report`: what a recorded trial says."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from physadv.cli.outputs import only_writer
from physadv.cli.trial_run import show_report
from physadv.errors import DataError
from physadv.settings import Folder, Positional, Settings

EXAMPLES = ("physadv trial report trial",)


class TrialReportVerb(Settings):
    """A recorded trial."""

    trial: Positional[Folder] = Field(description="folder that `physadv trial run` wrote")


def run(settings: TrialReportVerb) -> int:
    """Write report.html and results.json of a trial from its recordings, and print the tables.

    Raises: DataError if there is no trial, or no block of it is whole.
    """
    folder = Path(settings.trial)
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder", field="trial", hint="record one with `physadv trial run`")
    with only_writer("trial", folder):
        return show_report(folder)
