"""The client's side of the protocol pair: one connection, its requests one after another.

Guarantees: a request is passed on only when it is complete and passed every check; its answer goes out before the next one is begun;
every wait has a deadline; a client that closes, even only its sending half, takes its request upstream with it at once.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from time import monotonic
from typing import Final, cast

from scaler.proxy.context import Context, Phase, address_of
from scaler.proxy.errand import Errand
from scaler.proxy.errors import Refusal, json_answer
from scaler.proxy.exchange import Exchange
from scaler.proxy.gate import Gate
from scaler.proxy.heads import RequestHead
from scaler.proxy.http1 import CONTINUE
from scaler.proxy.model_field import asked, rewrite
from scaler.proxy.request_reader import MODELS, Request, RequestReader, refusal_of
from scaler.proxy.room import Share
from scaler.proxy.waiting import Waiting

MAX_PIPELINED: Final = 64
"""Most requests that may wait on one connection for the answer to an earlier one."""
LINGER_SECONDS = 2.0
"""After a refusal that ends a connection, what still comes is read this long, so that a reset does not overtake the answer."""
WRITE_BUFFER_BYTES: Final = 64 * 1024
"""Bytes that may wait for a client before its upstream is paused."""


class ClientConnection(asyncio.Protocol):
    """One client."""

    def __init__(self, context: Context) -> None:
        """Made by the listener."""
        self.context = context
        self.transport: asyncio.Transport
        self.write: Callable[[bytes], None]
        """Takes bytes of an answer."""
        self._share = Share(context.room)
        self._reader = RequestReader(context, self._share)
        self._deaf = False  # nothing more is read as a request
        self._queue: list[Request | Refusal] = []  # complete, and not answered yet; a refusal is the last
        self._current: RequestHead | None = None  # being answered
        self._exchange: Exchange | Waiting | None = None
        self.writing_paused = False
        self._phase: Phase = "header"
        self._deadline = 0.0  # monotonic second at which `expire` is due; 0: not reckoned yet

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accepted, or one too many."""
        self.transport = cast("asyncio.Transport", transport)
        self.write = self.transport.write
        if not self.context.welcome(self, address_of(self.transport)):
            self._deaf = True
            self.transport.abort()
            return
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, WRITE_BUFFER_BYTES)  # the kernel would take megabytes
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)

    def data_received(self, data: bytes) -> None:
        """Read, then answer what is complete."""
        try:
            while data and not self._deaf:
                request, data = self._reader.feed(data)
                if request is not None:
                    self._enqueue(request)
                elif self._reader.expectant and self._current is None and not self._queue:
                    self.write(CONTINUE)
        except (Refusal, ValueError) as fault:
            self._turn_away(refusal_of(fault))
        self._next()

    def eof_received(self) -> None:
        """The client will say no more. Most that do this are gone, and an answer nobody reads costs money: it counts as gone."""
        self._deaf = True
        self._abandon()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Gone."""
        self._close()
        self._reader.drop()
        self._abandon()
        self.recount()
        self.context.forget(self)

    def pause_writing(self) -> None:
        """The client reads too slowly: read no more for it."""
        self.writing_paused = True
        if self._exchange is not None:
            self._exchange.pause()

    def resume_writing(self) -> None:
        """The client caught up."""
        self.writing_paused = False
        if self._exchange is not None:
            self._exchange.resume()
        else:
            self._next()

    # for whoever answers

    @property
    def keeps_alive(self) -> bool:
        """Whether the connection may stay open after this answer."""
        return self._current is not None and self._current.keep_alive and not self.context.draining

    def wait(self, phase: Phase) -> None:
        """What is awaited from now on. The clock is read when deadlines are looked at next: this is called for each piece of a stream."""
        self._phase = phase
        self._deadline = 0.0

    def hold(self, waiting: Waiting) -> None:
        """The request waits for its turn; the client's next events are meant for it."""
        self._exchange = waiting
        self.wait("hold")
        self.recount()

    def send(self, exchange: Exchange, head: RequestHead, lines: bytes, body: bytes | bytearray) -> None:
        """Begin it, with these header lines."""
        self._exchange = exchange
        exchange.start(b"%b%bContent-Length: %d\r\n\r\n" % (self.context.request_starts[head.path], lines, len(body)), body)
        self.recount()

    def recount(self) -> None:
        """Some bodies may be gone; those that still come, wait, or are on their way upstream are held."""
        held = self._reader.held + (self._exchange.held if self._exchange is not None else 0)
        for request in self._queue:
            held += len(request.body) if isinstance(request, Request) else 0
        self._share.keep(held)

    def done(self, *, keep_alive: bool) -> None:
        """The answer is complete."""
        self._end(keep_alive=keep_alive)
        self._next()

    def refuse(self, refusal: Refusal) -> None:
        """Answer with an error of our own; the request was read to its end, so the connection is sound."""
        self._say(refusal.status, refusal.lines(), refusal.body())
        self._next()

    def cut(self, *, framed: bool) -> None:
        """Break off. An answer with a frame ends short of it; any other needs a reset to be seen as broken."""
        self._exchange = None
        if framed:
            self._close()
            return
        connection: socket.socket = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    # for the proxy

    def is_due(self, now: float) -> bool:
        """Whether what is awaited has taken too long, at this monotonic second."""
        self._deadline = self._deadline or now + self.context.seconds[self._phase]
        return self._deadline <= now

    def expire(self) -> None:
        """The deadline has passed."""
        phase: Phase = "write" if self.writing_paused and self._exchange is not None else self._phase
        if phase not in ("idle", "closing"):
            self.context.limits_hit[f"{phase}_timeout"] += 1
        if phase in ("connect", "response") and self._exchange is not None:
            self._exchange.expire()
        elif phase in ("idle", "header") and self._reader.phase == "idle":  # nothing was said
            self._close()
        elif phase in ("header", "body"):
            self._dismiss(Refusal("request_timeout", "The request did not come in time."))
        else:
            self.abort()

    def drain(self) -> None:
        """Close if idle; what is being read or answered is finished first."""
        if isinstance(self._exchange, Waiting):
            self._exchange.drain()
        elif self._current is None and self._reader.phase == "idle" and not self.writing_paused:
            self._close()

    def abort(self) -> None:
        """Cut both sides."""
        self._abandon()
        self.transport.abort()

    # inside

    def _enqueue(self, request: Request) -> None:
        """Reading goes on while requests wait: only so can a client's end be seen. Their number and ``max_buffered_bytes`` bound it."""
        if len(self._queue) >= MAX_PIPELINED:
            self.context.limits_hit["pipeline"] += 1
            raise Refusal("invalid_request", f"More than {MAX_PIPELINED} requests were sent ahead of their answers.")
        self._queue.append(request)
        self._deaf = not request.head.keep_alive

    def _turn_away(self, refusal: Refusal) -> None:
        """Read no more; the refusal is the last answer, after those that are still due."""
        self.context.note(refusal)
        self._deaf = True
        self._reader.drop()
        self.recount()
        self._queue.append(refusal)

    def _next(self) -> None:
        """Answer what is complete, one at a time; set the deadline of what is awaited."""
        while self._queue and self._current is None and not self.writing_paused:
            request = self._queue.pop(0)
            if isinstance(request, Request):
                self._answer(request)
            else:
                self._dismiss(request)
        if self._current is None and self._phase != "closing":
            phase: Phase = "write" if self.writing_paused else self._reader.phase
            if phase != self._phase:
                self.wait(phase)

    def _answer(self, request: Request) -> None:
        """Answer from here, or begin an exchange."""
        context, head = self.context, request.head
        meter = context.meter.other
        self._current, self._phase = head, "response"
        if head.path == MODELS:
            meter.answered(200)
            self._say(200, b"", context.models)
            return
        try:
            if request.account is not None:
                request.account.spend()
            name = asked(request.body)
            gate = context.gates.find(name)
            if gate is None:
                raise _nowhere(name)
            request.body = rewrite(request.body, name, gate.model)
            meter = gate.meter
            if meter.in_flight >= gate.max_in_flight:
                raise _saturated(gate)
            if head.wake or not gate.open:
                Errand(self, request, gate).run()
            else:
                record = meter.enter(gate.objective, request.account)
                self.send(Exchange(self, record, gate.retries, head.http11), head, head.lines, request.body)
        except Refusal as refusal:
            meter.answered(refusal.status)
            context.note(refusal)
            self._say(refusal.status, refusal.lines(), refusal.body())

    def _say(self, status: int, lines: bytes, body: bytes) -> None:
        """A whole answer of our own."""
        keep_alive = self.keeps_alive
        with_body = self._current is None or self._current.method != b"HEAD"
        self.write(json_answer(status, lines, body, keep_alive=keep_alive, with_body=with_body))
        self._end(keep_alive=keep_alive)

    def _end(self, *, keep_alive: bool) -> None:
        """A request has its answer."""
        self._exchange = self._current = None
        if self._share.taken:
            self.recount()
        if not keep_alive or self.context.draining:
            self._close()

    def _dismiss(self, refusal: Refusal) -> None:
        """The last answer of this connection, to a request that may still be coming in."""
        self._deaf = True
        self._queue.clear()
        self.context.meter.other.answered(refusal.status)
        self.write(json_answer(refusal.status, refusal.lines(), refusal.body(), keep_alive=False, with_body=not self._reader.bodiless))
        self.transport.write_eof()
        self.wait("closing")
        self._deadline = monotonic() + LINGER_SECONDS

    def _close(self) -> None:
        """Close once everything is written."""
        self._deaf = True
        self._queue.clear()
        self.wait("closing")
        self.transport.close()

    def _abandon(self) -> None:
        """Take the request upstream back."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abort()


def _nowhere(name: str) -> Refusal:
    return Refusal("model_not_found", f"There is no model {name[:200]!r} here.", param="model")


def _saturated(gate: Gate) -> Refusal:
    return Refusal("endpoint_saturated", f"{gate.route.key} has {gate.max_in_flight} requests in flight.", retry_after=1)
