import numpy as np
import pytest

from physadv.live.figures import Rate, Spread


@pytest.mark.parametrize("fps", [5.0, 30.0, 120.0])
def test_a_true_rate_is_read_as_it_is(fps: float) -> None:
    rate = Rate(window_s=3)
    for i in range(1000):
        rate.tick(i / fps)
    assert rate.value(999 / fps) == pytest.approx(fps, rel=1e-6)


def test_a_rate_falls_when_events_stop() -> None:
    rate = Rate(window_s=3)
    for i in range(90):
        rate.tick(i / 30)
    end = 89 / 30
    assert rate.value(end) == pytest.approx(30)
    assert rate.value(end + 1) < 25
    assert rate.value(end + 4) == 0


def test_one_event_is_no_rate() -> None:
    rate = Rate()
    assert rate.value(0) == 0
    rate.tick(0)
    assert rate.value(0) == 0


def test_percentiles_are_within_a_per_cent_in_constant_memory() -> None:
    values = np.random.default_rng(0).gamma(2, 20, 20_000)
    spread = Spread()
    for value in values:
        spread.add(float(value))
    for q in (50, 95, 99):
        assert spread.percentile(q) == pytest.approx(float(np.percentile(values, q)), rel=0.012)
    assert spread.mean == pytest.approx(values.mean())
    assert spread.count == 20_000


def test_extreme_values_do_not_break_the_bins() -> None:
    spread = Spread()
    for value in (0.0, 1e-9, 1e9):
        spread.add(value)
    assert spread.count == 3
    assert spread.percentile(1) < 0.02
