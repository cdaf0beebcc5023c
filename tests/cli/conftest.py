"""People for commands that train and score: a labelled data set of the built-in sample."""

import pytest

from physadv.arrays import write_png
from physadv.capture.sample import SampleSource
from physadv.capture.settings import CaptureSettings
from physadv.detect import load_detector
from physadv.types import Frame


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A labelled data set of four images of the built-in sample, as options: two with people near, two of a street."""
    folder = tmp_path_factory.mktemp("people")
    detector, camera = load_detector(backend="torch", imgsz=320), SampleSource(CaptureSettings())
    for name in ("images", "labels"):
        (folder / name).mkdir()
    for number in (0, 300, 500, 600):
        pixels = camera.image(number)
        write_png(folder / "images" / f"{number}.png", pixels)
        boxes = detector.detect(Frame(pixels, 0, 0, 0.0)).above(0.4).xyxy / (640, 480, 640, 480)
        rows = [f"0 {(a + c) / 2:.6f} {(b + d) / 2:.6f} {c - a:.6f} {d - b:.6f}" for a, b, c, d in boxes]
        (folder / "labels" / f"{number}.txt").write_text("\n".join(rows))
    return ["--images", str(folder / "images"), "--labels", str(folder / "labels")]
