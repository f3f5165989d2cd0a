"""The request path calls an endpoint that sleeps: that is enough to start it, whatever else is known of the traffic."""

import pytest

from scaler.model import Bounds, Endpoint, EndpointState, Inputs, Known, Power, ReasonCode, Unknown
from scaler.policy import Memory, step
from scaler.pooled import LIVE
from scaler.settings import EndpointSettings


def stopped_and_called(calls: int, state: EndpointState = EndpointState.STOPPED, **idle: bool) -> tuple[Power, bool, set[ReasonCode]]:
    """A tick with a meter that nobody can read."""
    settings = EndpointSettings.model_validate({"id": "e", "max_replicas": 4, "idle": idle})
    endpoint = Known(Endpoint("e", "me/m", "m", "gpu", state, Bounds(1, 4)), "story", 100.0)
    decision, _ = step("chat", settings, Inputs(Unknown("no meter", 100.0), endpoint, 100.0, 1000.0, calls=calls), Memory(), LIVE)
    return decision.power, decision.hold, {reason.code for reason in decision.reasons}


def test_a_call_starts_it_although_the_traffic_is_not_known() -> None:
    power, hold, codes = stopped_and_called(3)
    assert (power, hold) == (Power.RUN, False)
    assert ReasonCode.WAKE in codes


def test_without_a_call_and_without_traffic_it_sleeps_on() -> None:
    assert stopped_and_called(0) == (Power.KEEP, True, {ReasonCode.IDLE_KEPT})


def test_a_call_starts_nothing_where_that_is_not_allowed() -> None:
    power, hold, _ = stopped_and_called(3, wake=False)
    assert (power, hold) == (Power.KEEP, True)


@pytest.mark.parametrize("state", [EndpointState.STARTING, EndpointState.STOPPING, EndpointState.ERROR])
def test_a_call_waits_for_what_is_under_way(state: EndpointState) -> None:
    assert stopped_and_called(3, state)[1]
