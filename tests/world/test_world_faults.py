"""What can go wrong on the platform's side, in virtual time."""

from collections.abc import Callable

import pytest

from scaler.model import Bounds, EndpointState
from scaler.settings import WorldSettings
from scaler.world.endpoint import Endpoint
from scaler.world.platform import Change, Platform, Wish
from scaler.world.refusals import Invalid, NotFound, NotRunning
from scaler.world.replica import JobState, ReplicaState

MODEL = "mistralai/Mixtral-8x7B-Instruct-v0.1"
H100 = "2x_nvidia_h100_80gb_sxm"
ONE = "endpoint-one"

MakeSettings = Callable[..., WorldSettings]


def ready(platform: Platform, endpoint_id: str = ONE) -> int:
    return platform.endpoint(endpoint_id, platform.now).fleet.count(ReplicaState.READY)


def state(endpoint: Endpoint) -> EndpointState:
    return endpoint.state


def test_less_stock_stops_growth_but_takes_nothing_away(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings({"min_replicas": 3, "max_replicas": 3}))
    platform.set_stock(H100, 2, 1.0)
    assert (platform.free(H100), platform.availability(H100)) == (0, "insufficient")
    platform.update(ONE, Change(min_replicas=4, max_replicas=4), 2.0)
    platform.advance(1000.0)
    assert ready(platform) == 3
    platform.update(ONE, Change(min_replicas=1, max_replicas=1), 1000.0)
    assert platform.free(H100) == 1
    platform.set_stock(H100, 0, 1001.0)
    assert platform.availability(H100) == "unavailable"


def test_new_stock_goes_at_once_to_those_who_wait(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings(None, stock={H100: 0}))
    endpoint = platform.create(Wish(MODEL, H100, Bounds(2, 2)), 0.0)
    platform.advance(600.0)
    assert state(endpoint) is EndpointState.PENDING
    platform.set_stock(H100, 2, 600.0)
    assert state(endpoint) is EndpointState.STARTING
    platform.advance(781.0)
    assert ready(platform, endpoint.identity.id) == 2


def test_a_failing_start_ends_in_error_and_the_one_after_works(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings({"state": "STOPPED", "min_replicas": 2, "max_replicas": 2}))
    platform.fail_next_starts(ONE, 1, 0.0)
    endpoint = platform.update(ONE, Change(state="STARTED"), 0.0)
    platform.advance(200.0)
    assert state(endpoint) is EndpointState.ERROR
    assert (platform.free(H100), endpoint.bill(1e6).dollars) == (64, 0)
    platform.update(ONE, Change(state="STARTED"), 200.0)
    platform.advance(400.0)
    assert state(endpoint) is EndpointState.STARTED


def test_a_failing_start_beside_serving_replicas_is_tried_again(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings())
    platform.fail_next_starts(ONE, 1, 0.0)
    endpoint = platform.update(ONE, Change(min_replicas=2, max_replicas=2), 0.0)
    platform.advance(181.0)
    assert (endpoint.state, ready(platform), endpoint.fleet.count(ReplicaState.STARTING)) == (EndpointState.STARTED, 1, 1)
    platform.advance(361.0)
    assert ready(platform) == 2


def test_failing_starts_can_be_taken_back(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings({"state": "STOPPED"}))
    platform.fail_next_starts(ONE, 5, 0.0)
    platform.fail_next_starts(ONE, 0, 0.0)
    endpoint = platform.update(ONE, Change(state="STARTED"), 0.0)
    platform.advance(200.0)
    assert state(endpoint) is EndpointState.STARTED


def test_slow_starts_last_longer_from_then_on(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings())
    platform.update(ONE, Change(min_replicas=2, max_replicas=3), 0.0)
    platform.slow_starts(3.0)
    platform.update(ONE, Change(min_replicas=3), 1.0)
    platform.advance(181.0)
    assert ready(platform) == 2
    platform.advance(540.0)
    assert ready(platform) == 2
    platform.advance(542.0)
    assert ready(platform) == 3


def test_the_busiest_replica_is_lost_with_its_requests_and_replaced(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings({"min_replicas": 2, "max_replicas": 2}))
    jobs = [platform.submit(ONE, 0, 1000, 0.0) for _ in range(3)]
    platform.lose_replica(ONE, 10.0)
    assert [job.state for job in jobs] == [JobState.FAILED, JobState.RUNNING, JobState.FAILED]
    endpoint = platform.endpoint(ONE, 10.0)
    assert (endpoint.state, endpoint.in_flight, ready(platform)) == (EndpointState.STARTED, 1, 1)
    platform.advance(191.0)
    assert ready(platform) == 2


def test_requests_wait_when_the_only_replica_is_lost(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings())
    platform.lose_replica(ONE, 0.0)
    endpoint = platform.endpoint(ONE, 0.0)
    job = platform.submit(ONE, 0, 10, 1.0)
    platform.advance(179.0)
    assert endpoint.in_flight == 0
    platform.advance(200.0)
    assert job.state is JobState.DONE
    assert job.started_at == pytest.approx(180.0)


def test_what_is_not_there_cannot_be_lost(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings({"state": "STOPPED"}))
    with pytest.raises(Invalid, match="no ready replica"):
        platform.lose_replica(ONE, 0.0)
    with pytest.raises(NotRunning):
        platform.submit(ONE, 0, 1, 0.0)
    with pytest.raises(NotFound):
        platform.lose_replica("endpoint-two", 0.0)


def test_nonsense_is_refused(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings())
    with pytest.raises(NotFound):
        platform.set_stock("3x_abacus", 1, 0.0)
    with pytest.raises(Invalid):
        platform.set_stock(H100, -1, 0.0)
    with pytest.raises(Invalid):
        platform.fail_next_starts(ONE, -1, 0.0)
    for factor in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(Invalid):
            platform.slow_starts(factor)
