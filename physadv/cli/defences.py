"""`physadv defences`: every defence with what it costs, and the parameters of one."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from pydantic import Field
from rich.console import Console

from physadv.cli.console import plain_table, table_console
from physadv.cli.detectors import Layout, rounded_imgsz, with_layouts
from physadv.cli.terminal import say
from physadv.defend import PRESETS, known_defences, parse_pipeline
from physadv.defend.costs import measure_costs
from physadv.detect.runs import LabRun, Robustness, find_runs, robustness_of
from physadv.detect.weights import DEFAULT_DETECTOR
from physadv.errors import DefenceError, did_you_mean
from physadv.settings import DetectorName, Imgsz, Positional, Settings, form_of
from physadv.types import Frame

BOUNDS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}


EXAMPLES = ("physadv defences", "physadv defences vote", "physadv defences balanced --measure")
LABEL = "physadv defences"
# Images on which costs are measured: some seconds, of which a tenth warms up.
MEASURED = 60


class DefencesVerb(Settings):
    """Which defence is explained, and how."""

    name: Positional[str | None] = Field(default=None, description="a defence or a preset; without it all of them")
    measure: bool = Field(
        default=False,
        description="say what it costs on this machine, without a name each preset; takes seconds, best while nothing "
        "else runs",
    )
    detector: DetectorName = Field(
        default=DEFAULT_DETECTOR, min_length=1, description="with `measure`: detector that is defended, name or path"
    )
    layout: Layout = None
    imgsz: Imgsz = Field(default=640, description="with `measure`: long side of its input in pixels")
    as_json: bool = Field(default=False, alias="json", description="print one JSON object instead of tables")


def run(settings: DefencesVerb) -> int:
    """List all defences and presets, or the parameters of one; or measure what they cost here.

    Raises: DefenceError for a name that is not known. WeightsError, BackendError if the detector cannot be loaded.
    """
    name = settings.name
    defences, broken = known_defences()
    for line in broken:
        say(f"{LABEL}: {line}", error=True)
    if name is not None and name not in {**defences, **PRESETS}:
        known = [*PRESETS, *defences]
        hint = did_you_mean(name, known) or f"; expected one of {', '.join(known)}"
        raise DefenceError(f"unknown defence {name!r}{hint}")
    if settings.measure:
        _measure(settings)
    elif settings.as_json:
        print(json.dumps(_all() if name is None else _one(name), indent=2, ensure_ascii=False))
    elif name is None:
        _show_all(table_console())
    else:
        _show_one(_one(name), table_console())
    return 0


def _measure(settings: DefencesVerb) -> None:
    from physadv.capture.sample import SampleSource
    from physadv.capture.settings import CaptureSettings
    from physadv.detect import load_detector

    detector = load_detector(
        *with_layouts([settings.detector], settings.layout), imgsz=rounded_imgsz(settings.imgsz, LABEL)
    )
    camera = SampleSource(CaptureSettings(width=640, height=480))
    frames = [Frame(camera.image(i), i, 0, i / 30) for i in range(MEASURED)]
    names = list(PRESETS) if settings.name is None else [settings.name]
    costs = measure_costs({name: parse_pipeline(name) for name in names}, detector, frames)
    if settings.as_json:
        found = {name or "none": {"ms": cost.ms, "ratio": cost.ratio, "fps": cost.fps} for name, cost in costs.items()}
        print(json.dumps({"backend": detector.backend, "precision": detector.precision, "costs": found}, indent=2))
        return
    console = table_console()
    rows = [
        (name or "none", f"{cost.ms:.1f}", f"{cost.ratio:.2f}", f"about {cost.fps:.0f}") for name, cost in costs.items()
    ]
    console.print(plain_table(("defence", "ms an image", "over none", "images a second here"), rows))
    console.print(
        f"\n{detector.name} at {detector.imgsz} px on {detector.backend} {detector.precision}, a video of 640 x 480; "
        "detector and defence alone, without page or recording",
        markup=False,
        highlight=False,
    )


def example(name: str) -> str:
    """Return a defence as `--defend` takes it, with two of its own parameters where it has so many."""
    kind = known_defences()[0][name]
    fields = {k: kind.model_fields[k].default for k in kind.__annotations__ if k in kind.model_fields}
    shown = [(k, v) for k, v in fields.items() if v not in (None, "") and not isinstance(v, bool)][:2]
    values = "+".join(f"{k}={v}" for k, v in shown)
    return f"{name}:{values}" if values else name


def _all() -> dict[str, Any]:
    hardened = [
        {"detector": str(run.folder), "about": run.about, **(asdict(found) if found is not None else {})}
        for run, found in _hardened()
    ]
    return {"defences": [_one(name) for name in known_defences()[0]], "presets": PRESETS, "hardened": hardened}


def _hardened() -> list[tuple[LabRun, Robustness | None]]:
    """Return the hardened detectors that are found here, with what an evaluation says of each."""
    return [(run, robustness_of(run)) for run in find_runs() if run.kind == "hardened"]


def _one(name: str) -> dict[str, Any]:
    if name in PRESETS:
        return {"name": name, "preset": PRESETS[name]}
    defence = known_defences()[0][name]
    return {
        "name": name,
        "title": defence.title,
        "kind": "certified" if defence.certifies else "empirical",
        "cost": defence.cost,
        "paper": defence.paper,
        "parameters": {name: _parameter(field) for name, field in form_of(defence).items()},
        "example": example(name),
    }


def _parameter(field: dict[str, Any]) -> dict[str, Any]:
    """Return type, range, default and description of a parameter."""
    choices = field.get("enum", [])
    words = [f"{word} {field[key]:g}" for key, word in BOUNDS.items() if key in field]
    return {
        "type": field.get("type", "string"),
        "range": ", ".join(map(str, choices)) or " ".join(words),
        "default": field.get("default"),
        "description": field.get("description", ""),
    }


def _show_all(console: Console) -> None:
    found = map(_one, known_defences()[0])
    rows = [(d["name"], d["title"], d["kind"], d["cost"]) for d in found]
    console.print(plain_table(("defence", "what it does", "claim", "cost beyond the detector's pass"), rows))
    console.print()
    console.print(plain_table(("preset", "is"), list(PRESETS.items())))
    lines = ["parameters of one: physadv defences NAME; several are joined by commas: --defend erase,persistence"]
    lines.append("a hardened detector costs nothing at run time: physadv lab harden makes one, --detector RUN takes it")
    for run, figures in _hardened():
        measured = f"{figures.words}." if figures is not None else "No evaluation of it is here."
        lines.append(f"  --detector {run.folder}: {run.about} {measured}")
    for line in lines:
        console.print(f"\n{line}" if line is lines[0] else line, markup=False, highlight=False)


def _show_one(found: dict[str, Any], console: Console) -> None:
    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False)

    if "preset" in found:
        say(f"{found['name']}: a preset, the same as --defend {found['preset']}")
        return
    say(f"{found['name']}: {found['title']}")
    say(f"{found['kind']}; cost: {found['cost']}\nsource: {found['paper']}\n")
    columns = ("parameter", "type", "range", "default", "what it is")
    rows = [
        (name, p["type"], p["range"], "none" if p["default"] in (None, "") else str(p["default"]), p["description"])
        for name, p in found["parameters"].items()
    ]
    console.print(plain_table(columns, rows))
    say(f"\nexample: physadv live --defend {found['example']}")
