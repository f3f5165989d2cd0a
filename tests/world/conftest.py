"""A small world whose times are round numbers: cold start 3 minutes, 4 slots, one second to the first token, 0.1 s per token."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import httpx
import pytest

from scaler.clock import ScaledClock
from scaler.settings import ColdStartSettings, ReplicaSettings, WorldEndpointSettings, WorldSettings
from scaler.world.http import bind, serve, url_of

MODEL = "mistralai/Mixtral-8x7B-Instruct-v0.1"
HARDWARE = "2x_nvidia_h100_80gb_sxm"

MakeSettings = Callable[..., WorldSettings]


@pytest.fixture
def make_settings() -> MakeSettings:
    """``make_settings(endpoint={...}, **world)``: one endpoint ``endpoint-one`` (or none, with ``endpoint=None``)."""

    def make(endpoint: Mapping[str, Any] | None = MappingProxyType({}), **world: Any) -> WorldSettings:  # noqa: ANN401 (any field)
        defaults = {"id": "endpoint-one", "model": MODEL, "hardware": HARDWARE, "inactive_timeout_minutes": 0}
        endpoints = () if endpoint is None else (WorldEndpointSettings(**{**defaults, **endpoint}),)
        base: dict[str, Any] = {
            "cold_start": ColdStartSettings(median_seconds=180, sigma=0),
            "replica": ReplicaSettings(
                slots=4, ttft_seconds=1, seconds_per_input_token=0, seconds_per_output_token=0.1, slowdown=0.6, tokens_per_event=4
            ),
            "placement_seconds": 5,
            "stop_seconds": 10,
        }
        return WorldSettings(**{**base, "endpoints": endpoints, **world})

    return make


@dataclass
class Served:
    """A world behind HTTP: its root URL, its clock, and a client that carries a key."""

    url: str
    clock: ScaledClock
    client: httpx.AsyncClient

    async def eventually(self, path: str, key: str, value: object) -> dict[str, Any]:
        """Poll until the answer's ``key`` is ``value``; 20 s at most."""
        async with asyncio.timeout(20):
            while True:
                body: dict[str, Any] = (await self.client.get(path)).json()
                if body.get(key) == value:
                    return body
                await asyncio.sleep(0.01)

    async def inside(self) -> dict[str, Any]:
        """What ``/x/status`` says of the first endpoint."""
        endpoints: list[dict[str, Any]] = (await self.client.get("/x/status")).json()["endpoints"]
        return endpoints[0]


ServeWorld = Callable[..., AbstractAsyncContextManager[Served]]


@pytest.fixture
def serve_world() -> ServeWorld:
    """``async with serve_world(settings, speed=100) as served``: a real server on a port of its own."""

    @asynccontextmanager
    async def run(settings: WorldSettings, speed: float = 100.0) -> AsyncIterator[Served]:
        listener = bind("127.0.0.1:0")
        url = url_of(listener)
        clock = ScaledClock(speed)
        ready = asyncio.Event()
        serving = asyncio.create_task(serve(settings, clock, sockets=[listener], ready=lambda _: ready.set()))
        try:
            async with asyncio.timeout(60), httpx.AsyncClient(base_url=url, headers={"authorization": "Bearer test"}) as client:
                await ready.wait()
                yield Served(url, clock, client)
        finally:
            serving.cancel()
            await asyncio.wait([serving])
            assert serving.cancelled()

    return run
