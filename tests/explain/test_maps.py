"""Maps of one person: that they show what the score comes from, and that what is no explanation is found out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from physadv.detect.matching import FOUND_CONF
from physadv.detect.pytorch import TorchDetector
from physadv.detect.weights import find_weights
from physadv.detect.yolo import PersonNet, load_net
from physadv.errors import BackendError
from physadv.explain.cells import CellGrid
from physadv.explain.evidence import evidence
from physadv.explain.faithful import auc, curves, ranked
from physadv.explain.occlusion import occlusion_map, passes
from physadv.explain.odam import Odam, eigen_map
from physadv.explain.random_weights import closeness, kept_by_random_weights, randomised
from physadv.explain.score import logit, person_scores
from physadv.simulate.placement import Placement, people_of
from physadv.types import Detections, Float32Array, Frame, UInt8Array
from tests.detect.test_families import build
from tests.detectors import FakeDetector

BOX = np.array([20, 10, 60, 90], np.float32)


class Spots(FakeDetector):
    """Sees the person in BOX by what is bright at (30, 30), and the less the brighter it is at (50, 70)."""

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        values = [float(i[26:34, 26:34].mean() - i[66:74, 46:54].mean()) / 255 for i in images]
        scores = [1 / (1 + np.exp(-4 * v)) for v in values]
        return [Detections(BOX[None], np.array([s], np.float32)) for s in scores]


@pytest.fixture
def spots() -> UInt8Array:
    image = np.full((100, 80, 3), 114, np.uint8)
    image[26:34, 26:34] = 255
    image[66:74, 46:54] = 255
    return image


def test_occlusion_is_positive_where_evidence_is_and_negative_where_it_speaks_against(spots: UInt8Array) -> None:
    heat = occlusion_map(Spots(), spots, BOX)
    assert heat[30, 30] > 0.2
    assert heat[70, 50] < -0.2
    assert abs(heat[85, 25]) < 0.05
    assert not heat[:, :10].any()


def test_a_map_of_somebody_who_stands_takes_a_hundred_passes() -> None:
    assert 80 < passes(np.zeros((500, 400, 3), np.uint8), np.array([100, 50, 250, 450], np.float32)) < 140


def test_scores_are_of_boxes_that_fit(spots: UInt8Array) -> None:
    assert person_scores(Spots(), [spots] * 9, BOX).shape == (9,)
    assert person_scores(Spots(), [spots], BOX + 60).tolist() == [0]
    assert logit(np.array([0.0], np.float32)) < -9


def test_deletion_tells_the_true_order_from_the_reverse(spots: UInt8Array) -> None:
    region = CellGrid.around(BOX, (80, 100))
    # Only what speaks for the person: the other spot removed would raise the score.
    spots[66:74, 46:54] = 114
    heat = occlusion_map(Spots(), spots, BOX)
    order = ranked(region, heat)
    whole = float(person_scores(Spots(), [spots], BOX)[0])
    (gone, back), (gone_last, back_last) = curves(Spots(), spots, BOX, region, [order, order[::-1].copy()])
    assert auc(gone, whole) < auc(gone_last, whole) - 0.1
    assert auc(back, whole) > auc(back_last, whole) + 0.1
    assert gone[0] == pytest.approx(whole) == back[-1]


def test_each_box_has_a_map_of_its_own(street: UInt8Array, yolo: TorchDetector, boxes: Float32Array) -> None:
    odam = Odam.of(yolo)
    found = odam.attribute(street, boxes[:2])
    answers = yolo.detect(Frame(street, 0, 0, 0.0)).above(FOUND_CONF)
    for box, one, score in zip(boxes, found, answers.score.tolist(), strict=False):
        assert one is not None
        assert one.logit == pytest.approx(float(logit(np.array([score], np.float32))[0]), abs=0.02)
        heat = odam.summed(one, street)
        y, x = np.unravel_index(int(heat.argmax()), heat.shape)
        assert box[0] <= x <= box[2]
        assert box[1] <= y <= box[3]
    assert odam.attribute(street, np.array([[0, 0, 9, 9]], np.float32)) == [None]


def test_the_map_costs_less_than_the_network_before_it() -> None:
    """No gradient is kept for the layers before P3: their outputs leave no graph."""
    net = load_net(find_weights())
    seen: dict[int, bool] = {}
    odam = Odam(net, imgsz=64)

    class Watched(PersonNet):
        def features(self, images: torch.Tensor, *, visit: object = None) -> list[torch.Tensor]:
            def both(number: int, x: torch.Tensor) -> torch.Tensor:
                seen[number] = x.requires_grad
                return visit(number, x)  # type: ignore[operator]

            return super().features(images, visit=both)

    net.__class__ = Watched
    odam.attribute(np.zeros((64, 64, 3), np.uint8), BOX[None], candidates=[3])
    first = net.levels[0]
    assert not any(seen[number] for number in range(first + 1))
    assert seen[first + 1]


@pytest.mark.parametrize("family", ["yolov8n", "yolov10n", "yolo12n", "yolo26n"])
def test_every_family_is_explained(family: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    image = np.asarray(cv2.GaussianBlur(noise, (0, 0), 3), np.uint8)
    net = load_net(find_weights(str(build(family, tmp_path / f"{family}.pt", image))))
    one = Odam(net, imgsz=96).attribute(image, BOX[None], candidates=[5])[0]
    assert one is not None
    assert tuple(one.maps) == net.levels
    assert one.maps[net.levels[0]].max() > 0


def test_what_has_no_gradients_says_so() -> None:
    with pytest.raises(BackendError, match="fake gives no gradients"):
        Odam.of(Spots())


def test_a_map_that_is_only_edges_is_refused_and_odam_is_not(
    street: UInt8Array, yolo: TorchDetector, boxes: Float32Array
) -> None:
    box = boxes[0]
    region = CellGrid.around(box, street.shape[1::-1])
    found = Odam.of(yolo).attribute(street, box[None])[0]
    assert found is not None
    number = found.candidate

    def odam(net: PersonNet) -> Float32Array:
        by = Odam(net, imgsz=160)
        one = by.attribute(street, box[None], candidates=[number])[0]
        assert one is not None
        return by.summed(one, street)

    def edges(_: PersonNet) -> Float32Array:
        grey = cv2.cvtColor(street, cv2.COLOR_RGB2GRAY).astype(np.float32)
        return np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))

    before = yolo.fingerprint()
    assert kept_by_random_weights(yolo.net, edges, region, box).refused
    assert kept_by_random_weights(yolo.net, lambda _: closeness(street.shape, box), region, box).refused
    kept = kept_by_random_weights(yolo.net, odam, region, box)
    assert not kept.refused
    assert kept.all < 0.8
    assert yolo.fingerprint() == before


def test_random_weights_begin_where_they_should(yolo: TorchDetector) -> None:
    def same(first: int) -> list[bool]:
        other = randomised(yolo.net, first, 0)
        return [
            all(torch.equal(a, b) for a, b in zip(mine.parameters(), theirs.parameters(), strict=True))
            for mine, theirs in zip(yolo.net.model.model, other.model.model, strict=True)  # type: ignore[arg-type]
        ]

    assert not same(len(yolo.net.layers))[-1]
    assert all(same(len(yolo.net.layers))[:-1])
    assert not same(0)[0]


def test_eigen_maps_do_not_depend_on_the_person() -> None:
    channels = torch.zeros(1, 3, 4, 5)
    channels[0, :, 1, 2] = torch.tensor([3.0, -2.0, 1.0])
    heat = eigen_map(channels)
    assert heat.shape == (4, 5)
    assert heat.argmax() == 7
    assert heat.min() == 0


def test_evidence_is_at_the_print_where_the_print_is_everything(
    street: UInt8Array, yolo: TorchDetector, boxes: Float32Array
) -> None:
    x0, y0, x1, y1 = boxes[0].astype(int).tolist()
    gone = street.copy()
    gone[y0:y1, x0:x1] = 114
    prints = Placement("poster", scale=0.4).prints(people_of(boxes[:1]))
    everywhere = replace(prints, quads=np.array([[[0, 0], [999, 0], [999, 999], [0, 999]]], np.float32))
    whole = evidence(Odam.of(yolo), street, gone, boxes[:1], everywhere)[0]
    assert whole.grey > whole.pattern + 1
    assert whole.at_print == pytest.approx(1, abs=1e-3)
    assert whole.from_body == pytest.approx(0, abs=1e-3)
    # An image that says nothing anywhere brings nobody back.
    assert whole.negative is not None
    assert whole.negative < 0.1
    nothing = evidence(Odam.of(yolo), street, street, boxes[:1], everywhere)[0]
    assert nothing.at_print is None
