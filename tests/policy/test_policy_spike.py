"""Spikes that are over before a replica could serve start nothing; what lasts is never held back for long."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from scaler.model import ReasonCode
from scaler.policy.spike import MAX_HOLD_SECONDS, Spike, Spikes, drained_in, observe, over_before
from tests.policy.story import Story

TICK = 10.0
LEAD = 180.0


def live(state: Spikes, needs: Iterable[int], running: int = 2, now: float = 0.0) -> tuple[Spikes, float]:
    for needed in needs:
        now += TICK
        state = observe(state, needed, running, now)
    return state, now


def spike(ticks: int, apart: int = 60) -> list[int]:
    return [2] * apart + [5] * ticks


def test_the_ninth_short_spike_starts_nothing_and_says_why() -> None:
    state, now = live(Spikes(), spike(6) * 9)
    assert len(state.past) == 8
    why = over_before(state, LEAD, now)
    assert why == "8 of 8 such spikes were over before a replica could have served, which takes 180 s; this one is 50 s old"


def test_without_experience_a_replica_is_started() -> None:
    state, now = live(Spikes(), spike(6) * 3)
    assert over_before(state, LEAD, now) is None


def test_a_spike_among_those_that_lasted_starts_a_replica() -> None:
    state, now = live(Spikes(), [*spike(6) * 8, *spike(40) * 4, *spike(3)])
    assert over_before(state, LEAD, now) is None


def test_a_train_of_short_spikes_is_served() -> None:
    state, now = live(Spikes(), spike(6, apart=6) * 20)
    assert over_before(state, LEAD, now) is None


def test_what_lasts_longer_than_spikes_do_is_served_after_a_minute_and_a_half() -> None:
    state, now = live(Spikes(), [*spike(6) * 12, *spike(0)])
    held = []
    for _ in range(20):
        state, now = live(state, [5], now=now)
        held.append(over_before(state, LEAD, now) is not None)
    assert held == [True] * 6 + [False] * 14


def test_what_waits_after_a_burst_needs_no_replica_if_it_is_worked_off_before() -> None:
    state, now = live(Spikes(), spike(2))
    drained = drained_in(offered=1.0, concurrency=5.0, planned=2.0, service_seconds=10.0)
    assert drained == 30.0
    why = over_before(state, LEAD, now, drained_in=drained)
    assert why == "what arrives now fits what runs; what waits is worked off in 30 s, a replica would serve in 180"


def test_a_rush_that_goes_on_is_not_taken_for_over() -> None:
    assert drained_in(offered=1.1, concurrency=5.0, planned=2.0, service_seconds=10.0) is None


def test_the_ninth_short_rush_minute_by_minute(story: Story) -> None:
    for _ in range(8):  # three quarters of an hour of calm, then half a minute of three times as much
        story.minutes(45, 4.0)
        assert max(decision.bounds.min_replicas for decision in story.minutes(0.5, 30.0)) > 1
    story.minutes(45, 4.0)
    assert story.replicas == 1
    rush = [*story.minutes(0.5, 30.0), *story.minutes(0.75, 4.0)]
    assert [decision.bounds.min_replicas for decision in rush] == [1] * len(rush), "while it lasts; what is expected next is the forecast's"
    (why,) = {reason.sentence for reason in rush[1].reasons}
    assert why.startswith("A spike starts nothing: 8 of 8 such spikes were over before a replica could have served, which takes 300 s")
    assert rush[1].alternatives[0].why_not == why


def test_a_rush_that_lasts_is_served_all_the_same_within_two_minutes(story: Story) -> None:
    for _ in range(8):
        story.minutes(45, 4.0)
        story.minutes(0.5, 30.0)
    story.minutes(45, 4.0)
    rush = story.minutes(4, 30.0)
    assert [reason.code for reason in rush[1].reasons] == [ReasonCode.SPIKE]
    assert rush[13].bounds.min_replicas > 1


needs = st.lists(st.integers(0, 10), max_size=300)


@given(needs, st.floats(1.0, 3000.0), st.none() | st.floats(0.0, 1000.0))
def test_load_that_lasts_is_never_held_back_for_longer_than_two_minutes(before: list[int], lead: float, drained: float | None) -> None:
    state, now = live(Spikes(), before)
    began = now + TICK
    state, now = live(state, [11], now=now)
    while over_before(state, lead, now, drained_in=drained) is not None:
        assert now - began <= min(MAX_HOLD_SECONDS, lead / 2)
        state, now = live(state, [11], now=now)
    state, now = live(state, [11] * 5, now=now)
    assert over_before(state, lead, now, drained_in=drained) is None


@given(needs)
def test_what_is_remembered_is_bounded_and_in_order(story: list[int]) -> None:
    state, now = live(Spikes(), story * 5)
    assert len(state.past) <= 100
    assert [spike.ended for spike in state.past] == sorted(spike.ended for spike in state.past)
    assert all(0 < spike.seconds <= now for spike in state.past)


def spikes(seconds: float, *, lasting: int = 0, of: int = 10, ended: float = -1000.0) -> Spikes:
    """Ten spikes of ``seconds``, ``lasting`` of them longer than any start, and one that began at 0."""
    past = [Spike(seconds, ended)] * (of - lasting) + [Spike(9999.0, ended)] * lasting
    return Spikes(tuple(past), since=0.0, level=2)


def test_a_spike_is_held_back_for_half_a_cold_start_and_two_minutes_at_most() -> None:
    for lead, longest in ((180.0, 90.0), (300.0, 120.0)):
        assert over_before(spikes(150.0), lead, longest) is not None
        assert over_before(spikes(150.0), lead, longest + 1) is None
    assert over_before(Spikes(), LEAD, 0.0) is None


def test_as_many_as_one_in_ten_may_have_been_worth_a_start() -> None:
    assert over_before(spikes(20.0, lasting=1), LEAD, 10.0) == (
        "9 of 10 such spikes were over before a replica could have served, which takes 180 s; this one is 10 s old"
    )
    assert over_before(spikes(20.0, lasting=2), LEAD, 10.0) is None
    assert over_before(spikes(20.0, lasting=2, of=20), LEAD, 10.0) is not None
    assert over_before(spikes(190.0), LEAD, 10.0) is not None, "over when a replica would have served"
    assert over_before(spikes(191.0), LEAD, 10.0) is None


def test_only_spikes_that_lasted_as_long_as_this_one_tell_of_it() -> None:
    assert over_before(spikes(20.0, of=8), LEAD, 19.0) is not None
    assert over_before(spikes(20.0, of=8), LEAD, 20.0) is None
    assert over_before(spikes(20.0, of=7), LEAD, 10.0) is None


def test_two_cold_starts_after_the_last_spike_is_no_train() -> None:
    assert over_before(spikes(20.0, ended=-360.0), LEAD, 10.0) is not None
    assert over_before(spikes(20.0, ended=-359.0), LEAD, 10.0) is None


def test_what_waits_is_worked_off_by_what_is_left_of_the_plan() -> None:
    assert drained_in(offered=0.5, concurrency=5.0, planned=2.0, service_seconds=10.0) == 20.0
    assert drained_in(offered=1.0, concurrency=1.5, planned=2.0, service_seconds=10.0) == 0.0
    assert drained_in(offered=1.01, concurrency=5.0, planned=2.0, service_seconds=10.0) is None
    assert drained_in(offered=0.25, concurrency=1.0, planned=0.5, service_seconds=10.0) == 20.0
    assert drained_in(offered=0.0, concurrency=5.0, planned=0.0, service_seconds=10.0) is None
    waiting = Spikes(since=0.0, level=2)
    assert over_before(waiting, LEAD, 10.0, drained_in=179.0) is not None
    assert over_before(waiting, LEAD, 10.0, drained_in=180.0) is None
