"""Evaluations of many videos: tasks that die are begun again, what is done stays done, who is left out is named."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from physadv.cli import main
from physadv.errors import DataError
from physadv.evaluate.pairs import Pairs
from physadv.scale.local_pool import LocalPool
from physadv.scale.manifest import Manifest
from physadv.scale.tasks import Done
from tests.scale.blobs import KILL
from tests.scale.conftest import DETECTOR, film, results_of

Words = Callable[..., list[str]]


class Here:
    """An executor that runs each task at once in this process: a single-process run."""

    free = 1

    def __init__(self, *_: object, **__: object) -> None:
        self._over: list[Done] = []

    def submit(self, number: int, work: Callable[..., object], *args: object) -> None:
        self._over.append(Done(number, work(*args)))

    def wait(self) -> Done:
        return self._over.pop()

    def __enter__(self) -> "Here":
        return self

    def __exit__(self, *_: object) -> None:
        return None


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("physadv.scale.executors.make_executor", Here)


def test_a_worker_that_is_killed_changes_nothing_and_a_second_run_does_nothing(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kill = tmp_path / "kill"
    kill.write_text("50")
    monkeypatch.setenv(KILL, str(kill))
    assert main(words(tmp_path / "pool", "--workers", "2")) == 0
    said = capsys.readouterr()
    assert not kill.exists() and "its worker died once; it was begun again" in said.err + said.out
    rows = results_of(tmp_path / "pool")
    monkeypatch.setattr("physadv.scale.executors.make_executor", Here)
    assert main(words(tmp_path / "single")) == 0
    assert rows == results_of(tmp_path / "single") and rows[0]["n_clips"] == 12
    assert {row["condition"] for row in rows} == {"none", "grey", "white", "noise", "shuffled", "patch"}
    low, high = next(row for row in rows if row["condition"] == "patch")["ci95"]["share_below"]
    assert 0 <= low < high <= 1
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "pool" / "parts").iterdir()}
    monkeypatch.setattr("physadv.scale.executors.make_executor", None)
    capsys.readouterr()
    assert main(words(tmp_path / "pool")) == 0
    assert "nothing to do: 12 of 12 are there" in capsys.readouterr().out
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "pool" / "parts").iterdir()} and len(before) == 12


def test_a_video_that_cannot_be_read_is_named_and_the_exit_code_says_so(
    words: Words, clips: Path, tmp_path: Path, here: None, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, whole = tmp_path / "clips" / "03.avi", (tmp_path / "clips" / "03.avi").read_bytes()
    bad.write_bytes(b"no video")
    out = tmp_path / "out"
    assert main(words(out)) == 1
    assert "03.avi is not scored: " in capsys.readouterr().err
    run = json.loads((out / "run.json").read_text())
    assert list(run["left_out"]) == ["03.avi"] and "03.avi" in (out / "report.html").read_text()
    assert all(any("1 of 12 videos is left out: 03.avi" in d for d in row["doubts"]) for row in results_of(out))
    # Mended, it alone is looked at; a part that is damaged is made again.
    bad.write_bytes(whole)
    (out / "parts" / "00005-05.parquet").write_bytes(b"damaged")
    assert main(words(out)) == 0
    assert "10 of 12 are there; 2 to do" in capsys.readouterr().out
    assert results_of(out)[0]["n_clips"] == 12
    assert main(["collect", str(out), "--out", str(tmp_path / "again")]) == 0
    assert results_of(tmp_path / "again") == results_of(out)
    # A column or rows taken away, or a byte that has changed, are no part; collect names the video, a second run mends it.
    part = out / "parts" / "00005-05.parquet"
    table = pq.read_table(part)
    for changed in (table.drop_columns(["best"]), table.slice(1)):
        pq.write_table(changed, part)
        assert main(["collect", str(out), "--out", str(tmp_path / "again")]) == 1
        assert "left out: 05.avi: what was found in it is damaged" in capsys.readouterr().out
    part.unlink()
    assert main(["collect", str(out), "--out", str(tmp_path / "again")]) == 1
    assert "left out: 05.avi: not scored yet" in capsys.readouterr().out


def test_a_folder_belongs_to_one_manifest_and_one_set_of_settings(
    words: Words, clips: Path, tmp_path: Path, here: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    clips.write_text("path\nclips/00.avi\nclips/01.avi\n")
    assert main(words(out)) == 0
    capsys.readouterr()
    assert main(words(out, "--conf", ".4")) == 2
    assert "was evaluated with another --conf" in capsys.readouterr().err
    job = json.loads((out / "job.json").read_text())
    edited = {**job, "videos": job["videos"][::-1]}
    (out / "job.json").write_text(json.dumps(edited))
    assert main(words(out)) == 2
    assert "job.json is damaged: its videos are not those" in capsys.readouterr().err
    (out / "job.json").write_text(json.dumps(job))
    clips.write_text("path\nclips/00.avi\n")
    assert main(words(out)) == 2
    assert "--out: " in (said := capsys.readouterr().err) and "belongs to another manifest, clips.csv with 2" in said
    assert main(words(out, "--grid", "robust")) == 2 and "--grid" in capsys.readouterr().err
    assert main(["evaluate", "--images", str(tmp_path), "--workers", "2"]) == 2
    assert "--workers: expected --manifest" in capsys.readouterr().err
    assert main(["collect", str(tmp_path / "clips"), "--out", str(tmp_path / "again")]) == 2
    assert "expected a folder with job.json" in capsys.readouterr().err


def test_a_manifest_of_wrong_paths_is_mended_in_its_folder(
    words: Words, clips: Path, tmp_path: Path, here: None, capsys: pytest.CaptureFixture[str]
) -> None:
    clips.write_text("path\nclip/00.avi\n")
    assert main(words(tmp_path / "out")) == 2
    clips.write_text("path\nclips/00.avi\n1/cam.avi\n2/cam.avi\n")
    assert main(words(tmp_path / "out")) == 1
    # Files of one name are told apart by their paths.
    left_out = json.loads((tmp_path / "out" / "run.json").read_text())["left_out"]
    assert list(left_out) == [str(tmp_path / folder / "cam.avi") for folder in "12"]


def test_recordings_of_several_arms_are_compared_as_by_pair(
    tmp_path: Path, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHYSADV_CACHE", str(tmp_path / "cache"))
    arms = {"none": 0.0, "grey": 0.2, "pattern": 0.8}
    rows = [
        {"path": film(tmp_path / f"{arm}-{i}.avi", at=8 + 3 * i, hidden=share).name, "arm": arm, "clip": f"place {i}"}
        for i in range(3)
        for arm, share in arms.items()
    ]
    empty = [{"path": film(tmp_path / f"{arm}-3.avi", people=False).name, "arm": arm, "clip": "empty"} for arm in arms]
    pq.write_table(pa.Table.from_pylist(rows + empty), tmp_path / "videos.parquet")
    flags = ["--detector", DETECTOR, "--resamples", "40", "--defend", "persistence"]
    assert main(["evaluate", "--manifest", str(tmp_path / "videos.parquet"), "--out", str(tmp_path / "a"), *flags]) == 0
    pairs = [f"{row['arm']}={tmp_path / row['path']}" for row in rows]
    asked = [word for pair in pairs for word in ("--pair", pair)]
    assert main(["evaluate", *asked, "--out", str(tmp_path / "b"), *flags]) == 0
    many, once = results_of(tmp_path / "a"), results_of(tmp_path / "b")
    text, code = "3 of 12 videos are left out: ", "videos-left-out"
    for row in many + once:
        assert any(text in d for d in row["doubts"]) == (code in row["doubt_codes"]) == (row in many)
        row["doubts"] = sorted(d for d in row["doubts"] if text not in d)
        row["doubt_codes"] = sorted(set(row["doubt_codes"]) - {code})
    assert many == once and {row["defence"] for row in many} == {"none", "persistence"}
    assert "nobody" in json.loads((tmp_path / "a" / "run.json").read_text())["left_out"]["none-3.avi (none of empty)"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path\n", "expected one video or more"),
        ("film\na.mp4\n", "expected a column path, got film"),
        ("path,arms\na.mp4,none\n", "unknown column arms; did you mean arm?"),
        ("path\na.mp4\n./a.mp4\n", "a.mp4 is there twice"),
        ("path,path\na.mp4,b.mp4\n", "the column path is there twice"),
        ("path,arm,clip\na.mp4,none,1\nb.mp4,patten,1\n", "row 2: expected an arm of none, control"),
        ("path,arm\na.mp4,none\n", "expected a clip beside the arm"),
        ("path,arm,clip\na.mp4,none,1\nb.mp4,grey,1\n", "expected recordings of the arm pattern"),
        (
            "path,arm,clip\na.mp4,none,1\nb.mp4,pattern,1\nc.mp4,none,2\n",
            "clip '2': expected one recording of each arm",
        ),
        ("path,arm,clip\na.mp4,none,1\nb.mp4,pattern,1\nc.mp4,,\n", "clip '': expected one recording of each arm"),
        ("path,arm,clip\na.mp4,none\n", "more or fewer values"),
        ("path\n ,\n", "more or fewer values"),
    ],
)
def test_a_manifest_that_cannot_be_meant_is_refused_by_name(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(DataError, match="manifest") as caught:
        Manifest.read(tmp_path / "m.csv")
    assert says in str(caught.value)


def test_a_table_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.parquet").write_bytes(b"PAR1")
    for name in ("m.parquet", "m.txt", "none.csv"):
        with pytest.raises(DataError, match="manifest"):
            Manifest.read(tmp_path / name)


def test_columns_of_others_are_passed_over_and_said(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path, light\na.mp4, bright\n")
    found = Manifest.read(tmp_path / "m.csv")
    assert found.notes == ("columns passed over: light",) and not found.arms


def test_pairs_leave_out_a_clip(tmp_path: Path) -> None:
    rows = "".join(f"{arm}{clip}.mp4,{arm},{clip}\n" for clip in (2, 1) for arm in ("pattern", "none"))
    (tmp_path / "m.csv").write_text(f"path,arm,clip\n{rows}")
    pairs, clips = Manifest.read(tmp_path / "m.csv").pairs(1, {"2"})
    assert clips == ["1"]
    assert pairs == Pairs({"none": (tmp_path / "none1.mp4",), "pattern": (tmp_path / "pattern1.mp4",)})


def test_a_task_that_kills_every_worker_is_given_up(capfd: pytest.CaptureFixture[str]) -> None:
    with LocalPool(1, retries=1) as pool:
        pool.submit(7, os.abort)
        pool.submit(8, len, "abc")
        over: Sequence[Done] = sorted(pool.wait() for _ in range(2))
    assert over == [Done(7, None, died=True), Done(8, 3)]
    assert pool.free == 1


def test_who_stops_an_evaluation_hears_how_much_is_kept(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stopped(Here):
        def wait(self) -> Done:
            raise KeyboardInterrupt

    monkeypatch.setattr("physadv.scale.executors.make_executor", Stopped)
    (tmp_path / "clips.csv").write_text("path\nclips/00.avi\n")
    assert main(words(tmp_path / "out")) == 130
    assert "stopped; 1 of 1 are there; the same command does the rest" in capsys.readouterr().err


def test_a_machine_with_other_weights_scores_nothing(
    words: Words, tmp_path: Path, here: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clips.csv").write_text("path\nclips/00.avi\n")

    class Elsewhere(Here):
        def submit(self, number: int, work: Callable[..., object], *args: object) -> None:
            job = tmp_path / "out" / "job.json"
            settings = json.loads(job.read_text())
            settings["settings"]["detector_hashes"] = ["0" * 64]
            job.write_text(json.dumps(settings))
            super().submit(number, work, *args)

    monkeypatch.setattr("physadv.scale.executors.make_executor", Elsewhere)
    assert main(words(tmp_path / "out")) == 2
    assert "this machine has other weights than the evaluation began with" in capsys.readouterr().err
