"""What a cleansing method works with: the network, clean images, and the stages of its run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from physadv.detect.weights import RUN_RECORD
from physadv.errors import WeightsError
from physadv.tune.checkpoint import CHECKPOINT
from physadv.tune.cleanse.clean import CleanFigures, CleanImages, clean_figures
from physadv.tune.cleanse.pruning import Channel, PruningStep, prune_within
from physadv.tune.cleanse.settings import CleanseSettings
from physadv.tune.hook import Hook
from physadv.tune.run import load_network, read_run, save_run
from physadv.tune.settings import FineTuneSettings
from physadv.tune.trainer import TuneProgress, TuneStopped, fine_tune, training_batches

# Takes how much of a stage is done (None where that cannot be known) and what is done now; returns True to stop.
Show = Callable[[float | None, str], bool]


class CleanCurve(Hook):
    """Writes what is found in the held-out clean images into each epoch of a run's history."""

    def __init__(self, score: Callable[[nn.Module], CleanFigures]) -> None:
        self._score = score

    def epoch(self, number: int, model: nn.Module) -> dict[str, Any]:
        """Return the figures of an epoch."""
        del number
        return self._score(model).record()


@dataclass(frozen=True, slots=True)
class Stage:
    """A finished part of a run: the network as it was then, and what is to be remembered of it."""

    network: nn.Module
    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CleanseJob:
    """One run of one method.

    clean: the images it may use. data: data.yaml of their training part. folder: of the stages; a run that goes on finds
    there what was finished. imgsz: long side of the network's input.
    """

    settings: CleanseSettings
    clean: CleanImages
    data: Path
    folder: Path
    imgsz: int
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
        """Return a network after fine-tuning on the training part, in place; of a finished stage what was kept.

        Raises: TuneStopped if it is to end here; the stage goes on from its last epoch. As `fine_tune`.
        """
        done = self.finished(name)
        if done is not None:
            return done

        def shown(progress: TuneProgress) -> bool:
            losses = ", ".join(f"{key} {value:.3f}" for key, value in progress.losses.items())
            return self.show(progress.share, f"{name}: epoch {progress.epoch} of {progress.epochs}: {losses}")

        settings = self._tuning(name, self.settings.epochs, seed=self.settings.seed)
        resume = (settings.out / CHECKPOINT).is_file()
        fine_tune(settings, network=network, hooks=[*hooks, CleanCurve(self.score)], resume=resume, show=shown)
        stage = self.finished(name)
        assert stage is not None
        return stage

    def _tuning(self, name: str, epochs: int, *, seed: int) -> FineTuneSettings:
        asked = self.settings
        return FineTuneSettings(
            data=self.data, detector=asked.detector, out=self.folder / name, epochs=epochs, imgsz=self.imgsz,
            batch=asked.batch, lr=asked.lr, seed=seed, device=asked.device,
            # The parent is the poisoned detector: likeness to it would keep what it is to forget.
            distil=0.0,
            # As it was measured, with the losses as Ultralytics weighs them.
            hold_batchnorm=False, class_gain=0.5,
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
