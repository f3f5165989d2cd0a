"""One routed request on its way: it waits for a connection, is sent once, and its answer passes as it comes.

A request costs money as soon as the upstream has it, so it is not sent again, whatever happens. The one exception is a route's own choice
(``retry_stale``): the connection was a kept one and ended without a byte of an answer. Most likely its idle time was over just then
and nobody saw the request; that is not certain, and so the choice is off unless asked for, and has a budget.
"""

import asyncio
from typing import TYPE_CHECKING, Final

from scaler.proxy.budget import RetryBudget
from scaler.proxy.errors import Refusal
from scaler.proxy.heads import ResponseHead
from scaler.proxy.http1 import LAST_CHUNK, Framing, chunk, head_out
from scaler.proxy.meter import InFlight
from scaler.proxy.model_field import Body
from scaler.proxy.upstream import Receiver, UpstreamConnection

if TYPE_CHECKING:
    from scaler.proxy.downstream import ClientConnection

_OUTCOMES: Final = {2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}


class Exchange(Receiver):
    """Joins one client to one upstream connection for one request."""

    def __init__(self, client: "ClientConnection", record: InFlight, retries: RetryBudget | None, http11: bool) -> None:  # noqa: FBT001 (speed)
        """``retries``: of a route that has chosen them; ``http11``: the client understands chunks."""
        self._client = client
        self._record = record
        self._http11 = http11
        self._connecting: asyncio.Task[None] | None = None
        self._upstream: UpstreamConnection | None = None
        self._framing: Framing | None = None  # towards the client, once the answer has begun
        self._keep_alive = False
        self._outcome = "failed"
        self._size = 0  # of the request's body
        self._retries = retries
        self._again: tuple[bytes, Body] | None = None  # what would be sent once more
        self.marks = b""
        """Header lines of our own, added to the answer's."""

    @property
    def held(self) -> int:
        """Bytes of the request's body that still wait here for the upstream, at most."""
        waits = self._connecting is not None or (self._upstream is not None and self._upstream.transport.get_write_buffer_size() > 0)
        return self._size if waits else 0

    def start(self, head: bytes, body: Body) -> None:
        """Send on an idle connection, or connect first."""
        self._size = len(body)
        upstream = self._client.context.pool.take()
        if self._retries is not None:
            self._retries.earn()
            self._again = (head, body) if upstream is not None else None
        if upstream is None:
            self._client.wait("connect")
            self._connecting = asyncio.get_running_loop().create_task(self._connect(head, body))
        else:
            self._send(upstream, head, body)

    # from the client's side

    def pause(self) -> None:
        """The client reads too slowly."""
        if self._upstream is not None:
            self._upstream.transport.pause_reading()

    def resume(self) -> None:
        """The client has caught up; the silence counts from now."""
        if self._upstream is not None:
            self._client.wait("response")
            self._upstream.transport.resume_reading()

    def abort(self) -> None:
        """The client is gone."""
        self._drop()
        self._record.finish("aborted")

    def expire(self) -> None:
        """Nothing happened for too long."""
        code = "response_timeout" if self._connecting is None else "connect_timeout"
        self._drop()
        self._fail(Refusal(code, "The upstream did not answer in time."))

    # from the upstream's side

    def received(self, head: ResponseHead | None, body: bytes, *, complete: bool) -> None:
        """Pass on, in one write."""
        out = self._begin(head) if head is not None else b""
        chunked = self._framing == "chunked"
        if body:
            self._record.body(body)
            out = chunk(body, out) if chunked else out + body if out else body
        if not complete:
            self._client.wait("response")
            self._client.write(out)
            return
        self._upstream = None
        self._record.finish(self._outcome)
        self._client.write(out + LAST_CHUNK if chunked else out)
        self._client.done(keep_alive=self._keep_alive)

    def broken(self, why: str, *, silent: bool) -> None:
        """The upstream's answer will never be complete."""
        self._upstream = None
        again, self._again = self._again, None
        if silent and again is not None and self._retries is not None and self._retries.spend():
            self._record.retried()
            self._client.wait("connect")
            self._connecting = asyncio.get_running_loop().create_task(self._connect(*again))
            return
        self._fail(Refusal("upstream_broken", f"The upstream's answer is broken: {why}."))

    # inside

    async def _connect(self, head: bytes, body: Body) -> None:
        try:
            upstream = await self._client.context.pool.connect()
        except (OSError, ValueError) as error:  # ValueError: a name that cannot be a host's
            self._connecting = None
            self._fail(Refusal("upstream_unreachable", f"The upstream cannot be reached: {type(error).__name__}."))
        else:
            self._connecting = None
            self._send(upstream, head, body)
            self._client.recount()

    def _send(self, upstream: UpstreamConnection, head: bytes, body: Body) -> None:
        self._upstream = upstream
        self._client.wait("response")
        self._record.sent()
        upstream.send(self, head, body)

    def _begin(self, head: ResponseHead) -> bytes:
        """The head for the client. An answer of unknown length ends with the connection where the client knows no chunks."""
        self._again = None
        self._outcome = _OUTCOMES[head.status // 100]
        self._record.head(head.status, streamed=head.streamed, readable=head.readable)
        unsized: Framing = "chunked" if self._http11 else "eof"
        self._framing = framing = unsized if head.framing in ("chunked", "eof") else head.framing
        self._keep_alive = framing != "eof" and self._client.keeps_alive
        return head_out(head.status, head.lines + self.marks, framing, head.length, keep_alive=self._keep_alive)

    def _drop(self) -> None:
        """Let go of the upstream's side at once."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._upstream is not None:
            self._upstream.abort()
        self._connecting = self._upstream = None

    def _fail(self, refusal: Refusal) -> None:
        """An error while nothing was said yet; a visible break afterwards."""
        if self._framing is None:
            self._record.fail(refusal.code.removeprefix("upstream_"))
            self._client.refuse(refusal)
        else:
            self._record.fail("stalled" if refusal.code == "response_timeout" else "truncated")
            self._client.cut(framed=self._framing != "eof")
