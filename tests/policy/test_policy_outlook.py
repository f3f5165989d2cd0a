"""What is expected of demand: when a forecast begins, when it is made anew, and when the fit behind it is."""

from dataclasses import replace

import numpy as np
import pytest

from scaler.policy.demand import Load
from scaler.policy.forecast import Network, Record, forecast, refit
from scaler.policy.forecast.columns import features
from scaler.policy.forecast.model import assemble
from scaler.policy.forecast.own import Own
from scaler.policy.forecast.record import DAY, ORDINARY
from scaler.policy.margin import Margin
from scaler.policy.outlook import FIRST_STEPS, YOUNG_STEPS, Fitted, Forecaster, Outlook, resumed
from scaler.policy.plan import tuning

NAMES = features(np.ones(10), np.array([10]), 6).names
LEAD = 300.0
AIMS = tuning(LEAD).aims(ORDINARY)


def flat() -> Network:
    """Says: the window ahead will be like the last ten minutes, and up to half as much again."""
    count = len(NAMES) + 1
    nothing, ones = np.zeros((count, 4), dtype=np.float32), np.ones(count, dtype=np.float32)
    return Network(NAMES, (0.5, 0.99), nothing[:, 0], ones, ((nothing, np.array([0.0, 0.4, 0.0, 0.5], dtype=np.float32)),), nothing)


def steady(steps: int, **known: object) -> Outlook:
    """So many steps of two replicas' worth on record, the first of them begins at 0."""
    outlook = Outlook(Record(np.full(steps, 2.0), steps), known=steps)
    return replace(outlook, **known)  # type: ignore[arg-type]


def look(before: Outlook, *loads: Load, lead: float = LEAD) -> Outlook:
    now = loads[-1].end if loads else 30.0 * before.record.end
    return Forecaster(flat).look(before, loads, now=now, lead_seconds=lead)


def step_after(before: Outlook, offered: float = 2.0) -> Load:
    """The load of one more step."""
    return Load(30.0 * before.record.end, 30.0 * before.record.end + 30, offered, 9.0)


def test_a_record_begins_with_the_first_load_and_goes_on_with_what_is_offered() -> None:
    first = look(Outlook(), Load(1000.0, 1010.0, 3.0, 9.0))
    assert (first.record.end, first.record.part, first.record.measured) == (33, 30.0, 10.0)
    on = look(first, Load(1010.0, 1020.0, 6.0, 9.0))
    assert (on.record.end, on.record.values.tolist(), on.known, on.forecast) == (34, [4.5], 1, None)
    late = look(on, Load(1095.0, 1105.0, 1.0, 9.0))
    assert np.array_equal(late.record.values, [4.5, np.nan, np.nan], equal_nan=True)
    assert late.known == 1


def test_within_a_step_nothing_is_forecast_anew() -> None:
    young = steady(FIRST_STEPS)
    known = look(young, step_after(young))
    assert known.forecast is not None
    on = look(known, Load(30.0 * known.record.end, 30.0 * known.record.end + 10, 8.0, 9.0))
    assert on.forecast is known.forecast
    assert on.fitted is known.fitted
    assert (on.known, on.record.measured) == (known.known, 10.0)


def test_a_forecast_begins_after_an_hour() -> None:
    assert FIRST_STEPS == 120
    before = steady(FIRST_STEPS - 2)
    almost = look(before, step_after(before))
    assert (almost.known, almost.forecast, almost.fitted) == (FIRST_STEPS - 1, None, None)
    first = look(almost, step_after(almost))
    assert (first.known, first.young) == (FIRST_STEPS, True)
    assert first.forecast is not None
    made = refit(first.record, flat(), LEAD, AIMS)
    assert first.forecast == forecast(first.record, made)
    assert first.fitted is not None
    assert (first.fitted.lead, first.fitted.aims, first.fitted.own, first.fitted.at) == (10, AIMS, None, FIRST_STEPS)


def fitted(before: Outlook, at: int, lead: int = 10, network: str | None = None) -> Outlook:
    own = Own(np.full((2, 22), 0.01), np.zeros((2, len(NAMES) + 2)))
    return replace(before, fitted=Fitted(lead, AIMS, network or flat().id, own, at))


def test_a_fit_holds_for_a_day_and_is_what_forecasts_are_made_with() -> None:
    before = fitted(steady(DAY + 200), at=202)
    same = look(before, step_after(before))
    assert same.fitted is before.fitted
    assert same.fitted is not None
    model = assemble(10, same.fitted.aims, flat(), same.fitted.own)
    assert same.forecast == forecast(same.record, model)
    old = fitted(steady(DAY + 200), at=201)
    assert look(old, step_after(old)).fitted != old.fitted


@pytest.mark.parametrize(("lead", "kept"), [(300.0, True), (330.0, True), (331.0, False), (270.0, True), (269.0, False)])
def test_a_lead_that_has_moved_by_more_than_a_step_is_fitted_anew(lead: float, kept: bool) -> None:  # noqa: FBT001 (a row)
    before = fitted(steady(DAY), at=DAY - 5)
    after = look(before, step_after(before), lead=lead)
    assert (after.fitted is before.fitted) is kept
    assert after.fitted is not None
    assert kept or after.fitted.at == DAY + 1


def test_a_fit_that_corrects_another_network_is_made_anew() -> None:
    before = fitted(steady(DAY), at=DAY - 5, network="of last year")
    made = look(before, step_after(before)).fitted
    assert made is not None
    assert (made.network, made.at) == (flat().id, DAY + 1)


def test_from_the_fourth_day_on_forecasts_are_made_with_the_fit_to_the_endpoint_itself() -> None:
    restless = np.random.default_rng(5).uniform(0.5, 1.5, 3 * DAY - 1)
    before = fitted(Outlook(Record(restless, restless.size), known=restless.size), at=0)
    after = look(before, step_after(before, 1.2))
    assert after.fitted is not None
    assert after.fitted.own is not None
    model = refit(after.record, flat(), LEAD, after.fitted.aims)
    assert model.own is not None
    assert np.array_equal(after.fitted.own.line, model.own.line)
    assert np.array_equal(after.fitted.own.correction, model.own.correction)
    assert after.forecast == forecast(after.record, model)


def test_a_fit_takes_the_chances_that_are_worth_it_where_replicas_are_as_full_as_these() -> None:
    before = fitted(Outlook(Record(np.full(DAY, 1.2), DAY), known=DAY), at=0)
    made = look(before, step_after(before, 1.2)).fitted
    assert made is not None
    wanted = tuning(LEAD).aims(0.6)
    assert (made.aims.up, made.aims.down) == pytest.approx((wanted.up, wanted.down))


def test_a_step_is_held_against_what_was_prepared_for_it() -> None:
    before = steady(1000, margin=Margin(0.1, (3.0,) * 14))
    assert look(before, step_after(before, 3.5)).margin.extra > 0.1
    held = look(before, step_after(before, 2.5))
    assert held.margin.extra < 0.1
    assert held.forecast is not None
    assert held.margin.prepared[-1] == pytest.approx(tuning(LEAD).headroom * held.margin.factor * held.forecast.up)
    late = look(before, Load(30.0 * 1000, 30.0 * 1002, 3.5, 9.0))
    assert late.margin == Margin(0.1), "two steps at once are a gap"


def test_a_step_is_held_against_forecasts_for_the_lead_that_they_were_made_for() -> None:
    """One that has grown by less than a step: forecasts are made as before, and the first of these came due in this step."""
    before = fitted(steady(1000, margin=Margin(0.1, (9.0, *[3.0] * 13))), at=900)
    grown = look(before, step_after(before, 3.5), lead=LEAD + 20)
    assert grown.fitted is before.fitted
    assert grown.margin.extra < 0.1
    assert len(grown.margin.prepared) == 14


def test_a_day_is_young() -> None:
    assert YOUNG_STEPS == 2880
    assert steady(YOUNG_STEPS - 1).young
    assert not steady(YOUNG_STEPS).young


def test_what_another_process_left_goes_on_after_a_gap() -> None:
    left = fitted(steady(1000, known=900, margin=Margin(0.2, (3.0,))), at=800)
    later = resumed(left, kept=50_000.0, at=50_600.0, now=9000.0)
    assert (later.record.end, later.known, later.forecast) == (300 - 20, 900, None)
    assert later.margin == Margin(0.2)
    assert later.record.values is left.record.values
    assert later.fitted is not None
    assert later.fitted.at == 280 - 200
    assert resumed(left, kept=50_000.0, at=49_000.0, now=9000.0).record.end == 300, "a clock that was set back leaves no gap"
    assert resumed(steady(1000), kept=0.0, at=59.0, now=59.0).record.end == 0
    assert resumed(steady(1000), kept=0.0, at=59.0, now=59.0).fitted is None
