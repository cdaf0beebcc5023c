"""What a run begins from: the shipped pattern of the same case, unless it has seen somebody who is held out."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_detector, tiny_gradient

from physadv.arrays import write_png
from physadv.attack import data as module
from physadv.attack.data import as_kept
from physadv.attack.recipe import Recipe
from physadv.attack.run import TrainData
from physadv.attack.score import Score
from physadv.attack.settings import AUTO, LR, LR_FROM_START, TrainSettings
from physadv.attack.start import choose_start, fitted, shipped_for
from physadv.attack.timing import made_up
from physadv.dataset import LabelledImage
from physadv.detect.weights import EMBEDDED_SHA256
from physadv.errors import PatchError
from physadv.patch import Patch, load_patch
from tests.attack.running import folder_run, inputs, listened, ran

EMBEDDED = [EMBEDDED_SHA256]


def held_out(*names: str) -> list[LabelledImage]:
    image = made_up(1)[0]
    return [LabelledImage(name, image.pixels, image.boxes, image.keypoints) for name in names]


def chosen(**settings: object) -> str | None:
    patch = shipped_for(Recipe(**settings), EMBEDDED)  # type: ignore[arg-type]
    return None if patch is None else patch.name


def test_it_is_the_shipped_one_made_for_the_same_case() -> None:
    assert chosen(target="chest", framing="street") == "street"
    assert chosen(target="chest", framing="webcam") == "webcam"
    assert chosen(target="tshirt", framing="street") == "tshirt"
    assert chosen(target="poster", framing="street") == "poster"
    assert chosen(target="outfit", framing="street") == "outfit"
    assert chosen(target="portrait", framing="street") == "street-portrait"
    assert chosen(target="portrait", framing="webcam") == "webcam", "repeated, as long as there is no portrait"
    assert chosen(target="poster", framing="webcam") is None, "none that is shipped was made for that"


def test_a_portrait_starts_from_a_portrait_or_from_a_square_repeated_downwards() -> None:
    portrait = Recipe(target="portrait")
    square = load_patch("street")
    twice = fitted(square, portrait)
    assert twice.size_mm == (360.0, 720.0) and (np.concatenate([square.pixels] * 2) == twice.pixels).all()
    kept = as_kept(square, portrait, TrainSettings(), name="a")
    assert kept is not None and (kept.target, kept.sha256) == ("portrait", twice.sha256)
    # Before a webcam the print ends within the second repeat: nothing is squeezed.
    webcam = fitted(square, Recipe(target="portrait", framing="webcam"))
    assert webcam.pixels.shape == (288, 192, 3) and (webcam.pixels == twice.pixels[:288]).all()
    own = replace(twice, target="portrait")
    assert fitted(own, portrait) is own and fitted(square, Recipe()) is square
    with pytest.raises(PatchError, match="portrait pattern of 360 x 720 mm does not fit `target=chest`, 360 x 360 mm"):
        fitted(own, Recipe())


@pytest.mark.parametrize(
    "other",
    [{"goal": "missize"}, {"colours": 6}, {"look_weight": 2.0}, {"size_mm": (360, 180)}],
)
def test_what_wants_another_pattern_begins_from_random_colours(other: dict[str, object]) -> None:
    assert chosen(**other) is None


@pytest.mark.parametrize("victims", [["0" * 64], [*EMBEDDED, "0" * 64]])
def test_a_pattern_against_other_detectors_is_no_start(victims: list[str]) -> None:
    assert shipped_for(Recipe(), victims) is None


def test_whoever_is_held_out_was_never_seen() -> None:
    seen = load_patch("street").record["split"]["train"][0]
    (start, left), (note,) = listened(choose_start(AUTO, Recipe(), EMBEDDED, held_out("new.jpg", seen)))
    assert start is None and len(left) == 2, "nobody is left out of the scores for a start that was not asked for"
    assert "random colours" in note and "1 of the 2 held-out images" in note
    (start, left), (note,) = listened(choose_start(AUTO, Recipe(), EMBEDDED, held_out("new.jpg")))
    assert start is not None and start.name == "street" and len(left) == 1
    assert "`start=none`" in note
    poster = Recipe(target="poster", framing="webcam")
    (start, _), (note,) = listened(choose_start(AUTO, poster, EMBEDDED, held_out("new.jpg")))
    assert start is None and "random colours: no shipped pattern was made for `target=poster`" in note


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for image in made_up(6):
        write_png(folder / f"{image.name}.png", image.pixels)
        height, width = image.pixels.shape[:2]
        x0, y0, x1, y1 = image.boxes[0] / np.array([width, height, width, height])
        (tmp_path / "labels").mkdir(exist_ok=True)
        (tmp_path / "labels" / f"{image.name}.txt").write_text(
            f"0 {(x0 + x1) / 2:.4f} {(y0 + y1) / 2:.4f} {x1 - x0:.4f} {y1 - y0:.4f}\n"
        )
    return folder


def test_a_run_goes_on_from_it_and_shows_what_it_began_with(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "load_detector", lambda *_, **__: tiny_detector(imgsz=64))
    settings = Recipe(steps=1, batch=1, crops=(64,))
    begun: list[str | None] = []

    def trained(name: str, **more: object) -> dict[str, object]:
        fields = {"images": [str(images)], "labels": tmp_path / "labels", **more}
        asked = inputs(settings, cache=tmp_path / "cache", **fields)  # type: ignore[arg-type]
        begun.append(folder_run(asked, [tiny_gradient()], tmp_path / name).start)
        return load_patch(tmp_path / name).record | json.loads((tmp_path / name / "run.json").read_text())

    record = trained("onwards", start=AUTO)
    assert record["start"]["name"] == "street" and record["settings"]["lr"] == LR_FROM_START  # type: ignore[index]
    assert record["controls"]["street"]["start"]["n_people"] == record["controls"]["street"]["none"]["n_people"]  # type: ignore[index]
    # One short step from it: still the same pattern.
    near = np.abs(load_patch(tmp_path / "onwards").pixels.astype(int) - load_patch("street").pixels.astype(int))
    assert near.mean() < 12
    record = trained("random")
    assert record["start"] is None and record["settings"]["lr"] == LR and "start" not in record["controls"]["street"]  # type: ignore[index]
    # A defence's twin is another victim.
    record = trained("through", start=AUTO, through="jpeg")
    assert record["start"] is None
    assert begun == ["street", None, None]


def test_short_runs_begin_from_what_is_shipped_and_long_ones_from_random_colours() -> None:
    def start(**flags: str) -> str | None:
        return TrainSettings.model_validate(flags).start_wanted

    assert start() == AUTO
    assert start(preset="standard") is None
    assert start(start="none") is None
    assert start(preset="strong", start="webcam") == "webcam"
    assert start(preset="standard", target="portrait") == AUTO


def test_a_start_is_kept_unless_training_does_better_on_those_held_out(tmp_path: Path) -> None:
    people = made_up(3)
    settings = Recipe(steps=6, batch=2, crops=(64,), texels=8, score_every=2)
    start = replace(load_patch("street"), name="mine", record={})

    def score(recall: float, strict: float = 0.4) -> Score:
        return Score(1, 10, recall, 0.0, strict, 0.0, 0.0, 0.5)

    def run(folder: str, start_recall: float, *trained: Score, stop_after: int = 9, resume: bool = False) -> Patch:
        rest = iter(trained)
        data = TrainData(
            people, [tiny_gradient()], scorers={"street": lambda _: next(rest)},
            also=[lambda _: score(0.1)], start=start, start_scores={"street": score(start_recall)},
        )  # fmt: skip
        return ran(settings, data, folder=tmp_path / folder, resume=resume, steps=stop_after).patch()

    kept = run("worse", 0.3, score(0.5), score(0.4), score(0.35))
    assert (kept.sha256, kept.record["kept"], kept.record["step"]) == (start.sha256, "start", 0)
    assert kept.record["held_out"]["street"]["recall25"] == 0.3
    assert load_patch(tmp_path / "worse").sha256 == start.sha256, "the file is what is returned"
    kept = run("better", 0.3, score(0.5), score(0.2), score(0.35))
    assert (kept.record["kept"], kept.record["step"], kept.sha256 != start.sha256) == ("trained", 4, True)
    # Fewer people are seen fully, and somebody who was hidden is found again: no gain.
    kept = run("trade", 0.3, score(0.2, 0.3), score(0.2, 0.3), score(0.2, 0.3))
    assert kept.record["kept"] == "start"
    run("cut", 0.3, score(0.5), stop_after=2)
    assert run("cut", 0.3, score(0.4), score(0.35), resume=True).sha256 == start.sha256


@pytest.mark.parametrize(
    ("settings", "given", "size_mm"),
    [
        ({}, {"region": Path("mask.png")}, (360.0, 360.0)),
        ({}, {"through": "jpeg"}, (360.0, 360.0)),
        ({"colours": 6}, {}, (360.0, 360.0)),
        ({"look_weight": 1.0}, {}, (360.0, 360.0)),
        ({"target": "tshirt"}, {}, (200.0, 200.0)),
        ({}, {}, (360.0, 180.0)),
    ],
)
def test_a_start_that_lacks_what_was_asked_for_is_never_kept(
    settings: dict[str, object], given: dict[str, object], size_mm: tuple[float, float]
) -> None:
    start = replace(load_patch("street"), size_mm=size_mm)
    assert as_kept(start, Recipe(**settings), TrainSettings.model_validate(given), name="a") is None  # type: ignore[arg-type]
    other = as_kept(load_patch("street"), Recipe(size_mm=(480.0, 480.0)), TrainSettings(), name="a")
    assert other is not None and (other.name, other.size_mm, other.record) == ("a", (480.0, 480.0), {})
