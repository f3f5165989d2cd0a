"""What could have been done by someone who knew: yardsticks for policies.

The oracle splits the fleet into layers, one replica each: layer j carries the part of demand between j and j + 1. For each layer a
two-state Viterbi finds the cheapest way to run or be off, where a start costs the cold start and unserved work costs a price. The price is
searched until the schedule attains the goal in the fluid model. The result is feasible, not proven optimal: queues are left out of
the layers, and a price cannot reach every point between two schedules.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from scaler.backtest.demand import STEP_SECONDS, Demand
from scaler.backtest.fluid import Rules, Schedule, Score, run
from scaler.backtest.windows import window_max

GOAL = 0.99
"""Attainment to reach."""
PRICES = (1.0, 10_000.0)
"""Range of the price of unserved work: billed replica-seconds per replica-second."""
HEADROOMS = (0.3, 3.0)
"""Range of the factor on a perfect forecast."""
SEARCH_STEPS = 18
"""Halvings of a range: the factor is then exact to 0.01 %."""
_MINUTE_STEPS = 6


def oracle(demand: Demand, rules: Rules, *, goal: float = GOAL) -> Score:
    """The cheapest schedule found that attains ``goal``; at the highest price if none does."""
    return _cheapest(lambda price: schedule_at(demand, price, rules), demand, rules, goal, PRICES)


def static(demand: Demand, rules: Rules, *, goal: float = GOAL) -> Score:
    """The smallest constant number of replicas that attains ``goal``; the maximum if none does."""
    scores = (run(demand, np.full(demand.size, count), rules) for count in range(rules.min_replicas, rules.max_replicas))
    attaining = (score for score in scores if score.attainment >= goal)
    return next(attaining, None) or run(demand, np.full(demand.size, rules.max_replicas), rules)


def perfect_forecast(demand: Demand, rules: Rules, *, goal: float = GOAL) -> Score:
    """`forecast_schedule` at the smallest headroom found that attains ``goal``; at the largest if none does."""
    return _cheapest(lambda headroom: forecast_schedule(demand, headroom, rules), demand, rules, goal, HEADROOMS)


def _cheapest(schedule_of: Callable[[float], Schedule], demand: Demand, rules: Rules, goal: float, between: tuple[float, float]) -> Score:
    """The cheapest that attains ``goal`` on the way of a bisection, in logarithms, for the smallest factor that does."""
    low, high = between
    best = run(demand, schedule_of(high), rules)
    if best.attainment < goal:
        return best
    for _ in range(SEARCH_STEPS):
        middle = math.sqrt(low * high)
        score = run(demand, schedule_of(middle), rules)
        if score.attainment < goal:
            low = middle
            continue
        high = middle
        best = min(best, score, key=lambda one: one.cost_replica_minutes)
    return best


def forecast_schedule(demand: Demand, headroom: float, rules: Rules) -> Schedule:
    """A policy that knows the next cold start D and no more, with ``headroom`` as a factor on what it knows.

    Up to what is needed anywhere in [t + D, t + D + 1 min]; down to what is needed anywhere in [t, t + 2 D]. After the end nothing
    is needed.
    """
    cold = rules.cold_steps
    span = max(2 * cold, cold + _MINUTE_STEPS)
    need = np.ceil(np.concatenate((demand, np.zeros(span))) * headroom).clip(rules.min_replicas, rules.max_replicas).astype(np.int64)
    up = window_max(need[cold:], _MINUTE_STEPS)[: demand.size]
    keep = np.maximum(window_max(need, 2 * cold)[: demand.size], up)
    level = rules.min_replicas
    levels = [level := min(max(level, low), high) for low, high in zip(up.tolist(), keep.tolist(), strict=True)]
    return np.array(levels, dtype=np.int64)


def schedule_at(demand: Demand, price: float, rules: Rules) -> Schedule:
    """The schedule that minimises billed time + ``price`` x unserved work (both in replica-seconds), layer by layer.

    Work unserved is what demand exceeds the ready replicas by. Nothing above the minimum can be ready within the first cold start.
    """
    cold = rules.cold_steps
    wanted = np.full(demand.size, rules.min_replicas, dtype=np.int64)
    for layer in range(rules.min_replicas, rules.max_replicas):
        carried = np.clip(demand - layer, 0.0, 1.0)
        carried[:cold] = 0.0
        if not carried.any():
            break
        running = _run_or_off(1.0 - price * carried, cold).astype(np.int64)
        wanted += window_max(np.concatenate((running, np.zeros(cold, dtype=np.int64))), cold + 1)
    return wanted


def layered_cost(demand: Demand, ready: Schedule, wanted: Schedule, price: float) -> float:
    """What `schedule_at` minimises, in replica-seconds."""
    unserved = np.maximum(demand - ready, 0.0)
    return float(wanted.sum() + price * unserved.sum()) * STEP_SECONDS


def _run_or_off(extra: NDArray[np.float64], start: int) -> NDArray[np.bool_]:
    """The cheapest sequence of run and off, beginning and ending off.

    ``extra`` is what running costs more than being off, per step; ``start`` is what a start costs; stopping is free. The difference x
    between the best ways to be running and to be off after a step follows x' = clip(x, 0, start) + extra: never dearer than a start,
    never cheaper than a stop. Backwards, x < 0 means run, x > start means off, anything else means as one step later.
    """
    ahead = _clipped_sums(extra, float(start))
    size = ahead.size
    decided = np.where((ahead < 0) | (ahead > start), np.arange(size), size)
    decider = np.minimum.accumulate(decided[::-1])[::-1]
    return np.append(ahead < 0, False)[decider]


def _clipped_sums(terms: NDArray[np.float64], top: float) -> NDArray[np.float64]:
    """``x[k] = clip(x[k-1], 0, top) + terms[k]`` from ``top`` on, in two passes over blocks side by side.

    Over a block, x at its end depends on x at its beginning as clip(x + sum of terms, end from 0, end from top). So the first pass
    follows both ends, a walk over the blocks yields where each begins, and the second pass fills them in.
    """
    rows = max(1, math.isqrt(terms.size))
    table = np.concatenate((terms, np.zeros(-terms.size % rows))).reshape(-1, rows).T.copy()
    ends = np.stack((np.zeros(table.shape[1]), np.full(table.shape[1], top)))
    for row in table:
        np.minimum(np.maximum(ends, 0.0, out=ends), top, out=ends)
        ends += row
    level = top
    begins: list[float] = []
    for total, low, high in zip(table.sum(axis=0).tolist(), *ends.tolist(), strict=True):
        begins.append(level)
        level = min(max(min(max(level, 0.0), top) + total, low), high)
    here = np.array(begins)
    for row in table:
        np.minimum(np.maximum(here, 0.0, out=here), top, out=here)
        here += row
        row[:] = here
    return table.T.ravel()[: terms.size]
