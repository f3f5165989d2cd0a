"""What forecasts fell short of is made good by headroom, step by step of 30 s."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from scaler.policy.forecast.columns import WINDOW
from scaler.policy.forecast.record import DAY
from scaler.policy.margin import MOST, RATE, Margin

LEAD = 3
RISK = 0.02
QUIET = RATE * RISK


def after(margin: Margin, *demands: float, prepared: float = 2.0, lead: int = LEAD) -> Margin:
    for demand in demands:
        margin = margin.after(demand, prepared, risk=RISK, lead=lead)
    return margin


def ready(extra: float = 0.1) -> Margin:
    """After as many steps as it takes to judge, each prepared for a peak of two."""
    return Margin(extra, (2.0,) * (LEAD + WINDOW))


def test_nothing_is_judged_before_a_forecast_has_come_due() -> None:
    young = after(Margin(0.1), *[9.0] * (LEAD + WINDOW))
    assert young.extra == 0.1
    assert young.prepared == pytest.approx([2 * math.exp(0.1)] * (LEAD + WINDOW))
    assert after(young, 9.0).extra == pytest.approx(0.1 + RATE - QUIET)


def test_a_load_above_its_forecasts_raises_the_headroom_at_once_and_quiet_lowers_it_slowly() -> None:
    assert after(ready(), 2.1).extra == pytest.approx(0.1 + RATE - QUIET)
    assert after(ready(), 2.0).extra == pytest.approx(0.1 - QUIET), "what was prepared for is no excess"
    assert Margin(0.1).factor == pytest.approx(math.exp(0.1))


def test_a_load_is_held_against_the_highest_forecast_whose_window_it_lay_in() -> None:
    oldest, newest = (9.0, *[2.0] * (LEAD + WINDOW - 1)), (*[2.0] * (WINDOW - 1), 9.0, *[2.0] * LEAD)
    too_late = (*[2.0] * WINDOW, *[9.0] * LEAD)
    assert after(Margin(0.1, oldest), 8.0).extra < 0.1
    assert after(Margin(0.1, newest), 8.0).extra < 0.1
    assert after(Margin(0.1, too_late), 8.0).extra > 0.1, "forecasts of what is yet to come"


def test_the_headroom_earned_is_prepared_for_too_and_no_more_is_kept_than_is_judged_by() -> None:
    told = after(ready(), 3.0, prepared=3.0)
    assert told.prepared == (*[2.0] * (LEAD + WINDOW - 1), pytest.approx(3.0 * told.factor))


def test_a_longer_lead_waits_for_forecasts_and_a_shorter_one_takes_the_last() -> None:
    longer = after(ready(), 9.0, lead=LEAD + 1)
    assert (longer.extra, len(longer.prepared)) == (0.1, LEAD + 1 + WINDOW)
    shorter = after(Margin(0.1, (9.0, *[2.0] * (LEAD + WINDOW - 1))), 8.0, lead=LEAD - 1)
    assert (shorter.extra > 0.1, len(shorter.prepared)) == (True, LEAD - 1 + WINDOW)


@pytest.mark.parametrize(("demand", "prepared"), [(math.nan, 2.0), (9.0, math.nan)])
def test_a_gap_judges_nothing_and_what_was_earned_stays(demand: float, prepared: float) -> None:
    assert after(ready(), demand, prepared=prepared) == Margin(0.1)


@given(st.lists(st.floats(0, 20), max_size=300), st.floats(0, MOST))
def test_it_stays_within_its_bounds_and_survives_the_journal(demands: list[float], extra: float) -> None:
    told = after(replace(ready(), extra=extra), *demands)
    assert 0 <= told.extra <= MOST
    adapter = TypeAdapter(Margin)
    assert adapter.validate_json(adapter.dump_json(told)) == told


def test_a_day_of_bursts_is_remembered_for_days() -> None:
    """Three bursts of ten minutes that nobody foresaw; then quiet days."""
    bursts = [9.0 if step % 240 < 20 else 1.0 for step in range(720)]
    stormy = after(ready(0.0), *bursts)
    assert stormy.factor > 1.2
    calmer = after(stormy, *[1.0] * (DAY // 2))
    assert 1.0 < calmer.factor < stormy.factor
    assert after(calmer, *[1.0] * DAY).factor == 1.0
