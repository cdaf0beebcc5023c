"""Fixtures that every test folder uses, and what the processes share that run the suite together (`pytest -n 2`)."""

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

import physadv  # noqa: F401 -- before torch: says how its threads wait
from tests.turns import Turns

# A change is judged by the same examples each time; PHYSADV_FUZZ tries others.
settings.register_profile("same", derandomize=True)
settings.register_profile("others", max_examples=1000)
settings.load_profile("others" if "PHYSADV_FUZZ" in os.environ else "same")
# Two cores are shared by everything a test starts, and by all processes of the suite; set before torch is imported.
PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
os.environ.setdefault("OMP_NUM_THREADS", "2" if PROCESSES == 1 else "1")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("YOLO_VERBOSE", "false")

ROOT = Path(__file__).parent.parent


def _common_folder() -> Path:
    """Return a folder for all processes of this run: the first one makes and removes it, the others inherit its name."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        folder = tempfile.mkdtemp(prefix="physadv-tests-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["PHYSADV_TESTS"] = folder
    return Path(os.environ["PHYSADV_TESTS"])


# Some tests press Ctrl-C, which a suite run in the background would ignore.
signal.signal(signal.SIGINT, signal.default_int_handler)

COMMON = _common_folder()
# What tests find or export once never comes from the user's cache: people found by another number of threads differ in
# their last digits. Nor does it go there.
os.environ["PHYSADV_CACHE"] = str(COMMON / "cache")
TURNS = Turns(COMMON)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """Run a test beside those of other processes, or alone where it measures time or drives Chromium."""
    TURNS.enter(alone=_alone(item))
    try:
        return (yield)
    finally:
        if not (_alone(item) and nextitem is not None and _alone(nextitem)):
            TURNS.leave()


def _alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None or "browser" in getattr(item, "fixturenames", ())


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
