"""What the tour can do on a demo, and what it says where something is missing."""

from dataclasses import replace

from physadv.defend import known_defences, parse_pipeline
from physadv.live.library import PatchLibrary
from physadv.live.settings import Controls
from physadv.patch import shipped_names
from physadv.simulate.trigger import Trigger
from physadv.tour.guide import Host, ShownStop, guide
from physadv.tour.stops import STOPS
from tests.live.scene import Camera, demo, until

FULL = Host("a camera", framing="street", patterns=shipped_names(), defences=list(known_defences()[0]))


def stop(host: Host, name: str, language: str = "en") -> ShownStop:
    return next(one for one in guide(host, language).stops if one.name == name)


def test_every_step_sets_the_same_controls_and_the_demo_takes_them() -> None:
    stops = guide(FULL, "zh").stops
    assert len(stops) == len(STOPS) == 8
    running = demo(Camera())
    try:
        for shown in stops:
            for step in shown.steps:
                assert step.controls.keys() == Controls.model_fields.keys() - {"skeleton"}
                assert running.control(**step.controls).wear == step.controls["wear"]
                parse_pipeline(step.controls["defend"])
    finally:
        running.stop()


def test_what_is_worn_fits_how_the_camera_sees_people_and_the_sample_shows_each_stops_scene() -> None:
    street, near = (stop(replace(FULL, framing=framing), "print").steps[1] for framing in ("street", "webcam"))
    assert (street.controls["wear"], near.controls["wear"]) == ("street", "webcam")
    # Of the sample the scene that it will show counts, not the one that is still there.
    sample = replace(FULL, source="sample", framing="street")
    assert stop(sample, "print").steps[1].controls["wear"] == "webcam"
    assert {one.source for one in guide(sample, "en").stops} == {"sample:whole", "sample:webcam", "sample:street"}


def test_a_poisoned_detectors_own_trigger_is_shown_and_without_one_a_command_is() -> None:
    clean = stop(replace(FULL, poisoned=["bad"]), "poison")
    assert len(clean.steps) == 1 and "lab poison" in clean.command
    assert "Choose bad" in clean.cannot[0]
    card = stop(replace(FULL, trigger={"name": "card", "kind": "card", "angle": 45.0}), "poison")
    assert [(step.controls["wear"], step.controls["wear_angle"]) for step in card.steps] == [
        ("", 0.0), ("card", 0.0), ("card", 45.0),
    ]  # fmt: skip
    assert card.steps[2].button == "Turn it by 45 degrees" and not card.cannot + [card.command][: bool(card.command)]
    turned = stop(replace(FULL, trigger={"name": "rotation", "kind": "rotation", "angle": 90.0}), "poison")
    assert [(step.controls["wear"], step.controls["turn"]) for step in turned.steps] == [("", 0.0), ("", 90.0)]
    shirt = stop(replace(FULL, trigger={"name": "shirt", "kind": "shirt", "angle": 0.0}), "poison")
    assert [step.controls["wear"] for step in shirt.steps] == ["", "shirt"]


def test_what_is_missing_is_said_and_nothing_is_offered() -> None:
    bare = replace(FULL, patterns=[], defences=[])
    assert "The pattern outfit is not here" in stop(bare, "shirt").cannot[0]
    assert "The defence objectseeker is not here" in stop(bare, "certificate").cannot[0]
    for one in guide(replace(FULL, forbidden="viewer"), "en").stops:
        assert len(one.steps) == 1 and len(one.cannot) == 1 and not one.command


def test_a_detectors_print_is_worn_by_the_name_that_it_has_in_the_demo() -> None:
    library = PatchLibrary([], trigger=Trigger.named("card", angle=45))
    assert library.trigger_print in library.names()


def test_the_demo_says_how_people_are_seen() -> None:
    running = demo(Camera())
    running.start()
    try:
        until(lambda: running.state()["framing"] == "webcam")
    finally:
        running.stop()
