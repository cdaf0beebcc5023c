"""Colours say one thing: the page, the live image, previews and reports mark a person who is seen alike."""

import json
import re
from pathlib import Path

import numpy as np
from tiny import tiny_detector

from physadv import marks
from physadv.attack.preview import progress_sheet
from physadv.attack.score import HeldOutPeople
from physadv.dataset import LabelledImage
from physadv.evaluate.results import panel
from physadv.patch import load_patch
from physadv.simulate.placement import Placement
from physadv.types import Detections

OVERLAY = Path(marks.__file__).parent / "web" / "static" / "overlay.js"


def test_the_page_has_the_same_colours() -> None:
    table = re.search(r"const COLOURS = ({.*?});", OVERLAY.read_text())
    assert table is not None
    page = json.loads(re.sub(r"(\w+): ", r'"\1": ', table[1]))
    ours = {"plain": marks.PERSON, "held": marks.HELD, "uncovered": marks.UNCOVERED, "certified": marks.CERTIFIED,
            "hidden": marks.HIDDEN, "alert": marks.ALERT}  # fmt: skip
    assert page == {name: "#{:02x}{:02x}{:02x}".format(*colour) for name, colour in ours.items()}


def count(image: np.ndarray, colour: marks.Colour) -> int:
    return int((image == np.array(colour)).all(-1).sum())


def test_somebody_seen_is_green_and_somebody_hidden_is_not() -> None:
    grey = np.full((200, 200, 3), 90, np.uint8)
    for found, colour, other in ((True, marks.PERSON, marks.HIDDEN), (False, marks.HIDDEN, marks.PERSON)):
        out = grey.copy()
        marks.mark_person(out, (20, 20, 120, 180), "0.90", found=found)
        assert count(out, colour) > 400 and count(out, other) == 0
    answer = Detections(np.array([[20, 20, 120, 180]], np.float32), np.array([0.9], np.float32))
    assert count(panel(grey, answer, 0.25), marks.PERSON) > 400


def test_a_sheet_of_progress_marks_each_wearer() -> None:
    image = np.full((240, 320, 3), 90, np.uint8)
    boxes = np.array([[20, 20, 120, 220], [180, 20, 280, 220]], np.float32)
    people = [LabelledImage(f"{i}", image, boxes, np.zeros((2, 17, 3), np.float32)) for i in range(5)]
    scorer = HeldOutPeople(people, tiny_detector(imgsz=64), Placement("poster", scale=0.35))
    assert scorer.some(3) == [0, 2, 4] and scorer.some(9) == [0, 1, 2, 3, 4]
    sheet = progress_sheet(load_patch("street"), scorer, "step 3")
    assert sheet.shape[1] > 3 * sheet.shape[0]
    assert count(sheet, marks.HIDDEN) + count(sheet, marks.PERSON) > 6 * 300
