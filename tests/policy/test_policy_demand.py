"""Demand in replicas, from what a proxy sees."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.model import Sample
from scaler.policy.demand import Demand, Load, Means, Prices, estimate, observe
from scaler.settings import ReplicaSettings
from tests.policy.day import deploy, office_day, play, world

CAPACITY = 8.0
STEP = 10.0


def sample(
    number: int,
    arrivals: int,
    *,
    seconds: float = 5.0,
    answers: int | None = None,
    concurrency: float | None = None,
    inputs: int = 0,
    outputs: int = 0,
    waiting: int = 0,
) -> Sample:
    """Ten seconds in which requests arrived and ``answers`` (as many, if not said) ended after ``seconds`` each."""
    done = arrivals if answers is None else answers
    busy = arrivals * seconds / STEP if concurrency is None else concurrency
    return Sample(
        start=STEP * number,
        end=STEP * (number + 1),
        arrivals=arrivals,
        completions={"2xx": done},
        concurrency=busy,
        in_flight=round(busy),
        waiting=waiting,
        slow=0,
        latency_sum=done * seconds,
        latency_count=done,
        ttft_sum=0.0,
        ttft_count=0,
        input_tokens=inputs * done,
        output_tokens=outputs * done,
    )


def learn(samples: list[Sample], state: Demand | None = None, ready: int = 10) -> Demand:
    state = state or Demand()
    for one in samples:
        state = observe(state, one, ready, CAPACITY)
    return state


@given(st.lists(st.integers(1, 100), min_size=5, max_size=60), st.floats(0.1, 5.0))
def test_a_fluid_of_equal_requests_is_measured_exactly(arrivals: list[int], seconds: float) -> None:
    samples = [sample(number, count, seconds=seconds) for number, count in enumerate(arrivals)]
    state = Demand()
    for one in samples:
        state = observe(state, one, 10, CAPACITY)
        load = estimate(state, one, CAPACITY)
        fluid = one.arrivals * seconds / STEP / CAPACITY
        assert (load.start, load.end) == (one.start, one.end)
        assert load.offered == pytest.approx(fluid)
        assert load.concurrency == pytest.approx(fluid)


def test_before_anything_is_answered_what_is_in_flight_stands_for_what_is_offered() -> None:
    first = sample(0, 30, answers=0, concurrency=12.0)
    assert estimate(learn([first]), first, CAPACITY) == Load(0.0, 10.0, 1.5, 1.5)


def test_a_queue_is_in_flight_but_is_not_offered() -> None:
    known = learn([sample(number, 16) for number in range(60)])
    crowded = sample(60, 16, answers=10, concurrency=160.0)
    load = estimate(learn([crowded], known, ready=2), crowded, CAPACITY)
    assert load.offered == pytest.approx(1.0)
    assert load.concurrency == 20.0


def test_answers_that_a_queue_has_delayed_teach_nothing() -> None:
    known = learn([sample(number, 16) for number in range(60)])
    crowded = [sample(number, 16, seconds=50.0, concurrency=80.0) for number in range(60, 70)]
    after = [sample(number, 16, seconds=30.0, concurrency=8.0) for number in range(70, 75)]
    assert learn(crowded + after, known, ready=2).service_seconds == pytest.approx(5.0)


def test_a_request_on_its_way_through_the_proxy_is_no_queue() -> None:
    assert learn([sample(number, 40, waiting=1) for number in range(10)]).service_seconds == pytest.approx(5.0)
    assert learn([sample(number, 40, waiting=10) for number in range(10)]).service_seconds is None


@pytest.mark.parametrize(("per_input", "per_output"), [(0.0001, 0.02), (0.001, 0.0), (0.0, 0.05)])
def test_rate_input_and_output_move_independently_and_each_is_priced(per_input: float, per_output: float) -> None:
    dice = random.Random(1)
    samples = []
    for number in range(4000):
        count, inputs, outputs = dice.randint(5, 60), dice.randint(100, 4000), dice.randint(20, 600)
        seconds = 0.4 + per_input * inputs + per_output * outputs
        samples.append(sample(number, count, seconds=seconds, inputs=inputs, outputs=outputs))
    state = learn(samples, ready=100)
    found_input, found_output = state.prices.per_token
    assert found_input == pytest.approx(per_input, rel=0.1, abs=1e-5)
    assert found_output == pytest.approx(per_output, rel=0.1, abs=1e-5)

    longer = [sample(4000 + number, 30, seconds=20.0, inputs=1000, outputs=900) for number in range(90)]
    assert learn(longer[:60], state, ready=1).service_seconds == pytest.approx(0.4 + per_input * 1000 + per_output * 900, rel=0.25)


def test_twice_the_output_is_twice_the_demand_within_ten_minutes_although_the_rate_stays() -> None:
    dice = random.Random(2)
    short = []
    for number in range(2000):
        outputs = dice.randint(80, 120)
        short.append(sample(number, 20, seconds=0.02 * outputs, inputs=500, outputs=outputs))
    long = [sample(2000 + number, 20, seconds=4.0, inputs=500, outputs=200) for number in range(60)]
    before, after = learn(short), learn(short + long)
    assert estimate(before, short[-1], CAPACITY).offered == pytest.approx(0.5, rel=0.05)
    assert estimate(after, long[-1], CAPACITY).offered == pytest.approx(1.0, rel=0.15)


def test_a_day_of_the_world_is_offered_what_it_had_in_flight() -> None:
    state, offered, concurrency = Demand(), 0.0, 0.0
    for seen in play(world(ReplicaSettings(), least=6), office_day(25_000)):
        state = observe(state, seen.sample, seen.ready, CAPACITY)
        load = estimate(state, seen.sample, CAPACITY)
        offered, concurrency = offered + load.offered, concurrency + load.concurrency
    assert offered == pytest.approx(concurrency, rel=0.03)


def test_a_deploy_that_halves_throughput_doubles_the_demand_within_an_hour() -> None:
    at = 36_000.0
    state, before = Demand(), 0.0
    for seen in play(world(ReplicaSettings(), least=8), office_day(25_000), hook=deploy(at, speed=0.5), until=at + 3600):
        state = observe(state, seen.sample, seen.ready, CAPACITY)
        if seen.sample.end <= at:
            before = state.service_seconds or 0.0
    assert state.service_seconds == pytest.approx(2 * before, rel=0.25)


figures = st.tuples(
    st.integers(0, 1000), st.integers(0, 1000), st.floats(0, 1e4), st.floats(0, 1e5), st.integers(0, 10**5), st.integers(0, 5)
)


@given(st.lists(figures, max_size=50), st.integers(0, 5))
def test_whatever_is_seen_demand_is_a_number(seen: list[tuple[int, int, float, float, int, int]], ready: int) -> None:
    state = Demand()
    for number, (arrivals, answers, seconds, concurrency, tokens, waiting) in enumerate(seen):
        one = sample(
            number, arrivals, answers=answers, seconds=seconds, concurrency=concurrency, inputs=tokens, outputs=tokens, waiting=waiting
        )
        state = observe(state, one, ready, CAPACITY)
        load = estimate(state, one, CAPACITY)
        assert 0 <= load.offered < 1e9
        assert 0 <= load.concurrency < 1e9


def test_the_edge_of_an_overload_is_forgiven_its_rounding() -> None:
    full = replace(sample(0, 20, concurrency=8.0), in_flight=20)
    for fits in (full, replace(full, concurrency=8.0 * (1 + 1e-10)), replace(full, waiting=2)):
        assert learn([fits], ready=1).level.answers == 20
    for over in (replace(full, concurrency=8.001), replace(full, waiting=3)):
        state = learn([over], ready=1)
        assert (state.level.answers, state.mix.answers) == (0, 20)
        assert state.settled_at == 10.0 + 60.0, "a minute, while nobody knows what a request takes"


def test_after_an_overload_answers_count_again_once_it_has_settled() -> None:
    known = Demand(level=Means(10.0, seconds=400.0))
    over = learn([sample(0, 20, concurrency=99.0, seconds=40.0)], known, ready=1)
    assert over.settled_at == 10.0 + 2 * 40.0, "twice what a request takes"
    for end, counts in ((100.0, False), (110.0, True)):
        late = replace(sample(0, 5), start=end - 10, end=end)
        state = learn([late], replace(known, settled_at=105.0))
        assert (state.level.answers > known.level.answers) is counts
    just = replace(sample(0, 5), start=95.0, end=105.0)
    assert learn([just], replace(known, settled_at=105.0)).level.answers > known.level.answers


def test_a_tenth_of_the_answers_may_have_failed() -> None:
    good = sample(0, 20)
    assert learn([replace(good, completions={"2xx": 20, "5xx": 2})]).level.answers == 20
    assert learn([replace(good, completions={"2xx": 20, "5xx": 3})]).level.answers == 0


def test_deviations_fade_and_are_weighed_by_their_answers() -> None:
    before = Prices(8.0, 1.0, 2.0, 3.0, 4.0, 5.0)
    assert before.plus(0.5, 10.0, 2.0, 3.0, 4.0) == Prices(14.0, 40.5, 61.0, 91.5, 82.0, 122.5)
    state = learn([sample(0, 20, seconds=5.0), replace(sample(1, 20, seconds=8.0), start=10.0, end=86_410.0)])
    assert state.prices.answers == pytest.approx(20 * 0.5 + 20), "half of them after a day"
