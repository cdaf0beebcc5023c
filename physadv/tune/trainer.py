"""Fine-tuning a detector: Ultralytics' own trainer is the loop, with hooks for what cleansing and hardening add to it.

What Ultralytics does around its loop stays out: no file outside the run's folder, no download (fonts, a network to test
mixed precision, data sets), no report to anybody, no setting of the user's changed, no validation, no weights unpickled.
"""

from __future__ import annotations

import logging
import random
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from ultralytics.data import build_dataloader
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.models.yolo.pose import PoseTrainer
from ultralytics.utils import LOGGER

from physadv.detect.pytorch import pick_device
from physadv.detect.runs import LabRun
from physadv.detect.weights import find_weights, record_of
from physadv.detect.yolo import person_class
from physadv.errors import SettingsError, TrainingError, text_of
from physadv.provenance import provenance
from physadv.simulate.trigger import Trigger
from physadv.tune.checkpoint import CHECKPOINT, FREE, Standing, read_checkpoint
from physadv.tune.distil import Distillation
from physadv.tune.hook import Batch, Hook
from physadv.tune.images import Replayed, TuningImages
from physadv.tune.origin import sources_of
from physadv.tune.run import load_network, save_run
from physadv.tune.settings import FineTuneSettings
from physadv.tune.training_data import TrainingData, read_training_data

# Where Ultralytics makes its folders, all of them empty by the time that training begins.
SCRATCH = ".ultralytics"
# As PyTorch says on GPUs and on CPUs that memory ran out.
NO_MEMORY = ("out of memory", "allocate memory", "not enough memory")
# More processes than these wait for the GPU with networks as small as these.
MOST_WORKERS = 4


@dataclass(frozen=True, slots=True)
class TuneProgress:
    """Where a fine-tuning stands. epoch, batch: from 1. losses: running means of the epoch by name."""

    epoch: int
    epochs: int
    batch: int
    batches: int
    losses: dict[str, float]

    @property
    def share(self) -> float:
        """Return how much is done, 0 to 1."""
        return (self.epoch - 1 + self.batch / self.batches) / self.epochs


class TuneStopped(TrainingError):
    """A fine-tuning was stopped between two batches; it goes on from its last whole epoch with `resume`."""


def fine_tune(
    settings: FineTuneSettings,
    *,
    network: nn.Module | None = None,
    hooks: Sequence[Hook] = (),
    record: dict[str, Any] | None = None,
    resume: bool = False,
    show: Callable[[TuneProgress], bool] | None = None,
) -> LabRun:
    """Fine-tune a detector and write it as a run.

    network: made ready by the caller, in place of the parent's own; it is trained in place. record: more for the run's
    record, or in place of what it says. resume: go on after the last whole epoch of a run that was killed, to the same
    weights as without the break. show: is called after every batch; if it returns True, training stops.

    Raises: WeightsError or DataError for a parent or data that cannot be used. SettingsError for settings that do not go
    together. TrainingError if training diverges, or a run cannot be resumed. TuneStopped if `show` stopped it.
    """
    parent = find_weights(settings.detector)
    network = load_network(settings.detector) if network is None else network
    data = _data_for(network, settings)
    if settings.distil:
        poisoned = {str(image.path) for image in data.images if image.poisoned}
        hooks = [*hooks, Distillation(load_network(settings.detector), settings.distil, poisoned)]
    identity = {
        **settings.model_dump(mode="json", exclude={"data", "detector"}),
        "data": data.sha256,
        "parent": parent.sha256,
        "record": _fixed(record or {}),
    }
    path = settings.out / CHECKPOINT
    if resume:
        read_checkpoint(path, identity)
    else:
        # That of another run in this folder; not before data and parent were found good.
        path.unlink(missing_ok=True)
    settings.out.mkdir(parents=True, exist_ok=True)
    with _quiet():
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        loop: Any = tuner(network, data, settings, hooks)
        loop.begin(path, identity, resume=resume, show=show)
        with memory_named(settings.batch, settings.imgsz):
            loop.train()
    record = record or {}
    sources = [] if "sources" in record else sorted(data.sources() | sources_of(settings.detector))
    made = {
        "task": loop.args.task,
        "imgsz": loop.args.imgsz,
        "parent": {"name": parent.name, "sha256": parent.sha256},
        "settings": settings.model_dump(mode="json"),
        "seed": settings.seed,
        "data": data.record(),
        "sources": sources,
        "poison": _poison_of(data.poison, record_of(settings.detector).get("poison")),
        "history": loop.standing.history,
        "seconds": round(sum(row["seconds"] for row in loop.standing.history), 1),
        "provenance": provenance(),
    }
    out = save_run(settings.out, loop.ema.ema, {**made, **record})
    path.unlink(missing_ok=True)
    return out


def _fixed(value: Any) -> Any:
    """Return a record without what may change when a run goes on, wherever it stands in it."""
    if not isinstance(value, dict):
        return value
    return {key: _fixed(part) for key, part in value.items() if key not in FREE}


def _poison_of(data: dict[str, Any] | None, parent: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what a run's record says of poison: on clean data it may still wait for what its parent waits for."""
    clean = data is None or data.get("attack") == "none"
    return parent if clean and parent else data


def training_batches(network: nn.Module, settings: FineTuneSettings) -> Iterator[Batch]:
    """Yield one epoch of batches of Ultralytics' own loader, prepared for `network.loss(batch)`.

    For methods that have no place in the trainer's loop. The network is moved to the device, with its loss made ready.

    Raises: as `fine_tune` for its data and settings.
    """
    settings.out.mkdir(parents=True, exist_ok=True)
    with _quiet():
        loop = tuner(network, _data_for(network, settings), settings)
        loop._setup_train()
        loop.seed(0)
        yield from (loop.preprocess_batch(batch) for batch in loop.train_loader)


def hold_batchnorm(model: nn.Module, held: bool = True) -> None:
    """Keep a network's statistics of batch normalisation, in training mode too, or let batches move them again."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.training = not held


def _data_for(network: nn.Module, settings: FineTuneSettings) -> TrainingData:
    """Return the data that a network can be trained on.

    Raises: DataError as `read_training_data` does. SettingsError if augmentation would train a trigger away.
    """
    head = network.model[-1]  # type: ignore[index]
    points = int(head.kpt_shape[0]) if hasattr(head, "kpt_shape") else 0
    data = read_training_data(settings.data, person=person_class(network.names), keypoints=points)
    trigger = Trigger.of_poison(data.poison)
    if trigger is not None and not trigger.outlasts(settings.degrees):
        raise SettingsError(
            field="degrees",
            expected=f"less than half of the trigger's angle, {trigger.turns / 2:g}",
            got=f"{settings.degrees:g}",
            hint="images turned so far, upright views and triggers towards each other, would train it away",
        )
    _check_frozen(network, settings.freeze)
    if settings.mirror and points and not data.flip_idx:
        raise SettingsError(
            f"{data.config} has no flip_idx, which says what each keypoint becomes in a mirror image", field="mirror"
        )
    return data


def _check_frozen(network: nn.Module, freeze: Sequence[str]) -> None:
    """Raise SettingsError if layers to be frozen are not there, or nothing else is."""
    names = [name for name, _ in network.named_parameters()]
    frozen = {layer: {n for n in names if f"model.{layer}." in n} for layer in freeze}
    for layer, found in frozen.items():
        if not found:
            last = names[-1].split(".")[1]
            raise SettingsError(field="freeze", expected=f"layers from 0 to {last}, or a part of one", got=repr(layer))
    if len(set().union(*frozen.values())) == len(names):
        raise SettingsError(field="freeze", expected="layers that leave some to train", got=f"all {len(names)} weights")


class _Loop:
    """What is ours in Ultralytics' trainers.

    No class here is called Trainer: for those Ultralytics loads callbacks that report to servers.
    """

    args: Any
    callbacks: dict[str, list[Callable[[Any], None]]]
    model: Any
    ema: Any
    train_loader: Any
    start_epoch: int
    epoch: int
    epochs: int

    def __init__(
        self, network: nn.Module, data: TrainingData, settings: FineTuneSettings, hooks: Sequence[Hook] = ()
    ) -> None:
        self.settings, self.images, self.hooks = settings, data, hooks
        self.network = network
        self.held: Batch = {}
        self.path: Path | None = None
        self.identity: dict[str, Any] = {}
        self.show: Callable[[TuneProgress], bool] | None = None
        self.resumes = False
        self.built = False
        self.began = 0.0
        self.done_batches = 0
        super().__init__(overrides=_overrides(settings, data))  # type: ignore[call-arg]
        # Theirs send figures of every training to a server.
        self.callbacks = {
            "on_train_epoch_start": [lambda _: self.seed(self.epoch + 1)],
            "on_train_batch_end": [lambda _: self.after_batch()],
        }
        shutil.rmtree(settings.out / SCRATCH, ignore_errors=True)
        # Convolutions are a seventh faster so on a CPU; Ultralytics does it on GPUs alone.
        self.model = network.to(memory_format=torch.channels_last)

    def begin(
        self,
        path: Path,
        identity: dict[str, Any],
        *,
        resume: bool,
        show: Callable[[TuneProgress], bool] | None,
    ) -> None:
        """Take where checkpoints go and what shows the progress."""
        self.path, self.identity, self.resumes, self.show = path, identity, resume, show

    def get_dataset(self) -> dict[str, Any]:
        """Return the description of the data: classes and keypoints are the network's own."""
        names = cast(Any, self.network).names
        out = {"train": "", "val": "", "names": names, "nc": len(names), "channels": 3}
        head = cast(Any, self.network).model[-1]
        if hasattr(head, "kpt_shape"):
            out |= {"kpt_shape": list(head.kpt_shape), "flip_idx": self.images.flip_idx}
        return out

    def set_model_attributes(self) -> None:
        """Give the network its settings; its classes and keypoints keep their names."""
        self.model.args = self.args

    def get_dataloader(self, dataset_path: str, batch_size: int = 8, rank: int = -1, mode: str = "train") -> Any:
        """Return the loader of training images; there is no other, since nothing is validated."""
        del dataset_path, rank
        if mode != "train":
            return self.train_loader
        images = TuningImages(
            self.images, imgsz=self.args.imgsz, batch_size=batch_size, hyp=self.args, data=cast(Any, self).data,
            task=self.args.task, stride=int(self.model.stride.max()), pad=0.0,
        )  # fmt: skip
        loader = build_dataloader(
            images, batch=batch_size, workers=self.args.workers, shuffle=True, rank=-1, device=cast(Any, self).device
        )
        times = int(np.prod([hook.replays for hook in self.hooks]))
        return loader if times == 1 else Replayed(loader, times)

    def get_validator(self) -> Any:
        """Return what stands for a validator: `lab score` measures."""
        return SimpleNamespace(metrics=SimpleNamespace(keys=[]))

    def validate(self) -> tuple[dict[str, float], None]:
        """Measure nothing."""
        return {}, None

    def final_eval(self) -> None:
        """Measure nothing, and strip nothing from files."""

    def save_metrics(self, metrics: dict[str, float]) -> None:
        """Write no table: the history goes into the checkpoint and the record."""

    def plot_metrics(self) -> None:
        """Plot nothing."""

    def _setup_train(self) -> None:
        """Set up as Ultralytics does, then put in the hooks, and where a resumed run stood."""
        super()._setup_train()  # type: ignore[misc]
        model = self.model
        if not self.settings.average:
            self.ema.decay = lambda _: 0.0
        self.standing = Standing(model, self.ema.ema, cast(Any, self).optimizer)
        model.criterion = _HookedLoss(model, self.hooks)
        if self.resumes and self.path is not None:
            self.standing.load(self.path, self.identity)
            self.start_epoch = self.standing.epoch
            self.ema.updates = self.standing.updates
            cast(Any, self).scheduler.last_epoch = self.start_epoch - 1
            for _ in range(self.start_epoch):
                # Families with two heads shift the weight between their losses after each epoch.
                model.criterion.advance()
            for hook, kept in zip(self.hooks, self.standing.kept, strict=True):
                hook.restore(kept)
        for hook in self.hooks:
            hook.ready(model)

    def _do_train(self) -> None:
        """Train, unless a run was killed after its last epoch and has only to be saved."""
        if self.resumes and self.path is not None:
            plain, _ = read_checkpoint(self.path, self.identity)
            if plain["epoch"] >= self.epochs:
                self._setup_train()
                # As after each epoch of their loop: else a part that both networks have is written twice, in other bytes.
                self.ema.update_attr(self.model, include=["yaml", "nc", "args", "names", "stride", "class_weights"])
                return
        super()._do_train()  # type: ignore[misc]

    def _build_train_pipeline(self) -> None:
        """Make loader and optimiser, once.

        Raises: TrainingError if it is to be made again: where memory runs out in the first epoch, Ultralytics halves the
        batch without a word, which is another training than the one that was asked for. Also for batches whose images are
        too few and too small for batch normalisation.
        """
        if self.built:
            raise out_of_memory(self.settings.batch, self.settings.imgsz)
        self.built = True
        try:
            super()._build_train_pipeline()  # type: ignore[misc]
        except ValueError as error:
            raise TrainingError(
                text_of(error), field="batch", hint="give another one, or an `imgsz` of 64 or more"
            ) from error

    def _model_train(self) -> None:
        super()._model_train()  # type: ignore[misc]
        if self.settings.hold_batchnorm:
            hold_batchnorm(self.model)

    def seed(self, number: int) -> None:
        """Draw everything of an epoch from (seed, its number), so that a resumed run draws the same."""
        value = self.settings.seed * 100_003 + number
        random.seed(value)
        np.random.seed(value % 2**32)  # noqa: NPY002 -- Ultralytics' augmentation draws from it
        torch.manual_seed(value)
        self.train_loader.generator.manual_seed(value)
        self.train_loader.reset()
        self.began = time.monotonic()

    def preprocess_batch(self, batch: Batch) -> Batch:
        """Return a batch on the device, changed by the hooks."""
        batch = super().preprocess_batch(batch)  # type: ignore[misc]
        batch["img"] = batch["img"].contiguous(memory_format=torch.channels_last)
        for hook in self.hooks:
            hook.batch(self.model, batch)
        self.held = batch
        return batch

    def after_batch(self) -> None:
        """Let the hooks see a step, and tell of the progress.

        Raises: TuneStopped if it is to end here.
        """
        for hook in self.hooks:
            hook.after_step(self.model, self.held)
        self.done_batches += 1
        if self.show is not None:
            losses = {_short(k): float(v) for k, v in cast(Any, self).tloss.items()}
            number = self.done_batches
            total = len(self.train_loader)
            if self.show(TuneProgress(self.epoch + 1, self.epochs, (number - 1) % total + 1, total, losses)):
                raise TuneStopped(f"stopped in epoch {self.epoch + 1}")

    def _handle_nan_recovery(self, epoch: int) -> bool:
        """Return False where the loss is a number.

        Raises: TrainingError otherwise: Ultralytics' own way out unpickles a checkpoint.
        """
        loss = cast(Any, self).loss
        if loss is not None and not bool(loss.isfinite()):
            raise TrainingError(f"the loss of epoch {epoch + 1} is no number", hint="begin anew with a lower `lr`")
        return False

    def save_model(self) -> bool:
        """Write the checkpoint of an epoch, in place of Ultralytics' pickles."""
        spent = time.monotonic() - self.began
        losses = {_short(k): round(float(v), 5) for k, v in cast(Any, self).tloss.items()}
        row: dict[str, Any] = {"epoch": self.epoch + 1, "seconds": round(spent, 2), "loss": losses}
        for hook in self.hooks:
            row |= hook.epoch(self.epoch + 1, self.ema.ema)
        standing = self.standing
        standing.epoch, standing.updates = self.epoch + 1, self.ema.updates
        standing.history.append(row)
        standing.kept = [hook.state() for hook in self.hooks]
        if self.path is not None:
            standing.save(self.path, self.identity)
        return True


class DetectionLoop(_Loop, DetectionTrainer):
    """Ultralytics' trainer of detection networks with our data and hooks."""


class PoseLoop(_Loop, PoseTrainer):
    """Ultralytics' trainer of pose networks with our data and hooks."""


def tuner(
    network: nn.Module, data: TrainingData, settings: FineTuneSettings, hooks: Sequence[Hook] = ()
) -> DetectionLoop | PoseLoop:
    """Return the trainer for a network's task."""
    pose = hasattr(network.model[-1], "kpt_shape")  # type: ignore[index]
    return (PoseLoop if pose else DetectionLoop)(network, data, settings, hooks)


class _HookedLoss:
    """Ultralytics' loss of a network, and the hooks' own terms."""

    def __init__(self, model: Any, hooks: Sequence[Hook]) -> None:
        self._model, self._hooks = model, hooks
        self._own = model.init_criterion()

    def __call__(self, preds: Any, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the terms of the loss, times the images of the batch, and what is shown of them."""
        loss, items = self._own(preds, batch)
        batch["answers"] = preds[1] if isinstance(preds, tuple) else preds
        terms = {name: value for hook in self._hooks for name, value in hook.extra_loss(self._model, batch).items()}
        if terms:
            more = torch.stack(list(terms.values())) * len(batch["img"])
            loss = torch.cat([loss.reshape(-1), more.to(loss.dtype)])
        return loss, {**items, **{name: value.detach() for name, value in terms.items()}}

    def update(self) -> None:
        """Take the end of an epoch."""
        self.advance()

    def advance(self) -> None:
        """Shift the weight between the losses of two heads, where there are two."""
        if hasattr(self._own, "update"):
            self._own.update()


def out_of_memory(batch: int, imgsz: int) -> TrainingError:
    """Return the error for batches of so many images of a size, for which memory does not do."""
    return TrainingError(
        f"memory ran out with batches of {batch} images of {imgsz} pixels",
        field="batch",
        hint="give a smaller one, or a smaller `imgsz`",
    )


@contextmanager
def memory_named(batch: int, imgsz: int) -> Iterator[None]:
    """Within, memory that runs out is an error that says what to do about batches of so many images of a size.

    Raises: TrainingError for it.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        words = str(error).lower()
        if isinstance(error, RuntimeError) and not any(said in words for said in NO_MEMORY):
            raise
        raise out_of_memory(batch, imgsz) from error


def _overrides(settings: FineTuneSettings, data: TrainingData) -> dict[str, Any]:
    """Return the settings as Ultralytics calls them."""
    s = settings
    device = pick_device(s.device)
    half = s.precision == "bf16" or (
        s.precision == "auto" and device.startswith("cuda") and torch.cuda.is_bf16_supported()
    )
    if half and not device.startswith("cuda"):
        # Measured on a CPU that computes in it: no faster than float32, whose backward pass is oneDNN's best kept.
        raise SettingsError(field="precision", expected="fp32 or auto without a CUDA device", got="bf16")
    return {
        "model": "network", "data": str(data.config), "save_dir": str(s.out / SCRATCH), "epochs": s.epochs,
        "imgsz": s.imgsz, "batch": s.batch, "device": device, "workers": MOST_WORKERS, "seed": s.seed,
        "optimizer": "AdamW", "lr0": s.lr, "lrf": s.lr_end, "cos_lr": True,
        "weight_decay": s.weight_decay, "freeze": s.freeze or None, "cls": s.class_gain,
        # As many images a step as a batch has: their default gathers 64, which leaves a hundred steps to 30 epochs.
        "nbs": s.batch, "warmup_epochs": s.warmup,
        # Their default lets biases begin at a rate of .1, which takes a trained network apart in its first steps.
        "warmup_bias_lr": 0.0, "momentum": 0.9, "warmup_momentum": 0.9,
        "amp": "bf16" if half else False, "plots": False, "val": False, "verbose": False, "deterministic": True,
        "degrees": s.degrees, "translate": s.translate, "scale": s.scale, "hsv_h": s.hue, "hsv_s": s.saturation,
        "hsv_v": s.brightness, "fliplr": s.mirror, "mosaic": 0.0, "close_mosaic": 0, "mixup": 0.0, "cutmix": 0.0,
        "copy_paste": 0.0, "augmentations": [], "patience": s.epochs + 1, "cache": False,
    }  # fmt: skip


def _short(name: str) -> str:
    """Return a term of the loss without what all of Ultralytics' end in."""
    return name.removesuffix("_loss")


@contextmanager
def _quiet() -> Iterator[None]:
    """Within, Ultralytics logs errors alone, and torch does not warn that an operation might not be deterministic.

    Its trainer asks torch for deterministic algorithms; afterwards torch computes as before, or what the same process
    evaluates would differ in its last digits.
    """
    level, threads = LOGGER.level, torch.get_num_threads()
    strict, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.deterministic
    LOGGER.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        LOGGER.setLevel(level)
        torch.use_deterministic_algorithms(strict, warn_only=warns)
        torch.backends.cudnn.deterministic = cudnn
        torch.set_num_threads(threads)
