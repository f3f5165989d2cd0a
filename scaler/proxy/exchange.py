"""One routed request on its way: it waits for a connection, is sent once, and its answer passes as it comes.

A request costs money as soon as the upstream has it, so it is not sent again, whatever happens. The one exception is a route's own choice
(``retry_stale``): the connection was a kept one and ended without a byte of an answer. Most likely its idle time was over just then
and nobody saw the request; that is not certain, and so the choice is off unless asked for, and has a budget.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from scaler.proxy.errors import Refusal
from scaler.proxy.http1 import CHUNKED, EOF, LAST_CHUNK, Framing, ResponseHead, head_out
from scaler.proxy.meter import InFlight
from scaler.proxy.model_field import Body
from scaler.proxy.upstream import Pool, UpstreamConnection

_OUTCOMES = {2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}


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

    def sent(self) -> None:
        """The request is on its way after it had to wait."""

    def done(self, *, keep_alive: bool) -> None:
        """The answer is complete."""

    def refuse(self, refusal: Refusal) -> None:
        """There is no answer; say why."""

    def cut(self, *, framed: bool) -> None:
        """Break the answer off, visibly. ``framed``: the client can see by the framing that bytes are missing."""


class RetryBudget:
    """Retries may be a tenth of a route's requests: each one earns a part of a retry, and a few are saved."""

    EARNED = 0.1
    SAVED = 10.0

    def __init__(self) -> None:
        """Nothing is earned yet."""
        self._balance = 0.0
        self.refused = 0
        """Retries that were not affordable."""

    def earn(self) -> None:
        """A request was sent."""
        self._balance = min(self.SAVED, self._balance + self.EARNED)

    def spend(self) -> bool:
        """Whether a retry is affordable; if so, it is paid."""
        affordable = self._balance > 1 - self.EARNED / 2  # ten tenths need not add up to one exactly
        self._balance -= affordable
        self.refused += not affordable
        return affordable


class Exchange:
    """Joins one client to one upstream connection for one request."""

    def __init__(  # noqa: PLR0917 (every request makes one of these, and names cost time)
        self,
        client: Client,
        pool: Pool,
        record: InFlight,
        http11: bool,  # noqa: FBT001
        silence_seconds: float,
        retries: RetryBudget | None = None,
    ) -> None:
        """How to carry one request.

        http11:            the client understands chunks
        silence_seconds:   how long the upstream may say nothing
        retries:           if given, a kept connection's silent end may be answered by one more try
        """
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
        self._retries = retries
        self._again: tuple[bytes, Body] | None = None  # what would be sent once more
        self.marks = b""
        """Header lines of our own, added to the answer's."""

    @property
    def holds_body(self) -> bool:
        """Whether bytes of the request still wait here for the upstream."""
        return self._connecting is not None or (self._upstream is not None and self._upstream.unsent)

    def start(self, head: bytes, body: Body) -> bool:
        """Send on an idle connection, or connect first; returns whether it is sent."""
        upstream = self._pool.take()
        if self._retries is not None:
            self._retries.earn()
            self._again = (head, body) if upstream is not None else None
        if upstream is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect(head, body))
            return False
        self._upstream = upstream
        self._client.deadline = monotonic() + self._silence_seconds
        self._record.sent()
        upstream.send(self, head, body)
        return True

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
        chunked = self._framing is CHUNKED
        if body:
            self._record.body(body)
            out = b"%b%x\r\n%b\r\n" % (out, len(body), body) if chunked else out + body if out else body
        if not complete:
            self._client.deadline = monotonic() + self._silence_seconds
            self._write(out)
            return
        self._upstream = None
        self._record.finish(self._outcome)
        self._write(out + LAST_CHUNK if chunked else out)
        self._client.done(keep_alive=self._keep_alive)

    def broken(self, why: str, *, silent: bool) -> None:
        """The upstream's answer will never be complete."""
        self._upstream = None
        again, self._again = self._again, None
        if silent and again is not None and self._retries is not None and self._retries.spend():
            self._record.retried()
            self._connecting = asyncio.get_running_loop().create_task(self._connect(*again))
            return
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
            self._client.sent()

    def _send(self, upstream: UpstreamConnection, head: bytes, body: Body) -> None:
        self._upstream = upstream
        self._client.deadline = monotonic() + self._silence_seconds
        self._record.sent()
        upstream.send(self, head, body)

    def _begin(self, head: ResponseHead) -> bytes:
        """The head for the client. An answer of unknown length ends with the connection where the client knows no chunks."""
        self._again = None
        self._outcome = _OUTCOMES[head.status // 100]
        self._record.head(head.status, streamed=head.streamed, readable=head.readable)
        framing = head.framing
        if framing is CHUNKED or framing is EOF:
            framing = CHUNKED if self._http11 else EOF
        self._framing = framing
        self._keep_alive = framing is not EOF and self._client.keeps_alive
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
            self._client.cut(framed=self._framing is not EOF)
