"""A provider in this process that bills by its own figures, loses replies on demand, and a daemon's control loop before it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self, TypeVar

from scaler.actuator import Actuator, Skipped
from scaler.clock import VirtualClock
from scaler.controller import Controller, Tick, tick_all
from scaler.ledger import Ledger
from scaler.model import (
    Action,
    ActionKind,
    Bounds,
    Decision,
    Endpoint,
    EndpointState,
    EndpointWish,
    Known,
    Observation,
    Outcome,
    Power,
    Price,
    Reason,
    ReasonCode,
    Sample,
)
from scaler.providers.base import EndpointSummary, Hardware, Listing, NotFound, OutcomeUnknown
from scaler.settings import Settings
from scaler.store.sqlite import SqliteStore

TICK = 60.0


@dataclass
class Cloud:
    """The judge: replicas that run, and what they really cost.

    ``lose`` replies are lost, before or after the call was carried out; ``watch`` is told of each start, and how many replicas it adds.
    """

    clock: VirtualClock
    prices: dict[str, float]
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    bill: dict[str, float] = field(default_factory=dict)
    billed_until: float = 0.0
    lose: list[str] = field(default_factory=list)
    calls: list[tuple[str, Action]] = field(default_factory=list)
    watch: Callable[[str, int], None] = lambda _key, _added: None

    def add(self, key: str, replicas: int) -> None:
        state = EndpointState.STARTED if replicas else EndpointState.STOPPED
        bounds = Bounds(max(1, replicas), max(1, replicas))
        self.endpoints[f"endpoint-{key}"] = Endpoint(f"endpoint-{key}", f"o/{key}", "m", key, state, bounds)
        self.bill[key] = 0.0
        self.billed_until = self.clock.now()

    def settle(self) -> None:
        """Bill up to now."""
        hours = (self.clock.now() - self.billed_until) / 3600
        self.billed_until = self.clock.now()
        for endpoint in self.endpoints.values():
            if endpoint.state is not EndpointState.STOPPED:
                self.bill[endpoint.hardware] += endpoint.bounds.max_replicas * self.prices[endpoint.hardware] * hours

    async def get(self, endpoint_id: str) -> Endpoint:
        return self.endpoints[endpoint_id]

    async def hardware(self, model: str | None = None) -> tuple[Hardware, ...]:
        return ()

    async def list(self, which: Listing | None = None) -> tuple[EndpointSummary, ...]:
        return ()

    async def zones(self) -> tuple[str, ...]:
        return ()

    async def starts(self, endpoint_id: str) -> tuple[()]:
        return ()

    async def close(self) -> None:
        pass

    async def apply(self, action: Action) -> Endpoint:
        self.settle()
        fate = self.lose.pop() if self.lose else ""
        self.calls.append((fate, action))
        running = self.endpoints[action.endpoint_id]
        there = 0 if running.state is EndpointState.STOPPED else running.bounds.max_replicas
        if action.kind is not ActionKind.STOP and action.bounds.max_replicas > there:
            self.watch(running.hardware, action.bounds.max_replicas - there)
        if fate != "before":
            before = self.endpoints[action.endpoint_id]
            if action.kind is ActionKind.STOP:
                self.endpoints[action.endpoint_id] = replace(before, state=EndpointState.STOPPED)
            else:
                self.endpoints[action.endpoint_id] = replace(before, state=EndpointState.STARTED, bounds=action.bounds)
        if fate:
            raise OutcomeUnknown("the reply was lost")
        return self.endpoints[action.endpoint_id]

    async def create(self, wish: EndpointWish) -> Endpoint:
        raise NotImplementedError

    async def change(self, endpoint_id: str, change: object) -> Endpoint:
        raise NotFound("no", status=404, code=None)

    async def delete(self, endpoint_id: str) -> None:
        raise NotImplementedError


def traffic(now: float, concurrency: float, seconds: float) -> Sample:
    """The last tick's, all well served."""
    served = round(concurrency * seconds)
    return Sample(
        start=now - seconds,
        end=now,
        arrivals=served,
        completions={"2xx": served},
        concurrency=concurrency,
        in_flight=round(concurrency),
        waiting=0,
        slow=0,
        latency_sum=float(served),
        latency_count=served,
        ttft_sum=0.0,
        ttft_count=0,
        input_tokens=0,
        output_tokens=0,
    )


T = TypeVar("T")


class AtOnce(SqliteStore):
    """The store without its thread: a machine that makes thousands of calls would mostly wait for it."""

    @classmethod
    async def open(cls, path: Path, now: float) -> Self:
        store = cls(path)
        store._open(now)
        return store

    async def _run(self, work: Callable[[], T]) -> T:
        return work()


class House:
    """The control loop of a daemon on a store in a file, started and killed at will."""

    def __init__(self, path: Path, settings: Settings, cloud: Cloud, *, tick_seconds: float = TICK) -> None:
        self.path, self.settings, self.cloud, self.clock = path, settings, cloud, cloud.clock
        self.tick_seconds = tick_seconds
        self.load = dict.fromkeys(settings.endpoints, 0.0)
        self.ticks: list[Tick] = []

    async def start(self) -> None:
        self.store = await AtOnce.open(self.path, self.clock.now())
        self.ledger = await Ledger.open(self.settings, self.store, self.clock)
        self.actuator = Actuator(self.settings, self.cloud, self.cloud, self.store, self.clock, ledger=self.ledger)
        self.controllers = [self._controller(key) for key in self.settings.endpoints]
        self.tell_prices()

    def _controller(self, key: str) -> Controller:
        source = _Source(lambda: Known(traffic(self.clock.monotonic(), self.load[key], self.tick_seconds), "story", self.clock.monotonic()))
        return Controller(
            key,
            self.settings.endpoints[key],
            source=source,
            reader=self.cloud,
            actuator=self.actuator,
            store=self.store,
            clock=self.clock,
            report=self.ticks.append,
            ledger=self.ledger,
        )

    def tell_prices(self) -> None:
        for key, price in self.cloud.prices.items():
            self.ledger.set_price(key, Price(price * 100 / 60))

    async def kill(self) -> None:
        await self.store.close()

    async def tick(self, seconds: float | None = None) -> None:
        self.clock.advance(self.tick_seconds if seconds is None else seconds)
        _, faults = await tick_all(self.controllers)
        if faults:
            raise ExceptionGroup("ticks failed", faults)

    async def order(self, key: str, replicas: int) -> Outcome | Skipped:
        """Past the policy, straight to the actuator."""
        why = (Reason(ReasonCode.WAKE, "Because."),)
        decision = Decision(key, self.clock.now(), Bounds(replicas, replicas), 60, Power.RUN, hold=False, reasons=why)
        observed = await self.cloud.get(f"endpoint-{key}")
        await self.actuator.reconcile(key, observed)
        return await self.actuator.carry_out(key, decision, observed)

    def spent(self) -> dict[str, float]:
        for key in self.settings.endpoints:
            self.ledger.accrue(key)
        return {key: spending.day for key, spending in self.ledger.spending().items()}


@dataclass
class _Source:
    read: Callable[[], Observation[Sample]]

    def sample(self) -> Observation[Sample]:
        return self.read()
