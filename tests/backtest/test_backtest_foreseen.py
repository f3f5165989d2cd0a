import os
from pathlib import Path

import numpy as np
import pytest

from scaler.backtest.demand import Demand, demand_series
from scaler.backtest.fluid import Rules, Seen, run
from scaler.backtest.foreseen import Foreseen, daily_aims, foresee, record_of
from scaler.backtest.oracle import oracle
from scaler.policy.forecast import Record, forecast, refit
from scaler.policy.forecast.record import DAY
from scaler.policy.forecast.record import STEP_SECONDS as RECORD_STEP
from scaler.policy.outlook import Outlook
from scaler.policy.plan import Standing, plan, tuning
from scaler.pooled import shipped
from scaler.world.workload import read_trace
from tests.policy.forecast.weeks import office

TRACES = Path(os.environ.get("BACKTEST_TRACES", "/nonexistent"))
FIVE = {
    "worldcup98": "worldcup98_60s",
    "m-large": "servegen_m-large_30s",
    "m-mid": "servegen_m-mid_30s",
    "m-mid-55": "servegen_client_m-mid-55_30s",
    "m-large-148": "servegen_client_m-large-148_30s",
}


class Planned:
    """Forecast and plan alone, every 30 s, without what else a decision looks at: quick, and what most of the score comes from."""

    def __init__(self, demand: Demand, rules: Rules) -> None:
        self._rules = rules
        self._tuning = tuning(rules.cold_start_seconds)
        self._foreseen = Foreseen(demand, rules.cold_start_seconds, shipped())
        self._outlook = Outlook()

    def __call__(self, seen: Seen) -> int:
        if seen.now % RECORD_STEP:
            return seen.ready + seen.starting
        self._outlook = self._foreseen.look(self._outlook, (), now=seen.now, lead_seconds=self._rules.cold_start_seconds)
        standing = Standing(seen.concurrency, seen.ready, seen.starting, self._rules.min_replicas, self._rules.max_replicas)
        return plan(self._outlook.forecast, standing, self._tuning, margin=self._outlook.margin.factor).wanted


def test_the_batch_forecasts_what_the_daemon_would() -> None:
    values = office(4)
    aims = daily_aims(values, tuning(180.0))
    batch = list(foresee(values, 180.0, shipped(), aims))
    assert len(batch) == values.size + 1
    day = 3 * DAY
    model = refit(Record(values[:day], day), shipped(), 180.0, aims[3])
    for now in (day, day + 1000, day + 1079, day + 1111):
        live, told = forecast(Record(values[:now], now), model), batch[now]
        assert live is not None
        assert told is not None
        assert (told.up, told.down) == pytest.approx((live.up, live.down), rel=1e-6)


@pytest.mark.parametrize(("cold_start", "most"), [(180.0, 1.16), (600.0, 1.24)])
def test_office_hours_cost_little_more_than_for_a_clairvoyant(cold_start: float, most: float) -> None:
    demand = np.repeat(office(9, seed=4), 3)
    rules = Rules(cold_start)
    score = run(demand, Planned(demand, rules), rules)
    assert score.attainment >= 0.99
    assert score.actions <= 2 * 100
    assert score.cost_replica_minutes <= most * oracle(demand, rules).cost_replica_minutes


def test_a_steady_load_is_left_alone() -> None:
    demand = np.full(2 * 8640, 1.4)
    rules = Rules(180.0, warm_up_seconds=3600.0)
    score = run(demand, Planned(demand, rules), rules)
    assert (score.attainment, score.actions) == (1.0, 0)


def test_noise_of_a_fifth_around_a_target_changes_little() -> None:
    dice, rules = np.random.default_rng(0), Rules(180.0, warm_up_seconds=3600.0)
    for mean in (1.7, 2.4):
        demand = mean * np.repeat(dice.uniform(0.8, 1.2, 1440), 6)  # a day, minute by minute
        score = run(demand, Planned(demand, rules), rules)
        assert score.attainment >= 0.999
        assert score.actions <= 2 * 24


@pytest.mark.skipif(not TRACES.is_dir(), reason="BACKTEST_TRACES names no folder of traces")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("cold_start", "ratio"), [(60.0, 1.08), (180.0, 1.13), (600.0, 1.27)])
def test_the_bars_on_the_open_traces(cold_start: float, ratio: float) -> None:
    rules = Rules(cold_start)
    ratios, attained = [], []
    for name in FIVE.values():
        demand = demand_series(read_trace(TRACES / f"{name}.csv.gz"))
        score = run(demand, Planned(demand, rules), rules)
        ratios.append(score.cost_replica_minutes / oracle(demand, rules).cost_replica_minutes)
        attained.append(score.attainment)
    assert float(np.exp(np.log(ratios).mean())) <= ratio
    assert float(np.mean(attained)) >= 0.99
    assert min(attained) >= 0.98


def test_a_record_is_the_mean_of_three_steps() -> None:
    assert record_of(np.array([1.0, 2.0, 3.0, 6.0, 6.0, 6.0, 9.0])).tolist() == [2.0, 6.0]
