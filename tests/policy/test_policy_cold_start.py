"""How long a cold start takes: learned from what is polled and from what the provider records."""

import math
from dataclasses import dataclass, field, replace
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.model import Bounds, Endpoint, EndpointState, Known, Observation, Start, Unknown
from scaler.policy.cold_start import SHAPE, SPREAD, Asked, ColdStart, Distribution, Watch, estimate, observe, recall

TICK = 10.0
EPOCH = 1_700_000_000.0
CHAT = Endpoint("endpoint-1", "tester/model", "model", "h100", EndpointState.STARTED, Bounds(1, 1))


@dataclass
class Watcher:
    """Looks every ten seconds."""

    state: ColdStart = field(default_factory=ColdStart)
    now: float = 0.0

    def look(self, seen: Endpoint | None, minutes: float = 0.0) -> None:
        for _ in range(max(1, round(minutes * 60 / TICK))):
            self.now += TICK
            observed: Observation[Endpoint] = Unknown("cut off", self.now) if seen is None else Known(seen, "test", self.now)
            self.state = observe(self.state, observed, self.now, EPOCH + self.now)

    @property
    def seconds(self) -> list[float]:
        return [start.ready_at - start.started_at for start in self.state.starts]


def told(ready: int, desired: int, *, missing: int = 0) -> Endpoint:
    return replace(CHAT, bounds=Bounds(desired, desired), ready_replicas=ready, desired_replicas=desired, missing_replicas=missing)


def in_state(state: EndpointState) -> Endpoint:
    return replace(CHAT, state=state)


def test_an_endpoint_that_is_started_shows_its_cold_start_in_its_state() -> None:
    watcher = Watcher()
    watcher.look(in_state(EndpointState.STOPPED), 5)
    watcher.look(in_state(EndpointState.PENDING))
    watcher.look(in_state(EndpointState.STARTING), 3)
    watcher.look(in_state(EndpointState.STARTED), 5)
    assert watcher.seconds == [190.0]
    assert watcher.state.starts[0].ready_at == EPOCH + 500


def test_a_replica_that_is_told_of_counts_from_the_look_before_it_was_asked_for() -> None:
    watcher = Watcher()
    watcher.look(told(1, 1), 5)
    watcher.look(told(1, 3), 2)
    watcher.look(told(2, 3), 1)
    watcher.look(told(3, 3), 1)
    assert watcher.seconds == [130.0, 190.0]


def test_what_was_under_way_before_we_looked_is_not_measured() -> None:
    watcher = Watcher()
    watcher.look(in_state(EndpointState.STARTING), 3)
    watcher.look(CHAT)
    assert watcher.seconds == []


def test_a_replica_that_is_given_up_leaves_the_older_ones_their_time() -> None:
    watcher = Watcher()
    watcher.look(told(1, 1))
    watcher.look(told(1, 2), 1)
    watcher.look(told(1, 3), 1)
    watcher.look(told(1, 2), 1)
    watcher.look(told(2, 2))
    assert watcher.seconds == [190.0]


def test_waiting_for_hardware_is_no_start() -> None:
    watcher = Watcher()
    watcher.look(told(1, 1))
    watcher.look(told(1, 2, missing=1), 60)
    watcher.look(told(1, 2), 3)
    watcher.look(told(2, 2))
    assert watcher.seconds == [190.0]


def test_a_long_silence_of_the_provider_hides_a_start() -> None:
    watcher = Watcher()
    watcher.look(in_state(EndpointState.STOPPED))
    watcher.look(in_state(EndpointState.STARTING), 1)
    watcher.look(None, 10)
    watcher.look(CHAT)
    assert watcher.seconds == []


def test_each_hardware_has_its_own_starts() -> None:
    watcher = Watcher(ColdStart("h100", recorded([100.0] * 5)))
    watcher.look(replace(CHAT, hardware="b200"))
    assert estimate(watcher.state, 300.0).quantile(0.9) == pytest.approx(300.0)
    watcher.look(CHAT)
    assert watcher.seconds == [100.0] * 5


def recorded(seconds: list[float], *, every: float = 3600.0) -> tuple[Start, ...]:
    ready = [EPOCH + every * number for number in range(len(seconds))]
    return tuple(Start(f"replica-{number}", at - took, at) for number, (at, took) in enumerate(zip(ready, seconds, strict=True)))


def test_the_providers_record_adds_what_was_not_seen_and_is_read_twice_without_harm() -> None:
    watcher = Watcher()
    watcher.look(in_state(EndpointState.STOPPED))
    watcher.look(in_state(EndpointState.STARTING), 3)
    watcher.look(CHAT)
    (seen,) = watcher.state.starts
    record = (Start("new", seen.ready_at - 150, seen.ready_at - 5), Start("old", EPOCH - 500, EPOCH - 300))
    state = recall(recall(watcher.state, record), record)
    assert [start.replica for start in state.starts] == ["old", ""]


def test_before_anything_is_seen_the_configured_time_is_the_p90() -> None:
    assert estimate(ColdStart(), 300.0).quantile(0.9) == pytest.approx(300.0)
    assert 200 < estimate(ColdStart(), 300.0).quantile(0.5) < 250


def test_starts_take_over_from_the_configured_time_one_by_one() -> None:
    p90 = [estimate(ColdStart("h100", recorded([60.0] * count)), 300.0).quantile(0.9) for count in (0, 1, 3, 20)]
    assert p90 == sorted(p90, reverse=True)
    assert p90[1] < 200
    assert p90[3] == 60.0


def test_a_change_of_what_starts_take_is_followed_within_ten_of_them() -> None:
    assert estimate(ColdStart("h100", recorded([60.0] * 30 + [240.0] * 10)), 300.0).quantile(0.5) == 240.0


def test_the_p90_of_many_is_theirs() -> None:
    took = [100.0, 110.0, 120.0, 130.0, 140.0, 150.0, 160.0, 170.0, 180.0, 300.0]
    known = estimate(ColdStart("h100", recorded(took * 5)), 60.0)
    assert 160 <= known.quantile(0.9) <= 300
    assert 120 <= known.quantile(0.5) <= 160


def test_what_remains_shrinks_while_it_is_on_time_and_grows_when_it_is_late() -> None:
    known = estimate(ColdStart("h100", recorded([100.0, 200.0] * 20)), 300.0)
    assert known.remaining(0.0, 0.9) == 200.0
    assert known.remaining(150.0, 0.9) == pytest.approx(50.0, abs=20)
    assert known.remaining(2000.0, 0.5) > known.remaining(1000.0, 0.5) > 100


many = st.lists(st.floats(1.0, 20_000.0), max_size=40)


@given(many, st.floats(1.0, 10_000.0), st.floats(0.01, 0.99), st.floats(0.0, 1e5))
def test_quantiles_are_ordered_and_nothing_is_ever_done_in_the_past(
    took: list[float], configured: float, share: float, elapsed: float
) -> None:
    known = estimate(ColdStart("h100", recorded(took)), configured)
    assert 0 < known.quantile(share / 2) <= known.quantile(share) <= max([*took, configured]) * math.exp(1)
    assert known.remaining(elapsed, share) > 0


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.booleans()), max_size=50))
def test_whatever_is_told_every_measured_start_is_positive_and_no_longer_than_we_looked(story: list[tuple[int, int, bool]]) -> None:
    watcher = Watcher()
    for ready, desired, silent in story:
        watcher.look(None if silent else told(ready, desired), 0.5)
    assert all(0 < seconds <= watcher.now for seconds in watcher.seconds)
    assert isinstance(estimate(watcher.state, 300.0), Distribution)


def test_only_what_ran_before_it_was_ready_is_compared_with_the_bounds() -> None:
    wide = replace(CHAT, bounds=Bounds(2, 4), ready_replicas=1)
    for desired, coming in ((None, 1), (1, 1), (3, 2), (9, 3)):
        watcher = Watcher()
        watcher.look(replace(wide, desired_replicas=desired))
        assert watcher.state.watch == Watch(10.0, 1, (Asked(-math.inf, 10.0),) * coming)
    for state, watch in (
        (EndpointState.STARTED, Watch(10.0, 1)),
        (EndpointState.STARTING, Watch(10.0, 0, (Asked(-math.inf, 10.0),))),
        (EndpointState.STOPPED, Watch(10.0, 0)),
        (EndpointState.ERROR, Watch(10.0, 0)),
    ):
        watcher = Watcher()
        watcher.look(in_state(state))
        assert watcher.state.watch == watch


def test_each_replica_that_is_asked_for_is_waited_for_once() -> None:
    watcher = Watcher()
    for desired in (1, 2, 4, 4):
        watcher.look(told(1, desired))
    assert watcher.state.watch == Watch(40.0, 1, (Asked(10.0, 20.0), Asked(20.0, 30.0), Asked(20.0, 30.0)))


def looked(*, silent: float = 0.0, before: float = 0.0, after: float = 0.0) -> list[float]:
    """A start that was asked for within ``before`` seconds, looked at ``after`` seconds later and ready within ``silent`` more."""
    state = ColdStart()
    for now, seen in ((0.0, told(0, 0)), (before, told(0, 1)), (before + after, told(0, 1)), (before + after + silent, told(1, 1))):
        state = observe(state, Known(seen, "test", now), now, EPOCH + now)
    return [start.ready_at - start.started_at for start in state.starts]


def test_a_start_is_measured_if_a_quarter_of_its_time_was_looked_at() -> None:
    assert looked(before=30.0, after=25.0, silent=45.0) == [100.0]
    assert looked(before=30.0, after=24.0, silent=46.0) == []
    assert looked(before=10.0, after=21_580.0, silent=10.0) == [21_600.0]
    assert looked(before=10.0, after=21_581.0, silent=10.0) == []


def test_recorded_starts_are_sane_in_order_and_bounded() -> None:
    def record(*starts: tuple[float, float]) -> list[float]:
        state = recall(ColdStart("h100"), [Start("", at - took, at) for at, took in starts])
        return [start.ready_at for start in state.starts]

    assert record((100.0, 0.0), (200.0, -5.0), (400.0, 0.5), (300.0, 21_600.0), (500.0, 21_601.0)) == [300.0, 400.0]
    assert record(*((float(number), 1.0) for number in range(70))) == [float(number) for number in range(10, 70)]
    known = ColdStart("h100", (Start("seen", 0.0, 100.0),))
    assert len(recall(known, [Start("same", 0.0, 160.0)]).starts) == 1
    assert len(recall(known, [Start("other", 0.0, 161.0)]).starts) == 2


def test_hardware_without_starts_leaves_nothing_behind() -> None:
    watcher = Watcher(ColdStart("h100"))
    watcher.look(replace(CHAT, hardware="b200"))
    assert watcher.state.former == {}
    assert watcher.state.watch == Watch(10.0, 1)


def test_the_shape_stands_around_what_was_seen_and_each_start_fades_by_a_tenth() -> None:
    known = estimate(ColdStart("h100", recorded([100.0, 400.0])), 300.0)
    assert (known.starts, known.configured) == (2, 300.0)
    usual = math.log(300.0) - SHAPE[17]
    place = (0.5 * usual + 0.9 * math.log(100.0) + math.log(400.0)) / (0.5 + 0.9 + 1.0)
    shape = [(math.exp(place + point), 0.05) for point in SHAPE]
    for point, wanted in zip(known.points, sorted([*shape, (100.0, 0.9), (400.0, 1.0)]), strict=True):
        assert point == pytest.approx(wanted)


def test_a_quantile_is_the_first_point_that_reaches_its_share() -> None:
    known = Distribution(((10.0, 1.0), (20.0, 2.0), (30.0, 1.0)), 3, 300.0)
    assert [known.quantile(share) for share in (0.01, 0.25, 0.26, 0.75, 0.76, 1.0)] == [10.0, 10.0, 20.0, 20.0, 30.0, 30.0]
    assert [known.remaining(elapsed, 0.5) for elapsed in (0.0, 10.0, 20.0)] == [20.0, 10.0, 10.0]


def test_what_is_later_than_anything_seen_follows_the_tail_of_the_shape() -> None:
    known = Distribution(((100.0, 1.0),), 1, 300.0)
    shape = NormalDist(math.log(100.0), SPREAD)
    done = shape.cdf(math.log(120.0))
    late = math.exp(shape.inv_cdf(done + 0.9 * (1 - done))) - 120.0
    assert known.remaining(120.0, 0.9) == pytest.approx(late)
    assert late > SPREAD * 0.9 * 120.0
    assert known.remaining(10_000.0, 0.9) == pytest.approx(SPREAD * 0.9 * 10_000.0)
