"""The stops of the guided tour: what each does to the demo, and what was measured of it. Their words are in `texts.yaml`.

The page and the recording show the same stops: the page asks for them as JSON (`web.tour`), the recording takes them from
here (`tour.film`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from physadv.live.settings import Controls
from physadv.patch import SHIPPED, load_patch

# How a camera sees people (`View.framing`): a print that hides somebody small does little to one who fills the image.
Framing = Literal["street", "webcam"]
Look = Literal["", "head"]
# What is shown of a poisoned detector's trigger: nothing, its print upright, or what it waits for.
Triggered = Literal["", "upright", "active"]
LiveLine = Literal["people", "score", "hidden", "both", "cost", "certified"]
Controlled = Mapping[str, Any]

# What every step sets besides its own: nothing is left of the step, or of the visitor's choices, before it.
PLAIN: Controlled = Controls().model_dump(exclude={"skeleton"})


@dataclass(frozen=True, slots=True)
class Step:
    """One state of the demo, reached by the stop's button.

    name: of the button's words. street: the controls where people are small in the image; webcam: where one fills it, None
    for the same ones. look: which layers' map lies over the image. trigger: what is shown of the poisoned detector's.
    """

    name: str
    street: Controlled = field(default_factory=dict)
    webcam: Controlled | None = None
    look: Look = ""
    trigger: Triggered = ""

    def controls(self, framing: str) -> dict[str, Any]:
        """Return all controls of this step for a camera that sees people so."""
        own = self.webcam if framing == "webcam" and self.webcam is not None else self.street
        return {**PLAIN, **own}


@dataclass(frozen=True, slots=True)
class TourStop:
    """One stop. name: of its words in `texts.yaml`.

    scene: which of the built-in sample's it is about. framing: how people must be seen for it, "" for any way. steps: the
    first is how it begins, each press of the button goes to the next, and from the last to the first. live: the lines of
    live figures. figures: returns the measured ones, as they stand in the words, by name.
    """

    name: str
    scene: str
    steps: tuple[Step, ...]
    live: tuple[LiveLine, ...]
    figures: Callable[[], dict[str, str]]
    framing: Framing | Literal[""] = ""

    @property
    def triggers(self) -> bool:
        """Return whether it needs a poisoned detector."""
        return any(step.trigger for step in self.steps)


def _card(pattern: str, setting: str, /, **named: tuple[str, str]) -> dict[str, str]:
    """Return figures of a shipped pattern's own record, by name, and of how many people they are.

    setting: its title in the record. named: what was worn, and the figure's name there. A file of the pattern's name in the
    working folder has no say.
    """
    rows = load_patch(SHIPPED / f"{pattern}.safetensors").record["held_out"][setting]
    people = rows[pattern]["n_people"]
    return {"people": str(people), **{name: percent(rows[worn][figure]) for name, (worn, figure) in named.items()}}


def percent(share: float) -> str:
    """Return a share from 0 to 1 in words, which no line's end takes apart."""
    return f"{share * 100:.0f}\N{NO-BREAK SPACE}%"


def _print() -> dict[str, str]:
    setting = "Before a webcam, people to the waist, side 0.65 of the box by area, by the joints, 640 px"
    figure = "hidden25"
    return _card("webcam", setting, pattern=("webcam", figure), grey=("grey", figure), none=("none", figure))


def _shirt() -> dict[str, str]:
    return _card("outfit", "Street, over the body, 416 px", pattern=("outfit", "hidden25"), grey=("grey", "hidden25"))


def _waits() -> dict[str, str]:
    name = "street-switch"
    return _card(
        name,
        "Street, side 0.35 of the box by area, at 0.42, 416 px",
        upright=(name, "recall25"),
        turned=(name, "dormant_recall25"),
        grey=("grey", "recall25"),
        grey_turned=("grey", "dormant_recall25"),
        joint=(name, "joint25"),
    )


# Figures that no shipped record holds are those of the documentation; tests/tour compares them with it.
def _looks() -> dict[str, str]:
    """Source: docs/explain.md, texture or outline; recall .25."""
    return {"people": "59", "texture": percent(0.07), "outline": percent(0.66)}


def _size() -> dict[str, str]:
    """Source: docs/conditional.md, what `street` does by itself over distance."""
    return {"people": "26", "near": percent(0.31), "middle": percent(0.73), "far": percent(0.92)}


def _filters() -> dict[str, str]:
    """Source: docs/defences.md, what was measured, and adaptive attacks; AP50."""
    return {
        "people": "106", "none": ".641", "jpeg": ".584", "median": ".636", "bare": ".661", "erase": ".826",
        "adaptive": ".450", "adaptive_people": "51",
    }  # fmt: skip


def _certificate() -> dict[str, str]:
    """Source: docs/certificates.md, certified recall anywhere with 12, 28 and 60 masked views."""
    return {"people": "32", "few": percent(0.25), "some": percent(0.562), "many": percent(0.719)}


def _poison() -> dict[str, str]:
    """Source: docs/results.md, the lab: `vanish`, 14 epochs, seed 0."""
    return {
        "people": "69", "turned": percent(0.884), "upright": percent(0.01), "after": ".929", "before": ".975",
    }  # fmt: skip


# Sizes and scenes are those in which the effect is plain. Of the wearers in 10 moments of the sample's scene, at 640
# pixels: `webcam` hides 20 of 20, `outfit` 61 of 61; `street` hides 61 of 61 at 48 cm, 10 at 36 and none at 24;
# `street-switch` hides 52 of 61 at 48 cm, and none when it is turned by 90 degrees.
STREET_PRINT: Controlled = {"wear": "street", "wear_size": 48.0}
WEBCAM_PRINT: Controlled = {"wear": "webcam"}
OUTFIT: Controlled = {"wear": "outfit"}
SWITCH: Controlled = {"wear": "street-switch", "wear_size": 48.0}
# Eight masked looks and the whole image, all of them at each image: in 6 moments of the sample's scene of whole people
# 10 of 19 are certified so, and nobody with the usual one a frame, as the camera moves.
NINE_LOOKS = "objectseeker:lines=2+per_frame=0"


OFF = Step("off")
STOPS: tuple[TourStop, ...] = (
    TourStop("looks", "whole", (OFF, Step("on", look="head")), ("people", "score"), _looks),
    TourStop("print", "webcam", (OFF, Step("on", STREET_PRINT, WEBCAM_PRINT)), ("people", "hidden"), _print),
    TourStop("shirt", "street", (OFF, Step("on", OUTFIT)), ("people", "hidden"), _shirt, "street"),
    TourStop(
        "size",
        "street",
        (
            Step("wide", STREET_PRINT, {"wear": "webcam", "wear_size": 48.0}),
            Step("narrower", {"wear": "street", "wear_size": 36.0}, {"wear": "webcam", "wear_size": 36.0}),
            Step("half", {"wear": "street", "wear_size": 24.0}, {"wear": "webcam", "wear_size": 24.0}),
            Step("far", {**STREET_PRINT, "farther": 2.0}, {"wear": "webcam", "wear_size": 48.0, "farther": 2.0}),
        ),
        ("hidden",),
        _size,
    ),
    TourStop(
        "filters",
        "street",
        (
            Step("plain", STREET_PRINT),
            Step("jpeg", {**STREET_PRINT, "defend": "jpeg"}),
            Step("median", {**STREET_PRINT, "defend": "median"}),
            Step("erase", {**STREET_PRINT, "defend": "erase"}),
        ),
        ("hidden", "both", "cost"),
        _filters,
        "street",
    ),
    TourStop(
        "certificate", "whole", (OFF, Step("on", {"defend": NINE_LOOKS})), ("people", "certified", "cost"), _certificate
    ),
    TourStop(
        "poison",
        "whole",
        (OFF, Step("upright", trigger="upright"), Step("turned", trigger="active")),
        ("people", "hidden"),
        _poison,
    ),
    TourStop(
        "waits",
        "street",
        (OFF, Step("upright", SWITCH), Step("turned", {**SWITCH, "wear_angle": 90.0})),
        ("people", "hidden"),
        _waits,
        "street",
    ),
)
