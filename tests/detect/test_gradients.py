"""Images as large as a network can halve them: P6 models take multiples of 64 pixels alone."""

import numpy as np
import torch
from tiny import tiny_detector, tiny_gradient

from physadv.attack.crops import PlacementRange
from physadv.attack.preview import contact_sheet
from physadv.attack.timing import made_up
from physadv.defend import parse_pipeline
from physadv.detect.gradients import imgsz_for
from physadv.evaluate.adaptive import gradient_share, unbounded
from physadv.patch import Patch
from physadv.simulate.world import World
from physadv.types import Candidates
from tests.detectors import FakeGradient


class Strict(FakeGradient):
    """A detector of stride 64."""

    name, stride = "strict", 64

    def candidates(self, images: torch.Tensor) -> Candidates:
        """Return what a tiny detector finds."""
        assert not any(side % 64 for side in images.shape[2:])
        return tiny_gradient().candidates(images)


def test_a_side_is_rounded_up_to_what_all_take() -> None:
    assert parse_pipeline("flip,noise").twin(Strict()).stride == 64
    assert [imgsz_for(s, tiny_gradient()) for s in (224, 225)] == [224, 256]
    assert [imgsz_for(s, tiny_gradient(), Strict()) for s in (224, 256)] == [256, 256]


def test_sheets_and_checks_of_attacks_keep_to_the_stride() -> None:
    person = made_up(1)[0]
    grey = Patch("p", np.full((32, 32, 3), 128, np.uint8), np.full((32, 32), 255, np.uint8), (360.0, 360.0))
    sheet = contact_sheet(
        grey,
        [person],
        world=World.of(0),
        framing="street",
        placements=PlacementRange(),
        columns=2,
        rows=1,
        size=96,
        detector=Strict(),
    )
    assert sheet.shape[1] == 2 * (128 + 4)
    twin = parse_pipeline("rotate").twin(Strict())
    assert gradient_share(person, twin, 96) > 0
    assert 0 <= unbounded([person], twin, tiny_detector(imgsz=128), 96) <= 1
