"""`physadv learn`: the small network of a defence trained on your own clean images or camera minute."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from pydantic_settings import CliPositionalArg
from rich.console import Console

from physadv.address import masked
from physadv.arrays import LeftOut
from physadv.capture import open_source
from physadv.capture.reading import until_lost
from physadv.cli.base import OVERWRITE, check_writable
from physadv.cli.base import Command as BaseCommand
from physadv.cli.console import Terminal
from physadv.cli.side import imgsz_field, rounded_side
from physadv.dataset import labelled_images, read_images
from physadv.defend.blocks import BlockTraining, train_blocks
from physadv.defend.erase_training import EraserProgress, EraseTraining, Photograph, train_eraser
from physadv.defend.hostile import hostile_textures
from physadv.defend.learned import save_weights
from physadv.errors import CameraLost, DataError, SettingsError
from physadv.record import provenance
from physadv.types import UInt8Array

NOBODY = np.zeros((0, 4), np.float32)


class Command(BaseCommand):
    """Train a defence's network on clean images: `blocks` (block autoencoder) or `erase` (finder of pasted patterns).

    Use the file with `--defend blocks:weights=FILE` or `erase:weights=FILE`. Keep patterns out of the images: they would
    be learnt as normal.
    """

    groups: ClassVar[dict[str, tuple[str, ...]]] = {
        "data": ("images", "source", "seconds", "every"),
        "result": ("out", "overwrite", "seed"),
        "blocks": ("imgsz", "steps"),
        "erase": ("scenes", "passes", "patterns"),
    }
    examples: ClassVar[tuple[str, ...]] = (
        "physadv learn erase --images photos --out mine.safetensors",
        "physadv live --defend erase:weights=mine.safetensors",
    )

    defence: CliPositionalArg[Literal["blocks", "erase"]] = Field(description="whose network: blocks or erase")
    images: Path | None = Field(
        None, description="folder of clean images or a YOLO data set (labels say where people are)"
    )
    source: str | None = Field(None, description="a clean camera minute instead: webcam, video or address")
    seconds: float = Field(60, gt=0, le=3600, description="how long to watch the source")
    every: float = Field(1.0, gt=0, le=60, description="seconds between the images kept")
    out: Path = Field(description="weights file to write (.safetensors)")
    overwrite: bool = Field(False, description=OVERWRITE)
    imgsz: int = imgsz_field(416, text=", at which the detector will work (blocks)")
    steps: int = Field(3000, ge=1, le=200_000, description="optimiser steps (blocks)")
    scenes: int = Field(400, ge=8, le=100_000, description="random scenes (erase)")
    passes: int = Field(10, ge=1, le=1000, description="passes over the scenes (erase)")
    patterns: int = Field(
        160, ge=0, le=10_000, description="hostile patterns made first, seconds each; needs labelled people (erase)"
    )
    seed: int = Field(0, ge=0, description="of everything random")

    def run(self) -> int:
        """Return 0 once the weights are written.

        Raises: SettingsError for flags that do not fit together. DataError if there is no image to learn from.
        """
        if self.out.suffix != ".safetensors":
            raise SettingsError(field="out", expected="a .safetensors file", got=repr(str(self.out)))
        if (self.images is None) == (self.source is None):
            raise SettingsError("expected either --images FOLDER or --source CAMERA, and not both")
        check_writable("out", self.out, overwrite=self.overwrite)
        console = Terminal(highlight=False, soft_wrap=True)
        photographs = self._photographs(console)
        record: dict[str, Any] = {"pictures": len(photographs), **provenance()}
        start = time.monotonic()
        if self.defence == "blocks":
            blocks = BlockTraining(steps=self.steps, imgsz=rounded_side(self.imgsz, "physadv learn"), seed=self.seed)
            net = train_blocks(
                [p for p, _ in photographs], blocks, report=lambda s, e: console.print(f"step {s}: error {e:.5f}")
            )
            record["settings"] = blocks.model_dump()
            save_weights(self.out, net, kind="blocks", record=record)
        else:
            anybody = any(len(people) for _, people in photographs)
            erase = EraseTraining(
                patterns=self.patterns if anybody else 0, scenes=self.scenes, passes=self.passes, seed=self.seed
            )
            hostile = self._hostile(photographs, erase, console)
            head = train_eraser(photographs, erase, hostile=hostile, report=lambda p: console.print(_words(p)))
            record["settings"] = erase.model_dump()
            save_weights(self.out, head, kind="erase", record=record)
        console.print(
            f"{self.out}: {self.defence} from {len(photographs)} images in {time.monotonic() - start:.0f} s; use it with "
            f"--defend {self.defence}:weights={self.out}",
            markup=False,
        )
        return 0

    def _hostile(self, photographs: list[Photograph], settings: EraseTraining, console: Console) -> list[UInt8Array]:
        if not settings.patterns:
            console.print("no patterns are trained for it to learn from: only random textures")
            return []
        console.print(f"training {settings.patterns} patterns to learn from, seconds each")

        told = 0

        def report(made: int) -> None:
            # A few come at a time; a line for a tenth of them says that it goes on.
            nonlocal told
            if made * 10 // settings.patterns > told:
                told = made * 10 // settings.patterns
                console.print(f"{made} of {settings.patterns} patterns trained")

        rng = np.random.default_rng(settings.seed)
        return hostile_textures(photographs, settings.patterns, rng, report=report)

    def _photographs(self, console: Console) -> list[Photograph]:
        if self.images is not None:
            left_out = LeftOut()
            found = read_images(labelled_images(self.images, left_out=left_out), left_out)
            photographs = [(pixels, NOBODY if people is None else people) for _, pixels, people in found]
            for line in left_out.lines():
                console.print(line, markup=False)
            if not photographs:
                raise DataError(
                    f"{self.images}: none of {len(left_out.damaged)} images can be read",
                    field="images",
                    hint="give others",
                )
            return photographs
        console.print(
            f"watching {masked(str(self.source))} for {self.seconds:g} s: keep every pattern out of the image",
            markup=False,
        )
        say = partial(console.print, markup=False)
        return [(p, NOBODY) for p in _watched(str(self.source), self.seconds, self.every, say)]


def _watched(spec: str, seconds: float, every: float, say: Callable[[str], None]) -> list[UInt8Array]:
    """Return images of a source, one in `every` seconds of its own clock, those before it is lost where it is.

    Raises: DataError if it ends or goes silent before the first.
    """
    source = open_source(spec, say=say)
    kept: list[UInt8Array] = []
    start: float | None = None
    try:
        for frame in until_lost(source, say):
            start = frame.pts_s if start is None else start
            if frame.pts_s - start >= len(kept) * every:
                kept.append(frame.pixels)
            if frame.pts_s - start >= seconds:
                break
    except CameraLost as error:
        raise DataError(f"{masked(spec)}: gave no image: {error}", field="source") from error
    finally:
        source.close()
    if not kept:
        raise DataError(f"{masked(spec)}: gave no image before it ended", field="source")
    return kept


def _words(progress: EraserProgress) -> str:
    return f"step {progress.step} of {progress.steps}: loss {progress.loss:.3f}, overlap {progress.overlap:.3f}"
