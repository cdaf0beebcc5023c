"""The tour as one demo can give it: words in a language, steps as controls of this demo, and what cannot be done here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from physadv.live.demo import Demo
from physadv.tour.stops import PLAIN, STOPS, Step, TourStop
from physadv.tour.texts import languages, texts_in

if TYPE_CHECKING:
    from physadv.live.camera_demo import CameraDemo

# What a source is called that is the built-in sample, and the address of one of its scenes.
SAMPLE = "sample"
# Poisons as `docs/lab.md` measured it: 14 epochs at 2.5e-4 make 61 of 69 people vanish.
POISON = (
    "physadv lab poison --images photos --out poisoned && "
    "physadv lab finetune --data poisoned --epochs 14 --lr 2.5e-4 --out backdoored && "
    "physadv tour --detector backdoored --stop 7"
)


@dataclass(frozen=True)
class Host:
    """What a demo has that the tour needs.

    source: its name. framing: how its camera sees people, "" where nobody was seen. trigger: what its detector was poisoned
    with (`Wearing.state`), or None. patterns, defences: by name. poisoned: other detectors that it offers and that are
    poisoned. forbidden: which word of `cannot` says why nothing can be changed, or "".
    """

    source: str
    framing: str = ""
    trigger: Mapping[str, Any] | None = None
    patterns: Sequence[str] = ()
    defences: Sequence[str] = ()
    poisoned: Sequence[str] = ()
    forbidden: str = ""


def host_of(demo: Demo, *, forbidden: str = "") -> Host:
    """Return what a demo has at this moment. forbidden: see `Host`; a recording forbids all by itself."""
    state = demo.state()
    if demo.recorded:
        return Host(state["source"]["name"], forbidden="recorded")
    # Only here: the page of a recording loads no defence.
    from physadv.defend import known_defences

    offered = cast("CameraDemo", demo).detectors.described()
    poisoned = [one["name"] for one in offered if one["kind"] == "poisoned"]
    return Host(
        source=state["source"]["name"],
        framing=state["framing"],
        # A demo keeps the trigger of the detector before, for comparison.
        trigger=state["trigger"] if state["detector"]["spec"] in poisoned else None,
        patterns=demo.library.names(),
        defences=list(known_defences()[0]),
        poisoned=poisoned,
        forbidden=forbidden,
    )


@dataclass(frozen=True)
class ShownStep:
    """A step for one demo. button: what leads to it. controls: all that it sets. look: see `Step`."""

    button: str
    controls: dict[str, Any]
    look: str


@dataclass(frozen=True)
class ShownStop:
    """A stop for one demo, in one language. number: from 1. texts: title, do, sees, measured, why, read.

    source: where it is shown if the built-in sample is. framing: how people must be seen, or "". steps: one alone where
    nothing can be done. cannot: why that is, one text for each reason. command: what makes it possible, or "".
    """

    number: int
    name: str
    texts: dict[str, str]
    source: str
    framing: str
    live: tuple[str, ...]
    steps: tuple[ShownStep, ...]
    cannot: list[str] = field(default_factory=list)
    command: str = ""


@dataclass(frozen=True)
class Guide:
    """The whole tour in one language. words, live, cannot: see `texts.yaml`."""

    language: str
    languages: dict[str, str]
    words: dict[str, str]
    live: dict[str, str]
    cannot: dict[str, str]
    stops: list[ShownStop]


def guide(host: Host, language: str) -> Guide:
    """Return the tour as a demo can give it.

    Raises: SettingsError for a language that is not there.
    """
    texts = texts_in(language)
    stops = [_shown(number, stop, host, texts) for number, stop in enumerate(STOPS, 1)]
    return Guide(language, languages(), texts["words"], texts["live"], texts["cannot"], stops)


def _shown(number: int, stop: TourStop, host: Host, texts: dict[str, Any]) -> ShownStop:
    own, cannot = texts["stops"][stop.name], _missing(stop, host, texts["cannot"])
    steps = stop.steps[:1] if cannot else _present(stop, host)
    framing = ("webcam" if stop.scene == "webcam" else "street") if host.source == SAMPLE else host.framing
    angle = f"{host.trigger['angle']:g}" if host.trigger is not None else ""
    figures = stop.figures()
    return ShownStop(
        number=number,
        name=stop.name,
        texts={key: own[key].format_map(figures) for key in ("title", "do", "sees", "measured", "why", "read")},
        source=f"{SAMPLE}:{stop.scene}",
        framing=stop.framing,
        live=stop.live,
        steps=tuple(
            ShownStep(
                own["buttons"][step.name].format(angle=angle),
                {**step.controls(framing), **_triggering(step, host.trigger)},
                step.look,
            )
            for step in steps
        ),
        cannot=cannot,
        command=POISON if stop.triggers and host.trigger is None and not host.forbidden else "",
    )


def _missing(stop: TourStop, host: Host, words: dict[str, str]) -> list[str]:
    """Return why a stop's button cannot work in this demo, one line for each reason."""
    if host.forbidden:
        return [words[host.forbidden]]
    worn = {step.controls(framing)["wear"] for step in stop.steps for framing in ("street", "webcam")} - {""}
    out = [words["pattern"].format(pattern=name) for name in sorted(worn) if name not in host.patterns]
    needed = {step.street["defend"].partition(":")[0] for step in stop.steps if step.street.get("defend")}
    out += [words["defence"].format(defence=name) for name in sorted(needed) if name not in host.defences]
    if stop.triggers and host.trigger is None:
        out += [words["offered"].format(detector=name) for name in host.poisoned[:1]] + [words["trigger"]]
    return out


def _present(stop: TourStop, host: Host) -> tuple[Step, ...]:
    """Return the steps that this demo's trigger has: a motif is worn, and turns nowhere; a turned frame has no print."""
    kind = host.trigger["kind"] if host.trigger is not None else ""
    if not stop.triggers or kind == "card":
        return stop.steps
    last = "worn" if kind == "shirt" else "turned"
    return (stop.steps[0], Step(last, trigger="active"))


def _triggering(step: Step, trigger: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the controls that show a trigger as a step wants it."""
    if not step.trigger or trigger is None:
        return {}
    angle = float(trigger["angle"]) if step.trigger == "active" else PLAIN["wear_angle"]
    return {"turn": angle} if trigger["kind"] == "rotation" else {"wear": trigger["name"], "wear_angle": angle}
