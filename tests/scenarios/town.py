"""A town to break: the world and the daemon as real processes on a fast clock, with a steady stream of real requests."""

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from scaler.clock import ScaledClock
from scaler.demo.load import Load, Progress
from scaler.demo.processes import answers, process
from scaler.demo.stage import ENDPOINT, Stage, build
from scaler.observability.client import NoAnswer, get_json, post_json
from scaler.world.workload import Arrival

SPEED = 150.0
PORTS = range(20_000, 32_000)
"""Below those that the system gives away: until a process listens, no connection of another test may take its port."""
SERVICE_SECONDS = 20.0


def steady(concurrency: float, seconds: float) -> list[Arrival]:
    """Evenly spaced requests of about `SERVICE_SECONDS` each, so that about ``concurrency`` are in flight; every other one streamed."""
    gap = SERVICE_SECONDS / concurrency
    return [Arrival(at=index * gap, input_tokens=100, output_tokens=300, streamed=index % 2 == 0) for index in range(int(seconds / gap))]


@dataclass
class Town:
    """What a test can do: send traffic, look, break, kill."""

    stage: Stage
    clock: ScaledClock
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def found(cls, folder: Path, *, replicas: int = 1, **endpoint: Any) -> "Town":  # noqa: ANN401 (settings of any type)
        """Write the configuration; ``replicas`` run at the beginning, ``endpoint`` overrides the demo's settings of it."""
        stage = build(folder, speed=SPEED, seed=1, ports=random.sample(PORTS, 3))
        world = yaml.safe_load(stage.world_config.read_text())
        world["world"]["endpoints"][0] |= {"min_replicas": replicas, "max_replicas": replicas}
        stage.world_config.write_text(yaml.safe_dump(world))
        daemon = yaml.safe_load(stage.config.read_text())
        daemon["endpoints"][ENDPOINT] |= endpoint
        stage.config.write_text(yaml.safe_dump(daemon))
        clock = stage.settings.clock
        return cls(stage, ScaledClock(clock.speed, epoch=clock.epoch, start=clock.start))

    @contextlib.asynccontextmanager
    async def world(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """The platform, up."""
        arguments = ("--config", str(self.stage.world_config), "--speed", str(SPEED))
        async with process(self.stage.folder, "emulator", *arguments) as child:
            await answers(self.stage.world.listen, "/x/status", child)
            yield child

    @contextlib.asynccontextmanager
    async def daemon(self, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """The daemon, ready."""
        async with process(self.stage.folder, "run", "--config", str(self.stage.config), *arguments, **self.environment) as child:
            await answers(self.stage.settings.admin.listen, "/readyz", child)
            yield child

    async def traffic(self, concurrency: float, minutes: float) -> Progress:
        """Steady traffic for so many minutes of the clock; what became of it."""
        planned = steady(concurrency, minutes * 60)
        progress = Progress(planned=len(planned))
        await Load(self.stage.settings.proxy.listen, ENDPOINT, self.clock).run(planned, progress, start=self.clock.monotonic())
        return progress

    async def minutes(self, count: float) -> None:
        """Let the clock run."""
        await self.clock.sleep(count * 60)

    async def provider(self) -> dict[str, Any]:
        """The endpoint as the world knows it."""
        status = await asyncio.to_thread(get_json, self.stage.world.listen, "/x/status")
        endpoint: dict[str, Any] = status["endpoints"][0]
        return endpoint

    async def seen(self) -> dict[str, Any]:
        """The endpoint as the daemon sees it."""
        status = await asyncio.to_thread(get_json, self.stage.settings.admin.listen, "/status")
        endpoint: dict[str, Any] = status["endpoints"][ENDPOINT]
        return endpoint

    async def break_management(self, fault: dict[str, Any] | None) -> None:
        """From now on the management API is broken in this way; None mends it."""
        await asyncio.to_thread(post_json, self.stage.world.listen, "/x/faults", {"management": fault})

    async def until(self, condition: Callable[[dict[str, Any]], bool], *, minutes: float = 30) -> dict[str, Any]:
        """Wait until the daemon has looked at the endpoint and its view of it is so."""
        async with asyncio.timeout(minutes * 60 / SPEED):
            while True:
                with contextlib.suppress(NoAnswer):
                    seen = await self.seen()
                    if "sentence" in seen and condition(seen):
                        return seen
                await asyncio.sleep(0.02)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the journal holds."""
        connection = sqlite3.connect(self.stage.settings.store.path)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def log(self) -> str:
        """What the daemon has written."""
        return (self.stage.folder / "run.log").read_text()
