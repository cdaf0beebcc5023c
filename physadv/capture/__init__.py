"""Light in: webcams, files, streams, folders, a browser, the built-in sample."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from glob import has_magic
from pathlib import Path

from physadv.address import masked
from physadv.arrays import PICTURE_SUFFIXES
from physadv.capture.browser import BrowserSource
from physadv.capture.images import ImageSource
from physadv.capture.pacing import Paced
from physadv.capture.sample import SampleSource
from physadv.capture.settings import CaptureSettings
from physadv.capture.stream import NetworkStream, VideoFile, is_file_url, is_url
from physadv.capture.webcam import WebcamSource, cameras
from physadv.errors import SourceError
from physadv.types import Source

NAMED: dict[str, Callable[[CaptureSettings], Source]] = {"sample": SampleSource, "browser": BrowserSource}
KINDS = "auto, sample, browser, a webcam's number or /dev/videoN, a video file, a picture, folder or glob, or a URL"


def open_source(spec: str, settings: CaptureSettings | None = None) -> Source:
    """Return the source of pictures that `spec` names.

    spec: `auto` (the first webcam that answers, else the sample), `sample`, `browser`, a webcam's number or /dev/videoN,
    an rtsp:// or http:// address, or the path of a video, a picture, a folder or a glob of pictures. Files and webcams
    are opened here, so that a mistake shows at once; network cameras at their first `read`, since they may come later.
    With `settings.realtime` a file or folder becomes a live source.

    Raises: SourceError if there is no such thing or it cannot be opened.
    """
    settings = settings or CaptureSettings()
    if spec == "auto":
        return _auto(settings)
    if spec in NAMED:
        return NAMED[spec](settings)
    if _is_webcam(spec):
        webcam = WebcamSource(spec, settings)
        webcam.open()
        return webcam
    if is_url(spec) and not is_file_url(spec):
        return NetworkStream(spec, settings)
    finite = _finite(spec, settings)
    return Paced(finite) if settings.realtime else finite


def is_live(spec: str) -> bool:
    """Return whether `spec` names a camera, whose pictures have no end, rather than files; nothing is opened."""
    return spec == "auto" or spec in NAMED or _is_webcam(spec) or (is_url(spec) and not is_file_url(spec))


def _is_webcam(spec: str) -> bool:
    return spec.isdecimal() or re.fullmatch(r"/dev/video\d+", spec) is not None


def _finite(spec: str, settings: CaptureSettings) -> Source:
    path = Path(spec).expanduser()
    if is_url(spec):
        return VideoFile(spec, settings)
    if path.is_dir() or path.suffix.lower() in PICTURE_SUFFIXES or (has_magic(spec) and not path.exists()):
        return ImageSource(spec, settings)
    if path.exists():
        return VideoFile(str(path), settings)
    raise SourceError(f"--source: expected {KINDS}; there is no {masked(spec)!r}")


def _auto(settings: CaptureSettings) -> Source:
    """Return the first webcam that answers, else the sample."""
    # Without a list of devices only the first is tried: opening a camera that is not there can take seconds.
    for camera in cameras() if sys.platform == "linux" else cameras()[:1]:
        webcam = WebcamSource(str(camera.index), settings)
        try:
            webcam.open()
        except SourceError:
            continue
        return webcam
    return SampleSource(settings)
