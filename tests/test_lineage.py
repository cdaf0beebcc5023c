"""What a pattern has seen: by pixels where they are known, by names where not, and through all that it goes back to."""

from dataclasses import replace

import numpy as np
import pytest

from physadv.lineage import Seen, seen_by, split_record, start_record
from physadv.patch import Patch

PATCH = Patch("a", np.full((8, 8, 3), 128, np.uint8), np.full((8, 8), 255, np.uint8), (300, 300))


@pytest.mark.parametrize(
    ("name", "sha256", "seen"),
    [
        ("0001.jpg", "one", True),
        ("renamed.png", "one", True),
        ("0001.jpg", "another", False),
        ("0001.jpg", "", True),
        # Saved anew in another format its pixels may differ a little.
        ("0001.png", "another", True),
        ("old.jpg", "whatever", True),
        ("stretch3-0007.jpg", "frame", True),
        ("stretch3-0007.jpg", "of another recording", False),
        ("stretch3-0007.jpg", "", True),
        ("other.jpg", "other", False),
        ("other.jpg", "", False),
        ("hash.jpg", "c0ffee", True),
    ],
)
def test_a_image_is_known_by_its_pixels_else_by_its_name(name: str, sha256: str, seen: bool) -> None:
    split = split_record({"0001.jpg": ["one"], "old.jpg": [], "camera#stretch3": ["frame", "next"], "c0ffee": []}, [])
    known = seen_by(replace(PATCH, record={"split": split}))
    assert known is not None and known.saw(name, sha256) is seen


def test_two_patterns_of_which_one_knows_the_pixels() -> None:
    both = Seen([("0001.jpg", ["one"])]) | Seen([("0001.jpg", [])])
    assert both.saw("0001.jpg", "another"), "the second may have seen it"
    assert both.complete and not (both | Seen(complete=False)).complete


def test_what_every_pattern_before_it_was_trained_on_counts() -> None:
    first = replace(PATCH, record={"split": split_record({"a.jpg": ["A"]}, [])})
    second = replace(PATCH, record={"split": split_record({"b.jpg": ["B"]}, []), "start": start_record(first)})
    third = replace(PATCH, record={"split": split_record({"c.jpg": []}, ["b.jpg"]), "start": start_record(second)})
    seen = seen_by(third)
    assert seen is not None and seen.complete and seen.names == {"a.jpg", "b.jpg", "c.jpg"}
    assert seen.saw("x.jpg", "A") and not seen.saw("a.jpg", "another")


@pytest.mark.parametrize("start", [start_record(PATCH), 3, {}, {"train": "all"}, {"train": [], "start": "?"}])
def test_one_that_does_not_say_leaves_a_doubt(start: object) -> None:
    seen = seen_by(replace(PATCH, record={"split": {"train": ["a.jpg"], "pixels": [1]}, "start": start}))
    assert seen is not None and not seen.complete and seen.saw("a.jpg")
    assert seen_by(PATCH) is None


def test_a_stretch_of_a_video_is_another_than_the_next() -> None:
    split = {"train": ["film.mp4#0", "film.mp4#1", "camera#stretch4"]}
    seen = seen_by(replace(PATCH, record={"split": split}))
    assert seen is not None
    assert seen.saw("film.mp4#1") and seen.saw("stretch4-0007.jpg")
    assert not seen.saw("film.mp4#2") and not seen.saw("stretch5-0007.jpg")
