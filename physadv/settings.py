"""The base of every settings model: one schema for flags, TOML or YAML files, the web API and the saved record."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema

from physadv.address import masked
from physadv.errors import FIELD, SettingsError

# Heading of a help page -> the fields under it.
Groups = dict[str, tuple[str, ...]]


class Settings(BaseModel):
    """Immutable settings. Unknown names are refused, so a misspelt key never passes silently; NaN and infinity too.

    groups: how a help page orders the fields, the most used first.
    """

    groups: ClassVar[Groups] = {}

    # In a configuration file a text may look like a number: `source: 0`.
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True, coerce_numbers_to_str=True
    )


@dataclass(frozen=True)
class Metavar:
    """What stands for a value in help pages (`SECONDS`); in the JSON schema it is the field's `unit`."""

    text: str

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the schema of the value, with its unit."""
        return {**handler(schema), "unit": self.text.lower()}


@dataclass(frozen=True)
class Mark:
    """What a field is on the command line, where it is not a flag like others."""

    kind: str


# A word by itself; not on the command line at all.
POSITIONAL, NO_FLAG = Mark("positional"), Mark("no flag")


def each_apart(values: Sequence[str]) -> list[str]:
    """Return each name or path by itself where a value holds several between commas; a path with a comma stays whole."""
    # `Path.exists` raises for a list that is too long to be a name; `os.path.exists` returns False.
    names = [n.strip() for v in values for n in ([v] if os.path.exists(v) else v.split(","))]  # noqa: PTH110
    return [n for n in names if n]


# What fields hold, by what stands for it in help pages. `Names` splits values at commas; a `list[str]` leaves them whole.
T = TypeVar("T")
Positional = Annotated[T, POSITIONAL]
Names = Annotated[list[str], AfterValidator(each_apart)]
Folder = Annotated[Path, Metavar("FOLDER")]
Seconds = Annotated[float, Metavar("SECONDS")]
Pixels = Annotated[int, Metavar("PIXELS")]
PatternName = Annotated[str, Metavar("PATTERN")]
DetectorName = Annotated[str, Metavar("MODEL")]
Defences = Annotated[str, Metavar("DEFENCES")]
SourceName = Annotated[str, Metavar("SOURCE")]
Host = Annotated[str, Metavar("ADDRESS")]
Secret = Annotated[str, Metavar("SECRET")]
Imgsz = Annotated[
    int,
    Metavar("PIXELS"),
    Field(ge=32, le=4096, description="long side of the network's input, rounded up to a multiple of its stride (32)"),
]


# What pydantic says, and what we do: one form for its messages and ours.
PLAIN = (
    (r"^Value error, ", ""),
    (r"^(Input|String|List|Value) should (be|have|match) ", "expected "),
    (r"^Field required$", "is missing"),
    (r"^Extra inputs are not permitted$", "is not known here"),
    (r"less than or equal to", "at most"),
    (r"greater than or equal to", "at least"),
    (r"greater than", "more than"),
    (r", unable to .*$", ""),
)
GOT = 80


# What pydantic raises, or what its `errors` returned.
Faults = ValidationError | Iterable[Mapping[str, Any]]


def fault(found: Faults) -> SettingsError:
    """Return the error for what pydantic found wrong with a user's values: its field is that of the first fault."""
    # The index within a list is left out: nobody counts the parts of `--crops 224,foo`.
    (field, text), *others = _faults(found, indices=False)
    more = [f"`{name}`: {what}" if name else what for name, what in others]
    if not FIELD.fullmatch(f"`{field}`"):
        # A fault of the whole model, or a name that somebody made up, whatever is in it.
        return SettingsError("; ".join([f"{_short(field)}: {text}" if field else text, *more]))
    return SettingsError("; ".join([text, *more]), field=field)


def one_line(found: Faults) -> str:
    """Return what pydantic found wrong with the contents of a file: each place with what was expected and what came."""
    return "; ".join(f"{place}: {text}" if place else text for place, text in _faults(found, indices=True))


def _faults(found: Faults, *, indices: bool) -> list[tuple[str, str]]:
    """Return the place and the text of each fault; "" for a fault of the whole model."""
    out: list[tuple[str, str]] = []
    items = found.errors(include_url=False) if isinstance(found, ValidationError) else list(found)
    for item in items:
        # pydantic counts the parts of a list that are right: of `--crops 224,foo` it says too that there are too few.
        within = [i for i in items if i is not item and i["loc"][: len(item["loc"])] == item["loc"]]
        if item["type"] == "too_short" and within:
            continue
        place = ".".join(str(p) for p in item["loc"] if indices or not isinstance(p, int))
        text = _plain(item["msg"])
        # A model's own validator, which pydantic gives no place, names the field in front.
        if not place and (named := re.match(r"([a-z_]+): ", text)):
            place, text = named[1], text[named.end() :]
        got = "" if item["type"] in ("missing", "value_error") else f", got {_short(item['input'])}"
        out.append((place, f"{text[:1].lower()}{text[1:]}{got}" if place else f"{text}{got}"))
    return out


def _plain(message: str) -> str:
    for theirs, ours in PLAIN:
        message = re.sub(theirs, ours, message)
    return message


def _short(value: object) -> str:
    # Masked before it is cut: half an address does not show what in it is secret.
    text = repr(masked(value) if isinstance(value, str) else value)
    return text if len(text) <= GOT else f"{text[:GOT]}…"


S = TypeVar("S", bound=Settings)


def parse(model: type[S], values: dict[str, Any], *, what: str = "") -> S:
    """Return `model` built from plain values.

    what: where the values come from, if not from the user's own fields: a file, a defence's text.

    Raises: SettingsError with one line that names every field at fault.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise (SettingsError(f"{what}: {one_line(error)}") if what else fault(error)) from error


def form_of(model: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """Return how a form shows each field of a model: title, description, type, range, unit and default of its JSON schema.

    What is optional is shown as what it may hold; `enum` holds the choices.
    """
    schema = model.model_json_schema()
    out = {}
    for name, raw in schema.get("properties", {}).items():
        known: dict[str, Any] = next((p for p in raw.get("anyOf", []) if p.get("type") != "null"), {})
        shown = {**known, **raw}
        shown = {**schema.get("$defs", {}).get(shown.pop("$ref", "").rpartition("/")[2], {}), **shown}
        shown.pop("anyOf", None)
        if "const" in shown:
            shown["enum"] = [shown.pop("const")]
        out[name] = shown
    return out


def labels_of(model: type[BaseModel]) -> dict[str, str]:
    """Return what a form calls the fields of a model (`size`) and their choices (`garment=panels`)."""
    out = {}
    for name, info in model.model_fields.items():
        if info.title:
            out[name] = info.title
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        choices = extra.get("choices")
        out |= {f"{name}={value}": str(label) for value, label in choices.items()} if isinstance(choices, dict) else {}
    return out
