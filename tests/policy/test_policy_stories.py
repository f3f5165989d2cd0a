"""The reactive policy, told in minutes."""

from dataclasses import replace
from itertools import pairwise

import pytest

from scaler.model import Bounds, Decision, EndpointState, Power, ReasonCode
from scaler.settings import EndpointSettings, IdleSettings, ObjectiveSettings, PolicySettings
from tests.policy.story import Story


def codes(decision: Decision) -> set[ReasonCode]:
    return {reason.code for reason in decision.reasons}


def test_constant_load_changes_nothing_for_a_day(story: Story) -> None:
    story.endpoint = replace(story.endpoint, bounds=Bounds(2, 2))
    decisions = story.minutes(24 * 60, 2 * 8 * 0.7)
    assert {decision.bounds for decision in decisions} == {Bounds(2, 2)}


def test_rising_traffic_is_followed_at_once_and_the_reason_has_the_figures(story: Story) -> None:
    story.minutes(10, 3.0)
    decisions = story.minutes(1, 15.0)
    up = next(d for d in decisions if d.bounds.min_replicas > 1)
    assert codes(up) & {ReasonCode.TRAFFIC_UP, ReasonCode.BURST}
    assert up.reasons[0].numbers["needed"] > 1
    assert "replicas" in up.sentence
    story.minutes(1, 15.0)
    assert story.replicas == 3  # ceil(15 / 5.6)


def test_a_burst_is_answered_from_the_panic_window_before_the_stable_one_has_filled(story: Story) -> None:
    story.minutes(10, 2.0)
    story.tick(20.0)
    decision = story.tick(20.0)
    assert ReasonCode.BURST in codes(decision)
    assert decision.bounds.min_replicas == 4  # ceil(20 / 5.6), though the stable mean is only 8


def test_replicas_that_are_starting_are_counted_so_the_same_load_does_not_start_more(story: Story) -> None:
    story.minutes(10, 2.0)
    story.minutes(2, 15.0)
    assert story.replicas == 3
    decisions = story.minutes(3, 15.0)
    assert {decision.bounds.min_replicas for decision in decisions} == {3}
    assert story.fleet.starting == 2
    story.minutes(3, 15.0)
    assert story.fleet.ready == 3


def test_the_way_down_waits_for_the_stabilization_window_and_goes_step_by_step(story: Story) -> None:
    story.endpoint = replace(story.endpoint, bounds=Bounds(4, 4))
    story.minutes(10, 22.0)
    quiet = story.minutes(4, 3.0)
    assert {decision.bounds.min_replicas for decision in quiet} == {4}
    assert ReasonCode.STABILIZING in codes(quiet[-1])
    story.minutes(2, 3.0)
    steps = [decision.bounds.min_replicas for decision in story.decisions]
    assert story.replicas < 4
    assert all(later - earlier >= -1 for earlier, later in pairwise(steps))
    story.minutes(30, 3.0)
    assert story.replicas == 1


def test_one_replica_fewer_must_still_hold_the_windows_peak(story: Story) -> None:
    story.settings = story.settings.model_copy(update={"policy": PolicySettings(target_utilization=1.0, stabilization_seconds=300)})
    story.endpoint = replace(story.endpoint, bounds=Bounds(2, 2))
    for _ in range(60):  # ten minutes: 6 on average asks for one replica, but every third tick has 10 in flight
        for concurrency in (4.0, 4.0, 10.0):
            decision = story.tick(concurrency)
    assert story.replicas == 2
    assert ReasonCode.CONSOLIDATION_REFUSED in codes(decision)
    assert decision.alternatives[0].replicas == 1


def test_an_objective_that_is_missed_with_two_is_not_met_with_one(story: Story) -> None:
    story.settings = story.settings.model_copy(update={"objective": ObjectiveSettings(share=0.95)})
    story.endpoint = replace(story.endpoint, bounds=Bounds(2, 2))
    decisions = story.minutes(20, 3.0, slow=5)  # 5 of 30 answers are too slow
    assert story.replicas == 2
    assert "miss the objective" in decisions[-1].sentence


def test_no_data_is_never_zero(story: Story) -> None:
    story.endpoint = replace(story.endpoint, bounds=Bounds(4, 4))
    story.minutes(10, 20.0)
    for decision in story.minutes(60, None):
        assert decision.hold
        assert codes(decision) == {ReasonCode.NO_DATA}
    assert story.endpoint.bounds == Bounds(4, 4)


def test_after_data_returns_nothing_is_taken_away_for_a_whole_window(story: Story) -> None:
    story.endpoint = replace(story.endpoint, bounds=Bounds(4, 4))
    story.minutes(10, 20.0)
    story.minutes(60, None)
    returned = story.now
    while story.replicas == 4:
        story.tick(1.0)
        assert story.now < returned + 1000
    assert story.now - returned >= story.settings.policy.stabilization_seconds


def test_data_that_return_may_add_at_once(story: Story) -> None:
    story.minutes(10, None)
    story.minutes(1, 20.0)
    assert story.replicas == 4


def test_a_fresh_start_adopts_what_runs(story: Story) -> None:
    story.endpoint = replace(story.endpoint, bounds=Bounds(5, 6))
    first = story.tick(1.0)
    assert first.bounds == Bounds(5, 6)
    assert ReasonCode.WARMING_UP in codes(first)
    early = story.minutes(4, 1.0)
    assert {decision.bounds for decision in early} == {Bounds(5, 6)}


def test_a_silent_provider_holds_the_bounds_last_seen(story: Story) -> None:
    story.endpoint = replace(story.endpoint, bounds=Bounds(3, 3))
    story.minutes(10, 14.0)
    story.provider_silent = "HTTP 500"
    for decision in story.minutes(30, 0.0):
        assert decision.hold
        assert decision.bounds == Bounds(3, 3)
        assert "HTTP 500" in decision.sentence


@pytest.mark.parametrize("state", [EndpointState.ERROR, EndpointState.STOPPING, EndpointState.UNKNOWN, EndpointState.PENDING])
def test_states_in_between_are_waited_out(story: Story, state: EndpointState) -> None:
    story.endpoint = replace(story.endpoint, state=state)
    assert all(decision.hold for decision in story.minutes(10, 30.0))


def test_the_ceiling_binds_and_says_so(story: Story) -> None:
    story.minutes(10, 2.0)
    decisions = story.minutes(5, 200.0)
    assert story.replicas == 8
    assert decisions[-1].bound_by == "max_replicas"
    assert decisions[-1].alternatives[0].replicas > 8


def test_more_than_the_ceiling_is_left_alone_until_there_is_proof(story: Story) -> None:
    story.settings = story.settings.model_copy(update={"max_replicas": 3})
    story.endpoint = replace(story.endpoint, bounds=Bounds(6, 6))
    early = story.minutes(4.5, 30.0)
    assert all(decision.hold for decision in early)
    story.minutes(10, 30.0)
    assert story.endpoint.bounds == Bounds(3, 3)
    cut = next(decision for decision in story.decisions if not decision.hold)
    assert cut.sentence == "max_replicas allows 3 replicas; without it there would be 6."
    assert (cut.bound_by, cut.alternatives[0].replicas) == ("max_replicas", 6)


def test_fewer_than_the_floor_are_made_up_for_and_the_traffic_is_not_blamed(story: Story) -> None:
    story.settings = story.settings.model_copy(update={"min_replicas": 3})
    first = story.tick(1.0)
    assert (first.bounds, first.bound_by) == (Bounds(3, 3), "min_replicas")
    assert first.sentence == "min_replicas asks for at least 3 replicas."
    rest = story.tick(1.0)
    assert (rest.bounds, rest.bound_by, codes(rest)) == (Bounds(3, 3), "min_replicas", {ReasonCode.STEADY})


def test_idle_keeps_the_timeout_explicit_and_does_not_stop_unless_allowed(story: Story) -> None:
    for decision in story.minutes(180, 0.0):
        assert decision.inactive_timeout_minutes == 60
        assert decision.power is Power.KEEP


def test_idle_long_enough_with_proof_stops_when_allowed(story: Story) -> None:
    story.settings = story.settings.model_copy(update={"idle": IdleSettings(allow_stop=True, stop_after_minutes=30)})
    story.minutes(5, 2.0)
    story.minutes(29, 0.0)
    assert all(decision.power is Power.KEEP for decision in story.decisions)
    story.minutes(2, 0.0)
    assert story.endpoint.state is EndpointState.STOPPED
    stop = next(decision for decision in story.decisions if decision.power is Power.STOP)
    assert codes(stop) == {ReasonCode.IDLE_STOP}


def test_a_gap_in_the_data_restarts_the_proof_of_idleness(story: Story) -> None:
    story.settings = story.settings.model_copy(update={"idle": IdleSettings(allow_stop=True, stop_after_minutes=30)})
    story.minutes(25, 0.0)
    story.minutes(1, None)
    story.minutes(25, 0.0)
    assert story.endpoint.state is EndpointState.STARTED


def test_requests_wake_a_stopped_endpoint_once(story: Story) -> None:
    story.endpoint = replace(story.endpoint, state=EndpointState.STOPPED)
    quiet = story.minutes(10, 0.0)
    assert all(decision.hold for decision in quiet)
    wake = story.tick(2.0)
    assert wake.power is Power.RUN
    assert codes(wake) == {ReasonCode.WAKE}


def test_a_stopped_endpoint_that_may_not_be_woken_stays_stopped(story: Story) -> None:
    story.settings = story.settings.model_copy(update={"idle": IdleSettings(wake=False)})
    story.endpoint = replace(story.endpoint, state=EndpointState.STOPPED)
    decision = story.tick(2.0)
    assert decision.hold
    assert "idle.wake" in decision.sentence


def test_room_for_the_platforms_own_autoscaler_is_above_our_count(story: Story) -> None:
    story.settings = story.settings.model_copy(update={"policy": PolicySettings(burst_replicas=2, stabilization_seconds=300)})
    story.minutes(10, 5.0)
    assert story.endpoint.bounds == Bounds(1, 3)


def test_the_upper_bound_comes_down_only_with_proof(story: Story) -> None:
    story.endpoint = replace(story.endpoint, bounds=Bounds(1, 6))
    early = story.minutes(4.5, 4.0)
    assert {decision.bounds for decision in early} == {Bounds(1, 6)}
    story.minutes(1, 4.0)
    assert story.endpoint.bounds == Bounds(1, 1)


def test_settings_of_this_story_are_valid() -> None:
    with pytest.raises(ValueError, match="min_replicas <= max_replicas"):
        EndpointSettings(id="endpoint-1", min_replicas=3, max_replicas=2)
