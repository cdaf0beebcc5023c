"""The costs of hardening: when an aim is reached, as multiples of natural training, and what is drawn of it."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from physadv.arrays import read_image
from physadv.errors import DataError
from physadv.files import write_json
from physadv.tune.harden.costs import CostRow, Costs, plot_costs, table

ROW = CostRow(0, 0, 0, 0.0, 2.0, 0.70, 5.0, 0.10, 2.0, 5.0)


def run(name: str, method: str, clean: list[float], attacked: list[float], seconds: float) -> Costs:
    rows = [
        replace(ROW, epoch=i, steps=10 * i, passes=12 * i, seconds=seconds * i, clean_ap50=c, attacked_ap50=a)
        for i, (c, a) in enumerate(zip(clean, attacked, strict=True))
    ]
    return Costs(name, method, tuple(rows))


NATURAL = run("plain", "natural", [0.7, 0.75, 0.8], [0.1, 0.1, 0.1], 10.0)
POD = run("worn", "pod", [0.7, 0.79, 0.75, 0.79], [0.9, 0.3, 0.52, 0.6], 30.0)


def test_times_are_multiples_of_all_of_natural_training() -> None:
    rows = {str(row[0]): row for row in table([POD, NATURAL]).rows}
    # Natural training took 20 s in all and came to .80, so that .78 counts; it reached that at its end, and never .5.
    assert rows["plain"][7:] == (1.0, 1.0, None, None)
    # The state before the first epoch counts for nothing.
    assert rows["worn"][7:] == pytest.approx((4.5, 1.5, 3.0, 4.5))
    assert rows["worn"][2:5] == (30, 36, 90)


def test_without_a_natural_run_times_are_seconds_and_no_clean_aim_is_known() -> None:
    made = table([POD])
    assert made.columns[7] == "all of it, s"
    assert made.rows[0][7:] == (90.0, None, 60.0, None)


def test_costs_come_back_from_their_file_and_a_folder_without_them_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "worn"
    folder.mkdir()
    POD.write(folder)
    assert Costs.read(folder) == POD
    with pytest.raises(DataError, match=r"beside.*expected the folder of a run"):
        Costs.read(tmp_path)
    (folder / "costs.json").write_text('{"method": "pod", "rows": [{"epoch": 1}]}')
    with pytest.raises(DataError, match="not the costs of a hardening"):
        Costs.read(folder)
    write_json(folder / "costs.json", {"method": "pod", "rows": [{**asdict(ROW), "seconds": "5"}]})
    with pytest.raises(DataError, match="seconds: expected a number, got '5'"):
        Costs.read(folder)


def test_all_axes_are_drawn_for_one_run_and_for_several(tmp_path: Path) -> None:
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    plot_costs(one, [POD])
    plot_costs(two, [NATURAL, POD])
    a, b = read_image(one), read_image(two)
    # Two in a row: losses over four axes, AP50 over two.
    assert a.shape == b.shape == (1200, 1200, 3)
    assert all(np.unique(part).size > 20 for part in (a[:400], a[400:800], a[800:]))
    assert (a != b).any()
