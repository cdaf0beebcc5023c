"""What the page says of its picture: of the wearers where a pattern is worn, of everybody else where none is."""

import numpy as np
import pytest

from physadv.detect.tiny import BlobDetector
from physadv.types import Detections, UInt8Array
from tests.browser.stand import Stand, eventually

pytestmark = pytest.mark.browser


class Windows(BlobDetector):
    """Finds whom no pattern cuts in two, and always a window beside them."""

    def _people(self, image: UInt8Array) -> Detections:
        found = super()._people(image)
        whole = found.pick(found.xyxy[:, 3] - found.xyxy[:, 1] > 150)
        boxes = np.concatenate([whole.xyxy, [[250, 10, 300, 60]]]).astype(np.float32)
        return Detections(boxes, np.append(whole.score, 0.3).astype(np.float32))


def test_the_headline_is_about_the_wearer(stand: Stand) -> None:
    page = stand.page
    assert "1 person · best" in page.text_content("#main-says")
    assert stand.demo._vision is not None
    stand.demo._vision.detector = Windows()
    page.check("#patches input[value='checkers']", force=True)
    eventually(page, "() => document.getElementById('main-says').textContent === 'wearer hidden (best 0.00)'")
    eventually(page, "() => { const { points } = window.physadv.chart; return points[points.length - 1].top === 0; }")
    assert "Wearers" in page.text_content("#chart-title")
    page.check("#patches input[value='']", force=True)
    eventually(page, "() => document.getElementById('main-says').textContent.startsWith('2 people')")
