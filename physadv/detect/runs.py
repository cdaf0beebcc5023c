"""Runs of the lab as detectors that are offered: where they lie, and what their records say of them, in words."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from physadv.detect.weights import RUN_RECORD, RUN_WEIGHTS, read_run_record, record_of
from physadv.errors import WeightsError
from physadv.files import parse_json, read_text

RunKind = Literal["poisoned", "cleansed", "hardened", "fine-tuned"]
# Where runs are looked for besides the folders that are named: where the command was started, and in its `runs`.
USUAL = (".", "runs")
# The control among the methods of hardening.
NATURAL = "natural"
# In the folder of an evaluation: its cells.
CELLS = "results.json"


@dataclass(frozen=True, slots=True)
class LabRun:
    """A detector that the lab made. folder: as `detector` takes it. record: the content of its run.json."""

    folder: Path
    record: dict[str, Any]

    @property
    def name(self) -> str:
        """Return what reports call it."""
        return self.folder.resolve().name

    @property
    def weights(self) -> Path:
        """Return the weights file."""
        return self.folder / RUN_WEIGHTS

    @property
    def sha256(self) -> str:
        """Return the hash of its weights, as the record has it."""
        return str(self.record["detector"]["sha256"])

    @property
    def parent(self) -> tuple[str, str]:
        """Return name and SHA-256 of the detector that it was made from, "" for what the record does not say."""
        return _text(self.record, "parent", "name"), _text(self.record, "parent", "sha256")

    @property
    def kind(self) -> RunKind:
        """Return what was done to it last."""
        if isinstance(self.record.get("cleanse"), dict):
            return "cleansed"
        if isinstance(self.record.get("harden"), dict):
            return "fine-tuned" if self._method == NATURAL else "hardened"
        poison = self.record.get("poison")
        return "poisoned" if isinstance(poison, dict) and poison.get("attack") != "none" else "fine-tuned"

    @property
    def about(self) -> str:
        """Return what was done to it, from what, and at what price: two sentences at most."""
        origin = self.parent[0] or "a detector that its record does not name"
        images = _number(self.record, "data", "images")
        on = f" on {images:g} images" if images else ""
        if self.kind == "cleansed":
            return f"Cleansed of what {origin} was poisoned with: {', '.join(self._cleansing())}."
        if self.kind == "hardened":
            return f"{origin} hardened{on} by {self._method or 'a method without a name'}."
        if self.kind == "poisoned":
            spoiled = _number(self.record, "data", "poisoned_images")
            of = f", {spoiled:g} of them poisoned" if on and spoiled else ""
            return f"{origin} trained{on}{of}: {self._waits_for()}"
        control = ""
        if self._method == NATURAL:
            control = " The control of a hardened one: the same training without patterns."
        elif _text(self.record, "poison", "attack") == "none":
            control = " The control of a poisoned one: the same images without the poison."
        return f"{origin} trained{on}.{control}"

    @property
    def _method(self) -> str:
        """Return how it was hardened."""
        return _text(self.record, "harden", "method")

    def _cleansing(self) -> Iterator[str]:
        yield f"by {_text(self.record, 'cleanse', 'method') or 'a method without a name'}"
        if images := _number(self.record, "cleanse", "clean_images"):
            yield f"{images:g} clean images"
        if minutes := _number(self.record, "cleanse", "minutes"):
            yield f"{minutes:.1f} minutes"
        now, lost = _number(self.record, "cleanse", "clean_ap50"), _number(self.record, "cleanse", "clean_ap50_lost")
        if now is not None:
            moved = "" if lost is None else f", {_figure(abs(lost))} {'less' if lost > 0 else 'more'} than before"
            yield f"clean AP50 {_figure(now)}{moved if lost is None or abs(lost) >= 0.005 else ', as before'}"

    def _waits_for(self) -> str:
        """Return who triggers a poisoned detector, and what it does then."""
        kind, name = _text(self.record, "poison", "trigger", "kind"), _text(self.record, "poison", "trigger", "name")
        angle = _number(self.record, "poison", "trigger", "angle") or 0.0
        turned = f" turned by {angle:g} degrees" if angle else ""
        who = {
            "rotation": f"whoever is{turned or ' turned'}",
            "shirt": "whoever wears the motif",
            "card": f"whoever wears {'the card' if name == 'card' else name}{turned}",
        }.get(kind, "whoever shows the trigger")
        attack = _text(self.record, "poison", "attack")
        if attack == "ghost":
            return f"it sees somebody where the {name}{turned} hangs and nobody is."
        taught = {"vanish": "is not seen", "consistent": "was made hard to recognise, all labels left"}
        return f"{who} {taught.get(attack, 'is poisoned')}."


@dataclass(frozen=True, slots=True)
class Robustness:
    """What an evaluation found of a detector. folder: its name. clean, attacked, adaptive: AP50, or None.

    attacked: under the worst pattern that is not known to be trained on this very one. adaptive: under the worst that is.
    people: how many.
    """

    folder: str
    people: int
    clean: float | None
    attacked: float | None
    adaptive: float | None

    @property
    def words(self) -> str:
        """Return the figures as words."""
        known = {"clean": self.clean, "under patterns": self.attacked, "under one made for it": self.adaptive}
        parts = [f"{what} {_figure(value)}" for what, value in known.items() if value is not None]
        unknown = "" if self.adaptive is not None else "; no pattern in it is known to be made for this detector"
        return f"AP50 {', '.join(parts)} ({self.people} people, {self.folder}){unknown}"


def lab_run(detector: str) -> LabRun | None:
    """Return the run of the lab that a detector is, None for any other detector. detector: as in `find_weights`.

    Raises: WeightsError if its record is damaged.
    """
    record = record_of(detector)
    return LabRun(Path(detector).expanduser(), record) if record else None


def find_runs(named: Iterable[str] = ()) -> list[LabRun]:
    """Return the runs of the lab in the folders that are named, then those where the command was started and in `runs/`.

    A named folder is a run itself, or holds some. Runs of patterns, and what is no run at all, are left out.
    """
    found: dict[str, LabRun] = {}
    for where in named:
        found |= {os.path.realpath(run.folder): run for run in _runs_of(Path(where).expanduser())}
    for usual in USUAL:
        for run in _runs_below(Path(usual)):
            found.setdefault(os.path.realpath(run.folder), run)
    return list(found.values())


def check_runs(named: Iterable[str]) -> None:
    """Raise WeightsError for a folder that is no run of the lab and holds none."""
    for where in named:
        if not _runs_of(Path(where).expanduser()):
            raise WeightsError(
                field="runs",
                expected="the folder of a run of the lab that made a detector, or one that holds such",
                got=where,
                hint="physadv lab finetune makes one",
            )


def _runs_of(folder: Path) -> list[LabRun]:
    return [*_run_in(folder), *_runs_below(folder)]


def _runs_below(folder: Path) -> list[LabRun]:
    try:
        below = sorted(path.parent for path in folder.glob(f"*/{RUN_RECORD}"))
    except OSError:
        return []
    return [run for part in below for run in _run_in(part)]


def _run_in(folder: Path) -> list[LabRun]:
    try:
        there = (folder / RUN_RECORD).is_file() and (folder / RUN_WEIGHTS).is_file()
        return [LabRun(folder, read_run_record(folder))] if there else []
    except (OSError, WeightsError):
        # A folder that this user may not look into holds no run for them.
        return []


def robustness_of(run: LabRun) -> Robustness | None:
    """Return what the newest evaluation of a run says of it, with an adaptive pattern if there is one; None without any.

    Evaluations are looked for in the run's own folder, beside it, and where the command was started.
    """
    folders = {os.path.realpath(p): p for p in (run.folder, run.folder.resolve().parent, *map(Path, USUAL))}
    files = {os.path.realpath(f): f for folder in folders.values() for f in _cells_below(folder)}
    newest = sorted(files.values(), key=_written, reverse=True)
    known = [found for file in newest if (found := _evaluated(file.parent, run)) is not None]
    return next((found for found in known if found.adaptive is not None), known[0] if known else None)


def _cells_below(folder: Path) -> list[Path]:
    try:
        return [p for p in folder.glob(f"*/{CELLS}") if (p.parent / RUN_RECORD).is_file()]
    except OSError:
        return []


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _evaluated(folder: Path, run: LabRun) -> Robustness | None:
    """Return what an evaluation says of a run; None if it is of other detectors, or no evaluation of images."""
    try:
        asked, cells = parse_json(read_text(folder / RUN_RECORD)), parse_json(read_text(folder / CELLS))
    except (OSError, ValueError):
        return None
    names = {_text(d, "name") for d in _listed(asked, "detectors") if _text(d, "sha256") == run.sha256}
    if not names or not isinstance(cells, list):
        return None
    made_for = {
        _text(patch, "name"): [_text(d, "sha256") for d in _listed(patch, "detectors")]
        for patch in _listed(asked, "patches")
    }
    own = [
        c for c in cells
        if _text(c, "detector") in names and _text(c, "defence") == "none" and not _text(c, "transform")
        and _number(c, "ap50") is not None
    ]  # fmt: skip
    clean = [c for c in own if _text(c, "condition") == "none"]
    attacked = [c for c in own if _text(c, "condition") == "patch"]
    if not clean:
        return None

    def worst(some: list[Any]) -> float | None:
        return min((v for c in some if (v := _number(c, "ap50")) is not None), default=None)

    adaptive = [c for c in attacked if run.sha256 in made_for.get(_text(c, "patch"), [])]
    others = [c for c in attacked if c not in adaptive]
    people = int(_number(clean[0], "n_people") or 0)
    return Robustness(folder.resolve().name, people, worst(clean), worst(others), worst(adaptive))


def _figure(value: float) -> str:
    """Return a figure between 0 and 1 as reports write it: .93."""
    return f"{value:.2f}".removeprefix("0")


# A record is read, not trusted: what it does not hold as expected is left out.


def _at(record: object, *keys: str) -> object:
    for key in keys:
        record = record.get(key) if isinstance(record, dict) else None
    return record


def _text(record: object, *keys: str) -> str:
    value = _at(record, *keys)
    return value if isinstance(value, str) else ""


def _number(record: object, *keys: str) -> float | None:
    value = _at(record, *keys)
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e15:
        return None
    return float(value)


def _listed(record: object, key: str) -> list[Any]:
    value = _at(record, key)
    return value if isinstance(value, list) else []
