"""Fluid mode: weeks of a trace at ten-second steps."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scaler.backtest.demand import PEAK_REPLICAS, STEP_SECONDS, Demand, Traffic, peak_of, traffic_of
from scaler.backtest.fluid import Rules, Score, flow
from scaler.backtest.journal import read_store
from scaler.backtest.options import BadUsage, Options, named, trace_name
from scaler.backtest.policies import CLAIRVOYANT, OURS, TUNED, TUNING_RUNS, Case, Progress, score, tuned
from scaler.backtest.rows import Played, Result, Row, changes_of
from scaler.world.workload import TraceError, read_trace

DAY_SECONDS = 86400.0

Watch = Callable[[str, int], Progress]
"""Called with what is played next and how often; its answer is told of the progress."""


def play_fluid(path: Path, options: Options, watch: Watch) -> Iterator[Played]:
    """Play one file at each cold start with each policy. Raises `TraceError` or `BadUsage`."""
    for trace, traffic in read_traffic(path, options):
        for cold_start in options.cold_starts:
            rules = Rules(cold_start, max_replicas=options.max_replicas, warm_up_seconds=options.warm_up_seconds)
            peak = options.peak_replicas or max(1.0, peak_of(traffic.demand))
            case = Case(traffic, rules, peak, options.objective, options.native, options.burst_replicas)
            yield from _play_case(trace, case, options, watch)


def _play_case(trace: str, case: Case, options: Options, watch: Watch) -> Iterator[Played]:
    where = f"{trace} at {case.rules.cold_start_seconds:g} s"
    for name in named(options.policies):
        outcome = score(name, case, watch(f"{where}: {name}", 1))
        yield played(trace, name, case, outcome, options.price)
        if options.tune and name not in (OURS, *CLAIRVOYANT):
            outcome, factor = tuned(name, case, watch(f"{where}: {name}, tuned", TUNING_RUNS))
            yield played(trace, name + TUNED, case, outcome, options.price, factor=factor)


def runs_of(options: Options) -> int:
    """How many times each trace is played, at most."""
    baselines = sum(name not in (OURS, *CLAIRVOYANT) for name in named(options.policies))
    return len(options.cold_starts) * (len(named(options.policies)) + options.tune * baselines * TUNING_RUNS)


def read_traffic(path: Path, options: Options) -> Iterator[tuple[str, Traffic]]:
    """A trace, or the endpoints of a store, by name; all longer than the warm-up. Raises `TraceError` or `BadUsage`."""
    name = trace_name(path)
    try:
        if options.from_store:
            found = {f"{name}:{key}": traffic for key, traffic in read_store(path).items()}
            found = {key: one.scaled(options.peak_replicas) if options.peak_replicas else one for key, one in found.items()}
        else:
            found = {name: traffic_of(read_trace(path), peak_replicas=options.peak_replicas or PEAK_REPLICAS)}
    except (TraceError, BadUsage):
        raise
    except ValueError as error:
        raise BadUsage(f"{path}: {error}") from error
    for key, traffic in found.items():
        _require_scored(path, traffic, options)
        yield key, traffic


def _require_scored(path: Path, traffic: Traffic, options: Options) -> None:
    """Something must be left after the warm-up."""
    warm_up = options.warm_up_seconds / DAY_SECONDS
    if traffic.days <= warm_up:
        raise BadUsage(f"{path}: expected more days than the {warm_up:g} of warm-up, got {traffic.days:.3g}; --warm-up can be less")
    if not traffic.known_days(options.warm_up_seconds):
        raise BadUsage(f"{path}: expected something known after the {warm_up:g} days of warm-up; --warm-up can be less")


def played(trace: str, policy: str, case: Case, outcome: Score, price: float, *, factor: float | None = None) -> Played:
    """One run with its figures; ``price``: dollars of a replica-hour."""
    demand = case.traffic.demand
    went = flow(demand, outcome.schedule, case.rules)
    late = demand - went.on_time / STEP_SECONDS
    days = case.traffic.known_days(case.rules.warm_up_seconds)
    row = Row(
        trace=trace,
        client=None,
        policy=policy,
        mode="fluid",
        cold_start_seconds=case.rules.cold_start_seconds,
        days=days,
        cost_replica_minutes=outcome.cost_replica_minutes,
        cost_replica_hours=outcome.cost_replica_minutes / 60,
        cost_dollars=outcome.cost_replica_minutes / 60 * price,
        ratio_to_oracle=outcome.cost_replica_minutes / case.best.cost_replica_minutes,
        attainment=outcome.attainment,
        warm_share=None,
        actions_per_day=outcome.actions / days,
        worst_hour=outcome.worst_hour,
        cold_hit_requests=_cold_hits(case, late, outcome.schedule > went.ready),
        target_factor=factor,
    )
    return Played(Result(row, changes_of(outcome.schedule)), demand, late, case.traffic.known)


def _cold_hits(case: Case, late: Demand, starting: NDArray[np.bool_]) -> int:
    """Requests of the trace itself that came in steps with a replica on its way, and were not on time."""
    traffic, first = case.traffic, case.rules.warm_up_steps
    share = np.divide(late, traffic.demand, out=np.zeros_like(late), where=traffic.demand > 0)
    return round(float((share * traffic.requests * starting)[first:].sum()) / traffic.scale)
