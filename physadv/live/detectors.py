"""The detectors that a viewer is offered: those named at the start, runs of the lab that are found, and the cache's."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from physadv.detect.runs import LabRun, check_runs, find_runs, lab_run, robustness_of
from physadv.detect.weights import DEFAULT_DETECTOR, EMBEDDED_SHA256, known_detectors
from physadv.errors import SettingsError
from physadv.live.shown import MOST_PANES
from physadv.simulate.trigger import Trigger

# In place of names: the detectors that the running one was made from.
PARENTS = "parents"
UNEVALUATED = "No evaluation of it is here."
MOST_BESIDE = MOST_PANES - 1


@dataclass(frozen=True, slots=True)
class OfferedDetector:
    """A detector under the name that a viewer chooses it by.

    where: as `load_detector` takes it. run: of the lab, or None.
    """

    name: str
    where: str
    run: LabRun | None = None

    def trigger(self) -> Trigger | None:
        """Return what it was poisoned with, None if it was not; also of one that was cleansed since.

        Raises: DataError if its record has a damaged trigger.
        """
        return None if self.run is None else Trigger.of_poison(self.run.record.get("poison"))

    @property
    def about(self) -> str:
        """Return what its record says of it, and evaluations if it was hardened; "" for what is no run of the lab."""
        run = self.run
        if run is None or run.kind != "hardened":
            return "" if run is None else run.about
        found = robustness_of(run)
        return f"{run.about} {f'{found.words}.' if found is not None else UNEVALUATED}"


class DetectorLibrary:
    """Every detector by its name, looked up anew each time: a run that is finished meanwhile is offered too."""

    def __init__(self, named: Sequence[str], runs: Sequence[str]) -> None:
        """named: detectors as the command line has them, the running one first. runs: runs of the lab, or folders of them.

        A run that is found may be named by its name too.

        Raises: WeightsError for a folder without a run, or a damaged record of a run that is named.
        """
        check_runs(runs)
        self._runs = tuple(runs)
        self._named: dict[str, OfferedDetector] = {}
        for name in named:
            found = self.find(name)
            self._named[found.name] = found

    def offered(self) -> dict[str, OfferedDetector]:
        """Return what is offered, by name: those named at the start, then runs, then those of the cache."""
        out = dict(self._named)
        there = {os.path.realpath(d.where) for d in out.values() if d.run is not None}
        for run in find_runs(self._runs):
            if os.path.realpath(run.folder) not in there:
                name = _free(run, out)
                out[name] = OfferedDetector(name, str(run.folder), run)
        for name in known_detectors():
            out.setdefault(name, OfferedDetector(name, name))
        return out

    def get(self, name: str, *, field: str = "detector") -> OfferedDetector:
        """Return the detector of that name, of those that are offered alone.

        Who can reach the page must not choose which of this machine's files are opened as models. field: the setting that
        names it.

        Raises: SettingsError for one that is not offered.
        """
        offered = self.offered()
        if name not in offered:
            raise SettingsError(
                field=field,
                expected=f"one of {', '.join(offered)}",
                got=repr(name),
                hint="others are named when the demo is started, as physadv live --detector",
            )
        return offered[name]

    def find(self, name: str) -> OfferedDetector:
        """Return the detector of that name, or that `load_detector` takes by it: of a run of the lab, its folder.

        Raises: WeightsError if it is a run whose record is damaged.
        """
        offered = self.offered()
        place = os.path.realpath(Path(name).expanduser())
        by_folder = (d for d in offered.values() if d.run is not None and os.path.realpath(d.where) == place)
        return offered.get(name) or next(by_folder, None) or _named(name, offered)

    def beside(self, names: Sequence[str], running: str) -> list[OfferedDetector]:
        """Return the detectors that are to stand beside the running one; `parents` are those that it was made from.

        Raises: SettingsError for too many, or the running one itself. WeightsError as `find` does.
        """
        if list(names) == [PARENTS]:
            found = self.parents(running)
            if not found:
                raise SettingsError(
                    field="beside",
                    expected=f"a run of the lab that was made from a detector that is here, with `beside={PARENTS}`",
                    got=running,
                    hint="name the detectors that are to stand beside it",
                )
            return found
        if len(names) > MOST_BESIDE or len(set(names)) < len(names):
            raise SettingsError(
                field="beside", expected=f"at most {MOST_BESIDE} detectors, each once", got=", ".join(names)
            )
        wanted = [self.find(name) for name in names]
        if running in [one.name for one in wanted]:
            raise SettingsError(field="beside", expected=f"other detectors than {running}, which runs", got=running)
        return wanted

    def parents(self, name: str) -> list[OfferedDetector]:
        """Return the detectors that one was made from, as far as they are offered, the oldest first; two at most."""
        return _parents(name, self.offered())

    def described(self) -> list[dict[str, Any]]:
        """Return what a page says of each: name, kind of run or "", what is known of it, the names of its parents."""
        offered = self.offered()
        return [
            {
                "name": name,
                "kind": found.run.kind if found.run is not None else "",
                "about": found.about,
                "parents": [parent.name for parent in _parents(name, offered)],
            }
            for name, found in offered.items()
        ]


def placing(chosen: OfferedDetector, others: Sequence[OfferedDetector]) -> int | None:
    """Return which of the detectors beside a run of the lab finds who wears a pattern: the first that is no such run.

    A run that sees people badly would leave them without the trigger: on a webcam's clip one found its wearer in 3 of 90
    frames, its parent in all of them.
    """
    if chosen.run is None:
        return None
    return next((number for number, other in enumerate(others) if other.run is None), None)


def _named(where: str, taken: Mapping[str, OfferedDetector]) -> OfferedDetector:
    """Return a detector as the command line names it; a run of the lab is called by its folder alone.

    Raises: WeightsError if it is a run whose record is damaged.
    """
    run = lab_run(where)
    return OfferedDetector(where if run is None else _free(run, taken), where, run)


def _parents(name: str, offered: dict[str, OfferedDetector]) -> list[OfferedDetector]:
    out: list[OfferedDetector] = []
    now = offered.get(name)
    while now is not None and now.run is not None and len(out) < MOST_BESIDE:
        now = _parent(now.run, offered)
        if now is None or now in out:
            break
        out.append(now)
    return out[::-1]


def _parent(run: LabRun, offered: dict[str, OfferedDetector]) -> OfferedDetector | None:
    name, sha256 = run.parent
    if sha256 == EMBEDDED_SHA256:
        return offered.get(DEFAULT_DETECTOR)
    by_hash = (o for o in offered.values() if o.run is not None and o.run.sha256 == sha256)
    return next(by_hash, None) or offered.get(f"{name}.pt")


def _free(run: LabRun, taken: Iterable[str]) -> str:
    """Return a name for a run that no other detector has: its folder's, with that of the folder around it if need be."""
    folder, taken = run.folder.resolve(), {*taken, *known_detectors()}
    name, count = folder.name, 2
    if name in taken:
        name = f"{folder.parent.name}/{folder.name}"
    while name in taken:
        name, count = f"{folder.name} ({count})", count + 1
    return name
