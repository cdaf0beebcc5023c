"""The newest thing wins, and a file is whole or not there."""

import threading
from pathlib import Path

import pytest

from physadv.errors import CameraLost
from physadv.files import atomic_write, write_json
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
