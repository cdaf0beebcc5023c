"""What a pattern is begun from: masks, looks and other patterns, as they will lie on the print."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny import tiny_gradient

from physadv.arrays import read_image_rgba
from physadv.attack import attack
from physadv.attack.data import train_data
from physadv.attack.pattern import begun_from, look_from, mask_from
from physadv.attack.recipe import Recipe
from physadv.attack.run import TrainData, as_patch, new_pattern
from physadv.attack.start import fitted
from physadv.dataset import Dataset, LabelledImage
from physadv.errors import DataError
from physadv.patch import Patch, load_patch
from physadv.simulate.placement import Placement, people_of
from tests.attack.running import inputs, ran


def rgba(brightness: np.ndarray, alpha: np.ndarray | None = None) -> np.ndarray:
    opaque = np.full(brightness.shape, 255) if alpha is None else alpha
    return np.dstack([*[brightness] * 3, opaque]).astype(np.uint8)


def half_patch() -> Patch:
    """A pattern twice as wide as high, with ink in its left half."""
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, :16, 0] = 255
    mask = np.zeros((16, 32), np.uint8)
    mask[:, :16] = 255
    return Patch("half", pixels, mask, (400.0, 200.0))


def test_masks_and_looks_lie_on_a_print_in_the_same_place() -> None:
    """Two thirds of the width are white, in an image of the print's shape and in one that is higher."""
    wide = np.zeros((30, 60))
    wide[:, :40] = 255
    high = np.full((60, 60), 128.0)
    high[15:45] = wide
    for image in (wide, high):
        mask = mask_from(rgba(image), (12, 12), aspect=2, name="mask")
        look = look_from(rgba(image)[..., :3], (12, 12), aspect=2)
        assert mask[0].all(0).tolist() == [True] * 8 + [False] * 4
        assert torch.equal(look[:1].round(), mask)
    assert len(set(look_from(rgba(high)[..., :3], (12, 12)).flatten().tolist())) == 3, (
        "without a print's shape it is the whole"
    )


def test_ink_goes_where_a_mask_is_opaque_if_it_is_not_so_all_over(tmp_path: Path) -> None:
    alpha = np.zeros((16, 16))
    alpha[:8] = 255
    for brightness in (np.zeros((16, 16)), np.full((16, 16), 255)):
        assert cv2.imwrite(str(tmp_path / "m.png"), rgba(brightness, alpha))
        mask = mask_from(read_image_rgba(tmp_path / "m.png"), (8, 8), aspect=1, name="m")
        assert mask[0].all(1).tolist() == [True] * 4 + [False] * 4 and mask.sum() == 32
    assert torch.equal(mask_from(rgba(alpha), (8, 8), aspect=1, name="m"), mask), "opaque all over: by brightness"
    with pytest.raises(DataError, match=r"m: expected a mask with a white area .* half brightness"):
        mask_from(rgba(np.zeros((8, 8))), (8, 8), aspect=1, name="m")
    with pytest.raises(DataError, match=r"m: expected a mask with an opaque area .* half opacity"):
        mask_from(rgba(np.full((8, 8), 255), np.zeros((8, 8))), (8, 8), aspect=1, name="m")
    with pytest.raises(DataError, match=r"nowhere.png: cannot be read"):
        read_image_rgba(tmp_path / "nowhere.png")


def test_a_pattern_to_begin_with_is_taken_whole_and_with_its_shape() -> None:
    colours, mask = begun_from(half_patch(), (8, 8))
    assert mask is not None and mask[0].all(0).tolist() == [True] * 4 + [False] * 4
    assert torch.equal(colours[:1], mask)
    patch = half_patch()
    whole = Patch("whole", patch.pixels, np.full((16, 32), 255, np.uint8), patch.size_mm)
    assert begun_from(whole, (8, 8))[1] is None


@pytest.mark.parametrize("given", [False, True], ids=["its own shape", "another"])
def test_a_run_keeps_the_shape_of_the_pattern_it_begins_with_unless_given_another(tmp_path: Path, given: bool) -> None:
    upper = np.zeros((16, 16))
    upper[:8] = 255
    assert cv2.imwrite(str(tmp_path / "m.png"), rgba(upper))
    settings = Recipe(texels=8)
    sides: tuple[list[LabelledImage], list[LabelledImage]] = ([], [])
    asked = inputs(settings, region=tmp_path / "m.png" if given else None)
    data = train_data(settings, asked, [tiny_gradient()], sides, Dataset([]), half_patch(), processes=1, name="run")
    kept = new_pattern(settings, data).mask[0]
    assert kept.sum() == 32
    assert bool(kept[0].all()) == given and bool(kept[:, 0].all()) != given


def test_a_print_that_is_no_square_has_as_many_rows_as_make_texels_square() -> None:
    tall = Recipe(target="portrait", pyramid=True)
    assert tall.grid == (96, 48) and Recipe(size_mm=(400, 100)).grid == (12, 48)
    assert Recipe(size_mm=(2000, 50)).grid == (8, 48), "no fewer than can be trained"
    pattern = new_pattern(tall, TrainData([], []))
    assert [level.shape for level in pattern.levels] == [(3, 24, 12), (3, 48, 24), (3, 96, 48)]
    patch = as_patch(tall, TrainData([], []), pattern.colours().detach())
    assert patch.pixels.shape == (384, 192, 3) and patch.size_mm == (360.0, 720.0)
    # Every row is a texel of its own: the gradient of one is not that of the next.
    weights = torch.arange(96.0)[:, None].expand(96, 48)
    (gradient,) = torch.autograd.grad((pattern.colours() * weights).sum(), pattern.levels[-1])
    assert torch.equal(gradient[0, :, 0], weights[:, 0])


def test_a_portrait_run_is_trained_saved_and_resumed_in_its_own_grid(
    people: list[LabelledImage], tmp_path: Path
) -> None:
    recipe = Recipe(target="portrait", steps=4, batch=2, crops=(64,), texels=8, noise=0.1, checkpoint_every=2)
    begin = begun_from(fitted(load_patch("street"), recipe), recipe.grid)[0]

    def ended(folder: str, *stops: int) -> torch.Tensor:
        data = TrainData(people, [tiny_gradient()], begin=begin)
        for number, steps in enumerate(stops):
            run = ran(recipe, data, folder=tmp_path / folder, resume=number > 0, steps=steps)
        return torch.cat([run.checkpoint.levels[0].detach(), run.checkpoint.best])

    whole = ended("whole", 4)
    assert whole.shape == (6, 16, 8) and not torch.equal(whole[:3], begin)
    assert torch.equal(ended("cut", 2, 2), whole)


def test_an_outfit_is_trained_as_a_texture_on_shirt_and_legs(people: list[LabelledImage]) -> None:
    recipe = Recipe(target="outfit", steps=2, batch=2, crops=(64,), texels=8)
    assert recipe.tiles and recipe.grid == (8, 8) and Recipe(target="outfit").texels == 32
    assert recipe.placements() == {"street": (Placement("outfit"), (416,))}
    prints = recipe.placement_range.prints(
        people_of(people[0].boxes, people[0].keypoints),
        np.zeros(1, np.int64),
        np.zeros(1, bool),
        np.random.default_rng(0),
    )
    assert prints.part.max() > 0, "somebody with knees wears trousers"
    patch = ran(recipe, TrainData(people, [tiny_gradient()])).patch()
    assert (patch.target, patch.tiles) == ("outfit", True)
    # Without a seam: what lies across the edge goes on as smoothly as what lies within.
    seam, inside = (
        np.abs(a.astype(int) - b.astype(int)).mean()
        for a, b in zip(patch.pixels[[0, 16]], patch.pixels[[-1, 15]], strict=True)
    )
    assert seam < 3 * inside + 3


def test_only_the_first_of_several_starts_begins_with_the_pattern_given() -> None:
    begin = torch.full((3, 8, 8), 0.25)
    settings, data = Recipe(texels=8, starts=3), TrainData([], [], begin=begin)
    first, second, third = (new_pattern(settings, data, number).colours().detach() for number in range(3))
    assert torch.equal(first, begin)
    assert not torch.equal(second, begin) and not torch.equal(second, third)


def test_an_attack_that_goes_on_from_a_pattern_keeps_its_shape() -> None:
    image = np.zeros((96, 96, 3), np.uint8)
    boxes = np.array([[20, 4, 76, 92]], np.float32)
    settings = Recipe(texels=8, batch=1, crops=(64,))
    patch = attack(tiny_gradient(), [image], [boxes], recipe=settings, steps=1, start=half_patch())
    left, right = np.split(patch.mask, 2, axis=1)
    assert (left == 255).all() and (right == 0).all()
