"""The longer way of a request whose gate is not open, or whose client has a wish: ask the gate, and do what it says."""

from typing import Protocol, TypeVar

from scaler.proxy.errors import Refusal
from scaler.proxy.exchange import Exchange
from scaler.proxy.gate import MODES, Gate, Way
from scaler.proxy.gates import Gates
from scaler.proxy.http1 import Framing, RequestHead
from scaler.proxy.meter import InFlight
from scaler.proxy.model_field import Body, parse, rewrite
from scaler.proxy.routes import Objective, Route, RouteTable
from scaler.proxy.waiting import Continued, Host, KeptAlive, Waiting, uncompressed

Kind = TypeVar("Kind", bound=Exchange)


class Connection(Host, Protocol):
    """The connection that a request came on, and what an errand asks of it."""

    def enter(self, key: str, objective: Objective) -> InFlight:
        """The request is in flight from now on, under this key of the meter. Raises `Refusal` where its client has no seat left."""

    def hold(self, waiting: Waiting) -> None:
        """The client's next events are meant for it."""

    def exchange(self, record: InFlight, kind: type[Kind], route: Route) -> Kind:
        """An exchange of this kind, not yet begun."""

    def send(self, exchange: Exchange, lines: bytes, body: Body) -> None:
        """Begin it, with these header lines of the request."""


def fallback_key(key: str) -> str:
    """The meter's key of what went elsewhere; no endpoint can be called so."""
    return f"{key}:fallback"


class Errand:
    """One request, until its exchange begins or it is refused."""

    def __init__(self, host: Connection, head: RequestHead, body: Body, route: Route, *, gates: Gates, routes: RouteTable) -> None:
        """``body``: as ``route`` wants it."""
        self._host = host
        self._head = head
        self._body = body
        self._route = route
        self._gates = gates
        self._routes = routes
        self._gate: Gate = gates[route.key]

    def run(self) -> None:
        """Ask, and act on the answer. Raises `Refusal`."""
        wish = _wish(self._head.wake)
        streamed = parse(self._body)[0].get("stream") is True
        answer = self._gate.admit(wish, len(self._body), self._head.path, streamed=streamed)
        match answer:
            case Refusal():
                raise answer
            case Way.NOW:
                self._go(self._host.enter(self._route.key, self._route.objective))
            case Way.ELSEWHERE:
                self.divert()
            case Way.HOLD | Way.KEEPALIVE:
                self._hold(keep_alive=answer is Way.KEEPALIVE)

    def begin(self, waiting: Waiting) -> None:
        """Its turn has come."""
        self._go(waiting.record, b"x-scaler-held-seconds: %.1f\r\n" % waiting.seconds, waiting)

    def divert(self, waiting: Waiting | None = None) -> None:
        """Go elsewhere: to a route of ours that serves, or to a model that the upstream knows. Raises `Refusal`.

        ``waiting``: what it was until now.
        """
        fallback = self._route.wake.fallback
        assert fallback is not None  # noqa: S101 (the gate has looked)
        other = self._routes.find(fallback.model)
        if other is None:
            other = self._gates.choose(self._routes, fallback.model)
        if other is not None and not self._gates[other.key].proven:
            raise self._gate.shed("endpoint_waking", f"The endpoint of {self._route.key} {self._gate.plight()}, and so does its fallback.")
        model = fallback.model if other is None else other.model
        self._body = rewrite(self._body, self._route.model, model)
        record = self._host.enter(fallback_key(self._route.key) if other is None else other.key, self._route.objective)
        self._route = self._route if other is None else other
        self._go(record, b"x-scaler-fallback: %b\r\n" % fallback.model.encode(), waiting)

    def _hold(self, *, keep_alive: bool) -> None:
        record = self._host.enter(self._route.key, self._route.objective)
        size, speed = len(self._body), self._gates.speed
        waiting: Waiting
        if keep_alive:
            framing = Framing.CHUNKED if self._head.http11 else Framing.EOF
            waiting = KeptAlive(self._host, self, self._gate, record, size, speed=speed, framing=framing)
        else:
            waiting = Waiting(self._host, self, self._gate, record, size, speed=speed)
        self._host.hold(waiting)
        self._gate.hold(waiting)

    def _go(self, record: InFlight, marks: bytes = b"", waiting: Waiting | None = None) -> None:
        """Begin the exchange. ``marks``: header lines that tell the client what happened, unless it has its head already."""
        lines = self._head.lines
        if isinstance(waiting, KeptAlive):
            continued = self._host.exchange(record, Continued, self._route)
            continued.follow(waiting.framing, keep_alive=self._host.keeps_alive)
            self._host.send(continued, uncompressed(lines), self._body)
        else:
            exchange = self._host.exchange(record, Exchange, self._route)
            exchange.marks = marks
            self._host.send(exchange, lines, self._body)


def _wish(wake: bytes) -> str:
    """What the client's header asks for. Raises `Refusal`."""
    wish = wake.decode("latin-1").strip().lower()
    if wish and wish not in MODES:
        raise Refusal("invalid_request", f"x-scaler-wake: expected one of {', '.join(sorted(MODES))}.")
    return wish
