"""Sources of frames: webcams, files, streams, folders, a browser, the built-in sample."""

from __future__ import annotations

import os
from collections.abc import Callable
from glob import has_magic
from pathlib import Path

from physadv.address import is_file_url, is_url, masked, meant_as_address
from physadv.arrays import IMAGE_SUFFIXES
from physadv.capture.browser import BrowserSource
from physadv.capture.images import ImageSource
from physadv.capture.plugin import PluginSource, plugin_factory
from physadv.capture.reading import Notify, Paced, silent
from physadv.capture.sample import SampleSource
from physadv.capture.settings import CaptureSettings
from physadv.capture.stream import NetworkStream
from physadv.capture.video_file import VideoFile
from physadv.capture.webcam import WebcamSource, cameras, is_webcam
from physadv.errors import SourceError, text_of
from physadv.types import Source

NAMED: dict[str, Callable[[CaptureSettings], Source]] = {"sample": SampleSource, "browser": BrowserSource}
# Before the name of one of the sample's scenes.
SCENE = "sample:"
# A longer name is cut in messages.
LONGEST = 150
KINDS = (
    "auto, sample, sample:street, browser, a webcam's number, /dev/videoN or another path of it, a video file, an image, "
    "folder or glob, a URL, or a plug-in's name"
)


def open_source(spec: str, settings: CaptureSettings | None = None, notify: Notify = silent) -> Source:
    """Return the source of images that `spec` names.

    spec: `auto` (the first webcam that answers, else the sample), `sample`, one of its scenes (`sample:street`), `browser`,
    a webcam's number or /dev/videoN, an rtsp:// or http:// address, the path of a video, an image, a folder or a glob of
    images, or a source that an installed package declares, `NAME` or `NAME:ARGUMENT`. Files and webcams are opened here, so
    that a mistake shows at once; network cameras at their first `read`, since they may come later.
    With `settings.realtime` a file or folder becomes a live source. notify: called with a line for what is left out while
    the source is read, such as damaged images, on the thread that reads.

    Raises: SourceError if there is no such thing or it cannot be opened. PluginError for a source of others that fails.
    """
    settings = settings or CaptureSettings()
    if not spec.strip():
        raise SourceError(field="source", expected=KINDS, got="an empty text")
    if spec == "auto":
        return _auto(settings, notify)
    if spec in NAMED:
        return NAMED[spec](settings)
    if spec.startswith(SCENE):
        return SampleSource(settings, scene=spec.removeprefix(SCENE))
    if is_url(spec) and not is_file_url(spec):
        return NetworkStream(spec, settings, notify)
    factory = None if is_url(spec) or is_webcam(spec) or os.path.exists(spec) else plugin_factory(spec)  # noqa: PTH110
    if factory is not None:
        source = PluginSource(spec, factory)
        return Paced(source) if settings.realtime and not source.live else source
    if not is_url(spec) and is_webcam(spec):
        webcam = WebcamSource(spec, settings, notify)
        webcam.open()
        return webcam
    try:
        finite = _finite(spec, settings, notify)
    except (OSError, ValueError, RuntimeError) as error:
        # A path may be too long, contain a NUL, or lead through a folder without permission.
        raise SourceError(f"{_shown(spec)} is no path: {text_of(error)}", field="source") from error
    return Paced(finite) if settings.realtime else finite


def is_live(spec: str) -> bool:
    """Return whether `spec` names a camera, whose images have no end, rather than files; nothing is opened.

    Raises: PluginError for a source of others that cannot be loaded.
    """
    if is_url(spec):
        return not is_file_url(spec)
    if spec.startswith(SCENE):
        return True
    if not is_webcam(spec) and not os.path.exists(spec) and (factory := plugin_factory(spec)) is not None:  # noqa: PTH110
        return bool(getattr(factory, "live", True))
    return spec == "auto" or spec in NAMED or is_webcam(spec)


def _finite(spec: str, settings: CaptureSettings, notify: Notify) -> Source:
    path = Path(spec).expanduser()
    if is_url(spec):
        return VideoFile(spec, settings, notify)
    if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES or (has_magic(spec) and not path.exists()):
        return ImageSource(spec, settings, notify)
    if path.exists():
        return VideoFile(str(path), settings, notify)
    wrong = meant_as_address(spec) or f"expected {KINDS}"
    raise SourceError(wrong, field="source", hint=f"there is no {_shown(spec)}")


def _shown(spec: str) -> str:
    text = masked(spec)
    return repr(text if len(text) <= LONGEST else f"{text[:LONGEST]}...")


def _auto(settings: CaptureSettings, notify: Notify) -> Source:
    """Return the first webcam that answers, else the sample."""
    for camera in cameras():
        webcam = WebcamSource(str(camera.index), settings, notify)
        try:
            webcam.open()
        except SourceError:
            continue
        return webcam
    return SampleSource(settings)
