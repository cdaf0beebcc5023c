"""Recordings whose files were damaged: read as far as they hold, or refused in one line; never an error of another kind."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from physadv.errors import PhysadvError, RecordingError
from physadv.live.session import Session
from physadv.live.sidecar import detections_of, read_lines, write_parquet
from tests.live.test_recorder import record_some
from tests.mutations import damaged, mistyped

MUTATIONS = 600


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    record_some(folder / "v.mp4", 3, clean=False)
    return folder


def test_damaged_sidecars(whole: Path, tmp_path: Path) -> None:
    text = (whole / "v.jsonl").read_bytes()
    lines = [json.loads(line) for line in text.splitlines()]
    odd = (
        "\n".join(map(json.dumps, value)).encode() + b"\n"
        for value in mistyped(lines, MUTATIONS)
        if isinstance(value, list)
    )
    path, read, refused = tmp_path / "v.jsonl", 0, 0
    for data in itertools.chain(damaged(text, MUTATIONS), odd):
        path.write_bytes(data)
        try:
            for line in read_lines(path):
                found = detections_of(line)
                assert np.isfinite(found.xyxy).all()
            write_parquet(path, tmp_path / "v.parquet")
            read += 1
        except RecordingError as error:
            assert str(path) in str(error)
            refused += 1
    assert read > 50 and refused > 50


def test_damaged_sessions(whole: Path, tmp_path: Path) -> None:
    names = ("v.mp4", "v.jsonl", "v.session.json")
    for name in names:
        (tmp_path / name).write_bytes((whole / name).read_bytes())
    data = (whole / "v.session.json").read_bytes()
    table = json.loads(data)
    for text in itertools.chain(damaged(data, MUTATIONS), (json.dumps(t).encode() for t in mistyped(table, MUTATIONS))):
        (tmp_path / "v.session.json").write_bytes(text)
        try:
            assert isinstance(Session(tmp_path / "v.mp4").info, dict)
        except RecordingError as error:
            assert "v.session.json" in str(error)


def test_damaged_videos_of_recordings(whole: Path, tmp_path: Path) -> None:
    for name in ("v.mp4", "v.jsonl", "v.session.json"):
        (tmp_path / name).write_bytes((whole / name).read_bytes())
    for data in damaged((whole / "v.mp4").read_bytes(), 60):
        (tmp_path / "v.mp4").write_bytes(data)
        try:
            assert len(list(Session(tmp_path / "v.mp4"))) <= 3
        except PhysadvError as error:
            assert "v.mp4" in str(error)
