"""Open-loop load: each arrival of the day becomes one real HTTP request at its moment, whatever became of the others.

A lean HTTP/1.1 client, because a general one costs more than the proxy that it is to load. Times are measured from the send to the
first body byte and to the last, in seconds of the given clock.
"""

import asyncio
import json
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import httptools

from scaler.clock import Clock
from scaler.settings import host_port
from scaler.world.workload import Arrival

MAX_CONNECTIONS = 2000
ANSWER_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request.

    status:      HTTP status; 0 if the connection broke or was refused
    proxy_fault: the proxy failed: a broken connection, a truncated answer, or an error of its own making
    ttft:        seconds to the first body byte of a stream; None if it was no stream
    latency:     seconds to the end
    """

    at: float
    status: int
    proxy_fault: bool
    streamed: bool
    ttft: float | None
    latency: float

    @property
    def ok(self) -> bool:
        """A complete 200."""
        return self.status == 200 and not self.proxy_fault  # noqa: PLR2004 (HTTP's own number)


@dataclass(slots=True)
class Progress:
    """The run so far; the live view reads it."""

    planned: int
    sent: int = 0
    in_flight: int = 0
    answers: list[Answer] = field(default_factory=list[Answer])
    statuses: Counter[int] = field(default_factory=Counter[int])

    def add(self, answer: Answer) -> None:
        """Count one answer."""
        self.answers.append(answer)
        self.statuses[answer.status] += 1


class Connection(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """``monotonic`` stamps first and last byte."""
        self._monotonic = monotonic
        self._transport: asyncio.WriteTransport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._done: asyncio.Future[None] | None = None
        self.own_error = False
        self.complete = False
        self.first_byte: float | None = None
        self.alive = False
        self._status = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready."""
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's transports do not inherit from it
        self.alive = True

    async def ask(self, request: bytes) -> int:
        """Send one request, wait for the end of its answer; the status, 0 if none came."""
        self.own_error = self.complete = False
        self.first_byte = None
        self._status = 0
        parser = self._parser = httptools.HttpResponseParser(self)
        self._done = asyncio.get_running_loop().create_future()
        if self._transport is None:
            return 0
        self._transport.write(request)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
                await self._done
        except TimeoutError:
            self.close()
        if self.alive and not parser.should_keep_alive():
            self.close()
        return self._status

    def close(self) -> None:
        """No more requests on this connection."""
        self.alive = False
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; bytes nobody asked for end the connection."""
        if self._parser is None:
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's signature)
        """The answer, if one was awaited, ends here."""
        self.alive = False
        self._finish()

    def on_header(self, name: bytes, _value: bytes) -> None:
        """The proxy marks the errors that are its own."""
        if name.lower() == b"x-scaler-error":
            self.own_error = True

    def on_headers_complete(self) -> None:
        """The head is whole."""
        assert self._parser is not None  # noqa: S101 (it is the one that calls)
        self._status = int(self._parser.get_status_code())

    def on_body(self, _body: bytes) -> None:
        """The first body byte is the first token."""
        if self.first_byte is None:
            self.first_byte = self._monotonic()

    def on_message_complete(self) -> None:
        """The answer is whole."""
        self.complete = True
        self._finish()

    def _finish(self) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(None)


class Load:
    """Sends a day of arrivals to one address."""

    def __init__(self, listen: str, model: str, clock: Clock) -> None:
        """``listen`` is the proxy's HOST:PORT, ``model`` what the requests ask for."""
        self._host, self._port = host_port(listen)
        self._model = model
        self._clock = clock
        self._idle: deque[Connection] = deque()
        self._places = asyncio.Semaphore(MAX_CONNECTIONS)

    async def run(self, arrivals: Sequence[Arrival], progress: Progress, *, start: float) -> None:
        """Send each arrival ``at`` seconds after ``start`` (monotonic seconds of the clock); return when all are answered."""
        async with asyncio.TaskGroup() as group:
            for arrival in arrivals:
                due = start + arrival.at - self._clock.monotonic()
                if due > 0:
                    await self._clock.sleep(due)
                progress.sent += 1
                group.create_task(self._one(arrival, progress))
        for connection in self._idle:
            connection.close()

    async def _one(self, arrival: Arrival, progress: Progress) -> None:
        """One request from connection to answer."""
        request = self._request(arrival)
        async with self._places:
            progress.in_flight += 1
            try:
                progress.add(await self._ask(arrival, request))
            finally:
                progress.in_flight -= 1

    async def _ask(self, arrival: Arrival, request: bytes) -> Answer:
        try:
            connection = await self._connect()
        except OSError:
            return Answer(arrival.at, 0, True, arrival.streamed, None, 0.0)
        sent = self._clock.monotonic()
        status = await connection.ask(request)
        ended = self._clock.monotonic()
        if connection.alive:
            self._idle.append(connection)
        first = connection.first_byte
        return Answer(
            at=arrival.at,
            status=status,
            proxy_fault=status == 0 or connection.own_error or not connection.complete,
            streamed=arrival.streamed,
            ttft=first - sent if arrival.streamed and first is not None else None,
            latency=ended - sent,
        )

    async def _connect(self) -> Connection:
        """An idle connection, or a new one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.alive:
                return connection
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
            _, fresh = await loop.create_connection(lambda: Connection(self._clock.monotonic), self._host, self._port)
        return fresh

    def _request(self, arrival: Arrival) -> bytes:
        """A chat completion of the arrival's size."""
        chat: dict[str, object] = {
            "model": self._model,
            "messages": [{"role": "user", "content": "Please tell me about the weather in the mountains today."}],
            "max_tokens": arrival.output_tokens,
        }
        if arrival.streamed:
            chat |= {"stream": True, "stream_options": {"include_usage": True}}
        body = json.dumps(chat).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer demo-client\r\nX-World-Input-Tokens: {arrival.input_tokens}\r\n"
            f"X-World-Output-Tokens: {arrival.output_tokens}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body
