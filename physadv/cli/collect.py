"""`physadv collect`: the parts of an evaluation of many videos reduced to figures and a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from physadv.cli.evaluate_flags import INCOMPLETE, WRITTEN
from physadv.cli.outputs import Overwrite, check_folder, check_own_folder, only_writer
from physadv.settings import Folder, Metavar, Positional, Settings

if TYPE_CHECKING:
    from physadv.evaluate.results import Results

EXAMPLES = ("physadv collect films --out report",)


class CollectVerb(Settings):
    """The evaluation whose parts are reduced, and where the results go."""

    folder: Positional[Annotated[Path, Metavar("FOLDER")]] = Field(
        description="the `out` of an evaluation with `manifest`, finished or not"
    )
    out: Folder = Field(default=Path("evaluation"), description="folder for results.json, run.json and reports")
    overwrite: Overwrite = False


def run(settings: CollectVerb) -> int:
    """Reduce what is scored so far of many videos: figures with intervals over clips, results.json, CSV and report.

    Returns 1 if some videos are not scored yet; they are named.

    Raises: DataError if the folder holds no evaluation of many videos, or none of them is scored.
    """
    from physadv.scale.collect import collect

    check_folder("out", settings.out)
    check_own_folder("out", settings.out, WRITTEN, overwrite=settings.overwrite)
    results = collect(settings.folder)
    with only_writer("out", settings.out):
        show(results, results.report(settings.out))
    return INCOMPLETE if results.facts["left_out"] else 0


def show(results: Results, report: Path) -> None:
    """Print the tables, who is left out, the doubts, and where the report is."""
    from physadv.cli.console import show_results

    doubts = (f"doubt: {doubt}" for doubt in results.doubts())
    show_results(results.tables(brief=True), (*results.skipped, *doubts, str(report)))
