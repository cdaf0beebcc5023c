"""Clean images whose people wear patterns made by chance: shown by who suspects that a print is the trigger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from physadv.arrays import to_tensor
from physadv.dataset import LabelledImage
from physadv.tune.harden.bank import patterns, photographs_of
from physadv.tune.harden.methods import placement_of
from physadv.tune.harden.worn import BatchPeople, WornSettings, dress
from physadv.tune.hook import Hook

# Patterns to draw from: no two batches of a cleansing show the same.
BANK = 256


class PrintsWorn(Hook):
    """Lets the people in a share of the images of each batch wear patterns of hardening's bank; their labels stay.

    The bank is made of noise, blocks, pieces of the clean photographs and textures, without a look at any trigger. They are
    worn in sizes and at places drawn by chance, turned and tilted by the simulated world.

    images: clean ones, from which pieces are cut. person: the class of the labels.
    """

    def __init__(self, images: Sequence[LabelledImage], *, share: float, person: int, seed: int) -> None:
        self._settings, self._person = WornSettings(worn=share), person
        made = patterns(BANK, photographs_of(images), np.random.default_rng([seed, BANK])) if share else []
        colours = [to_tensor(pattern) for pattern in made]
        self._texels = [torch.cat([colour, torch.ones_like(colour[:1])]) for colour in colours]
        self._placements = [placement_of(colour) for colour in colours]

    def batch(self, model: nn.Module, batch: dict[str, Any]) -> None:
        """Put patterns on people; drawn from torch's own generator, which the trainer seeds for each epoch."""
        del model
        if not self._texels:
            return
        rng = np.random.default_rng(int(torch.randint(2**31, ())))
        count, _, height, width = batch["img"].shape
        chosen = rng.choice(len(self._texels), min(count, len(self._texels)), replace=False).tolist()
        people = BatchPeople.of(batch, self._person)
        worn = dress(people, (count, height, width), [self._placements[i] for i in chosen], self._settings, rng)
        with torch.no_grad():
            batch["img"] = worn.apply(batch["img"], [self._texels[i].to(batch["img"]) for i in chosen])
