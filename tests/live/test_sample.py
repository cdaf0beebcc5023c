"""The built-in sample with what is recommended for each of its scenes: most wearers are hidden, by prints within them."""

import numpy as np

from physadv.capture.sample import SCENE_S, SCENES, SampleSource
from physadv.detect import load_detector
from physadv.live.overlay import Overlay
from physadv.live.recommend import recommended
from physadv.live.wearers import Hiding, judged
from physadv.patch import load_patch, shipped_names
from physadv.types import Frame

MOMENTS = (1.0, 3.0, 5.0, 7.0)


def test_what_is_recommended_hides_most_wearers_in_most_moments() -> None:
    source, detector = SampleSource(), load_detector(backend="torch", imgsz=640)
    patches = [load_patch(name) for name in shipped_names()]
    hidden, framings = [], []
    for number in range(len(SCENES)):
        most, best = 0, None
        for moment in MOMENTS:
            at = number * SCENE_S + moment
            frame = Frame(source.image(round(at * source.fps)), 0, 0, at)
            clean = detector.detect(frame)
            best = recommended(clean, frame.size, detector.imgsz, patches)
            assert best is not None
            worn = Overlay(load_patch(best.name), size_cm=best.width_cm)
            pixels = worn.apply(frame.pixels, clean, at_s=at)
            changed = (pixels != frame.pixels).any(2)
            for x1, y1, x2, y2 in np.concatenate([np.floor(worn.on[:, :2]), np.ceil(worn.on[:, 2:])], 1).astype(int):
                changed[y1:y2, x1:x2] = False
            assert not changed.any(), "beyond its wearer"
            answer = detector.detect(frame.with_pixels(pixels))
            states = Hiding.of(judged(worn.on, worn.found, answer, 0.25))
            assert states.count >= 2 or number < 2
            most += 2 * states.hidden > states.count
        hidden.append(most)
        assert best is not None
        framings.append(load_patch(best.name).framing)
    # Clothes made for the street hide people who are seen from head to foot, near the camera too.
    assert framings == ["street", "webcam", "street"]
    assert sum(hidden) > 0.8 * len(SCENES) * len(MOMENTS), hidden
