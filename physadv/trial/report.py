"""What a trial says: a row for each arm, over all and in each cell, differences with intervals, doubts, one HTML file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from physadv.arrays import write_png
from physadv.capture.settings import CaptureSettings
from physadv.capture.video_file import VideoFile
from physadv.errors import DataError, PhysadvError
from physadv.evaluate.cell import NO_DEFENCE, Case, Cell
from physadv.evaluate.doubt_codes import Doubt
from physadv.evaluate.metrics import FEW, Figures, share_interval
from physadv.evaluate.report_page import report_page
from physadv.evaluate.results import PAGE, PEOPLE, ROWS, Results, panel, sheet_of
from physadv.evaluate.settings import EvaluateSettings
from physadv.files import atomic_write, text_bytes, write_json
from physadv.provenance import provenance
from physadv.recording import Paths
from physadv.table import Table, Value, with_interval
from physadv.trial.book import TrialBook, WholeBlock, pairs
from physadv.trial.doubts import of_trial
from physadv.trial.plan import ARMS, WORN, Arm
from physadv.trial.scores import answers_in
from physadv.trial.sequential import ALPHA, FIRST_LOOK, RESAMPLES, ArmDifference, difference, resampled
from physadv.types import UInt8Array

EXAMPLE = "example.png"
RESCORE = "rescore-{}.toml"
# What a trial's folder holds, for who looks whether it is one.
WRITTEN = (ROWS, PAGE, PEOPLE, EXAMPLE)
LABELS = {"none": "no pattern", "grey": "the grey sheet", "shuffled": "the shuffled sheet"}


@dataclass(frozen=True, slots=True)
class TrialReport:
    """A trial as tables. cells: as results.json holds them, over all first. notes: what went otherwise than planned."""

    cells: list[Cell]
    tables: list[Table]
    doubts: list[str]
    notes: list[str]
    path: Path

    @property
    def shown(self) -> list[Table]:
        """Return the tables that a terminal shows."""
        return self.tables[:-1]


def write_report(book: TrialBook) -> TrialReport:
    """Write results.json, people.csv, report.html and what `evaluate` scores the videos again by; return what they say.

    Everything follows from trial.json and the recordings beside it: equal recordings give an equal results.json.

    Raises: DataError if no block is whole. RecordingError if a sidecar is damaged. OSError if the disk is full.
    """
    blocks = [block for cell in range(len(book.plan.cells)) for block in book.whole_blocks(cell)]
    if not blocks:
        raise DataError(
            f"{book.folder}: no block is whole yet, so there is nothing to report",
            hint="go on with `physadv trial run`",
        )
    cells = _cells(book, blocks)
    whole = of_trial(book, blocks)
    tables = [*_arm_tables(book, cells), _differences(book, cells), _as_recorded(blocks)]
    folder = book.folder
    doubts = [f"{doubt} [{doubt.code}]" for doubt in whole]
    doubts += [
        f"{cell.transform or 'over all'}: {doubt} [{doubt.code}]"
        for cell in cells
        for doubt in cell.doubts
        # Of one cell it would be said twice.
        if cell.transform or len(book.plan.cells) > 1
    ]
    for cell in cells:
        cell.doubts = [*whole, *cell.doubts]
    write_json(folder / ROWS, [cell.plain() for cell in cells])
    with atomic_write(folder / PEOPLE) as stream:
        stream.write(text_bytes(Results(EvaluateSettings(), cells=cells).people().csv()))
    commands = list(_rescoring(book, blocks))
    notes = list(book.state.notes)
    out = TrialReport(cells, tables, doubts, notes, folder / PAGE)
    path = _example(book, blocks)
    examples = {} if path is None else {"the middle of each window of the first block, a row for each cell": path}
    with atomic_write(folder / PAGE) as stream:
        stream.write(text_bytes(_page(book, out, examples, commands)))
    return out


# Cells


def _cells(book: TrialBook, blocks: Sequence[WholeBlock]) -> list[Cell]:
    """Return a cell for each arm over all, then for each arm in each cell of the plan that has a whole block."""
    apart: dict[Arm, ArmDifference] = {
        arm: difference(
            [pairs(mine, arm) for c in range(len(book.plan.cells)) if (mine := _of(blocks, c))],
            alpha=ALPHA,
            seed=book.plan.seed,
        )
        for arm in ARMS
        if arm != "pattern"
    }
    out = [_cell(book, blocks, arm, "", apart) for arm in ARMS]
    for number, cell in enumerate(book.plan.cells):
        if mine := _of(blocks, number):
            apart = book.differences(number)
            out += [_cell(book, mine, arm, cell.name, apart) for arm in ARMS]
    return out


def _of(blocks: Iterable[WholeBlock], cell: int) -> list[WholeBlock]:
    return [block for block in blocks if block.cell == cell]


def _cell(book: TrialBook, blocks: Sequence[WholeBlock], arm: Arm, name: str, apart: dict[Arm, ArmDifference]) -> Cell:
    """Return the row of an arm. name: of the cell, "" for all together, in which every cell counts alike."""
    state = book.state
    scores = [block.scores[arm] for block in blocks]
    drawn = _drawn(blocks, arm, book.plan.seed)
    seen = 1 - float(drawn[0])
    doubts: list[Doubt] = []
    extra: dict[str, Any] = {
        "threshold": state.conf,
        "unit": "block",
        "n_units": len(blocks),
        "never_seen": sum(score.never for score in scores),
        "moved_frames": sum(score.moved for score in scores),
        "lost_frames": sum(score.lost for score in scores),
        "light": [round(float(v), 2) for v in np.median([b.windows[arm].light for b in blocks], axis=0)],
    }
    if arm == "pattern":
        for other, found in apart.items():
            extra[f"asr_above_{other}"] = round(found.value, 4)
            extra[f"asr_above_{other}_ci95"] = list(found.interval)
            extra[f"asr_above_{other}_alpha"] = round(found.alpha, 6)
            if found.interval[0] <= 0:
                text = (
                    f"it is not shown to hide the person more than {LABELS[other]} does: {found.value:.2f} "
                    f"[{found.interval[0]:.2f}, {found.interval[1]:.2f}]"
                )
                doubts.append(Doubt("not-shown" if other == "none" else "control-as-good", text))
        if state.proxy:
            extra["proxy"] = state.proxy
    counted = {"n_windows": len(scores), "n_frames": sum(score.frames for score in scores)}
    value: dict[str, float | None] = {"frame_seen": seen, "frame_asr": float(drawn[0])}
    interval = share_interval(drawn, len(blocks))
    cases = [] if not name else [
        Case(
            f"{name} block {b.block + 1}", "the person", b.scores[arm].frames, 1 - b.scores[arm].hidden,
            b.scores[arm].hidden, float("nan"),
        )
        for b in blocks
    ]  # fmt: skip
    return Cell(
        state.detector.name, state.detector.imgsz, arm, None, NO_DEFENCE, counted, Figures(value, {"frame_asr": interval}),
        transform=name, extra=extra, doubts=doubts, cases=cases,
    )  # fmt: skip


def _drawn(blocks: Sequence[WholeBlock], arm: Arm, seed: int) -> npt.NDArray[np.float64]:
    """Return the mean share hidden over windows, every cell alike, then that of each resample of whole blocks."""
    cells = sorted({block.cell for block in blocks})
    return resampled([np.array([block.scores[arm].hidden for block in _of(blocks, cell)]) for cell in cells], seed)


# Tables


def _arm_tables(book: TrialBook, cells: Sequence[Cell]) -> list[Table]:
    columns = ["arm", "seen", "frames hidden", "windows never seen", "windows", "frames", "lost"]
    out = []
    for name in dict.fromkeys(cell.transform for cell in cells):
        mine = [cell for cell in cells if cell.transform == name]
        rows: list[list[Value]] = [
            [
                *(WORN[cell.condition], cell["frame_seen"], _hidden(cell)),  # type: ignore[index]
                *(f"{cell.extra['never_seen']} of {cell.counted['n_windows']}", cell.counted["n_windows"]),
                *(cell.counted["n_frames"], cell.extra["lost_frames"]),
            ]
            for cell in mine
        ]
        title = name or f"All {len(book.plan.cells)} cells together" * (len(book.plan.cells) > 1)
        if name or len(book.plan.cells) > 1:
            out.append(Table.of(title, columns, rows, numbers=columns[1:]))
    return out


def _hidden(cell: Cell) -> Value:
    return with_interval(cell["frame_asr"], cell.figures.ci95["frame_asr"] or (float("nan"), float("nan")))


def _differences(book: TrialBook, cells: Sequence[Cell]) -> Table:
    """Return how much more often the pattern hides the person than every other arm does."""
    rows: list[list[Value]] = []
    for cell in cells:
        if cell.condition != "pattern" or (not cell.transform and len(book.plan.cells) == 1):
            continue
        for arm in ARMS[:-1]:
            low, high = cell.extra[f"asr_above_{arm}_ci95"]
            rows.append([
                cell.transform or "all cells", LABELS[arm],
                f"{cell.extra[f'asr_above_{arm}']:+.3f} [{low:+.2f}, {high:+.2f}]",
                "yes" if low > 0 or high < 0 else "not shown",
                f"{100 * (1 - cell.extra[f'asr_above_{arm}_alpha']):.4g} %",
                f"{cell.extra['n_units']} of {book.plan.blocks}" if cell.transform else cell.extra["n_units"],
            ])  # fmt: skip
    columns = ["cell", "the pattern against", "hides more by", "real", "interval", "blocks"]
    return Table.of("Differences", columns, rows, numbers=columns[2:3])


def _as_recorded(blocks: Sequence[WholeBlock]) -> Table:
    """Return every block in the order of its arms, with the share of frames in which the person is seen."""
    rows: list[list[Value]] = [
        [
            *(block.cell + 1, block.block + 1, next(iter(block.windows.values())).attempt + 1),
            *(f"{arm} {1 - block.scores[arm].hidden:.2f}" for arm in block.windows),
        ]
        for block in blocks
    ]
    columns = ["cell", "block", "attempt", "first", "second", "third", "fourth"]
    return Table.of("As recorded: share of frames in which the person is seen", columns, rows, numbers=columns[:3])


# The page


def _page(book: TrialBook, report: TrialReport, examples: dict[str, Path], commands: Sequence[str]) -> str:
    state, plan = book.state, book.plan
    size = f"{plan.pattern.width_cm:g} x {plan.pattern.height_cm:g} cm"
    what = {"": "filmed", "digital": "put on by software (a proxy)", "screen": "shown on a screen (a proxy)"}[
        state.proxy
    ]
    intro = (
        f"{plan.pattern.name}, {size}, {what}. In each block nothing, the grey, the shuffled and the pattern once, in "
        f"random order, a window of {plan.window_s:g} s each. The person is followed in the window with nothing on and "
        f"looked for at the same places in the other three. Seen: share of a window's frames with a box of {state.conf:g} "
        f"or more on the person. The window is the unit: every window counts alike, and every cell. "
        f"Intervals: bootstrap over whole blocks ({RESAMPLES:,} resamples), below {FEW} blocks Wilson's and "
        f"Newcombe's with a block as one case; of differences the hull of that and of Student's of the pairs."
    )
    looking = (
        f"Sequential looking: a cell was looked at after each block from the {FIRST_LOOK}rd on, and ended as soon as the "
        f"pattern differed from both controls. Each look spends a part of 5 %, by the function of Lan and DeMets. "
        f"The intervals of a cell's differences stand at what their look spends, so that all hold together with 95 %. "
        f"Cells are each judged by themselves: of many, one in twenty may be wrong. The row over all cells is at 95 %, and "
        f"not corrected for cells that ended early."
    )
    # Each doubt once, below: under every table they would hide it.
    groups = [(table, [replace(c, doubts=[]) for c in _drawn_with(table, report.cells)]) for table in report.tables]
    where = provenance()
    used = state.detector
    facts = {
        "detector": f"{used.name}, {used.backend} {used.precision}, {used.imgsz} px",
        "weights": used.sha256 or "no file",
        "source": state.source,
        **state.locks,
        "plan": f"{plan.sha256}, seed {plan.seed}",
        "pattern": plan.pattern.sha256,
        "videos": f"{len(state.windows)} windows in {book.folder / 'windows'}, untouched ones in *.clean.mp4",
        **{f"score cell {number + 1} again": command for number, command in enumerate(commands)},
        "recorded": _times(book),
        "versions": json.dumps(where["versions"]),
        "made": f"{where['made']}, commit {where['commit'] or 'unknown'}",
    }
    said = [looking, *(f"otherwise than planned: {note}" for note in report.notes)]
    return report_page(
        f"Trial of {plan.pattern.name}", intro, groups, said=said, doubts=report.doubts, examples=examples, facts=facts
    )


def _drawn_with(table: Table, cells: Sequence[Cell]) -> list[Cell]:
    """Return the rows that a table is of: a cell's by its name, those over all cells under their own title."""
    return [c for c in cells if (c.transform == table.title if c.transform else table.title.startswith("All "))]


def _times(book: TrialBook) -> str:
    began = [window.began for window in book.state.windows if window.began]
    return f"{min(began)} to {max(began)}" if began else "not known"


def _rescoring(book: TrialBook, blocks: Sequence[WholeBlock]) -> Iterable[str]:
    """Write, for each cell, the settings by which `evaluate` scores its videos again; yield the commands."""
    for cell in sorted({block.cell for block in blocks}):
        given = [
            f"{arm}={book.path(block.windows[arm].file).absolute()}" for block in _of(blocks, cell) for arm in ARMS
        ]
        path = book.folder / RESCORE.format(cell + 1)
        lines = "".join(f"  {json.dumps(text, ensure_ascii=False)},\n" for text in given)
        with atomic_write(path) as stream:
            stream.write(text_bytes(f"# physadv trial: cell {cell + 1}\npair = [\n{lines}]\n"))
        yield f"physadv evaluate --config {path} --out {book.folder / f'rescored-{cell + 1}'}"


def _example(book: TrialBook, blocks: Sequence[WholeBlock]) -> Path | None:
    """Write one image of each arm, of the first block of each cell, and return its path; None where none can be read."""
    rows = []
    for cell in sorted({block.cell for block in blocks})[:4]:
        panels = [_middle(book, _of(blocks, cell)[0], arm) for arm in ARMS]
        if all(p is not None for p in panels):
            rows.append(np.hstack([p for p in panels if p is not None]))
    if not rows:
        return None
    write_png(book.folder / EXAMPLE, sheet_of(rows))
    return book.folder / EXAMPLE


def _middle(book: TrialBook, block: WholeBlock, arm: Arm) -> UInt8Array | None:
    """Return the frame in the middle of a window, with the boxes that were found in it."""
    path = book.path(block.windows[arm].file)
    answers = answers_in(path)
    wanted = len(answers.found) // 2
    try:
        source = VideoFile(str(Paths.of(path).clean), CaptureSettings())
        try:
            for _ in range(wanted):
                source.read()
            pixels = source.read().pixels
        finally:
            source.close()
    except PhysadvError:
        # A video that cannot be read takes nothing from the figures, which are of what was found then.
        return None
    return panel(pixels, answers.found[wanted], book.state.conf)
