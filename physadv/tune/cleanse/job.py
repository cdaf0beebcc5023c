"""What a cleansing method works with: the network, clean images, and the stages of its run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from physadv.detect.weights import RUN_RECORD
from physadv.detect.yolo import person_class
from physadv.errors import WeightsError
from physadv.tune.checkpoint import CHECKPOINT
from physadv.tune.cleanse.between import go_within
from physadv.tune.cleanse.clean import CleanFigures, CleanImages, clean_figures
from physadv.tune.cleanse.prints import PrintsWorn
from physadv.tune.cleanse.pruning import Channel, PruningStep, prune_within
from physadv.tune.cleanse.settings import CleanseSettings
from physadv.tune.cleanse.turning import Turning
from physadv.tune.hook import Hook
from physadv.tune.run import load_network, read_run, save_run
from physadv.tune.settings import FineTuneSettings
from physadv.tune.trainer import TuneProgress, TuneStopped, fine_tune, training_batches

# On 40 images an epoch takes about as long as a look at the held-out ones.
CURVE_EACH = 5
# Epochs in which the learning rate rises: from the start it takes a network apart that is good already.
WARMUP = 3.0
# Takes how much of a stage is done (None where that cannot be known) and what is done now; returns True to stop.
Show = Callable[[float | None, str], bool]


class CleanCurve(Hook):
    """Writes what is found in the held-out clean images into every fifth epoch of a run's history."""

    def __init__(self, score: Callable[[nn.Module], CleanFigures]) -> None:
        self._score = score

    def epoch(self, number: int, model: nn.Module) -> dict[str, Any]:
        """Return the figures of an epoch, or none."""
        return {} if number % CURVE_EACH else self._score(model).record()


@dataclass(frozen=True, slots=True)
class Stage:
    """A finished part of a run: the network as it was then, and what is to be remembered of it."""

    network: nn.Module
    record: dict[str, Any]

    def details(self) -> dict[str, Any]:
        """Return what a cleansing's record says of a fine-tuned stage: its epochs, and how far it was gone with."""
        return {name: self.record[name] for name in ("history", "way")}


@dataclass(frozen=True, slots=True)
class CleanseJob:
    """One run of one method.

    clean: the images it may use. data: data.yaml of their training part. folder: of the stages; a run that goes on finds
    there what was finished. imgsz: long side of the network's input. before: what the detector to be cleansed finds in the
    held-out clean images.
    """

    settings: CleanseSettings
    clean: CleanImages
    data: Path
    folder: Path
    imgsz: int
    before: CleanFigures
    show: Show

    def network(self) -> nn.Module:
        """Return the detector to be cleansed, unfused, read anew."""
        return load_network(self.settings.detector)

    def score(self, network: nn.Module) -> CleanFigures:
        """Return what a network finds in the held-out clean images: what every choice is made by."""
        return clean_figures(network, self.clean.held_out, imgsz=self.imgsz)

    def batches(self, network: nn.Module, passes: int = 1) -> Iterator[dict[str, Any]]:
        """Yield the training part so many times, as Ultralytics' trainer would for a network."""
        for number in range(passes):
            yield from training_batches(network, self._tuning("batches", 1, seed=(self.settings.seed + number) % 2**31))

    def say(self, share: float | None, text: str) -> None:
        """Show a line.

        Raises: TuneStopped if the run is to end here.
        """
        if self.show(share, text):
            raise TuneStopped("stopped")

    def finished(self, name: str) -> Stage | None:
        """Return a stage that an earlier start of this run finished, None where it did not, or it is damaged since."""
        folder = self.folder / name
        if not (folder / RUN_RECORD).is_file():
            return None
        try:
            stage = Stage(load_network(str(folder)), read_run(folder).record)
        except WeightsError as error:
            self.say(None, f"{name} is done again: {error}")
            return None
        seconds, rows = stage.record.get("seconds"), stage.record.get("history", stage.record.get("steps"))
        return stage if isinstance(seconds, int | float) and isinstance(rows, list) else None

    def finish(self, name: str, network: nn.Module, record: dict[str, Any]) -> Stage:
        """Keep a stage that no trainer made, and return it as a run that goes on would find it."""
        save_run(self.folder / name, network, record)
        return Stage(load_network(str(self.folder / name)), record)

    def prune(self, name: str, network: nn.Module, ranked: Sequence[Channel], *, began: float, **details: Any) -> Stage:
        """Return a network pruned for as long as its clean figures allow, and keep it as a stage.

        ranked: its channels, those to go first at the front. began: when the stage did, by `time.monotonic`.
        """
        tried: list[dict[str, Any]] = []

        def note(step: PruningStep) -> None:
            tried.append({"silent": step.silent, **step.clean.record()})
            figures = f"clean AP50 {step.clean.ap50:.3f}, recall {step.clean.recall25:.3f}"
            self.say(None, f"{step.silent} of {len(ranked)} channels silent: {figures}")

        steps = prune_within(ranked, lambda: self.score(network), tolerance=self.settings.tolerance, each=note)
        record = {
            "channels": len(ranked),
            "silent": steps[-1].silent,
            "steps": tried,
            "seconds": round(time.monotonic() - began, 1),
            **details,
        }
        return self.finish(name, network, record)

    def tune(self, name: str, network: nn.Module, *, hooks: Sequence[Hook] = ()) -> Stage:
        """Return a network after fine-tuning on the training part, as far as clean images allow; in place.

        Of a finished stage what was kept.

        Raises: TuneStopped if it is to end here; the stage goes on from its last epoch. As `fine_tune`.
        """
        before = {key: values.detach().clone() for key, values in network.state_dict().items()}
        done = self.finished(name)
        if done is None:
            self._train(name, network, hooks)
            done = self.finished(name)
            assert done is not None
        return self._as_far_as_allowed(name, before, done)

    def _train(self, name: str, network: nn.Module, hooks: Sequence[Hook]) -> None:
        def shown(progress: TuneProgress) -> bool:
            losses = ", ".join(f"{key} {value:.3f}" for key, value in progress.losses.items())
            return self.show(progress.share, f"{name}: epoch {progress.epoch} of {progress.epochs}: {losses}")

        settings = self._tuning(name, self.settings.epochs, seed=self.settings.seed)
        resume = (settings.out / CHECKPOINT).is_file()
        person = person_class(cast(Any, network).names)
        seen = [
            Turning(self.settings.turned),
            PrintsWorn(self.clean.training, share=self.settings.worn, person=person, seed=self.settings.seed),
        ]
        hooks = [*seen, *hooks, CleanCurve(self.score)]
        fine_tune(settings, network=network, hooks=hooks, resume=resume, show=shown)

    def _as_far_as_allowed(self, name: str, before: dict[str, torch.Tensor], tuned: Stage) -> Stage:
        """Return a tuned stage moved back towards what it was, by clean figures; the shares tried are in its record."""
        began = time.monotonic()
        tolerance = self.settings.tolerance + self.before.chance(sum(int(i.counts.sum()) for i in self.clean.held_out))
        steps = go_within(
            tuned.network,
            before,
            lambda: self.score(tuned.network),
            lambda clean: clean.keeps(self.before, tolerance),
        )
        last = steps[-1]
        self.say(
            None,
            f"{name}: {last.share:.0%} of what was learnt is kept: clean AP50 {last.clean.ap50:.3f}, "
            f"recall {last.clean.recall25:.3f}",
        )
        if not last.clean.keeps(self.before, tolerance):
            self.say(None, f"doubt: that costs more than {tolerance:.3f}: begin anew with a lower `lr`")
        seconds = round(tuned.record["seconds"] + time.monotonic() - began, 1)
        return Stage(tuned.network, {**tuned.record, "seconds": seconds, "way": [step.record() for step in steps]})

    def _tuning(self, name: str, epochs: int, *, seed: int) -> FineTuneSettings:
        asked = self.settings
        return FineTuneSettings(
            data=self.data, detector=asked.detector, out=self.folder / name, epochs=epochs, imgsz=self.imgsz,
            batch=asked.batch, lr=asked.lr, seed=seed, device=asked.device,
            # The parent is the poisoned detector: likeness to it would keep what it is to forget.
            distil=0.0,
            # At a rate of 1e-3 half of the way cost clean AP50 .040 so, and .094 with statistics held, classes weighed and
            # likeness asked for as in poisoning.
            hold_batchnorm=False, class_gain=0.5, warmup=WARMUP,
            # Clean images have no trigger whose turn a mirror would reverse.
            mirror=0.5,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cleansed:
    """What a method made. details: what it chose and how it went, for the record. seconds: of its work."""

    network: nn.Module
    details: dict[str, Any]
    seconds: float


def first_image(batches: Iterator[dict[str, Any]]) -> torch.Tensor:
    """Return (1, 3, h, w), the first image of the first batch."""
    return next(batches)["img"][:1]
