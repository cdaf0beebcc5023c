"""An evaluation of many videos in a folder: what it is of, and which videos are done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError

from physadv.errors import DataError, SettingsError
from physadv.evaluate.settings import EvaluateSettings
from physadv.files import file_name, parse_json, read_text, text_bytes, write_json
from physadv.patch import Patch, load_patch, save_tensors
from physadv.scale.manifest import Listed, Manifest
from physadv.settings import Settings, one_line

JOB, PARTS, PATTERNS, FIGURES = "job.json", "parts", "patterns", "results.json"


class JobSettings(Settings):
    """All that decides what is found in a video, besides the video: the same in every task.

    patterns: the SHA-256 of each, by the name of its file in the job's folder. threads: on which the last digits depend.
    """

    evaluation: EvaluateSettings
    detectors: list[str]
    detector_hashes: list[str] = Field(default_factory=list)
    defend: list[str] = Field(default_factory=list)
    patterns: dict[str, str] = Field(default_factory=dict)
    every: int = 1
    wear_from: float = 0.0
    threads: int = 1


class JobRecord(Settings):
    """What job.json holds."""

    physadv: str
    manifest: str
    manifest_sha256: str
    settings: JobSettings
    videos: list[dict[str, str]]


class EvaluationJob:
    """A folder that belongs to one manifest with one set of settings, however often its videos are evaluated."""

    def __init__(self, folder: Path, record: JobRecord) -> None:
        self.folder, self.settings = folder, record.settings
        self.manifest = Manifest(tuple(Listed(**video) for video in record.videos))
        self._record = record

    @classmethod
    def begin(
        cls,
        folder: Path,
        manifest: Manifest,
        settings: JobSettings,
        patches: Sequence[Patch],
        *,
        version: str,
        name: str,
    ) -> Self:
        """Return the job in a folder, begun if there is none.

        name: of the manifest's file.

        Raises: SettingsError if the folder belongs to another manifest or other settings. DataError if it is damaged.
        """
        files = {f"{number:02d}-{file_name(p.name)}.safetensors": p for number, p in enumerate(patches)}
        settings = settings.model_copy(update={"patterns": {file: patch.sha256 for file, patch in files.items()}})
        videos = [{"path": v.path, "arm": v.arm, "clip": v.clip} for v in manifest.videos]
        record = JobRecord(
            physadv=version, manifest=name, manifest_sha256=manifest.sha256, settings=settings, videos=videos
        )
        # A manifest with a wrong path may be mended: where nothing was found nothing is lost.
        if (folder / JOB).exists() and ((folder / FIGURES).exists() or any((folder / PARTS).glob("*.parquet"))):
            before = cls.read(folder)
            before._check_same(record)
            return before
        for file, patch in files.items():
            save_tensors(patch, folder / PATTERNS / file)
        write_json(folder / JOB, record.model_dump(mode="json"))
        return cls(folder, record)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the job in a folder.

        Raises: DataError if there is none that can be read.
        """
        try:
            job = cls(folder, JobRecord.model_validate(parse_json(read_text(folder / JOB))))
        except FileNotFoundError as error:
            hint = "name the `out` of `physadv evaluate` with a `manifest`"
            raise DataError(f"{folder}: expected a folder with {JOB}", hint=hint) from error
        except ValidationError as error:
            raise DataError(f"{folder / JOB} is damaged: {one_line(error)}"[:300]) from error
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{folder / JOB} cannot be read: {error}"[:300]) from error
        if job.manifest.sha256 != job._record.manifest_sha256:
            raise DataError(f"{folder / JOB} is damaged: its videos are not those of the manifest that it began with")
        return job

    @cached_property
    def sha256(self) -> str:
        """Return a hash of the manifest and the settings, by which parts of this job are known."""
        key = [self._record.manifest_sha256, self.settings.model_dump(mode="json")]
        return hashlib.sha256(text_bytes(json.dumps(key, sort_keys=True))).hexdigest()

    @property
    def name(self) -> str:
        """Return the name of the manifest's file."""
        return self._record.manifest

    def part(self, number: int) -> Path:
        """Return the file that holds what was found in a video, by its number in the manifest."""
        stem = file_name(Path(self.manifest.videos[number].path).stem)
        return self.folder / PARTS / f"{number:05d}-{stem[:40].rstrip()}.parquet"

    def patches(self) -> list[Patch]:
        """Return the patterns that are worn.

        Raises: PatchError if one cannot be read. DataError if one has changed.
        """
        out = []
        for file, sha256 in self.settings.patterns.items():
            out.append(load_patch(self.folder / PATTERNS / file))
            if out[-1].sha256 != sha256:
                raise DataError(f"{self.folder / PATTERNS / file} is not the pattern that this evaluation began with")
        return out

    def _check_same(self, now: JobRecord) -> None:
        """Raise SettingsError if what is asked now is not what the folder belongs to."""
        before = self._record
        hint = "name another folder, or evaluate as before to go on"
        if before.manifest_sha256 != now.manifest_sha256:
            videos = "one video" if len(before.videos) == 1 else f"{len(before.videos)} videos"
            what = f"{self.folder} belongs to another manifest, {before.manifest} with {videos}"
            raise SettingsError(what, field="out", hint=hint)
        was, asked = (flat(r.settings.model_dump(mode="json")) for r in (before, now))
        if changed := [name for name in asked if asked[name] != was.get(name)]:
            what = f"{self.folder} was evaluated with another {', '.join(f'`{name}`' for name in changed)}"
            raise SettingsError(what, field="out", hint=hint)


def flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a job by the names of the fields that they were given by."""
    names = {"detectors": "detector", "detector_hashes": "detector", "patterns": "patches"}
    out: dict[str, Any] = dict(settings["evaluation"])
    for name, value in settings.items():
        if name != "evaluation":
            # Names and hashes of detectors are one field.
            out.setdefault(names.get(name, name), []).append(value)
    return out
