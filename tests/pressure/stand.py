"""A proxy in a process of its own, to be put under pressure and looked at from outside: memory, file descriptors, tasks, counters."""

import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import uvloop
from pydantic import SecretStr

from scaler.proxy.meter import Meter
from scaler.proxy.routes import Route, RouteTable
from scaler.proxy.server import Proxy
from scaler.settings import ProxySettings

ROOT = Path(__file__).parents[2]
PAGE_BYTES = resource.getpagesize()


@dataclass(frozen=True)
class Figures:
    """What a proxy's process is at one moment; counters since its start.

    longest_turn: the most processor time, in seconds, that went by between two beats five milliseconds apart since the last figures were
                  taken: how long the loop was busy with one thing, however busy the machine is with others
    """

    rss_bytes: int
    fds: int
    tasks: int
    cpu_seconds: float
    longest_turn: float
    connections: int
    in_flight: dict[str, int]
    completions: dict[str, dict[str, int]]
    failures: dict[str, dict[str, int]]
    limits_hit: dict[str, int]


@dataclass(frozen=True)
class Plan:
    """What to run: requests for a model go to the route of that name."""

    upstream: str
    settings: dict[str, float] = field(default_factory=dict[str, float])
    max_in_flight: dict[str, int] = field(default_factory=lambda: {"chat": 20_000})


def lift_limits() -> None:
    """As many file descriptors as this process may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class _Process:
    """The inside."""

    def __init__(self, plan: Plan) -> None:
        self._longest_turn = 0.0
        self._meter = Meter(time.monotonic)
        settings = ProxySettings.model_validate({"listen": "127.0.0.1:0", **plan.settings})
        self._proxy = Proxy(settings, plan.upstream, SecretStr("sk-ours"), self._meter)
        self._proxy.set_routes(
            RouteTable.of(Route(name, f"acme/{name}", frozenset(), max_in_flight=most) for name, most in plan.max_in_flight.items())
        )

    async def run(self) -> None:
        """Serve; each line of standard input is answered with the figures, its end ends it."""
        await self._proxy.start()
        beating = asyncio.create_task(self._beat())
        print(self._proxy.addresses[0][1], flush=True)  # noqa: T201 (what the outside reads)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while await reader.readline():
            print(json.dumps(asdict(self._figures())), flush=True)  # noqa: T201 (the same)
        beating.cancel()
        self._proxy.close()

    async def _beat(self) -> None:
        before = time.process_time()
        while True:
            await asyncio.sleep(0.005)
            now = time.process_time()
            self._longest_turn, before = max(self._longest_turn, now - before), now

    def _figures(self) -> Figures:
        readings = {key: reading for key, reading in self._meter.read_all().items() if reading.arrivals}
        turn, self._longest_turn = self._longest_turn, 0.0
        return Figures(
            rss_bytes=int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES,
            fds=len(list(Path("/proc/self/fd").iterdir())),
            tasks=len(asyncio.all_tasks()),
            cpu_seconds=time.process_time(),
            longest_turn=turn,
            connections=self._proxy.connections,
            in_flight={key: reading.in_flight for key, reading in readings.items()},
            completions={key: dict(reading.completions) for key, reading in readings.items()},
            failures={key: dict(reading.failures) for key, reading in readings.items()},
            limits_hit={limit: count for limit, count in self._proxy.limits_hit.items() if count},
        )


@dataclass
class Stand:
    """The outside."""

    port: int
    process: asyncio.subprocess.Process

    async def figures(self) -> Figures:
        """Its figures now."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"\n")
        values: dict[str, Any] = json.loads(await asyncio.wait_for(self.process.stdout.readline(), 30))
        return Figures(**values)

    async def settled(self, seconds: float = 10) -> Figures:
        """Its figures once nobody is connected and nothing is in flight."""
        deadline = time.monotonic() + seconds
        while (now := await self.figures()).connections or any(now.in_flight.values()):
            assert time.monotonic() < deadline, now
            await asyncio.sleep(0.02)
        return now


@contextlib.asynccontextmanager
async def stand(plan: Plan) -> AsyncIterator[Stand]:
    """A proxy, accepting connections."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.pressure.stand", json.dumps(asdict(plan))),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout is not None
        yield Stand(int(await asyncio.wait_for(process.stdout.readline(), 30)), process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.communicate()


if __name__ == "__main__":
    lift_limits()
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_Process(Plan(**json.loads(sys.argv[1]))).run())
