"""Patterns as `physadv evaluate` calls them: by their own names, or where these are the same by where they lie."""

from pathlib import Path

import numpy as np
import pytest

from physadv.cli.evaluate import _named_apart
from physadv.errors import SettingsError
from physadv.files import told_apart
from physadv.patch import Patch, load_patch, save_patch


def test_two_runs_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    pixels = np.full((8, 8, 3), 128, np.uint8)
    patch = Patch("chest", pixels, np.full((8, 8), 255, np.uint8), (360.0, 360.0))
    for folder in ("a", "b"):
        save_patch(patch, tmp_path / folder / "run")
    given = [str(tmp_path / folder / "run") for folder in ("a", "b")]
    assert [p.name for p in _named_apart([load_patch(g) for g in given], given)] == ["a-run", "b-run"]
    files = [f"{g}/patch.safetensors" for g in given]
    named = _named_apart([load_patch(f) for f in files], files)
    assert [p.name for p in named] == ["a-run-patch", "b-run-patch"]
    assert [p.sha256 for p in named] == [patch.sha256] * 2
    assert [p.name for p in _named_apart([patch], given[:1])] == ["chest"]
    with pytest.raises(SettingsError, match="rename one"):
        _named_apart([patch, patch], [given[0], given[0]])


def test_paths_are_told_apart_by_their_shortest_ends() -> None:
    assert told_apart(["x/a", "y/b"]) == ["a", "b"]
    assert told_apart(["x/a", "y/a"]) == ["x/a", "y/a"]
    assert told_apart(["a", "x/a"]) == ["a", "x/a"]
    assert told_apart(["x/a", "x/a"]) == ["a", "a"]
    assert told_apart([]) == []
