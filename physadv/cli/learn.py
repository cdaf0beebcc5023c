"""`physadv learn`: the small network of a defence trained on your own clean images or camera minute."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from physadv.address import masked
from physadv.capture import open_source
from physadv.capture.reading import until_lost
from physadv.cli.detectors import rounded_imgsz
from physadv.cli.outputs import Overwrite, check_writable
from physadv.errors import CameraLost, DataError, SettingsError
from physadv.settings import Folder, Groups, Imgsz, Positional, Seconds, Settings, SourceName

if TYPE_CHECKING:
    from rich.console import Console

    from physadv.defend.erase_training import EraserProgress, EraseTraining, Photograph
    from physadv.types import UInt8Array

EXAMPLES = (
    "physadv learn erase --images photos --out mine.safetensors",
    "physadv live --defend erase:weights=mine.safetensors",
)


class LearnVerb(Settings):
    """Whose network is trained, on what, and how long."""

    groups: ClassVar[Groups] = {
        "data": ("images", "source", "seconds", "every"),
        "result": ("out", "overwrite", "seed"),
        "blocks": ("imgsz", "steps"),
        "erase": ("scenes", "passes", "patterns"),
    }

    defence: Positional[Literal["blocks", "erase"]] = Field(description="whose network: blocks or erase")
    images: Folder | None = Field(
        default=None, description="folder of clean images or a YOLO data set (labels say where people are)"
    )
    source: SourceName | None = Field(
        default=None, description="a clean camera minute instead: webcam, video or address"
    )
    seconds: Seconds = Field(default=60, gt=0, le=3600, description="how long to watch the source")
    every: Seconds = Field(default=1.0, gt=0, le=60, description="seconds between the images kept")
    out: Path = Field(description="weights file to write (.safetensors)")
    overwrite: Overwrite = False
    imgsz: Imgsz = Field(
        default=416,
        description="long side of the network's input, at which the detector will work, rounded up to a multiple of 32",
    )
    steps: int = Field(default=3000, ge=1, le=200_000, description="optimiser steps")
    scenes: int = Field(default=400, ge=8, le=100_000, description="random scenes")
    passes: int = Field(default=10, ge=1, le=1000, description="passes over the scenes")
    patterns: int = Field(
        default=160, ge=0, le=10_000, description="hostile patterns made first, seconds each; needs labelled people"
    )
    seed: int = Field(default=0, ge=0, description="of everything random")


def run(settings: LearnVerb) -> int:
    """Train a defence's network on clean images: `blocks` (block autoencoder) or `erase` (finder of pasted patterns).

    Use the file with `--defend blocks:weights=FILE` or `erase:weights=FILE`. Keep patterns out of the images: they would
    be learnt as normal.

    Raises: SettingsError for flags that do not fit together. DataError if there is no image to learn from.
    """
    from physadv.cli.console import Terminal
    from physadv.defend.blocks import BlockTraining, train_blocks
    from physadv.defend.erase_training import EraseTraining, train_eraser
    from physadv.defend.learned import save_weights
    from physadv.provenance import provenance

    if settings.out.suffix != ".safetensors":
        raise SettingsError(field="out", expected="a .safetensors file", got=repr(str(settings.out)))
    if (settings.images is None) == (settings.source is None):
        raise SettingsError("expected either `images` or `source`, and not both")
    check_writable("out", settings.out, overwrite=settings.overwrite)
    console = Terminal(highlight=False, soft_wrap=True)
    photographs = _photographs(settings, console)
    record: dict[str, Any] = {"pictures": len(photographs), **provenance()}
    start = time.monotonic()
    if settings.defence == "blocks":
        imgsz = rounded_imgsz(settings.imgsz, "physadv learn")
        blocks = BlockTraining(steps=settings.steps, imgsz=imgsz, seed=settings.seed)
        net = train_blocks(
            [p for p, _ in photographs], blocks, report=lambda s, e: console.print(f"step {s}: error {e:.5f}")
        )
        record["settings"] = blocks.model_dump()
        save_weights(settings.out, net, kind="blocks", record=record)
    else:
        anybody = any(len(people) for _, people in photographs)
        patterns = settings.patterns if anybody else 0
        erase = EraseTraining(patterns=patterns, scenes=settings.scenes, passes=settings.passes, seed=settings.seed)
        hostile = _hostile(photographs, erase, console)
        head = train_eraser(photographs, erase, hostile=hostile, report=lambda p: console.print(_words(p)))
        record["settings"] = erase.model_dump()
        save_weights(settings.out, head, kind="erase", record=record)
    console.print(
        f"{settings.out}: {settings.defence} from {len(photographs)} images in {time.monotonic() - start:.0f} s; use it "
        f"with --defend {settings.defence}:weights={settings.out}",
        markup=False,
    )
    return 0


def _hostile(photographs: list[Photograph], settings: EraseTraining, console: Console) -> list[UInt8Array]:
    import numpy as np

    from physadv.defend.hostile import hostile_textures

    if not settings.patterns:
        console.print("no patterns are trained for it to learn from: only random textures")
        return []
    console.print(f"training {settings.patterns} patterns to learn from, seconds each")

    reported = 0

    def report(made: int) -> None:
        # A few come at a time; a line for a tenth of them says that it goes on.
        nonlocal reported
        if made * 10 // settings.patterns > reported:
            reported = made * 10 // settings.patterns
            console.print(f"{made} of {settings.patterns} patterns trained")

    rng = np.random.default_rng(settings.seed)
    return hostile_textures(photographs, settings.patterns, rng, report=report)


def _photographs(settings: LearnVerb, console: Console) -> list[Photograph]:
    import numpy as np

    from physadv.arrays import LeftOut
    from physadv.dataset import labelled_images, read_images

    nobody = np.zeros((0, 4), np.float32)
    if settings.images is not None:
        left_out = LeftOut()
        found = read_images(labelled_images(settings.images, left_out=left_out), left_out)
        photographs = [(pixels, nobody if people is None else people) for _, pixels, people in found]
        for line in left_out.lines():
            console.print(line, markup=False)
        if not photographs:
            raise DataError(
                f"{settings.images}: none of {len(left_out.damaged)} images can be read",
                field="images",
                hint="give others",
            )
        return photographs
    console.print(
        f"watching {masked(str(settings.source))} for {settings.seconds:g} s: keep every pattern out of the image",
        markup=False,
    )
    say = partial(console.print, markup=False)
    return [(p, nobody) for p in _watched(str(settings.source), settings.seconds, settings.every, say)]


def _watched(spec: str, seconds: float, every: float, say: Callable[[str], None]) -> list[UInt8Array]:
    """Return images of a source, one in `every` seconds of its own clock, those before it is lost where it is.

    Raises: DataError if it ends or goes silent before the first.
    """
    source = open_source(spec, notify=say)
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
