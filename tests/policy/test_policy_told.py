"""A provider that says how many replicas run is believed; so is one that says that it has none to give."""

from dataclasses import replace

import pytest

from scaler.model import Bounds, Decision, Endpoint, EndpointState, Known, Power, ReasonCode
from scaler.policy import History, PolicyState, Situation, decide
from scaler.policy.fleet import Fleet, track
from scaler.settings import IdleSettings
from tests.policy.story import Story, sample


def told(bounds: Bounds, ready: int, desired: int | None, missing: int = 0) -> Endpoint:
    endpoint = Endpoint("dep_1", "acme/chat", "m", "h", EndpointState.STARTED, bounds)
    return replace(endpoint, ready_replicas=ready, desired_replicas=desired, missing_replicas=missing)


def codes(decision: Decision) -> set[ReasonCode]:
    return {reason.code for reason in decision.reasons}


@pytest.mark.parametrize(
    ("bounds", "ready", "desired", "missing", "expected"),
    [
        ((1, 4), 2, 3, 0, (2, 1, 0)),  # the platform's own autoscaler wants one more
        ((1, 4), 2, None, 0, (2, 0, 0)),  # nobody says what it wants: the bounds do
        ((5, 5), 1, 1, 0, (1, 4, 0)),  # just asked for; the platform's wish lags behind
        ((2, 2), 5, 5, 0, (5, 0, 0)),  # just let go
        ((5, 5), 1, 5, 3, (1, 1, 3)),
        ((5, 5), 4, 5, 3, (4, 0, 1)),  # more serve than was said: the others are missing no more
        ((1, 1), 1, 1, 2, (1, 0, 0)),
    ],
)
def test_what_is_wanted_and_not_ready_is_starting_or_missing(
    bounds: tuple[int, int], ready: int, desired: int | None, missing: int, expected: tuple[int, int, int]
) -> None:
    fleet = track(None, told(Bounds(*bounds), ready, desired, missing), cold_start=300, now=1000)
    assert (fleet.ready, fleet.starting, fleet.missing) == expected
    assert fleet.total == sum(expected)
    assert set(fleet.due) <= {1300.0}


def test_a_replica_keeps_the_time_it_was_due_and_one_that_gets_hardware_begins_then() -> None:
    first = track(None, told(Bounds(3, 3), 1, 3, 1), cold_start=300, now=1000)
    assert first == Fleet(1, (1300.0,), 1)
    later = track(first, told(Bounds(3, 3), 1, 3, 0), cold_start=300, now=1100)
    assert later == Fleet(1, (1300.0, 1400.0))


def short(story: Story, ready: int, asked: int) -> None:
    """The provider has hardware for ``ready`` of the replicas that were asked for."""
    story.endpoint = told(Bounds(asked, asked), ready, asked, asked - ready)
    story.obeys = False


def test_a_shortage_is_said_and_the_pile_before_it_asks_for_nothing_more(story: Story) -> None:
    short(story, 2, 5)
    for concurrency in (25.0, 40.0, 80.0, 200.0):
        decision = story.minutes(3, concurrency)[-1]
        assert decision.bounds == Bounds(5, 5)
        assert ReasonCode.SHORTAGE in codes(decision)
        assert "3 of 5 replicas asked for have no hardware yet" in decision.sentence
    assert decision.alternatives[0].replicas == 8
    assert decision.bound_by == "shortage"


def test_less_may_be_asked_for_during_a_shortage_one_step_at_a_time(story: Story) -> None:
    short(story, 2, 5)
    story.minutes(6, 3.0)
    assert story.decisions[-1].bounds == Bounds(4, 4)
    assert ReasonCode.TRAFFIC_DOWN in codes(story.decisions[-1])


def test_when_hardware_comes_traffic_is_followed_again(story: Story) -> None:
    short(story, 2, 5)
    story.minutes(2, 40.0)
    story.endpoint = told(Bounds(5, 5), 5, 5)
    assert story.tick(40.0).bounds.min_replicas == 8


@pytest.mark.parametrize(("by_us", "said"), [(False, True), (True, False), (None, False)])
@pytest.mark.parametrize("arrivals", [0.0, 2.0])
@pytest.mark.parametrize("wake", [True, False])
def test_whoever_stopped_it_is_named_where_it_was_not_scaler(
    story: Story,
    by_us: bool | None,  # noqa: FBT001 (a row of the table)
    said: bool,  # noqa: FBT001 (a row of the table)
    arrivals: float,
    wake: bool,  # noqa: FBT001 (a row of the table)
) -> None:
    endpoint = Known(replace(story.endpoint, state=EndpointState.STOPPED), "story", 1010.0)
    history = History().add(Known(sample(1000.0, arrivals), "story", 1010.0), keep_seconds=3600)
    settings = story.settings.model_copy(update={"idle": IdleSettings(wake=wake)})
    decision, _ = decide(Situation("chat", endpoint, history, settings, 1010.0, 1010.0, by_us), PolicyState())
    assert (ReasonCode.STOPPED_BY_OTHERS in codes(decision)) is said
    assert (decision.power is Power.RUN) is (arrivals > 0 and wake)
