"""`physadv live`: the camera demo."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from physadv.cli.detectors import Layout, Trust, rounded_imgsz, trust_detectors, with_layouts
from physadv.cli.edge import Stop, interruptible
from physadv.cli.outputs import check_folder, check_writable
from physadv.cli.terminal import say
from physadv.errors import SettingsError, SourceError
from physadv.live.settings import LiveSettings
from physadv.settings import Groups

if TYPE_CHECKING:
    from physadv.live.demo import Demo

EXAMPLES = (
    "physadv live --source sample --wear webcam",
    "physadv live --detector cleansed --beside parents --wear trigger",
    "physadv live --wear webcam,tshirt --wear-size 48cm --defend lgs:threshold=.2+smoothing=2,persistence",
)


LABEL = "physadv live"


class LiveVerb(LiveSettings):
    """The demo as the command line starts it."""

    groups: ClassVar[Groups] = {
        **LiveSettings.groups,
        "detector": ("detector", "beside", "runs", "layout", "trust", "conf", "imgsz", "backend"),
    }

    layout: Layout = None
    trust: Trust = False


def run(settings: LiveVerb) -> int:
    """Camera demo: find people, wear a pattern, switch defences on, record; on a page, in a window or headless.

    Raises: SettingsError or RecordingError for flags that do not go together or files that cannot be written. SourceError
    for a source that never gave an image.
    """
    return serve(settings)


def serve(settings: LiveVerb, *, label: str = LABEL, opened: str = "") -> int:
    """Run the demo and return the exit code. label: before every line that is printed. opened: added to the page's address.

    Raises: as `run`.
    """
    from physadv.defend import PRESETS
    from physadv.files import write_json
    from physadv.live.camera_demo import open_demo
    from physadv.web.serve import Listener, PageServer

    detector, *beside = with_layouts([settings.detector, *settings.beside], settings.layout)
    imgsz = rounded_imgsz(settings.imgsz, label)
    settings = settings.model_copy(update={"imgsz": imgsz, "detector": detector, "beside": beside})
    _check(settings)
    # A run of the lab holds no code.
    files = [name for name in settings.beside if name.endswith(".pt")]
    trust_detectors([settings.detector, *files], settings.trust, label)
    with ExitStack() as stack:
        listener = None
        if settings.ui == "web":
            # A port in use is known before a model is loaded.
            listener = Listener(
                host=settings.host, port=settings.port, token=settings.token, viewer_token=settings.viewer_token
            )
            stack.callback(listener.close)
        stop = Stop()
        stack.enter_context(interruptible(stop))
        demo = open_demo(settings, progress=partial(_say, label))
        server = PageServer(listener, demo) if listener is not None else None
        if server is not None:
            stack.callback(server.close)
        stack.callback(demo.stop)
        demo.start()
        stop.looping = True
        if server is not None:
            # What the page says of its defences is of this machine.
            demo.measure_costs_once_shown(tuple(PRESETS))
            server.start()
            say(f"{label}: {server.url}{opened}")
            if server.viewer_url:
                say(f"{label}: to look on only: {server.viewer_url}{opened}")
            _say(label, "Ctrl-C ends it")
        _until_done(demo, stop, label)
    if settings.stats is not None:
        write_json(settings.stats, demo.stats())
    return _outcome(demo, label)


def _check(settings: LiveSettings) -> None:
    """Check that the settings go together, and that what is asked for can be shown and written.

    Raises: SettingsError, DisplayError or RecordingError if not.
    """
    from physadv.live.window import check_display
    from physadv.recording import Paths

    if settings.source == "browser" and settings.ui != "web":
        raise SettingsError(
            field="source=browser", expected="`ui=web`, whose page sends the images", got=repr(settings.ui)
        )
    if settings.record_clean and (settings.record is None or settings.record.suffix.lower() != ".mp4"):
        got = "none" if settings.record is None else str(settings.record)
        raise SettingsError(field="record_clean", expected="a video by `record` (.mp4) that it goes beside", got=got)
    if settings.overwrite and settings.record is None and settings.stats is None:
        raise SettingsError(field="overwrite", expected="a file by `record` or `stats` that it replaces", got="none")
    if settings.ui == "none" and not settings.wear:
        # On the page and in the window a pattern can be chosen later.
        turned = {"wear_angle": settings.wear_angle != 0, "wear_fold": settings.wear_fold != 0}
        asked = {"wear_size": settings.wear_size is not None, **turned}
        for field, given in {**asked, "wear_from": settings.wear_from > 0}.items():
            if given:
                raise SettingsError(field=field, expected="a pattern by `wear` that it is about", got="none")
    if settings.ui == "window":
        check_display()
    if settings.ui != "none":
        check_folder("recordings", settings.recordings)
    check_writable("stats", settings.stats, overwrite=settings.overwrite)
    if settings.record is not None:
        Paths.of(settings.record).check_free(overwrite=settings.overwrite)
        check_folder("record", settings.record.parent)


def _until_done(demo: Demo, stop: Stop, label: str) -> None:
    from physadv.capture.latest import SourceState

    if demo.settings.ui == "window":
        from physadv.live.window import show

        show(demo, stop.asked)
        return
    retrying = False
    # Short waits: a signal's handler runs on this thread only between them.
    while not demo.wait(0.2) and not stop.asked():
        source = demo.state()["source"]
        if source["state"] == SourceState.BACKOFF and not retrying:
            _say(label, source["detail"].rpartition(" in ")[0])
            retrying = True
        elif source["state"] == SourceState.LIVE:
            retrying = False


def _outcome(demo: Demo, label: str) -> int:
    if demo.error is not None:
        raise demo.error
    for notice in demo.notices.newest(100):
        if notice.level == "error" or notice.kind == "source":
            _say(label, f"{notice.kind}: {notice.text}")
    if demo.figures.frames == 0 and demo.settings.seconds is not None:
        detail = demo.state()["source"]["detail"]
        raise SourceError(f"{demo.source_spec}: no image came in {demo.settings.seconds:g} s: {detail}", field="source")
    figures = demo.stats()
    _say(
        label,
        f"{figures['frames_processed']} images, {figures['fps']:.1f} fps, {figures['dropped']} dropped, "
        f"latency {figures['age_ms']['p50']:.0f} ms at the median, {figures['age_ms']['p95']:.0f} at p95; "
        f"{figures['detector']} on {figures['backend']} {figures['precision']}",
    )
    return 1 if demo.recording_failed else 0


def _say(label: str, text: str) -> None:
    say(f"{label}: {text}", error=True)
