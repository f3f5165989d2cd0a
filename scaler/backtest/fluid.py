"""A FIFO queue of fluid work in front of replicas that need a while to start.

Work is measured in replica-seconds; a ready replica serves 1.0 of it per second. Demand and the fleet are constant within a step of
`STEP_SECONDS`; the queue is followed exactly, as a line that rises or falls. In this order, in each step:

1. Replicas whose cold start is over become ready.
2. The policy sees the present fleet and what happened up to now, nothing of this step, and names the replicas it wants, ready and
   starting together. They are kept within the bounds.
3. Too few: replicas are started now. Too many: starting ones are cancelled, newest first, then ready ones stop at once.
4. If the queue is longer than `PATIENCE_SECONDS` of the capacity that is left, the youngest work in it is abandoned.
5. Work arrives and is served for one step. What arrives while ``queue / ready`` is at most `ON_TIME_SECONDS` is on time; a change of
   capacity after its arrival is not foreseen. What arrives when the queue has reached `PATIENCE_SECONDS` of capacity is abandoned as far
   as it does not fit. Every replica, ready or starting, is billed for the step.

A run begins with the minimum ready and an empty queue.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scaler.backtest.demand import STEP_SECONDS, Demand, Steps
from scaler.backtest.windows import window_max

ON_TIME_SECONDS = 2.0
"""Longest wait in the queue that is on time."""
PATIENCE_SECONDS = 120.0
"""The queue holds no more than this of current capacity."""
CONCURRENCY_STEPS = 6
"""`Seen.concurrency` is a mean over this many steps: a minute."""

_HOUR_STEPS = 360

Schedule = NDArray[np.int64]
"""Replicas wanted, ready and starting together, one figure per step."""


class Seen(NamedTuple):
    """What a policy sees at the beginning of a step; all zero where nothing has happened yet.

    now:         seconds since the beginning
    demand:      of the step before, in replicas
    concurrency: mean over the last minute of demand + queue at the end of the step / `STEP_SECONDS`, in replicas
    backlog:     work in the queue, in replica-seconds
    ready:       replicas that serve
    starting:    replicas that are billed and do not serve yet
    """

    now: float
    demand: float
    concurrency: float
    backlog: float
    ready: int
    starting: int


Policy = Callable[[Seen], int]
"""Called once per step in order; answers with the replicas wanted, ready and starting together."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for a run. Raises `ValueError` unless 1 <= min <= max, max is below 60 x min, and the cold start takes time.

    cold_start_seconds: from start to service, rounded up to whole steps
    warm_up_seconds:    history at the beginning that is simulated but not scored
    """

    cold_start_seconds: float
    min_replicas: int = 1
    max_replicas: int = 24
    warm_up_seconds: float = 7 * 86400.0

    def __post_init__(self) -> None:
        """Refuse what the model does not cover; the ratio keeps abandoned work apart from work that was on time."""
        ratio = PATIENCE_SECONDS / ON_TIME_SECONDS
        if not 1 <= self.min_replicas <= self.max_replicas < ratio * self.min_replicas:
            raise ValueError(f"expected 1 <= min <= max < {ratio:g} x min, got {self.min_replicas} and {self.max_replicas}")
        if not (0 < self.cold_start_seconds < math.inf and 0 <= self.warm_up_seconds < math.inf):
            raise ValueError(f"expected a cold start above 0 s and no negative warm-up, got {self}")

    @property
    def cold_steps(self) -> int:
        """Steps from start to service."""
        return math.ceil(self.cold_start_seconds / STEP_SECONDS)

    @property
    def warm_up_steps(self) -> int:
        """Steps before the first one that is scored."""
        return math.ceil(self.warm_up_seconds / STEP_SECONDS)


@dataclass(frozen=True, slots=True)
class Flow:
    """What became of the work, per step, in replica-seconds; ``arrived = served + abandoned`` plus what the queue grew by.

    ready:     replicas that served
    backlog:   queue at the end of the step
    on_time:   part of what arrived in the step that is on time
    served:    work done in the step
    abandoned: work given up in the step, whenever it arrived
    """

    ready: Schedule
    backlog: Demand
    on_time: Demand
    served: Demand
    abandoned: Demand


@dataclass(frozen=True, slots=True)
class Score:
    """How a run went after its warm-up.

    cost_replica_minutes: billed, starting replicas included
    attainment:           share of work on time; 1 without work
    actions:              steps in which the wanted replicas changed
    worst_hour:           lowest attainment of any hour (counted from the end of the warm-up, the last one possibly shorter) with work
    schedule:             replicas wanted, over the whole run
    """

    cost_replica_minutes: float
    attainment: float
    actions: int
    worst_hour: float
    schedule: Schedule


def run(demand: Demand, control: Policy | Schedule, rules: Rules, known: Steps | None = None) -> Score:
    """Score a policy in closed loop, or a schedule made beforehand; only steps that are ``known`` cost anything (None: all are).

    Raises `ValueError` if the schedule is not as long as the demand, or nothing is left after the warm-up.
    """
    schedule = play(demand, control, rules) if callable(control) else np.clip(control, rules.min_replicas, rules.max_replicas)
    if not schedule.size == demand.size > rules.warm_up_steps:
        raise ValueError(f"expected {demand.size} steps, more than {rules.warm_up_steps} of warm-up, got {schedule.size}")
    return _score(demand, schedule, flow(demand, schedule, rules), rules, known)


class Lane:
    """One fleet and its queue, followed as time goes by: along a trace by `play`, or along live traffic.

    ready, starting: replicas that serve, and those that are billed and do not serve yet
    backlog:         work in the queue, in replica-seconds
    """

    def __init__(self, rules: Rules, *, may_sleep: bool = False) -> None:
        """The minimum is ready, nothing waits. ``may_sleep``: nothing may run, too, and then nobody is served."""
        self._rules = rules
        self._least = 0 if may_sleep else rules.min_replicas
        self._cold_start = rules.cold_steps * STEP_SECONDS
        self._due: deque[float] = deque()  # when starting replicas become ready, oldest first
        self.ready = rules.min_replicas
        self.backlog = 0.0

    @property
    def starting(self) -> int:
        """Replicas on their way."""
        return len(self._due)

    def ripen(self, now: float) -> None:
        """Replicas whose cold start is over become ready."""
        while self._due and self._due[0] <= now:
            self._due.popleft()
            self.ready += 1

    def order(self, wanted: int, now: float) -> int:
        """Start or stop, the newest first, until ``wanted`` are there; the count that the bounds allow of it."""
        target = min(max(wanted, self._least), self._rules.max_replicas)
        while self._due and self.ready + len(self._due) > target:
            self._due.pop()
        self.ready = min(self.ready, target)
        self._due.extend([now + self._cold_start] * (target - self.ready - len(self._due)))
        return target

    def fill(self, demand: float, seconds: float = STEP_SECONDS) -> None:
        """Work arrives, is served and waits, for so many seconds."""
        self.backlog = _advance(self.backlog, (demand - self.ready) * seconds, self.ready * PATIENCE_SECONDS)

    def serve(self, demand: float, seconds: float = STEP_SECONDS) -> float:
        """`fill`, and how much of the work that arrives is on time, in replica-seconds."""
        begin = min(self.backlog, self.ready * PATIENCE_SECONDS)
        share = _on_time_share(np.array([demand]), np.array([self.ready]), np.array([begin]), seconds)
        self.fill(demand, seconds)
        return float(share[0]) * demand * seconds


def play(demand: Demand, policy: Policy, rules: Rules) -> Schedule:
    """The schedule that ``policy`` makes when each of its steps has consequences for the next."""
    lane = Lane(rules)
    wanted: list[int] = []
    recent: deque[float] = deque(maxlen=CONCURRENCY_STEPS)
    before = 0.0
    for step, arriving in enumerate(demand.tolist()):
        now = step * STEP_SECONDS
        lane.ripen(now)
        seen = Seen(now, before, sum(recent) / max(1, len(recent)), lane.backlog, lane.ready, lane.starting)
        wanted.append(lane.order(policy(seen), now))
        lane.fill(arriving)
        recent.append(arriving + lane.backlog / STEP_SECONDS)
        before = arriving
    return np.array(wanted, dtype=np.int64)


def _advance(backlog: float, change: float, most: float) -> float:
    """The queue one step later: cut to what patience allows, then grown by ``change`` between nothing and ``most``."""
    return min(max(min(backlog, most) + change, 0.0), most)


def flow(demand: Demand, schedule: Schedule, rules: Rules) -> Flow:
    """What becomes of the work when ``schedule``, within the bounds of ``rules``, is followed."""
    ready = _ready(schedule, rules)
    most = ready * PATIENCE_SECONDS
    level = 0.0
    levels = [
        level := _advance(level, change, top) for change, top in zip(((demand - ready) * STEP_SECONDS).tolist(), most.tolist(), strict=True)
    ]
    backlog = np.array(levels)
    carried = np.concatenate(([0.0], backlog[:-1]))
    begin = np.minimum(carried, most)
    load = begin + demand * STEP_SECONDS
    capacity = ready * STEP_SECONDS
    return Flow(
        ready=ready,
        backlog=backlog,
        on_time=_on_time_share(demand, ready, begin) * demand * STEP_SECONDS,
        served=np.minimum(capacity, load),
        abandoned=carried - begin + np.maximum(load - capacity - most, 0.0),
    )


def _ready(schedule: Schedule, rules: Rules) -> Schedule:
    """As the newest go first, a fleet is a stack: what was wanted during the whole cold start up to now is ready."""
    before = np.full(rules.cold_steps, rules.min_replicas, dtype=np.int64)
    return -window_max(-np.concatenate((before, schedule)), rules.cold_steps + 1)


def _on_time_share(demand: Demand, ready: Schedule, begin: Demand, seconds: float = STEP_SECONDS) -> Demand:
    """Share of each step during which the queue is at most `ON_TIME_SECONDS` of capacity; it begins at ``begin`` and moves in a line."""
    room = ready * ON_TIME_SECONDS - begin
    growth = (demand - ready) * seconds
    crossing = np.clip(np.divide(room, growth, out=np.zeros_like(room), where=growth != 0), 0.0, 1.0)
    level = np.where(room >= 0, 1.0, 0.0)
    return np.where(growth > 0, crossing * level, np.where(growth < 0, np.where(room >= 0, 1.0, 1.0 - crossing), level))


def _score(demand: Demand, schedule: Schedule, went: Flow, rules: Rules, known: Steps | None) -> Score:
    first = rules.warm_up_steps
    billed = schedule if known is None else schedule * known
    work, on_time = demand[first:] * STEP_SECONDS, went.on_time[first:]
    hours = np.arange(0, work.size, _HOUR_STEPS)
    hourly_work, hourly_on_time = np.add.reduceat(work, hours), np.add.reduceat(on_time, hours)
    shares = np.divide(hourly_on_time, hourly_work, out=np.ones_like(hourly_work), where=hourly_work > 0)
    total = float(work.sum())
    changes = np.diff(schedule, prepend=rules.min_replicas)
    return Score(
        cost_replica_minutes=float(billed[first:].sum()) * STEP_SECONDS / 60,
        attainment=float(on_time.sum()) / total if total > 0 else 1.0,
        actions=int(np.count_nonzero(changes[first:])),
        worst_hour=float(shares.min()),
        schedule=schedule,
    )
