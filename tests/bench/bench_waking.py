"""What it costs to be patient: memory while impatient clients come to a sleeping endpoint, and how fast who is refused or gives up is gone.

    python tests/bench/bench_waking.py [SECONDS]

200 requests/s of 4 KB, whose clients give up after one second, for SECONDS (default 60; 1200 is the twenty minutes of the promise); then a
full queue, 300 requests beyond it, and 200 that leave it. Loopback, one process; client and proxy share it, and so does the memory shown.
"""

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import uvloop
from pydantic import SecretStr
from rich.console import Console

from scaler.proxy.meter import Meter
from scaler.proxy.routes import Readiness, Route, RouteTable, Standing
from scaler.proxy.server import Proxy
from scaler.settings import ProxySettings, WakeSettings

PER_SECOND = 200
say = Console(highlight=False, soft_wrap=True).print
BODY = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "x" * 4000}]}).encode()
REQUEST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
SLEEPING = Route("chat", "m", frozenset({"chat"}), readiness=Readiness(Standing.ASLEEP, 0.0, 4.0, remaining_seconds=200.0))
MAX_HELD = WakeSettings().max_held


def resident() -> float:
    """MB of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def asleep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The upstream, which answers probes as a stopped endpoint does."""
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def ask(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    return reader, writer


async def impatient(port: int) -> None:
    """One second, and gone."""
    reader, writer = await ask(port)
    try:
        await asyncio.wait_for(reader.readline(), 1)
        raise RuntimeError("answered")
    except TimeoutError:
        writer.transport.abort()


async def crowd(port: int, seconds: float) -> list[float]:
    """So many impatient clients; the memory along the way."""
    started, sent, memory = time.monotonic(), 0, [resident()]
    async with asyncio.TaskGroup() as group:
        while (passed := time.monotonic() - started) < seconds:
            while sent < PER_SECOND * passed:
                group.create_task(impatient(port))
                sent += 1
            if passed > len(memory) * seconds / 10:
                memory.append(resident())
            await asyncio.sleep(0.005)
    return memory


async def refusal(port: int) -> float:
    """Milliseconds until a request beyond the queue knows."""
    reader, writer = await ask(port)
    started = time.monotonic()
    if b" 503 " not in await reader.readline():
        raise RuntimeError("not refused")
    writer.close()
    return (time.monotonic() - started) * 1000


async def leaving(writer: asyncio.StreamWriter, waiting: Callable[[], int]) -> float:
    """Milliseconds until the place of a client that is gone is free."""
    before, started = waiting(), time.monotonic()
    writer.transport.abort()
    while waiting() == before:
        await asyncio.sleep(0)
    return (time.monotonic() - started) * 1000


def quantiles(values: list[float]) -> str:
    cuts = statistics.quantiles(values, n=100)
    return f"p50 {cuts[49]:.2f} ms, p99 {cuts[98]:.2f} ms"


async def main(seconds: float) -> None:
    """Run and print."""
    upstream = await asyncio.start_server(asleep, "127.0.0.1", 0)
    meter = Meter(time.monotonic)
    url = f"http://127.0.0.1:{upstream.sockets[0].getsockname()[1]}/v1"
    proxy = Proxy(ProxySettings(listen="127.0.0.1:0"), url, SecretStr("k"), meter)
    proxy.set_routes(RouteTable.of([SLEEPING]))
    await proxy.start()
    port = proxy.addresses[0][1]

    def waiting() -> int:
        return proxy.gates["chat"].waiting

    memory = await crowd(port, seconds)
    while waiting():
        await asyncio.sleep(0.01)
    gate = proxy.gates["chat"]
    say(f"{gate.held} held and abandoned, {gate.wakes} call; in flight: {meter.read('chat').in_flight}")
    say("resident MB:", ", ".join(f"{value:.1f}" for value in [*memory, resident()]))
    queue = [await ask(port) for _ in range(MAX_HELD)]
    while waiting() < MAX_HELD:
        await asyncio.sleep(0.01)
    say("refused beyond the queue:", quantiles([await refusal(port) for _ in range(300)]))
    say("gone after giving up:", quantiles([await leaving(writer, waiting) for _, writer in queue[:200]]))
    proxy.close()
    upstream.close()


if __name__ == "__main__":
    uvloop.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0))
