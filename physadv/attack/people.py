"""A camera recorded for a run: people to train on, as images whose names say in which stretch of time they were."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import cv2

from physadv.address import masked
from physadv.camera.lens import Lens
from physadv.camera.profile import CameraProfile
from physadv.capture import open_source
from physadv.capture.settings import CaptureSettings
from physadv.errors import SourceError
from physadv.evaluate.images import VIDEO_BLOCKS, sampled
from physadv.files import atomic_write
from physadv.types import Frame


def record(
    source: str, seconds: float, folder: Path, *, camera: CameraProfile | None = None
) -> Generator[str, None, None]:
    """Record a camera for `seconds` into `folder`; yield lines to be shown.

    camera: its profile; images are then asked for in the size it is for, and recorded without the lens's distortion. A
    camera that is lost meanwhile, or Ctrl-C, leaves what came. Images of an earlier recording in the folder are removed.

    Raises: SourceError if the camera cannot be opened, or sends nothing in that time. CalibrationError if its images
    have another size than the profile is for. OSError if the disk is full.
    """
    notes: list[str] = []
    asked = CaptureSettings() if camera is None else CaptureSettings(width=camera.width, height=camera.height)
    stream = open_source(source, asked, notes.append)
    kept: list[Frame] = []
    try:
        yield f"recording {stream.name} for {seconds:g} s: walk about, turn, come near, as the pattern will be worn"
        sampled(stream, seconds, notes=notes, lens=None if camera is None else Lens(camera), into=kept)
    finally:
        stream.close()
        if kept:
            _store(kept, folder)
    yield from notes
    if not kept:
        raise SourceError(masked(source), field="source", expected=f"images for {seconds:g} s", got="none")


def _store(kept: list[Frame], folder: Path) -> None:
    # What an aborted run left would be taken for images of this one.
    for old in folder.glob("stretch*.jpg"):
        old.unlink()
    first, last = kept[0].captured_ns, kept[-1].captured_ns
    for number, frame in enumerate(kept):
        block = min((frame.captured_ns - first) * VIDEO_BLOCKS // max(last - first, 1), VIDEO_BLOCKS - 1)
        _, data = cv2.imencode(".jpg", frame.pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        with atomic_write(folder / f"stretch{block}-{number:04d}.jpg") as stream:
            stream.write(data.tobytes())
