"""Training under a condition: both sides are drawn, staying seen is asked for beside grey, and the run repeats itself."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_detector, tiny_gradient

from physadv.attack.gradients import Batches
from physadv.attack.losses import fitting, stays_seen
from physadv.attack.recipe import Recipe
from physadv.attack.run import TrainData
from physadv.attack.score import HeldOutPeople, Score, beats
from physadv.attack.settings import TrainSettings
from physadv.dataset import LabelledImage
from physadv.detect.matching import ImageMatch
from physadv.errors import SettingsError
from physadv.evaluate.sides import at_distance, auc, joint, matched
from physadv.simulate.activation import Activation
from physadv.simulate.placement import Placement
from physadv.types import Candidates
from tests.attack.running import ran


def conditional(small: Recipe, when: str, **more: object) -> Recipe:
    return small.model_copy(update={"when": when, "stay_seen": 3.0, **more})


def data(people: list[LabelledImage], recipe: Recipe) -> TrainData:
    scorer = HeldOutPeople(
        people[:2], tiny_detector(imgsz=64), Placement("poster", scale=0.35), activation=recipe.activation
    )
    return TrainData(people[2:], [tiny_gradient()], scorers={"street": scorer.score})


@pytest.mark.parametrize("when", ["upright", "unfolded", "far:4", "upright,colour:warm"])
def test_every_second_view_is_dormant_and_the_others_are_those_of_a_plain_run(
    people: list[LabelledImage], small: Recipe, when: str
) -> None:
    if "far" in when:
        small = small.model_copy(update={"crops": (256,), "batch": 12})
    plain, drawn = (
        Batches(r, TrainData(people, [tiny_gradient()])).of(0, 0, 1) for r in (small, conditional(small, when))
    )
    batch, (draw,) = drawn
    assert plain[0].state is None and batch.state is not None
    sides = batch.state.sides.numpy()
    assert len(sides) == len(batch.boxes) and {-1.0, 1.0} <= {*sides.tolist()}
    if "far" in when:
        near = batch.metres[sides < 0]
        assert (near <= 2.5 + 1e-3).all() and (batch.metres[sides > 0] >= 4 - 1e-3).all()
        return
    assert torch.equal(batch.images, plain[0].images) and torch.equal(draw.cloth.control, plain[1][0].cloth.control)
    if when == "upright":
        a, b = batch.prints.quads[:, 0], batch.prints.quads[:, 1]
        turned = np.abs(np.degrees(np.arctan2(*(b - a).T[::-1])))
        by_person = sides[batch.prints.person]
        assert (turned[by_person > 0] < 40).all() and (turned[by_person < 0] > 40).all()
    if when == "unfolded":
        width = batch.prints.window[:, 2]
        assert (width[sides[batch.prints.person] > 0] >= 0.93).all() and (
            width[sides[batch.prints.person] < 0] < 0.7
        ).all()


def test_staying_seen_is_a_box_that_fits_as_well_as_under_grey() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 20]])
    xyxy = torch.tensor([[[0.0, 0, 10, 20], [0, 0, 10, 9], [40, 40, 50, 60]]])
    owner = torch.zeros(1, dtype=torch.long)

    def loss(fits: float, part: float, grey: float) -> float:
        logit = torch.tensor([[fits, part, 5.0]])
        found = fitting(Candidates(logit, xyxy, None), owner, boxes)
        return float(stays_seen(found, torch.tensor([[grey]])))

    assert loss(2.0, -9, 2.4) == 0, "within the slack"
    assert loss(0.0, 9.0, 2.0) == pytest.approx(1.5), "a box on a part of somebody is no sight of them"
    assert loss(-9.0, -9, -5.0) == 0, "who is hidden by grey need not be seen"


def test_a_conditional_run_repeats_itself_and_resumes_to_the_same_bytes(
    people: list[LabelledImage], small: Recipe, tmp_path: Path
) -> None:
    recipe = conditional(small, "upright", otherwise="tilt:90-180", worst_of=2)
    whole = ran(recipe, data(people, recipe), folder=tmp_path / "whole").patch()
    ran(recipe, data(people, recipe), folder=tmp_path / "half", steps=3)
    resumed = ran(recipe, data(people, recipe), folder=tmp_path / "half", resume=True).patch()
    assert resumed.sha256 == whole.sha256 and resumed.record == whole.record
    assert (whole.when, whole.otherwise) == ("upright", "tilt:90-180")
    assert {"dormant_recall25", "dormant_grey25", "joint25"} <= whole.record["held_out"]["street"].keys()


def test_being_dormant_decides_which_step_is_kept() -> None:
    always = Score(9, 30, 0.1, 0.1, 0.8, 0.1, 0.1, 0.9, dormant_recall25=0.2, dormant_grey25=0.8, joint25=0.1)
    switch = Score(9, 30, 0.3, 0.3, 0.5, 0.3, 0.3, 0.7, dormant_recall25=0.78, dormant_grey25=0.8, joint25=0.5)
    assert switch.badness() < always.badness() and beats({"a": switch}, {"a": always})
    assert "joint25" not in Score(9, 30, 0.1, 0.1, 0.8, 0.1, 0.1, 0.9).plain()


def match(best: float, seen: bool) -> ImageMatch:
    nothing, one = np.zeros(0, np.float32), np.array([best], np.float32)
    none = np.zeros(0, bool)
    return ImageMatch(nothing, none, np.array([seen]), none, none, none, none, one, one)


def test_success_is_the_same_person_gone_and_seen() -> None:
    images = [LabelledImage(n, np.zeros((8, 8, 3), np.uint8), np.zeros((1, 4), np.float32)) for n in "abcd"]
    clean = matched(images, [match(0.9, True)] * 3 + [match(0.1, False)])
    on = matched(images, [match(0.1, False), match(0.9, True), match(0.2, False), match(0.0, False)])
    off = matched(images, [match(0.8, True), match(0.9, True), match(0.1, False), match(0.9, True)])
    both = joint(on, [off], clean, resamples=20, seed=0)
    assert both.value == pytest.approx(1 / 3) and both.n == 3, "who is not found without it does not count"
    value, interval = auc(on, off, resamples=50, seed=0)
    # Of 16 pairs ten stand in order and three are equal.
    assert value == pytest.approx(11.5 / 16) and interval is not None
    assert auc(on, on, resamples=0, seed=0)[0] == pytest.approx(0.5)


def test_people_at_a_distance_are_as_high_as_it_makes_them(people: list[LabelledImage]) -> None:
    far = at_distance(people, ((6.0, 6.0),), 416, seed=0)
    assert all(image.size == (416, 312) and len(image.boxes) == 1 for image in far)
    assert len({image.name for image in far}) == len(far)


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"when": "upright", "target": "tshirt"}, "when", "no tilt of their own"),
        ({"when": "near:2", "framing": "webcam"}, "when", "one distance"),
        ({"otherwise": "upright"}, "otherwise", "a condition by `when`"),
        ({"when": "upright", "otherwise": "tilt:5-30"}, "otherwise", "both hold"),
    ],
)
def test_a_condition_that_no_view_meets_is_refused(fields: dict[str, str], field: str, said: str) -> None:
    settings = TrainSettings.model_validate({"images": ["x"], **fields})
    with pytest.raises(SettingsError) as caught:
        settings.check()
        Recipe.of(settings)
    assert caught.value.field == field and said in str(caught.value)


def test_a_recipe_of_distances_has_views_in_which_people_can_be_near() -> None:
    recipe = Recipe.of(TrainSettings.model_validate({"images": ["x"], "when": "near:2", "preset": "quick"}))
    assert max(recipe.crops) >= 416 and recipe.warm == 0
    assert recipe.activation == Activation.of("near:2")
