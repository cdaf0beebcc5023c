"""People made of noise, and a tiny net to hide them from."""

import pytest

from physadv.attack.recipe import Recipe
from physadv.attack.timing import made_up
from physadv.dataset import LabelledImage


@pytest.fixture
def people() -> list[LabelledImage]:
    return made_up(6)


@pytest.fixture
def small() -> Recipe:
    """Settings of a run that takes a second."""
    return Recipe(
        steps=8, batch=4, crops=(64, 96), texels=16, score_every=4, checkpoint_every=2, lr=0.05, seed=3, ema=0.5
    )
