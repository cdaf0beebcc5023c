"""The card of a shipped pattern says what it is for, its size, how it was made, and of how many people each figure is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ship_pattern import card, hides

from physadv.cli.patterns import first_sentence
from physadv.patch import Patch, load_patch, shipped_names
from physadv.tour.stops import STOPS

USE = "A tall print for people in the street, from the chest to the thighs. Twice as high as wide."
FIGURES = {"n_people": 189, "n_images": 65, "recall25": 0.05, "asr_strict25": 0.8, "hidden25": 0.79}
CUT_OFF = {**FIGURES, "n_people": 12, "n_unworn": 10}
CLIPS = {"n_people": 4, "n_images": 180, "hidden25": 0.9, "least_hidden25": 0.6}


def made(**record: object) -> Patch:
    """A tall pattern with the record of a run."""
    texels = np.zeros((96, 48, 3), np.uint8)
    return Patch(
        "tall", texels, np.full((96, 48), 255, np.uint8), (360.0, 720.0), "portrait",
        {**load_patch("street").record, "start": {"name": "street"}, "kept": "trained", **record},
    )  # fmt: skip


def test_a_card_is_written_from_the_record(tmp_path: Path) -> None:
    patch = made(step=900, steps=1000, seed=3)
    text = card(
        patch,
        USE,
        {"Street": {"none": FIGURES, "tall": FIGURES}, "Webcam": {"tall": CLIPS}, "Heads": {"tall": CUT_OFF}},
        "one GPU",
    )
    for part in (
        "# tall\n",
        "* Size: 360 x 720 mm, 48 x 96 texels.",
        "Target: portrait. Framing: street.",
        "from the pattern street: 1000 steps, seed 3, on one GPU. Kept is step 900, the best by people held out.",
        "* Trained on 46 images or stretches of video, 15 held out",
        "* Size curve: 12 people in 22 photographs",
        "## Street: 189 people not trained on, 65 images\n",
        "| worn | recall25 | asr_strict25 | hidden25 |\n",
        "| tall | 0.05 | 0.8 | 0.79 |\n",
        "## Webcam: 4 people not trained on, 180 images\n",
        "| tall | 0.9 | 0.6 |\n",
        "## Heads: 12 people (10 more show no chest and wear nothing) not trained on, 65 images\n",
        "least_hidden25: that share for the person hidden least.",
    ):
        assert part in text, part
    path = tmp_path / "tall.md"
    path.write_text(text)
    assert first_sentence(path) == USE.partition(". ")[0]


def test_a_card_says_where_the_start_was_kept_and_a_texture_repeats() -> None:
    text = card(replace(made(kept="start"), target="tshirt"), USE, {})
    assert "No step did better on those held out than the pattern street, from which it began" in text
    assert "texels, repeated without a seam." in text
    assert "from random colours" in card(made(start=None), USE, {})


def test_the_record_says_how_many_people_it_hides_in_each_framing() -> None:
    street = {"Street": {"none": {**FIGURES, "asr_strict25": 0.0}, "tall": FIGURES}}
    clips = {"320 px": {"tall": CLIPS}, "640 px": {"tall": {**CLIPS, "hidden25": 0.95}}}
    found = hides("tall", {"street": street, "webcam": clips})
    assert found == {"street": {"share": 0.8, "people": 189}, "webcam": {"share": 0.95, "people": 4}}
    assert hides("tall", {"street": {"Street": {"tall": {**FIGURES, "asr_strict25": None}}}, "webcam": {}}) == {
        "street": {"share": 0.0, "people": 189}
    }


def test_every_shipped_pattern_says_how_many_people_it_hides_where_it_is_worn() -> None:
    for name in shipped_names():
        patch = load_patch(name)
        known = patch.record["hides"][patch.framing]
        shares = [
            row.get("asr_strict25", row["hidden25"])
            for rows in patch.record["held_out"].values()
            for row in rows.values()
            if row is not None
        ]
        assert known["share"] in shares and known["people"] >= 1, name


def test_the_tour_finds_its_figures_in_the_cards_whatever_lies_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in shipped_names():
        (tmp_path / name).mkdir()
    for stop in STOPS:
        assert all(stop.figures().values()), stop.name
