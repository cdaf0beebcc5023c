"""Flags, configuration files and errors of every verb: one line, exit code 2, never a traceback."""

import shlex
from pathlib import Path

import numpy as np
import pytest
from pydantic import Field

from physadv.arrays import write_png
from physadv.cli import COMMANDS, main, verb
from physadv.cli.edge import exit_code
from physadv.cli.verbs import Verb
from physadv.errors import SourceError
from physadv.settings import Settings


class Greeting(Settings):
    """Who is greeted, and how."""

    names: list[str] = Field(default=[], description="who")
    conf: float = Field(0.25, ge=0, le=1, description="threshold")
    size: str | None = Field(None, description="how large")
    loud_voice: bool = Field(False, description="shout")


def greet(settings: Greeting) -> int:
    """Greet people."""
    if "nobody" in settings.names:
        raise SourceError("expected somebody,\n got nobody", field="names")
    print(settings.names, settings.conf, settings.loud_voice)
    return 0


GREET = Verb("greet", greet)


def execute(*words: str) -> int:
    return exit_code("physadv greet", lambda: GREET(words))


LONG = [
    ("learn blocks --images {here} --out {out}/net.safetensors", "--out"),
    ("evaluate --images {here} --out {out}", "--out"),
    ("evaluate --video {here} --out {out}/below", "--out"),
    ("preview webcam --images {here} --out {out}/sheet.png", "--out"),
    ("advise webcam --measure --images {here}", "--measure"),
    ("calibrate camera --source {here} --out {out}/desk.json", "--out"),
    ("calibrate camera --source {here} --out {here}/desk.json --preview {out}/p.png", "--preview"),
    ("calibrate colour --photo {here} --out {out}/ink.json", "--out"),
    ("calibrate colour --photo {here} --out {here}/ink.json --preview {out}/p.png", "--preview"),
    ("calibrate colour --photo {here}", "--out"),
    ("live --ui none --source {here} --stats {out}/stats.json", "--stats"),
]


@pytest.mark.parametrize(("words", "flag"), LONG, ids=[" ".join(w.split()[:2]) + f" {f}" for w, f in LONG])
@pytest.mark.parametrize("out", ["file", "file/below", "x" * 300], ids=["file", "below", "long"])
def test_what_cannot_be_written_is_said_before_the_work(
    words: str, flag: str, out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder has no image, which would be the next thing said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("physadv.cli.advise.SHIPPED", Path(out))
    for name in ("file", "calib"):
        (tmp_path / name).write_text("")
    (tmp_path / "empty").mkdir()
    assert main(words.format(here="empty", out=out).split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{flag}: expected a folder that can be written" in line


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("live ''", "got an empty word"),
        ("live '' --ui none", "got an empty word"),
        ("learn nope --images here --out x.safetensors", "DEFENCE: expected 'blocks' or 'erase', got 'nope'"),
        ("advise webcam --wanted 5", "--wanted: expected less than 1, got '5'"),
        ("calibrate camera --source here/a.png", "too few views of the board"),
        ("calibrate colour --photo here", "a.png: no colour chart found"),
        ("calibrate camera --sheet b.pdf --board a3 --paper a4", "--paper: "),
        ("calibrate camera --sheet file/b.pdf", "--sheet: expected a folder that can be written"),
        ("calibrate colour --chart file/c.pdf", "--chart: expected a folder that can be written"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_left_behind(
    words: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "file").touch()
    write_png(tmp_path / "here" / "a.png", np.full((240, 320, 3), 128, np.uint8))
    assert main(shlex.split(words)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "here"]


def test_a_folder_in_place_of_a_file_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "net.safetensors"
    out.mkdir()
    assert main(["learn", "blocks", "--images", str(tmp_path), "--out", str(out)]) == 2
    assert "is a folder: expected a file name" in capsys.readouterr().err


def test_a_comma_in_a_value_stays(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute("--names", "a,b", "--names=c,d", "--loud-voice") == 0
    assert capsys.readouterr().out == "['a,b', 'c,d'] 0.25 True\n"


def test_a_file_gives_defaults_that_flags_override(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toml, yaml = tmp_path / "c.toml", tmp_path / "c.yaml"
    toml.write_text('conf = 0.5\nloud-voice = true\nnames = ["x"]\n')
    yaml.write_text("conf: 0.5\nloud_voice: true\nnames: [x]\n")
    for path in (toml, yaml):
        assert execute("--config", str(path), "--conf", "0.75") == 0
        assert capsys.readouterr().out == "['x'] 0.75 True\n"


def test_a_flag_that_is_given_again_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "a.toml", tmp_path / "b.toml"
    first.write_text("conf = 0.5\n")
    second.write_text("conf = 0.75\n")
    assert execute("--config", str(first), "--names", "x", f"--config={second}") == 0
    assert capsys.readouterr().out == "['x'] 0.75 False\n"


def test_a_files_values_are_taken_as_those_of_flags(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("names: x\nsize: 30\nconf: 1\n")
    greet = GREET.parsed(["--config", str(path)])
    assert (greet.names, greet.size, greet.conf) == (["x"], "30", 1.0)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--conf", "nan"], "--conf: expected a finite number, got"),
        (["--conf", "2"], "--conf: expected at most 1, got '2'"),
        (["--names", "nobody"], "--names: expected somebody, got nobody"),
        (["--config", "missing.toml"], "missing.toml"),
        (["--unknown"], "unknown flag --unknown"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(*argv) == 2
    err = capsys.readouterr().err.strip()
    assert words in err
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("physadv greet: ")


@pytest.mark.parametrize("text", ['images: "a\\0b"', 'images: ["x", "a\\0b"]', '"im\\0ages": x'])
def test_a_nul_character_anywhere_in_a_file_is_refused(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    assert main(["preview", "webcam", "--config", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "without a NUL character" in said, said


def test_a_misspelt_key_in_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.toml"
    path.write_text("cnof = 0.5\n")
    assert execute("--config", str(path)) == 2
    assert "--cnof" in capsys.readouterr().err


def test_the_environment_does_not_leak_in(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CONF", "0.9")
    monkeypatch.setenv("conf", "0.9")
    assert execute() == 0
    assert "0.25" in capsys.readouterr().out


def test_every_verb_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    overview = capsys.readouterr().out
    for name in COMMANDS:
        assert name in overview
        assert main([*name.split(), "--help"]) == 0
        text = capsys.readouterr().out
        assert f"usage: physadv {name}" in text
        assert "\n\n" in text


@pytest.mark.parametrize(
    "argv",
    [
        ["preview", "webcam", "--out", "x.jpg"],
        ["calibrate", "camera", "--preview", "x.jpg"],
        ["calibrate", "colour", "--preview", "x.jpg"],
    ],
)
def test_a_image_is_what_its_name_says(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert "expected a file name ending in .png" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_is_explained(name: str) -> None:
    model = verb(name).model
    assert [flag for flag, info in model.model_fields.items() if len(info.description or "") < 8] == []


@pytest.mark.parametrize("argv", [[], ["fly"], ["calibrate"], ["calibrate", "moon"]])
def test_an_unknown_verb_is_answered_with_the_known_ones(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    out = capsys.readouterr()
    assert "calibrate camera" in out.out + out.err


def test_the_last_of_a_flag_counts_and_a_list_takes_what_follows() -> None:
    greeting = GREET.parsed(["--conf", ".1", "--names", "a", "b", "--conf", ".2", "--names", "c"])
    assert (greeting.conf, greeting.names) == (0.2, ["a", "b", "c"])


def test_a_switch_that_a_file_has_set_is_turned_off(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("loud_voice = true\n")
    assert not GREET.parsed(["--config", str(path), "--no-loud-voice"]).loud_voice


@pytest.mark.parametrize("words", [["--names"], ["--conf"], ["--config"], ["--loud-voice=perhaps"]])
def test_a_flag_without_its_value_is_named(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(*words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words[0].partition("=")[0] in line
