"""What is known of an endpoint's traffic, window by window of ten minutes. A start takes five minutes."""

from dataclasses import replace

import numpy as np
import pytest

from scaler.model import Bounds, Endpoint, EndpointState, Inputs, Known, Observation, Sample, Unknown
from scaler.policy.idle import NEVER, Past, Plan, Terms, price_for, worth
from scaler.policy.presence import (
    PAST_WINDOWS,
    TIMER_GAPS,
    TIMERS,
    Kept,
    Presence,
    Return,
    busy_runs,
    kept,
    observe,
    plan_of,
    terms_of,
    timer_for,
)
from scaler.policy.returns import HORIZON, MEMORY_WINDOWS, hazard
from scaler.settings import EndpointSettings, IdleSettings, ObjectiveSettings, PolicySettings
from tests.policy.story import sample

WINDOW = 600.0


def own(min_replicas: int = 1, **idle: object) -> EndpointSettings:
    return EndpointSettings(
        id="endpoint-1",
        min_replicas=min_replicas,
        max_replicas=8,
        idle=IdleSettings.model_validate({"allow_stop": True} | idle),
        objective=ObjectiveSettings(share=0.97),
        policy=PolicySettings(cold_start_seconds=300),
    )


SETTINGS = own()
CALM = Presence(runs=((0, 9),), since=0, seen=9, priced=9)
"""Busy for ten windows, nothing happened since."""


def tick(
    before: Presence,
    window: float,
    seen: Sample | str = "quiet",
    *,
    settings: EndpointSettings = SETTINGS,
    ready: bool = True,
    calls: int = 0,
    price: float | None = None,
) -> Presence:
    """One tick at the beginning of ``window``, with a sample of the second before it."""
    at = window * WINDOW
    told: Observation[Sample] = Unknown("cut off", at)
    if seen != "unknown":
        told = Known(seen if isinstance(seen, Sample) else sample(at - 1, 0.0, seconds=1), "story", at)
    endpoint = Known(Endpoint("e", "n", "m", "gpu", EndpointState.STARTED, Bounds(1, 1)), "story", at)
    inputs = Inputs(told, endpoint, at, at, calls=calls, price=price)
    return observe(before, settings, inputs, lead_seconds=settings.policy.cold_start_seconds, ready=ready)


def busy(window: float, seconds: float = 1) -> Sample:
    """Traffic in the seconds before the beginning of ``window``."""
    return sample(window * WINDOW - seconds, 1.0, seconds=seconds)


def test_the_first_window_counts_as_busy_whatever_is_seen() -> None:
    first = tick(Presence(), 10.5)
    assert (first.runs, first.since, first.seen) == (((10, 10),), 10, 10)
    assert first.chances == ()


def test_a_quiet_window_begins_a_gap_and_a_busy_one_goes_on() -> None:
    assert tick(CALM, 10.1, busy(10.1)).runs == ((0, 10),)
    gap = tick(CALM, 10.1)
    assert (gap.runs, gap.seen) == (((0, 9),), 10)
    again = tick(gap, 10.9, busy(10.9))
    assert (again.runs, again.chances, again.worths) == (((0, 10),), (), ())
    later = tick(tick(gap, 11.1), 12.1, busy(12.1))
    assert later.runs == ((0, 9), (12, 12))
    assert (later.chances, later.worths, later.seen) == ((), (), 12)


STILL = sample(6299.0, 0.0, seconds=1)


@pytest.mark.parametrize("seen", [replace(STILL, arrivals=1), replace(STILL, in_flight=1), replace(STILL, concurrency=0.1)])
def test_traffic_shows_in_arrivals_in_flight_or_in_the_mean(seen: Sample) -> None:
    assert tick(CALM, 10.5, seen).runs == ((0, 10),)


def test_what_is_not_known_and_what_had_to_be_held_counts_as_traffic() -> None:
    assert tick(CALM, 10.5, "unknown").runs == ((0, 10),)
    assert tick(CALM, 10.5, calls=1).runs == ((0, 10),)


def test_windows_that_nobody_watched_count_as_traffic_for_an_hour_at_most() -> None:
    assert tick(CALM, 10.5).runs == ((0, 9),)
    assert tick(CALM, 11.5).runs == ((0, 11),)
    assert tick(CALM, 16.5).runs == ((0, 16),)
    assert tick(replace(CALM, seen=12), 14.5).runs == ((0, 9), (13, 14))
    assert tick(replace(CALM, seen=12), 13.5).runs == ((0, 9),)
    assert tick(CALM, 17.5).runs == ((0, 9),)
    assert tick(CALM, 17.5, "unknown").runs == ((0, 9), (17, 17))
    assert tick(CALM, 17.5, busy(17.5)).runs == ((0, 9), (17, 17))


def test_a_sample_that_reaches_back_marks_the_window_it_began_in_but_none_that_was_seen_before() -> None:
    gap = replace(CALM, seen=13)
    assert tick(gap, 14.1, busy(14.1, 90)).runs == ((0, 9), (13, 14))
    assert tick(gap, 14.1, busy(14.1, 30)).runs == ((0, 9), (14, 14))
    assert tick(gap, 14.1, busy(14.1, 1500)).runs == ((0, 9), (13, 14))


def test_a_clock_that_ran_ahead_for_a_while_is_not_believed_until_its_time_comes() -> None:
    ahead = tick(CALM, 1000.5, busy(1000.5))
    assert (ahead.seen, ahead.runs) == (1000, ((0, 9), (1000, 1000)))
    right = tick(ahead, 13)
    assert (right.seen, right.runs, right.returns) == (13, ((0, 9),), ())
    assert right.worths, "the gap since the last call that there was is looked at anew"
    again = tick(right, 14.5, busy(14.5))
    assert (again.seen, again.runs) == (14, ((0, 9), (14, 14)))
    early = tick(tick(Presence(), 1000.5, busy(1000.5)), 13.5)
    assert (early.seen, early.runs, early.since) == (13, ((13, 13),), 13), "nothing is known: safe, as in the beginning"


def test_a_clock_that_was_set_back_teaches_nothing() -> None:
    assert tick(CALM, 8.5, busy(8.5)) is CALM
    assert tick(CALM, 9.5, busy(9.5)).runs == ((0, 9),)


def test_in_a_gap_the_chances_of_a_return_and_their_worths_are_those_of_its_past() -> None:
    before = Presence(runs=((2, 3), (6, 6)), since=0, seen=6, priced=6)
    chances = hazard(np.array([0, 0, 1, 1, 0, 0, 1], dtype=np.bool_))
    gap = tick(before, 7.1)
    assert gap.chances == tuple(chances)
    assert gap.worths == tuple(worth(chances[np.newaxis], terms_of(SETTINGS, 300.0))[0])
    assert len(gap.worths) == HORIZON
    assert tick(gap, 8.1).worths is gap.worths
    older = replace(before, since=4)
    assert tick(older, 7.1).chances == tuple(hazard(np.array([1, 1, 0, 0, 1], dtype=np.bool_)))


def test_a_return_is_kept_with_the_price_that_would_have_been_ready_for_it() -> None:
    old = (Return(12 - PAST_WINDOWS, 1.0, cold=True), Return(13 - PAST_WINDOWS, 2.0, cold=True))
    gap = replace(CALM, seen=11, worths=(5.0, 7.0, 9.0), returns=old)
    assert tick(gap, 12.1, busy(12.1)).returns == (old[1], Return(12, 7.0, cold=False))
    assert tick(gap, 12.1, busy(12.1), ready=False).returns[-1] == Return(12, 7.0, cold=True)
    assert tick(replace(gap, seen=12), 13.1, busy(13.1)).returns[-1].worth == 9.0
    assert tick(replace(gap, seen=13), 14.1, busy(14.1)).returns[-1].worth == NEVER
    assert tick(replace(gap, worths=()), 12.1, busy(12.1)).returns == old


def test_what_is_older_than_the_memory_is_forgotten() -> None:
    now = MEMORY_WINDOWS + 9
    gap = Presence(runs=((0, 9), (20, 30)), since=0, seen=now - 1, priced=now)
    after = tick(gap, now + 0.1, busy(now + 0.1))
    assert (after.runs, after.since) == (((20, 30), (now, now)), 9)
    before = tick(replace(gap, seen=now - 2), now - 0.9, busy(now - 0.9))
    assert (before.runs, before.since) == (((0, 9), (20, 30), (now - 1, now - 1)), 8)
    assert tick(replace(gap, since=12), now + 0.1, busy(now + 0.1)).since == 12


def test_busy_windows_become_runs() -> None:
    assert busy_runs([]) == ()
    assert busy_runs([3, 4, 5, 7, 9, 10]) == ((3, 5), (7, 7), (9, 10))


@pytest.mark.parametrize(("minutes", "rest"), [(5, 1), (10, 1), (20, 2), (25, 3)])
def test_a_sleep_lasts_whole_windows(minutes: float, rest: int) -> None:
    assert terms_of(own(min_sleep_minutes=minutes), 300.0) == Terms(start=0.5, rest=rest)


def test_a_price_in_dollars_is_counted_in_windows_of_all_that_would_idle() -> None:
    dear = own(min_replicas=2, cold_request_dollars=3.0)
    found = tick(replace(CALM, priced=0), 9.5, busy(9.5), settings=dear, price=6.0)
    assert (found.price, found.priced) == (1.5, 9)  # two replicas at six dollars an hour: two dollars a window


def test_the_price_is_found_anew_every_hour() -> None:
    dear = own(cold_request_dollars=3.0)
    assert tick(replace(CALM, priced=4), 9.5, settings=dear, price=6.0).priced == 4
    assert tick(replace(CALM, priced=3), 9.5, settings=dear, price=6.0).priced == 9


@pytest.mark.parametrize(("warm", "share"), [(0.9, 0.9), (None, 0.97)])
@pytest.mark.parametrize("dollars", [None, 3.0])
def test_without_dollars_the_price_is_what_would_have_kept_the_share_warm_last_week(
    warm: float | None, share: float, dollars: float | None
) -> None:
    now = PAST_WINDOWS + 100
    runs = ((50, 103), (500, 519), (now - 10, now - 1))
    returns = (Return(99, 1.0, cold=True), Return(100, 60.0, cold=True), Return(500, 2.0, cold=False), Return(now - 10, 90.0, cold=True))
    before = Presence(runs=runs, since=0, seen=now - 1, returns=returns, worths=(1.0,), priced=0)
    past = Past(np.array([60.0, 2.0, 90.0]), active=4 + 20 + 10, days=7, spent_active=34, spent_cold=2)
    settings = own(warm_share=warm, cold_request_dollars=dollars)
    assert tick(before, now + 0.5, settings=settings).price == price_for(share, past)
    watched = replace(before, since=now - 144)
    young = Past(np.array([90.0]), active=10, days=1, spent_active=10, spent_cold=1)
    assert tick(watched, now + 0.5, settings=settings).price == price_for(share, young)
    longer = replace(before, since=now - 5 * 144)
    five = Past(np.array([2.0, 90.0]), active=30, days=5, spent_active=30, spent_cold=1)
    assert tick(longer, now + 0.5, settings=settings).price == price_for(share, five)


def gaps(*lengths: int) -> Presence:
    """Busy windows with gaps of so many windows between them; a cold call is worth half a window."""
    runs, window = [(0, 1)], 1
    for length in lengths:
        window += length + 1
        runs.append((window, window + 1))
        window += 1
    return Presence(runs=tuple(runs), since=0, seen=window, priced=0)


def timed(before: Presence, windows: float) -> int:
    """The platform's timer where a cold call is worth so many windows of one replica at six dollars an hour."""
    window = before.seen + 0.5
    return tick(before, window, busy(window), settings=own(cold_request_dollars=windows), price=6.0).timer


def test_the_timer_that_would_have_cost_least_is_taken_if_it_saves_enough() -> None:
    four = gaps(*[4] * TIMER_GAPS)  # 30 minutes and a cold call, or 40 minutes of waiting: a cold call of 8 minutes is worth 2 of 40
    assert timed(four, 0.75) == 30
    assert timed(four, 0.8) == 60
    assert timed(gaps(*[4] * (TIMER_GAPS - 1)), 0.1) == 60
    assert timed(replace(four, timer=1440), 50) == 1440
    eleven = gaps(*[11] * TIMER_GAPS)
    assert timed(eleven, 50) == 120
    assert timed(replace(eleven, timer=240), 50) == 240
    assert timed(gaps(*[6] * TIMER_GAPS), 50) == 60, "a gap that ends with the timer is not cold"


def test_the_timer_goes_by_the_newest_gaps() -> None:
    assert timed(gaps(*[11] * 50, *[1] * (10 * TIMER_GAPS - 1)), 0.5) == 60
    assert timed(gaps(*[11] * 50, *[4] * (10 * TIMER_GAPS - 1)), 0.5) == 30


@pytest.mark.parametrize(("most", "timer"), [(30, 45), (44, 45), (45, 60), (240, 360), (1439, 1440), (1440, 1440), (9999, 1440)])
def test_the_platforms_timer_does_not_strike_before_scaler(most: float, timer: int) -> None:
    assert timer_for(Presence(timer=90), own(keep_at_least_minutes=10, keep_at_most_minutes=most)) == timer
    assert timer_for(Presence(timer=90), own(allow_stop=False, keep_at_most_minutes=most)) == 90
    assert timer in TIMERS


EXPECTED = Presence(
    runs=((0, 9),),
    since=0,
    seen=10,
    chances=(0.3, 0.4, 0.5, 0.25, 0.2, *[0.1] * 35),
    worths=(NEVER, NEVER, 2.0, 1.5, 1.0, *[NEVER] * 35),
    price=2.0,
)
"""A return is worth being ready for in the third to the fifth window after the gap's first one: the windows 13 to 15."""


def test_nothing_is_kept_of_what_was_never_seen() -> None:
    assert kept(Presence(), SETTINGS, 0.0) is None


def test_the_window_of_the_last_request_and_the_one_after_it_are_kept() -> None:
    last = Kept(9 * WINDOW, 11 * WINDOW, returning=False, chance=0.0, price=2 * WINDOW)
    assert kept(EXPECTED, SETTINGS, 9.5 * WINDOW) == last
    assert kept(EXPECTED, SETTINGS, 11 * WINDOW - 1) == last
    assert kept(EXPECTED, SETTINGS, 11 * WINDOW) is None


def test_a_start_comes_one_cold_start_before_the_windows_that_are_worth_it() -> None:
    awake = Kept(13 * WINDOW, 16 * WINDOW, returning=True, chance=1 - 0.5 * 0.75 * 0.8, price=2 * WINDOW)
    assert kept(EXPECTED, SETTINGS, 13 * WINDOW - 301) is None
    assert kept(EXPECTED, SETTINGS, 13 * WINDOW - 300) == awake
    assert kept(EXPECTED, SETTINGS, 16 * WINDOW - 1) == awake
    assert kept(EXPECTED, SETTINGS, 16 * WINDOW) is None
    first = replace(EXPECTED, worths=(1.0, *[NEVER] * 39), chances=(0.5, 0.2, *[0.1] * 38))
    assert kept(first, SETTINGS, 11 * WINDOW) == Kept(11 * WINDOW, 12 * WINDOW, returning=True, chance=0.5, price=2 * WINDOW)


def test_a_plan_stays_within_the_configured_bounds() -> None:
    assert plan_of(Presence(runs=((0, 9),)), SETTINGS) == Plan(())
    assert plan_of(EXPECTED, SETTINGS) == Plan(((3, 5),))
    assert plan_of(replace(EXPECTED, price=1.4), SETTINGS) == Plan(((5, 5),))
    for minutes, windows in ((30.0, 2), (25.0, 2), (31.0, 3)):
        late = replace(EXPECTED, worths=(NEVER,) * 40)
        assert plan_of(late, own(keep_at_least_minutes=minutes)).keep == windows
    for minutes, windows in ((40.0, 3), (49.5, 3), (50.0, 4)):
        dear = replace(EXPECTED, worths=(1.0,) * 40)
        assert plan_of(dear, own(keep_at_most_minutes=minutes)).keep == windows
    assert plan_of(replace(EXPECTED, worths=(1.0,) * 40), own(keep_at_most_minutes=10)).keep == 0
