"""How many requests one replica serves well: found from a day's traffic, refused where it cannot be known."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.model import Sample
from scaler.policy.capacity import Capacity, Estimate, estimate, observe
from scaler.settings import ObjectiveSettings, ReplicaSettings
from scaler.world.workload import Arrival
from tests.policy.day import DAY, Seen, deploy, office_day, play, world

OBJECTIVE = ObjectiveSettings()
HOUR = 3600.0


def learn(seen: Iterable[Seen], state: Capacity | None = None) -> Capacity:
    state = state or Capacity()
    for one in seen:
        state = observe(state, one.sample, one.ready, "h100", one.sample.end)
    return state


def alone(samples: Iterable[Sample]) -> Capacity:
    """What one replica that serves these samples shows."""
    state = Capacity()
    for one in samples:
        state = observe(state, one, 1, "h100", one.end)
    return state


def judge(state: Capacity, objective: ObjectiveSettings = OBJECTIVE) -> Estimate:
    return estimate(state, objective, 8.0)


@pytest.fixture(scope="module")
def day() -> list[Arrival]:
    return office_day(25_000)


@pytest.mark.parametrize(("slots", "slowdown"), [(4, 0.2), (4, 1.0), (8, 0.6), (16, 1.0)])
def test_a_day_of_ordinary_traffic_shows_the_knee(slots: int, slowdown: float) -> None:
    replica = ReplicaSettings(slots=slots, slowdown=slowdown)
    found = judge(learn(play(world(replica), office_day(25_000 * max(1, slots // 8)))))
    assert found.knee == pytest.approx(slots, rel=0.15)
    assert found.concurrency == pytest.approx(slots, rel=0.15)
    assert found.confidence > 0.8


def test_answers_that_are_not_streamed_show_it_too(day: list[Arrival]) -> None:
    whole = [replace(arrival, streamed=False) for arrival in day]
    assert judge(learn(play(world(ReplicaSettings(slots=4)), whole))).concurrency == pytest.approx(4, rel=0.3)


def test_ten_minutes_are_too_thin_and_the_default_stands(day: list[Arrival]) -> None:
    noon = [replace(arrival, at=arrival.at - 10 * HOUR) for arrival in day if arrival.at >= 10 * HOUR]
    found = judge(learn(play(world(ReplicaSettings(slots=4)), noon, until=240.0)))
    assert (found.concurrency, found.knee, found.confidence) == (8.0, None, 0.0)
    assert found.sentence.endswith("200 are needed: the default, 8 in flight per replica, stands.")


def test_replicas_that_never_fill_show_no_knee_but_what_they_serve_well() -> None:
    found = judge(learn(play(world(ReplicaSettings(slots=64), least=1), office_day(50_000), until=DAY / 2)))
    assert found.knee is None
    assert 8 < found.concurrency < 64
    assert found.sentence == f"No knee up to {found.served:.1f} requests in flight per replica: {found.concurrency:.1f} may be tried."


def test_the_objective_can_be_missed_before_the_knee(day: list[Arrival]) -> None:
    state = learn(play(world(ReplicaSettings(slots=8, slowdown=1.0)), day))
    strict = judge(state, ObjectiveSettings(ttft_seconds=0.8))
    assert strict.knee == pytest.approx(8, rel=0.15)
    assert strict.concurrency == strict.limit
    assert strict.concurrency < 6
    assert "and miss the objective from" in strict.sentence


def test_a_deploy_that_halves_throughput_is_noticed_within_minutes(day: list[Arrival]) -> None:
    at = 10 * HOUR
    state, noticed = Capacity(), None
    for one in play(world(ReplicaSettings()), day, hook=deploy(at, speed=0.5), until=at + 2 * HOUR):
        state = learn([one], state)
        noticed = one.sample.end if state.deploys and noticed is None else noticed
    assert noticed is not None
    assert 0 < noticed - at < 30 * 60
    assert judge(state).concurrency == pytest.approx(7.1, rel=0.15)  # a full replica's first tokens come after 2 s now


def test_a_deploy_with_half_the_room_is_learned_within_two_hours(day: list[Arrival]) -> None:
    at = 10 * HOUR
    state = learn(play(world(ReplicaSettings()), day, hook=deploy(at, slots=4), until=at + 2 * HOUR))
    assert judge(state).concurrency == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize("seed", [2, 3])
def test_ordinary_days_are_no_deploys(seed: int) -> None:
    assert learn(play(world(ReplicaSettings(), seed=seed), office_day(25_000, seed))).deploys == 0


def test_each_hardware_has_its_own_evidence(day: list[Arrival]) -> None:
    state = learn(play(world(ReplicaSettings(slots=4)), day, until=DAY / 2))
    known = judge(state).concurrency
    moved = observe(state, minute(0, 1.0), 1, "b200", DAY)
    assert judge(moved).concurrency == 8.0
    assert judge(observe(moved, minute(0, 1.0), 1, "h100", DAY)).concurrency == pytest.approx(known, rel=0.01)


def minute(number: int, concurrency: float, *, ttft: float = 0.5, answers: int = 60, waiting: int = 0) -> Sample:
    """A minute in which this many answers came after ``ttft`` each."""
    start = 60.0 * number
    served = {"2xx": answers}
    return Sample(
        start, start + 60, answers, served, concurrency, round(concurrency), waiting, 0, answers, answers, answers * ttft, answers, 0, 0
    )


def test_first_tokens_that_come_sooner_under_load_are_no_knee() -> None:
    samples = [minute(number, load, ttft=3 / load) for number, load in enumerate((1, 2, 3, 4, 5, 6, 7, 8, 9, 10))]
    found = judge(alone(samples))
    assert found.knee is None
    assert found.concurrency == 8.0
    assert found.sentence.startswith("Answers come sooner the more is in flight")


def test_what_the_proxy_holds_back_is_no_evidence() -> None:
    assert observe(Capacity(), minute(0, 20.0, waiting=15), 1, "h100", 60.0).evidence == {}


def test_old_evidence_fades() -> None:
    state = alone([minute(0, 4.0)])
    (first,) = state.evidence.values()
    later = observe(state, minute(2 * 1440, 2.0), 1, "h100", 2 * DAY + 60)
    assert min(tally.firsts for tally in later.evidence.values()) == pytest.approx(first.firsts / 4)


samples = st.builds(
    lambda load, ttft, answers: (load, ttft, answers), st.floats(0, 1e4), st.floats(0, 1e3, exclude_min=True), st.integers(0, 10_000)
)


@given(st.lists(samples, max_size=60), st.integers(0, 5), st.floats(0.01, 100), st.floats(0.1, 100))
def test_whatever_is_seen_the_estimate_is_a_number_with_a_reason(
    seen: list[tuple[float, float, int]], ready: int, objective: float, default: float
) -> None:
    state = Capacity()
    for number, (load, ttft, answers) in enumerate(seen):
        state = observe(state, minute(number, load, ttft=ttft, answers=answers), ready, "h100", 60.0 * number)
    found = estimate(state, ObjectiveSettings(ttft_seconds=objective), default)
    assert 0 < found.concurrency <= 1e4
    assert found.sentence.endswith(".")
    assert 0 <= found.confidence < 1
    assert found.knee is not None or found.confidence == 0
