"""The longer way of a request whose gate is not open, or whose client has a wish: ask the gate, and do what it says."""

from typing import TYPE_CHECKING

import msgspec

from scaler.proxy.errors import Refusal
from scaler.proxy.exchange import Exchange
from scaler.proxy.gate import MODES, Gate, Way
from scaler.proxy.http1 import Framing
from scaler.proxy.meter import InFlight
from scaler.proxy.model_field import Body, rewrite
from scaler.proxy.request_reader import Request
from scaler.proxy.waiting import Continued, KeptAlive, Waiting, uncompressed

if TYPE_CHECKING:
    from scaler.proxy.downstream import ClientConnection


class _Manner(msgspec.Struct):
    stream: bool = False


_manner = msgspec.json.Decoder(_Manner).decode
"""Makes only this field of a body: to make all of it takes most of a second where it is large and full of little things."""


def is_streamed(body: Body) -> bool:
    """Whether the request, whose body is known to be JSON, asks for a stream."""
    try:
        return _manner(body).stream
    except (msgspec.DecodeError, RecursionError):
        return False


def fallback_key(key: str) -> str:
    """The meter's key of what went elsewhere; no endpoint can be called so."""
    return f"{key}:fallback"


class Errand:
    """One request, until its exchange begins or it is refused."""

    def __init__(self, client: "ClientConnection", request: Request, gate: Gate) -> None:
        """The request's body is as the gate's route wants it."""
        self._client = client
        self._request = request
        self._gates = client.context.gates
        self._gate = gate

    def run(self) -> None:
        """Ask, and act on the answer. Raises `Refusal`."""
        head, body = self._request.head, self._request.body
        answer = self._gate.admit(_wish(head.wake), len(body), head.path, streamed=is_streamed(body))
        match answer:
            case Refusal():
                raise answer
            case Way.NOW:
                self._go(self._enter())
            case Way.ELSEWHERE:
                self.divert()
            case Way.HOLD | Way.KEEPALIVE:
                self._hold(keep_alive=answer is Way.KEEPALIVE)

    def begin(self, waiting: Waiting) -> None:
        """Its turn has come."""
        self._go(waiting.record, b"x-scaler-held-seconds: %.1f\r\n" % waiting.seconds, waiting)

    def divert(self, waiting: Waiting | None = None) -> None:
        """Go elsewhere: to a route of ours, or to a model that the upstream knows.

        ``waiting``: what it was until now, with a seat; without that raises `Refusal` where its client has none left.
        """
        gate = self._gate
        fallback = gate.route.wake.fallback
        assert fallback is not None  # noqa: S101 (the gate has looked, and whether it serves, too)
        other = self._gates.find(fallback.model)
        model = fallback.model if other is None else other.model
        self._request.body = rewrite(self._request.body, gate.model, model)
        meter = self._client.context.meter.route(fallback_key(gate.route.key)) if other is None else other.meter
        account, objective = self._request.account, gate.objective
        record = meter.enter(objective, account) if waiting is None else waiting.record.again(meter, objective)
        self._gate = other or gate
        if isinstance(waiting, KeptAlive):
            waiting.say(f"{fallback.model} answers instead")
        self._go(record, b"x-scaler-fallback: %b\r\n" % fallback.model.encode(), waiting)

    def _enter(self) -> InFlight:
        """The request is in flight from now on. Raises `Refusal` where its client has no seat left."""
        return self._gate.meter.enter(self._gate.objective, self._request.account)

    def _hold(self, *, keep_alive: bool) -> None:
        record, size, speed = self._enter(), len(self._request.body), self._gates.speed
        waiting: Waiting
        if keep_alive:
            framing: Framing = "chunked" if self._request.head.http11 else "eof"
            waiting = KeptAlive(self._client, self, self._gate, record, size, speed=speed, framing=framing)
        else:
            waiting = Waiting(self._client, self, self._gate, record, size, speed=speed)
        self._client.hold(waiting)
        self._gate.hold(waiting)

    def _go(self, record: InFlight, marks: bytes = b"", waiting: Waiting | None = None) -> None:
        """Begin the exchange. ``marks``: header lines that tell the client what happened; one that has its head was told in comments."""
        head, body = self._request.head, self._request.body
        if isinstance(waiting, KeptAlive):
            continued = Continued(self._client, record, self._gate.retries, head.http11)
            continued.follow(waiting.framing, keep_alive=self._client.keeps_alive)
            self._client.send(continued, head, uncompressed(head.lines), body)
        else:
            exchange = Exchange(self._client, record, self._gate.retries, head.http11)
            exchange.marks = marks
            self._client.send(exchange, head, head.lines, body)


def _wish(wake: bytes) -> str:
    """What the client's header asks for. Raises `Refusal`."""
    wish = wake.decode("latin-1").strip().lower()
    if wish and wish not in MODES:
        raise Refusal("invalid_request", f"x-scaler-wake: expected one of {', '.join(sorted(MODES))}.")
    return wish
