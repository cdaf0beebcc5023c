"""A pattern's condition: what expressions mean, what cannot be met, values on both sides, and how a state is shown."""

import numpy as np
import pytest

from physadv.errors import SettingsError
from physadv.patch import Patch
from physadv.simulate.activation import PARAMETERS, Activation
from physadv.simulate.conditions import Condition, apply_patch
from physadv.simulate.placement import Placement, people_of
from physadv.simulate.render import render
from physadv.simulate.states import PX_AT_1_M, distance_m
from physadv.simulate.trigger import folded_prints, turned_prints


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("when", "name", "on", "off"),
    [
        ("upright", "tilt", (-15, 0, 15), (-180, -60, 90, 180)),
        ("tilt:0-15", "tilt", (-15, 15), (-60, 180)),
        ("geometry.tilt<15", "tilt", (-15, 15), (61,)),
        ("tilt:90-180", "tilt", (-90, 180), (0, 40, -44)),
        ("unfolded", "fold", (0,), (-0.5, 0.5)),
        ("near:2", "distance", (1.5, 2), (3.2, 10)),
        ("far:4", "distance", (4, 10), (1.5, 2.5)),
        ("light:bright", "light", (1, 0.9), (0.3, 0.5)),
        ("colour:warm", "colour", (1, 0.5), (-1, 0)),
        ("camera.distance >= 5", "distance", (5, 9), (2, 3)),
    ],
)
def test_an_expression_has_two_sides_and_a_gap_between(
    when: str, name: str, on: tuple[float, ...], off: tuple[float, ...]
) -> None:
    activation = Activation.of(when)
    assert activation.parameters == (name,)
    for values, side in ((on, 1), (off, -1)):
        assert activation.sides({name: np.array(values, np.float32)}).tolist() == [side] * len(values)
    acts = np.arange(400) % 2 == 0
    drawn = activation.draw(acts, rng())
    assert (activation.sides(drawn) == np.where(acts, 1, -1)).all(), "every view is on the side that it was drawn for"
    assert drawn[name].min() >= PARAMETERS[name].whole[0][0] and drawn[name].max() <= PARAMETERS[name].high


def test_several_conditions_must_all_hold_and_any_that_does_not_is_enough() -> None:
    activation = Activation.of("upright, light:bright")
    values = {"tilt": np.array([0, 0, 90, 40], np.float32), "light": np.array([1, 0.3, 1, 1], np.float32)}
    assert activation.sides(values).tolist() == [1, -1, -1, 0]
    acts = np.arange(200) % 2 == 0
    assert (activation.sides(activation.draw(acts, rng())) == np.where(acts, 1, -1)).all()


def test_views_on_both_sides_of_the_border_are_drawn() -> None:
    values = np.abs(Activation.of("upright", "tilt:90-180").draw(np.arange(2000) % 2 == 0, rng())["tilt"])
    near = [((values > 12) & (values <= 15)).mean(), ((values >= 90) & (values < 99)).mean()]
    # Evenly drawn there were a fifth of the one half and a tenth of the other.
    assert near[0] > 0.14 and near[1] > 0.13


@pytest.mark.parametrize(
    ("when", "otherwise", "field", "said"),
    [
        ("", None, "when", "got nothing"),
        ("sideways", None, "when", "upright, unfolded"),
        ("geometry.tilt<0", None, "when", "a range of tilt"),
        ("tilt:15-15", None, "when", "a range of tilt"),
        ("tilt:200-300", None, "when", "no view can meet"),
        ("near:0.2", None, "when", "no view can meet"),
        ("near:2, far:4", None, "when", "contradicts itself"),
        ("tilt:0-180", None, "when", "some views do not meet"),
        ("light.tilt<15", None, "when", "geometry.tilt"),
        ("wind:3-4", None, "when", "a parameter of the simulated world"),
        ("light:blue", None, "when", "light:LOW-HIGH or light:bright"),
        ("upright", "tilt:10-40", "otherwise", "both hold at tilt 10 to 15 degrees"),
        ("upright", "light:dark", "otherwise", "both hold at"),
        ("upright", "tilt:1e9-2", "otherwise", "tilt:LOW-HIGH"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(when: str, otherwise: str | None, field: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Activation.of(when, otherwise)
    assert caught.value.field == field and said in str(caught.value) and "\n" not in str(caught.value)


def worn(state: dict[str, float], pattern: Patch) -> np.ndarray:
    pixels = np.full((160, 120, 3), 90, np.uint8)
    people = people_of(np.array([[20, 10, 100, 150]], np.float32))
    condition = Condition("c", state=tuple((n, ((v, v),)) for n, v in state.items()))
    return apply_patch(pixels, people, pattern, Placement("poster", scale=0.5), condition, rng=rng(), imgsz=160)


def quarters() -> Patch:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:16, :16, 0], pixels[:16, 16:, 1], pixels[16:, :16, 2], pixels[16:, 16:] = 255, 255, 255, 255
    return Patch("quarters", pixels, np.full((32, 32), 255, np.uint8), (360.0, 360.0), "chest", {})


def test_a_turned_print_is_the_one_that_the_live_demo_turns() -> None:
    placement = Placement("poster", scale=0.5)
    prints = placement.prints(people_of(np.array([[20, 10, 100, 150]], np.float32)))
    turned = turned_prints(prints, 90.0, aspect=1.0)
    assert (worn({"tilt": 90}, quarters()) == render(np.full((160, 120, 3), 90, np.uint8), quarters(), turned)).all()
    top = worn({"tilt": 90}, quarters())[52:68, 48:58].reshape(-1, 3).mean(0)
    assert top.argmax() == 2, "clockwise: what was below on the left is above on the left"


def test_each_half_of_a_folded_print_stays_in_its_place() -> None:
    flat = worn({}, quarters())
    for share, columns in ((0.5, slice(61, 100)), (-0.5, slice(0, 59))):
        half = worn({"fold": share}, quarters())
        gone = half[:, columns]
        assert (gone == 90).all(), "what is folded away shows the person"
        other = slice(0, 59) if share > 0 else slice(61, 120)
        assert (half[:, other] == flat[:, other]).all(), "what is left is as it was"
    many = Placement("poster", scale=0.5).prints(people_of(np.array([[20, 10, 100, 150]] * 2, np.float32)))
    out = folded_prints(many, np.array([0.25, 0.0], np.float32))
    assert out.window.tolist() == [[0, 0, 0.75, 1], [0, 0, 1, 1]] and (out.quads[1] == many.quads[1]).all()


def test_light_and_colour_change_the_whole_image() -> None:
    dark, warm, cool = (worn({n: v}, quarters()) for n, v in (("light", 0.5), ("colour", 1.0), ("colour", -1.0)))
    assert dark[0, 0].tolist() == [45] * 3 and dark.max() == 128
    assert warm[0, 0, 0] == 90 and warm[0, 0, 2] < 70 and cool[0, 0, 0] < 80 and cool[0, 0, 2] == 90


def test_distance_is_that_of_a_grown_up_before_the_usual_camera() -> None:
    high = PX_AT_1_M / 3
    assert distance_m(np.array([[0, 0, high * 0.35, high]], np.float32))[0] == pytest.approx(3, rel=1e-3)
