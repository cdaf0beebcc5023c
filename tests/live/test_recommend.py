"""What is recommended follows from how people stand in the image and from each pattern's record, not from its name."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from tiny import standing

from physadv.live.recommend import View, recommend, recommended, usual_cm, view_of
from physadv.patch import Patch, Target
from physadv.types import Detections, Float32Array

SIZE = (640, 480)
SMALL = View(180.0, 1.0, 0.38, 180.0, hips=True, legs=True)
CUT = View(900.0, 0.46, 0.9, 430.0, hips=False, legs=False)


def people(*boxes: tuple[float, float, float, float], keypoints: bool = True) -> Detections:
    xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(xyxy, np.full(len(xyxy), 0.9, np.float32), standing(xyxy) if keypoints else None)


def pattern(
    name: str,
    framing: str = "street",
    *,
    whole: float | None = 0.0,
    cut: float = 0.0,
    target: Target = "chest",
    size: tuple[float, float] = (360.0, 360.0),
    wide: float = 0.0,
    n: int = 40,
) -> Patch:
    """A pattern whose curve hides a share of whole people and of those cut off; `wide` more where it is printed large."""
    record: dict[str, Any] = {"settings": {"framing": framing}}
    if whole is not None:
        record["size_curve"] = {
            "cells": [
                {"visible_px": px, "shown": shown, "relative": side, "n": n, "ci95": [0, 1],
                 "asr": (whole if shown == 1 else cut) + (wide if side > 0.25 else 0)}
                for shown, px, side in product((1.0, 0.5), (150.0, 400.0), (0.1, 0.2, 0.33))
            ]
        }  # fmt: skip
    return Patch(name, np.zeros((8, 8, 3), np.uint8), np.full((8, 8), 255, np.uint8), size, target, record)


def chosen(view: View, given: list[Patch], now: str = "") -> str:
    best = recommend(view, given, now=now)
    return "" if best is None else best.name


@pytest.mark.parametrize(
    ("box", "framing", "whole"),
    [
        ((10, 100, 80, 270), "street", True),
        ((10, 10, 170, 470), "webcam", True),
        ((10, 30, 400, 480), "webcam", False),
        ((10, 300, 80, 480), "street", False),
    ],
)
@pytest.mark.parametrize("keypoints", [True, False])
def test_the_view_is_how_people_stand_in_the_image(
    box: tuple[float, float, float, float], framing: str, whole: bool, keypoints: bool
) -> None:
    view = view_of(people(box, keypoints=keypoints), SIZE, 320)
    assert view is not None and view.framing == framing
    assert view.height_px == box[3] - box[1] and view.share == view.height_px / 480
    if whole or not keypoints:
        assert (view.shown > 0.99) == (whole or framing == "street")
    # In pixels of the detector's input, which is half as large; of a person cut off, the whole of them.
    assert view.person_px == pytest.approx(view.height_px / view.shown / 2)


def test_nobody_who_could_wear_one_is_no_view() -> None:
    assert view_of(people(), SIZE, 640) is None
    head = people((100, 100, 200, 200), keypoints=False)
    points: Float32Array = np.zeros((1, 17, 3), np.float32)
    assert view_of(Detections(head.xyxy, head.score, points), SIZE, 640) is None
    assert recommended(people(), SIZE, 640, [pattern("a", whole=1.0)]) is None


def test_it_hides_most_people_of_such_a_size_by_its_curve() -> None:
    street, webcam = pattern("a", whole=0.5), pattern("b", "webcam", cut=0.6)
    for given in ([street, webcam], [webcam, street]):
        small, cut = recommend(SMALL, given), recommend(CUT, given)
        assert small is not None and cut is not None
        assert (small.name, cut.name) == ("a", "b")
        assert small.why == "People are small here, about 180 pixels high: made for that."
        assert cut.why == "People fill the image, seen to the chest: made for that, and hides more who show their hips."
    # Not the framing decides where more is known.
    other = recommend(CUT, [pattern("a", cut=0.9), webcam])
    assert other is not None and (other.name, other.why.split(": ")[1]) == (
        "a",
        "hides more of them than the others do.",
    )


def test_a_curve_of_few_people_counts_little_and_none_counts_by_the_framing() -> None:
    few, many = pattern("few", "webcam", whole=0.6, n=2), pattern("many", "webcam", whole=0.5, n=60)
    best = recommend(SMALL, [few, many])
    assert best is not None and best.name == "many"
    best = recommend(SMALL, [pattern("a", "webcam", whole=None), pattern("b", "street", whole=None)])
    assert best is not None and best.name == "b"
    unknown = pattern("c", "", whole=None)
    assert recommend(SMALL, [unknown]) is None, "nothing is known of it"


def test_figures_on_people_held_out_count_where_there_is_no_curve_and_beside_one() -> None:
    def shown(share: object, framing: str = "street", people: object = 60) -> Patch:
        bare = pattern("tall", whole=None, target="portrait", size=(360.0, 720.0))
        return replace(bare, record={**bare.record, "hides": {framing: {"share": share, "people": people}}})

    square = pattern("square", whole=0.4)
    assert [chosen(SMALL, [square, shown(share)]) for share in (0.8, 0.4)] == ["tall", "square"]
    for unknown in (shown(0.8, people=None), shown(None), shown(0.8, "webcam")):
        assert chosen(SMALL, [square, unknown]) == "square"
    assert chosen(SMALL, [square, replace(shown(0.8), name="renamed")]) == "renamed", "whatever it is called"
    few = replace(pattern("a", whole=0.2, n=2), name="tall")
    known = replace(few, record={**few.record, **shown(0.9).record, "size_curve": few.record["size_curve"]})
    assert chosen(SMALL, [square, known]) == "tall" and chosen(SMALL, [square, few]) == "square"


def test_the_simpler_print_is_taken_unless_another_does_clearly_better_and_what_was_recommended_stays() -> None:
    square = pattern("square", whole=0.4)
    tall = pattern("tall", whole=0.45, target="portrait", size=(360.0, 720.0))
    assert chosen(SMALL, [tall, square]) == "square"
    assert chosen(SMALL, [tall, square], now="tall") == "tall"
    taller = pattern("tall", whole=0.7, target="portrait", size=(360.0, 720.0))
    assert chosen(SMALL, [square, taller], now="square") == "tall"
    # Of somebody seen to the chest it would be cut off, unless it was made for a webcam.
    near = pattern("tall", cut=0.9, target="portrait")
    assert chosen(CUT, [square, near]) == "square"
    shirt = recommend(SMALL, [pattern("shirt", whole=0.9, target="tshirt"), square])
    assert shirt is not None and (shirt.name, shirt.width_cm) == ("shirt", None), "as large as its wearer"


def test_it_is_worn_wider_where_its_curve_expects_more_of_that() -> None:
    as_it_is, wider = (recommend(SMALL, [pattern("a", whole=0.2, wide=w)]) for w in (0.0, 0.3))
    assert as_it_is is not None and wider is not None
    assert (as_it_is.width_cm, wider.width_cm) == (36.0, 48.0)
    large = recommend(SMALL, [pattern("a", whole=0.2, wide=0.3, size=(480.0, 480.0))])
    assert large is not None and large.width_cm == 56.0, "no wider than was measured"
    assert (usual_cm(pattern("a", whole=0.2, wide=0.3)), usual_cm(pattern("a", whole=0.2))) == (48.0, None)
    assert usual_cm(pattern("a", "mixed", whole=0.2, wide=0.3)) is None
