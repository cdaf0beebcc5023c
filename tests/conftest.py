"""Fixtures that every test folder uses."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

import physadv  # noqa: F401 -- before torch: says how its threads wait

# A change is judged by the same examples each time; PHYSADV_FUZZ tries others.
settings.register_profile("same", derandomize=True)
settings.register_profile("others", max_examples=1000)
settings.load_profile("others" if "PHYSADV_FUZZ" in os.environ else "same")
# Two cores are shared by everything a test starts; set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("YOLO_VERBOSE", "false")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of photographs, videos and published patches beside the repository."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip(f"LOUD SKIP: {folder} is not here, so nothing is checked on its photographs and videos")
    return folder


@pytest.fixture(scope="session")
def bus() -> Path:
    """Ultralytics' own photograph of four people and a bus."""
    import ultralytics

    return Path(ultralytics.__file__).parent / "assets" / "bus.jpg"
