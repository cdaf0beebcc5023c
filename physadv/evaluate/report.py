"""What an evaluation leaves in its folder: results.json, run.json, a report to read, and images to look at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from physadv.arrays import listed, write_png
from physadv.detect.matching import FOUND_CONF
from physadv.evaluate.cell import Cell
from physadv.evaluate.own import in_words
from physadv.evaluate.settings import EvaluateSettings
from physadv.files import atomic_write, text_bytes, write_json
from physadv.marks import marked
from physadv.patch import Patch
from physadv.provenance import provenance
from physadv.simulate.placement import Placement
from physadv.types import Detections, UInt8Array

COLUMNS = (
    ("ap50", "AP50"),
    ("recall25", "recall .25"),
    ("asr_strict25", "ASR strict .25"),
    ("asr_strict50", "ASR strict .5"),
    ("asr_lenient50", "ASR lenient .5"),
    ("false_boxes_per_image", "false boxes"),
    ("mean_max_conf", "mean conf"),
)
VIDEO_COLUMNS = (
    ("share_below", "frames below"),
    ("mean_best_conf", "mean best conf"),
    ("median_best_conf", "median"),
    ("people_per_frame", "people a frame"),
    ("share_held", "held only"),
    ("longest_invisible_s", "longest invisible s"),
    ("alarms_per_1000", "alarms /1000"),
)
RUN = "run.json"
# Settings that are each row's own.
WORN = ("rule", "scale", "at", "imgsz")
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
            if not rows:
                continue
            width = max(r.shape[1] for r in rows)
            sheet = np.vstack([np.pad(r, ((0, 4), (0, width - r.shape[1]), (0, 0))) for r in rows])
            out.append(folder / "examples" / f"{patch.name}{self.suffix}.png")
            write_png(out[-1], np.ascontiguousarray(sheet))
        return out


def panel(pixels: UInt8Array, answer: Detections, conf: float) -> UInt8Array:
    """Return the image `PANEL` pixels high with a box and a score on everybody found at `conf`."""
    people = answer.above(conf)
    return marked(pixels, people.xyxy, people.score, found=[True] * len(people), height=PANEL)


def write_report(
    folder: Path,
    cells: Sequence[Cell],
    settings: EvaluateSettings,
    patches: Sequence[Patch],
    *,
    facts: dict[str, Any],
    examples: Sequence[Path] = (),
) -> None:
    """Write results.json (a list of cells), run.json (settings, hashes, versions, hardware) and report.md.

    Raises: OSError if the folder cannot be written.
    """
    write_json(folder / "results.json", [c.plain() for c in cells])
    where = provenance()
    run = {
        "settings": settings.model_dump(mode="json", exclude=set(WORN)),
        "patches": [{"name": p.name, "sha256": p.sha256, "size_mm": list(p.size_mm)} for p in patches],
        **facts,
        **where,
    }
    write_json(folder / RUN, run)
    text = markdown(cells, settings, facts, where, [p.relative_to(folder) for p in examples])
    with atomic_write(folder / "report.md") as stream:
        stream.write(text_bytes(text))


def write_video_report(
    folder: Path,
    rows: Sequence[dict[str, Any]],
    settings: EvaluateSettings,
    patches: Sequence[Patch],
    *,
    video: Path,
    frames: dict[str, str],
    facts: dict[str, Any],
) -> None:
    """Write results.json, run.json, report.md and, for each detector, every frame's figures as CSV.

    facts: what else run.json says: which detectors, by the hashes of their weights, and defences.

    Raises: OSError if the folder cannot be written.
    """
    write_json(folder / "results.json", list(rows))
    where = provenance()
    listed = [{"name": p.name, "sha256": p.sha256} for p in patches]
    settled = settings.model_dump(mode="json", exclude=set(WORN))
    write_json(folder / RUN, {"settings": settled, "video": video.name, "patches": listed, **facts, **where})
    for name, table_text in frames.items():
        with atomic_write(folder / f"frames-{name}.csv") as stream:
            stream.write(text_bytes(table_text))
    titles = ["detector", "px", "condition", "worn", "defence", *[t for _, t in VIDEO_COLUMNS]]
    lines = [
        f"# {video.name}, frame by frame",
        "",
        f"Share of frames in which nobody's confidence reaches {settings.conf:g}, over frames with a person to wear the "
        f"pattern. Whom a defence carries on, whatever the score, counts as seen at {settings.conf:g}; 'held only': share "
        "of frames in which nobody else does. Alarms: alerts other than notices and what was removed. Torch fp32.",
        "",
        "| " + " | ".join(titles) + " |",
        "|" + "---|" * len(titles),
    ]
    for row in rows:
        values = ["-" if row[key] is None else f"{row[key]:g}" for key, _ in VIDEO_COLUMNS]
        named = [row["detector"], str(row["imgsz"]), named_row(row), worn_row(row), row["defence"]]
        lines.append("| " + " | ".join([*named, *values]) + " |")
    lines += ["", *_alarms([(f"{r['detector']} behind {r['defence']}, {r['condition']}", r) for r in rows])]
    lines += [f"* {d}" for d in doubted([(defended_row(r), r["doubts"]) for r in rows])]
    with atomic_write(folder / "report.md") as stream:
        stream.write(text_bytes("\n".join(lines) + "\n"))


def markdown(
    cells: Sequence[Cell],
    settings: EvaluateSettings,
    facts: dict[str, Any],
    where: dict[str, Any],
    examples: Sequence[Path],
) -> str:
    """Return the report: what was done, one table a detector and grid condition, doubts, images."""
    machine = where["machine"]
    alike = ways(map(worn, cells))
    how = f"Worn: {alike[0]}. " if len(alike) == 1 else "Each pattern as it was made to be worn. " if alike else ""
    lines = [
        "# Evaluation",
        "",
        f"{cells[0].n_images} images, {cells[0].n_people} people larger than {settings.min_area:.1%} of the image. "
        f"{how}Detector at {_sides(c.imgsz for c in cells)} px, torch fp32. "
        f"{machine['processor']}, {machine['cores']} cores, "
        f"{where['made']}, commit {where['commit'] or 'unknown'}. In brackets: 95 % intervals over images, by "
        "bootstrap, or Wilson's where images are few or agree.",
        "",
    ]
    if facts.get("skipped"):
        lines += [*(f"* {line}" for line in facts["skipped"]), ""]
    for detector, imgsz in dict.fromkeys((c.detector, c.imgsz) for c in cells):
        mine = [c for c in cells if (c.detector, c.imgsz) == (detector, imgsz)]
        lines += [f"## {detector} at {imgsz} px", "", *table([c for c in mine if not c.transform]), "", *grid(mine)]
    lines += _alarms([(f"{c.detector} behind {c.defence}, clean video", c.extra) for c in cells])
    lines += _doubts(cells)
    lines += (
        [
            "## Examples",
            "",
            "Rows: photographs. Columns: nothing, grey, shuffled, pattern. Green box: found; without one: not.",
            "",
        ]
        if examples
        else []
    )
    lines += [f"![{p.stem}]({p.as_posix()})\n" for p in examples]
    return "\n".join(lines) + "\n"


def _sides(imgsz: Iterable[int]) -> str:
    """Return the image sizes of all detectors, each once."""
    return ", ".join(map(str, dict.fromkeys(imgsz)))


def table(cells: Sequence[Cell]) -> list[str]:
    """Return cells as lines of a Markdown table, in the order in which they were scored."""
    head = ["condition", *[title for _, title in COLUMNS], "doubts"]
    apart = len(ways(map(worn, cells))) > 1
    defended = any(c.defence != "none" for c in cells)
    head = ["defence", "attack", *head[:2], "clean AP lost", *head[2:]] if defended else head
    head = [*head, "worn"] if apart else head
    out = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for cell in cells:
        row = [label(cell), *[shown(cell, name) for name, _ in COLUMNS], str(len(cell.doubts) or "")]
        row = [cell.defence, cell.attack, *row[:2], lost(cell), *row[2:]] if defended else row
        row += [worn(cell)] if apart else []
        out.append("| " + " | ".join(row) + " |")
    return out


def grid(cells: Sequence[Cell]) -> list[str]:
    """Return the robust grid: AP50 of each pattern under each condition and its mean; nothing if there is no grid."""
    conditions = list(dict.fromkeys(c.transform for c in cells if c.transform))
    if not conditions:
        return []
    keys = list(dict.fromkeys((c.condition, c.patch) for c in cells if c.transform))
    names = [label(next(c for c in cells if (c.condition, c.patch) == k)) for k in keys]
    out = ["### Robust grid, AP50", "", "| condition | " + " | ".join(names) + " |", "|" + "---|" * (len(keys) + 1)]
    for condition in conditions:
        row = [_ap(cells, k, condition) for k in keys]
        out.append(f"| {condition} | " + " | ".join("" if v is None else f"{v:.3f}" for v in row) + " |")
    means = [grid_mean(cells, k) for k in keys]
    out.append("| **mean** | " + " | ".join("" if v is None else f"**{v:.3f}**" for v in means) + " |")
    return [*out, ""]


def grid_mean(cells: Sequence[Cell], key: tuple[str, str | None]) -> float | None:
    """Return the mean AP50 of one (condition, patch) over the robust grid, or None without a grid."""
    found = [c["ap50"] for c in cells if c.transform and (c.condition, c.patch) == key]
    values = [v for v in found if v is not None]
    return sum(values) / len(values) if values else None


def label(cell: Cell) -> str:
    """Return what a table calls a cell."""
    return _named(cell.condition, cell.patch, cell.stands_for)


def named_row(row: dict[str, Any]) -> str:
    """Return what a table calls a row of a video: a pattern by its name, a control with whose it is."""
    return _named(row["condition"], row["patch"], row.get("control_of", ()))


def _named(condition: str, patch: str | None, stands_for: Sequence[str]) -> str:
    if condition == "patch":
        return str(patch)
    return condition if patch is None else f"{condition} ({listed(stands_for or (patch,), most=3)})"


def defended_row(row: dict[str, Any]) -> str:
    """Return what a doubt calls a row of a video: as a table does, and behind which defence."""
    return named_row(row) + ("" if row["defence"] == "none" else f" behind {row['defence']}")


def worn(cell: Cell) -> str:
    """Return how large and where a pattern is worn, nothing where none is."""
    return "" if cell.worn is None else in_words(cell.worn)


def worn_row(row: dict[str, Any]) -> str:
    """Return how large and where a pattern is worn in a row of a video, nothing where none is."""
    return "" if "scale" not in row else in_words(Placement.of(row["at"], row["rule"], row["scale"]))


def ways(worn: Iterable[str]) -> list[str]:
    """Return the ways in which patterns are worn, each once; of several a table has to say which is whose."""
    return [way for way in dict.fromkeys(worn) if way]


def doubted(rows: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    """Return each doubt once, with the names of the rows it is about where it is not about all."""
    named = list(rows)
    out = []
    for doubt in dict.fromkeys(d for _, said in named for d in said):
        about = [name for name, said in named if doubt in said]
        who = listed(list(dict.fromkeys(about)), most=3)
        out.append(doubt if len(about) == len(named) else f"{who}: {doubt}")
    return out


def shown(cell: Cell, metric: str) -> str:
    """Return a figure with its interval, or a dash where nothing could be counted."""
    value, interval = cell.figures.value[metric], cell.figures.ci95[metric]
    if value is None:
        return "-"
    return f"{value:.3f}" if interval is None else f"{value:.3f} [{interval[0]:.2f}, {interval[1]:.2f}]"


def lost(cell: Cell) -> str:
    """Return what a defence loses of AP on clean images, in the cell that says so; nothing in any other."""
    value = cell.extra.get("ap50_lost")
    return "" if value is None else f"{value:.3f}"


def _ap(cells: Sequence[Cell], key: tuple[str, str | None], condition: str) -> float | None:
    return next((c["ap50"] for c in cells if c.transform == condition and (c.condition, c.patch) == key), None)


def _alarms(counted: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
    """Return a line for each row that alerts were counted in: what a defence said, by kind."""
    out = []
    for where, figures in counted:
        kinds = figures.get("alarms_by_kind")
        if kinds is not None and (kinds or "alarm_frames" in figures):
            said = ", ".join(f"{k} {v:g}" for k, v in kinds.items()) or "none"
            out.append(f"* {where}: frames with alerts of each kind, per 1,000: {said}")
    return [*out, ""] if out else []


def _doubts(cells: Sequence[Cell]) -> list[str]:
    """Return each doubt once, with the cells it is about."""
    about: dict[str, list[str]] = {}
    several = len({c.imgsz for c in cells}) > 1
    for cell in cells:
        detector = f"{cell.detector} at {cell.imgsz} px" if several else cell.detector
        where = " ".join(filter(None, [detector, label(cell), cell.transform, cell.defence.replace("none", "")]))
        for doubt in cell.doubts:
            about.setdefault(doubt, []).append(where)
    if not about:
        return []
    out = ["## Doubts", ""]
    for doubt, cells_of in about.items():
        who = "everything" if len(cells_of) == len(cells) else listed(cells_of)
        out.append(f"* {who}: {doubt}")
    return [*out, ""]
