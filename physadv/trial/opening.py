"""Begins a trial, or goes on with one: plan, folder, source and detector are what they were, or are refused by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from physadv.errors import DataError, PatchError, SettingsError
from physadv.live.camera_demo import CameraDemo, open_demo
from physadv.live.settings import LiveSettings
from physadv.patch import Patch, load_patch
from physadv.trial.book import TrialBook
from physadv.trial.plan import ARMS, PATTERNS, Arm, Plan
from physadv.trial.run import TrialRun
from physadv.trial.settings import TrialSettings
from physadv.trial.sources import FilmStretch, films_people, locks, open_locked
from physadv.trial.state import Proxy, TrialState, UsedDetector, read_state, write_state
from physadv.types import Detector, Source
from physadv.version import __version__

Say = Callable[[str], None]


def proxy_of(settings: TrialSettings) -> Proxy:
    """Return what stands for printed sheets.

    Raises: SettingsError if a trial is to go on by itself though somebody has to change what is shown.
    """
    if settings.auto and settings.proxy == "screen":
        raise SettingsError(
            field="auto", expected="`proxy=digital`, which software changes", got="screen, which somebody has to change"
        )
    return "digital" if settings.auto else settings.proxy or ""


def checked_state(folder: Path, plan: Plan) -> TrialState | None:
    """Return the trial in a folder, None where none was begun.

    Raises: SettingsError if it is of another plan. DataError as `read_state` does.
    """
    state = read_state(folder)
    if state is not None and state.plan.sha256 != plan.sha256:
        raise SettingsError(
            f"{folder} holds a trial of another plan ({state.plan.pattern.name}, {len(state.plan.cells)} cells of "
            f"{state.plan.blocks} blocks)",
            field="out",
            hint="name another folder",
        )
    return state


def open_trial(
    settings: TrialSettings,
    plan: Plan,
    plan_folder: Path,
    out: Path,
    *,
    source: Source | None = None,
    detector: Detector | None = None,
    say: Say = lambda _: None,
) -> TrialRun:
    """Return a trial that is ready to run, its demo started. The caller stops the demo.

    source, detector: used in place of those that the settings name. say: takes a line for the terminal.

    Raises: SettingsError, DataError or PatchError if folder, plan and settings do not go together. SourceError,
    WeightsError, BackendError as `open_demo` does. OSError if the folder cannot be written.
    """
    proxy = proxy_of(settings)
    state = checked_state(out, plan)
    _check_unchanged(state, settings, proxy)
    filmed = source is not None or films_people(settings.source)
    if not filmed and proxy != "digital":
        raise SettingsError(
            field="source",
            expected="a camera before which the sheets are worn, or `proxy=digital`, by which software puts them on",
            got=f"{settings.source!r}",
        )
    pictures, paths = _patterns(plan, plan_folder)
    if proxy != "digital":
        paths = {}
    live = source.live if source is not None else settings.realtime or filmed
    capture = settings.capture()
    held: dict[str, str] = {}
    stretch: Callable[[float, int], FilmStretch] | None = None
    if not live:
        stretch = partial(_stretch, settings.source, settings, plan.window_s, say)
        source = source or stretch(0.0, 0)
    elif source is None:
        source, held = open_locked(settings.source, capture, say)
    else:
        held = locks()
    demo = open_demo(
        _live_settings(settings, list(map(str, paths.values()))), source=source, detector=detector, progress=say
    )
    try:
        used = _detector(demo)
        shown = (
            demo.source_spec
            if settings.source in ("auto", "browser", "sample")
            else demo.session()["settings"]["source"]
        )
        if state is None:
            state = TrialState(
                physadv=__version__, plan=plan, detector=used, conf=settings.conf, source=shown, live=live, proxy=proxy,
                locks=held,
            )  # fmt: skip
            write_state(out, state)
        else:
            _check_same(state, used, shown, live=live)
        book = TrialBook(out, state)
        for name in book.clear_unfinished():
            say(f"{name}: half a window was thrown away")
        if state.source != shown:
            book.note(f"the source was {state.source} before, and {shown} from here on")
        demo.control(wear="")
        names = dict(zip(paths, demo.library.first, strict=True)) if paths else None
        demo.start()
    except BaseException:
        demo.stop()
        raise
    return TrialRun(demo, book, settings, pictures=pictures, patterns=names, stretch=stretch)


def _stretch(spec: str, settings: TrialSettings, length_s: float, say: Say, start_s: float, serial: int) -> FilmStretch:
    return FilmStretch(spec, settings.capture(), start_s=start_s, length_s=length_s, serial=serial, notify=say)


def _check_unchanged(state: TrialState | None, settings: TrialSettings, proxy: Proxy) -> None:
    if state is None:
        return
    for field, before, now in (("proxy", state.proxy, proxy), ("conf", state.conf, settings.conf)):
        if before != now:
            raise SettingsError(
                field=field, expected=f"{before or 'none'}, as when the trial was begun", got=str(now or "none")
            )


def _check_same(state: TrialState, used: UsedDetector, source: str, *, live: bool) -> None:
    """Raise SettingsError unless detector and film are what they were: arms of a block would differ in them."""
    if state.detector != used:
        raise SettingsError(
            field="detector", expected=f"{_called(state.detector)}, as when the trial was begun", got=_called(used)
        )
    # The folder of a film, and the camera of somebody before it, may be another.
    if state.live != live or not (live or Path(state.source).name == Path(source).name):
        raise SettingsError(field="source", expected=f"{state.source}, as when the trial was begun", got=source)


def _patterns(plan: Plan, folder: Path) -> tuple[dict[Arm, Patch], dict[Arm, Path]]:
    """Return what each arm but `none` shows, and the files that it is in.

    Raises: DataError if one is missing, or the pattern is not the plan's.
    """
    patches: dict[Arm, Patch] = {}
    paths: dict[Arm, Path] = {}
    for arm in ARMS[1:]:
        path = folder / PATTERNS / f"{arm}.safetensors"
        try:
            patch = load_patch(str(path))
        except (PatchError, OSError) as error:
            raise DataError(f"{path}: {error}", field="plan", hint="make the plan again") from error
        if arm == "pattern" and patch.sha256 != plan.pattern.sha256:
            raise DataError(f"{path}: is another pattern than the plan's", field="plan", hint="make the plan again")
        patches[arm], paths[arm] = patch, path
    return patches, paths


def _live_settings(settings: TrialSettings, wear: list[str]) -> LiveSettings:
    """Return the demo's settings. The page is the demo's viewer, so that nothing ends with a file."""
    common = {
        name: getattr(settings, name) for name in LiveSettings.model_fields if name in type(settings).model_fields
    }
    return LiveSettings(**{**common, "ui": "web", "wear": wear})


def _detector(demo: CameraDemo) -> UsedDetector:
    found: dict[str, Any] = demo.session()["detector"]
    return UsedDetector(**{name: found[name] for name in UsedDetector.model_fields})


def _called(used: UsedDetector) -> str:
    return f"{used.name} {(used.sha256 or '')[:12]} {used.backend} {used.precision} at {used.imgsz} px"
