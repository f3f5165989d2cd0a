"""When somebody will be back: the figures read off a past, counted once more window by window."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from scaler.policy.returns import (
    DAY,
    HORIZON,
    KNOTS,
    MAX_GAPS,
    MEMORY_WINDOWS,
    Windows,
    _a_while_ago,
    _ended,
    _habit,
    _hats,
    _own_gaps,
    features,
    gaps_of,
    hazard,
)

DICE = np.random.default_rng(7)
LAGS = (DAY, 7 * DAY)
SPREAD = math.exp(0.35)
"""Ages of a gap within this factor are similar."""


def some_past(days: float, share: float = 0.2) -> Windows:
    return DICE.random(round(days * DAY)) < share


def offices(days: int, hour: Callable[[int], int], *, until: int = 102) -> Windows:
    """Traffic from ``hour`` of each day (in windows) to 17:00, up to 17:00 of the last day."""
    past = np.zeros(days * DAY, dtype=np.bool_)
    for day in range(days):
        past[day * DAY + hour(day) : day * DAY + until] = True
    return past[: (days - 1) * DAY + until]


def test_the_newest_gaps_are_looked_at_and_no_more() -> None:
    begins, lengths = gaps_of(np.tile([True, False, False], MAX_GAPS + 50))
    assert (begins.size, lengths.size) == (MAX_GAPS, MAX_GAPS)
    assert (begins[-1], lengths[-1]) == (3 * (MAX_GAPS + 48) + 1, 2)
    assert gaps_of(np.array([True, True, False]))[0].size == 0
    assert [part.tolist() for part in gaps_of(np.array([True, False, True]))] == [[1], [1]]


def test_an_age_lies_on_a_straight_line_between_its_knots() -> None:
    assert _hats(KNOTS) == pytest.approx(np.eye(KNOTS.size))
    between = _hats((KNOTS[1:] + KNOTS[:-1]) / 2)
    assert between == pytest.approx((np.eye(KNOTS.size)[1:] + np.eye(KNOTS.size)[:-1]) / 2)
    columns = features(np.array([True]))[:, : KNOTS.size]
    assert columns.sum(axis=1) == pytest.approx(np.ones(HORIZON))
    assert columns[0, 0] == columns[1, 1] == columns[2, 2] == 1
    assert columns @ KNOTS == pytest.approx(np.log(np.arange(1, HORIZON + 1)))


@pytest.mark.parametrize("lag", LAGS)
@pytest.mark.parametrize("days", [0.3, 2.5, 9])
def test_a_lag_ago_is_what_happened_at_that_time(days: float, lag: int) -> None:
    past = some_past(days)

    def busy(window: int) -> bool:
        return 0 <= window < past.size and bool(past[window])

    def back(window: int) -> bool:
        return busy(window) and not busy(window - 1)

    columns = _a_while_ago(past, lag)
    for age in range(1, HORIZON + 1):
        then = past.size + age - lag
        expected = (
            float(busy(then)),
            sum(busy(window) for window in range(then - 3, then + 4)) / 7,
            sum(back(window) for window in range(then - 1, then + 2)),
            sum(back(window) for window in range(then - 4, then + 5)) / 3,
        )
        assert columns[age - 1] == pytest.approx(expected), age


def naive_log_odds(lengths: list[int], weights: list[float], age: int) -> float:
    """Of the gaps that grew so old, or nearly or somewhat older, the share that ended there; the belief in others is worth one gap."""
    first, last = max(1, math.floor(age / SPREAD + 0.5)), min(HORIZON, math.ceil(age * SPREAD - 0.5))
    ended = sum(weight for length, weight in zip(lengths, weights, strict=True) if first <= length <= last)
    risked = sum(weight * max(0, min(last, length) - first + 1) for length, weight in zip(lengths, weights, strict=True))
    share = min(max((ended + 0.6 / (1 + age)) / (risked + 1), 1e-5), 0.98)
    return math.log(share / (1 - share))


def test_the_share_of_gaps_that_ended_at_an_age_is_smoothed_over_similar_ages() -> None:
    lengths, weights = [1, 1, 2, 5, 30, 31, 40, 200, HORIZON, 900, 900], [1.0, 0.5, 0.3, 2.0, 1.0, 0.7, 0.1, 0.4, 1.0, 1.0, 0.2]
    odds, known = _ended(np.array(lengths), np.array(weights))
    for age in (1, 2, 3, 5, 29, 31, 150, 301, HORIZON):
        assert odds[age - 1] == pytest.approx(naive_log_odds(lengths, weights, age)), age
        old = sum(weight for length, weight in zip(lengths, weights, strict=True) if length >= age)
        assert known[age - 1] == pytest.approx(math.log1p(old)), age


def test_nobody_returns_at_once_for_sure() -> None:
    odds, _ = _ended(np.full(300, 1), np.ones(300))
    assert odds[0] == pytest.approx(math.log(0.98 / 0.02))


def test_all_that_is_read_off_a_past_stands_side_by_side() -> None:
    past = some_past(9)
    columns = features(past)
    assert np.array_equal(columns[:, 11:15], _a_while_ago(past, DAY))
    assert np.array_equal(columns[:, 15:19], _a_while_ago(past, 7 * DAY))
    assert np.array_equal(columns[:, 19:], _own_gaps(*gaps_of(past), past.size))


def test_without_gaps_of_its_own_an_endpoint_is_believed_to_be_like_others() -> None:
    odds, known = _ended(np.array([], dtype=np.int64), np.array([]))
    assert odds[0] == pytest.approx(math.log(0.3 / 0.7))
    assert (known == 0).all()


def test_old_gaps_fade_and_those_of_another_hour_do_not_count_for_this_one() -> None:
    now = 20 * DAY
    begins, lengths = np.array([now - 3 * DAY, now - DAY - 6, now - 40, now - DAY // 2]), np.array([10, 3, 30, 7])
    fresh = [math.exp(-3 / 5), math.exp(-(DAY + 6) / (5 * DAY)), math.exp(-40 / (5 * DAY)), math.exp(-0.1)]
    hours = [0, 6, 40, DAY // 2]
    here = [weight * math.exp(-0.5 * (apart / 12) ** 2) for weight, apart in zip(fresh, hours, strict=True)]
    columns = _own_gaps(begins, lengths, now)
    for age in (1, 3, 8, 30, 100):
        overall = naive_log_odds(lengths.tolist(), fresh, age)
        known = math.log1p(sum(weight for length, weight in zip(lengths.tolist(), fresh, strict=True) if length >= age))
        expected = (overall, naive_log_odds(lengths.tolist(), here, age), known, overall * min(known, 3) / 3)
        assert columns[age - 1] == pytest.approx(expected), age
    many = _own_gaps(np.full(100, now - 5), np.full(100, 4), now)
    assert many[0, 3] == many[0, 0], "a past of twenty gaps and more counts in full"


@pytest.mark.parametrize("apart", [6, DAY - 6])
def test_an_hour_before_is_as_near_as_an_hour_after(apart: int) -> None:
    now = 20 * DAY
    columns = _own_gaps(np.array([now - apart]), np.array([5]), now)
    weight = math.exp(-apart / (5 * DAY)) * math.exp(-0.5 * 0.25)
    assert columns[4, 1] == pytest.approx(naive_log_odds([5], [weight], 5))


def test_who_returns_every_morning_is_expected_in_three_windows_around_it() -> None:
    past = offices(11, lambda _: 54)
    ahead = _habit(past, DAY)
    morning = 54 + DAY - 102  # the age of a gap that ends at nine
    kept = [math.exp((day * DAY + 54 - past.size) / (5 * DAY)) for day in range(1, 10)]  # the last return has not had its morning after
    share = sum(kept) / (sum(kept) + 1)
    assert np.flatnonzero(ahead[:DAY]).tolist() == [morning - 2, morning - 1, morning]
    assert ahead[morning - 2 : morning + 1] == pytest.approx([share / 3, share / 2, share])
    assert ahead[DAY:] == pytest.approx(0)  # what has not yet happened is no habit


def test_a_window_earlier_or_later_is_the_same_habit_and_an_hour_is_another() -> None:
    assert _habit(offices(11, lambda day: 54 + day % 2), DAY).max() > 0.6
    assert _habit(offices(11, lambda day: 54 + 3 * (day % 2)), DAY).max() == 0


def test_who_comes_every_other_day_has_no_daily_habit() -> None:
    assert _habit(offices(12, lambda day: 54 if day % 2 else 102), DAY).max() == 0


def test_a_return_says_nothing_where_it_was_busy_anyway_a_lag_later() -> None:
    past = np.zeros(12 * DAY, dtype=np.bool_)
    for day in range(11):
        first = 54 if day % 2 else 30  # on even days it is busy long before nine
        past[day * DAY + first : day * DAY + 102] = True
    past = past[: 10 * DAY + 102]
    assert _habit(past, 7 * DAY).max() == 0
    assert _habit(past, 2 * DAY).max() > 0.6


def lunches(*lengths: int, late: int = 0) -> Windows:
    """Days that are busy but for so many windows before midnight, up to the last one's lunch; ``late``: that begins so much later."""
    days = [np.arange(DAY) < DAY - length for length in lengths]
    past = np.concatenate(days)[: -lengths[-1]]
    return np.concatenate((past, np.ones(late, dtype=np.bool_)))


def test_returns_after_less_than_an_hour_are_no_habit() -> None:
    assert _habit(lunches(*[6, 8] * 7), DAY).max() > 0.6
    assert _habit(lunches(*[5, 8] * 7), DAY).max() == 0
    assert _habit(lunches(*[6] * 12), DAY).max() == 0, "an hour of silence, and the window that it may be early"
    assert _habit(lunches(*[7] * 12), DAY).max() > 0.6


def test_nobody_is_expected_back_within_the_hour_for_a_habit() -> None:
    assert np.flatnonzero(_habit(lunches(*[9] * 12), DAY)[:DAY]).tolist() == [7, 8, 9]
    assert np.flatnonzero(_habit(lunches(*[9] * 12, late=2), DAY)[:DAY]).tolist() == [5, 6, 7]
    assert np.flatnonzero(_habit(lunches(*[9] * 12, late=3), DAY)[:DAY]).tolist() == [5, 6]


def test_the_hazard_is_a_logistic_regression_that_a_habit_may_exceed() -> None:
    past = offices(11, lambda _: 54)
    even = hazard(past, np.zeros(24))
    morning = 54 + DAY - 102
    assert even[morning] == pytest.approx(_habit(past, DAY)[morning])
    assert np.delete(even, range(morning - 2, morning + 1))[:DAY] == pytest.approx(0.5)
    theta = DICE.normal(0, 0.3, 24)
    told = theta[0] + features(past) @ theta[1:]
    assert hazard(past, theta) == pytest.approx(np.maximum(1 / (1 + np.exp(-told)), np.maximum(_habit(past, DAY), _habit(past, 7 * DAY))))


@pytest.mark.parametrize(("level", "bound"), [(50.0, 15.0), (-50.0, -15.0)])
def test_nothing_is_quite_sure(level: float, bound: float) -> None:
    chance = hazard(np.array([True]), np.array([level, *[0.0] * 23]))
    assert np.log(chance / (1 - chance)) == pytest.approx(np.full(HORIZON, bound))


def test_what_is_older_than_the_memory_changes_nothing() -> None:
    past = some_past(16)
    recent = past[-MEMORY_WINDOWS:]
    assert np.array_equal(features(past), features(recent))
    habit = offices(20, lambda day: 54 if day > 8 else 60)
    assert np.array_equal(hazard(habit), hazard(habit[-MEMORY_WINDOWS:]))
