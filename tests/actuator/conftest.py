"""A provider on loopback that remembers every call and can fail in every way; an actuator with a real store before it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from scaler.actuator import Actuator, Skipped, open_actuator
from scaler.clock import VirtualClock
from scaler.model import Bounds, Decision, Outcome, Power, Reason, ReasonCode
from scaler.providers import open_reader
from scaler.settings import EndpointSettings, GuardSettings, IdleSettings, ProviderSettings, Settings
from scaler.store.sqlite import SqliteStore
from tests.store.letting_go import let_go

KEY = "tgp_v1_canary0123456789"
ID = "endpoint-1"


def start_of_life() -> dict[str, Any]:
    return {
        "object": "endpoint",
        "id": ID,
        "name": "o/m-1",
        "model": "m",
        "hardware": "1x_gpu",
        "state": "STARTED",
        "autoscaling": {"min_replicas": 1, "max_replicas": 2},
    }


@dataclass
class Platform:
    """The judge: what it holds is true, and ``calls`` are all that ever happened.

    ``faults`` are used up one per PATCH: "drop", "hang", "garbage", "lie" and "500" strike after the call was committed (a lie is a
    200 for something that was not done), with "-before" instead of it; any other number is a refusal with that status.
    ``deaf`` lets GETs fail. ``aside`` are the answers to everything else, and ``asked`` what came of it.
    """

    endpoint: dict[str, Any] = field(default_factory=start_of_life)
    timeout: int = -1
    calls: list[str] = field(default_factory=list)
    patches: list[dict[str, Any]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    deaf: int = 0
    committed: asyncio.Event = field(default_factory=asyncio.Event)
    on_patch: Callable[[], Awaitable[object]] | None = None
    origin: str = ""
    code: str = "no"
    aside: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next((int(line[15:]) for line in head.lower().split("\r\n") if line.startswith("content-length:")), 0)
            body = json.loads(await reader.readexactly(length)) if length else {}
            method, path, _ = head.split("\r\n")[0].split(" ")
            if f"{method} {path}" in self.aside:
                self.asked.append(f"{method} {path}")
                status, content = self.aside[f"{method} {path}"]
            else:
                assert path == f"/v1/endpoints/{self.endpoint['id']}"
                self.calls.append(method)
                status, content = self._get() if method == "GET" else await self._patch(body)
            fields = {"content-length": str(len(content)), "connection": "close", **self.headers}
            writer.write(
                f"HTTP/1.1 {status} -\r\n".encode() + "".join(f"{k}: {v}\r\n" for k, v in fields.items()).encode() + b"\r\n" + content
            )
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _get(self) -> tuple[int, bytes]:
        if self.deaf:
            self.deaf -= 1
            return 500, b"deaf"
        return 200, json.dumps(self.endpoint).encode()

    async def _patch(self, body: dict[str, Any]) -> tuple[int, bytes]:
        self.patches.append(body)
        fault = self.faults.pop(0) if self.faults else ""
        name, _, before = fault.partition("-")
        if name.isdigit() and name != "500":
            return int(name), json.dumps({"error": {"message": f"No. Your key {KEY} is bad.", "type": "x", "code": self.code}}).encode()
        if not before and name != "lie":
            self._commit(body)
        if self.on_patch:
            await self.on_patch()
        if name == "drop":
            raise ConnectionError
        if name == "hang":
            await asyncio.Event().wait()
        return (500, b"oops") if name == "500" else (200, b"garbage" if name == "garbage" else json.dumps(self.endpoint).encode())

    def _commit(self, body: dict[str, Any]) -> None:
        self.endpoint["autoscaling"] = body.get("autoscaling", self.endpoint["autoscaling"])
        self.endpoint["state"] = {"STARTED": "STARTING", "STOPPED": "STOPPING"}.get(body.get("state", ""), self.endpoint["state"])
        self.timeout = body.get("inactive_timeout", self.timeout)
        self.committed.set()


@pytest.fixture
async def platform() -> AsyncIterator[Platform]:
    judge = Platform()
    tasks: set[asyncio.Task[None]] = set()
    server = await asyncio.start_server(lambda *pair: tasks.add(asyncio.create_task(judge.serve(*pair))), "127.0.0.1", 0)
    judge.origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    yield judge
    server.close()
    for task in tasks:
        task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    await server.wait_closed()
    assert [each for each in done if isinstance(each, Exception)] == []


@pytest.fixture
async def house(platform: Platform, tmp_path: Path) -> AsyncIterator[SimpleNamespace]:
    """A controller's hands: ``tick`` reads, reconciles and carries one decision out; ``restart`` forgets all but the store.

    Settings are changed with ``house.set(...)`` before the first tick or before a restart.
    """
    async with AsyncExitStack() as stack:
        clock = VirtualClock(1_000_000.0)
        settings = Settings(
            provider=ProviderSettings(base_url=platform.origin, api_key=SecretStr(KEY), timeout_seconds=5),
            endpoints={"chat": EndpointSettings(id=ID, min_replicas=1, max_replicas=4, idle=IdleSettings(allow_stop=True))},
            guard=GuardSettings(max_actions_per_hour=10),
            pause_file=tmp_path / "paused",
        )
        home = SimpleNamespace(clock=clock, settings=settings, platform=platform, pause=tmp_path / "paused", path=tmp_path / "scaler.db")

        async def restart(kind: type[SqliteStore] = SqliteStore) -> None:
            if hasattr(home, "store"):
                await home.store.close()
            home.store = await kind.open(home.path, clock.now())
            stack.callback(let_go, home.store)
            home.reader = open_reader(home.settings.provider)
            stack.push_async_callback(home.reader.close)
            home.actuator = open_actuator(home.settings, home.reader, home.store, clock)
            stack.push_async_callback(home.actuator.close)

        async def change(**update: object) -> None:
            home.settings = home.settings.model_copy(update=update)
            await restart()

        def decide(bounds: str = "2..4", power: Power = Power.RUN, *, hold: bool = False, timeout: int = 60) -> Decision:
            low, high = map(int, bounds.split(".."))
            reason = Reason(ReasonCode.TRAFFIC_UP, "More traffic.")
            return Decision("chat", clock.now(), Bounds(low, high), timeout, power, hold, (reason,))

        async def tick(*words: Any, **more: Any) -> Outcome | Skipped:  # noqa: ANN401 (what decide takes)
            clock.advance(10)
            observed = await home.reader.get(ID)
            actuator: Actuator = home.actuator
            home.reconciled = await actuator.reconcile("chat", observed)
            return await actuator.carry_out("chat", decide(*words, **more), observed)

        async def ends() -> list[list[str]]:
            """The outcomes of each intent, oldest intent first."""
            return [[outcome.status.value for outcome in record.outcomes] for record in reversed(await home.store.intents("chat", 10_000))]

        home.restart, home.set, home.decide, home.tick, home.ends = restart, change, decide, tick, ends
        await restart()
        yield home
