import itertools
import math
import os
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.backtest.demand import Demand, demand_series
from scaler.backtest.fluid import Rules, Schedule, flow, run
from scaler.backtest.oracle import forecast_schedule, layered_cost, oracle, perfect_forecast, schedule_at, static
from scaler.world.workload import read_trace

QUICK = Rules(cold_start_seconds=20.0, max_replicas=3, warm_up_seconds=0.0)
TRACES = Path(os.environ.get("BACKTEST_TRACES", "/nonexistent"))
"""A folder with longer traces, for whoever has them."""
short = st.lists(st.floats(0.0, 3.5), min_size=1, max_size=7).map(np.array)
prices = st.floats(1.0, 30.0)


def hill(days: float, seed: int) -> Demand:
    """A daily hill from 0 to 8 replicas, with noise."""
    steps = np.arange(int(days * 8640))
    noise = np.random.default_rng(seed).normal(1.0, 0.1, steps.size)
    return np.asarray((4.0 - 4.0 * np.cos(steps / 8640 * 2 * math.pi)) * noise.clip(0.0))


def cost_of(demand: Demand, schedule: Schedule, price: float) -> float:
    return layered_cost(demand, flow(demand, schedule, QUICK).ready, schedule, price)


@settings(max_examples=30, deadline=None)
@given(short, prices)
def test_at_its_price_no_schedule_at_all_is_cheaper(demand: Demand, price: float) -> None:
    found = cost_of(demand, schedule_at(demand, price, QUICK), price)
    every = (np.array(each, dtype=np.int64) for each in itertools.product((1, 2, 3), repeat=demand.size))
    assert found <= min(cost_of(demand, each, price) for each in every) + 1e-6


@settings(deadline=None)
@given(st.lists(st.floats(0.0, 4.0), min_size=50, max_size=400).map(np.array), prices, st.integers(0, 99))
def test_at_its_price_no_schedule_tried_on_a_longer_demand_is_cheaper(demand: Demand, price: float, seed: int) -> None:
    found = cost_of(demand, schedule_at(demand, price, QUICK), price)
    dice = np.random.default_rng(seed)
    tried = [np.full(demand.size, count) for count in (1, 2, 3)]
    tried += [np.repeat(dice.integers(1, 4, demand.size // hold + 1), hold)[: demand.size] for hold in (2, 5, 20)]
    tried += [forecast_schedule(demand, headroom, QUICK) for headroom in (0.6, 0.8, 1.0)]
    assert all(found <= cost_of(demand, schedule, price) + 1e-6 for schedule in tried)


def test_a_replica_is_started_a_cold_start_ahead_and_short_gaps_are_kept() -> None:
    demand = np.array([0, 0, 0, 0, 2, 2, 2, 0, 2, 2, 0, 0, 0, 0, 0, 0, 2, 2, 0, 0], dtype=np.float64)
    wanted = schedule_at(demand, 10.0, QUICK)
    assert wanted.tolist() == [1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 2, 2, 2, 2, 1, 1]


def test_at_a_low_price_short_work_is_left_alone() -> None:
    demand = np.array([0, 0, 0, 0, 2, 2, 0, 0, 0, 0], dtype=np.float64)
    assert schedule_at(demand, 1.9, QUICK).max() == 1  # 2 steps and 2 of cold start against 2 x 1.9
    assert schedule_at(demand, 2.1, QUICK).max() == 2


def test_the_oracle_meets_the_goal_for_less_than_anyone_without_foresight() -> None:
    rules = Rules(cold_start_seconds=180.0, warm_up_seconds=86400.0)
    demand = hill(3, seed=5)
    best = oracle(demand, rules)
    assert best.attainment >= 0.99
    reactive = [run(demand, lambda seen, rx=rx: math.ceil(seen.concurrency / rx), rules) for rx in (0.6, 0.7, 0.8, 0.9)]  # type: ignore[misc]
    good = [score for score in reactive if score.attainment >= 0.99]
    assert good
    assert all(best.cost_replica_minutes < score.cost_replica_minutes for score in [*good, static(demand, rules)])
    assert best.cost_replica_minutes <= perfect_forecast(demand, rules).cost_replica_minutes


def test_the_oracle_is_never_cheaper_than_the_work_that_must_be_served() -> None:
    rules = Rules(cold_start_seconds=60.0, warm_up_seconds=0.0)
    demand = hill(1, seed=6)
    assert oracle(demand, rules).cost_replica_minutes * 60 >= 0.99 * demand.sum() * 10


def test_the_oracle_finds_the_same_bits_again() -> None:
    rules = Rules(cold_start_seconds=60.0, warm_up_seconds=0.0)
    once, again = oracle(hill(1, seed=7), rules), oracle(hill(1, seed=7), rules)
    assert once.schedule.tolist() == again.schedule.tolist()
    assert astuple(once)[:-1] == astuple(again)[:-1]


def test_a_goal_out_of_reach_is_reported_as_it_is() -> None:
    demand = np.full(100, 9.0)
    assert oracle(demand, QUICK).attainment < 0.99
    assert static(demand, QUICK).schedule.max() == 3
    assert perfect_forecast(demand, QUICK).attainment < 0.99


def test_static_is_the_smallest_that_attains() -> None:
    demand = np.full(100, 1.5)
    rules = replace(QUICK, warm_up_seconds=600.0)
    assert static(demand * np.repeat([0.0, 1.0], 50), rules).schedule.max() == 2
    assert run(demand, np.full(100, 1), rules).attainment < 0.99


def test_a_perfect_forecast_goes_up_one_lead_ahead_and_holds_for_two() -> None:
    rules = Rules(cold_start_seconds=60.0, warm_up_seconds=0.0)
    demand = np.zeros(60)
    demand[20:30] = 3.0
    demand[35:40] = 3.0  # within two cold starts of the end of the first: held
    wanted = forecast_schedule(demand, 1.0, rules)
    assert flow(demand, wanted, rules).ready[20:40].tolist() == [3] * 20
    assert np.flatnonzero(wanted == 3).tolist() == list(range(9, 40))  # known from the end of [t + D, t + D + 1 min] on
    assert run(demand, wanted, rules).attainment == 1.0


@pytest.mark.skipif(not (TRACES / "servegen_client_m-mid-55_30s.csv.gz").exists(), reason="BACKTEST_TRACES names no folder with this trace")
def test_two_weeks_of_office_hours_cost_three_times_the_oracle_when_nothing_moves() -> None:
    demand = demand_series(read_trace(TRACES / "servegen_client_m-mid-55_30s.csv.gz"))
    rules = Rules(cold_start_seconds=180.0)
    best = oracle(demand, rules)
    assert best.attainment >= 0.99
    assert static(demand, rules).cost_replica_minutes / best.cost_replica_minutes == pytest.approx(3.12, rel=0.02)
    assert perfect_forecast(demand, rules).cost_replica_minutes / best.cost_replica_minutes == pytest.approx(1.02, abs=0.02)
