"""`physadv tour`: the demo as a guided tour, on its page or as a video."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlencode

from physadv.cli.detectors import Trust, rounded_imgsz, trust_detectors
from physadv.cli.edge import Stop, interruptible
from physadv.cli.live import LiveVerb, serve
from physadv.cli.outputs import check_folder
from physadv.cli.terminal import say
from physadv.errors import SettingsError
from physadv.settings import Groups
from physadv.tour.settings import TourSettings

EXAMPLES = (
    "physadv tour",
    "physadv tour --source 0 --language zh",
    "physadv tour --record tour.mp4",
    "physadv tour --detector backdoored --stop 7",
)
LABEL = "physadv tour"


class TourVerb(TourSettings):
    """The tour as the command line starts it."""

    groups: ClassVar[Groups] = {
        **TourSettings.groups,
        "demo": ("source", "detector", "trust", "runs", "imgsz", "backend"),
    }

    trust: Trust = False


def run(settings: TourVerb) -> int:
    """Guided tour of the demo: eight stops in ten minutes, for somebody who knows nothing of the field.

    Raises: SettingsError or RecordingError for flags that do not go together or files that cannot be written. SourceError
    for a source that gave no image, or ended before a video of the tour did.
    """
    settings = settings.model_copy(update={"imgsz": rounded_imgsz(settings.imgsz, LABEL)})
    trust_detectors([settings.detector], settings.trust, LABEL)
    if settings.record is not None:
        return _record(settings)
    if settings.overwrite:
        raise SettingsError(field="overwrite", expected="a video by `record` that it replaces", got="none")
    opened = {"tour": settings.stop or 1, **({"language": settings.language} if settings.language else {})}
    live = LiveVerb(
        source=settings.source,
        detector=settings.detector,
        runs=settings.runs,
        imgsz=settings.imgsz,
        backend=settings.backend,
        host=settings.host,
        port=settings.port,
        token=settings.token,
    )
    return serve(live, label=LABEL, opened=f"#{urlencode(opened)}")


def _record(settings: TourVerb) -> int:
    from physadv.recording import Paths
    from physadv.tour.film import record_tour

    assert settings.record is not None
    if settings.source == "browser":
        raise SettingsError(field="source", expected="a source without a page, with `record`", got="'browser'")
    Paths.of(settings.record).check_free(overwrite=settings.overwrite)
    check_folder("record", settings.record.parent)
    stop = Stop()
    with interruptible(stop):
        demo = record_tour(settings, lambda text: say(f"{LABEL}: {text}", error=True), stopped=stop.asked)
    if demo.recording_failed:
        return 1
    say(f"{LABEL}: {settings.record}")
    return 0
