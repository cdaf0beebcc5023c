"""`physadv evaluate`: patterns, controls and defences scored on labelled images or a recorded video."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from physadv.cli.detectors import say_device, trust_detectors, with_layouts
from physadv.cli.evaluate_flags import LABEL, ROWS, RUN, WORN_ONLY, WRITTEN, EvaluateVerb, changed
from physadv.cli.outputs import check_folder, check_own_folder, only_writer
from physadv.cli.terminal import say
from physadv.errors import SettingsError, SourceError
from physadv.evaluate.settings import EvaluateSettings
from physadv.files import parse_json
from physadv.settings import each_apart

if TYPE_CHECKING:
    from physadv.evaluate.pairs import Pairs
    from physadv.evaluate.results import Results
    from physadv.evaluate.video import Recording
    from physadv.patch import Patch

EXAMPLES = (
    "physadv evaluate street,poster --images photos --held-out",
    "physadv evaluate webcam --video clip.mp4 --defend balanced --out clip",
    "physadv evaluate --pair none=a.mp4 --pair grey=b.mp4 --pair pattern=c.mp4",
    "physadv evaluate street --manifest videos.csv --out films",
)
# Flags that say nothing about a video, of tasks that run beside one another, and flags that say nothing unless patterns are
# trained through the defences.
IMAGES_ONLY = ("adaptive", "held_out", "grid", "curve", "clean_video", "labels", "min_area")
MANY_ONLY = ("executor", "address", "workers", "threads")
ADAPTIVE_ONLY = ("restarts", "attack_steps", "attack_views", "score_share")
# Flags that decide the figures.
FLAGS = (
    *(
        "pair",
        "every",
        "wear_from",
        "held_out",
        "rule",
        "scale",
        "at",
        "detector",
        "layout",
        "imgsz",
        "min_area",
        "grid",
        "curve",
        "defend",
    ),
    *("adaptive", *ADAPTIVE_ONLY, "certify", "conf", "resamples", "seed"),
)
# What an evaluation was asked, in its run.json.
ASKED = "asked"


def run(settings: EvaluateVerb) -> int:
    """Score patterns beside the same-size controls none, grey, white, noise and shuffled; always in float32.

    Raises: SettingsError for flags that do not go together. DataError for a camera in place of a video.
    """
    from physadv.attack.adaptive import ThroughDefence
    from physadv.cli.detectors import rounded_imgsz
    from physadv.cli.progress import ProgressBar
    from physadv.dataset import check_outside
    from physadv.evaluate import evaluation
    from physadv.evaluate.run import load_patches

    if settings.manifest is not None:
        from physadv.cli.evaluate_manifest import run_manifest

        return run_manifest(settings)
    if "patches" in settings.model_fields_set and not settings.patches:
        # A shell's variable that holds nothing: without patterns the controls would be scored alone, which takes minutes.
        raise SettingsError(field="patches", expected="one name or path or more", got="an empty word")
    patches = load_patches(settings.patches)
    _check_which(settings)
    _check_unused(settings)
    if settings.grid == "folds" and not any(patch.target == "portrait" for patch in patches):
        raise SettingsError(
            "other prints lie flat", field="grid", expected="a portrait pattern, which folds", got="none"
        )
    detectors = with_layouts(each_apart([settings.detector]), settings.layout)
    if not detectors:
        raise SettingsError(field="detector", expected="one name or path or more, separated by commas", got="none")
    trust_detectors(detectors, settings.trust, LABEL)
    say_device(detectors, settings.device, LABEL)
    out = _free_folder(settings, patches)
    decides = {name: getattr(settings, name) for name in EvaluateSettings.model_fields}
    if settings.imgsz is not None:
        decides["imgsz"] = rounded_imgsz(settings.imgsz, LABEL)
    attack = ThroughDefence(settings.restarts, settings.attack_steps, settings.attack_views, folder=out / "adaptive")
    recording = _recording(settings)
    updates = evaluation(
        patches,
        recording or settings.images or (),
        detectors,
        settings.defend,
        () if settings.grid == "none" else settings.grid,
        settings=EvaluateSettings(**decides),
        labels=settings.labels,
        held_out=settings.held_out,
        adaptive=attack if settings.adaptive else None,
        certify=settings.certify,
        clean_video=settings.clean_video,
        curve=settings.curve,
    )
    check_folder("out", out)
    check_own_folder("out", out, WRITTEN, overwrite=settings.overwrite)
    films = _check_videos(settings, recording)
    check_outside("out", out, [path for path in (settings.images, *films) if path is not None])
    asked = _asked(settings, patches)
    results, kept = None, 0
    with only_writer("out", out), _said_when_stopped(out):
        with ProgressBar(LABEL) as shown:
            for update in updates:
                results = update.results
                results.facts[ASKED] = asked
                if update.note:
                    shown.say(update.note)
                elif update.what:
                    shown.show(update.share, update.what, part=update.part)
                if len(results.cells) != kept:
                    kept = len(results.cells)
                    results.keep(out)
        assert results is not None, "an evaluation says at least that it is finished"
        _show(results, results.report(out, latex=settings.latex))
    return 0


def _show(results: Results, report: Path) -> None:
    """Print the tables, the means of the grid, the doubts, and where the report is."""
    from physadv.cli.console import show_results

    doubts = (f"doubt: {doubt}" for doubt in results.doubts())
    lines = (*results.crossings(), *results.grid_means(), *doubts, str(report))
    show_results(results.tables(brief=True), lines)


def _check_which(settings: EvaluateVerb) -> None:
    """Raise SettingsError unless there are images, a video or recordings to compare, and one of these alone."""
    from physadv.evaluate.images import VIDEO_SUFFIXES

    images, video = settings.images, settings.video
    if sum((images is not None, video is not None, bool(settings.pair))) != 1:
        raise SettingsError(
            "expected --images FOLDER, --video FILE, --pair ARM=VIDEO or --manifest FILE, one of the four; see "
            "`physadv evaluate --help`"
        )
    if images is not None and images.suffix.lower() in VIDEO_SUFFIXES and images.is_file():
        raise SettingsError(
            field="images", expected="photographs", got=f"the video {str(images)!r}", hint="give it by `video`"
        )


def _recording(settings: EvaluateVerb) -> Recording | Pairs | None:
    """Return the video or the recordings to score, None for photographs.

    Raises: SettingsError for recordings that do not go together.
    """
    from physadv.evaluate.pairs import Pairs
    from physadv.evaluate.video import Recording

    if settings.pair:
        return Pairs.of(settings.pair, every=settings.every)
    return None if settings.video is None else Recording(settings.video, settings.every, settings.wear_from)


def _check_videos(settings: EvaluateVerb, recording: Recording | Pairs | None) -> list[Path]:
    """Open every video once, and return those to score.

    Raises: SettingsError, DataError or SourceError as `_check_video` does.
    """
    films = [] if recording is None else recording.paths
    for film in films:
        _check_video("pair" if settings.pair else "video", film)
    if settings.clean_video is not None:
        _check_video("clean_video", settings.clean_video)
    return films


def _check_video(field: str, film: Path) -> None:
    """Open a video, or what else is read in order, and close it.

    Raises: SettingsError if it is not there. DataError for a camera. SourceError for what is no video.
    """
    from physadv.address import is_url
    from physadv.evaluate.video import open_video

    try:
        open_video(film).close()
    except SourceError as error:
        if not film.exists() and not is_url(str(film).replace(":/", "://", 1)):
            raise SettingsError(
                f"there is no {str(film)!r}", field=field, expected="a video file or a folder of images"
            ) from error
        raise error.at(field) from error


def _check_unused(settings: EvaluateVerb) -> None:
    """Raise SettingsError for a flag that has no meaning beside the others."""
    if given := changed(settings, MANY_ONLY):
        raise SettingsError(f"{given}: expected `manifest`; what is scored here is one task")
    if settings.images is not None and (given := changed(settings, ("every", "wear_from"))):
        raise SettingsError(f"{given}: expected `video`; photographs are all scored")
    if settings.pair and (given := changed(settings, (*WORN_ONLY, "patches"))):
        raise SettingsError(
            f"{given}: expected `images` or `video`; recordings that are compared are scored as they are"
        )
    if settings.images is None:
        if settings.certify:
            hint = "labelled people are needed to say how many are certified"
            raise SettingsError(field="certify", expected="`images`", hint=hint)
        if settings.wear_from and not settings.patches:
            raise SettingsError(field="wear_from", expected="a pattern that is worn from then on", got="none")
        if given := changed(settings, IMAGES_ONLY):
            raise SettingsError(f"{given}: expected `images`; a video's frames are scored as they come, without labels")
    if settings.curve is not None and settings.grid != "none":
        raise SettingsError("is not scored over a condition", field="grid", hint="leave it out, or `curve`")
    if not settings.adaptive and (given := changed(settings, ADAPTIVE_ONLY)):
        raise SettingsError(f"{given}: expected `adaptive`; no pattern is trained here without it")


def _free_folder(settings: EvaluateVerb, patches: Sequence[Patch]) -> Path:
    """Return the folder to write to: one without an evaluation, or with one that is only made again.

    Raises: SettingsError if the folder that was named holds another evaluation.
    """
    out = settings.out
    if settings.overwrite:
        return out
    if "out" not in settings.model_fields_set:
        numbered = (out.with_name(f"{out.name}-{number}") for number in count(2))
        return next(f for f in chain([out], numbered) if _other(settings, f, patches) is None and _own(f))
    other = _other(settings, out, patches)
    if other is not None:
        hint = "name another folder, or give `overwrite`"
        raise SettingsError(f"{out} holds an evaluation of {other}", field="out", hint=hint)
    return out


def _other(settings: EvaluateVerb, folder: Path, patches: Sequence[Patch]) -> str | None:
    """Return what an evaluation in a folder is of; None if there is none, or what is asked now would make it again."""
    try:
        run = parse_json((folder / RUN).read_bytes())
        names = ", ".join(p["name"] for p in run["patches"]) or "no pattern"
        before = run.get(ASKED) or {}
        where = run.get("images") or run.get("video") or ("recordings" if run.get("pairs") else "other images")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    now = _asked(settings, patches)
    changed = [name for name in now if before.get(name) != now[name]]
    if not changed:
        return None
    flags = ", ".join(f"`{name}`" for name in changed)
    return f"{names} on {where}" + (f", with another {flags}" if set(changed) <= set(FLAGS) else "")


def _asked(settings: EvaluateVerb, patches: Sequence[Patch]) -> dict[str, Any]:
    """Return all that decides an evaluation: flags, patterns, and what is read, files by name and size."""
    from physadv.evaluate.pairs import Pairs

    compared = Pairs.of(settings.pair).paths if settings.pair else ()
    places = (settings.images, settings.video, settings.labels, settings.clean_video, *compared)
    read = [path.resolve() for path in places if path is not None]
    # Evaluations of before there were any have none.
    flags = set(FLAGS) - (set() if settings.pair else {"pair"})
    return {
        **settings.model_dump(mode="json", include=flags),
        "patterns": sorted(p.sha256 for p in patches),
        "read": [[path.name, _listing(path, without=settings.out.resolve())] for path in read],
    }


def _listing(path: Path, *, without: Path) -> str:
    """Return a hash of the names and sizes of the files at a path, those in the folder `without` left out."""
    inside = path.rglob("*") if path.is_dir() else [path]
    files = sorted(p for p in inside if p.is_file() and without not in p.parents)
    listed = [(p.relative_to(path).as_posix(), p.stat().st_size) for p in files]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def _own(folder: Path) -> bool:
    """Return whether a folder holds no other program's file by a name of ours."""
    try:
        check_own_folder("out", folder, WRITTEN, overwrite=False)
    except SettingsError:
        return False
    return True


@contextmanager
def _said_when_stopped(folder: Path) -> Iterator[None]:
    """Say of an evaluation that is interrupted within what of it is kept."""
    rows = folder / ROWS
    before = _written_at(rows)
    try:
        yield
    except KeyboardInterrupt:
        nothing = _written_at(rows) == before
        kept = "nothing was scored yet" if nothing else f"the rows scored until then are in {rows}"
        say(f"{LABEL}: stopped; {kept}", error=True)
        raise


def _written_at(path: Path) -> int | None:
    """Return when a file was written, in nanoseconds, or None if there is none."""
    return path.stat().st_mtime_ns if path.exists() else None
