"""The long forms: what the request path promises under pressure, measured and printed. Run as `make soak`.

A proxy in a process of its own, its upstream here, and crowds of clients in processes of their own, so that what is measured is not who
measures. Ends with status 1 when a figure misses its bound; on a machine that is busy with other things the times do. `--minutes` is the
length of the leak hunt (two hours by default); the others take about six minutes together. `--only leaks` runs one of them.
"""

import argparse
import asyncio
import contextlib
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np
import uvloop
from rich.console import Console
from rich.table import Table

from tests.pressure.load import Results, Trickle, Works, ask, by_name, flood, leave_early, quantile, read_slowly, serving, steady
from tests.pressure.stand import Figures, Plan, Stand, lift_limits, stand
from tests.proxy.wire import STREAM_HEAD, Client, Visit, answer, chunk, request

RATE = 20.0
MEGABYTE = 1e6
TURN_MS = 50.0
"""Longest that the loop may be busy with one thing; ten thousand connections that come at once have taken it longer."""


@dataclass(frozen=True)
class Line:
    """One promise: a figure and its bound."""

    promise: str
    figure: float
    bound: float
    unit: str
    least: bool = False
    """Whether the bound is the least it may be, not the most."""

    @property
    def holds(self) -> bool:
        """Whether it is kept."""
        return self.figure >= self.bound if self.least else self.figure <= self.bound


# Leaks


def mixed(dice: random.Random) -> Callable[[Visit], Awaitable[None]]:
    """Streams and plain answers; one in twenty is broken off somewhere."""

    async def script(visit: Visit) -> None:
        while True:
            await visit.request()
            visit.requests.clear()
            breaks, streamed = dice.random() < 0.05, dice.random() < 0.5
            if breaks and dice.random() < 0.3:
                visit.writer.transport.abort()
                return
            await asyncio.sleep(dice.expovariate(10))
            if not streamed:
                await visit.send(answer()[: -5 if breaks else None])
            else:
                await visit.send(STREAM_HEAD)
                for _ in range(dice.randrange(1, 20)):
                    await visit.send(chunk(b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'))
                    await asyncio.sleep(0.02)
                await visit.send(b"" if breaks else b"0\r\n\r\n")
            if breaks:
                visit.writer.transport.abort()
                return

    return script


async def traffic(port: int, seconds: float, dice: random.Random) -> Results:
    """30 requests a second, one in five of whose clients goes away early."""
    results = Results()
    began, number = time.monotonic(), 0
    async with asyncio.TaskGroup() as group:
        while time.monotonic() < began + seconds:
            number += 1
            await asyncio.sleep(max(0.0, began + number / 30 - time.monotonic()))
            group.create_task(leave_early(port, dice) if dice.random() < 0.2 else ask(port, request(), results))
    return results


@asynccontextmanager
async def watched(proxy: Stand, every: float) -> AsyncIterator[list[tuple[float, Figures]]]:
    """Its figures now and then, each with its second, for as long as something else goes on."""
    seen: list[tuple[float, Figures]] = []
    over = asyncio.Event()

    async def look() -> None:
        began = time.monotonic()
        while not over.is_set():
            seen.append((time.monotonic() - began, await proxy.figures()))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), every)

    looking = asyncio.create_task(look())
    try:
        yield seen
    finally:
        over.set()
        await looking


async def leaks(minutes: float) -> list[Line]:
    """Memory, file descriptors and tasks under traffic that goes wrong in every way, for a long time."""
    dice = random.Random(1)
    seconds = minutes * 60
    async with serving(mixed(dice)) as upstream, stand(Plan(upstream.url)) as proxy:
        await traffic(proxy.port, 5, dice)
        await asyncio.sleep(1)
        before = await proxy.settled()
        async with watched(proxy, max(1.0, seconds / 720)) as seen:
            results = await traffic(proxy.port, seconds, dice)
        upstream.visits = [visit for visit in upstream.visits if not visit.closed.is_set()]
        await asyncio.sleep(min(35.0, seconds / 4 + 31))  # idle upstream connections are kept for 30 s
        after = await proxy.settled()
    warm = min(1200.0, seconds / 3)
    hours, bytes_ = np.array([(at / 3600, figures.rss_bytes) for at, figures in seen if at > warm]).T
    slope = float(np.polyfit(hours, bytes_, 1)[0])
    failed = after.failures["chat"]
    assert failed["broken"] > 0, "nothing went wrong, so nothing was tried"
    assert failed["truncated"] > 0, "nothing went wrong, so nothing was tried"
    return [
        Line("leaks: good traffic that nobody broke off", 100 * results.success, 90.0, "%", least=True),
        Line("leaks: memory", slope / MEGABYTE, 1.0, "MB/h"),
        Line("leaks: memory after the first third", (bytes_[-1] - bytes_[0]) / MEGABYTE, 5.0, "MB"),
        Line("leaks: file descriptors left", after.fds - before.fds, 5, ""),
        Line("leaks: tasks left", after.tasks - before.tasks, 5, ""),
    ]


# Crowds


async def crowd(kind: str, port: int, count: int) -> None:
    """What a process of its own does: trickle, and say how many were closed; or ask a model that is in trouble, so often a second."""
    if kind not in ("heads", "bodies"):
        await steady(port, count, 60, kind)
        return
    trickle = Trickle()
    await trickle.run(port, count, body=kind == "bodies", pause=2.0, seconds=100)
    print(trickle.closed)  # noqa: T201 (what the other process reads)


@asynccontextmanager
async def crowded(kind: str, port: int, count: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """That process."""
    command = (sys.executable, "-m", "tests.pressure.soak", "--crowd", kind, str(port), str(count))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def trickling(kind: str, count: int = 10_000) -> list[Line]:
    """Sockets, a thousand more a second, that send a byte every two seconds of a head, or of a body."""
    settings = dict.fromkeys(("max_connections", "max_connections_per_address"), 20_000.0)
    async with serving(by_name) as upstream, stand(Plan(upstream.url, settings)) as proxy:
        idle = await steady(proxy.port, RATE, 10)
        async with crowded(kind, proxy.port, count) as process, watched(proxy, 0.5) as seen:
            during = await steady(proxy.port, RATE, 20)
            out, _ = await process.communicate()
    turn = max(figures.longest_turn for _, figures in seen[1:])
    most = max(figures.connections for _, figures in seen)
    return [
        Line(f"trickling {kind}: good traffic served", 100 * during.success, 99.9, "%", least=True),
        Line(f"trickling {kind}: its p99 against idle", during.p(0.99) / idle.p(0.99), 2.0, "x"),
        Line(f"trickling {kind}: longest turn of the loop", 1000 * turn, TURN_MS, "ms of processor time"),
        Line(f"trickling {kind}: closed at their deadline", int(out), count, "", least=True),
        Line(f"trickling {kind}: connected at once", most, count / 2, "", least=True),
    ]


async def slow_readers(count: int = 500, seconds: float = 60) -> list[Line]:
    """Clients that take 1 KB/s of answers that come at 20 KB/s each, 10 MB/s in all."""
    async with serving(flood(20_000)) as upstream, stand(Plan(upstream.url, max_in_flight={"chat": 1000, "flood": 1000})) as proxy:
        idle = await steady(proxy.port, RATE, 10)
        before = await proxy.figures()
        reading = [asyncio.create_task(read_slowly(proxy.port, bytes_per_second=1024, seconds=seconds)) for _ in range(count)]
        await asyncio.sleep(seconds / 2)
        await proxy.figures()
        during = await steady(proxy.port, RATE, seconds / 2 - 5)
        after = await proxy.figures()
        await asyncio.gather(*reading)
    return [
        Line("slow readers: memory", (after.rss_bytes - before.rss_bytes) / MEGABYTE, count * 0.065536 + 50, "MB"),
        Line("slow readers: longest turn of the loop", 1000 * after.longest_turn, TURN_MS, "ms of processor time"),
        Line("slow readers: a fast client's p99", during.p(0.99) / idle.p(0.99), 2.0, "x"),
        Line("slow readers: good traffic served", 100 * during.success, 99.9, "%", least=True),
    ]


async def neighbours(seconds: float = 20) -> list[Line]:
    """One endpoint hangs, resets or drips under a thousand requests; another works."""
    lines = []
    for trouble in ("hang", "reset", "drip"):
        async with serving(by_name) as upstream, stand(Plan(upstream.url, max_in_flight={"chat": 100, trouble: 1000})) as proxy:
            alone = await steady(proxy.port, RATE, seconds)
            async with crowded(trouble, proxy.port, 100):
                await asyncio.sleep(12)
                beside = await steady(proxy.port, RATE, seconds)
            turn = (await proxy.figures()).longest_turn
            lines.append(Line(f"beside one that {trouble}s: longest turn of the loop", 1000 * turn, TURN_MS, "ms of processor time"))
            lines.append(Line(f"beside one that {trouble}s: p99", beside.p(0.99) / alone.p(0.99), 1.2, "x"))
            lines.append(Line(f"beside one that {trouble}s: served", 100 * beside.success, 99.9, "%", least=True))
    return lines


async def overload(seconds: float = 60) -> list[Line]:
    """Three times what the upstream can do; and the same without a bound, for comparison."""
    lines = []
    for bound in (10, 20_000):
        works = Works(slots=10, seconds=0.1)
        async with serving(works.serve) as upstream, stand(Plan(upstream.url, max_in_flight={"chat": bound})) as proxy:
            peak = await steady(proxy.port, 0.9 * works.capacity, 10)
            results = await steady(proxy.port, 3 * works.capacity, seconds if bound == 10 else 10)
            span = seconds if bound == 10 else 10
            useful = len([wait for wait in results.of(200) if wait < 1]) / span / (len(peak.of(200)) / 10)
            if bound == 10:
                lines += [
                    Line("overload: goodput against its peak", useful, 0.9, "x", least=True),
                    Line("overload: p99 of refusals", 1000 * results.p(0.99, 503), 50, "ms"),
                    Line("overload: refusals without Retry-After", sum(s == 503 and not w for s, _, w in results.answers), 0, ""),
                ]
            else:
                lines.append(Line("(without a bound: goodput against its peak)", useful, 0.9, "x"))
    return lines


# Clients that leave


async def leaving(count: int = 200) -> list[Line]:
    """How soon an upstream's connection is closed after its client has gone."""

    async def silent(visit: Visit) -> None:
        await visit.request()
        await visit.gone()

    async def half(visit: Visit) -> None:
        await visit.request()
        await visit.send(answer()[:-5])
        await visit.gone()

    async def stream(visit: Visit) -> None:
        await visit.request()
        await visit.send(STREAM_HEAD + chunk(b"data: x\n\n"))
        await visit.gone()

    lines = []
    for name, script in (("before the first byte", silent), ("not streaming", half), ("mid-stream", stream)):
        async with serving(script) as upstream, stand(Plan(upstream.url)) as proxy:
            waits = []
            for number in range(count):
                client = Client(*await asyncio.open_connection("127.0.0.1", proxy.port))
                await client.send(request())
                while len(upstream.requests) <= number:
                    await asyncio.sleep(0)
                if script is not silent:
                    await client.reader.readuntil(b"\r\n\r\n")
                (client.abort, client.close, client.writer.write_eof)[number % 3]()
                began = time.monotonic()
                await upstream.visits[-1].closed.wait()
                waits.append(time.monotonic() - began)
                client.close()
            await proxy.settled()
        lines.append(Line(f"client gone {name}: p99", 1000 * quantile(waits, 0.99), 100, "ms"))
    return lines


@asynccontextmanager
async def quiet() -> AsyncIterator[None]:
    """Connections that a test resets are no news."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    yield


async def main(minutes: float, only: str | None) -> int:
    """Run what is asked for, print all of it."""
    console = Console(width=120)
    hunts: dict[str, Callable[[], Awaitable[list[Line]]]] = {
        "leaving": leaving,
        "neighbours": neighbours,
        "overload": overload,
        "readers": slow_readers,
        "heads": lambda: trickling("heads"),
        "bodies": lambda: trickling("bodies"),
        "leaks": lambda: leaks(minutes),
    }
    table = Table("promise", "figure", "bound", "")
    missed = 0
    async with quiet():
        for name, hunt in hunts.items():
            if only in (None, name):
                console.print(f"{name} ...")
                for line in await hunt():
                    kept = line.holds or line.promise.startswith("(")
                    missed += not kept
                    sign = "\N{GREATER-THAN OR EQUAL TO}" if line.least else "\N{LESS-THAN OR EQUAL TO}"
                    table.add_row(
                        line.promise, f"{line.figure:.3g} {line.unit}", f"{sign} {line.bound:g} {line.unit}", "" if kept else "missed"
                    )
    console.print(table)
    return 1 if missed else 0


if __name__ == "__main__":
    lift_limits()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=120.0, help="length of the leak hunt")
    parser.add_argument("--only", help="one of leaving, neighbours, overload, readers, heads, bodies, leaks")
    parser.add_argument("--crowd", nargs=3, metavar=("KIND", "PORT", "COUNT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        if options.crowd:
            uvloop.run(crowd(options.crowd[0], int(options.crowd[1]), int(options.crowd[2])))
        else:
            sys.exit(uvloop.run(main(options.minutes, options.only)))
