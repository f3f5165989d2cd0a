"""What the request path is told of an endpoint's readiness."""

from dataclasses import replace

import pytest

from scaler.model import Bounds, Endpoint, EndpointState, Start
from scaler.policy.capacity import Estimate
from scaler.policy.cold_start import ColdStart, estimate
from scaler.policy.fleet import Fleet
from scaler.policy.learned import Learned
from scaler.proxy.routes import Readiness, Standing
from scaler.routing import readiness_of, route_table
from scaler.settings import EndpointSettings

STARTS = estimate(ColdStart(), 300.0)
SETTINGS = EndpointSettings(id="endpoint-1")
ENDPOINT = Endpoint("endpoint-1", "me/model", "model", "gpu", EndpointState.STARTED, Bounds(1, 4))


def judge(
    state: EndpointState,
    *,
    fleet: Fleet | None = None,
    learned: Learned = Learned(),  # noqa: B008 (it is frozen)
    before: Readiness | None = None,
    wakes: bool = True,
    now: float = 1000.0,
) -> Readiness | None:
    endpoint = replace(ENDPOINT, state=state)
    return readiness_of(endpoint, fleet, learned, SETTINGS, before, wakes=wakes, now=now)


@pytest.mark.parametrize(
    ("state", "standing"),
    [
        (EndpointState.STARTED, Standing.READY),
        (EndpointState.PENDING, Standing.WAKING),
        (EndpointState.STARTING, Standing.WAKING),
        (EndpointState.STOPPING, Standing.ASLEEP),
        (EndpointState.STOPPED, Standing.ASLEEP),
        (EndpointState.ERROR, None),
        (EndpointState.UNKNOWN, None),
    ],
)
def test_every_state_has_a_standing_or_speaks_for_itself(state: EndpointState, standing: Standing | None) -> None:
    seen = judge(state)
    assert (seen and seen.standing) == standing


def test_capacity_is_that_of_the_ready_replicas_and_of_the_first_while_there_are_none() -> None:
    assert [
        seen.capacity for fleet in (Fleet(3, (2000.0,)), Fleet(1), None) if (seen := judge(EndpointState.STARTED, fleet=fleet)) is not None
    ] == [24.0, 8.0, 8.0]


def test_what_was_learned_of_starts_and_capacity_counts() -> None:
    slow = tuple(Start(str(number), number * 10_000.0, number * 10_000.0 + 600.0) for number in range(20))
    known = ColdStart(starts=slow)
    learned = Learned(cold_start=known, starts=estimate(known, 300.0), estimate=Estimate(20.0, None, 0.0, None, 20.0, ""))
    asleep, ready = judge(EndpointState.STOPPED, learned=learned), judge(EndpointState.STARTED, fleet=Fleet(2), learned=learned)
    assert asleep is not None
    assert ready is not None
    assert asleep.remaining_seconds == 600.0
    assert ready.capacity == 40.0


def test_started_without_a_replica_is_waking() -> None:
    for fleet in (Fleet(0, (2000.0,)), Fleet(0, (), 1)):
        seen = judge(EndpointState.STARTED, fleet=fleet)
        assert seen is not None
        assert seen.standing is Standing.WAKING


def test_the_wait_shrinks_from_when_the_start_was_first_seen_and_never_ends_before_it_does() -> None:
    asleep = judge(EndpointState.STOPPED)
    assert asleep == Readiness(Standing.ASLEEP, 1000.0, 8.0, None, STARTS.quantile(0.9))
    before: Readiness | None = asleep
    waits = []
    for now in (1010.0, 1110.0, 1210.0, 1310.0, 1610.0):
        before = judge(EndpointState.STARTING, before=before, now=now)
        assert before is not None
        assert before.since == 1010.0
        assert before.remaining_seconds is not None
        waits.append(before.remaining_seconds)
    assert waits[:3] == sorted(waits[:3], reverse=True)
    assert waits[0] == pytest.approx(300.0)
    assert min(waits) > 0  # what is late will be later still


def test_where_nothing_would_start_it_requests_pass() -> None:
    assert judge(EndpointState.STOPPED, wakes=False) is None
    assert judge(EndpointState.STARTING, wakes=False) is not None  # a person has started it


def test_the_table_carries_what_is_known_and_what_is_configured() -> None:
    settings = EndpointSettings.model_validate({"id": "endpoint-1", "pool": "any", "wake": {"mode": "fail"}})
    ready = judge(EndpointState.STARTED)
    assert ready is not None
    (route,) = route_table({"chat": settings}, {"chat": ENDPOINT}, {"chat": ready}).routes
    assert (route.pool, route.wake.mode, route.readiness) == ("any", "fail", ready)
    (route,) = route_table({"chat": settings}, {"chat": ENDPOINT}, {}).routes
    assert route.readiness is None


def test_the_limit_of_requests_leaves_room_for_all_that_may_be_held() -> None:
    def limit(**settings: object) -> int:
        endpoint = EndpointSettings.model_validate({"id": "endpoint-1", "max_replicas": 4, **settings})
        return route_table({"chat": endpoint}, {"chat": ENDPOINT}, {}).routes[0].max_in_flight

    assert limit() == 1032  # 4 replicas of 8 beside the 1,000 that may be held
    assert limit(wake={"max_held": 10}) == 1024
    assert limit(wake={"max_held": 5000}) == 5032
    assert limit(max_replicas=40) == 1320
    assert limit(max_replicas=400) == 12_800
    assert limit(traffic={"max_in_flight": 7}) == 7
