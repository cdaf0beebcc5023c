"""Help pages: flags under headings, readable values and defaults, examples that parse; and what was meant by a typo."""

import re
import shlex

import pytest

from physadv.cli import COMMANDS, main, verb
from physadv.cli.help import explained, flag_of, is_positional
from physadv.settings import NO_FLAG

UNREADABLE = r"None|lambda|factory|\(default: \)|\(default: \[\]\)|list\[|\bPath\b|\bstr\b|\bint\b|\bfloat\b"


def page(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main([*name.split(), "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_shows_every_flag_once_and_no_python(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = page(name, capsys)
    assert not re.search(UNREADABLE, text)
    assert max(map(len, text.splitlines())) <= 112
    for field, info in verb(name).model.model_fields.items():
        if not is_positional(info) and NO_FLAG not in info.metadata:
            assert len(re.findall(rf"^  {flag_of(field, info)}\b(?!-)", text, re.MULTILINE)) == 1, field


@pytest.mark.parametrize("name", COMMANDS)
def test_groups_hold_every_flag_once(name: str) -> None:
    model = verb(name).model
    grouped = [f for fields in model.groups.values() for f in fields]
    flags = [f for f, i in model.model_fields.items() if not is_positional(i) and NO_FLAG not in i.metadata]
    assert not model.groups or sorted(grouped) == sorted(flags)


def test_every_flag_that_a_description_names_is_one() -> None:
    fields = [(flag_of(f, i), explained(i)) for name in COMMANDS for f, i in verb(name).model.model_fields.items()]
    named = {word for _, text in fields for word in re.findall(r"--[a-z][\w-]*", text)}
    assert named - {flag for flag, _ in fields} == set(), "a value in backticks is taken for a field: `name=value`"


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_parse(name: str) -> None:
    examples = verb(name).examples
    assert examples
    for line in examples:
        words = shlex.split(line)
        called = next(c for c in COMMANDS if words[1 : 1 + len(c.split())] == c.split())
        assert words[0] == "physadv"
        verb(called).parsed(words[1 + len(called.split()) :])


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_stand_on_a_line_each_to_be_copied(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert page(name, capsys).splitlines()[-len(verb(name).examples) :] == [f"  {e}" for e in verb(name).examples]


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("live", ["--token SECRET", "--viewer-token SECRET"]),
        (
            "evaluate",
            [
                "--images FOLDER",
                "--wear-from SECONDS",
                "--at NUMBER|chest|portrait|shirt|outfit",
                "--detector MODEL,...",
            ],
        ),
        ("advise", ["--images FOLDER"]),
        ("learn", ["--images FOLDER"]),
        ("calibrate camera", ["--note TEXT"]),
        ("calibrate colour", ["--photo PATH ..."]),
    ],
)
def test_a_flag_says_what_kind_of_value_it_takes(
    name: str, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    text = page(name, capsys)
    assert [flag for flag in flags if not re.search(rf"^  {re.escape(flag)}\s", text, re.MULTILINE)] == []


def test_the_most_used_flags_come_first(capsys: pytest.CaptureFixture[str]) -> None:
    text = page("live", capsys)
    assert text.index("--source SOURCE") < text.index("--wear PATTERN ...") < text.index("--exposure NUMBER")
    assert "--wear-size CM" in text and "--open-timeout SECONDS" in text
    assert "--mjpg, --no-mjpg" in text and "--no-realtime" not in text


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["help"], "usage: physadv COMMAND"),
        (["help", "live"], "usage: physadv live"),
        (["help", "calibrate", "colour"], "usage: physadv calibrate colour"),
        (["help", "calibrate"], "calibrate camera  ChArUco"),
        (["calibrate", "--help"], "calibrate colour  measured"),
        (["--help"], "expectation over transformation (EOT)"),
    ],
)
def test_help_is_no_error(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["liev"], "unknown command 'liev'; did you mean live?"),
        (["help", "evalute"], "did you mean evaluate?"),
        (["calibrate", "color"], "did you mean colour?"),
        (["live", "--detectr", "x"], "physadv live: unknown flag --detectr; did you mean --detector?"),
        (["live", "--weer-size=3"], "did you mean --wear-size?"),
        (["live", "--no-comapre"], "unknown flag --no-comapre; did you mean --no-compare?"),
        (["live", "--version"], "unknown flag --version; --help shows what is taken"),
        (["train", "--out"], "physadv train: --out: expected FOLDER, got none"),
        (["train", "--images"], "--images: expected PATH or more, got none"),
        (["live", "--config"], "--config: expected FILE, got none"),
        (["live", "--seconds", "--frames", "3"], "--seconds: expected SECONDS, got none"),
        (["advise", "x", "--distance", "-2m"], "a value that begins with a dash is written --distance=-2m"),
        (["live", "--realtime=maybe"], "--realtime: expected no value, or true or false, got 'maybe'"),
        (["train", "--images", "x", "--crops", "64,a"], "train: --crops: expected a valid integer, got 'a'\n"),
        (["advise", "webcam", "--resolution", "640"], "--resolution: expected WIDTHxHEIGHT such as 1280x720, got"),
        (["print"], "physadv print: expected PATTERN or --trigger, got none; --help shows what is taken"),
        (["show"], "physadv show: expected PATTERN, got none; --help shows what is taken"),
        (["live", "webcam"], "got 'webcam', which belongs to no flag; --help shows what is taken"),
    ],
)
def test_what_was_meant_is_said_in_one_line(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    (line,) = capsys.readouterr().err.splitlines(keepends=True)
    assert words in line
