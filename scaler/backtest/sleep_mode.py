"""Files of clients: every client is an endpoint of its own that may sleep, see `scaler.backtest.sleep`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scaler.backtest.activity import WINDOW_SECONDS, Activity, read_activity, sparse
from scaler.backtest.demand import STEP_SECONDS, Demand
from scaler.backtest.fluid_mode import DAY_SECONDS, Watch
from scaler.backtest.options import BadUsage, Options, named, trace_name
from scaler.backtest.policies import OURS
from scaler.backtest.rows import Change, Played, Result, Row
from scaler.backtest.sleep import (
    SleepRules,
    SleepScore,
    Spans,
    Windows,
    always_on,
    fixed_timeout,
    judge_all,
    just_in_time,
    on_spans,
    together,
)
from scaler.backtest.sleepers import money

TIMERS = {"idle_10m": 600.0, "idle_30m": 1800.0, "idle_60m": 3600.0}
NAMES = (OURS, "static", *TIMERS, "oracle")
"""What ``--policy`` understands for a file of clients; ``static`` is always on."""

_WINDOW_STEPS = round(WINDOW_SECONDS / STEP_SECONDS)


@dataclass(frozen=True, slots=True)
class _Client:
    """One endpoint's part of a run."""

    name: str
    active: Windows
    on: Spans
    score: SleepScore


def play_clients(path: Path, options: Options, watch: Watch) -> Iterator[Played]:
    """Play the sparse clients of one file: for each cold start and policy a row of all together, and one of each.

    Raises `BadUsage` and `TraceError`.
    """
    activity = _read(path, options)
    for cold_start in options.cold_starts:
        rules = SleepRules(cold_start, options.warm_up_seconds)
        for name in named(options.policies, NAMES):
            progress = watch(f"{trace_name(path)} at {cold_start:g} s: {name}", 1)
            wishes = wishes_of(name, activity, rules, options)
            scores = judge_all(activity, wishes, rules)
            on = [on_spans(active, wish) for active, wish in zip(activity.active, wishes, strict=True)]
            clients = [_Client(*each) for each in zip(activity.clients, activity.active, on, scores, strict=True)]
            yield from _played(trace_name(path), name, clients, rules, options)
            progress(1.0)


def wishes_of(name: str, activity: Activity, rules: SleepRules, options: Options) -> list[Spans]:
    """When the policy of this name wants each client's endpoint on. Raises `BadUsage`."""
    match name:
        case "scaler":
            return money(activity, rules, options.warm_share or options.objective)
        case "static":
            return [always_on(active) for active in activity.active]
        case "oracle":
            return [just_in_time(active, rules) for active in activity.active]
        case _ if name in TIMERS:
            return [fixed_timeout(active, TIMERS[name]) for active in activity.active]
        case _:
            raise BadUsage(f"--policy: expected names out of {', '.join(NAMES)} for a file of clients, got {name}")


def _read(path: Path, options: Options) -> Activity:
    """The clients worth playing."""
    activity = read_activity(path)
    rows = sparse(activity, warm_up_seconds=options.warm_up_seconds)
    if not rows:
        raise BadUsage(f"{path}: expected clients that are active seldom, but on several days, and after the warm-up")
    return activity.only(rows)


def _played(trace: str, policy: str, clients: Sequence[_Client], rules: SleepRules, options: Options) -> Iterator[Played]:
    """The rows of one run: all clients, then each."""
    span = clients[0].active.size * WINDOW_SECONDS
    days = (span - rules.warm_up_seconds) / DAY_SECONDS

    def row(client: str | None, score: SleepScore) -> Row:
        return Row(
            trace=trace,
            client=client,
            policy=policy,
            mode="sleep",
            cold_start_seconds=rules.cold_start_seconds,
            days=days,
            cost_replica_minutes=score.cost_seconds / 60,
            cost_replica_hours=score.cost_seconds / 3600,
            cost_dollars=score.cost_seconds / 3600 * options.price,
            ratio_to_oracle=score.ratio_to_oracle,
            attainment=None,
            warm_share=score.warm_share,
            actions_per_day=2 * score.starts / days,
            worst_hour=None,
            cold_hit_requests=None,
        )

    each = [
        Played(Result(row(one.name, one.score), _changes([one.on], span)), _busy(one.active), _late(one, rules.cold_start_seconds))
        for one in clients
    ]
    total = row(None, together(one.score for one in clients))
    demand, late = (np.sum(parts, axis=0) for parts in ([one.demand for one in each], [one.late for one in each]))
    yield Played(Result(total, _changes([one.on for one in clients], span)), demand, late)
    yield from each


def _changes(on: Sequence[Spans], span: float) -> tuple[Change, ...]:
    """How many are on, a row per change within the trace, the first at second 0."""
    both = np.concatenate(on)
    times = np.concatenate(([0.0], both.ravel()))
    steps = np.concatenate(([0], np.tile([1, -1], len(both))))
    at, where = np.unique(times, return_inverse=True)
    count = np.cumsum(np.bincount(where, weights=steps)).astype(int)
    changed = (np.diff(count, prepend=-1) != 0) & (at < span)
    return tuple(zip(at[changed].tolist(), count[changed].tolist(), strict=True))


def _busy(active: Windows) -> Demand:
    return np.repeat(active.astype(np.float64), _WINDOW_STEPS)


def _late(one: _Client, cold_start: float) -> Demand:
    """The client's windows as far as its endpoint was still starting."""
    starting = np.zeros(one.active.size * _WINDOW_STEPS)
    for start in one.on[:, 0].tolist():
        starting[round(start / STEP_SECONDS) : round((start + cold_start) / STEP_SECONDS)] = 1.0
    return _busy(one.active) * starting
