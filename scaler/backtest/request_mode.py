"""Request mode: hours of a trace on the platform in a box, at each cold start, with each policy."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from scaler.backtest.crowd import Fate
from scaler.backtest.demand import PEAK_REPLICAS, STEP_SECONDS, peak_of, spread
from scaler.backtest.fluid import Rules
from scaler.backtest.fluid_mode import Watch
from scaler.backtest.options import BadUsage, Options, named, trace_name
from scaler.backtest.rows import Played, Result, Row
from scaler.backtest.stage import Hours, Outcome, demand_of, play, work_of
from scaler.world.workload import Bucket, Trace, arrivals, read_trace

MAX_REQUESTS = 2_000_000
"""More than this is for fluid mode."""
SEED = 1
"""Of arrivals, tokens and cold starts."""
_HOUR_SECONDS = 3600.0
_DAY_SECONDS = 86400.0


def play_requests(path: Path, options: Options, watch: Watch) -> Iterator[Played]:
    """Play one trace at each cold start with each policy. Raises `TraceError` or `BadUsage`."""
    trace = read_trace(path)
    for cold_start in options.cold_starts:
        rules = Rules(cold_start, max_replicas=options.max_replicas, warm_up_seconds=options.warm_up_seconds)
        try:
            hours = hours_of(trace, rules, options)
        except ValueError as error:
            raise BadUsage(f"{path}: {error}") from error
        where = f"{trace_name(path)} at {cold_start:g} s"
        best = play("oracle", hours, watch(f"{where}: oracle", 1))
        for name in named(options.policies):
            outcome = best if name == "oracle" else play(name, hours, watch(f"{where}: {name}", 1))
            row = row_of(trace_name(path), name, hours, outcome, options.price)
            yield _played(replace(row, ratio_to_oracle=outcome.replica_seconds / best.replica_seconds), hours, outcome)


def hours_of(trace: Trace, rules: Rules, options: Options) -> Hours:
    """The part of ``trace`` that was asked for, thinned so that its peak keeps so many replicas busy.

    A trace with fewer requests than that is played as it is. Raises `ValueError` where there are none, or more than `MAX_REQUESTS`.
    """
    end = trace.buckets[-1].at + trace.bucket_seconds
    begin, seconds = options.begin_seconds, min(options.length_seconds, end - options.begin_seconds)
    if seconds <= rules.warm_up_seconds:
        raise ValueError(f"expected more than the warm-up of {rules.warm_up_seconds:g} s, got {max(0.0, seconds):g} s")
    window = Trace(trace.bucket_seconds, tuple(_shifted(trace, begin, seconds)))
    if not any(bucket.requests for bucket in window.buckets):
        raise ValueError(f"expected requests from {begin:g} to {begin + seconds:g} s")
    work = np.array([bucket.requests * work_of(bucket.mean_input, bucket.mean_output) for bucket in window.buckets])
    busy = peak_of(spread(window, work) / STEP_SECONDS)
    share = min(1.0, (options.peak_replicas or PEAK_REPLICAS) / busy) if busy else 1.0
    requests = round(share * sum(bucket.requests for bucket in window.buckets))
    if requests > MAX_REQUESTS:
        raise ValueError(f"expected no more than {MAX_REQUESTS:,} requests, got {requests:,}: see --for")
    kept = arrivals(window, seconds=seconds, requests=requests, seed=SEED)
    if not any(one.at >= rules.warm_up_seconds for one in kept):
        raise ValueError("expected requests after the warm-up")
    return Hours(kept, seconds, rules, max(1.0, share * busy), options.objective, options.native, options.burst_replicas, SEED)


def _shifted(trace: Trace, begin: float, seconds: float) -> Iterator[Bucket]:
    """The buckets that lie within the window, as seen from its beginning."""
    for bucket in trace.buckets:
        if begin <= bucket.at and bucket.at + trace.bucket_seconds <= begin + seconds:
            yield replace(bucket, at=bucket.at - begin)


def row_of(trace: str, policy: str, hours: Hours, outcome: Outcome, price: float) -> Row:
    """The figures of one run; ``price``: dollars of a replica-hour."""
    warm_up = hours.rules.warm_up_seconds
    days = (hours.seconds - warm_up) / _DAY_SECONDS
    return Row(
        trace=trace,
        client=None,
        policy=policy,
        mode="requests",
        cold_start_seconds=hours.rules.cold_start_seconds,
        days=days,
        cost_replica_minutes=outcome.replica_seconds / 60,
        cost_replica_hours=outcome.replica_seconds / 3600,
        cost_dollars=outcome.replica_seconds / 3600 * price,
        ratio_to_oracle=None,
        attainment=_share(outcome.fates),
        warm_share=None,
        actions_per_day=sum(at >= warm_up for at, _ in outcome.changes[1:]) / days,
        worst_hour=min(map(_share, _by_hour(outcome.fates, warm_up))),
        cold_hit_requests=sum(fate.starting and not fate.on_time for fate in outcome.fates),
    )


def _share(fates: Sequence[Fate]) -> float:
    return sum(fate.on_time for fate in fates) / max(1, len(fates))


def _by_hour(fates: Sequence[Fate], start: float) -> list[list[Fate]]:
    """Hours with requests, counted from ``start``."""
    hours: dict[int, list[Fate]] = {}
    for fate in fates:
        hours.setdefault(int((fate.arrived_at - start) / _HOUR_SECONDS), []).append(fate)
    return list(hours.values())


def _played(row: Row, hours: Hours, outcome: Outcome) -> Played:
    late = [fate.arrival for fate in outcome.fates if not fate.on_time]
    steps = np.array([int(one.at / STEP_SECONDS) for one in late], dtype=np.int64)
    work = np.array([work_of(one.input_tokens, one.output_tokens) for one in late])
    demand = demand_of(hours)
    return Played(Result(row, outcome.changes), demand, np.bincount(steps, weights=work, minlength=demand.size) / STEP_SECONDS)
