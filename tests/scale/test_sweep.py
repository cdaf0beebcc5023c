"""Sweeps: trials that die are run again, a sweep goes on where it was, and what is varied is a training's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from physadv.attack.score import Score
from physadv.cli import main
from physadv.errors import SettingsError
from physadv.scale.tasks import Done
from physadv.scale.varied import Varied, combinations, settings_of
from tests.scale.blobs import KILL
from tests.scale.conftest import DETECTOR
from tests.scale.test_manifest import Here

pytest.importorskip("optuna", reason='LOUD SKIP: no Optuna here: pip install "physadv[scale]"')
Words = Callable[..., list[str]]
VARY = ("--vary", "lr=0.01,0.1", "--vary", "tv=0,0.1,1")


def trials_of(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "results.json").read_text())["trials"]
    return found


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("physadv.scale.executors.make_executor", Here)


def test_a_trial_that_is_killed_is_marked_as_failed_and_run_again(
    sweep_words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kill, out = tmp_path / "kill", tmp_path / "out"
    kill.write_text("30")
    monkeypatch.setenv(KILL, str(kill))
    assert main(sweep_words(out, *VARY, "--workers", "1")) == 0
    said = capsys.readouterr()
    assert "its worker died; its values are tried again" in said.out + said.err
    check_one_killed(out)
    assert "best: trial " in said.out
    monkeypatch.setattr("physadv.scale.executors.make_executor", None)
    assert main(["sweep", "--resume", "--detector", DETECTOR, "--out", str(out)]) == 0
    assert "nothing to do: 6 of 6 trials are over" in capsys.readouterr().out


def check_one_killed(out: Path) -> None:
    """Six combinations are done, each once, and one failed besides, whose values are among them."""
    trials = trials_of(out)
    done = [t for t in trials if t["state"] == "done" or t["state"] == "left early"]
    assert sorted(str(t["values"]) for t in done) == sorted(
        str({"lr": lr, "tv": tv}) for lr in ("0.01", "0.1") for tv in ("0", "0.1", "1")
    )
    (failed,) = [t for t in trials if t not in done]
    assert failed["why"] == "its worker died" and failed["values"] in [t["values"] for t in done]
    best = json.loads((out / "results.json").read_text())["best"]
    assert (Path(best["folder"]) / "patch.png").is_file()


class Killed(Here):
    """An executor whose process is killed in the middle of the second trial."""

    def submit(self, number: int, work: Callable[..., object], *args: object) -> None:
        if number == 1:
            import physadv.scale.trial as module

            study = module.open_study(args[0].folder)  # type: ignore[attr-defined]
            study.ask().set_user_attr(module.TASK, number)
            raise KeyboardInterrupt
        super().submit(number, work, *args)

    def wait(self) -> Done:
        return super().wait()


def test_a_sweep_that_is_stopped_goes_on_and_belongs_to_its_flags(
    sweep_words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    ranged = ("--vary", "lr=0.01:0.1:log", "--trials", "2")
    monkeypatch.setattr("physadv.scale.executors.make_executor", Killed)
    assert main(sweep_words(out, *ranged)) == 130
    assert "go on with: physadv sweep --resume --out" in capsys.readouterr().err
    monkeypatch.setattr("physadv.scale.executors.make_executor", Here)
    assert main(["sweep", "--resume", "--detector", DETECTOR, "--out", str(out)]) == 0
    assert [t["state"] for t in trials_of(out)] == ["done", "failed", "done"]
    lr = [t["values"]["lr"] for t in trials_of(out) if t["state"] == "done"]
    assert len(set(lr)) == 2 and all(0.01 <= value <= 0.1 for value in lr)
    assert main(sweep_words(out, "--vary", "lr=0.01:0.2:log")) == 2
    assert "belongs to a sweep with another --vary" in capsys.readouterr().err
    with (out / "study.journal").open("a") as journal:
        journal.write("{\n{}\n")
    assert main(["sweep", "--resume", "--detector", DETECTOR, "--out", str(out)]) == 2
    assert "study.journal is damaged" in capsys.readouterr().err


def test_a_trial_that_is_worse_person_by_person_is_left_early(tmp_path: Path) -> None:
    from physadv.scale.trial import Noted, open_study

    def scored(badness: float) -> Score:
        each = tuple(badness + i / 100 for i in range(12))
        return Score(12, 12, 0, 0, 0, 0, 0, 0, badness_each={"vanish": each, "missize": each})

    left = []
    for badness in (0.5, 1.0, 0.4):
        trial = open_study(tmp_path).ask()
        noted = Noted({"street": lambda _, badness=badness: scored(badness)})
        for _ in range(2):
            noted.scorers()["street"](None)
            noted.report(trial, "vanish")
        left.append(trial.should_prune())
        trial.study.tell(trial, None if left[-1] else badness, state=None if not left[-1] else pruned())
    assert left == [False, True, False]


def pruned() -> Any:
    from optuna.trial import TrialState

    return TrialState.PRUNED


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lrr=1,2", "unknown field 'lrr' of a training; did you mean lr?"),
        ("lr", "expected FIELD=LOW:HIGH or FIELD=VALUE,VALUE, got 'lr'"),
        ("seed=1,2", "seed is the same in all trials"),
        ("lr=0.1:0.01", "LOW < HIGH"),
        ("lr=0:1:log", "for log above 0"),
        ("lr=a:b", "numbers with LOW < HIGH"),
        ("batch=1:2.5", "whole numbers"),
        ("lr=0.1", "two values or more"),
        ("lr=0.1,", "two values or more"),
    ],
)
def test_what_cannot_be_varied_is_refused_by_name(text: str, says: str) -> None:
    with pytest.raises(SettingsError, match="vary") as caught:
        Varied.of(text)
    assert says in str(caught.value)


def test_ranges_choices_and_lists_as_choices() -> None:
    assert Varied.of("lr=0.01:0.1:log") == Varied("lr", (), 0.01, 0.1, log=True)
    assert Varied.of("worst-of=1:4") == Varied("worst_of", (), 1, 4, whole=True)
    crops = Varied.of("crops=160,224;224,320")
    assert crops.choices == ("160,224", "224,320")
    assert settings_of({}, {"crops": "160,224", "pyramid": "true"}).crops == (160, 224)
    assert len(list(combinations([crops, Varied.of("tv=0,1,2")]))) == 6
    assert list(combinations([crops, Varied.of("tv=0:1")])) == []


def test_a_value_that_no_training_takes_is_said_before_any_begins(
    sweep_words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(sweep_words(tmp_path / "out", "--vary", "lr=0.5:2")) == 2
    assert "--lr: expected at most 1, got 2.0" in capsys.readouterr().err
    assert main(sweep_words(tmp_path / "out")) == 2
    assert "--vary: expected one field or more" in capsys.readouterr().err
    assert main(sweep_words(tmp_path / "out", *VARY, "--detector", "yolo11")) == 2
    assert "--detector: expected yolo11n-pose" in capsys.readouterr().err
    # Nobody waits for their list, nor has memory for it.
    many = ("lr", "tv", "scale", "at", "stay_seen", "look_weight")
    each = [word for name in many for word in ("--vary", f"{name}=" + ",".join(f".{i}" for i in range(1, 99)))]
    assert main(sweep_words(tmp_path / "out", *each)) == 2
    assert "--trials: expected how many of the " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
