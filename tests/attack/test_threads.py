"""A batch in pieces side by side: the same step as in one, the same bytes every time, and only for those who may."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import tiny_gradient

from physadv.attack.gradients import Batches, batch_gradient
from physadv.attack.parallel import ThreadPool
from physadv.attack.recipe import Recipe
from physadv.attack.run import TrainData, TrainRun
from physadv.dataset import LabelledImage
from physadv.defend import parse_pipeline
from tests.attack.running import ran


def stepped(people: list[LabelledImage], settings: Recipe, size: int) -> tuple[float, torch.Tensor]:
    """Return the loss of the first batch and its gradient, by a pool of that size."""
    run = TrainRun(settings, TrainData(people, [tiny_gradient()]), threads=ThreadPool(size))
    loss, _, gradients = batch_gradient(run, Batches(settings, run.data))
    return loss, gradients[-1]


@pytest.mark.parametrize("size", [2, 3, 7])
def test_pieces_add_up_to_the_whole(people: list[LabelledImage], small: Recipe, size: int) -> None:
    settings = small.model_copy(update={"batch": 5})
    alone, together = stepped(people, settings, 1), stepped(people, settings, size)
    assert together[0] == pytest.approx(alone[0], rel=1e-5)
    torch.testing.assert_close(together[1], alone[1], rtol=1e-3, atol=float(alone[1].abs().max()) * 1e-4)


def test_pieces_of_cloth_nearly_add_up(people: list[LabelledImage], small: Recipe) -> None:
    """Windows into a texture are drawn as finely as the largest of their piece needs, so they differ a little."""
    settings = small.model_copy(update={"batch": 5, "target": "tshirt"})
    alone, together = stepped(people, settings, 1), stepped(people, settings, 2)
    assert together[0] == pytest.approx(alone[0], rel=0.03)
    assert float(torch.cosine_similarity(together[1].flatten(), alone[1].flatten(), dim=0)) > 0.9


def test_who_is_first_changes_nothing(people: list[LabelledImage], small: Recipe) -> None:
    patches = [ran(small, TrainData(people, [tiny_gradient()]), threads=ThreadPool(3)).patch() for _ in range(2)]
    assert np.array_equal(patches[0].pixels, patches[1].pixels)


def test_each_works_on_one_thread_and_the_caller_keeps_its_own() -> None:
    before = torch.get_num_threads()
    assert set(ThreadPool(2).map(lambda _: torch.get_num_threads(), range(4))) == {1}
    assert torch.get_num_threads() == before


def test_a_failure_in_a_piece_is_reported() -> None:
    def fail(_: int) -> None:
        raise ValueError("piece")

    with pytest.raises(ValueError, match="piece"):
        ThreadPool(2).map(fail, range(2))


def test_a_twin_that_draws_at_random_is_asked_by_one_thread() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert ThreadPool.for_detectors([tiny_gradient()]).size == 2
        assert ThreadPool.for_detectors([parse_pipeline("noise").twin(tiny_gradient())]).size == 1
        assert ThreadPool.for_detectors([tiny_gradient(), parse_pipeline("lgs").twin(tiny_gradient())]).size == 1
    finally:
        torch.set_num_threads(threads)
