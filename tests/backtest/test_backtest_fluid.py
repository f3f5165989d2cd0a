import math
from collections.abc import Callable
from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.backtest.demand import STEP_SECONDS, Demand
from scaler.backtest.fluid import Lane, Rules, Schedule, Seen, flow, play, run

QUICK = Rules(cold_start_seconds=30.0, max_replicas=6, warm_up_seconds=0.0)
demands = st.lists(st.floats(0.0, 8.0), min_size=1, max_size=60).map(np.array)
orders = st.lists(st.integers(0, 9), min_size=60, max_size=60)


def series(*replicas: float) -> Demand:
    return np.array(replicas, dtype=np.float64)


def wanted(*replicas: int) -> Schedule:
    return np.array(replicas, dtype=np.int64)


def test_a_start_is_billed_at_once_and_serves_after_the_cold_start() -> None:
    schedule = wanted(1, 3, 3, 3, 3, 1)
    assert flow(np.zeros(6), schedule, QUICK).ready.tolist() == [1, 1, 1, 1, 3, 1]
    score = run(np.zeros(6), schedule, QUICK)
    assert score.cost_replica_minutes == pytest.approx(14 * 10 / 60)
    assert score.actions == 2


def test_a_cold_start_rounds_up_to_whole_steps() -> None:
    assert flow(np.zeros(4), wanted(2, 2, 2, 2), replace(QUICK, cold_start_seconds=11.0)).ready.tolist() == [1, 1, 2, 2]


def test_a_cancelled_start_never_serves_and_the_older_one_keeps_its_place() -> None:
    # the second start is cancelled in step 2 and begins anew in step 3; the first one is ready in step 3 all the same
    schedule = wanted(2, 3, 2, 3, 3, 3, 3)
    assert flow(np.zeros(7), schedule, QUICK).ready.tolist() == [1, 1, 1, 2, 2, 2, 3]


def test_wanting_fewer_cancels_starting_ones_before_ready_ones_stop() -> None:
    seen: list[Seen] = []
    answers = iter([3, 3, 3, 3, 5, 4, 2, 2])

    def policy(now: Seen) -> int:
        seen.append(now)
        return next(answers)

    play(np.zeros(8), policy, QUICK)
    assert [(now.ready, now.starting) for now in seen] == [(1, 0), (1, 2), (1, 2), (3, 0), (3, 0), (3, 2), (3, 1), (2, 0)]


def test_bounds_hold_whatever_is_wanted() -> None:
    score = run(np.zeros(2), wanted(0, 99), QUICK)
    assert score.schedule.tolist() == [1, 6]
    assert run(np.zeros(2), lambda now: 99 if now.now else -5, QUICK).schedule.tolist() == [1, 6]


def test_on_time_while_the_queue_is_two_seconds_long() -> None:
    # 1.4 in, 1 out: the queue grows by 0.4 per second and reaches 2 s after 5 s, half the work of the step; it ends at 4.
    # Then 0.6 in: it shrinks by 0.4 per second, is back at 2 s after 5 s, and ends at 0.
    went = flow(series(1.4, 0.6, 0.6), wanted(1, 1, 1), QUICK)
    assert went.backlog == pytest.approx([4.0, 0.0, 0.0])
    assert went.on_time == pytest.approx([7.0, 3.0, 6.0])
    assert run(series(1.4, 0.6, 0.6), wanted(1, 1, 1), QUICK).attainment == pytest.approx(16.0 / 26.0)


def test_a_queue_that_stands_still_is_judged_by_its_length() -> None:
    went = flow(series(1.2, 1.0, 1.1, 1.0), wanted(1, 1, 1, 1), QUICK)
    assert went.on_time == pytest.approx([12.0, 10.0, 0.0, 0.0])


def test_wait_is_measured_against_the_replicas_that_are_ready() -> None:
    schedule = wanted(2, 2, 2, 2, 2)
    went = flow(series(1.0, 1.0, 1.4, 2.0, 2.0), schedule, QUICK)
    assert went.ready.tolist() == [1, 1, 1, 2, 2]
    assert went.on_time == pytest.approx([10.0, 10.0, 7.0, 20.0, 20.0])  # 4 waiting before 2 ready are 2 s, just in time


def test_the_queue_holds_two_minutes_and_the_rest_is_abandoned() -> None:
    went = flow(series(10.0, 10.0, 0.0), wanted(1, 1, 1), QUICK)
    assert went.backlog == pytest.approx([90.0, 120.0, 110.0])
    assert went.abandoned == pytest.approx([0.0, 60.0, 0.0])
    assert went.served == pytest.approx([10.0, 10.0, 10.0])
    assert went.on_time.sum() == pytest.approx(10 * 2 / 9)


def test_stopping_replicas_shortens_the_queue_that_is_waited_in() -> None:
    rules = replace(QUICK, min_replicas=1, cold_start_seconds=10.0)
    went = flow(series(0.0, 20.0, 0.0), wanted(2, 2, 1), rules)
    assert went.backlog == pytest.approx([0.0, 180.0, 110.0])
    assert went.abandoned == pytest.approx([0.0, 0.0, 60.0])


def test_only_what_follows_the_warm_up_is_scored() -> None:
    rules = replace(QUICK, warm_up_seconds=20.0)
    score = run(series(50.0, 0.0, 0.5, 0.5), wanted(6, 1, 1, 2), rules)
    assert score.cost_replica_minutes == pytest.approx(3 * 10 / 60)
    assert score.actions == 1
    assert score.attainment == 0.0  # the queue of the warm-up is still there
    assert score.schedule.size == 4
    with pytest.raises(ValueError, match="more than 2 of warm-up"):
        run(series(1.0, 1.0), wanted(1, 1), rules)


def test_the_worst_hour_is_named_and_an_empty_one_is_no_failure() -> None:
    demand = np.concatenate((np.full(360, 0.5), np.zeros(360), np.full(180, 1.0), np.full(180, 40.0)))
    score = run(demand, np.ones(1080, dtype=np.int64), QUICK)
    assert score.worst_hour == pytest.approx((1800 + 40 * 2 / 39) / (1800 + 72000))
    assert run(np.zeros(3), wanted(1, 1, 1), QUICK).worst_hour == 1.0


def test_a_policy_sees_the_minute_behind_it_and_nothing_of_its_own_step() -> None:
    seen: list[Seen] = []

    def watch(now: Seen) -> int:
        seen.append(now)
        return 1

    play(series(2.0, 1.0, 0.0, 0.0), watch, QUICK)  # the queue: 10, 10, 0
    assert seen[0] == Seen(now=0.0, demand=0.0, concurrency=0.0, backlog=0.0, ready=1, starting=0)
    assert seen[1] == Seen(now=10.0, demand=2.0, concurrency=3.0, backlog=10.0, ready=1, starting=0)
    assert seen[2] == Seen(now=20.0, demand=1.0, concurrency=2.5, backlog=10.0, ready=1, starting=0)
    assert seen[3] == Seen(now=30.0, demand=0.0, concurrency=5.0 / 3, backlog=0.0, ready=1, starting=0)


def test_a_reactive_policy_gets_what_it_starts() -> None:
    score = run(np.full(30, 2.5), lambda seen: math.ceil(seen.concurrency), QUICK)
    assert flow(np.full(30, 2.5), score.schedule, QUICK).backlog[-1] == 0.0
    assert score.schedule.max() > 3  # it repays the queue


@given(demands, orders)
def test_no_work_is_lost_or_made(demand: Demand, order: list[int]) -> None:
    went = flow(demand, np.clip(order[: demand.size], 1, 6), QUICK)
    arrived = demand.sum() * 10
    left = went.backlog[-1]
    late = went.served.sum() + left - went.on_time.sum()
    assert arrived == pytest.approx(went.served.sum() + went.abandoned.sum() + left)
    assert arrived == pytest.approx(went.on_time.sum() + late + went.abandoned.sum())
    assert late >= -1e-9
    assert (went.on_time <= demand * 10 + 1e-9).all()
    assert (went.backlog <= went.ready * 120).all()


@given(demands, orders)
def test_closed_loop_and_schedule_are_one_model(demand: Demand, order: list[int]) -> None:
    seen: list[Seen] = []

    def policy(now: Seen) -> int:
        seen.append(now)
        return order[len(seen) - 1]

    schedule = play(demand, policy, QUICK)
    went = flow(demand, schedule, QUICK)
    assert [now.backlog for now in seen[1:]] == went.backlog[:-1].tolist()
    assert run(demand, schedule, QUICK).attainment == run(demand, np.array(order[: demand.size]), QUICK).attainment
    due = [now.ready for now in seen]
    assert all(min(after, int(target)) == serving for after, target, serving in zip(due, schedule, went.ready.tolist(), strict=True))


@given(demands, orders)
def test_the_same_run_twice_scores_the_same_bits(demand: Demand, order: list[int]) -> None:
    once, again = (run(demand, lambda now: order[int(now.now) // 10], QUICK) for _ in range(2))
    assert once.schedule.tolist() == again.schedule.tolist()
    assert astuple(once)[:-1] == astuple(again)[:-1]


@given(demands, orders)
def test_more_replicas_never_serve_worse(demand: Demand, order: list[int]) -> None:
    fewer = np.clip(order[: demand.size], 1, 5)
    assert flow(demand, fewer + 1, QUICK).served.sum() >= flow(demand, fewer, QUICK).served.sum() - 1e-9


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Rules(60.0, min_replicas=0),
        lambda: Rules(60.0, max_replicas=0),
        lambda: Rules(60.0, max_replicas=60),
        lambda: Rules(0.0),
        lambda: Rules(60.0, warm_up_seconds=-1.0),
    ],
)
def test_rules_outside_the_model_are_refused(wrong: Callable[[], Rules]) -> None:
    with pytest.raises(ValueError, match="expected"):
        wrong()


@given(demands, orders)
def test_a_lane_goes_the_way_of_the_whole_run(demand: Demand, ordered: list[int]) -> None:
    schedule = np.clip(np.array(ordered[: demand.size], dtype=np.int64), QUICK.min_replicas, QUICK.max_replicas)
    went, lane = flow(demand, schedule, QUICK), Lane(QUICK)
    for step in range(demand.size):
        lane.ripen(step * STEP_SECONDS)
        lane.order(int(schedule[step]), step * STEP_SECONDS)
        on_time = lane.serve(float(demand[step]))
        assert lane.ready == went.ready[step]
        assert lane.backlog == pytest.approx(went.backlog[step])
        assert on_time == pytest.approx(went.on_time[step])
