"""Hardening a detector: a fine-tuning on images whose people wear patterns, and the record of what it cost."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from physadv.dataset import LabelledImage
from physadv.detect.runs import LabRun
from physadv.detect.weights import RUN_RECORD, record_of
from physadv.errors import DataError, SettingsError, naming
from physadv.evaluate.images import Labeller, in_stretches, labelling, labels_cache, read_dataset
from physadv.evaluate.own import FILLS, own_fit, share_of_image
from physadv.evaluate.run import apart
from physadv.evaluate.steps import Steps
from physadv.files import atomic_write
from physadv.patch import Patch, load_patch
from physadv.simulate.placement import Placement
from physadv.tune.checkpoint import CHECKPOINT
from physadv.tune.harden.bank import photographs_of
from physadv.tune.harden.costs import CostRow, Costs, plot_costs, table
from physadv.tune.harden.methods import Attack, Batch, Classes, attack_of
from physadv.tune.harden.settings import DATA, HardenSettings
from physadv.tune.harden.validation import Judgement, Validation
from physadv.tune.hook import Hook
from physadv.tune.origin import check_clean, sources_of
from physadv.tune.run import load_network
from physadv.tune.trainer import TuneProgress, fine_tune
from physadv.tune.yolo_data import parent_of, write_yolo

TABLE, FIGURE = "costs.md", "costs.png"
PATCH_CLASS = "patch"
# The logit at which a new class begins: a chance of about one in a thousand.
RARE = -7.0
# Images from the training that are judged after each epoch beside the held-out ones, at most.
JUDGED = 12


@dataclass(frozen=True, slots=True)
class Hardened:
    """A hardened detector. costs: its own first, then those of the runs beside it."""

    run: LabRun
    costs: list[Costs]


class HardeningHook(Hook):
    """Puts an attack into the trainer's loop, and writes down after each epoch what it cost and gained.

    held, trained: what is judged; the second of images that are trained on.
    """

    def __init__(
        self,
        attack: Attack,
        held: Validation,
        trained: Validation,
        person: int,
        costs: Costs,
        write: Callable[[Costs], None],
    ) -> None:
        self._attack, self._held, self._trained, self._person = attack, held, trained, person
        self.costs, self._write = costs, write
        self.replays = attack.replays
        self._seconds = 0.0
        self._since = 0.0
        self._losses: list[float] = []
        self._fresh = True

    def ready(self, model: nn.Module) -> None:
        """Take the network; before the first epoch it is judged as it comes."""
        self._attack.network = model
        if self._fresh:
            self._add(0, model)
        self._since = time.monotonic()

    def batch(self, model: nn.Module, batch: Batch) -> None:
        """Let people wear patterns; the images without them stay in `clean`, for likeness to the parent's answers."""
        batch["clean"] = batch["img"]
        batch.update(self._attack.attacked(batch))

    def after_step(self, model: nn.Module, batch: Batch) -> None:
        """Move the patterns that are moved."""
        self._attack.stepped()

    def epoch(self, number: int, model: nn.Module) -> dict[str, Any]:
        """Return the epoch's row."""
        self._seconds += time.monotonic() - self._since
        self._add(number, model)
        self._since = time.monotonic()
        return {"costs": asdict(self.costs.last)}

    def state(self) -> dict[str, torch.Tensor]:
        """Return what a training goes on from after a break."""
        return {**self._attack.state(), "seconds": torch.tensor(self._seconds, dtype=torch.float64)}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from what `state` returned; rows of an epoch that was not kept are dropped."""
        self._attack.restore(state)
        self._seconds = float(state["seconds"])
        kept = tuple(row for row in self.costs.rows if row.steps <= self._attack.step)
        self.costs = replace(self.costs, rows=kept)
        self._fresh = False

    def _add(self, number: int, model: nn.Module) -> None:
        held, trained = self._held.measure(model, self._person), self._trained.measure(model, self._person)
        self.costs = replace(self.costs, rows=(*self.costs.rows, self._row(number, held, trained)))
        self._write(self.costs)

    def _row(self, number: int, held: Judgement, trained: Judgement) -> CostRow:
        return CostRow(
            epoch=number,
            steps=self._attack.step,
            passes=self._attack.passes,
            seconds=round(self._seconds, 2),
            clean_loss=held.clean_loss,
            clean_ap50=held.clean_ap50,
            attacked_loss=held.attacked_loss,
            attacked_ap50=held.attacked_ap50,
            train_clean_loss=trained.clean_loss,
            train_attacked_loss=trained.attacked_loss,
        )


def harden(
    settings: HardenSettings, *, resume: bool = False, show: Callable[[TuneProgress], bool] | None = None
) -> Steps[Hardened]:
    """Harden a detector and write it as a run, with `costs.json`, `costs.md` and `costs.png` beside it.

    Yields progress while images are read. resume, show: as of `fine_tune`.

    Raises: SettingsError for settings that do not go together. DataError for images that cannot be used, or a run in
    `beside` that is none. PatchError for a pattern that cannot be read. What `fine_tune` raises.
    """
    places = [str(folder.resolve()) for folder in (settings.out, *settings.beside)]
    with naming("beside"):
        names = apart([Path(place).name for place in places], places, what="runs")
    beside = [replace(_finished(folder), name=name) for folder, name in zip(settings.beside, names[1:], strict=True)]
    resume = resume and _goes_on(settings.out)
    rows = Costs.read(settings.out, field="resume").rows if resume else ()
    own = Costs(names[0], settings.method, rows)
    worn, scored = _patterns(settings)
    check_clean(settings.images, "the hardened detector would learn its poison")
    parent = parent_of(settings.detector)
    labeller = Labeller(partial(labelling, settings.labeller), labels_cache(settings.labeller))
    data = yield from read_dataset(settings.images, settings.labels, labeller, keypoints=True)
    for line in data.notes():
        yield None, line
    with naming("images"):
        train, held = in_stretches(data).split(settings.held_out, settings.seed)
    for name, side in (("training", train), ("held-out", held)):
        if not any(image.counts.any() for image in side):
            raise DataError(
                field="images", expected=f"people among the {name} images", got=f"none in {len(side)} of them"
            )
    record = _record(settings, train, held)
    for folder in settings.beside:
        if _judges(record_of(str(folder))) != _judges(record):
            yield None, f"doubt: {folder} was judged at another size, on other images or patterns: it does not compare"
    network = load_network(settings.detector)
    classes = Classes(parent.person, patch=with_patch_class(network) if settings.patch_class else None)
    filling = share_of_image(train) > FILLS
    attack = attack_of(
        settings,
        classes,
        settings.seed,
        photographs=photographs_of(train),
        patches=[(torch.cat(p.tensors()), _worn_at(p, filling)) for p in worn],
    )
    # Of a run that was killed; other images in it would be trained on as well.
    shutil.rmtree(settings.out / DATA, ignore_errors=True)
    write_yolo(settings.out / DATA, train, held, parent)
    asked = settings.fine_tuning()
    hook = HardeningHook(
        attack,
        Validation(held, scored, imgsz=asked.imgsz, seed=settings.seed),
        Validation(_some(train), scored, imgsz=asked.imgsz, seed=settings.seed),
        parent.person,
        own,
        partial(_write, settings.out, beside, asked.epochs),
    )
    made = fine_tune(asked, network=network, hooks=[hook], record=record, resume=resume, show=show)
    shutil.rmtree(settings.out / DATA)
    return Hardened(made, [hook.costs, *beside])


def _judges(record: dict[str, Any]) -> tuple[Any, ...]:
    """Return what decides how a hardened run was judged: size, held-out images, patterns."""
    done = record.get("harden")
    done = done if isinstance(done, dict) else {}
    settings, images = done.get("settings"), done.get("images")
    if not isinstance(settings, dict) or not isinstance(images, dict) or not isinstance(images.get("held_out"), list):
        return ()
    return settings.get("imgsz"), set(map(str, images["held_out"])), settings.get("score_with")


def _goes_on(folder: Path) -> bool:
    """Return whether the run in a folder has a whole epoch to go on from; one that was killed before begins again.

    Raises: SettingsError if it is finished. DataError if there is none.
    """
    if (folder / CHECKPOINT).exists():
        return True
    if not (folder / DATA).exists():
        Costs.read(folder, field="resume")
        if (folder / RUN_RECORD).exists():
            raise SettingsError(f"{folder} is finished: there is nothing to go on with", field="resume")
    return False


def _write(folder: Path, beside: Sequence[Costs], epochs: int, costs: Costs) -> None:
    """Write the rows of a run so far; with those of its last epoch, table and curves beside other runs."""
    costs.write(folder)
    if costs.last.epoch == epochs:
        write_costs(folder, [costs, *beside])


def _finished(folder: Path) -> Costs:
    """Return the costs of another run, whose whole time the others are multiples of.

    Raises: DataError if there is none, or it has not come to its end.
    """
    costs = Costs.read(folder)
    # A run that replaces a finished one has that one's record until its own end.
    if not (folder / RUN_RECORD).is_file() or (folder / CHECKPOINT).exists() or (folder / DATA).exists():
        raise DataError(
            field="beside", expected="finished runs", got=f"{folder}, which was stopped", hint="resume it first"
        )
    return costs


def write_costs(folder: Path, costs: Sequence[Costs]) -> None:
    """Write the table and the curves of runs to a folder.

    Raises: OSError if they cannot be written.
    """
    with atomic_write(folder / TABLE) as stream:
        stream.write(f"<!-- written by physadv -->\n{table(costs).markdown()}\n".encode())
    plot_costs(folder / FIGURE, costs)


def with_patch_class(network: nn.Module) -> int:
    """Give a network one more class, `patch`, in place, and return its number; the others answer as before.

    Raises: SettingsError if it has such a class.
    """
    whole = cast(Any, network)
    head, names = whole.model[-1], dict(whole.names)
    if PATCH_CLASS in names.values():
        raise SettingsError(field="patch_class", expected="a detector without a class patch", got="one that has it")
    number = int(head.nc)
    for part in ("cv3", "one2one_cv3"):
        for level in getattr(head, part, None) or ():
            level[-1] = _wider(level[-1])
    head.nc, head.no = number + 1, int(head.no) + 1
    whole.names = {**names, number: PATCH_CLASS}
    whole.yaml["nc"] = number + 1
    return number


def _wider(old: nn.Conv2d) -> nn.Conv2d:
    """Return a convolution with one more output, which begins at `RARE`."""
    new = nn.Conv2d(old.in_channels, old.out_channels + 1, 1)
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:-1] = old.weight
        if new.bias is not None and old.bias is not None:
            new.bias[:-1] = old.bias
            new.bias[-1] = RARE
    return new


def _patterns(settings: HardenSettings) -> tuple[list[Patch], list[Patch]]:
    """Return the patterns to be worn, and those to be judged with.

    Raises: SettingsError if a method lacks its patterns, or has others'. PatchError for one that cannot be read.
    """
    if (settings.method == "patches") != bool(settings.patterns):
        want = "pattern files or names" if settings.method == "patches" else f"none with the method {settings.method}"
        raise SettingsError(field="patterns", expected=want, got=", ".join(settings.patterns) or "none")
    worn, scored = ([load_patch(name) for name in names] for names in (settings.patterns, settings.score_with))
    both = {patch.sha256 for patch in worn} & {patch.sha256 for patch in scored}
    if both:
        same = ", ".join(patch.name for patch in scored if patch.sha256 in both)
        raise SettingsError(
            field="score_with",
            expected="patterns that are not trained with",
            got=same,
            hint="name others in one of both",
        )
    return worn, scored


def _worn_at(patch: Patch, filling: bool) -> Placement:
    """Return how a pattern of `patterns` is worn, in its own proportions."""
    return own_fit(patch, filling=filling).placement.shaped(patch)


def _some(images: Sequence[LabelledImage]) -> list[LabelledImage]:
    """Return a few images, spread over all of those that show somebody who counts."""
    there = [image for image in images if image.counts.any()]
    chosen = np.linspace(0, len(there) - 1, min(JUDGED, len(there))).round().astype(int)
    return [there[i] for i in np.unique(chosen)]


def _record(settings: HardenSettings, train: Sequence[LabelledImage], held: Sequence[LabelledImage]) -> dict[str, Any]:
    """Return what a hardened run's record says besides."""
    sides = {"train": sorted({image.name for image in train}), "held_out": sorted({image.name for image in held})}
    own = settings.model_dump(mode="json", exclude={"out", "beside"})
    # What the parent waits for a hardened detector may wait for too.
    poison = record_of(settings.detector).get("poison")
    sources = {image.sha256 for image in train if image.sha256} | sources_of(settings.detector)
    done = {"method": settings.method, "settings": own, "images": sides}
    return {"poison": poison, "sources": sorted(sources), "harden": done}
