import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from physadv.controls import control
from physadv.errors import DataError, PhysadvError, SettingsError
from physadv.evaluate.metrics import newcombe
from physadv.patch import load_patch
from physadv.trial.plan import ARMS, Plan, PlanSettings, load_plan
from physadv.trial.sequential import ALPHA, FIRST_LOOK, difference, level
from physadv.trial.sheets import write_plan
from tests.trial.scene import halves, planned


def test_a_plan_says_the_order_of_every_window_and_prints_three_sheets_of_one_size(tmp_path: Path) -> None:
    wanted: dict[str, Any] = {"distances": (2, 4), "yaws": (0, 30), "lights": ["day", "lamp"], "blocks": 6, "seed": 3}
    small = PlanSettings(pattern="halves", size=4, paper="a4", **wanted)
    plan = write_plan(halves(), small, tmp_path / "plan").plan
    assert [cell.name for cell in plan.cells][:3] == ["2 m, 0 deg, day", "2 m, 30 deg, day", "4 m, 0 deg, day"]
    assert len(plan.cells) == 8 and plan.windows == 8 * 6 * 4
    orders = [order for blocks in plan.orders for order in blocks]
    assert all(sorted(order) == sorted(ARMS) for order in orders)
    # Each arm is at each place about as often, 12 of 48.
    first = [sum(order[0] == arm for order in orders) for arm in ARMS]
    assert min(first) >= 5 and len(set(orders)) > 12
    assert load_plan(tmp_path / "plan") == (plan, tmp_path / "plan")
    again = planned(tmp_path / "again", **wanted)
    assert again.orders == plan.orders and again.drawn()
    # A block that is done again has another order, and so has another seed.
    assert len({plan.order(0, 0, attempt) for attempt in range(8)}) > 2
    assert planned(tmp_path / "other", seed=4).sha256 != planned(tmp_path / "third", seed=5).sha256
    assert {p.name for p in (tmp_path / "plan" / "sheets").iterdir()} == {"grey.pdf", "shuffled.pdf", "pattern.pdf"}
    for arm in ("grey", "shuffled"):
        kept = load_patch(str(tmp_path / "plan" / "patterns" / f"{arm}.safetensors"))
        assert kept.sha256 == control(halves(), arm, np.random.default_rng(0)).sha256
    page = (tmp_path / "plan" / "checklist.html").read_text()
    assert "flip-book" in page and "four-sided card" in page and page.count('class="box"') == plan.windows


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cells": []}, "has no cells"),
        ({"format": 2, "physadv": "9.0"}, "of physadv 9.0: expected format 1, got 2"),
        ({"orders": [[["none", "grey", "grey", "pattern"]]]}, "each of none, grey, shuffled, pattern once"),
        ({"orders": []}, "1 orders of arms for each of 1 cells"),
        ({"window_s": -1}, "window_s: expected"),
        ({"more": 1}, "more: is not known here"),
        ({"cells": [{"distance_m": 2, "yaw_deg": 0, "light": "a\nb"}]}, "a printable name"),
        ({"cells": [{"distance_m": 2, "yaw_deg": 0, "light": "day"}] * 2, "orders": [[ARMS]] * 2}, "deg, day twice"),
        ({"cells": [{"distance_m": "far", "yaw_deg": 0, "light": "day"}]}, "got 'far'; make one"),
        (None, "is no plan of a trial"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_in_one_line(tmp_path: Path, change: dict[str, Any] | None, says: str) -> None:
    plan = planned(tmp_path, blocks=1)
    value = [1] if change is None else {**plan.model_dump(mode="json"), **change}
    path = tmp_path / "plan" / "plan.json"
    path.write_text(json.dumps(value))
    with pytest.raises(DataError) as error:
        load_plan(path.parent)
    assert says in str(error.value) and error.value.field == "plan" and "\n" not in str(error.value)


def test_what_cannot_be_planned_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such plan"):
        load_plan(tmp_path)
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(DataError, match="is no plan"):
        load_plan(tmp_path)
    with pytest.raises(SettingsError, match="2 m, 0 deg, day twice"):
        planned(tmp_path, distances=(2, 2))
    with pytest.raises(SettingsError, match="at most 60 cells"):
        planned(tmp_path, distances=tuple(range(1, 13)), yaws=tuple(range(6)))
    with pytest.raises(PhysadvError, match="size"):
        write_plan(halves(), PlanSettings(pattern="halves", size=2000), tmp_path)
    for light in ("", ",", "a\tb"):
        with pytest.raises(ValueError, match="printable name"):
            PlanSettings(pattern="x", lights=[light])
    with pytest.raises(ValueError, match="window_s"):
        PlanSettings(pattern="x", window_s=0.2)


def test_all_looks_together_spend_no_more_than_five_percent() -> None:
    for planned_blocks in (1, 2, 3, 4, 10, 40):
        first = min(FIRST_LOOK, planned_blocks)
        parts = [level(blocks, planned_blocks) for blocks in range(first, planned_blocks + 1)]
        assert min(parts) > 0 and sum(parts) == pytest.approx(ALPHA)
        # The last look has most of it left.
        assert parts[-1] == max(parts)


def test_a_difference_is_of_pairs_and_wide_where_blocks_are_few() -> None:
    few = difference([np.array([[1.0, 0.0]] * 4)], alpha=ALPHA, seed=0)
    assert few.method == "newcombe" and few.interval == newcombe(1, 0, 4) and few.real
    # Newcombe's alone would exclude 0; but the pairs differ among themselves.
    uneven = difference([np.array([[1.0, 0.0]] * 3 + [[1.0, 1.0]])], alpha=ALPHA, seed=0)
    assert newcombe(1, 0.25, 4)[0] > 0 > uneven.interval[0] and not uneven.real
    assert difference([np.array([[1.0, 0.0]])], alpha=ALPHA, seed=0).interval == (-1.0, 1.0)
    stricter = difference([np.array([[1.0, 0.0]] * 4)], alpha=ALPHA / 10, seed=0)
    assert stricter.interval[0] < few.interval[0]
    rng = np.random.default_rng(0)
    # What pairs have in common cancels: blocks differ much, the difference within them does not.
    base = rng.uniform(0, 0.8, 20)
    shifted = np.stack([base + 0.1 + rng.normal(0, 0.02, 20), base], 1)
    found = difference([shifted], alpha=ALPHA, seed=0)
    assert found.method == "bootstrap" and 0.05 < found.interval[0] < 0.1 < found.interval[1] < 0.15
    same = difference([np.stack([base, base[::-1]], 1)], alpha=ALPHA, seed=0)
    assert not same.real
    # A cell counts as much as another, however many blocks it has.
    both = difference([np.array([[1.0, 0.0]] * 12), np.array([[0.0, 0.0]] * 3)], alpha=ALPHA, seed=0)
    assert both.value == pytest.approx(0.5) and both.blocks == 15
    with pytest.raises(ValueError, match="no block"):
        difference([], alpha=ALPHA, seed=0)


def test_the_plan_knows_orders_that_somebody_chose(tmp_path: Path) -> None:
    plan = planned(tmp_path, blocks=3)
    chosen = Plan.model_validate({**plan.model_dump(), "orders": ((ARMS, ARMS, ARMS),)})
    assert plan.drawn() and not chosen.drawn() and chosen.sha256 != plan.sha256
