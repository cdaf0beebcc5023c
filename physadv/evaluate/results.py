"""What an evaluation found: cells, the tables that show them, and the files that keep them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from physadv.arrays import listed, write_png
from physadv.detect.matching import FOUND_CONF
from physadv.evaluate.breakdown import breakdown_table
from physadv.evaluate.cell import NO_DEFENCE, Case, Cell
from physadv.evaluate.certified import CONDITION, certificates, write_certified
from physadv.evaluate.certified import table as certified_table
from physadv.evaluate.curve import crossing, curve_tables
from physadv.evaluate.pairs import BLOCK_S, differences
from physadv.evaluate.report_page import report_page
from physadv.evaluate.settings import EvaluateSettings
from physadv.files import atomic_write, text_bytes, write_json
from physadv.marks import marked
from physadv.patch import Patch
from physadv.provenance import provenance
from physadv.simulate.conditions import ROBUST
from physadv.table import Table, Value, with_interval
from physadv.types import Detections, UInt8Array
from physadv.version import __version__

RUN, ROWS, PEOPLE, REPORT, PAGE = "run.json", "results.json", "people.csv", "report.md", "report.html"
FIGURES, BANDS, LATEX = "results.csv", "breakdown.csv", "table.tex"
# What tells the cells of an evaluation apart in the file of people; label: the pattern, or the control and its pattern.
KEYS = ("detector", "imgsz", "condition", "transform", "label", "defence", "attack")
# The figures that a table shows, of images and of videos, and their titles; results.json has all.
TITLES = {
    "ap50": "AP50",
    "recall25": "recall .25",
    "asr_strict25": "ASR strict .25",
    "asr_strict50": "ASR strict .5",
    "asr_lenient50": "ASR lenient .5",
    "false_boxes_per_image": "false boxes",
    "mean_max_conf": "mean conf",
    "share_below": "frames below",
    "frame_asr": "frames hidden",
    "mean_best_conf": "mean best conf",
    "median_best_conf": "median",
    "people_per_frame": "people a frame",
    "share_held": "held only",
    "longest_invisible_s": "longest invisible s",
    "first_seen_s": "first seen s",
}
MANY = {"n_unworn": "without the chest in sight"}
ONE = {"n_images": "image", "n_people": "person", "n_clips": "clip", "n_frames": "frame", **MANY}
# In results.json and results.csv alone: a table of all would fit no page.
UNSHOWN = frozenset({"asr_strict50", "asr_lenient50"})
# Beside a defence and its cost there is room for the first figures only on a terminal; the report has all.
BRIEF = ("ap50", "recall25", "asr_strict25")
# The figures of images that a notebook shows, and what tells its rows apart.
FIRST = ("ap50", "recall25", "asr_strict25", "mean_max_conf")
APART = ("detector", "imgsz", "condition", "transform", "defence", "attack", "worn")
# Settings that are each row's own.
WORN = {"rule", "scale", "at", "imgsz", "score_share"}
PANEL = 360


@dataclass(slots=True)
class Examples:
    """Keeps a few images of each condition, with boxes, for the report.

    keep: the images' numbers. suffix: put behind the names of the files, where there are several of one pattern.
    """

    keep: tuple[int, ...]
    conf: float = FOUND_CONF
    suffix: str = ""
    _panels: dict[tuple[str, str], dict[int, UInt8Array]] = field(default_factory=dict)

    def __call__(self, condition: str, name: str, index: int, pixels: UInt8Array, answer: Detections) -> None:
        """Take one answer; those of other images are let go."""
        if index in self.keep:
            self._panels.setdefault((condition, name), {})[index] = panel(pixels, answer, self.conf)

    def write(self, folder: Path, patches: Sequence[Patch]) -> list[Path]:
        """Write one image for each pattern: rows are photographs, columns none, grey, shuffled, pattern."""
        out = []
        for patch in patches:
            wanted = [("none", ""), ("grey", patch.name), ("shuffled", patch.name), ("patch", patch.name)]
            columns = [self._panels[key] for key in wanted if key in self._panels]
            rows = [np.hstack([c[i] for c in columns]) for i in self.keep if all(i in c for c in columns)]
            if not rows or len(columns) < len(wanted):
                continue
            out.append(folder / "examples" / f"{patch.name}{self.suffix}.png")
            write_png(out[-1], sheet_of(rows))
        return out


def sheet_of(rows: Sequence[UInt8Array]) -> UInt8Array:
    """Return rows of panels, (h, w, 3) each, one above the other on white."""
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 4), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return np.ascontiguousarray(np.vstack(padded))


def panel(pixels: UInt8Array, answer: Detections, conf: float) -> UInt8Array:
    """Return the image `PANEL` pixels high with a box and a score on everybody found at `conf`."""
    people = answer.above(conf)
    return marked(pixels, people.xyxy, people.score, found=[True] * len(people), height=PANEL)


@dataclass(slots=True)
class Results:
    """The cells of an evaluation, with what it was of.

    facts: what run.json says of images or video, detectors and defences. frames: of a video, every frame's figures by
    detector. skipped: lines on files that were left out. done: False while it goes on, or where it was stopped.
    """

    settings: EvaluateSettings
    patches: tuple[Patch, ...] = ()
    cells: list[Cell] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    frames: dict[str, Table] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    examples: list[Examples] = field(default_factory=list)
    done: bool = False

    def table(self, *, full: bool = False) -> Table:
        """Return one row for each cell. full: with every figure and the ends of its interval, as in Parquet files.

        Otherwise the first figures, and of what tells the cells apart the columns in which they differ.
        """
        return self._full_table() if full else self._first_figures()

    def _first_figures(self) -> Table:
        """Return a row for each cell that fits a screen."""
        images = any("ap50" in cell.figures.value for cell in self.cells)
        wanted = FIRST if images else [name for name in TITLES if name not in FIRST]
        shown = [n for n in wanted if any(n in c.figures.value for c in self.cells)]
        rows = [_flat(cell) | {"condition": cell.label} for cell in self.cells]
        proven = [n for n in ("recall_defended", "certified_anywhere") if any(n in row for row in rows)]
        apart = [n for n in APART if n == "condition" or len({row[n] for row in rows if row[n] or n != "worn"}) > 1]
        table = [
            [*(row[n] for n in apart), *(shown_figure(c, n) for n in shown), *(row.get(n) for n in proven)]
            for c, row in zip(self.cells, rows, strict=True)
        ]
        numbers = [*(TITLES[n] for n in shown), *(n.replace("_", " ") for n in proven)]
        return Table.of("Evaluation", [*apart, *numbers], table, numbers=numbers)

    def _full_table(self) -> Table:
        rows = [_flat(cell) for cell in self.cells]
        columns = list(dict.fromkeys(name for row in rows for name in row))
        words = {"detector", "condition", "transform", "patch", "defence", "attack", "worn", "control_of"}
        table = [[row.get(name) for name in columns] for row in rows]
        return Table.of("Evaluation", columns, table, numbers=set(columns) - words)

    def to_parquet(self, path: Path | str) -> None:
        """Write the full `table` as a Parquet file.

        Raises: OSError if it cannot be written.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = self.table(full=True)
        columns = zip(*table.rows, strict=True) if table.rows else ([] for _ in table.columns)
        arrays = {name: pa.array(values) for name, values in zip(table.columns, columns, strict=True)}
        with atomic_write(Path(path)) as stream:
            pq.write_table(pa.table(arrays), stream)

    def tables(self, *, brief: bool = False) -> list[Table]:
        """Return a table for each detector and size, each followed by its conditions, then one of certificates.

        brief: as on a terminal: of the intervals the first figure's alone, and beside a defence the first figures alone.
        """
        out = []
        plain = [cell for cell in self.cells if cell.condition != CONDITION]
        for detector, imgsz in dict.fromkeys((c.detector, c.imgsz) for c in plain):
            mine = [c for c in plain if (c.detector, c.imgsz) == (detector, imgsz)]
            out += curve_tables(mine)
            mine = [c for c in mine if "curve" not in c.extra]
            if mine:
                out.append(cells_table([c for c in mine if not c.transform], brief=brief))
            grid = None if brief else grid_table(mine)
            out += [] if grid is None else [grid]
        apart = differences(plain)
        out += [] if apart is None else [apart]
        proven = certificates(self.cells)
        return [*out, certified_table(proven)] if proven else out

    def people(self) -> Table:
        """Return what became of each person in each cell, a row for each, for comparisons between evaluations."""
        rows: list[list[Value]] = [
            [*(getattr(cell, name) for name in KEYS), *case] for cell in self.cells for case in cell.cases
        ]
        return Table.of("people", [*KEYS, *Case._fields], rows)

    def grid_means(self) -> list[str]:
        """Return a line for each pattern and control: its mean AP50 over the robust grid, or other conditions."""
        graded = [c for c in self.cells if c.transform and "curve" not in c.extra]
        keys = dict.fromkeys((c.detector, c.imgsz, c.condition, c.patch) for c in graded)
        out = []
        for detector, imgsz, condition, patch in keys:
            mine = [c for c in self.cells if (c.detector, c.imgsz) == (detector, imgsz)]
            mean = grid_mean(mine, (condition, patch))
            if mean is not None:
                label = next(c.label for c in mine if (c.condition, c.patch) == (condition, patch))
                out.append(f"{_grid_name(mine).lower()}, mean AP50 of {label}: {mean:.3f}")
        return out

    def crossings(self) -> list[str]:
        """Return a line for each pattern of a curve: where its recall crosses the middle between its two sides."""
        keys = dict.fromkeys((c.detector, c.imgsz, c.label) for c in self.cells if c.condition == "patch")
        return [
            line
            for detector, imgsz, label in keys
            for line in crossing([c for c in self.cells if (c.detector, c.imgsz) == (detector, imgsz)], label)
        ]

    def doubts(self) -> list[str]:
        """Return each doubt once, with its code and the cells it is about where it is not about all."""
        # A certificate has no doubts: what is said of all others is said of everything.
        cells = [c for c in self.cells if c.condition != CONDITION]
        detectors, sizes = ({getattr(c, name) for c in cells} for name in ("detector", "imgsz"))
        out = []
        for doubt in dict.fromkeys(d for c in cells for d in c.doubts):
            about = [c for c in cells if doubt in c.doubts]
            names = [f"{c.detector}, " * (len(detectors) > 1) + c.about(sizes=len(sizes) > 1) for c in about]
            everything = len(about) == len(cells)
            whose = "everything" if everything else listed(list(dict.fromkeys(names)))
            out.append(f"{whose}: {doubt} [{doubt.code}]")
        return out

    def alarms(self) -> list[str]:
        """Return a line for each cell that alerts were counted in: what a defence said, by kind."""
        out = []
        for cell in self.cells:
            kinds = cell.extra.get("alarms_by_kind")
            if kinds is not None and (kinds or "alarm_frames" in cell.extra):
                said = ", ".join(f"{k} {v:g}" for k, v in kinds.items()) or "none"
                where = "clean video" if "alarm_frames" in cell.extra else cell.condition
                out.append(
                    f"{cell.detector} behind {cell.defence}, {where}: frames with alerts of each kind, per 1,000: {said}"
                )
        return out

    def keep(self, folder: Path) -> None:
        """Write what is scored so far: an evaluation of hours that fails keeps what it has, and says it is not whole.

        Raises: OSError if the folder cannot be written.
        """
        patches = [{"name": p.name, "sha256": p.sha256} for p in self.patches]
        write_json(folder / RUN, {"physadv": __version__, "done": False, "patches": patches, **self.facts})
        write_json(folder / ROWS, [cell.plain() for cell in self.cells])

    def report(self, folder: Path | str, *, latex: bool = False) -> Path:
        """Write the evaluation into a folder and return the path of its report.

        results.json has the cells, results.csv their figures; people.csv what became of each person in each, breakdown.csv
        the same by height and cover; run.json the settings, hashes, versions and hardware; report.md is to be read,
        report.html to be handed in; of images there are examples to look at, of a video every frame's figures as CSV, of
        certificates certified.json and certified.md. latex: table.tex too, for a paper.

        Raises: OSError if the folder cannot be written.
        """
        folder = Path(folder)
        write_json(folder / ROWS, [cell.plain() for cell in self.cells])
        where = provenance()
        names = list(dict.fromkeys(cell.detector for cell in self.cells))
        run = {
            "settings": {"detectors": names, **self.settings.model_dump(mode="json", exclude=WORN)},
            # Which detectors each was trained on: of those its figures are an adaptive attacker's.
            "patches": [
                {"name": p.name, "sha256": p.sha256, "size_mm": list(p.size_mm), "detectors": p.record.get("detectors")}
                for p in self.patches
            ],
            **({} if {"video", "videos", "pairs"} & set(self.facts) else {"skipped": self.skipped}),
            **self.facts,
            **where,
        }
        write_json(folder / RUN, run)
        for name, table in self.frames.items():
            with atomic_write(folder / f"frames-{name}.csv") as stream:
                stream.write(text_bytes(table.csv()))
        texts = {PEOPLE: self.people().csv(), FIGURES: self.table(full=True).csv()}
        if (parts := breakdown_table(self.cells)) is not None:
            texts[BANDS] = parts.csv()
        if latex:
            texts[LATEX] = paper_table(self).latex()
        for name, text in texts.items():
            with atomic_write(folder / name) as stream:
                stream.write(text_bytes(text))
        if proven := certificates(self.cells):
            write_certified(folder, proven)
        drawn = [
            path.relative_to(folder) for examples in self.examples for path in examples.write(folder, self.patches)
        ]
        with atomic_write(folder / PAGE) as stream:
            stream.write(text_bytes(self._page(where, run, [folder / path for path in drawn])))
        with atomic_write(folder / REPORT) as stream:
            stream.write(text_bytes("\n".join(self._markdown(where, drawn)) + "\n"))
        return folder / REPORT

    def _page(self, where: dict[str, Any], run: dict[str, Any], examples: Sequence[Path]) -> str:
        """Return report.html: what report.md says, with the intervals drawn and what is needed to repeat it."""
        title, intro = _intro(self, where)
        groups = [
            (
                table,
                [c for c in self.cells if table.title.startswith(f"{c.detector} at {c.imgsz} px") and not c.transform],
            )
            for table in self.tables()
        ]
        facts = {
            **{f"detector {d['name']}": d["sha256"] for d in self.facts.get("detectors", [])},
            **{f"pattern {p.name}": p.sha256 for p in self.patches},
            **{f"recording {arm}": ", ".join(found) for arm, found in self.facts.get("recordings", {}).items()},
            "settings": json.dumps(run["settings"]),
            "versions": ", ".join(f"{name} {version}" for name, version in where["versions"].items()),
            "made": f"{where['made']}, commit {where['commit'] or 'unknown'}",
            "files beside this": ", ".join((ROWS, FIGURES, RUN, PEOPLE, REPORT)),
        }
        said = [*self.skipped, *self.crossings(), *self.alarms()]
        captions = {path.stem: path for path in examples}
        return report_page(title, intro, groups, said=said, doubts=self.doubts(), examples=captions, facts=facts)

    def _markdown(self, where: dict[str, Any], examples: Sequence[Path]) -> Iterator[str]:
        """Yield the lines of report.md: what was done, the tables, what was said, doubts, examples."""
        title, intro = _intro(self, where)
        yield from (f"# {title}", "", intro)
        for line in self.skipped:
            yield f"* {line}"
        for table in self.tables():
            yield from ("", f"## {table.title}", "", table.markdown())
        yield ""
        yield from (f"* {line}" for line in (*self.crossings(), *self.alarms()))
        if doubts := self.doubts():
            yield from ("", "## Doubts", "", *(f"* {doubt}" for doubt in doubts))
        if examples:
            yield from ("", "## Examples", "", "Rows: photographs. Columns: nothing, grey, shuffled, pattern.")
            yield "Green box: found; without one: not."
            yield from (f"\n![{path.stem}]({path.as_posix()})" for path in examples)

    def _repr_html_(self) -> str:
        return "".join(table.html() for table in self.tables())


def _intro(results: Results, where: dict[str, Any]) -> tuple[str, str]:
    """Return the title of a report, and what was measured, how and where."""
    machine = where["machine"]
    made = (
        f"torch fp32. {machine['processor']}, {machine['cores']} cores, {where['made']}, commit "
        f"{where['commit'] or 'unknown'}."
    )
    sizes = ", ".join(dict.fromkeys(str(c.imgsz) for c in results.cells))
    drawn = "with light, blur and noise of the cloth under them" if results.settings.wear_lit else "flat"
    if "pairs" in results.facts:
        arms = "; ".join(f"{arm}: {', '.join(names)}" for arm, names in results.facts["pairs"].items())
        return "Recordings compared", (
            f"{arms}. Who is there is known from the recordings without a pattern: people are followed in them, and "
            f"looked for at the same places in the same seconds of the others. Frames hidden: share of a person's "
            f"frames in which no box of {results.settings.conf:g} or more lies on them, and none that is nobody's "
            f"anywhere. Intervals: 95 %, over clips, or over blocks of {BLOCK_S:g} s where clips are few. Detector at "
            f"{sizes} px, {made}"
        )
    made = f"{made} Prints are drawn {drawn}."
    if "video" in results.facts or "videos" in results.facts:
        several = results.facts.get("videos", [])
        what = results.facts.get("video") or f"{len(several)} {'video' if len(several) == 1 else 'videos'}"
        over = " Intervals: 95 %, over videos, or over blocks of 15 frames where videos are few." if several else ""
        return f"{what}, frame by frame", (
            f"Share of frames in which nobody's confidence reaches {results.settings.conf:g}, over frames with a person "
            "to wear the pattern. A person that a defence holds, whatever the score, counts as seen at "
            f"{results.settings.conf:g}; 'held only': share of frames in which nobody else does. Alarms: alerts other "
            f"than notices and what was removed.{over} Detector at {sizes} px, {made}"
        )
    counted = results.cells[0].counted if results.cells else {"n_images": 0, "n_people": 0}
    alike = ways(results.cells)
    how = f"Worn: {alike[0]}. " if len(alike) == 1 else "Each pattern as it was made to be worn. " if alike else ""
    return "Evaluation", (
        f"{counted['n_images']} images, {counted['n_people']} people larger than {results.settings.min_area:.1%} of the "
        f"image. {how}Detector at {sizes} px, {made} In brackets: 95 % intervals over images, by bootstrap, or "
        "Wilson's where images are few or agree."
    )


class Column(NamedTuple):
    """A column of a table of cells: its title, what a cell has in it, whether these are figures, whether it is shown."""

    title: str
    value: Callable[[Cell], Value]
    number: bool = False
    shown: bool = True


def cells_table(cells: Sequence[Cell], *, brief: bool = False) -> Table:
    """Return the cells of one detector as they are read, in the order in which they were scored."""
    first = cells[0]
    found = ways(cells)
    defended = any(c.defence != NO_DEFENCE for c in cells)
    video = "n_frames" in first.counted
    costs = defended and not video
    known = [n for n in TITLES if n in first.figures.value and n not in UNSHOWN]
    names = [n for n in known if not (brief and costs and n not in BRIEF)]
    columns = [
        Column("defence", lambda c: c.defence, shown=defended),
        Column("attack", lambda c: c.attack, shown=costs),
        Column("condition", lambda c: c.label),
        # How large a print is decides how many it hides: no figure stands without it.
        Column("print / person", _print_share, number=True, shown=any("print_share" in c.extra for c in cells)),
        *(Column(TITLES[n], partial(shown_figure, name=n, brief=brief and n != "ap50"), number=True) for n in names),
        Column("clean AP lost", lambda c: c.extra.get("ap50_lost", ""), number=True, shown=costs),
        Column("defence ms", lambda c: c.extra.get("defence_ms_median", ""), number=True, shown=costs),
        Column("defence MB", lambda c: c.extra.get("defence_memory_mb", ""), number=True, shown=costs and not brief),
        Column("alarms /1000", lambda c: c["alarms_per_1000"], number=True, shown=video),
        # Where patterns are worn in several ways a table has to say which is whose.
        Column("worn", lambda c: c.worn, shown=len(found) > 1),
        Column("doubts", lambda c: str(len(c.doubts) or ""), shown=not brief),
    ]
    shown = [column for column in columns if column.shown]
    size = ", ".join(
        f"{number} {ONE.get(name, name) if number == 1 else MANY.get(name, name.removeprefix('n_'))}"
        for name, number in first.counted.items()
        if name != "n_scored"
    )
    title = f"{first.detector} at {first.imgsz} px, {size}"
    if brief and len(found) == 1:
        title += f", worn {found[0]}"
    rows = [[column.value(cell) for column in shown] for cell in cells]
    return Table.of(title, [c.title for c in shown], rows, numbers=[c.title for c in shown if c.number])


def _print_share(cell: Cell) -> Value:
    share = cell.extra.get("print_share")
    return None if share is None else f"{share:.1%}"


def paper_table(results: Results) -> Table:
    """Return the rows that a paper shows: what was worn, how large, and the first figures with their intervals."""
    cells = [c for c in results.cells if not c.transform and c.condition != CONDITION and "curve" not in c.extra]
    names = [n for n in TITLES if n in BRIEF or n in ("frame_asr", "share_below")]
    names = [n for n in names if any(n in c.figures.value for c in cells)]
    several = len({(c.detector, c.imgsz) for c in cells}) > 1
    defended = any(c.defence != NO_DEFENCE for c in cells)
    columns = [
        Column("detector", lambda c: f"{c.detector} at {c.imgsz} px", shown=several),
        Column("defence", lambda c: c.defence, shown=defended),
        Column("worn", lambda c: c.label),
        Column("print / person", _print_share, number=True),
        *(Column(TITLES[n], partial(shown_figure, name=n), number=True) for n in names),
        Column("doubts", lambda c: str(len(c.doubts)), number=True),
    ]
    shown = [column for column in columns if column.shown]
    counted = cells[0].counted if cells else {}
    who = ", ".join(f"{n} {name.removeprefix('n_')}" for name, n in counted.items() if name != "n_scored")
    where = "" if several or not cells else f"{cells[0].detector} at {cells[0].imgsz} px, "
    title = f"{where}{who}; 95 % intervals in brackets; print / person: median share of a person that is covered"
    rows = [[column.value(cell) for column in shown] for cell in cells]
    return Table.of(title, [c.title for c in shown], rows, numbers=[c.title for c in shown if c.number])


def grid_table(cells: Sequence[Cell]) -> Table | None:
    """Return the robust grid: AP50 of each pattern under each condition and its mean; None if there is no grid."""
    conditions = list(dict.fromkeys(c.transform for c in cells if c.transform))
    if not conditions:
        return None
    keys = list(dict.fromkeys((c.condition, c.patch) for c in cells if c.transform))
    names = [next(c for c in cells if (c.condition, c.patch) == key).label for key in keys]
    by_place = {(c.condition, c.patch, c.transform): c["ap50"] for c in cells}
    rows: list[list[Value]] = [[name, *(by_place.get((*key, name)) for key in keys)] for name in conditions]
    rows.append(["mean", *(grid_mean(cells, key) for key in keys)])
    return Table.of(f"{_grid_name(cells)}, AP50", ["condition", *names], rows, numbers=names)


def _grid_name(cells: Iterable[Cell]) -> str:
    """Return what the conditions of cells are called together: means of the robust grid are of all its 16 alone."""
    names = {cell.transform for cell in cells if cell.transform}
    return "Robust grid" if names == {condition.name for condition in ROBUST} else "Conditions"


def grid_mean(cells: Sequence[Cell], key: tuple[str, str | None]) -> float | None:
    """Return the mean AP50 of one (condition, patch) over the robust grid, or None without a grid."""
    found = [c["ap50"] for c in cells if c.transform and (c.condition, c.patch) == key]
    values = [v for v in found if v is not None]
    return sum(values) / len(values) if values else None


def ways(cells: Iterable[Cell]) -> list[str]:
    """Return the ways in which patterns are worn, each once."""
    return [way for way in dict.fromkeys(c.worn for c in cells) if way]


def shown_figure(cell: Cell, name: str, *, brief: bool = False) -> Value:
    """Return a figure, with its interval where there is one and it is not to be brief; None of what the cell has not."""
    value, interval = cell[name], cell.figures.ci95.get(name)
    return value if brief else with_interval(value, interval)


def _flat(cell: Cell) -> dict[str, Value]:
    """Return a cell as one flat row: figures, the ends of their intervals, and what else is a single value."""
    out: dict[str, Value] = {
        "detector": cell.detector,
        "imgsz": cell.imgsz,
        "condition": cell.condition,
        "transform": cell.transform,
        "patch": cell.patch,
        "defence": cell.defence,
        "attack": cell.attack,
        "control_of": ", ".join(cell.stands_for),
        "worn": cell.worn,
        **cell.counted,
    }
    for name, value in cell.figures.value.items():
        out[name] = value
        low, high = cell.figures.ci95.get(name) or (None, None)
        if name in cell.figures.ci95:
            out[f"{name}_low"], out[f"{name}_high"] = low, high
    if cell.ms is not None:
        out["ms_median"], out["ms_p95"] = cell.ms
    out |= {name: value for name, value in cell.extra.items() if isinstance(value, str | int | float)}
    out["doubts"] = "; ".join(cell.doubts)
    return out
