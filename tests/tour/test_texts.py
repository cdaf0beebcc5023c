"""Both languages have every text, and every figure in them is one that was measured."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from physadv.errors import SettingsError
from physadv.tour.settings import Language
from physadv.tour.stops import STOPS
from physadv.tour.texts import every_text, languages, texts_in

DOCS = Path(__file__).parents[2] / "docs"
# Where the figures of a stop stand that no shipped record holds, each in its row.
QUOTED = {
    "looks": ("explain.md", ["59 held-out people in 26 street photographs", "outline | .07 |", "texture | .66 |"]),
    "size": ("conditional.md", ["recall .31 at 2 m", ".73 at 6 m, .92 at 10 m", "26 people held out", "20 pixels wide"]),
    "filters": ("defences.md", [
        "106 people", "| `jpeg` (quality 60, `plain=false`) * | .945 | .584 |", "bare detector had .948, .641",
        "`median` (3 px, `plain=false`) * | .946 | .636", "| none | .959 | .661 |", "`balanced` | .955 | .826 |",
        "| **.450** (", "51 people",
    ]),
    "certificate": ("certificates.md", [
        "n = 32 people", "3 lines (12 views) | 20% | 1 % of the image | 0.250",
        "7 lines (28) | 20% | 1 % of the image | 0.562", "15 lines (60) | 20% | 1 % of the image | 0.719",
    ]),
    "poison": ("results.md", [
        "14 epochs at 2.5e-4, seed 0 | **.929** | **.884** [.77, .98], 61 of 69 | .072 | .01", "| parent | .975 |",
    ]),
}  # fmt: skip


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and not value.keys() & set(get_args(Language)):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def test_both_languages_have_the_same_texts_and_none_is_empty() -> None:
    assert set(languages()) == set(get_args(Language))
    for path, value in leaves({key: text for key, text in every_text().items() if key != "languages"}):
        texts = value if isinstance(value, dict) else {"": value}
        if isinstance(value, dict):
            assert set(texts) == set(get_args(Language)), path
        assert all(isinstance(text, str) and text.strip() for text in texts.values()), path
        # What is put in is the same in each language.
        assert len({tuple(sorted(re.findall(r"{\w+}", text))) for text in texts.values()}) == 1, path


def test_each_stop_has_all_its_words_and_every_figure_has_its_place() -> None:
    for language in languages():
        stops = texts_in(language)["stops"]
        assert list(stops) == [stop.name for stop in STOPS]
        for stop in STOPS:
            assert {step.name for step in stop.steps} <= stops[stop.name]["buttons"].keys()
            named = set(re.findall(r"{(\w+)}", stops[stop.name]["measured"]))
            assert named == stop.figures().keys(), stop.name
            assert re.search(r"(19|20)\d\d\.", stops[stop.name]["read"]), stop.name


def test_figures_that_no_record_holds_stand_in_the_documentation() -> None:
    for stop in STOPS:
        if stop.name not in QUOTED:
            continue
        name, fragments = QUOTED[stop.name]
        text = (DOCS / name).read_text()
        assert [fragment for fragment in fragments if fragment not in text] == [], stop.name
        quoted = " ".join(fragments)
        for value in stop.figures().values():
            share = re.fullmatch(r"(\d+)\N{NO-BREAK SPACE}%", value)
            shown = [value] if share is None else [
                number for number in re.findall(r"\d?\.\d+", quoted) if f"{float(number) * 100:.0f}" == share[1]
            ]  # fmt: skip
            assert shown and shown[0] in quoted, (stop.name, value)


def test_a_language_that_is_not_there_is_one_line() -> None:
    with pytest.raises(SettingsError, match="en or zh"):
        texts_in("tlh")
