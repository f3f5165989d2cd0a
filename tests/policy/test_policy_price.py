"""The price of a cold call and the worth of a window, found once more the slow way: price by price, window by window."""

from functools import cache

import numpy as np
import pytest

from scaler.policy.idle import CHUNK, DOUBT, NEVER, PRICES, USUAL_COLD, Past, Plan, Terms, _owed, plan, price_for, worth
from scaler.policy.returns import Floats

DICE = np.random.default_rng(5)


def ready_for(hazards: list[float], price: float, terms: Terms) -> set[int]:
    """The windows that the cheapest way through a gap is ready for, by trying every way; it begins awake."""
    horizon = len(hazards)

    @cache
    def ways(k: int, asleep: int) -> tuple[tuple[float, bool, int], ...]:
        """(cost, whether it is ready in window k, windows that it still has to sleep after it); ``asleep`` -1: awake."""
        chance = hazards[k]
        awake = (1 - chance) * cost(k + 1, -1)
        if asleep < 0:
            return ((chance * price + (1 - chance) * cost(k + 1, terms.rest - 1), False, terms.rest - 1), (1 + awake, True, -1))
        rest = max(asleep - 1, 0)
        slept = (chance * price + (1 - chance) * cost(k + 1, rest), False, rest)
        return (slept, (terms.start + DOUBT + awake, True, -1)) if asleep == 0 else (slept,)

    @cache
    def cost(k: int, asleep: int) -> float:
        return price if k == horizon else min(way[0] for way in ways(k, asleep))

    ready, asleep = set(), -1
    for k in range(horizon):
        _, now, asleep = min(ways(k, asleep))
        ready |= {k} if now else set()
    return ready


@pytest.mark.parametrize("rest", [1, 2, 4])
def test_the_worth_of_a_window_is_the_lowest_price_that_is_ready_for_it(rest: int) -> None:
    hazards, terms = DICE.random((3, 9)) ** 3, Terms(start=1.3, rest=rest)
    found = worth(hazards, terms)
    for row in range(3):
        ready = {price: ready_for(hazards[row].tolist(), price, terms) for price in PRICES.tolist()}
        for k in range(9):
            assert found[row, k] == min((price for price, windows in ready.items() if k in windows), default=NEVER), (row, k)


def test_many_gaps_are_worked_on_in_chunks_without_a_trace() -> None:
    hazards = DICE.random((CHUNK + 3, 4))
    together = worth(hazards, Terms(0.5))
    assert np.array_equal(together, np.concatenate([worth(row[np.newaxis], Terms(0.5)) for row in hazards]))
    assert worth(np.empty((0, 4)), Terms(0.5)).shape == (0, 4)


def planned(*ready: int, rest: int = 1, least: int = 0, most: int = 99) -> tuple[tuple[int, int], ...]:
    """The runs of a plan that is ready for these windows of twenty."""
    worths = np.full(20, 9.0)
    worths[[window - 1 for window in ready]] = 2.0
    return plan(worths, 2.0, Terms(0.5, rest), least=least, most=most).ready


def test_a_plan_is_ready_for_what_is_worth_its_price_and_no_more() -> None:
    assert planned(3, 4, 5, 9, 20) == ((3, 5), (9, 9), (20, 20))
    assert planned() == ()
    assert planned(1, 2) == ((1, 2),)


def test_a_sleep_that_is_too_short_is_none() -> None:
    assert planned(3, 6, 9, rest=3) == ((1, 9),)
    assert planned(4, 8, rest=3) == ((4, 4), (8, 8))
    assert planned(4, 7, 12, rest=3) == ((4, 7), (12, 12))
    assert planned(3, 9, 12, rest=3) == ((1, 3), (9, 12))
    assert planned(2) == ((2, 2),)
    assert planned(2, rest=2) == ((1, 2),)


def test_it_is_kept_within_its_bounds() -> None:
    assert planned(least=3) == ((1, 3),)
    assert planned(1, 2, 3, 4, 8, 9, 10, most=2) == ((1, 2), (8, 9))
    assert planned(1, 2, 3, 8, 9, 10, most=0) == ((8, 8),)
    assert planned(3, 4, 8, most=0) == ((3, 3), (8, 8)), "what is started later is ready for a window at least"
    assert planned(1, 2, 3, 8, most=1) == ((1, 1), (8, 8))


def test_what_is_kept_is_the_beginning() -> None:
    assert [Plan(ready).keep for ready in ((), ((1, 4),), ((2, 4),), ((1, 2), (5, 9)))] == [0, 4, 0, 2]


def usual_cold(price: float) -> float:
    """Cold starts per active window on the clients that the coefficients come from, between prices by their logarithms."""
    prices, cold = zip(*USUAL_COLD, strict=True)
    return float(np.interp(np.log(price), np.log(prices), cold))


def past(worths: Floats, *, active: float = 500.0, days: float = 7.0, spent: float = 500.0, cold: float = 50.0) -> Past:
    return Past(worths, active, days, spent, cold)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.93, 0.97])
def test_the_price_is_the_lowest_that_would_have_kept_the_share_warm(share: float) -> None:
    for known in (past(np.geomspace(0.6, 90, 60)), past(np.array([PRICES[30]] * 40)), past(np.empty(0)), past(np.array([NEVER] * 20))):
        allowed = (1 - _owed(share, known)) * (known.active + 600)
        cold = {price: sum(back > price for back in known.worths.tolist()) + 600 * usual_cold(price) for price in PRICES.tolist()}
        assert price_for(share, known) == min((price for price, many in cold.items() if many <= allowed), default=PRICES[-1])


def test_a_share_that_no_price_keeps_is_dear() -> None:
    assert price_for(0.999, past(np.array([NEVER] * 400))) == PRICES[-1]


@pytest.mark.parametrize(
    ("cold", "days", "owed"),
    [
        (50.0, 7.0, 0.9),
        (57.0, 7.0, 0.9 + 7 / (500 / 7 * 2)),  # seven more than wanted are made up for within two days of 1000 / 7 windows
        (43.0, 7.0, 0.9 - 7 / (500 / 7 * 2)),
        (57.0, 0.5, 0.9 + 7 / 1000),  # what is younger than a day counts as one
        (90.0, 7.0, 0.96),
        (10.0, 7.0, 0.84),
    ],
)
def test_what_was_missed_or_overdone_is_made_up_for_within_two_days(cold: float, days: float, owed: float) -> None:
    assert _owed(0.9, past(np.empty(0), days=days, cold=cold)) == pytest.approx(owed)


def test_a_share_stays_below_one_and_without_traffic_it_is_as_wanted() -> None:
    assert _owed(0.97, past(np.empty(0), cold=100.0)) == 1 - 1e-9
    assert _owed(0.97, past(np.empty(0), active=0.0, cold=100.0)) == 0.97
    assert _owed(0.9, past(np.empty(0), active=0.5, days=7.0, spent=0.5, cold=0.0)) == pytest.approx(0.9 - 0.06)
