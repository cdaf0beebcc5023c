"""Where a measured curve is kept, and which pictures it may be measured on."""

from pathlib import Path

import pytest

from physadv.cli.advise import file_of, held_out
from physadv.dataset import LabelledPicture
from physadv.errors import PatchError
from physadv.patch import SHIPPED


def test_pictures_that_were_trained_on_are_left_out() -> None:
    pictures = [LabelledPicture(Path(f"people/{name}.jpg"), None) for name in ("a", "b", "c")]
    record = {"split": {"train": ["a.jpg", "b"], "held_out": ["c.jpg"]}}
    assert [p.path.stem for p in held_out(pictures, record)] == ["c"]
    assert held_out(pictures, {}) == pictures
    with pytest.raises(PatchError, match="every one"):
        held_out(pictures[:2], record)


def test_a_patch_is_rewritten_where_it_was(tmp_path: Path) -> None:
    file = tmp_path / "mine.safetensors"
    file.touch()
    assert file_of(str(file)) == (tmp_path, "mine")
    assert file_of(str(tmp_path)) == (tmp_path, "patch")
    assert file_of("chest-v1") == (SHIPPED, "chest-v1")
