"""The whole control loop before a platform that loses calls, is changed by others, and runs out of hardware.

Real controller, actuator, store and HTTP client; the world answers on loopback. Ticks are made by hand, ten clock seconds apart.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from scaler.actuator import Skipped, SkipReason, open_actuator
from scaler.clock import Clock, ScaledClock
from scaler.controller import Controller, Tick
from scaler.model import Bounds, Known, Observation, OutcomeStatus, Sample
from scaler.providers import open_reader
from scaler.settings import (
    ColdStartSettings,
    EndpointSettings,
    GuardSettings,
    ProviderSettings,
    Settings,
    WorldEndpointSettings,
    WorldSettings,
)
from scaler.store import open_store
from scaler.store.sqlite import SqliteStore
from scaler.world.http import bind, serve, url_of

ID = "endpoint-1"
MODEL = "mistralai/Mixtral-8x7B-Instruct-v0.1"
HARDWARE = "2x_nvidia_h100_80gb_sxm"
SPEED = 100.0
TICK_SECONDS = 10.0
ONE, THREE = Bounds(1, 1), Bounds(3, 3)
FIVE_IN_A_REPLICA = 5.6
"""Requests in flight that the default policy plans for one replica."""


@dataclass
class Traffic:
    """Steady demand for so many replicas."""

    clock: Clock
    replicas: float = 3.0
    last: float = 0.0

    def sample(self) -> Observation[Sample]:
        now = self.clock.monotonic()
        start, self.last = self.last or now - TICK_SECONDS, now
        concurrency = (self.replicas - 0.5) * FIVE_IN_A_REPLICA
        return Known(Sample(start, now, 10, {"ok": 10}, concurrency, round(concurrency), 0, 0, 10.0, 10, 1.0, 10, 100, 100), "test", now)


@dataclass
class Town:
    """Everything between the traffic and the platform."""

    api: httpx.AsyncClient
    clock: ScaledClock
    store: SqliteStore
    controller: Controller

    async def tick(self) -> Tick:
        """One tick, and the time to the next one."""
        tick = await self.controller.tick()
        await self.clock.sleep(TICK_SECONDS)
        return tick

    async def break_it(self, **faults: object) -> None:
        (await self.api.post("/x/faults", json=faults)).raise_for_status()

    async def inside(self) -> dict[str, Any]:
        endpoint: dict[str, Any] = (await self.api.get("/x/status")).json()["endpoints"][0]
        return endpoint

    async def bounds(self) -> Bounds:
        inside = await self.inside()
        return Bounds(inside["min_replicas"], inside["max_replicas"])

    async def somebody_sets(self, low: int, high: int) -> None:
        body = {"autoscaling": {"min_replicas": low, "max_replicas": high}}
        (await self.api.patch(f"/v1/endpoints/{ID}", json=body)).raise_for_status()

    async def ends(self) -> list[list[tuple[OutcomeStatus, str]]]:
        """What became of each intent, oldest first."""
        records = await self.store.intents("chat", 100)
        return [[(outcome.status, outcome.detail) for outcome in record.outcomes] for record in reversed(records)]


@asynccontextmanager
async def world_at(clock: ScaledClock, stock: int) -> AsyncIterator[httpx.AsyncClient]:
    endpoint = WorldEndpointSettings(id=ID, model=MODEL, hardware=HARDWARE, inactive_timeout_minutes=0)
    settings = WorldSettings(endpoints=(endpoint,), stock={HARDWARE: stock}, cold_start=ColdStartSettings(median_seconds=60, sigma=0))
    listener = bind("127.0.0.1:0")
    url = url_of(listener)
    ready = asyncio.Event()
    serving = asyncio.create_task(serve(settings, clock, sockets=[listener], ready=lambda _: ready.set()))
    try:
        async with asyncio.timeout(60), httpx.AsyncClient(base_url=url, headers={"authorization": "Bearer test"}) as api:
            await ready.wait()
            yield api
    finally:
        serving.cancel()
        await asyncio.wait([serving])


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    clock = ScaledClock(SPEED)
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(world_at(clock, stock=4))
        settings = Settings(
            provider=ProviderSettings(base_url=f"{str(api.base_url).rstrip('/')}/v1", api_key=SecretStr("test"), timeout_seconds=5),
            endpoints={"chat": EndpointSettings(id=ID, min_replicas=1, max_replicas=6)},
            guard=GuardSettings(max_decision_age_seconds=1000),
            pause_file=tmp_path / "paused",
        )
        store = await open_store(settings.store.model_copy(update={"path": tmp_path / "scaler.db"}), clock)
        stack.push_async_callback(store.close)
        reader = open_reader(settings.provider)
        stack.push_async_callback(reader.close)
        actuator = open_actuator(settings, reader, store, clock)
        stack.push_async_callback(actuator.close)
        endpoint = settings.endpoints["chat"]
        controller = Controller(
            "chat", endpoint, source=Traffic(clock), reader=reader, actuator=actuator, store=store, clock=clock, report=lambda _: None
        )
        yield Town(api, clock, store, controller)


async def settled(town: Town) -> None:
    """Nothing more is done, however often one looks."""
    for _ in range(3):
        result = (await town.tick()).result
        assert isinstance(result, Skipped)
        assert result.reason is SkipReason.NO_OP
        assert await town.bounds() == THREE


async def test_without_faults_one_tick_does_it(town: Town) -> None:
    await town.tick()
    assert await town.ends() == [[(OutcomeStatus.CONFIRMED, "read back: STARTED, 3..3 replicas")]]
    await settled(town)
    assert len(await town.ends()) == 1


@pytest.mark.parametrize("fault", ["drop_reply", "half_body"])
async def test_a_lost_answer_is_followed_by_a_look_and_not_by_a_second_call(town: Town, fault: str) -> None:
    await town.break_it(management={fault: True, "methods": ["PATCH"]})
    await town.tick()
    assert await town.bounds() == THREE
    await town.break_it(management={"status": 500, "methods": ["PATCH"]})
    await town.tick()
    ((lost, found),) = await town.ends()
    assert lost[0] is OutcomeStatus.UNKNOWN
    assert "sent, but no complete answer" in lost[1]
    assert found == (OutcomeStatus.CONFIRMED, "found applied on read-back: STARTED, 3..3 replicas")
    await settled(town)
    assert len(await town.ends()) == 1


@pytest.mark.parametrize("fault", [{"drop_request": True}, {"garbage": True}, {"status": 500}], ids=str)
async def test_a_lost_call_is_found_missing_and_made_once_more(town: Town, fault: dict[str, Any]) -> None:
    await town.break_it(management=fault | {"methods": ["PATCH"], "count": 1})
    await town.tick()
    assert await town.bounds() == ONE
    await town.tick()
    (lost, missing), (done,) = await town.ends()
    assert lost[0] is OutcomeStatus.UNKNOWN
    assert missing == (OutcomeStatus.REFUSED, f"not applied to {ID}: STARTED, 1..1 replicas")
    assert done == (OutcomeStatus.CONFIRMED, "read back: STARTED, 3..3 replicas")
    await settled(town)
    assert len(await town.ends()) == 2


async def test_a_refusal_with_a_time_to_come_back_is_respected(town: Town) -> None:
    await town.break_it(management={"status": 429, "retry_after_seconds": 15, "methods": ["PATCH"], "count": 1})
    await town.tick()
    (((status, detail),),) = await town.ends()
    assert status is OutcomeStatus.REFUSED
    assert "429" in detail
    waiting = (await town.controller.tick()).result
    assert isinstance(waiting, Skipped)
    assert waiting.reason is SkipReason.BACKING_OFF
    await town.clock.sleep(TICK_SECONDS)
    await town.tick()
    assert await town.bounds() == THREE
    await settled(town)


async def test_an_unreadable_platform_is_left_alone(town: Town) -> None:
    await town.break_it(management={"drop_reply": True, "methods": ["GET"], "seconds": 100})
    for _ in range(2):
        result = (await town.tick()).result
        assert isinstance(result, Skipped)
        assert result.reason is SkipReason.HELD
    assert await town.ends() == []
    await town.break_it(management=None)
    await town.tick()
    assert await town.bounds() == THREE
    await settled(town)


async def test_what_another_person_sets_in_between_is_seen_and_corrected_once(town: Town) -> None:
    await town.tick()
    await town.somebody_sets(2, 2)
    await town.tick()
    assert await town.bounds() == THREE
    newest, first = await town.store.intents("chat", 5)
    assert (first.intent.before, newest.intent.before) == (ONE, Bounds(2, 2))
    await settled(town)
    assert len(await town.ends()) == 2


async def test_what_another_person_sets_while_an_answer_is_lost_is_told_apart(town: Town) -> None:
    await town.break_it(management={"drop_reply": True, "methods": ["PATCH"], "count": 1})
    await town.tick()
    await town.somebody_sets(2, 2)
    await town.tick()
    (lost, seen), (done,) = await town.ends()
    assert lost[0] is OutcomeStatus.UNKNOWN
    assert seen == (OutcomeStatus.REFUSED, f"not applied to {ID}: STARTED, 2..2 replicas")
    assert done == (OutcomeStatus.CONFIRMED, "read back: STARTED, 3..3 replicas")
    await settled(town)
    assert len(await town.ends()) == 2


async def test_partial_stock_is_asked_for_once_and_filled_when_it_comes(town: Town) -> None:
    await town.break_it(platform={"stock": {HARDWARE: 2}})
    await town.tick()
    assert await town.ends() == [[(OutcomeStatus.CONFIRMED, "read back: STARTED, 3..3 replicas")]]
    await settled(town)
    inside = await town.inside()
    assert inside["ready"] + inside["starting"] == 2
    await town.break_it(platform={"stock": {HARDWARE: 3}})
    inside = await town.inside()
    assert inside["ready"] + inside["starting"] == 3
    await settled(town)
    assert len(await town.ends()) == 1


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_whatever_is_lost_the_bounds_are_the_old_or_the_new_ones_and_two_good_ticks_settle_it(town: Town, seed: int) -> None:
    dice = random.Random(seed)
    kinds: list[dict[str, object]] = [
        {"drop_reply": True},
        {"drop_request": True},
        {"half_body": True},
        {"garbage": True},
        {"status": 503},
        {"status": 429},
    ]
    seen = [await town.bounds()]
    for _ in range(8):
        faults = [dice.choice(kinds) | {"share": 0.5, "methods": [method]} for method in ("GET", "PATCH")]
        await town.break_it(management=faults)
        await town.tick()
        seen.append(await town.bounds())
    changes = [after for before, after in pairwise(seen) if before != after]
    assert changes in ([], [THREE])
    await town.break_it(management=None)
    await town.tick()
    await town.tick()
    await settled(town)
    assert await town.store.open_intents() == []
