"""The upstream's side of the protocol pair: connections to one origin, and those of them that are idle.

Guarantees: a request is sent once, whatever happens to it; a connection carries the next request only if the last answer was complete,
nothing followed it, and the request before it was sent to its end; bytes or an end on an idle connection kill it.
"""

import asyncio
import select
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable
from time import monotonic
from typing import Final, cast

from scaler.proxy import tls
from scaler.proxy.bodies import Body, Unsized, body_of
from scaler.proxy.heads import ResponseHead
from scaler.proxy.http1 import STATUS_LINE, HeadReader
from scaler.proxy.origin import Origin, system_trust

MAX_INTERIM: Final = 8
"""Most 1xx answers before the final one."""
ATTENDED_SECONDS: Final = 0.01
"""A connection that was busy so lately has been listened to since; to ask the system once more costs a thirtieth of a request."""
JOINED_BYTES: Final = 32 * 1024
"""A body up to this size is copied behind its head, which costs less than to write two pieces."""


class Receiver(ABC):
    """Who waits for an answer."""

    @abstractmethod
    def received(self, head: ResponseHead | None, body: bytes, *, complete: bool) -> None:
        """The head, once; bytes of the body; and whether that was all."""

    @abstractmethod
    def broken(self, why: str, *, silent: bool) -> None:
        """The answer will never be complete; ``silent``: the connection ended before a byte of it came. Nothing follows."""


class UpstreamConnection(asyncio.Protocol):
    """One connection; carries one request at a time."""

    def __init__(self, pool: "Pool", max_head_bytes: int) -> None:
        """Made by `Pool`."""
        self._pool = pool
        self._max_head_bytes = max_head_bytes
        self._heads = HeadReader(STATUS_LINE, max_head_bytes)
        self.transport: asyncio.Transport
        self.write: Callable[[bytes | bytearray], None]
        """Takes bytes of a request."""
        self._readable = select.poll()
        self._receiver: Receiver | None = None
        self._body: Body | None = None  # known once the final head is
        self._reusable = False
        self._interim = 0
        self.idle_since = 0.0

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self.transport = cast("asyncio.Transport", transport)
        self.write = self.transport.write
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._readable.register(connection.fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Read, then hand on what came in one piece; a complete answer frees the connection first."""
        receiver, head, body = self._receiver, None, self._body
        if receiver is None:
            self.abort()  # nobody asked
            return
        if body is None:
            try:
                head, data = self._read_head(data)
            except ValueError as error:
                self._break(receiver, f"its head cannot be trusted: {error}")
                return
            if head is None:
                return
            self._reusable = head.reusable
            if head.framing == "length" and head.length == len(data):
                self._release(clean=True)
                receiver.received(head, data, complete=True)
                return
            self._body = body = body_of(head.framing, head.length, self._max_head_bytes)
        piece = body.feed(data) if data else b""
        if body.complete:
            self._release(clean=not body.excess)
            receiver.received(head, piece, complete=True)
            return
        if head is not None or piece:
            receiver.received(head, piece, complete=False)
        if body.fault and self._receiver is receiver:
            self._break(receiver, str(body.fault))

    def eof_received(self) -> None:
        """The upstream will say no more."""
        self._ended(clean=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone, one way or another."""
        self._pool.forget(self)
        self._ended(clean=exc is None)

    # for an exchange

    def send(self, receiver: Receiver, head: bytes, body: bytes | bytearray) -> None:
        """Send a request; its answer goes to ``receiver``, also when the connection turns out to be gone."""
        self._receiver = receiver
        self._body = None
        self._interim = 0
        if self.transport.is_closing():
            self._ended(clean=False)
        elif len(body) <= JOINED_BYTES:
            self.write(head + body)
        else:
            self.write(head)
            self.write(body)

    def abort(self) -> None:
        """Cut the connection; the receiver hears nothing more."""
        self._receiver = None
        self.transport.abort()

    def is_stale(self) -> bool:
        """Whether the upstream has closed or said something while idle, even if the loop has not heard of it yet."""
        return self.transport.is_closing() or (monotonic() - self.idle_since > ATTENDED_SECONDS and bool(self._readable.poll(0)))

    # inside

    def _read_head(self, data: bytes) -> tuple[ResponseHead | None, bytes]:
        """The final head, and what follows; raises ValueError. Interim answers are passed over."""
        while found := self._heads.feed(data):
            raw, data = found
            head = ResponseHead(raw)
            if head.status >= 200:  # noqa: PLR2004 (a final one)
                return head, data
            self._interim += 1
            if self._interim > MAX_INTERIM or head.status == 101:  # noqa: PLR2004 (a tunnel that nobody asked for)
                raise ValueError(f"status {head.status}")
        return None, b""

    def _release(self, *, clean: bool) -> None:
        """The answer is complete; ``clean``: nothing followed it."""
        self._receiver = None
        if clean and self._reusable and not self.transport.get_write_buffer_size():
            self._pool.put(self)
        else:
            self.transport.abort()

    def _break(self, receiver: Receiver, why: str, *, silent: bool = False) -> None:
        self.abort()
        receiver.broken(why, silent=silent)

    def _ended(self, *, clean: bool) -> None:
        receiver = self._receiver
        if receiver is None:
            return
        if clean and isinstance(self._body, Unsized):
            self._release(clean=False)
            receiver.received(None, b"", complete=True)
        else:
            silent = self._body is None and self._interim == 0 and not self._heads.seen
            self._break(receiver, "it closed the connection before its answer was complete", silent=silent)


class Pool:
    """Connections to one origin. None is made in advance; the one used last is used next, the others go when idle too long."""

    def __init__(self, origin: Origin, *, idle_seconds: float, max_head_bytes: int, ssl_context: ssl.SSLContext | None = None) -> None:
        """``ssl_context``: for https; default: the system's authorities, host names checked, TLS 1.2 or later."""
        self._origin = origin
        self._idle_seconds = idle_seconds
        self._max_head_bytes = max_head_bytes
        self._ssl = (ssl_context or system_trust()) if origin.tls else None
        self._idle: dict[UpstreamConnection, None] = {}

    def take(self) -> UpstreamConnection | None:
        """An idle connection that still stands; dead ones found on the way are dropped."""
        while self._idle:
            connection = self._idle.popitem()[0]
            if not connection.is_stale():
                return connection
            connection.abort()
        return None

    async def connect(self) -> UpstreamConnection:
        """A new connection, verified where it is TLS. Raises OSError (ssl.SSLError is one)."""
        connection, origin = UpstreamConnection(self, self._max_head_bytes), self._origin
        if self._ssl is None:
            await asyncio.get_running_loop().create_connection(lambda: connection, origin.host, origin.port)
        else:
            connection.write = await tls.connect(connection, self._ssl, origin.host, origin.port)
        return connection

    def put(self, connection: UpstreamConnection) -> None:
        """Keep for the next request."""
        connection.idle_since = monotonic()
        self._idle[connection] = None

    def forget(self, connection: UpstreamConnection) -> None:
        """It is gone."""
        self._idle.pop(connection, None)

    def expire(self, now: float) -> None:
        """Close what was idle too long; the oldest come first."""
        for connection in list(self._idle):
            if now - connection.idle_since < self._idle_seconds:
                break
            self._idle.pop(connection)
            connection.abort()

    def close(self) -> None:
        """Close what is idle."""
        self.expire(float("inf"))
