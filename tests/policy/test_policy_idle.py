"""When to sleep, as a matter of money; windows of ten minutes, a start takes half of one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from scaler.policy.idle import NEVER, PRICES, Past, Terms, plan, price_for, worth
from scaler.policy.returns import DAY, HORIZON, Floats, Windows, features, gaps_of, hazard

TERMS = Terms(start=0.5)
HAZARDS = npst.arrays(np.float64, (1, 60), elements=st.floats(0.0, 1.0))


def worths_of(*hazards: float) -> Floats:
    ahead = np.zeros((1, 40))
    ahead[0, : len(hazards)] = hazards
    worths: Floats = worth(ahead, TERMS)[0]
    return worths


def office_weeks(days: int, *, first: int = 54, last: int = 102) -> Windows:
    """Traffic from 9:00 to 17:00, every day."""
    past = np.zeros(days * DAY, dtype=np.bool_)
    for day in range(days):
        past[day * DAY + first : day * DAY + last] = True
    return past


def test_waiting_a_window_for_half_a_chance_is_worth_two_windows() -> None:
    worths = worths_of(0.5)
    # 1 < 0.5 x price; prices are 8 % apart
    assert worths[0] == PRICES[PRICES > 2.0][0]
    assert (worths[1:] == NEVER).all()


def test_a_sure_return_in_an_hour_is_slept_towards_and_woken_for() -> None:
    worths = worths_of(0, 0, 0, 0, 0, 1.0)
    # a start costs half a window and the doubt of a quarter
    assert worths[5] == PRICES[PRICES > 0.75][0]
    assert (worths[:5] == NEVER).all()
    assert plan(worths, 10.0, TERMS).ready == ((6, 6),)
    assert plan(worths, 10.0, TERMS).keep == 0


def test_nobody_is_waited_for_who_does_not_come() -> None:
    assert plan(worths_of(), PRICES[-1], TERMS).ready == ()


def test_a_dear_call_is_waited_for_and_a_cheap_one_is_not() -> None:
    worths = worths_of(*[0.05] * 12)
    assert plan(worths, 10.0, TERMS).keep == 0
    assert plan(worths, 100.0, TERMS).keep == 12


@settings(max_examples=60, deadline=None)
@given(hazards=HAZARDS, low=st.floats(0.5, 300), high=st.floats(0.5, 300), start=st.floats(0.01, 3), rest=st.integers(1, 6))
def test_who_pays_more_is_never_ready_for_less(hazards: Floats, low: float, high: float, start: float, rest: int) -> None:
    terms = Terms(start, rest)
    worths = worth(hazards, terms)[0]
    cheap, dear = plan(worths, min(low, high), terms), plan(worths, max(low, high), terms)
    assert dear.keep >= cheap.keep
    awake = {window for first, last in dear.ready for window in range(first, last + 1)}
    assert awake >= {window for first, last in cheap.ready for window in range(first, last + 1)}


@settings(max_examples=60, deadline=None)
@given(hazards=HAZARDS, price=st.floats(0.5, 300), least=st.integers(0, 20), more=st.integers(0, 20), rest=st.integers(1, 6))
def test_keep_alives_stay_within_their_bounds_and_sleeps_are_not_too_short(
    hazards: Floats,
    price: float,
    least: int,
    more: int,
    rest: int,
) -> None:
    terms = Terms(0.5, rest)
    made = plan(worth(hazards, terms)[0], price, terms, least=least, most=least + more)
    assert least <= made.keep <= least + more
    assert all(later[0] - earlier[1] > rest for earlier, later in zip(made.ready[1:], made.ready[2:], strict=False))
    assert all(first <= last for first, last in made.ready)


def test_gaps_are_runs_between_traffic_and_the_last_one_is_still_open() -> None:
    past = np.array([0, 1, 0, 0, 1, 1, 0, 1, 0], dtype=np.bool_)
    begins, lengths = gaps_of(past)
    assert (begins.tolist(), lengths.tolist()) == ([2, 6], [2, 1])


def test_an_office_is_expected_back_in_the_morning_and_not_at_night() -> None:
    ahead = hazard(office_weeks(10)[: 9 * DAY + 102])
    night, morning = ahead[:60], ahead[94:96]  # 17:00 + 16 h = 9:00
    assert morning.max() > 0.3
    assert night[6:].max() < 0.05
    made = plan(worth(ahead[np.newaxis], TERMS)[0], 4.0, TERMS)
    assert any(first <= 96 <= last and first > 80 for first, last in made.ready)


def test_an_endpoint_without_a_past_is_expected_like_others() -> None:
    ahead = hazard(np.array([True]))
    assert ahead.shape == (HORIZON,)
    assert 0.02 < ahead[0] < 0.5
    assert ahead[200:].max() < ahead[0]


@settings(max_examples=30, deadline=None)
@given(past=npst.arrays(np.bool_, st.integers(0, 400)))
def test_features_are_finite_whatever_the_past(past: Windows) -> None:
    assert np.isfinite(features(past)).all()


def past_of(worths: list[float], **more: float) -> Past:
    figures = {"active": 1000.0, "days": 7.0} | more
    return Past(np.array(worths), **figures)


def test_the_price_is_what_would_have_kept_so_many_warm() -> None:
    cheap, dear = past_of([1.0] * 90 + [40.0] * 10), past_of([1.0] * 10 + [40.0] * 90)
    assert price_for(0.92, cheap) < price_for(0.92, dear)
    assert price_for(0.99, dear) > price_for(0.92, dear)


def test_a_share_that_was_missed_is_made_up_for_and_one_that_was_overdone_is_spent() -> None:
    returns = list(np.geomspace(1, 100, 150))
    even = price_for(0.92, past_of(returns, spent_active=1000.0, spent_cold=80.0))
    assert price_for(0.92, past_of(returns, spent_active=1000.0, spent_cold=120.0)) > even
    assert price_for(0.92, past_of(returns, spent_active=1000.0, spent_cold=40.0)) < even


@given(st.floats(0.5, 0.999), st.lists(st.floats(0.5, 400) | st.just(NEVER), max_size=60), st.integers(0, 500))
def test_a_higher_share_is_never_cheaper(share: float, worths: list[float], cold: int) -> None:
    past = past_of(worths, spent_active=500.0, spent_cold=float(cold))
    assert price_for(share, past) <= price_for(min(0.9999, share + 0.01), past)


@pytest.mark.parametrize("share", [0.5, 0.92, 0.99])
def test_without_any_past_the_usual_price_holds(share: float) -> None:
    price = price_for(share, Past(np.empty(0), active=0.0, days=0.0))
    assert PRICES[0] <= price <= PRICES[-1]
