"""The per-user cache: exports and downloads are whole and as they were written, or made anew."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import physadv.detect.download as download
from physadv.detect import load_detector
from physadv.detect.export import MODEL_FILE, RECORD
from physadv.detect.weights import find_weights
from physadv.errors import BackendError, WeightsError
from physadv.types import Frame, UInt8Array
from tests.detect.models import save_small


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PHYSADV_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def exported_anew(path: Path, backend: Any = "onnxruntime") -> bool:
    """Load a detector; return whether that exported it."""
    said: list[str] = []
    assert load_detector(str(path), backend=backend, imgsz=64, progress=said.append).backend == backend
    return bool(said)


def cut(folder: Path) -> None:
    (folder / MODEL_FILE).write_bytes((folder / MODEL_FILE).read_bytes()[:-1])


def empty(folder: Path) -> None:
    (folder / MODEL_FILE).write_bytes(b"")


def alter(folder: Path) -> None:
    data = bytearray((folder / MODEL_FILE).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / MODEL_FILE).write_bytes(data)


def respell(folder: Path) -> None:
    text = (folder / RECORD).read_text()
    assert '"strides": [8]' in text
    (folder / RECORD).write_text(text.replace('"strides": [8]', '"strides": [16]'))


def mistype(folder: Path) -> None:
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps({**record, "spec": ["x"]}))


def nest(folder: Path) -> None:
    (folder / RECORD).write_text("[" * 100_000)


def lose(folder: Path) -> None:
    (folder / MODEL_FILE).unlink()


DAMAGE = [cut, empty, alter, respell, mistype, nest, lose]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda d: d.__name__)
def test_an_export_that_is_not_as_it_was_written_is_made_again(
    damage: Callable[[Path], None], cache: Path, tmp_path: Path
) -> None:
    path = save_small(tmp_path / "small.pt")
    assert exported_anew(path)
    assert not exported_anew(path, "openvino")
    (folder,) = (cache / "exports").iterdir()
    damage(folder)
    assert exported_anew(path)
    assert not exported_anew(path)
    assert [p.name for p in (cache / "exports").iterdir()] == [folder.name], "a half-made export is left behind"


def test_several_export_at_once(cache: Path, tmp_path: Path) -> None:
    path = save_small(tmp_path / "small.pt")
    ends: list[object] = []

    def work() -> None:
        try:
            ends.append(load_detector(str(path), backend="onnxruntime", imgsz=64).backend)
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is to be seen
            ends.append(error)

    for damaged in (False, True):
        if damaged:
            cut(next((cache / "exports").iterdir()))
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert ends == ["onnxruntime"] * 6
    assert not exported_anew(path)
    assert len(list((cache / "exports").iterdir())) == 1


def test_an_export_that_is_killed_leaves_nothing_that_counts(cache: Path, tmp_path: Path) -> None:
    path = save_small(tmp_path / "small.pt")
    # Ends itself as kill -9 would, in the middle of the export.
    script = (
        "import os, signal, sys, torch, physadv.detect as d\n"
        "torch.onnx.export = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
        "d.load_detector(sys.argv[1], backend='onnxruntime', imgsz=64)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert ended.returncode == -9
    (part,) = (cache / "exports").iterdir()
    assert exported_anew(path)
    assert part.exists(), "another process may be at work there"
    old = time.time() - 2 * 86_400
    os.utime(part, (old, old))
    empty(next(p for p in (cache / "exports").iterdir() if p != part))
    assert exported_anew(path)
    assert not part.exists()


@pytest.mark.parametrize("imgsz", [64, 352, 416])
def test_openvino_learns_its_precision_on_the_size_it_is_asked_for(imgsz: int, cache: Path, tmp_path: Path) -> None:
    detector: Any = load_detector(str(save_small(tmp_path / "small.pt")), backend="openvino", imgsz=imgsz)
    asked: list[tuple[int, ...]] = []
    infer = detector.infer

    def seen(batch: UInt8Array) -> Any:
        asked.append(batch.shape)
        return infer(batch)

    requests = detector.network.requests
    compiled = list(requests)
    assert not requests[compiled[0]].get_compiled_model().get_property("ENABLE_CPU_PINNING")
    detector.infer = seen
    detector.detect(Frame(np.zeros((480, 640, 3), np.uint8), 0, 0, 0.0))
    assert asked == compiled


def test_a_cache_that_cannot_be_written(cache: Path, tmp_path: Path) -> None:
    path = save_small(tmp_path / "small.pt")
    cache.write_text("a file")
    with pytest.raises(BackendError, match="set PHYSADV_CACHE to another folder"):
        load_detector(str(path), backend="onnxruntime", imgsz=64)


class Server:
    """In place of ultralytics' download: gives what it holds, or no network."""

    def __init__(self, content: bytes | None) -> None:
        self.content = content
        self.asked = 0

    def __call__(self, name: str) -> None:
        self.asked += 1
        if self.content is None:
            raise ConnectionError("no network")
        Path(name).write_bytes(self.content)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    out = Server(save_small(tmp_path / "small.pt").read_bytes())
    monkeypatch.setattr(download, "attempt_download_asset", out)
    monkeypatch.chdir(tmp_path)
    return out


def test_a_download_is_kept_and_checked(cache: Path, server: Server) -> None:
    first = find_weights("yolo11s.pt")
    assert first.path == cache / "weights" / "yolo11s.pt"
    assert find_weights("yolo11s.pt") == first
    assert server.asked == 1
    assert {p.name for p in first.path.parent.iterdir()} == {"yolo11s.pt", "yolo11s.pt.sha256"}


@pytest.mark.parametrize("recorded", [True, False])
def test_a_truncated_download_is_fetched_again(recorded: bool, cache: Path, server: Server) -> None:
    first = find_weights("yolo11s.pt")
    if not recorded:
        # As version 0.1.0 left it.
        (cache / "weights" / "yolo11s.pt.sha256").unlink()
        assert find_weights("yolo11s.pt") == first
    first.path.write_bytes(first.path.read_bytes()[:-2000])
    assert find_weights("yolo11s.pt") == first
    assert server.asked == 2
    first.path.write_bytes(b"")
    server.content = None
    with pytest.raises(WeightsError, match=r"yolo11s.pt is damaged and has to be fetched again: .*no network"):
        find_weights("yolo11s.pt")


def test_an_altered_download_is_fetched_again(cache: Path, server: Server) -> None:
    first = find_weights("yolo11s.pt")
    save_small(first.path, ["person", "dog"])
    assert find_weights("yolo11s.pt") == first


def test_a_download_that_is_not_whole_is_not_kept(cache: Path, server: Server) -> None:
    assert server.content is not None
    server.content = server.content[:-1000]
    with pytest.raises(WeightsError, match="was not fetched whole"):
        find_weights("yolo11s.pt")
    assert not list((cache / "weights").iterdir())
