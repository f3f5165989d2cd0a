"""The platform in a box on a port of its own and a fast clock, for stories about creating, managing and losing endpoints."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import SecretStr

from scaler.clock import ScaledClock
from scaler.settings import ColdStartSettings, ProviderSettings, WorldEndpointSettings, WorldSettings
from scaler.world.http import bind, serve, url_of

MODEL = "mistralai/Mixtral-8x7B-Instruct-v0.1"
HARDWARE = "2x_nvidia_h100_80gb_sxm"
LOST: dict[str, Any] = {"drop_reply": True, "methods": ["POST"]}
"""Creates are carried out, but their answers never arrive."""


@dataclass
class Platform:
    """The judge: what it holds is true."""

    url: str
    client: httpx.AsyncClient

    @property
    def provider(self) -> ProviderSettings:
        return ProviderSettings(base_url=f"{self.url}/v1", api_key=SecretStr("tgp_v1_canary0123456789"), timeout_seconds=5)

    async def break_(self, fault: dict[str, Any] | None, **platform: Any) -> None:  # noqa: ANN401 (any fault)
        """From now on the management API is broken in this way; None mends it."""
        (await self.client.post("/x/faults", json={"management": fault, "platform": platform})).raise_for_status()

    async def endpoints(self) -> list[dict[str, Any]]:
        """All that exist, by the emulator's own word, which no fault touches."""
        found: list[dict[str, Any]] = (await self.client.get("/x/status")).json()["endpoints"]
        return found

    async def described(self, endpoint_id: str) -> dict[str, Any]:
        body: dict[str, Any] = (await self.client.get(f"/v1/endpoints/{endpoint_id}")).json()
        return body

    async def delete(self, endpoint_id: str) -> None:
        (await self.client.delete(f"/v1/endpoints/{endpoint_id}")).raise_for_status()


@asynccontextmanager
async def platform_of(*, speed: float = 1000.0, stopped: bool = False) -> AsyncIterator[Platform]:
    """A world that is empty, or has the one stopped endpoint ``endpoint-one``."""
    one = WorldEndpointSettings(id="endpoint-one", model=MODEL, hardware=HARDWARE, state="STOPPED", display_name="first")
    settings = WorldSettings(cold_start=ColdStartSettings(median_seconds=180, sigma=0), endpoints=(one,) if stopped else ())
    listener = bind("127.0.0.1:0")
    url = url_of(listener)
    ready = asyncio.Event()
    serving = asyncio.create_task(serve(settings, ScaledClock(speed), sockets=[listener], ready=lambda _: ready.set()))
    try:
        async with asyncio.timeout(100), httpx.AsyncClient(base_url=url, headers={"authorization": "Bearer judge"}) as client:
            await ready.wait()
            yield Platform(url, client)
    finally:
        serving.cancel()
        await asyncio.wait([serving])
