"""Hardening, batch by batch: who wears what, what moves the patterns, and what a network is judged by."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from physadv.patch import Patch
from physadv.simulate.placement import Placement
from physadv.tune.harden.bank import FAMILIES, patterns, photographs_of
from physadv.tune.harden.methods import Attack, Classes, attack_of
from physadv.tune.harden.moving import MovingNoise, MovingPatterns
from physadv.tune.harden.run import with_patch_class
from physadv.tune.harden.settings import HardenSettings
from physadv.tune.harden.validation import Validation
from physadv.tune.harden.worn import BatchPeople, WornSettings, dress
from tests.tune.conftest import tiny_network
from tests.tune.people import SIDE, batch_of, people_image

FLAT = WornSettings(worn=1, elsewhere=0, world=0, print_scale=(0.4, 0.4))
IMAGES = [people_image(f"{i}.png", i) for i in range(4)]
RED = torch.tensor([1.0, 0.0, 0.0, 1.0])[:, None, None].expand(4, 8, 8)


def ready_network(seed: int = 0) -> Any:
    """A tiny pose network, ready to give its loss."""
    from ultralytics.cfg import get_cfg

    network = tiny_network(seed=seed)
    network.args = get_cfg()
    return network


def attack(method: str, network: nn.Module | None = None, **more: Any) -> Attack:
    settings = HardenSettings.model_validate(
        {"method": method, "images": "none", "bank": 12, "moving": 4, "worn": 1.0, **more}
    )
    patches = [(RED, Placement("chest", "area", 0.4))]
    out = attack_of(settings, Classes(0), 3, photographs=photographs_of(IMAGES), patches=patches)
    if network is not None:
        out.network = network
    return out


def test_every_family_makes_patterns_of_both_shapes() -> None:
    photographs = photographs_of(IMAGES)
    for _, make in FAMILIES.values():
        made = [make(np.random.default_rng(seed), photographs) for seed in range(6)]
        assert all(pattern.shape == (64, 64, 3) and pattern.dtype == np.uint8 for pattern in made)
        assert len({pattern.tobytes() for pattern in made}) > 1
    made = patterns(60, photographs, np.random.default_rng(0))
    assert {p.shape for p in made} == {(64, 64, 3), (64, 32, 3)}
    again = patterns(60, photographs, np.random.default_rng(0))
    assert all((a == b).all() for a, b in zip(made, again, strict=True))


def test_patterns_lie_on_the_people_and_nowhere_else() -> None:
    batch = batch_of(IMAGES)
    people = BatchPeople.of(batch, 0)
    assert people.boxes == pytest.approx(np.concatenate([i.boxes for i in IMAGES]), abs=1e-3)
    worn = dress(people, (4, SIDE, SIDE), [Placement("chest", "area", 1.0)], FLAT, np.random.default_rng(0))
    changed = (worn.apply(batch["img"], [RED]) != batch["img"]).any(1).numpy()
    for image, mask in zip(IMAGES, changed, strict=True):
        outside = np.ones((SIDE, SIDE), bool)
        for x1, y1, x2, y2 in image.boxes.astype(int):
            print_area = mask[y1:y2, x1:x2].mean()
            # .4 of the box's root area a side; a neighbour's print may add to it.
            assert 0.13 < print_area < 0.35
            outside[y1:y2, x1:x2] = False
        assert not mask[outside].any()


def test_some_images_stay_clean_and_some_have_a_pattern_beside_the_people() -> None:
    images = [people_image(f"{i}.png", i, people=1) for i in range(20)]
    batch = batch_of(images)
    settings = FLAT.model_copy(update={"worn": 0.5, "elsewhere": 1.0})
    placements = [Placement("chest", "area", 1.0)] * 3
    worn = dress(BatchPeople.of(batch, 0), (20, SIDE, SIDE), placements, settings, np.random.default_rng(1))
    changed = (worn.apply(batch["img"], [RED] * 3) != batch["img"]).any(1).numpy()
    touched = changed.any((1, 2))
    assert 4 <= touched.sum() <= 16
    owner, boxes = worn.boxes((SIDE, SIDE))
    assert set(owner.tolist()) == set(np.flatnonzero(touched).tolist())
    assert len(boxes) > len(set(owner.tolist()))
    outside = changed.copy()
    for image, mask in zip(images, outside, strict=True):
        x1, y1, x2, y2 = image.boxes[0].astype(int)
        mask[y1:y2, x1:x2] = False
    assert outside.any()


def test_gradients_of_one_backward_pass_reach_the_network_and_the_patterns() -> None:
    network = ready_network()
    free = attack("free", network, renewed=0.0)
    batch = batch_of(IMAGES)
    before = [leaf.detach().clone() for leaf in free._moving.leaves]  # type: ignore[attr-defined]
    loss = network(free.attacked(batch))[0].sum()
    loss.backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    free.stepped()
    after = free._moving.leaves  # type: ignore[attr-defined]
    assert free.passes == free.step == 1 and free.replays == 4
    moved = [(a.detach() - b).abs().max() for a, b in zip(after, before, strict=True)]
    assert max(moved) == pytest.approx(free.settings.step, abs=1e-5)


class RedDislike(nn.Module):
    """A loss that grows with what is red and falls with what is green."""

    def forward(self, batch: dict[str, Any]) -> tuple[torch.Tensor]:
        red, green, _ = batch["img"].mean((0, 2, 3))
        return (red - green,)


@pytest.mark.parametrize(("method", "batches", "passes"), [("free", 20, 20), ("pgd", 1, 21)])
def test_moved_patterns_climb_the_loss_and_those_of_free_are_kept_between_batches(
    method: str, batches: int, passes: int
) -> None:
    moved = attack(method, RedDislike(), renewed=0.0, world=0.0, attack_steps=20, step=0.05)
    for _ in range(batches):
        shown = moved.attacked(batch_of(IMAGES))
        if shown["img"].requires_grad:
            RedDislike()(shown)[0].backward()
        moved.stepped()
    patterns = torch.stack([leaf.mean((1, 2)) for leaf in moved._moving.leaves]).detach()  # type: ignore[attr-defined]
    assert (patterns[:, 0] > 0.95).all() and (patterns[:, 1] < 0.05).all()
    assert moved.passes == passes


def test_pgd_spends_passes_of_its_own_and_leaves_the_gradients_of_the_network_alone() -> None:
    network = ready_network()
    pgd = attack("pgd", network, attack_steps=3)
    shown = pgd.attacked(batch_of(IMAGES))
    assert not shown["img"].requires_grad
    assert all(p.grad is None for p in network.parameters())
    pgd.stepped()
    assert (pgd.step, pgd.passes) == (1, 4)


def test_natural_training_changes_nothing_and_a_fixed_set_is_worn() -> None:
    batch = batch_of(IMAGES)
    assert attack("natural").attacked(batch)["img"] is batch["img"]
    shown = attack("patches", world=0.0).attacked(batch)["img"]
    red = (shown - RED[:3, 0, 0][:, None, None]).abs().amax(1) < 1e-5
    assert red.flatten(1).any(1).all()


def test_all_chance_comes_from_seed_and_step_so_that_a_resumed_training_goes_on_alike() -> None:
    network, batch = ready_network(), batch_of(IMAGES)
    one, other = attack("free", network, noise=0.02), attack("free", network, noise=0.02)
    for _ in range(2):
        network(one.attacked(batch))[0].sum().backward()
        one.stepped()
    other.restore(one.state())
    with torch.no_grad():
        assert torch.equal(one.attacked(batch)["img"], other.attacked(batch)["img"])
        pods = [attack("pod"), attack("pod")]
        assert torch.equal(pods[0].attacked(batch)["img"], pods[1].attacked(batch)["img"])
        pods[0].stepped()
        assert not torch.equal(pods[0].attacked(batch)["img"], pods[1].attacked(batch)["img"])


def test_what_is_worn_gets_a_class_of_its_own_where_asked() -> None:
    settings = HardenSettings(images=Path("none"), out=Path("none"), method="pod", bank=6, worn=1, patch_class=True)
    pod = attack_of(settings, Classes(0, patch=1), 0, photographs=photographs_of(IMAGES))
    batch = batch_of(IMAGES)
    shown = pod.attacked(batch)
    patches = shown["cls"][:, 0] == 1
    assert torch.equal(shown["bboxes"][~patches], batch["bboxes"])
    assert patches.sum() >= len(batch["cls"])
    assert (shown["batch_idx"].diff() >= 0).all()
    assert shown["keypoints"].shape == (len(shown["cls"]), 17, 3)
    network = ready_network()
    with_patch_class(network)
    assert torch.isfinite(network(shown)[0]).all()


def test_noise_stays_within_its_bound_and_is_kept_for_smaller_and_larger_batches() -> None:
    noise = MovingNoise(0.1)
    images = torch.full((3, 3, 4, 4), 0.5)
    noise.apply(images).sum().backward()  # type: ignore[no-untyped-call]
    noise.move()
    assert noise.values is not None and torch.allclose(noise.values, torch.tensor(0.1))
    noise.apply(images[:2]).neg().sum().backward()  # type: ignore[no-untyped-call]
    noise.move()
    assert torch.allclose(noise.values[:2], torch.tensor(0.0), atol=1e-6)
    assert torch.allclose(noise.values[2], torch.tensor(0.1))
    assert noise.apply(torch.ones(4, 3, 4, 4)).amax() == 1


def test_a_pattern_that_no_gradient_reached_or_an_overflow_did_stays() -> None:
    moving = MovingPatterns([torch.full((3, 2, 2), 0.5)] * 3, 0.1)
    moving.leaves[0].grad = torch.full((3, 2, 2), float("nan"))
    moving.leaves[1].grad = torch.full((3, 2, 2), 7.0)
    moving.move()
    assert [float(s.mean()) for s in moving.state()] == pytest.approx([0.5, 0.6, 0.5])


def test_held_out_people_are_judged_clean_and_under_patterns_without_a_trace_in_the_network() -> None:
    network = ready_network()
    norm = next(m for m in network.modules() if isinstance(m, nn.BatchNorm2d))
    network.train()
    norm.eval()
    held = norm.running_mean.clone() if norm.running_mean is not None else torch.zeros(1)
    patch = Patch("red", np.full((8, 8, 3), (255, 0, 0), np.uint8), np.full((8, 8), 255, np.uint8), (360.0, 360.0))
    validation = Validation(IMAGES, [patch], imgsz=96, seed=0)
    found = validation.measure(network, 0)
    assert found.clean_loss > 0 and found.attacked_loss is not None and found.attacked_loss != found.clean_loss
    assert found.clean_ap50 is not None and found.attacked_ap50 == found.by_pattern["red"]
    assert not norm.training and network.training
    assert norm.running_mean is not None and torch.equal(norm.running_mean, held)


def test_the_figures_of_held_out_people_are_those_of_a_detector_with_these_weights() -> None:
    from physadv.detect.network import weights_hash
    from physadv.detect.pytorch import TorchDetector
    from physadv.detect.weights import Weights
    from physadv.detect.yolo import PersonNet
    from physadv.evaluate.metrics import ap50
    from physadv.types import Frame

    network = ready_network(1).eval()
    found = Validation(IMAGES, [], imgsz=96, seed=0).measure(network, 0)
    net = PersonNet(network, 0, name="tiny")
    weights = Weights("tiny", Path("tiny.pt"), weights_hash(net))
    detector = TorchDetector(net, weights, imgsz=96, min_conf=0.001)
    answers = [detector.detect(Frame(image.pixels, 0, 0, 0.0)) for image in IMAGES]
    assert found.clean_ap50 == pytest.approx(ap50(IMAGES, answers))
    assert found.attacked_loss is None and found.attacked_ap50 is None
