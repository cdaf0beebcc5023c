"""A study: patterns trained on each detector, every pattern scored on every detector, each cell kept by its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from physadv.dataset import Dataset, LabelledImage
from physadv.defend import Pipeline
from physadv.detect import check_attackable, load_detector, load_gradient_detector
from physadv.detect.base import BareDetector
from physadv.detect.changed import changed
from physadv.detect.facts import facts_of
from physadv.detect.gradients import BareGradient
from physadv.detect.matching import AP_CONF, average_precisions
from physadv.detect.weights import record_of
from physadv.errors import DataError, PluginError
from physadv.evaluate import doubts
from physadv.evaluate.adaptive import CHECKED, MARGIN, AdaptiveAttack, gradient_share
from physadv.evaluate.cell import Cell
from physadv.evaluate.compare import Row
from physadv.evaluate.doubt_codes import Doubt
from physadv.evaluate.images import content_of
from physadv.evaluate.own import FILLS, fit_of, in_words, share_of_image
from physadv.evaluate.scorer import Entry, Scorer, controls_of
from physadv.evaluate.settings import USUAL_IMGSZ, EvaluateSettings
from physadv.evaluate.steps import Steps, part_of
from physadv.evaluate.study import GREY, MADE, NONE, PUBLIC, SizedDetector, Studied, StudyCell, StudyResults
from physadv.files import file_name, parse_json, write_json
from physadv.patch import Patch
from physadv.simulate.placement import Placement

# Fewer detectors than this say nothing of detectors.
FEW_DETECTORS = 10
FOLDER = "detectors"
# Share of pixels with a gradient below which an attack sees nothing.
SILENT = 0.01


class Print(NamedTuple):
    """Something that is worn: its kind, the detector it was made for, and how it is scored."""

    kind: str
    source: str
    entry: Entry


@dataclass(slots=True)
class Study:
    """The work of a study.

    scored: people that patterns are scored on. trained: images that white-box patterns are trained on; none for a study of
    public patterns alone. folder: records by detector are kept in it, and looked for before anything is asked again.
    """

    subjects: Sequence[SizedDetector]
    public: Sequence[Patch]
    scored: Dataset
    trained: Sequence[LabelledImage]
    settings: EvaluateSettings
    attack: AdaptiveAttack
    folder: Path
    _content: str = field(init=False)

    def __post_init__(self) -> None:
        images = sorted(content_of(self.scored.images).items())
        boxes = [(image.name, image.boxes.tolist(), image.keypoints.tolist()) for image in self.scored.images]
        self._content = hashlib.sha256(json.dumps([images, boxes]).encode()).hexdigest()

    def running(self) -> Steps[StudyResults]:
        """Train, score and compare; the results are returned.

        Raises: WeightsError, BackendError and PluginError for detectors that cannot be loaded. DataError for one that
        changed meanwhile.
        """
        out = StudyResults(self.settings)
        out.counted = {"n_images": len(self.scored.images), "n_people": self.scored.n_people}
        names = names_of(self.subjects)
        parts = 2 * len(names)
        made: list[tuple[str, Patch]] = []
        for number, (name, subject) in enumerate(names.items()):
            patch = yield from part_of(self._train(name, subject), number, parts, f"{name}, white-box")
            made += [] if patch is None else [(name, patch)]
        prints = self._prints(made, out)
        for number, (name, subject) in enumerate(names.items(), start=len(names)):
            out.studied.append((yield from part_of(self._study(name, subject, prints, out), number, parts, name)))
        out.doubts = doubts.of_data(self.scored) + self._of_patterns([p for _, p in made]) + of_study(out, self.attack)
        return out

    def _train(self, name: str, subject: SizedDetector) -> Steps[Patch | None]:
        """Return the pattern that is trained on one detector; None of one without gradients, or without images."""
        detector = self._gradient(subject)
        if detector is None or not self.trained:
            return None
        # By which its pattern is kept.
        detector.name = file_name(name)
        seed = self.settings.seed
        patch = yield from self.attack.train(
            Pipeline(), detector, self.trained, self._usual, restart=0, start=None, seed=seed
        )
        return replace(patch, name=f"made for {name}")

    def _gradient(self, subject: SizedDetector) -> BareGradient | None:
        """Return a detector to attack, None of one without gradients."""
        try:
            check_attackable(subject.name)
        except PluginError:
            return None
        return load_gradient_detector(subject.name, device=self.settings.device)

    @property
    def _usual(self) -> Placement:
        """Return how white-box patterns are worn: as a square that does not say for what it was made."""
        pixels, mask = np.zeros((8, 8, 3), np.uint8), np.full((8, 8), 255, np.uint8)
        return self._placed(Patch("plain", pixels, mask, (360, 360)))

    def _placed(self, patch: Patch) -> Placement:
        return fit_of(patch, self.settings, filling=share_of_image(self.scored.images) > FILLS).placement

    def _prints(self, made: Sequence[tuple[str, Patch]], out: StudyResults) -> list[Print]:
        """Return everything that is worn, a grey print of every shape and way to wear it among it."""
        prints = [Print(NONE, "", Entry("none", NONE, None))]
        greys: dict[tuple[bytes, float, Placement], str] = {}
        worn = [("", p, self._placed(p)) for p in self.public] + [(name, p, self._usual) for name, p in made]
        for source, patch, placement in worn:
            height, width = patch.pixels.shape[:2]
            whole = bool((patch.mask == 255).all())
            shape = (b"" if whole else patch.mask.tobytes(), round(width / height, 2), placement)
            if shape not in greys:
                grey = next(controls_of(patch, placement, [patch], ("grey",), seed=self.settings.seed))
                greys[shape] = f"grey, {in_words(placement)}" + ("" if whole else f", as {patch.name}")
                prints.append(Print(GREY, "", replace(grey, name=greys[shape])))
            out.greys[patch.name] = greys[shape]
            out.worn[patch.name] = in_words(placement)
            out.patterns[patch.name] = patch
            entry = Entry("patch", patch.name, patch, placement, of=patch)
            prints.append(Print(MADE if source else PUBLIC, source, entry))
        return prints

    def _study(self, name: str, subject: SizedDetector, prints: Sequence[Print], out: StudyResults) -> Steps[Studied]:
        """Score one detector; what its record has already is not asked again."""
        detector = load_detector(
            subject.name,
            backend="reference",
            precision="fp32",
            imgsz=subject.imgsz or USUAL_IMGSZ,
            min_conf=AP_CONF,
            device=self.settings.device,
        )
        detector.name = name
        before = detector.fingerprint()
        path = self.folder / FOLDER / f"{file_name(name)}.json"
        kept = read_record(path)
        # By content in the record; by name in the study: two trainings may give one and the same pattern.
        cells: list[StudyCell] = []
        scorer = Scorer(self.scored, detector, self.settings)
        for number, (kind, source, entry) in enumerate(prints):
            key = self._key(before, detector, entry)
            there = kept.get(key)
            if there is not None:
                out.reused += 1
                cells.append(replace(there, pattern=entry.name or "", kind=kind, source=source))
                continue
            cell = yield from part_of(scorer.scoring(entry), number, len(prints), str(entry.name))
            out.asked += 1
            kept[key] = self._scored(kind, source, cell, scorer)
            cells.append(kept[key])
            if detector.fingerprint() != before:
                raise DataError(f"{name}: weights or buffers changed while it was scored: no figure can be trusted")
            plain = {k: scored.plain() for k, scored in kept.items()}
            write_json(path, {"detector": name, "sha256": detector.sha256, "imgsz": detector.imgsz, "cells": plain})
        gradient = self._gradient(subject)
        parent = record_of(subject.name).get("parent")
        facts = facts_of(
            name, detector, gradient, detector.imgsz, parent=parent["name"] if isinstance(parent, dict) else ""
        )
        found = self._doubts(subject, detector, gradient, cells[0])
        return Studied(name, detector.imgsz, detector.sha256 or "", facts, tuple(cells), tuple(found))

    def _doubts(
        self, subject: SizedDetector, detector: BareDetector, gradient: BareGradient | None, clean: StudyCell
    ) -> list[Doubt]:
        """Return the doubts about one detector."""
        sha256, known = detector.sha256, detector.weights_known
        out = doubts.of_detector(detector.name, sha256, self.public, changed(subject.name), known=known)
        out += doubts.of_making(record_of(subject.name), self.scored)
        if gradient is not None and self.trained:
            images = [image for image in self.scored.images if image.counts.any()][:CHECKED]
            silent = sum(gradient_share(image, gradient, detector.imgsz) < SILENT for image in images)
            if silent:
                text = f"zero gradients on {silent} of {len(images)} images: the attack on it saw nothing"
                out.append(Doubt("zero-gradients", text))
        if clean.recall25 < doubts.WEAK_RECALL:
            out.append(Doubt("weak-detector", f"the clean detector finds only {clean.recall25:.0%} of the people"))
        return out

    def _of_patterns(self, made: Sequence[Patch]) -> list[Doubt]:
        """Return the doubts about the patterns, each with its name."""
        return [
            Doubt(doubt.code, f"{patch.name}: {doubt}")
            for patch in (*self.public, *made)
            for doubt in (*doubts.of_patch(patch, self.scored), *doubts.of_print(patch))
        ]

    def _scored(self, kind: str, source: str, cell: Cell, scorer: Scorer) -> StudyCell:
        """Return a cell with what every resample of the images gives: the same resamples for all cells."""
        matches, resamples = scorer.matches[-1], self.settings.resamples
        n = len(matches)
        weights = np.random.default_rng(self.settings.seed).multinomial(n, np.full(n, 1 / n), resamples)
        drawn = average_precisions(matches, weights.astype(np.float64))
        people: Row = {
            (case.unit, case.case): {
                "found": case.found,
                "hidden": float("nan") if case.hidden is None else case.hidden,
                "weight": 1.0,
            }
            for case in cell.cases
        }
        return StudyCell(
            cell.patch or "",
            kind,
            cell["ap50"] or 0.0,
            cell.figures.ci95.get("ap50"),
            cell["recall25"] or 0.0,
            tuple(round(float(v), 4) for v in np.nan_to_num(drawn)),
            people,
            source,
        )

    def _key(self, fingerprint: str, detector: BareDetector, entry: Entry) -> str:
        """Return what a cell is known by: all that decides its figures."""
        s = self.settings
        worn = None if entry.patch is None else (entry.patch.sha256, entry.patch.size_mm, repr(entry.placement))
        looked = (detector.sha256, fingerprint, detector.backend, detector.imgsz, detector.min_conf)
        text = json.dumps([looked, worn, (s.min_area, s.wear_lit, s.resamples, s.seed), self._content, _code()])
        return hashlib.sha256(text.encode()).hexdigest()[:40]


def names_of(subjects: Sequence[SizedDetector]) -> dict[str, SizedDetector]:
    """Return detectors by what reports call them: the end of a name or path, with its size where it was given.

    Raises: DataError if two have one name.
    """
    out: dict[str, SizedDetector] = {}
    for subject in subjects:
        name = Path(subject.name).stem if subject.name.endswith((".pt", ".onnx")) else Path(subject.name).name
        name = name.rpartition(":")[2] or name
        name += "" if subject.imgsz is None else f"@{subject.imgsz}"
        if name in out:
            raise DataError(
                f"two detectors are called {name!r}", field="detectors", hint="name each once, or rename one"
            )
        out[name] = subject
    return out


def read_record(path: Path) -> dict[str, StudyCell]:
    """Return the cells of a detector's record by their keys; what is damaged is made anew."""
    try:
        cells = parse_json(path.read_bytes())["cells"]
        return {str(key): StudyCell.of_plain(cell) for key, cell in cells.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


@lru_cache(maxsize=1)
def _code() -> str:
    """Return a hash of the code that decides a cell: what was scored by other code is scored anew."""
    root = Path(__file__).parent.parent
    own = [root / "evaluate" / f"{name}.py" for name in ("metrics", "scorer")]
    files = [*(p for name in ("detect", "simulate") for p in sorted((root / name).rglob("*.py"))), *own]
    return hashlib.sha256(b"".join(p.read_bytes() for p in files)).hexdigest()


def of_study(out: StudyResults, attack: AdaptiveAttack) -> list[Doubt]:
    """Return the doubts about a study as a whole."""
    found = []
    if (n := len(out.studied)) < FEW_DETECTORS:
        found.append(Doubt("few-detectors", f"only {n} detectors: nothing is said of detectors in general"))
    for s in out.studied:
        own, best = s.strongest("white-box"), s.strongest("any")
        if own is not None and best is not None and own.ap50 > best.ap50 + MARGIN:
            text = (
                f"{s.name}: its white-box pattern (AP {own.ap50:.2f}) is weaker than {best.pattern} ({best.ap50:.2f}): "
                "give it more steps; the true figure is at most the lower one"
            )
            found.append(Doubt("weak-adaptive-attack", text))
    if any(s.strongest("white-box") for s in out.studied):
        text = f"white-box patterns are of one training of {attack.steps} steps each: a longer one may hide more"
        found.append(Doubt("one-training", text))
    if len(out.patterns) < 2:
        return found
    text = "the strongest of several patterns is chosen on the people it is scored on: its figure flatters it"
    return [*found, Doubt("chosen-on-test", text)]
