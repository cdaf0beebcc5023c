"""What a recorded window says of the person in it."""

from pathlib import Path

import numpy as np

from physadv.live.recorder import Recorder
from physadv.live.sidecar import read_lines
from physadv.trial.scores import answers_in
from physadv.types import Detections, Frame


def test_a_head_at_the_lower_border_shows_no_chest(tmp_path: Path) -> None:
    video = tmp_path / "w.mp4"
    pixels = np.zeros((240, 320, 3), np.uint8)
    recorder = Recorder(video)
    # Alike but for where they are: in the middle something hides the rest, at the border the image ends.
    for index, top in enumerate((40, 140)):
        box = np.array([[100, top, 260, top + 100]], np.float32)
        recorder.write(
            Frame(pixels, index, 0, index / 10), pixels, Detections(box, np.ones(1, np.float32)), {}, wait=True
        )
    recorder.close()
    assert len(list(read_lines(tmp_path / "w.jsonl"))) == 2
    shown = [bool(chests[0]) for chests in answers_in(video).chests]
    assert shown == [True, False]
