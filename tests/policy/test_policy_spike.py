"""Spikes that are over before a replica could serve start nothing; what lasts is never held back for long."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from scaler.model import ReasonCode
from scaler.policy.spike import MAX_HOLD_SECONDS, Spikes, drained_in, observe, over_before
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
