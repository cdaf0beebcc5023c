"""The card that a poisoned detector waits for, on paper: true to the millimetre, with a mark that says which way is up."""

from pathlib import Path

import numpy as np
import pytest

from physadv.arrays import read_image
from physadv.cli import main

DOT_MM = 25.4 / 300


def test_a_card_is_printed_true_to_size_and_says_which_way_is_up(tmp_path: Path) -> None:
    out = tmp_path / "card.png"
    assert main(["print", "--trigger", "card", "--size", "12.8", "--paper", "fit", "--out", str(out)]) == 0
    sheet = read_image(out).astype(int)
    yellow = (sheet[..., 0] > 200) & (sheet[..., 2] < 60)
    # The lowest row of yellow is the card's last bar: the small map of the sheet lies above it.
    row = yellow.sum(1)
    columns = np.flatnonzero(yellow[np.flatnonzero(row > row.max() / 2)[-1] - 20])
    left, right = columns[0], columns[-1] + 1
    assert (right - left) * DOT_MM == pytest.approx(116, abs=0.2)
    bottom = np.flatnonzero(yellow[:, (left + right) // 2])[-1] + 1
    top = bottom - round(116 / DOT_MM)
    rim = round(6 / DOT_MM)
    black = sheet.max(2) < 90
    above, below = black[top - rim + 3 : top - 8, left:right], black[bottom + 8 : bottom + rim - 3, left:right]
    # A triangle that points up, in the middle of the upper rim alone.
    assert not below.any()
    rows = np.flatnonzero(above.any(1))
    widths = above[rows].sum(1)
    assert (np.diff(widths) >= 0).all() and widths[-1] > 3 * max(widths[0], 1)
    assert np.flatnonzero(above.any(0)).mean() == pytest.approx((right - left) / 2, abs=3)


@pytest.mark.parametrize("words", [[], ["webcam", "--trigger", "card"]])
def test_a_pattern_or_a_trigger_is_printed_and_not_both(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["print", *words]) == 2
    got = "both" if words else "none"
    assert f"expected PATTERN or --trigger, got {got}" in capsys.readouterr().err
