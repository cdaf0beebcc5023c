"""A running demo whose page is asked without a browser."""

from collections.abc import Iterator

import pytest

from physadv.live.demo import Demo
from tests.live.scene import Camera, demo, until


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    out = demo(Camera(fps=20), ui="web", recordings=tmp_path_factory.mktemp("recordings"))
    out.start()
    until(lambda: out.latest is not None)
    yield out
    out.stop()
