"""One routed request on its way: it waits for a connection, is sent once, and its answer passes as it comes."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from scaler.proxy.errors import Refusal
from scaler.proxy.http1 import LAST_CHUNK, Framing, ResponseHead, head_out
from scaler.proxy.meter import InFlight
from scaler.proxy.model_field import Body
from scaler.proxy.upstream import Pool, UpstreamConnection


class Client(Protocol):
    """What an exchange asks of the client's side."""

    deadline: float
    """Monotonic second at which it will call `Exchange.expire`."""

    @property
    def keeps_alive(self) -> bool:
        """Whether the connection may stay open after this answer."""

    @property
    def write(self) -> Callable[[bytes], None]:
        """Takes bytes of the answer."""

    def done(self, *, keep_alive: bool) -> None:
        """The answer is complete."""

    def refuse(self, refusal: Refusal) -> None:
        """There is no answer; say why."""

    def cut(self, *, framed: bool) -> None:
        """Break the answer off, visibly. ``framed``: the client can see by the framing that bytes are missing."""


class Exchange:
    """Joins one client to one upstream connection for one request."""

    def __init__(self, client: Client, pool: Pool, record: InFlight, *, http11: bool, silence_seconds: float) -> None:
        """``http11``: the client understands chunks; ``silence_seconds``: how long the upstream may say nothing."""
        self._client = client
        self._write = client.write
        self._pool = pool
        self._record = record
        self._http11 = http11
        self._silence_seconds = silence_seconds
        self._connecting: asyncio.Task[None] | None = None
        self._upstream: UpstreamConnection | None = None
        self._framing: Framing | None = None  # towards the client, once the answer has begun
        self._keep_alive = False
        self._outcome = "failed"

    def start(self, head: bytes, body: Body) -> None:
        """Send on an idle connection, or connect first."""
        upstream = self._pool.take()
        if upstream is not None:
            self._send(upstream, head, body)
        else:
            self._connecting = asyncio.get_running_loop().create_task(self._connect(head, body))

    # from the client's side

    def pause(self) -> None:
        """The client reads too slowly."""
        if self._upstream is not None:
            self._upstream.pause()

    def resume(self) -> None:
        """The client has caught up; the silence counts from now."""
        if self._upstream is not None:
            self._client.deadline = monotonic() + self._silence_seconds
            self._upstream.resume()

    def abort(self) -> None:
        """The client is gone."""
        self._drop()
        self._record.finish("aborted")

    def expire(self) -> str:
        """Nothing happened for too long; returns which limit that was."""
        limit = "response_timeout" if self._connecting is None else "connect_timeout"
        self._drop()
        self._fail(Refusal(limit, "The upstream did not answer in time."))
        return limit

    # from the upstream's side

    def received(self, head: ResponseHead | None, body: bytes, *, complete: bool) -> None:
        """Pass on, in one write."""
        out = self._begin(head) if head is not None else b""
        if body:
            self._record.body(body)
            out += b"%x\r\n%b\r\n" % (len(body), body) if self._framing is Framing.CHUNKED else body
        if not complete:
            self._client.deadline = monotonic() + self._silence_seconds
            self._write(out)
            return
        self._upstream = None
        self._record.finish(self._outcome)
        self._write(out + LAST_CHUNK if self._framing is Framing.CHUNKED else out)
        self._client.done(keep_alive=self._keep_alive)

    def broken(self, why: str) -> None:
        """The upstream's answer will never be complete."""
        self._upstream = None
        self._fail(Refusal("upstream_broken", f"The upstream's answer is broken: {why}."))

    # inside

    async def _connect(self, head: bytes, body: Body) -> None:
        try:
            upstream = await self._pool.connect()
        except (OSError, ValueError) as error:  # ValueError: a name that cannot be a host's
            self._connecting = None
            self._fail(Refusal("upstream_unreachable", f"The upstream cannot be reached: {type(error).__name__}."))
        else:
            self._connecting = None
            self._send(upstream, head, body)

    def _send(self, upstream: UpstreamConnection, head: bytes, body: Body) -> None:
        self._upstream = upstream
        self._client.deadline = monotonic() + self._silence_seconds
        self._record.sent()
        upstream.send(self, head, body)

    def _begin(self, head: ResponseHead) -> bytes:
        """The head for the client. An answer of unknown length ends with the connection where the client knows no chunks."""
        self._outcome = f"{head.status // 100}xx"
        self._record.head(head.status, streamed=head.streamed, readable=head.readable)
        framing = head.framing
        if framing is Framing.CHUNKED or framing is Framing.EOF:
            framing = Framing.CHUNKED if self._http11 else Framing.EOF
        self._framing = framing
        self._keep_alive = framing is not Framing.EOF and self._client.keeps_alive
        return head_out(head.status, head.lines, framing, head.length, keep_alive=self._keep_alive)

    def _drop(self) -> None:
        """Let go of the upstream's side at once."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._upstream is not None:
            self._upstream.abort()
        self._connecting = self._upstream = None

    def _fail(self, refusal: Refusal) -> None:
        """An error while nothing was said yet; a visible break afterwards."""
        self._record.finish("failed")
        if self._framing is None:
            self._client.refuse(refusal)
        else:
            self._client.cut(framed=self._framing is not Framing.EOF)
