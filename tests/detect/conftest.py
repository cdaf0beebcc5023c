import cv2
import numpy as np
import pytest

from physadv.types import UInt8Array


@pytest.fixture(scope="session")
def blurred() -> UInt8Array:
    """A smooth random image, wider than high and no multiple of 32."""
    noise = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    return np.asarray(cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), noise, 0, 255, cv2.NORM_MINMAX), np.uint8)
