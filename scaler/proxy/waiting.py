"""A held request: it stands in its connection where its exchange will stand, until its turn, its deadline or its client's end.

Streamed requests may be kept alive: their answer begins at once, with comments, so that nobody on the way takes the silence for death.
Status 200 has then been said; whatever goes wrong later is told as an event with an error, and the stream breaks off visibly.
"""

import asyncio
import re
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from scaler.proxy.errors import Refusal
from scaler.proxy.exchange import Exchange
from scaler.proxy.gate import Gate
from scaler.proxy.heads import ResponseHead
from scaler.proxy.http1 import Framing, chunk, head_out
from scaler.proxy.meter import InFlight

if TYPE_CHECKING:
    from scaler.proxy.downstream import ClientConnection

STREAM_FIELDS = b"content-type: text/event-stream\r\ncache-control: no-cache\r\nx-scaler-wake: keepalive\r\n"
OK: Final = 200

_ACCEPT_ENCODING = re.compile(rb"(?im)^accept-encoding:[^\r\n]*\r\n")


class Purpose(Protocol):
    """What a request waits for."""

    def begin(self, waiting: "Waiting") -> None:
        """Its turn has come: go."""

    def divert(self, waiting: "Waiting") -> None:
        """Its turn will come too late: go elsewhere."""


class Waiting:
    """One request in the queue of its gate."""

    def __init__(self, client: "ClientConnection", purpose: Purpose, gate: Gate, record: InFlight, size: int, *, speed: float) -> None:
        """``size``: bytes of its body; ``speed``: seconds of the gate's clock per real second."""
        self.size = self.held = size
        self.record = record
        self._client = client
        self._purpose = purpose
        self._gate = gate
        self._speed = speed
        self._since = monotonic()
        self._alarm = asyncio.get_running_loop().call_later(gate.patience / speed, self.expire)  # all deadlines' sweep is too coarse

    @property
    def seconds(self) -> float:
        """How long it has waited, in seconds of the gate's clock."""
        return (monotonic() - self._since) * self._speed

    # for the gate

    def release(self) -> None:
        """Its turn has come."""
        self._end()
        self.record.held(self.seconds)
        self._purpose.begin(self)

    # from the client's side, as an exchange

    def pause(self) -> None:
        """The client reads too slowly."""

    def resume(self) -> None:
        """The client has caught up."""

    def abort(self) -> None:
        """The client is gone."""
        self._end()
        self._gate.give_up(self, "aborted")

    def expire(self) -> None:
        """It has waited too long."""
        if self._gate.spill():
            self._end()
            self._purpose.divert(self)
            self._gate.give_up(self, "aborted")  # here; it has begun anew where it goes
        else:
            code = "saturated" if self._gate.is_impatient else "hold_timeout"
            self._client.context.limits_hit["hold_timeout"] += code == "hold_timeout"
            said = f"The request was held for {self.seconds:.0f} s, but the endpoint of {self._gate.route.key} {self._gate.plight()}."
            self.turn_away(self._gate.shed(code, said))

    def drain(self) -> None:
        """Nobody can wait for a start here any longer; what waits for room has a chance."""
        if not self._gate.proven:
            self.turn_away(self._gate.shed("shutting_down", "This proxy is shutting down."))

    def turn_away(self, refusal: Refusal) -> None:
        """It will not have its turn."""
        self._end()
        self._gate.give_up(self, "5xx")
        self._tell(refusal)

    # inside

    def _end(self) -> None:
        """It waits no longer."""
        self._alarm.cancel()
        self._gate.held_for(self.seconds)

    def _tell(self, refusal: Refusal) -> None:
        self._client.refuse(refusal)


class KeptAlive(Waiting):
    """One whose answer has begun: comments, and then the upstream's events."""

    def __init__(
        self,
        client: "ClientConnection",
        purpose: Purpose,
        gate: Gate,
        record: InFlight,
        size: int,
        *,
        speed: float,
        framing: Framing,
    ) -> None:
        """As of `Waiting`. ``framing``: CHUNKED, or EOF for a client that knows no chunks."""
        super().__init__(client, purpose, gate, record, size, speed=speed)
        self.framing = framing
        self._quiet = False
        self._timer: asyncio.TimerHandle | None = None
        client.write(head_out(OK, STREAM_FIELDS, framing, 0, keep_alive=framing == "chunked" and client.keeps_alive))
        self._comment()

    def pause(self) -> None:
        """Say nothing to who does not listen."""
        self._quiet = True

    def resume(self) -> None:
        """Go on."""
        self._quiet = False

    def say(self, what: str) -> None:
        """A comment: how the endpoint is, and what becomes of the request."""
        comment = f": {self._gate.route.key} {self._gate.plight()}; {what}\n\n"
        self._client.write(framed(comment.encode(), self.framing))

    def _comment(self) -> None:
        if not self._quiet:
            self.say(f"waiting for {self.seconds:.0f} s")
        seconds = self._gate.route.wake.comment_seconds / self._speed
        self._timer = asyncio.get_running_loop().call_later(seconds, self._comment)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super()._end()

    def _tell(self, refusal: Refusal) -> None:
        break_off(self._client, refusal, self.framing)


class Continued(Exchange):
    """The exchange of a request whose answer has begun: the upstream's events follow the comments."""

    def follow(self, framing: Framing, *, keep_alive: bool) -> None:
        """The answer has begun in this framing."""
        self._framing = framing
        self._keep_alive = framing != "eof" and keep_alive

    def received(self, head: ResponseHead | None, body: bytes, *, complete: bool) -> None:
        """Pass on; an answer that is no stream of events cannot go on from here, and is told as an error."""
        if head is None or (head.status == OK and head.streamed and head.readable):
            super().received(head, body, complete=complete)
            return
        if complete:
            self._upstream = None  # it is in the pool already
        self._drop()
        said = f"The upstream answered with status {head.status}" + ("." if head.status != OK else ", but not with a stream.")
        self._outcome = f"{head.status // 100}xx" if head.status != OK else "failed"
        self._fail(Refusal("upstream_broken", said))

    def _begin(self, head: ResponseHead) -> bytes:
        """The client has its head already."""
        self._outcome = "2xx"
        self._record.head(head.status, streamed=head.streamed, readable=head.readable)
        return b""

    def _fail(self, refusal: Refusal) -> None:
        """Where events have passed, the last of them may be half; it is left so. Before, there is room to say why."""
        if self._outcome == "2xx":
            super()._fail(refusal)
            return
        if self._outcome == "failed":
            self._record.fail(refusal.code.removeprefix("upstream_"))
        else:
            self._record.finish(self._outcome)
        break_off(self._client, refusal, self._framing or "eof")


def uncompressed(lines: bytes) -> bytes:
    """Header lines of a request without the offer to compress, since the head that would have to say so has been sent."""
    return _ACCEPT_ENCODING.sub(b"", lines)


def framed(data: bytes, framing: Framing) -> bytes:
    """A piece of a body."""
    return chunk(data) if framing == "chunked" else data


def break_off(client: "ClientConnection", refusal: Refusal, framing: Framing) -> None:
    """End a stream of events with an error, short of its end."""
    client.write(framed(b"data: %b\n\n" % refusal.body(), framing))
    client.cut(framed=framing != "eof")
