"""The same tasks on a local Ray: a worker that is killed changes nothing, and no process of Ray is left."""

import gc
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from physadv.cli import main
from physadv.errors import BackendError, SettingsError
from physadv.scale.executors import make_executor
from tests.conftest import ROOT
from tests.scale.blobs import KILL
from tests.scale.conftest import results_of
from tests.scale.test_manifest import Here
from tests.scale.test_sweep import VARY, check_one_killed

try:
    import ray
except ImportError:
    pytest.skip('LOUD SKIP: no Ray here: pip install "physadv[scale]"', allow_module_level=True)

# A cluster's processes take both cores while they start.
pytestmark = pytest.mark.alone


def of_ray() -> set[int]:
    """Processes of Ray below this one; it starts them in sessions of their own, but as its children."""
    return {p.pid for p in psutil.Process().children(recursive=True) if "ray" in command_of(p)}


def command_of(process: psutil.Process) -> str:
    """What a process runs, in small letters; "" of one that has ended, whatever test it was of."""
    try:
        return " ".join(process.cmdline()).lower()
    except psutil.Error:
        return ""


@pytest.fixture
def none_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Code of others has to be where Ray's workers find it.
    there = [str(ROOT), str(ROOT / "scripts"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(there))
    before = of_ray()
    yield
    ray.shutdown()
    gc.collect()
    left = [psutil.Process(pid) for pid in of_ray() - before]
    _, alive = psutil.wait_procs(left, timeout=60)
    assert not alive


def test_twelve_clips_on_two_workers_of_which_one_is_killed_equal_a_single_process(
    words: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    none_left: None,
) -> None:
    kill = tmp_path / "kill"
    kill.write_text("50")
    monkeypatch.setenv(KILL, str(kill))
    assert main(words(tmp_path / "ray", "--executor", "ray", "--workers", "2")) == 0
    said = capsys.readouterr()
    assert not kill.exists() and "its worker died once; it was begun again" in said.err + said.out
    monkeypatch.setattr("physadv.scale.executors.make_executor", Here)
    assert main(words(tmp_path / "single")) == 0
    assert results_of(tmp_path / "ray") == results_of(tmp_path / "single")
    capsys.readouterr()
    assert main(words(tmp_path / "ray", "--executor", "ray")) == 0
    assert "nothing to do: 12 of 12 are there" in capsys.readouterr().out


def test_a_sweep_of_six_trials_of_which_one_is_killed(
    sweep_words: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, none_left: None
) -> None:
    kill = tmp_path / "kill"
    kill.write_text("30")
    monkeypatch.setenv(KILL, str(kill))
    assert main(sweep_words(tmp_path / "out", *VARY, "--executor", "ray", "--workers", "1")) == 0
    check_one_killed(tmp_path / "out")


def test_a_cluster_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendError, match=r"address: no cluster at 127\.0\.0\.1:1"):
        make_executor("ray", workers=1, threads=1, address="127.0.0.1:1")
    # A server that says nothing, as one of something else.
    monkeypatch.setattr("physadv.scale.ray_cluster.REACHED_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(BackendError, match="no cluster at"):
        make_executor("ray", workers=1, threads=1, address=f"127.0.0.1:{silent.getsockname()[1]}")
    with pytest.raises(SettingsError, match="address: is of a Ray cluster"):
        make_executor("local", workers=1, threads=1, address="auto")
