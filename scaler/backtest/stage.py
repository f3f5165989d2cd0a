"""The stage of request mode: every request is queued, served and timed on the replicas of the platform in a box.

The controller, its store and the actuator are the live ones; the platform's native autoscaler stands between the bounds that they set.
A request is on time if a replica takes it up within `fluid.ON_TIME_SECONDS`; who has waited for `fluid.PATIENCE_SECONDS` leaves.
"""

import asyncio
import math
import tempfile
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scaler.actuator import Actuator
from scaler.backtest.clerk import Clerk
from scaler.backtest.crowd import Crowd, Fate
from scaler.backtest.demand import PEAK_REPLICAS, STEP_SECONDS, Demand
from scaler.backtest.fluid import ON_TIME_SECONDS, Rules, Schedule
from scaler.backtest.foreign import autoscaler
from scaler.backtest.live import KEY, Native
from scaler.backtest.oracle import oracle, perfect_forecast
from scaler.backtest.policies import Progress
from scaler.backtest.rows import Change
from scaler.clock import VirtualClock
from scaler.controller import Controller
from scaler.model import Bounds, Known, Sample
from scaler.policy.baselines import Limits, Seen
from scaler.proxy.routes import Objective
from scaler.sampling.own_meter import OwnMeter
from scaler.settings import (
    ColdStartSettings,
    EndpointSettings,
    GuardSettings,
    IdleSettings,
    ObjectiveSettings,
    PolicySettings,
    ReplicaSettings,
    Settings,
    WorldEndpointSettings,
    WorldSettings,
)
from scaler.store.sqlite import SqliteStore
from scaler.world import platform as world
from scaler.world.platform import Platform
from scaler.world.replica import ReplicaState
from scaler.world.workload import Arrival

ID = "endpoint-backtest"
MODEL, HARDWARE = "mistralai/Mixtral-8x7B-Instruct-v0.1", "2x_nvidia_h100_80gb_sxm"
TICK_SECONDS = 10.0
"""How often anybody decides, as live."""
MAX_REQUESTS = 2_000_000
"""More than this is for fluid mode."""
UNGUARDED = 1_000_000
"""Calls an hour that the guard allows: what a policy costs is to be seen, not what the guard saves."""
REPLICA = ReplicaSettings()
NATIVE = ("together_v1", "together_v2")
"""Baselines that are the platform itself."""

Decide = Callable[[float], Awaitable[object]]
"""Called every `TICK_SECONDS`; sees to it that the platform has the replicas it should have."""


@dataclass(frozen=True, slots=True)
class Hours:
    """What is played.

    arrivals:   in order of time, from second 0 on
    seconds:    length
    objective:  share of requests that should be on time
    """

    arrivals: Sequence[Arrival]
    seconds: float
    rules: Rules
    peak_replicas: float = PEAK_REPLICAS
    objective: float = 0.99
    native: Native = "pinned"
    burst_replicas: int = 0
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went, after the warm-up.

    replica_seconds: billed, starts included
    changes:         of the replicas wanted, over the whole span
    """

    replica_seconds: float
    fates: tuple[Fate, ...]
    changes: tuple[Change, ...]


def work_of(input_tokens: float, output_tokens: float) -> float:
    """Replica-seconds of a request on a full replica."""
    alone = REPLICA.ttft_seconds + REPLICA.seconds_per_input_token * input_tokens + REPLICA.seconds_per_output_token * output_tokens
    return (1 + REPLICA.slowdown) * alone / REPLICA.slots


def demand_of(hours: Hours) -> Demand:
    """Replicas that the arrivals of each step keep busy: what the clairvoyant know."""
    steps = np.array([int(one.at / STEP_SECONDS) for one in hours.arrivals])
    work = np.array([work_of(one.input_tokens, one.output_tokens) for one in hours.arrivals])
    return np.bincount(steps, weights=work, minlength=math.ceil(hours.seconds / STEP_SECONDS)) / STEP_SECONDS


def objective_of(hours: Hours) -> ObjectiveSettings:
    """What a full replica meets for the longest prompt if nobody waits for longer than is on time."""
    longest = max(one.input_tokens for one in hours.arrivals)
    full = (1 + REPLICA.slowdown) * (REPLICA.ttft_seconds + REPLICA.seconds_per_input_token * longest)
    return ObjectiveSettings(ttft_seconds=ON_TIME_SECONDS + full, share=hours.objective)


def play(name: str, hours: Hours, progress: Progress) -> Outcome:
    """How policy ``name`` does. Raises `KeyError` for a name that is none."""
    return asyncio.run(Stage(name, hours).play(progress))


class Stage:
    """One run: the platform, the crowd, a clock, and somebody who decides."""

    def __init__(self, name: str, hours: Hours, folder: Path | None = None) -> None:
        """Everything at second 0, with the minimum of replicas ready. ``folder``: where the store is kept; None: nowhere."""
        self.folder = folder
        self.name = name
        self.hours = hours
        self.clock = VirtualClock()
        self.platform = Platform(_world(hours, free=name in NATIVE))
        self.objective = objective_of(hours)
        self.crowd = Crowd(self.platform, ID, Objective(self.objective.ttft_seconds))
        self.endpoint = self.platform.endpoint(ID, 0.0)

    async def play(self, progress: Progress) -> Outcome:
        """From second 0 to the end."""
        hours, warm_up = self.hours, self.hours.rules.warm_up_seconds
        ticks = math.ceil(hours.seconds / TICK_SECONDS)
        waiting = deque(hours.arrivals)
        spent = 0.0
        changes: list[Change] = []
        async with AsyncExitStack() as stack:
            decide = await self._decider(stack)
            for tick in range(ticks + 1):
                now = tick * TICK_SECONDS
                self._live_until(now, waiting)
                if now <= warm_up:
                    spent = self.platform.replica_seconds(ID, now)
                if tick < ticks:
                    await decide(now)
                changes += self._changes(now)
                progress(1 / ticks)
        billed = self.platform.replica_seconds(ID, ticks * TICK_SECONDS) - spent
        fates = tuple(fate for fate in self.crowd.fates if fate.arrived_at >= warm_up)
        return Outcome(billed, fates, tuple(changes))

    def _live_until(self, now: float, waiting: deque[Arrival]) -> None:
        while waiting and waiting[0].at < now:
            self.crowd.arrive(waiting.popleft())
        self.crowd.lose_patience(now)
        self.platform.advance(now)
        self.clock.advance(now - self.clock.monotonic())

    def _changes(self, now: float) -> list[Change]:
        """Of the replicas wanted, since the tick before; at the first tick what it is."""
        if not now:
            return [(0.0, self.endpoint.desired)]
        return [(change.at, change.new) for change in self.endpoint.scaled if now - TICK_SECONDS < change.at <= now]

    async def _decider(self, stack: AsyncExitStack) -> Decide:
        hours, rules = self.hours, self.hours.rules
        match self.name:
            case "scaler":
                return await self._scaler(stack)
            case "oracle":
                return self._follow(oracle(demand_of(hours), rules, goal=hours.objective).schedule)
            case "perfect":
                return self._follow(perfect_forecast(demand_of(hours), rules, goal=hours.objective).schedule)
            case name if name in NATIVE:
                return self._leave_alone
            case name:
                return self._baseline(name)

    async def _scaler(self, stack: AsyncExitStack) -> Decide:
        """The live loop: controller, store, actuator."""
        folder = self.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scaler-backtest-")))
        store = await SqliteStore.open(folder / "scaler.db", self.clock.now())
        stack.push_async_callback(store.close)
        endpoint = settings_of(self.hours, self.objective)
        settings = Settings(endpoints={KEY: endpoint}, pause_file=folder / "paused", guard=GuardSettings(max_actions_per_hour=UNGUARDED))
        clerk = Clerk(self.platform, self.clock.monotonic, tells=self.hours.native != "v1")
        controller = Controller(
            KEY,
            endpoint,
            source=OwnMeter(self.crowd.meter.read, self.clock.monotonic),
            reader=clerk,
            actuator=Actuator(settings, clerk, clerk, store, self.clock),
            store=store,
            clock=self.clock,
            report=lambda _: None,
        )
        return lambda _: controller.tick()

    def _baseline(self, name: str) -> Decide:
        rules, meter = self.hours.rules, OwnMeter(self.crowd.meter.read, self.clock.monotonic)
        mean_work = float(np.mean([work_of(one.input_tokens, one.output_tokens) for one in self.hours.arrivals]))
        limits = Limits(rules.min_replicas, rules.max_replicas, float(REPLICA.slots), 1.0 / mean_work)
        ttft = self.objective.ttft_seconds or ON_TIME_SECONDS
        scaler = autoscaler(name, limits, self.hours.peak_replicas, ttft=ttft)

        async def decide(now: float) -> None:
            sample = meter.sample()
            answer = scaler.desired(self._seen(sample.value if isinstance(sample, Known) else None, now))
            if answer is not None:
                self._order(limits.clamp(answer), now)

        return decide

    def _seen(self, sample: Sample | None, now: float) -> Seen:
        """What a baseline sees of the tick before; nothing at the first one."""
        ready = self.endpoint.fleet.count(ReplicaState.READY)
        starting = max(0, self.endpoint.desired - ready)
        if sample is None:
            return Seen(now, 0.0, 0.0, ready, starting)
        mean_ttft = sample.ttft_sum / sample.ttft_count if sample.ttft_count else None
        return Seen(now, sample.concurrency, sample.arrivals / (sample.end - sample.start), ready, starting, mean_ttft)

    def _follow(self, schedule: Schedule) -> Decide:
        async def decide(now: float) -> None:
            self._order(int(schedule[round(now / STEP_SECONDS)]), now)

        return decide

    async def _leave_alone(self, now: float) -> None:
        """The platform decides."""

    def _order(self, replicas: int, now: float) -> None:
        if self.endpoint.bounds != Bounds(replicas, replicas):
            self.platform.update(ID, world.Change(replicas, replicas), now)


def settings_of(hours: Hours, objective: ObjectiveSettings) -> EndpointSettings:
    """The endpoint with the defaults that ship; the cold start is known, as it would be after the first few."""
    rules = hours.rules
    policy = PolicySettings(cold_start_seconds=rules.cold_start_seconds, burst_replicas=hours.burst_replicas)
    idle = IdleSettings(inactive_timeout_minutes=0)
    low, high = rules.min_replicas, rules.max_replicas
    return EndpointSettings(id=ID, min_replicas=low, max_replicas=high, objective=objective, policy=policy, idle=idle)


def _world(hours: Hours, *, free: bool) -> WorldSettings:
    """The platform; with ``free`` bounds its own autoscaler has its way. Cold starts are billed, as in fluid mode."""
    rules = hours.rules
    endpoint = WorldEndpointSettings(
        id=ID,
        model=MODEL,
        hardware=HARDWARE,
        min_replicas=rules.min_replicas,
        max_replicas=rules.max_replicas if free else rules.min_replicas,
        inactive_timeout_minutes=0,
    )
    return WorldSettings(
        seed=hours.seed,
        max_queued=MAX_REQUESTS,
        billing_from="start",
        cold_start=ColdStartSettings(median_seconds=rules.cold_start_seconds),
        replica=REPLICA,
        endpoints=(endpoint,),
    )
