"""What holds for every baseline, whatever it sees."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.policy.baselines import BASELINES, Autoscaler, Limits, Seen
from tests.policy.baselines.story import Told

Step = tuple[float, float, float, int, int, float | None]

LIMITS = st.builds(
    lambda low, more, good: Limits(low, max(1, low + more), good), st.integers(0, 5), st.integers(0, 20), st.floats(0.01, 100)
)
STEPS: st.SearchStrategy[list[Step]] = st.lists(
    st.tuples(
        st.floats(0.1, 400),
        st.one_of(st.just(0.0), st.floats(0, 1000)),
        st.one_of(st.just(0.0), st.floats(0, 1000)),
        st.integers(0, 25),
        st.integers(0, 10),
        st.none() | st.floats(0, 30),
    ),
    max_size=40,
)

every = pytest.mark.parametrize("make", BASELINES.values(), ids=BASELINES.keys())


def seen_of(steps: list[Step]) -> list[Seen]:
    seen, now = [], 0.0
    for span, concurrency, rate, ready, starting, ttft in steps:
        now += span
        seen.append(Seen(now, concurrency, rate, ready, starting, ttft))
    return seen


def test_the_rhythm_of_each() -> None:
    periods = {name: make(Limits(1, 12, 1.0)).period for name, make in BASELINES.items()}
    assert periods == {
        "static": 60.0,
        "hpa": 15.0,
        "kpa": 2.0,
        "keda": 15.0,
        "aws": 60.0,
        "ray": 0.1,
        "skyserve": 20.0,
        "dynamo": 5.0,
        "together_v1": 15.0,
        "together_v2": 15.0,
        "office_hours": 60.0,
        "idle_10m": 1.0,
        "idle_30m": 1.0,
        "idle_60m": 1.0,
    }


@every
@settings(max_examples=40, deadline=None)
@given(limits=LIMITS, steps=STEPS)
def test_counts_that_depend_on_what_was_seen_alone(make: Callable[[Limits], Autoscaler], limits: Limits, steps: list[Step]) -> None:
    one, other = make(limits), make(limits)
    assert one.period > 0
    for seen in seen_of(steps):
        answer = one.desired(seen)
        assert answer is None or (type(answer) is int and answer >= 0)
        assert one.desired(seen) == answer  # asked again at the same instant, it says the same and learns nothing
        assert other.desired(seen) == answer


@every
@settings(max_examples=20, deadline=None)
@given(load=st.floats(0, 30), ready=st.integers(1, 12))
def test_a_constant_load_settles(make: Callable[[Limits], Autoscaler], load: float, ready: int) -> None:
    limits = Limits(1, 12, 4.0)
    told = Told(make(limits), limits, ready=ready, step=20.0, boot=60.0)
    told.scaler.desired(Seen(-1000.0, load, load, ready, 0))
    told.seconds(5400, load, load)
    assert len(set(told.seconds(1800, load, load))) == 1


@pytest.mark.parametrize("figure", [math.nan, math.inf, -1.0])
def test_figures_that_are_none_are_refused(figure: float) -> None:
    for seen in ((0.0, figure, 1.0), (0.0, 1.0, figure)):
        with pytest.raises(ValueError, match="finite figures"):
            Seen(*seen, 1, 0)


@pytest.mark.parametrize(("low", "high", "good"), [(2, 1, 1.0), (-1, 1, 1.0), (0, 0, 1.0), (0, 1, 0.0), (0, 1, math.nan)])
def test_limits_that_contradict_each_other_are_refused(low: int, high: int, good: float) -> None:
    with pytest.raises(ValueError, match="expected"):
        Limits(low, high, good)
