"""What reaches a policy in the fluid model, and how its figures become a row."""

import math
from itertools import pairwise

import numpy as np
import pytest

from scaler.backtest.demand import Traffic
from scaler.backtest.fluid import Rules, Seen, run
from scaler.backtest.fluid_mode import played
from scaler.backtest.foreign import foreign
from scaler.backtest.live import Between, Live, Meter, settings_of
from scaler.backtest.policies import NAMES, Case, score, tuned
from scaler.backtest.rows import changes_of
from scaler.model import Bounds, Known
from scaler.settings import NativeAutoscalerSettings

RULES = Rules(cold_start_seconds=20.0, max_replicas=3, warm_up_seconds=0.0)


def traffic(*demand: float, requests: float = 5.0, scale: float = 1.0) -> Traffic:
    steps = np.array(demand)
    each = np.full(steps.size, requests)
    return Traffic(steps, each, each * 100, each * 10, scale)


def test_each_column_of_a_row_by_hand() -> None:
    # Two replicas' worth of work for a minute; one is there, the other comes after two steps. Until the queue has grown for 2 s
    # (a fifth of the first step) work is on time; later the queue stands at 20 and everybody waits 10 s.
    case = Case(traffic(*[2.0] * 6, scale=0.5), RULES, peak_replicas=2.0)
    outcome = score("static", case)
    row = played("story", "static", case, outcome, price=60.0).result.row
    assert outcome.schedule.tolist() == [2] * 6
    assert (row.trace, row.client, row.policy, row.mode, row.cold_start_seconds) == ("story", None, "static", "fluid", 20.0)
    assert row.days == pytest.approx(60 / 86400)
    assert row.cost_replica_minutes == pytest.approx(2.0)
    assert row.cost_replica_hours == pytest.approx(2 / 60)
    assert row.cost_dollars == pytest.approx(2.0)
    assert row.attainment == pytest.approx(0.2 / 6)
    assert row.worst_hour == pytest.approx(0.2 / 6)
    assert row.cold_hit_requests == round((0.8 * 5 + 5) / 0.5)  # of the trace itself, which had twice as many
    assert row.actions_per_day == pytest.approx(86400 / 60)
    assert row.ratio_to_oracle == pytest.approx(2.0 / case.best.cost_replica_minutes)


def test_a_schedule_is_told_by_its_changes() -> None:
    assert changes_of(np.array([1, 1, 3, 3, 2, 2])) == ((0.0, 1), (20.0, 3), (40.0, 2))


@pytest.mark.parametrize("name", NAMES)
def test_every_policy_plays(name: str) -> None:
    hill = 2.0 - 1.8 * np.cos(np.arange(720) / 360 * 2 * math.pi)
    outcome = score(name, Case(traffic(*hill), RULES, peak_replicas=3.0))
    assert outcome.schedule.size == 720
    assert 1 <= outcome.schedule.min() <= outcome.schedule.max() <= 3


def test_a_baseline_sees_replicas_worth_of_work_with_the_queue() -> None:
    # 2.1 replicas busy at 70 % each need three; within the tolerance of three, it stays.
    hpa = foreign("hpa", Rules(20.0, max_replicas=9), 9.0)
    assert hpa(Seen(0.0, 2.1, 2.1, 0.0, 1, 0)) == 3
    # A queue of 14 replica-seconds is 1.4 more of them: 3.5 / 0.7 = 5.
    assert hpa(Seen(20.0, 2.1, 2.1, 14.0, 3, 0)) == 5


def test_a_higher_target_is_a_bolder_baseline() -> None:
    bold = foreign("hpa", Rules(20.0, max_replicas=9), 9.0, factor=1 / 0.7)
    assert bold(Seen(0.0, 2.1, 2.1, 0.0, 1, 0)) == 3
    assert bold(Seen(20.0, 3.9, 3.9, 0.0, 3, 0)) == 4
    cautious = foreign("static", Rules(20.0, max_replicas=24), 12.0, factor=0.75)
    assert cautious(Seen(0.0, 0.0, 0.0, 0.0, 1, 0)) == 16


def test_tuning_finds_the_boldest_target_that_attains() -> None:
    hill = 2.0 - 1.8 * np.cos(np.arange(2160) / 2160 * 2 * math.pi)
    case = Case(traffic(*hill), Rules(20.0, max_replicas=8, warm_up_seconds=0.0), peak_replicas=4.0)
    usual, (best, factor) = score("hpa", case), tuned("hpa", case)
    assert usual.attainment > best.attainment >= 0.99
    assert best.cost_replica_minutes < usual.cost_replica_minutes
    assert factor is not None
    assert factor > 1


def test_where_no_target_attains_the_most_cautious_is_shown() -> None:
    case = Case(traffic(*[9.0] * 60), RULES, peak_replicas=9.0)
    assert tuned("hpa", case)[1] == pytest.approx(0.25)


def test_the_meter_counts_whole_requests_and_loses_none() -> None:
    meter = Meter(traffic(*[0.5] * 10, requests=0.4), per_replica=8.0)
    samples = [meter.sample(Seen(10.0 * step, 0.5, 0.5, 0.0, 1, 0)) for step in range(1, 11)]
    counts = [known.value.arrivals for known in samples if isinstance(known, Known)]
    assert counts == [0, 0, 1, 0, 1, 0, 0, 1, 0, 1]
    first = samples[0]
    assert isinstance(first, Known)
    assert (first.value.start, first.value.end, first.value.concurrency, first.value.slow) == (0.0, 10.0, 4.0, 0)


def test_the_meter_shows_what_waits_and_that_it_is_late() -> None:
    known = Meter(traffic(3.0, requests=6.0), per_replica=8.0).sample(Seen(10.0, 3.0, 4.0, 10.0, 2, 1))
    assert isinstance(known, Known)
    sample = known.value
    assert sample.concurrency == pytest.approx(8 * (3 + 1))
    assert sample.latency_sum == pytest.approx(32 * 10)
    assert (sample.slow, sample.arrivals, sample.input_tokens, sample.output_tokens) == (6, 6, 600, 60)
    assert sample.ttft_sum == pytest.approx(6 * (0.4 + 5.0))
    assert Meter(traffic(3.0), per_replica=8.0).sample(Seen(0.0, 0.0, 0.0, 0.0, 1, 0)) is None


def test_scaler_goes_up_at_once_and_down_with_proof() -> None:
    rules = Rules(60.0, max_replicas=8, warm_up_seconds=0.0)
    demand = traffic(*[0.4] * 60, *[3.0] * 60, *[0.4] * 300)
    wanted = run(demand.demand, Live(demand, settings_of(rules)), rules).schedule
    assert wanted[:60].max() == 1
    assert wanted[60:70].max() >= 4
    assert wanted[-1] == 1
    drops = [later - earlier for earlier, later in pairwise(wanted.tolist()) if later < earlier]
    assert drops


def test_between_pinned_bounds_the_platform_has_no_say() -> None:
    rules = Rules(60.0, max_replicas=8, warm_up_seconds=0.0)
    demand = traffic(*[0.4] * 30, *[5.0] * 60)
    pinned, v2 = (run(demand.demand, Live(demand, settings_of(rules), native), rules) for native in ("pinned", "v2"))
    assert pinned.schedule.tolist() == v2.schedule.tolist()


def test_above_a_lower_bound_the_platform_adds_what_load_has_asked_for() -> None:
    between = Between(NativeAutoscalerSettings(target_in_flight=8.0, up_window_seconds=30.0))
    answers = [between.desired(20.0, Seen(10.0 * step, 2.5, 2.5, 0.0, 1, 0), Bounds(1, 2)) for step in range(1, 7)]
    assert answers[0] == 1
    assert answers[-1] == 2  # it wants three, the bound allows two


def test_beside_v1_the_policy_counts_for_itself() -> None:
    rules = Rules(60.0, max_replicas=8, warm_up_seconds=0.0)
    demand = traffic(*[0.4] * 30, *[3.0] * 60, *[0.4] * 150)
    told, untold = (run(demand.demand, Live(demand, settings_of(rules, burst_replicas=2), native), rules) for native in ("v2", "v1"))
    assert told.schedule.max() > 1
    assert untold.schedule.max() > 1
