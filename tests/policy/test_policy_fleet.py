"""Replicas of a provider that does not tell how many serve: counted from its bounds and from how long starts take (300 s)."""

from scaler.model import Bounds, Endpoint, EndpointState
from scaler.policy.fleet import Fleet, track

STARTED, STARTING = EndpointState.STARTED, EndpointState.STARTING


def look(before: Fleet | None, replicas: int, now: float, state: EndpointState = STARTED) -> Fleet:
    endpoint = Endpoint("endpoint-1", "tester/model", "m", "h", state, Bounds(replicas, 9))
    return track(before, endpoint, cold_start=300, now=now)


def test_at_first_sight_what_runs_serves_and_what_starts_serves_after_a_start() -> None:
    assert look(None, 3, 1000) == Fleet(3)
    for state in (STARTING, EndpointState.PENDING):
        assert look(None, 2, 1000, state) == Fleet(0, (1300.0, 1300.0))


def test_what_does_not_run_has_no_replicas() -> None:
    for state in (EndpointState.STOPPED, EndpointState.STOPPING, EndpointState.ERROR, EndpointState.UNKNOWN):
        assert look(Fleet(3), 3, 1000, state) == Fleet()


def test_an_added_replica_serves_after_a_start_and_not_a_second_earlier() -> None:
    asked = look(Fleet(1), 3, 1000)
    assert asked == Fleet(1, (1300.0, 1300.0))
    assert (asked.starting, asked.total) == (2, 3)
    assert look(asked, 3, 1299) == asked
    assert look(asked, 3, 1300) == Fleet(3)


def test_each_keeps_the_time_it_was_due() -> None:
    first = look(Fleet(1), 2, 1000)
    second = look(first, 3, 1100)
    assert second == Fleet(1, (1300.0, 1400.0))
    assert look(second, 3, 1350) == Fleet(2, (1400.0,))


def test_a_removed_one_is_gone_at_once_and_the_newest_start_is_given_up_first() -> None:
    assert look(Fleet(4), 2, 1000) == Fleet(2)
    assert look(Fleet(1, (1300.0, 1400.0)), 2, 1200) == Fleet(1, (1300.0,))
    assert look(Fleet(2, (1300.0,)), 1, 1200) == Fleet(1)


def test_started_proves_one_replica_and_no_more() -> None:
    assert look(Fleet(0, (1300.0, 1300.0)), 2, 1100) == Fleet(1, (1300.0,))


def test_while_it_starts_nobody_serves_and_those_on_their_way_keep_their_time() -> None:
    assert look(Fleet(0, (1300.0,)), 2, 1100, STARTING) == Fleet(0, (1300.0, 1400.0))
    assert look(Fleet(0, (1300.0, 1400.0)), 1, 1200, STARTING) == Fleet(0, (1300.0,))
    assert look(Fleet(2), 1, 1000, STARTING) == Fleet(0, (1300.0,))
