"""Kinds of pressure: steady good traffic to measure by, and clients and upstreams that make it hard."""

import asyncio
import contextlib
import math
import random
import socket
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.proxy.wire import STREAM_HEAD, BrokenOffError, Client, Script, Upstream, Visit, answer, chunk, request

GIVE_UP = 30.0
"""Seconds after which a good client counts its request as failed."""


def quantile(values: Iterable[float], share: float) -> float:
    """The smallest value that this share of them does not exceed; NaN of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


@dataclass
class Results:
    """What became of requests: status (0: no whole answer), seconds and Retry-After of each."""

    answers: list[tuple[int, float, bool]] = field(default_factory=list[tuple[int, float, bool]])

    def of(self, *statuses: int) -> list[float]:
        """Seconds of those that got one of these."""
        return [seconds for status, seconds, _ in self.answers if status in statuses]

    @property
    def success(self) -> float:
        """Share with 200."""
        return len(self.of(200)) / len(self.answers)

    def p(self, share: float, *statuses: int) -> float:
        """A quantile of seconds of those with these statuses; of the good ones by default."""
        return quantile(self.of(*(statuses or (200,))), share)


async def ask(port: int, raw: bytes, results: Results) -> None:
    """One request on a connection of its own."""
    began = time.monotonic()
    status, waits = 0, False
    with contextlib.suppress(OSError, EOFError, BrokenOffError, TimeoutError):
        async with asyncio.timeout(GIVE_UP):
            client = Client(*await asyncio.open_connection("127.0.0.1", port))
            try:
                got = await client.ask(raw)
                status, waits = got.status, bool(got.values(b"retry-after"))
            finally:
                client.close()
    results.answers.append((status, time.monotonic() - began, waits))


async def steady(port: int, rate: float, seconds: float, model: str = "chat") -> Results:
    """Good traffic that comes whether it is answered or not, evenly spaced."""
    results = Results()
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            group.create_task(ask(port, request(model=model), results))
    return results


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[Upstream]:
    """An upstream of scripted connections."""
    upstream = Upstream(script)
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0, limit=1 << 20, backlog=4096)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()
        for visit in upstream.visits:
            with contextlib.suppress(AttributeError):  # asyncio 3.11 forgets its loop when a closing transport has flushed
                visit.writer.transport.abort()
        await asyncio.sleep(0.01)


# Upstreams

GOOD_SECONDS = 0.05
"""What a good answer takes, which is less than any model's first token does: against nothing at all, only the scheduling of
this machine would be measured."""


async def by_name(visit: Visit) -> None:
    """Answers as the model's name asks for: hang, reset, drip, or be good."""
    while True:
        asked = await visit.request()
        visit.requests.clear()  # these upstreams live long
        match str(asked.json["model"]).removeprefix("acme/"):
            case "hang":
                await visit.gone()
            case "reset":
                visit.writer.transport.abort()
                return
            case "drip":
                await drip(visit)
            case _:
                await asyncio.sleep(GOOD_SECONDS)
                await visit.send(answer())


async def drip(visit: Visit) -> None:
    """An answer that never ends, a byte a second."""
    await visit.send(STREAM_HEAD)
    while not visit.reader.at_eof():
        await visit.send(chunk(b"x"))
        await asyncio.sleep(1)


def flood(bytes_per_second: int) -> Script:
    """An endless answer at this rate for ``flood``, a plain one for everybody else."""

    async def script(visit: Visit) -> None:
        while True:
            asked = await visit.request()
            visit.requests.clear()
            if asked.json["model"] != "acme/flood":
                await asyncio.sleep(GOOD_SECONDS)
                await visit.send(answer())
                continue
            await visit.send(STREAM_HEAD)
            while not visit.reader.at_eof():
                await visit.send(chunk(b"x" * (bytes_per_second // 5)))
                await asyncio.sleep(0.2)

    return script


@dataclass
class Works:
    """An upstream that serves ``slots`` requests at once; more of them make each other slower, and are worth nothing when too late."""

    slots: int
    seconds: float
    in_flight: int = 0

    @property
    def capacity(self) -> float:
        """Requests per second at its best."""
        return self.slots / self.seconds

    async def serve(self, visit: Visit) -> None:
        """Thrashes beyond its slots: work done grows no more, and time is lost on top."""
        while True:
            await visit.request()
            visit.requests.clear()
            self.in_flight += 1
            try:
                crowd = max(1.0, self.in_flight / self.slots)
                await asyncio.sleep(self.seconds * crowd**1.5)
                await visit.send(answer())
            finally:
                self.in_flight -= 1


# Clients


@dataclass
class Trickle:
    """Clients that send a byte now and then: of their heads, or of their bodies."""

    opened: int = 0
    closed: int = 0
    """By the other side."""

    async def run(self, port: int, count: int, *, body: bool, pause: float, seconds: float) -> None:
        """A thousand more a second, until each is closed or the time is over."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(self._one(port, body=body, pause=pause, until=time.monotonic() + seconds))
                await asyncio.sleep(max(0.0, began + number / 1000 - time.monotonic()))

    async def _one(self, port: int, *, body: bool, pause: float, until: float) -> None:
        whole = request()
        begun = whole.index(b"\r\n\r\n") + 4 if body else 1
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            self.opened += 1
            try:
                writer.write(whole[:begun])
                for byte in whole[begun:]:
                    with contextlib.suppress(TimeoutError):
                        if await asyncio.wait_for(reader.read(1024), pause):
                            continue  # a refusal; the end comes next
                        self.closed += 1
                        return
                    if time.monotonic() > until:
                        return
                    writer.write(bytes([byte]))
            finally:
                writer.transport.abort()


async def read_slowly(port: int, *, bytes_per_second: int, seconds: float) -> int:
    """Take an endless answer at this rate; returns how much of it came.

    The kernel keeps little for it, so that it is the proxy that must hold back.
    """
    thin = socket.socket()
    thin.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    thin.setblocking(False)
    await asyncio.get_running_loop().sock_connect(thin, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=thin, limit=1024)
    taken, until = 0, time.monotonic() + seconds
    try:
        writer.write(request(model="flood"))
        while time.monotonic() < until:
            if not (data := await reader.read(bytes_per_second)):
                break
            taken += len(data)
            await asyncio.sleep(1)
    finally:
        writer.transport.abort()
    return taken


async def leave_early(port: int, dice: random.Random) -> None:
    """Ask for a stream and go away after a while."""
    client = Client(*await asyncio.open_connection("127.0.0.1", port))
    try:
        await client.send(request(model="chat"))
        with contextlib.suppress(TimeoutError, OSError):
            await asyncio.wait_for(client.reader.read(), dice.uniform(0, 0.5))
    finally:
        client.abort()
