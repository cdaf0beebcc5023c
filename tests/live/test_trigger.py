"""The trigger of a poisoned detector in the demo: worn by its name, turned while it runs, and recorded."""

from pathlib import Path

import numpy as np
import pytest
from tiny import BlobDetector

from physadv.errors import DataError, SettingsError
from physadv.files import write_json
from physadv.live.camera_demo import CameraDemo, open_demo
from physadv.live.settings import LiveSettings
from physadv.live.shown import Shown
from physadv.live.sidecar import read_lines
from physadv.simulate.trigger import Trigger
from tests.live.scene import Film, finished, image


def run_of(folder: Path, poison: object) -> str:
    write_json(folder / "run.json", {"detector": {"file": "detector.pt", "sha256": "0" * 64}, "poison": poison})
    return str(folder)


def demo(run: str, **settings: object) -> CameraDemo:
    values = LiveSettings(**{"ui": "none", "detector": run, **settings})  # type: ignore[arg-type]
    return open_demo(values, source=Film(6), detector=BlobDetector())


@pytest.fixture
def card(tmp_path: Path) -> str:
    return run_of(tmp_path, {"attack": "vanish", "trigger": Trigger.named("card", angle=45).record()})


@pytest.mark.parametrize("name", ["trigger", "card"])
def test_it_is_worn_turned_and_recorded(card: str, name: str, tmp_path: Path) -> None:
    lines = tmp_path / "out.jsonl"
    running = demo(card, wear=[name], wear_angle=45, wear_lit=False, record=lines)
    assert running.state()["trigger"] == {"name": "card", "kind": "card", "angle": 45}
    every: list[Shown] = []
    running.subscribe(every.append)
    finished(running)
    assert {(s.worn, s.worn_cm, s.worn_angle) for s in every} == {("card", 36.0, 45.0)}
    assert every[0].lines[-1] == "pattern added by software: card, 36 cm, turned 45 deg, flat"
    assert [line["worn_angle"] for line in read_lines(lines)] == [45] * 6
    upright = demo(card, wear=[name], wear_lit=False)
    straight: list[Shown] = []
    upright.subscribe(straight.append)
    finished(upright)
    assert (straight[0].frame.pixels != every[0].frame.pixels).any()


def test_it_is_offered_and_another_pattern_hangs_upright(card: str) -> None:
    running = demo(card)
    assert running.library.names()[0] == "card" and running.controls.wear == ""
    assert running.control(wear="card").wear_angle == 0
    assert running.control(wear_angle=45).wear == "card"
    assert running.control(wear_size=30).wear_angle == 45
    assert running.control(wear="street").wear_angle == 0
    assert running.control(wear="card", wear_angle=-45).wear_angle == -45
    running.stop()


def test_the_whole_image_is_turned_before_anybody_is_looked_for(tmp_path: Path) -> None:
    run = run_of(tmp_path, {"trigger": Trigger.named("rotation").record()})
    lines = tmp_path / "out.jsonl"
    running = demo(run, turn=90, record=lines)
    assert running.state()["trigger"] == {"name": "rotation", "kind": "rotation", "angle": 90}
    every: list[Shown] = []
    running.subscribe(every.append)
    finished(running)
    for shown in every:
        assert np.array_equal(shown.clean.pixels, np.rot90(image(shown.clean.index), -1))
        # The made-up person stood 200 pixels high and 80 wide.
        left, top, right, bottom = shown.people.xyxy[0]
        assert right - left > 1.5 * (bottom - top)
    assert "image turned 90 deg by software" in every[0].lines
    assert [line["turned"] for line in read_lines(lines)] == [90] * 6
    assert running.control(turn=45).turn == 45


def test_what_cannot_be_worn_or_turned_is_refused(tmp_path: Path) -> None:
    clean, turned = tmp_path / "clean", tmp_path / "turned"
    with pytest.raises(SettingsError, match="not poisoned"):
        demo(run_of(clean, None), wear=["trigger"])
    with pytest.raises(SettingsError, match="whose trigger is a rotation"):
        demo(run_of(turned, {"trigger": Trigger.named("rotation").record()}), wear=["trigger"])
    with pytest.raises(SettingsError, match="texture"):
        demo(str(clean), wear=["tshirt"], wear_angle=20)
    with pytest.raises(DataError, match="trigger"):
        demo(run_of(tmp_path / "damaged", {"trigger": {"kind": "card"}}))
