"""A cleansing run: the methods, and what they have in common before and after."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from physadv.boxes import STRIDE
from physadv.dataset import check_outside
from physadv.detect.runs import LabRun
from physadv.detect.weights import RUN_RECORD, find_weights, record_of
from physadv.errors import DataError, SettingsError, TrainingError, text_of
from physadv.evaluate.steps import finish
from physadv.files import parse_json, read_text, write_json
from physadv.provenance import provenance
from physadv.tune.cleanse.anp import anp
from physadv.tune.cleanse.clean import clean_figures, clean_images, labeller_of
from physadv.tune.cleanse.confoc import confoc
from physadv.tune.cleanse.fine_pruning import fine_pruning
from physadv.tune.cleanse.finetune import finetune
from physadv.tune.cleanse.job import Cleansed, CleanseJob, Show
from physadv.tune.cleanse.nad import nad
from physadv.tune.cleanse.settings import CleanseSettings, MethodName
from physadv.tune.origin import check_clean, origin_of, sources_of
from physadv.tune.run import check_batchnorm, load_network, save_run
from physadv.tune.trainer import memory_named
from physadv.tune.yolo_data import parent_of, write_yolo

# What a run that goes on may be given anew.
FREE = {"out", "resume", "device"}
# Of a run that is not done yet: what was asked for, the clean images, and each part that is finished.
STAGES = "stages"
BEGUN = "begun.json"
IMGSZ = 320


@dataclass(frozen=True, slots=True)
class CleanseMethod:
    """A method by which a detector is cleansed. source: the paper. batchnorm: whether it needs that unfolded."""

    run: Callable[[CleanseJob], Cleansed]
    source: str
    batchnorm: bool = False


METHODS: dict[MethodName, CleanseMethod] = {
    "finetune": CleanseMethod(finetune, "the baseline"),
    "fine-pruning": CleanseMethod(fine_pruning, "Liu et al. 2018"),
    "anp": CleanseMethod(anp, "Wu & Wang 2021", batchnorm=True),
    "nad": CleanseMethod(nad, "Li et al. 2021"),
    "confoc": CleanseMethod(confoc, "Villarreal-Vasquez & Bhargava 2020"),
}


def cleanse(settings: CleanseSettings, show: Show = lambda *_: False) -> LabRun:
    """Cleanse a detector by a method and write it as a run.

    show: takes how far a stage is, or None, and a line; True stops. A run that was stopped or killed goes on with `resume`
    from the last epoch of its last stage.

    Raises: WeightsError or DataError for a detector or images that cannot be used. TrainingError if the method needs batch
    normalisation that is folded, training diverges, or a run cannot be resumed. TuneStopped if `show` stopped it.
    """
    weights = find_weights(settings.detector)
    method = METHODS[settings.method]
    network = load_network(settings.detector)
    if method.batchnorm:
        check_batchnorm(network, settings.method)
    check_outside("out", settings.out, [settings.images])
    check_clean(settings.images, "it would teach the poison anew")
    source = record_of(settings.detector)
    clean = finish(clean_images(settings, labeller_of(settings)), lambda line: show(None, line))
    folder = settings.out / STAGES
    _begin(folder, settings, {"detector": weights.sha256, "images": clean.record()})
    data = write_yolo(folder / "clean", clean.training, [], parent_of(settings.detector))
    imgsz = -(-(settings.imgsz or origin_of(settings.detector).imgsz or IMGSZ) // STRIDE) * STRIDE
    before = clean_figures(network, clean.held_out, imgsz=imgsz)
    if before.ap50 <= settings.tolerance:
        # Every channel could go without a loss.
        raise DataError(
            f"the detector finds nobody in {len(clean.held_out)} held-out images: clean AP50 {before.ap50:.3f}",
            field="images",
            hint="give others, or their `labels`, or the `imgsz` that it was trained at",
        )
    job = CleanseJob(settings, clean, data, folder, imgsz, before, show)
    with memory_named(settings.batch, imgsz):
        made = method.run(job)
    after = job.score(made.network)
    record = {
        "task": "pose" if hasattr(cast(Any, network).model[-1], "kpt_shape") else "detect",
        "imgsz": imgsz,
        "parent": {"name": weights.name, "sha256": weights.sha256},
        "settings": settings.model_dump(mode="json"),
        "seed": settings.seed,
        "poison": source.get("poison"),
        "sources": sorted(clean.sources() | sources_of(settings.detector)),
        "seconds": made.seconds,
        "cleanse": {
            "method": settings.method,
            "source": method.source,
            "clean_images": len(clean.training) + len(clean.held_out),
            "minutes": round(made.seconds / 60, 2),
            "before": before.record(),
            **after.record(),
            "clean_ap50_lost": round(before.ap50 - after.ap50, 4),
            "images": clean.record(),
            **made.details,
        },
        "provenance": provenance(),
    }
    out = save_run(settings.out, made.network, record)
    # First, so that a run killed in between has nothing half deleted to go on with.
    (folder / BEGUN).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    return out


def _begin(folder: Path, settings: CleanseSettings, inputs: dict[str, Any]) -> None:
    """Make the folder of a run's stages, empty unless the run goes on.

    Raises: TrainingError if there is no run to go on with, or it was begun with other settings or inputs.
    """
    begun = folder / BEGUN
    asked = {**settings.model_dump(mode="json", exclude=FREE), **inputs}
    if not settings.resume:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_json(begun, asked)
        return
    try:
        there = parse_json(read_text(begun))
    except (OSError, ValueError) as error:
        if not begun.exists() and (settings.out / RUN_RECORD).exists():
            text = f"{settings.out} is finished: there is nothing to go on with"
            raise SettingsError(text, field="resume") from error
        hint = "begin one without `resume`"
        raise TrainingError(
            f"no run here to go on with: {begun}: {text_of(error)}", field="resume", hint=hint
        ) from error
    changed = [name for name, value in asked.items() if not isinstance(there, dict) or there.get(name) != value]
    if changed:
        raise TrainingError(
            f"the run in {settings.out} was begun with another {' and another '.join(changed[:3])}",
            field="resume",
            hint="give what it was begun with, or begin one without `resume`",
        )
