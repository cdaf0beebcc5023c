"""Channels of a layer and what is left of a person: places, projections, changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from physadv.detect.pytorch import TorchDetector
from physadv.errors import SettingsError
from physadv.evaluate.steps import finish
from physadv.explain.channels import PATCHES, SIDE, check_layer, layer_view
from physadv.explain.outline import CHANGES, changed, texture_or_outline
from physadv.simulate.placement import people_of
from physadv.types import Float32Array, UInt8Array


def test_a_channel_shows_its_strongest_places_with_their_pixels(
    street: UInt8Array, yolo: TorchDetector, boxes: Float32Array
) -> None:
    hooks = sum(len(m._forward_hooks) for m in yolo.net.modules())
    view = finish(layer_view(yolo.net, 4, street, boxes[0], [street[:, ::-1].copy()], imgsz=160))
    assert (view.layer, view.kind, view.images) == (4, "C3k2", 2)
    adds = [channel.adds for channel in view.channels]
    assert adds == sorted(adds, reverse=True)
    for channel in view.channels:
        values = [patch.value for patch in channel.patches]
        assert 0 < len(values) <= PATCHES
        assert values == sorted(values, reverse=True)
        assert max(values) >= channel.heat.max() - 1e-5
        # Of either image, though one is the other's mirror image.
        assert {patch.image for patch in channel.patches} == {0, 1}
        assert all(patch.pixels.shape == patch.projection.shape == (SIDE, SIDE, 3) for patch in channel.patches)
        # The projection is about this place: grey at the window's rim, not in its middle.
        middle, rim = (np.abs(channel.patches[0].projection.astype(int) - 127) for _ in range(2))
        assert middle[SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4].mean() > rim[:4].mean()
    assert sum(len(m._forward_hooks) for m in yolo.net.modules()) == hooks


def test_a_layer_that_is_not_there_is_named(yolo: TorchDetector) -> None:
    for layer in (-1, 23):
        with pytest.raises(
            SettingsError, match=f"layer: expected 0 to 22, .*, got {layer}; the head is given 16, 19, 22"
        ):
            check_layer(yolo.net, layer)


def test_changes_leave_what_they_say(street: UInt8Array, boxes: Float32Array) -> None:
    people = people_of(boxes[:1])
    views = {change: changed(street, people, change, np.random.default_rng(0)) for change in CHANGES}
    x0, y0, x1, y1 = boxes[0].astype(int).tolist()
    inside = np.s_[y0 + 4 : y1 - 4, x0 + 4 : x1 - 4]
    assert np.array_equal(views["none"], street)
    # Shuffled: the same colours in other places, and nothing else touched.
    assert abs(views["shuffled"][inside].astype(float).mean() - street[inside].mean()) < 4
    assert (views["shuffled"][inside] != street[inside]).mean() > 0.5
    assert np.array_equal(views["shuffled"][:, x1 + 2 :], street[:, x1 + 2 :])
    # Filled: one colour in the middle of the body.
    x, y = (x0 + x1) // 2, (y0 + y1) // 2
    assert views["silhouette"][y - 5 : y + 5, x - 3 : x + 3].std(axis=(0, 1)).max() < 2
    assert set(np.unique(views["edges"])) == {0, 255}


def test_only_people_found_as_they_are_count(street: UInt8Array, yolo: TorchDetector, boxes: Float32Array) -> None:
    nobody = np.array([[0, 0, 12, 12]], np.float32)
    people = people_of(np.concatenate([boxes[:1], nobody]))
    kept = {one.change: one for one in finish(texture_or_outline(yolo, [(street, people)], seed=0))}
    assert len(kept["none"].scores) == 1
    assert kept["none"].recall == 1
    assert max(kept["shuffled"].scores) < max(kept["none"].scores)
    assert torch.is_grad_enabled()
