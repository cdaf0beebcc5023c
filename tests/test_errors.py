"""An error names its field in the library's words; it can be wrapped, copied and sent, and edges spell it."""

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor

import pytest
from pydantic import BaseModel, ValidationError, model_validator

from physadv.cli import terminal
from physadv.errors import FabricationError, PhysadvError, SettingsError, SourceError, naming
from physadv.settings import Settings, fault, one_line, parse


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PhysadvError("no room"), "no room"),
        (SettingsError(field="size", expected="1 to 300 cm", got="500 cm"), "size: expected 1 to 300 cm, got 500 cm"),
        (SettingsError("a.icc is for RGB", field="cmyk", expected="CMYK"), "cmyk: a.icc is for RGB: expected CMYK"),
        (SettingsError("taken", field="out", hint="give `overwrite`"), "out: taken; give `overwrite`"),
        (SettingsError("two\n  lines", hint="one\nmore"), "two lines; one more"),
        (SettingsError("a", field="f", expected="b", got="c", hint="d"), "f: a: expected b, got c; d"),
    ],
)
def test_it_is_one_line(error: PhysadvError, line: str) -> None:
    assert str(error) == line
    assert error.marked == (f"`{error.field}`{line.removeprefix(error.field)}" if error.field else line)


def _raised(field: str) -> None:
    raise SourceError("gone", field=field, hint="look")


def test_it_is_copied_and_sent_whole() -> None:
    error = SourceError("gone", field="source", expected="a camera", got="none", hint="look")
    for same in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(same) is SourceError and str(same) == str(error) and vars(same) == vars(error)
    with ProcessPoolExecutor(1) as pool, pytest.raises(SourceError, match=r"^source: gone; look$"):
        pool.submit(_raised, "source").result()


def test_a_caller_names_the_field_and_leaves_one_that_is_named() -> None:
    with pytest.raises(FabricationError, match=r"^region: no white area$") as caught, naming("region"):
        raise FabricationError("no white area")
    assert isinstance(caught.value.__cause__, FabricationError)
    with pytest.raises(FabricationError, match=r"^scale: "), naming("region"):
        raise FabricationError(field="scale", expected="0 to 1")
    with pytest.raises(ValueError, match=r"^mine$"), naming("region"):
        raise ValueError("mine")
    first = SourceError("gone", field="source")
    assert str(first.at("images")) == "images: gone" and str(first) == "source: gone"


class Part(BaseModel):
    rows: list[int] = []


class Verb(Settings):
    size: int = 1
    wear_size: float = 1.0
    part: Part = Part()

    @model_validator(mode="after")
    def _fits(self) -> "Verb":
        if self.size > 3:
            raise ValueError("wear_size: expected more, got 1")
        return self


@pytest.mark.parametrize(
    ("values", "field", "marked"),
    [
        ({"size": "x"}, "size", "`size`: expected a valid integer, got 'x'"),
        ({"size": 4}, "wear_size", "`wear_size`: expected more, got 1"),
        ({"part": {"rows": [1, "x"]}}, "part.rows", "`part.rows`: expected a valid integer, got 'x'"),
        ({"size": "x", "wear_size": "y"}, "size",
         "`size`: expected a valid integer, got 'x'; `wear_size`: expected a valid number, got 'y'"),
    ],
)  # fmt: skip
def test_settings_name_the_field(values: dict[str, object], field: str, marked: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(Verb, values)
    assert (caught.value.field, caught.value.marked) == (field, marked)


def test_a_made_up_name_is_quoted() -> None:
    with pytest.raises(SettingsError) as caught:
        parse(Verb, {"Two\nlines `x`": 1})
    assert (caught.value.field, str(caught.value)) == (None, "'Two\\nlines `x`': is not known here, got 1")


def test_of_a_file_the_place_is_said_and_no_field() -> None:
    with pytest.raises(SettingsError, match=r"^a.json: part.rows.1: expected a valid integer, got 'x'$") as caught:
        parse(Verb, {"part": {"rows": [1, "x"]}}, what="a.json")
    assert caught.value.field is None
    with pytest.raises(ValidationError) as faults:
        Verb.model_validate({"size": "x"})
    assert str(fault(faults.value)) == one_line(faults.value) == "size: expected a valid integer, got 'x'"


def test_the_command_line_prints_flags_and_the_words_of_its_usage() -> None:
    terminal.call_fields({"patch": "PATTERN"})
    try:
        text = "`patch`: x; `wear_size`, `backend=torch`, `geometry.tilt`, `physadv learn erase`, ` ` and `A`"
        said = "PATTERN: x; --wear-size, --backend torch, --geometry.tilt, `physadv learn erase`, ` ` and `A`"
        assert terminal.shown(text) == said
    finally:
        terminal.call_fields({})
