"""Settings: what a form shows of them, the types that their fields have, and what is refused."""

import re
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from physadv.errors import SettingsError
from physadv.fabricate.settings import AdviceSettings, PrintSettings
from physadv.fabricate.units import Centimetres
from physadv.live.settings import Controls, LiveSettings
from physadv.settings import Names, Settings, form_of, labels_of, parse

STATIC = Path(__file__).parent.parent / "physadv" / "web" / "static"


class Kite(Settings):
    """What flies."""

    width: Centimetres | None = Field(default=None, ge=10, le=200, title="Width", description="from tip to tip")
    tail: Literal["long", "short"] = Field(default="long", json_schema_extra={"choices": {"long": "a long tail"}})
    strings: Names = Field(default=[], description="what holds it")


def test_a_form_is_flat() -> None:
    form = form_of(Kite)
    assert form["width"] | {"title": "Width", "unit": "cm", "type": "number", "default": None} == form["width"]
    assert form["tail"]["enum"] == ["long", "short"] and form["tail"]["default"] == "long"
    assert labels_of(Kite) == {"width": "Width", "tail=long": "a long tail"}


@pytest.mark.parametrize(("given", "width"), [("36", 36), ("360mm", 36), (0.5 * 100, 50), (None, None)])
def test_a_length_is_a_number_or_a_text_with_its_unit(given: object, width: float | None) -> None:
    assert parse(Kite, {"width": given}).width == width


@pytest.mark.parametrize(
    ("values", "field"), [({"width": "4m"}, "width"), ({"width": "wide"}, "width"), ({"tial": "long"}, "tial")]
)
def test_what_cannot_be_names_its_field(values: dict[str, object], field: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(Kite, values)
    assert caught.value.field == field


def test_names_stand_alone_or_between_commas() -> None:
    assert Kite(strings=["a,b", "c"]).strings == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("page", "models"), [("print.html", (PrintSettings, AdviceSettings)), ("index.html", (Controls, LiveSettings))]
)
def test_a_page_labels_no_field_that_settings_lack(page: str, models: tuple[type[Settings], ...]) -> None:
    """Beside the settings a print has a pattern, which the page takes from its list."""
    known = {name for model in models for name, info in model.model_fields.items() if info.title} | {"pattern"}
    labels = re.findall(
        r"data-title[^>]*>.*?</span>.*?<(?:input|select)[^>]* id=\"(\w+)\"", (STATIC / page).read_text()
    )
    assert labels and set(labels) <= known
