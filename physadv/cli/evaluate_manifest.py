"""`physadv evaluate --manifest`: many videos, each a task of its own; what was done before is not done again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from physadv.cli.detectors import check_detectors, rounded_imgsz, say_device, trust_detectors, with_layouts
from physadv.cli.evaluate_flags import INCOMPLETE, LABEL, WORN_ONLY, WRITTEN, EvaluateVerb, changed
from physadv.cli.outputs import check_folder, check_own_folder, only_writer
from physadv.cli.terminal import say
from physadv.errors import SettingsError
from physadv.evaluate.settings import EvaluateSettings
from physadv.settings import each_apart
from physadv.version import __version__

if TYPE_CHECKING:
    from physadv.patch import Patch
    from physadv.scale.job import EvaluationJob, JobSettings
    from physadv.scale.manifest import Manifest

# Flags that are not of videos, or that say nothing of recordings which are compared.
NOT_OF_VIDEOS = (
    *(
        "images",
        "video",
        "pair",
        "adaptive",
        "held_out",
        "grid",
        "curve",
        "clean_video",
        "labels",
        "min_area",
        "certify",
    ),
    *("restarts", "attack_steps", "attack_views", "score_share"),
)


def run_manifest(settings: EvaluateVerb) -> int:
    """Score the videos of a manifest that are not scored yet, then reduce all of them to figures and a report.

    Returns 1 if some could not be scored.

    Raises: SettingsError or DataError for what does not go together, or if the folder belongs to another evaluation.
    """
    from physadv.cli.collect import show
    from physadv.scale.collect import collect
    from physadv.scale.job import JOB, EvaluationJob
    from physadv.scale.parts import evaluation_of, missing

    assert settings.manifest is not None
    manifest, patches = _inputs(settings)
    asked = _asked(settings)
    check_folder("out", settings.out)
    if not (settings.out / JOB).exists():
        check_own_folder("out", settings.out, WRITTEN, overwrite=settings.overwrite)
        if any((settings.out / name).exists() for name in WRITTEN) and not settings.overwrite:
            hint = "name another folder, or give `overwrite`"
            raise SettingsError(f"{settings.out} holds another evaluation", field="out", hint=hint)
    with only_writer("out", settings.out):
        name = settings.manifest.name
        job = EvaluationJob.begin(settings.out, manifest, asked, patches, version=__version__, name=name)
        # What is wrong with detectors or defences is said before any video is looked at.
        evaluation_of(job)
        todo = list(missing(job))
        count = len(manifest.videos)
        if not todo:
            say(f"{LABEL}: nothing to do: {count} of {count} are there")
        elif len(todo) < count:
            say(f"{LABEL}: {count - len(todo)} of {count} are there; {len(todo)} to do")
        try:
            wrong = _score(settings, job, todo) if todo else {}
        except KeyboardInterrupt:
            say(f"{LABEL}: stopped; {_there(job)} of {count} are there; the same command does the rest", error=True)
            raise
        results = collect(settings.out, wrong)
        show(results, results.report(settings.out, latex=settings.latex))
    for video, why in wrong.items():
        say(f"{LABEL}: {video} is not scored: {why}", error=True)
    return INCOMPLETE if wrong else 0


def _score(settings: EvaluateVerb, job: EvaluationJob, todo: Sequence[int]) -> dict[str, str]:
    """Give every video to a worker, and return why some were not scored, by name."""
    from physadv.cli.progress import ProgressBar
    from physadv.scale.executors import make_executor
    from physadv.scale.parts import score_video

    wrong: dict[str, str] = {}
    names = job.manifest.names
    executor = make_executor(
        settings.executor,
        workers=settings.workers,
        threads=settings.threads,
        address=settings.address,
        gpu=settings.device.startswith("cuda"),
    )
    with executor, ProgressBar(LABEL) as shown:
        for number in todo:
            executor.submit(number, score_video, job.folder.resolve(), number, settings.trust)
        for over in range(len(todo)):
            shown.show(over / len(todo), f"{over} of {len(todo)} videos")
            done = executor.wait()
            video = names[done.number]
            if done.died:
                wrong[video] = "its workers died at it, each time that it was begun again"
            elif done.value.wrong:
                wrong[video] = done.value.wrong
            if not done.died and done.value.deaths:
                times = "once" if done.value.deaths == 1 else f"{done.value.deaths} times"
                shown.say(f"{LABEL}: {video}: its worker died {times}; it was begun again")
    return wrong


def _there(job: EvaluationJob) -> int:
    """Return how many videos are scored."""
    from physadv.scale.parts import is_there

    return sum(is_there(job, number) for number in range(len(job.manifest.videos)))


def _inputs(settings: EvaluateVerb) -> tuple[Manifest, list[Patch]]:
    """Return the videos and the patterns.

    Raises: SettingsError for flags that say nothing here. DataError for a manifest that cannot be used. PatchError.
    """
    from physadv.evaluate.run import load_patches
    from physadv.scale.manifest import Manifest

    assert settings.manifest is not None
    if given := changed(settings, NOT_OF_VIDEOS):
        raise SettingsError(f"{given}: says nothing of the videos of a `manifest`; leave it out")
    manifest = Manifest.read(settings.manifest)
    if manifest.arms and (given := changed(settings, (*WORN_ONLY, "patches"))):
        raise SettingsError(f"{given}: says nothing of recordings of several arms, which are compared as they are")
    if settings.wear_from and not settings.patches:
        raise SettingsError(field="wear_from", expected="a pattern that is worn from then on", got="none")
    for note in manifest.notes:
        say(f"{LABEL}: {settings.manifest}: {note}", error=True)
    return manifest, load_patches(settings.patches)


def _asked(settings: EvaluateVerb) -> JobSettings:
    """Return what decides the figures of each video, files by absolute paths and hashes."""
    from physadv.detect import names
    from physadv.detect.weights import find_weights
    from physadv.scale.job import JobSettings

    detectors = with_layouts(each_apart([settings.detector]), settings.layout)
    if not detectors:
        raise SettingsError(field="detector", expected="one name or path or more, separated by commas", got="none")
    trust_detectors(detectors, settings.trust, LABEL)
    check_detectors(detector=detectors)
    say_device(detectors, settings.device, LABEL)
    decides = {name: getattr(settings, name) for name in EvaluateSettings.model_fields}
    if settings.imgsz is not None:
        decides["imgsz"] = rounded_imgsz(settings.imgsz, LABEL)
    return JobSettings(
        evaluation=EvaluateSettings(**decides),
        detectors=[names.absolute(name) for name in detectors],
        detector_hashes=[find_weights(name).sha256 for name in detectors],
        defend=list(settings.defend),
        every=settings.every,
        wear_from=settings.wear_from,
        threads=settings.threads,
    )
