"""The newest thing wins, and a file is whole or not there."""

import errno
import os
import threading
from pathlib import Path

import pytest

from physadv.errors import CameraLost
from physadv.files import atomic_write, parse_yaml, write_json
from physadv.slot import Slot


def test_the_newest_value_wins_and_drops_are_counted() -> None:
    slot: Slot[int] = Slot()
    for value in range(5):
        slot.put(value)
    assert slot.take(0) == 4
    assert slot.dropped == 4
    assert slot.take(0) is None


def test_an_error_comes_after_what_was_stored() -> None:
    slot: Slot[int] = Slot()
    slot.put(1)
    slot.fail(CameraLost("gone"))
    assert slot.take(0) == 1
    with pytest.raises(CameraLost):
        slot.take(0)


def test_a_waiting_taker_wakes_at_once() -> None:
    slot: Slot[int] = Slot()
    threading.Timer(0.05, slot.put, [7]).start()
    assert slot.take(5) == 7


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    with pytest.raises(RuntimeError), atomic_write(path) as stream:
        stream.write(b"half")
        raise RuntimeError
    assert path.read_text() == '{\n  "a": 1\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_the_error_of_a_full_disk_names_the_file_that_was_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    path = tmp_path / "x.json"
    with pytest.raises(OSError, match="No space left") as raised:
        write_json(path, {"a": 1})
    assert raised.value.filename == str(path) and raised.value.errno == errno.ENOSPC
    with pytest.raises(FileNotFoundError) as other, atomic_write(path):
        (tmp_path / "another").read_bytes()
    assert other.value.filename == str(tmp_path / "another")
    assert not list(tmp_path.iterdir())


def test_an_error_in_yaml_tells_its_place_and_quotes_no_password() -> None:
    with pytest.raises(ValueError, match=r"in line 2, column \d+") as raised:
        parse_yaml('frames: 2\nsource: "rtsp://admin:hunter2@cam/x')
    assert "hunter2" not in str(raised.value)


def test_a_file_may_have_the_longest_name_that_there_is(tmp_path: Path) -> None:
    for name in ("x" * 255, "ü" * 127):
        write_json(tmp_path / name, 1)
        assert (tmp_path / name).read_text() == "1\n"
