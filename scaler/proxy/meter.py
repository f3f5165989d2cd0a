"""What the request path measures: cumulative figures of each route, cheap to keep and to read.

A request enters a `RouteMeter` and gets an `InFlight`, whose `InFlight.finish` is the only way out and works once, so the
count of requests in flight cannot leak. Nothing that goes wrong while measuring reaches the traffic; it is counted instead.
"""

from bisect import bisect_left
from collections.abc import Callable
from types import MappingProxyType
from typing import Final, Protocol

from scaler.proxy.readings import HistogramReading, Reading
from scaler.proxy.routes import NO_OBJECTIVE, Objective
from scaler.proxy.usage import BUFFER_PIECES, SMALL_BYTES, UsageTap

OTHER: Final = "other"
"""Key of what the proxy answered without a route: unknown models and paths, requests that are not HTTP, the list of models."""

OUTCOMES: Final = ("2xx", "3xx", "4xx", "5xx", "aborted", "failed")
"""Status classes; "aborted": the client was gone first; "failed": the upstream gave no or a broken answer."""

WORKER_LOST = "worker_lost"
FAILURES: Final = ("unreachable", "connect_timeout", "response_timeout", "broken", "truncated", "stalled", WORKER_LOST)
"""Why requests failed; "truncated" and "stalled": after the answer had begun; "worker_lost": the process that carried them ended."""

LATENCY_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
TTFT_BOUNDS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 60.0)
TPOT_BOUNDS = (0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)


class Histogram:
    """Observations in buckets."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """Empty."""
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """One more."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def read(self) -> HistogramReading:
        """The figures of this moment."""
        return HistogramReading(self._bounds, tuple(self._counts), self._sum, sum(self._counts))


class Seat(Protocol):
    """Something that a request takes up while it is in flight."""

    def enter(self) -> None:
        """The request is about to begin. Raises where there is no seat left."""

    def leave(self) -> None:
        """The request has ended."""


class RouteMeter:
    """The figures of one route."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """Everything begins at zero."""
        self.monotonic = monotonic
        self.tap_errors = 0
        """Answers whose usage could not be read because of a fault of ours."""
        self._arrivals = 0
        self._completions = dict.fromkeys(OUTCOMES, 0)
        self._failures = dict.fromkeys(FAILURES, 0)
        self._retries = 0
        self.in_flight = 0
        """Requests between arrival and end."""
        self.on_leave: Callable[[str], None] | None = None
        """Told each end's outcome."""
        self.ttft_held = self.latency_held = 0.0
        """Seconds that the request path itself has added to each."""
        self.waiting = 0
        """Of those in flight, not yet sent upstream."""
        self._in_flight_seconds = 0.0
        self._changed = monotonic()
        self._slow = 0
        self._latency = Histogram(LATENCY_BOUNDS)
        self._ttft = Histogram(TTFT_BOUNDS)
        self._tpot = Histogram(TPOT_BOUNDS)
        self._input_tokens = 0
        self._output_tokens = 0

    def enter(self, objective: Objective, seat: Seat | None = None) -> "InFlight":
        """A request arrived, and waits for a connection. It takes the seat, and gives it back when it ends."""
        if seat is not None:
            seat.enter()
        now = self.monotonic()
        self._in_flight_seconds += self.in_flight * (now - self._changed)
        self._changed = now
        self.in_flight += 1
        self._arrivals += 1
        self.waiting += 1
        return InFlight(self, objective, now, seat)

    def answered(self, status: int) -> None:
        """A request came and was answered at once, without the upstream."""
        self._arrivals += 1
        self._completions[f"{status // 100}xx"] += 1

    def retried(self) -> None:
        """A request was sent once more."""
        self._retries += 1

    def failed(self, reason: str) -> None:
        """Why a request failed; it still has to leave."""
        self._failures[reason] += 1

    def first_byte(self, seconds: float) -> None:
        """The body of a streamed answer began."""
        self._ttft.observe(seconds)

    def leave(self, now: float, outcome: str, input_tokens: int, output_tokens: int) -> None:
        """A request ended, having cost this much."""
        self._in_flight_seconds += self.in_flight * (now - self._changed)
        self._changed = now
        self.in_flight -= 1
        self._completions[outcome] += 1
        self._input_tokens += input_tokens
        self._output_tokens += output_tokens
        if self.on_leave is not None:
            self.on_leave(outcome)

    def served(self, latency: float, tpot: float | None, *, slow: bool) -> None:
        """An answer with 2xx is complete."""
        self._latency.observe(latency)
        if slow:
            self._slow += 1
        if tpot is not None:
            self._tpot.observe(tpot)

    def read(self) -> Reading:
        """The figures of this moment."""
        now = self.monotonic()
        self._in_flight_seconds += self.in_flight * (now - self._changed)
        self._changed = now
        return Reading(
            at=now,
            arrivals=self._arrivals,
            completions=MappingProxyType(dict(self._completions)),
            failures=MappingProxyType(dict(self._failures)),
            retries=self._retries,
            in_flight=self.in_flight,
            waiting=self.waiting,
            in_flight_seconds=self._in_flight_seconds,
            slow=self._slow,
            latency=self._latency.read(),
            ttft=self._ttft.read(),
            tpot=self._tpot.read(),
            input_tokens=self._input_tokens,
            output_tokens=self._output_tokens,
            ttft_held=self.ttft_held,
            latency_held=self.latency_held,
        )


class InFlight:
    """One request between arrival and end."""

    __slots__ = ("_entered", "_first", "_held", "_objective", "_open", "_route", "_seat", "_streamed", "_tap", "_waiting")

    def __init__(self, route: RouteMeter, objective: Objective, now: float, seat: Seat | None) -> None:
        """Made by `RouteMeter.enter`."""
        self._route = route
        self._objective = objective
        self._seat = seat
        self._entered = now
        self._held = 0.0
        self._first: float | None = None  # when the body of a streamed answer began
        self._streamed = False
        self._tap: UsageTap | None = None
        self._open = True
        self._waiting = True

    def again(self, route: RouteMeter, objective: Objective) -> "InFlight":
        """The request, which ends here, begins once more there, in the seat that it has."""
        record = route.enter(objective)
        record._seat, self._seat = self._seat, None  # noqa: SLF001 (of its own kind)
        return record

    def sent(self) -> None:
        """The request went upstream."""
        if self._waiting:
            self._waiting = False
            self._route.waiting -= 1

    def held(self, seconds: float) -> None:
        """It was held back so long: its client has waited for it, but not for the endpoint."""
        self._held = seconds

    def retried(self) -> None:
        """It goes upstream once more."""
        self._route.retried()

    def head(self, status: int, *, streamed: bool, readable: bool) -> None:
        """An answer began; only good ones are worth a closer look."""
        if status // 100 == 2:  # noqa: PLR2004 (success)
            self._streamed = streamed
            self._tap = UsageTap(streamed=streamed) if readable else None

    def body(self, data: bytes) -> None:
        """Bytes of its body pass by."""
        if self._streamed and self._first is None:
            self._first = self._route.monotonic()
            self._route.first_byte(self._first - self._entered)
            self._route.ttft_held += self._held
        tap = self._tap
        if tap is None:
            return
        if len(data) <= SMALL_BYTES and len(tap.pieces) < BUFFER_PIECES:
            tap.pieces.append(data)  # an event of a stream
        else:
            try:
                tap.feed(data)
            except Exception:  # noqa: BLE001 (measuring must never disturb the stream; the fault is counted)
                self._drop_tap()

    def fail(self, reason: str) -> None:
        """The end without a whole answer, for one of `FAILURES`."""
        if self._open:
            self._route.failed(reason)
            self.finish("failed")

    def finish(self, outcome: str) -> None:
        """The end, one of `OUTCOMES`; every later call does nothing."""
        if not self._open:
            return
        self._open = False
        if self._seat is not None:
            self._seat.leave()
        route = self._route
        if self._waiting:
            route.waiting -= 1
        now = route.monotonic()
        input_tokens = output_tokens = 0
        if self._tap is not None:
            try:
                input_tokens, output_tokens = self._tap.usage()
            except Exception:  # noqa: BLE001 (as in body)
                self._drop_tap()
        if outcome == "2xx":
            latency = now - self._entered
            tpot = self._tpot(now, output_tokens)
            route.latency_held += self._held
            route.served(latency, tpot, slow=self._objective is not NO_OBJECTIVE and self._slow(latency))
        route.leave(now, outcome, input_tokens, output_tokens)

    def _drop_tap(self) -> None:
        self._tap = None
        self._route.tap_errors += 1

    def _tpot(self, now: float, tokens: int) -> float | None:
        if self._first is None or tokens < 2:  # noqa: PLR2004 (the first token has no predecessor)
            return None
        return (now - self._first) / (tokens - 1)

    def _slow(self, latency: float) -> bool:
        demand = self._objective
        if demand.latency_seconds is not None and latency > demand.latency_seconds:
            return True
        if demand.ttft_seconds is None or self._first is None:
            return False
        return self._first - self._entered > demand.ttft_seconds


class Meter:
    """The figures of all routes. Bounded by the configuration: a route's meter is made when a table names it, and stays."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """``monotonic``: seconds, never going back."""
        self._monotonic = monotonic
        self.other = RouteMeter(monotonic)
        self._routes = {OTHER: self.other}

    def route(self, key: str) -> RouteMeter:
        """The meter of a route, made on first demand. ``other`` is taken: ValueError."""
        if key == OTHER:
            raise ValueError(f"{OTHER!r} is the name of what has no route")
        if key not in self._routes:
            self._routes[key] = RouteMeter(self._monotonic)
        return self._routes[key]

    def read(self, key: str) -> Reading:
        """One route's figures; KeyError where no table ever named it."""
        return self._routes[key].read()

    def read_all(self) -> dict[str, Reading]:
        """Everyone's figures, `OTHER` among them."""
        return {key: meter.read() for key, meter in self._routes.items()}

    @property
    def tap_errors(self) -> int:
        """Answers that could not be looked into because of a fault of ours."""
        return sum(meter.tap_errors for meter in self._routes.values())
