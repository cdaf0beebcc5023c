"""Prints on images: in the right place, antialiased, above each other in order, with gradients to every texel."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from physadv.simulate.composite import areas, averaged, cut, halved
from physadv.simulate.garment import sleeve_quads
from physadv.simulate.occlusion import Occlusion
from physadv.simulate.placement import Prints, TexelGrid, texels_for
from physadv.simulate.world import World, WorldDraw


def prints(*squares: tuple[float, float, float], owner: list[int] | None = None) -> Prints:
    """Squares as (left, top, side), the last one on top."""
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    n = len(squares)
    return Prints(
        owner=np.array(owner or [0] * n, np.int64),
        person=np.arange(n),
        quads=np.array([np.array([x, y]) + side * corners for x, y, side in squares], np.float32).reshape(n, 4, 2),
        rank=np.arange(n),
        window=np.tile(np.array([0, 0, 1, 1], np.float32), (n, 1)),
        bounds=np.tile(np.array([-np.inf, -np.inf, np.inf, np.inf], np.float32), (n, 1)),
        arms=np.zeros((n, 2, 5), np.float32),
        folds=np.zeros(n, bool),
        part=np.zeros(n, np.int64),
    )


def paste(pattern: torch.Tensor, images: torch.Tensor, where: Prints) -> torch.Tensor:
    world = World.of(0)
    draw = world.sample(len(where), len(images), torch.Generator().manual_seed(0))
    return world.apply(pattern, images, where, draw)


def opaque(colour: tuple[float, float, float], side: int = 16) -> torch.Tensor:
    return torch.cat([torch.tensor(colour).view(3, 1, 1).expand(3, side, side), torch.ones(1, side, side)])


def test_a_print_covers_its_square_and_nothing_else() -> None:
    out = paste(opaque((1, 0, 0)), torch.zeros(2, 3, 32, 32), prints((8, 4, 12), owner=[1]))
    red = out[1, 0]
    assert torch.allclose(red[4:16, 8:20], torch.ones(12, 12), atol=1e-5)
    assert abs(float(red.sum()) - 144) < 1e-3
    assert float(out[0].abs().sum()) == 0


def test_a_border_between_pixels_is_half_covered() -> None:
    out = paste(opaque((1, 1, 1)), torch.zeros(1, 3, 32, 32), prints((8.5, 8.5, 10)))
    assert abs(float(out[0, 0, 12, 8]) - 0.5) < 0.05
    assert abs(float(out[0, 0].sum()) - 100) < 2


def test_the_higher_rank_lies_on_top() -> None:
    where = prints((2, 2, 10), (6, 6, 10))
    pattern = opaque((0, 0, 0))
    pattern[0, :, :8], pattern[1, :, 8:] = 1, 1
    out = paste(pattern, torch.full((1, 3, 24, 24), 0.5), where)
    assert float(out[0, 0, 8, 8]) == 1.0, "the left half of the upper print is red"
    assert float(out[0, 1, 8, 8]) == 0.0


def test_arms_come_in_front_as_often_as_the_dial_of_occlusion_says() -> None:
    where = prints((4, 4, 16))
    where.arms[0, 0] = (4, 12, 20, 12, 2)

    def hidden(strength: float) -> float:
        still = World.of(0)
        world = still.model_copy(update={"erase": Occlusion(strength=strength, probability=0)})
        draws = (world.sample(1, 1, torch.Generator().manual_seed(seed)) for seed in range(60))
        shown = [world.apply(opaque((1, 1, 1)), torch.zeros(1, 3, 24, 24), where, draw) for draw in draws]
        return sum(float(out[0, 0, 12, 12]) < 0.5 for out in shown) / len(shown)

    assert hidden(0) == 0, "an arm behind the print"
    assert 0.3 < hidden(1) < 0.7
    assert hidden(2) == 1


def test_every_texel_has_a_gradient_however_small_the_print() -> None:
    pattern = torch.rand(4, 64, 64, generator=torch.Generator().manual_seed(0))
    pattern[3] = 1
    pattern.requires_grad_()
    paste(pattern, torch.zeros(1, 3, 48, 48), prints((3, 5, 18))).sum().backward()  # type: ignore[no-untyped-call]
    assert pattern.grad is not None
    assert float((pattern.grad[0] > 0).float().mean()) > 0.99


def test_a_small_print_is_the_mean_of_its_texels() -> None:
    board = torch.zeros(4, 64, 64)
    board[:3] = (torch.arange(64)[:, None] + torch.arange(64)[None]) % 2
    board[3] = 1
    out = paste(board, torch.zeros(1, 3, 32, 32), prints((8, 8, 16)))
    assert torch.allclose(out[0, :, 10:22, 10:22], torch.full((3, 12, 12), 0.5), atol=0.02)


@pytest.mark.parametrize("side", [16, 15])
def test_colours_outside_a_mask_do_not_tint_its_edge(side: int) -> None:
    pattern = torch.full((4, side, side), 0.25)
    pattern[3] = 0
    pattern[3, 3:11, 3:11] = 1
    pattern[:3, 3:11, 3:11] = 0.75
    pattern.requires_grad_()
    small = halved(pattern[None])[0]
    there, nowhere = small[3].detach() > 0.05, small[3].detach() == 0
    assert torch.allclose(small[:3, there], torch.tensor(0.75), atol=1e-3)
    assert torch.allclose(small[:3, nowhere], torch.tensor(0.25), atol=1e-3)
    assert 0.2 < float(small[3, 1, 1].detach()) < 1, "the edge is partly covered"
    (slope,) = torch.autograd.grad(small[:3, there].sum(), pattern)
    outside = pattern[3] == 0
    assert float(slope[:3, outside].abs().sum()) < 1e-3 * float(slope[:3, ~outside].sum())
    assert torch.allclose(halved(torch.ones(1, 4, side, side)), torch.ones(1, 4, side // 2, side // 2), atol=1e-6)


def test_a_print_keeps_no_more_than_a_texel_a_pixel() -> None:
    where = prints((0, 0, 64), (0, 0, 30), (0, 0, 9), (0, 0, 100))
    grids = texels_for(where.quads, where.window, (64, 64))
    assert grids == [TexelGrid(0, 64, 64), TexelGrid(1, 30, 30), TexelGrid(2, 9, 9), TexelGrid(0, 64, 64)]
    narrow = replace(where, quads=where.quads * np.array([0.25, 1], np.float32)).pick(np.array([0]))
    assert texels_for(narrow.quads, narrow.window, (64, 64)) == [TexelGrid(0, 64, 16)], "each side by itself"


@pytest.mark.parametrize(("size", "halvings", "kept"), [(64, 1, 30), (25, 1, 7), (25, 0, 25), (48, 0, 40)])
def test_averages_are_by_area(size: int, halvings: int, kept: int) -> None:
    weights = areas(size, halvings, kept, kept, size)
    assert torch.allclose(weights.sum(1), torch.ones(kept), atol=1e-5)
    assert torch.allclose(weights.sum(0), torch.full((size,), kept / size), atol=1e-5), (
        "no texel counts more than another"
    )
    ramp = torch.arange(size).float()
    assert torch.allclose((weights @ ramp).diff(), torch.full((kept - 1,), size / kept), atol=0.5)
    twice = areas(size, halvings, kept, 2 * kept, 2 * size)
    assert torch.allclose(twice[kept:, size:], weights, atol=1e-6), "a repeat is averaged as the first"
    flat = averaged(torch.full((1, 4, size, size), 0.5), weights[None], weights[None])
    assert torch.allclose(flat, torch.full((1, 4, kept, kept), 0.5), atol=1e-4)


def test_a_mask_leaves_the_image() -> None:
    pattern = opaque((1, 1, 1))
    pattern[3, :, 8:] = 0
    out = paste(pattern, torch.zeros(1, 3, 32, 32), prints((8, 8, 16)))
    assert float(out[0, 0, 12, 10]) == 1
    assert float(out[0, 0, 12, 21]) == 0


def test_cloth_repeats_the_pattern_without_a_seam() -> None:
    pattern = torch.rand(4, 16, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
    pieces = cut(pattern, torch.tensor([[0, 0], [4, 8]]), (32, 32))
    assert torch.equal(pieces[0], pattern.repeat(1, 2, 2))
    assert torch.equal(pieces[1], pattern.roll((-8, -4), (1, 2)).repeat(1, 2, 2))
    (slope,) = torch.autograd.grad(pieces.sum(), pattern)
    assert torch.equal(slope, torch.full_like(slope, 8.0))


def test_nothing_is_drawn_beyond_a_prints_bounds() -> None:
    where = prints((4, 4, 20))
    where.bounds[0] = (6, -np.inf, np.inf, 15.5)
    out = paste(opaque((1, 1, 1)), torch.zeros(1, 3, 32, 32), where)[0, 0]
    assert float(out[4:16, 6:24].min()) > 0.999 and float(out.sum()) == pytest.approx(12 * 18, abs=0.01)


def test_where_three_prints_meet_each_covers_what_is_below_it() -> None:
    where = prints((2, 2, 10.5), (6, 6, 10.5), (9, 2, 10.5))
    pattern = torch.cat([torch.full((3, 8, 8), 0.8), torch.full((1, 8, 8), 0.5)])
    out = paste(pattern, torch.zeros(1, 3, 24, 24), where)[0, 0]
    assert float(out[4, 4]) == pytest.approx(0.4)
    assert float(out[7, 7]) == pytest.approx(0.6), "one half over another"
    assert float(out[8, 10]) == pytest.approx(0.7), "and over a third"
    assert float(out[12, 7]) == pytest.approx(0.5 * 0.8 + 0.5 * 0.5 * 0.4, abs=1e-3), "an edge is blended, not dropped"


def test_a_print_beyond_the_image_is_no_error() -> None:
    out = paste(opaque((1, 1, 1)), torch.zeros(1, 3, 16, 16), prints((-40, -40, 10), (10, 10, 30)))
    assert float(out[0, 0, 15, 15]) == 1
    assert float(out[0, 0, 0, 0]) == 0


def test_no_prints_leave_the_images() -> None:
    empty = prints()
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(paste(opaque((1, 1, 1)), images, empty), images)


def test_sleeves_run_from_shoulder_towards_elbow() -> None:
    points = np.zeros((1, 17, 3), np.float32)
    for joint, x, y in ((5, 60, 40), (6, 20, 40), (7, 70, 70), (8, 10, 70)):
        points[0, joint] = (x, y, 0.9)
    who, quads = sleeve_quads(points, np.array([True]))
    assert who.tolist() == [0, 0]
    assert quads[0, :2].mean(0).tolist() == [60, 40]
    assert quads[0, 2:].mean(0)[1] > 55


def folded(fold: tuple[float, float, float], *, folds: bool = True) -> torch.Tensor:
    """A print of 20 x 40 pixels at (10, 5), its lower half red and its upper half blue, folded so."""
    where = prints((0, 0, 1))
    where = replace(
        where, quads=np.array([[[10, 5], [30, 5], [30, 45], [10, 45]]], np.float32), folds=np.array([folds])
    )
    world = World.of(0)
    draw = world.sample(1, 1, torch.Generator())
    draw = replace(draw, geometry=replace(draw.geometry, fold=torch.tensor([fold])))
    pattern = torch.zeros(4, 40, 20)
    pattern[0, 20:], pattern[2, :20], pattern[3] = 1, 1, 1
    return world.apply(pattern, torch.zeros(1, 3, 60, 60), where, draw)[0]


def test_a_tall_print_is_folded_across_its_lower_part_shorter_and_aside() -> None:
    flat = folded((1, 1, 0))
    assert torch.equal(folded((0, 0.5, 0.3), folds=False), flat), "what ends above the hips is never folded"
    short = folded((0, 0.5, 0))
    assert torch.equal(short[2], flat[2]), "the upper half stays as it is"
    assert float(flat[0].sum()) == pytest.approx(400, abs=2) and float(short[0].sum()) == pytest.approx(200, abs=2)
    assert float(short[:, 34:36, 12:28].max()) > 0.9 and float(short[:, 36:].max()) == 0
    # Half a half width aside at the lower edge: the last row lies five pixels to the right, the first none.
    aside = folded((0, 1, 0.5))
    for row, shift in ((26, 0), (43, 5)):
        left = int(torch.nonzero(aside[0, row] > 0.5).min())
        assert abs(left - (10 + shift)) <= 1
    assert torch.equal(aside[2, :24], flat[2, :24])


def test_folds_change_nothing_else_that_is_drawn() -> None:
    def drawn(hinge: float) -> tuple[WorldDraw, torch.Tensor]:
        world, generator = World.of(1), torch.Generator().manual_seed(3)
        world = world.model_copy(update={"geometry": world.geometry.model_copy(update={"hinge": hinge})})
        return world.sample(200, 2, generator), torch.rand(1, generator=generator)

    (never, after), (half, later) = drawn(0), drawn(0.5)
    assert torch.equal(after, later) and torch.equal(never.light.gain, half.light.gain)
    assert torch.equal(never.geometry.shift, half.geometry.shift) and bool((never.geometry.fold[:, 0] == 1).all())
    hit = half.geometry.fold[:, 0] < 1
    assert 0.35 < float(hit.float().mean()) < 0.65
    assert float(half.geometry.fold[hit, 1].min()) >= 0.5 and float(half.geometry.fold[hit, 1].max()) < 1
