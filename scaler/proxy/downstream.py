"""The client's side of the protocol pair: one connection, its requests one after another.

Guarantees: a request is passed on only when it is complete and passed every check; its answer goes out before the next one is begun;
every wait has a deadline; a client that closes, even only its sending half, takes its request upstream with it at once.
"""

import asyncio
import socket
import struct
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from time import monotonic
from typing import cast

from scaler.proxy.bodies import Body, Chunked, Sized
from scaler.proxy.errand import Errand, Kind
from scaler.proxy.errors import Refusal
from scaler.proxy.exchange import Exchange, RetryBudget
from scaler.proxy.gates import Gates
from scaler.proxy.http1 import CONTINUE, REQUEST_LINE, HeadReader, RequestHead, TooLargeError, json_answer, request_head
from scaler.proxy.keys import Account, KeyRing
from scaler.proxy.meter import InFlight, Meter
from scaler.proxy.model_field import Body as Whole
from scaler.proxy.model_field import asked, rewrite
from scaler.proxy.routes import Objective, Route, RouteTable
from scaler.proxy.upstream import Pool
from scaler.proxy.waiting import Waiting
from scaler.proxy_settings import ProxySettings

OPERATIONS = {b"/v1/" + name: "/" + name.decode() for name in (b"chat/completions", b"completions", b"embeddings")}
"""What is passed on: the client's path, and the path under the upstream's base."""
MODELS = b"/v1/models"

MAX_PIPELINED = 64
"""Most requests that may wait on one connection for the answer to an earlier one."""
LINGER_SECONDS = 2.0
"""After a refusal that ends a connection, what still comes is read this long, so that a reset does not overtake the answer."""
WRITE_BUFFER_BYTES = 64 * 1024
"""Bytes that may wait for a client before its upstream is paused."""


LIMIT_OF = {"head_too_large": "head", "body_too_large": "body", "url_too_long": "url"}
"""Refusals that say that a limit was hit, and which."""


class Phase(StrEnum):
    """What a connection waits for; the value names the limit that is hit when it waits too long."""

    __hash__ = str.__hash__  # the enumeration's own is slow

    HEAD = "header_timeout"
    BODY = "body_timeout"
    IDLE = "keepalive"
    ANSWER = "response_timeout"
    CLOSING = "closing"


HEAD, BODY, IDLE, ANSWER, CLOSING = Phase
"""The same, by names that are found ten times as fast as members of an enumeration."""


@dataclass(slots=True)
class Request:
    """A request, complete unless it is being read."""

    head: RequestHead
    body: bytes | bytearray
    account: Account | None  # whose it is, where clients need keys


@dataclass(frozen=True, slots=True)
class Limits:
    """Settings that every request asks for; the whole of them answers more slowly."""

    url: int
    body: int
    buffered: int
    silence: float


@dataclass(slots=True, eq=False)
class Context:
    """What all connections of a proxy share.

    request_starts:   by the client's path, the beginning of the head that goes upstream
    models:           the answer to ``GET /v1/models``
    keys:             who may ask; None = anyone
    buffered:         bytes of bodies that are being read or wait to go upstream, of all connections
    addresses:        connections by client address
    retries:          by route, what it may send once more
    empty:            set while draining, once the last connection is gone
    """

    settings: ProxySettings
    pool: Pool
    meter: Meter
    gates: Gates
    request_starts: Mapping[bytes, bytes]
    routes: RouteTable = field(default_factory=RouteTable)
    models: bytes = b""
    keys: KeyRing | None = None
    buffered: int = 0
    addresses: Counter[str] = field(default_factory=Counter[str])
    retries: defaultdict[str, RetryBudget] = field(default_factory=lambda: defaultdict(RetryBudget))
    limits_hit: Counter[str] = field(default_factory=Counter[str])
    connections: set["ClientConnection"] = field(default_factory=set["ClientConnection"])
    draining: bool = False
    empty: asyncio.Event = field(default_factory=asyncio.Event)
    seconds: Mapping[Phase, float] = field(init=False)
    limits: "Limits" = field(init=False)

    def __post_init__(self) -> None:
        """Look the deadlines up once."""
        settings = self.settings
        self.limits = Limits(
            settings.max_url_bytes, settings.max_body_bytes, settings.max_buffered_bytes, settings.response_timeout_seconds
        )
        self.seconds = {
            HEAD: settings.header_timeout_seconds,
            BODY: settings.body_timeout_seconds,
            IDLE: settings.keepalive_seconds,
            ANSWER: settings.connect_timeout_seconds,  # what an answer waits for first
            CLOSING: settings.response_timeout_seconds,
        }


class ClientConnection(asyncio.Protocol):
    """One client."""

    def __init__(self, context: Context) -> None:
        """Made by the listener."""
        self._context = context
        self._settings = context.settings
        self._transport: asyncio.Transport
        self.write: Callable[[bytes], None]
        self._deaf = False  # nothing more is read as a request
        self._reading = IDLE  # where the reader stands: IDLE, HEAD or BODY
        self._heads = HeadReader(REQUEST_LINE, context.settings.max_head_bytes)
        self._bodiless = False  # a refused request was HEAD
        self._request: Request | None = None  # being read
        self._body: Body = Sized(0)  # of it
        self._queue: deque[Request | Refusal] = deque()
        self._current: RequestHead | None = None  # being answered
        self._exchange: Exchange | Waiting | None = None
        self._guest: Account | None = None  # of the request that is being answered
        self._address = ""  # until it counts among the connections
        self._buffered = 0  # its part of what all connections hold
        self._sending = 0  # bytes of the body that is being answered
        self._phase = HEAD
        self.writing_paused = False
        self.deadline = monotonic() + context.settings.header_timeout_seconds
        """Monotonic second at which `expire` is due."""

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accepted, or one too many."""
        self._transport = cast("asyncio.Transport", transport)
        self.write = self._transport.write
        limit = self._limit_hit(address := _address(self._transport))
        if limit:
            self._context.limits_hit[limit] += 1
            self._deaf = True
            self._transport.abort()
            return
        self._address = address
        self._context.addresses[address] += 1
        self._context.connections.add(self)
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, WRITE_BUFFER_BYTES)  # the kernel would take megabytes
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)

    def data_received(self, data: bytes) -> None:
        """Read, then answer what is complete."""
        if self._deaf:
            return
        try:
            while data and not self._deaf:
                data = self._read_head(data) if self._request is None else self._read_body(self._request, data)
        except Refusal as refusal:
            self._turn_away(refusal)
        if self._queue or self._current is None or self._reading is not IDLE:
            self._next()

    def eof_received(self) -> None:
        """The client will say no more. Most that do this are gone, and an answer nobody reads costs money: it counts as gone."""
        self._deaf = True
        self._abandon()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Gone."""
        self._deaf = True
        self._phase = CLOSING
        self._queue.clear()
        self._abandon()
        self._request = None
        self._recount()
        context = self._context
        context.connections.discard(self)
        self._leave_address()
        if context.draining and not context.connections:
            context.empty.set()

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

    # for the exchange

    @property
    def keeps_alive(self) -> bool:
        """Whether the connection may stay open after this answer."""
        return self._current is not None and self._current.keep_alive and not self._context.draining

    def sent(self) -> None:
        """The request no longer waits."""
        self._recount()

    def done(self, *, keep_alive: bool) -> None:
        """The answer is complete."""
        self._exchange = self._current = None
        if self._buffered:
            self._recount()
        if not keep_alive or self._context.draining:
            self._close()
        elif self._queue or self.writing_paused:
            self._next()
        else:
            self._wait(self._reading)

    def refuse(self, refusal: Refusal) -> None:
        """Answer with an error of our own; the request was read to its end, so the connection is sound."""
        self._exchange = None
        self._recount()
        self._say(refusal.status, refusal.lines(), refusal.body())
        self._next()

    def cut(self, *, framed: bool) -> None:
        """Break off. An answer with a frame ends short of it; any other needs a reset to be seen as broken."""
        self._exchange = None
        if framed:
            self._close()
            return
        connection: socket.socket = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    # for an errand

    def enter(self, key: str, objective: Objective) -> InFlight:
        """The request is in flight from now on, under this key of the meter. Raises `Refusal` where its client has no seat left."""
        if self._guest is not None:
            self._guest.enter()
        return self._context.meter.route(key).enter(objective, self._guest)

    def hold(self, waiting: Waiting) -> None:
        """The client's next events are meant for it."""
        self._exchange = waiting
        self._sending = waiting.size

    def exchange(self, record: InFlight, kind: type[Kind], route: Route) -> Kind:
        """An exchange of this kind for the current request, not yet begun."""
        http11 = self._current is not None and self._current.http11
        retries = self._context.retries[route.key] if route.retry_stale else None
        context = self._context
        return kind(self, context.pool, record, http11, context.limits.silence, retries)

    def send(self, exchange: Exchange, lines: bytes, body: Whole) -> None:
        """Begin it, with these header lines of the request."""
        assert self._current is not None  # noqa: S101 (who sends has one)
        self._exchange = exchange
        self._sending = length = len(body)
        self._phase = ANSWER
        start = b"%b%bContent-Length: %d\r\n\r\n" % (self._context.request_starts[self._current.path], lines, length)
        if not exchange.start(start, body):
            self._wait(ANSWER)

    # for the proxy

    def expire(self) -> None:
        """The deadline has passed."""
        limits = self._context.limits_hit
        match self._phase:
            case Phase.IDLE:
                self._close()
            case Phase.HEAD if self._reading is Phase.IDLE:  # connected, and never said a word
                limits[Phase.HEAD.value] += 1
                self._close()
            case Phase.HEAD | Phase.BODY as phase:
                limits[phase.value] += 1
                self._dismiss(Refusal("request_timeout", "The request did not come in time."))
            case Phase.ANSWER if self._exchange is not None and not self.writing_paused:
                limits[self._exchange.expire()] += 1
            case Phase.ANSWER:
                limits["write_timeout"] += 1
                self.abort()
            case Phase.CLOSING:
                self.abort()

    def drain(self) -> None:
        """Close if idle; what is being read or answered is finished first."""
        if self._current is None and self._reading is IDLE and not self.writing_paused:
            self._close()
        elif isinstance(self._exchange, Waiting):
            self._exchange.drain()

    def abort(self) -> None:
        """Cut both sides."""
        self._abandon()
        self._transport.abort()

    # reading

    def _read_head(self, data: bytes) -> bytes:
        """A request's head, and its body if that came along; returns what follows."""
        try:
            found = self._heads.feed(data)
        except TooLargeError as error:
            raise Refusal("head_too_large", f"The request's head has more than {self._settings.max_head_bytes} bytes.") from error
        except ValueError as fault:
            raise Refusal("invalid_request", f"The request is not HTTP/1.1: {fault}.") from fault
        if found is None:
            self._reading = HEAD if self._heads.begun else IDLE
            self._check_url(self._heads.second_word)
            return b""
        raw, rest = found
        try:
            head, length = request_head(raw)
            account = self._admit(head, length)
        except Refusal:
            self._bodiless = raw.startswith(b"HEAD ")
            raise
        if len(rest) >= length and not head.chunked:
            self._context.buffered += length
            self._buffered += length
            if len(rest) == length and self._current is None and not self._queue and not self.writing_paused:  # as it is mostly
                self._reading = IDLE
                self._deaf = not head.keep_alive
                self._answer(head, rest, account)
                return b""
            self._completed(Request(head, rest[:length], account))
            return rest[length:]
        self._reading = BODY
        self._body = Chunked(self._settings.max_head_bytes) if head.chunked else Sized(length)
        self._request = Request(head, bytearray(), account)
        if head.expects_continue and self._current is None and not self._queue:
            self.write(CONTINUE)
        return rest

    def _read_body(self, request: Request, data: bytes) -> bytes:
        """More of the body of the request that is being read; returns what follows it."""
        body = self._body
        piece = body.feed(data)
        self._check_length(len(request.body) + len(piece))
        self._check_room(len(piece))
        self._count(len(piece))
        request.body += piece
        if body.fault:
            code = "head_too_large" if isinstance(body, Chunked) and body.too_large else "invalid_request"
            raise Refusal(code, f"The request's body cannot be read: {body.fault}.")
        if not body.complete:
            return b""
        self._request = None
        self._completed(request)
        return body.excess

    def _completed(self, request: Request) -> None:
        """A request is whole."""
        self._reading = IDLE
        if len(self._queue) >= MAX_PIPELINED:
            self._context.limits_hit["pipeline"] += 1
            raise Refusal("invalid_request", f"More than {MAX_PIPELINED} requests were sent ahead of their answers.")
        self._queue.append(request)
        self._deaf = not request.head.keep_alive

    def _admit(self, head: RequestHead, length: int) -> Account | None:
        """Whose request this is; raises `Refusal` where its head alone forbids it."""
        context = self._context
        limits = context.limits
        if len(head.target) > limits.url:
            self._check_url(head.target)
        account = self._account(head) if context.keys is not None else None
        if head.method != b"POST" or head.path not in OPERATIONS:
            _check_operation(head)
        if length > limits.body or context.buffered + length > limits.buffered:
            self._check_length(length)
            self._check_room(length)
        return account

    def _check_url(self, target: bytes) -> None:
        limit = self._settings.max_url_bytes
        if len(target) > limit:
            raise Refusal("url_too_long", f"The request's target has more than {limit} bytes.")

    def _check_length(self, length: int) -> None:
        limit = self._settings.max_body_bytes
        if length > limit:
            raise Refusal("body_too_large", f"The request's body has more than {limit} bytes.")

    def _saturated(self, route: Route) -> Refusal:
        """The endpoint has as many requests in flight as it may."""
        self._context.limits_hit["endpoint_in_flight"] += 1
        return Refusal("endpoint_saturated", f"{route.key} has {route.max_in_flight} requests in flight.", retry_after=1)

    def _check_room(self, length: int) -> None:
        """Whether all connections together may hold so much more."""
        if self._context.buffered + length > self._settings.max_buffered_bytes:
            self._context.limits_hit["buffered"] += 1
            raise Refusal("overloaded", "Too much is being sent at this moment.", retry_after=1)

    def _account(self, head: RequestHead) -> Account | None:
        """Whose request this is, where clients need keys."""
        if self._context.keys is None:
            return None
        try:
            return self._context.keys.find(head.authorization)
        except Refusal:
            self._context.limits_hit["unauthorized"] += 1
            raise

    def _limit_hit(self, address: str) -> str:
        """The limit that forbids one more connection, if any."""
        context = self._context
        if len(context.connections) >= self._settings.max_connections:
            return "connections"
        return "connections_per_address" if context.addresses[address] >= self._settings.max_connections_per_address else ""

    def _leave_address(self) -> None:
        addresses, address = self._context.addresses, self._address
        if address:
            addresses[address] -= 1
            if not addresses[address]:
                del addresses[address]

    def _count(self, length: int) -> None:
        """So many bytes of bodies are held more, or less."""
        self._context.buffered += length
        self._buffered += length

    def _recount(self) -> None:
        """Some bodies may be gone; those that still come, wait, or are on their way upstream are held."""
        if not self._buffered:
            return
        if self._exchange is None and self._request is None and not self._queue:
            self._context.buffered -= self._buffered
            self._buffered = 0
            return
        held = self._sending if self._exchange is not None and self._exchange.holds_body else 0
        if self._request is not None:
            held += len(self._request.body)
        for request in self._queue:
            held += len(request.body) if isinstance(request, Request) else 0
        self._count(held - self._buffered)

    def _turn_away(self, refusal: Refusal) -> None:
        """Read no more requests; the refusal is the last answer, after those that are still due."""
        if refusal.code in LIMIT_OF:
            self._context.limits_hit[LIMIT_OF[refusal.code]] += 1
        self._deaf = True
        self._request = None
        self._recount()
        self._queue.append(refusal)

    # answering

    def _next(self) -> None:
        """Answer what is complete, one at a time; set the deadline of what is awaited.

        Reading goes on while requests wait: only so can a client's end be seen. `MAX_PIPELINED` and ``max_buffered_bytes`` bound it.
        """
        while self._queue and self._current is None and not self.writing_paused:
            request = self._queue.popleft()
            if isinstance(request, Refusal):
                self._dismiss(request)
            else:
                self._answer(request.head, request.body, request.account)
        if self._phase is CLOSING:
            return
        phase = self._reading if self._current is None and not self.writing_paused else ANSWER
        if phase is not self._phase:
            self._wait(phase)

    def _answer(self, head: RequestHead, body: Whole, account: Account | None) -> None:
        """Answer from here, or begin an exchange."""
        context = self._context
        self._current = head
        self._phase = ANSWER
        if head.path == MODELS:
            context.meter.other.answered(200)
            self._say(200, b"", context.models)
            self._recount()
            return
        meter = context.meter.other
        length = len(body)
        try:
            self._guest = account
            if account is not None:
                account.spend()
            name = asked(body)
            route = context.routes.by_name.get(name) or context.gates.choose(context.routes, name)
            if route is None:
                raise _nowhere(name)
            body = rewrite(body, name, route.model)
            gate = context.gates.by_key[route.key]
            meter = gate.meter
            if meter.in_flight >= route.max_in_flight:
                raise self._saturated(route)
            if head.wake or not gate.open:
                Errand(self, head, body, route, gates=context.gates, routes=context.routes).run()
            else:
                if account is not None:
                    account.enter()
                record = meter.enter(route.objective, account)
                retries = context.retries[route.key] if route.retry_stale else None
                self.send(Exchange(self, context.pool, record, head.http11, context.limits.silence, retries), head.lines, body)
        except Refusal as refusal:
            meter.answered(refusal.status)
            self._say(refusal.status, refusal.lines(), refusal.body())
        if self._exchange is None or self._sending != length:
            self._recount()

    def _say(self, status: int, lines: bytes, body: bytes) -> None:
        """A whole answer of our own."""
        head, keep_alive = self._current, self.keeps_alive
        with_body = head is None or head.method != b"HEAD"
        self.write(json_answer(status, lines, body, keep_alive=keep_alive, with_body=with_body))
        self._current = None
        if not keep_alive:
            self._close()

    def _dismiss(self, refusal: Refusal) -> None:
        """The last answer of this connection, to a request that may still be coming in."""
        self._deaf = True
        self._queue.clear()
        self._context.meter.other.answered(refusal.status)
        self.write(json_answer(refusal.status, refusal.lines(), refusal.body(), keep_alive=False, with_body=not self._bodiless))
        self._transport.write_eof()
        self._wait(CLOSING)
        self.deadline = monotonic() + LINGER_SECONDS

    def _wait(self, phase: Phase) -> None:
        self._phase = phase
        self.deadline = monotonic() + self._context.seconds[phase]

    def _close(self) -> None:
        """Close once everything is written."""
        self._deaf = True
        self._queue.clear()
        self._wait(CLOSING)
        self._transport.close()

    def _abandon(self) -> None:
        """Take the request upstream back."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abort()


def _address(transport: asyncio.Transport) -> str:
    """Whose connection this is, for counting: an IPv4 address, or the network of an IPv6 one, which a single host may fill."""
    peer: tuple[str, int] | tuple[str, int, int, int] | None = transport.get_extra_info("peername")
    host = peer[0] if peer else "unknown"  # already gone
    return ":".join(ip_address(host.partition("%")[0]).exploded.split(":")[:4]) if ":" in host else host


def _check_operation(head: RequestHead) -> None:
    """Whether there is such a path and method; raises `Refusal`."""
    methods = ("POST",) if head.path in OPERATIONS else ("GET", "HEAD") if head.path == MODELS else ()
    method = head.method.decode()
    if not methods:
        raise Refusal("unknown_url", f"Unknown request URL: {method} {head.path[:200].decode(errors='replace')}.")
    if method not in methods:
        raise Refusal("method_not_allowed", f"Not allowed here: {method}.", allow=", ".join(methods))


def _nowhere(name: str) -> Refusal:
    return Refusal("model_not_found", f"There is no model {name[:200]!r} here.", param="model")
