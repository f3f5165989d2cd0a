"""The door of one route: whether a request may pass now, has to wait, goes elsewhere or is told no.

What is known of the endpoint comes with the route, swapped by whoever knows it; nothing known means that everything passes. A gate that is
`Gate.open` costs its requests one look. Guarantees: held requests go in order, and never more of them than the endpoint has room for;
after a sleep none goes before a probe has passed; one call per sleep, however many ask.
"""

from collections import Counter, deque
from collections.abc import Callable
from enum import StrEnum
from math import ceil, inf
from types import MappingProxyType
from typing import cast, get_args

from scaler.proxy.budget import Budget, RetryBudget
from scaler.proxy.errors import Refusal
from scaler.proxy.health import Health
from scaler.proxy.hold import Held, Hold
from scaler.proxy.meter import Histogram, RouteMeter
from scaler.proxy.readings import Call, GateReading
from scaler.proxy.routes import Route, Standing
from scaler.proxy_settings import WakeMode

MODES: frozenset[str] = frozenset(get_args(WakeMode))
HOLD_BOUNDS = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 180.0, 240.0, 300.0, 450.0, 600.0, 1200.0)
SHEDS = ("endpoint_waking", "hold_full", "hold_timeout", "saturated", "shutting_down")
"""Codes of the answers that a gate gives itself."""
USUAL_PATH = b"/v1/chat/completions"
PACE_WEIGHT = 0.2
"""Weight of the newest gap in the mean time between two ends on a full endpoint."""


class Way(StrEnum):
    """What becomes of a request."""

    NOW = "now"
    HOLD = "hold"
    KEEPALIVE = "keepalive"
    ELSEWHERE = "elsewhere"


class Gate:
    """See the module."""

    def __init__(
        self,
        route: Route,
        meter: RouteMeter,
        on_call: Callable[[str], None],
        on_doubt: Callable[["Gate"], None],
        serves: Callable[[str], bool],
    ) -> None:
        """``on_call`` is told the key of an endpoint that has to be woken, ``on_doubt`` of a gate that needs a probe; neither may raise.

        ``serves``: whether what a fallback names can answer at once.
        """
        self.open = True
        """Whether every request may pass without a question."""
        self.call: Call | None = None
        self.paths = deque((USUAL_PATH,))
        """What was asked for since it slept; probes ask for the same."""
        self.retry_budget = RetryBudget()
        self._follow(route)
        self.health = Health()
        self.proven = route.readiness is None or route.readiness.standing is Standing.READY
        """Whether the endpoint is taken to serve."""
        self._proven_at = -inf
        self.meter = meter
        """Of the route."""
        self._on_call = on_call
        self._on_doubt = on_doubt
        self._serves = serves
        self._hold = Hold()
        self._budget = Budget(meter.monotonic())
        self._releasing = False
        self._left_at: float | None = None
        self._gap: float | None = None  # seconds between two ends while it is full
        self._held = self._wakes = self._fallbacks = self._spills = 0
        self._sheds = Counter(dict.fromkeys(SHEDS, 0))
        self._hold_seconds = Histogram(HOLD_BOUNDS)
        self._settle()

    # what is known

    def use(self, route: Route) -> None:
        """The route as the table has it now. Only an endpoint that was not ready before has to prove that it is."""
        before, now = self.route.readiness, route.readiness
        self._follow(route)
        if now is None or (now.standing is Standing.READY and (before is None or not route.wake.probe)):
            self.proven = True
        elif before is None or now.standing < before.standing or (now.standing is Standing.ASLEEP and now.at > self._proven_at):
            self.proven = False
        if now is None or now.standing is not Standing.ASLEEP:
            self.call = None
        elif self._hold and self.call is None:
            self._note_call()  # it fell asleep again under those who wait
        self._settle()

    def prove(self) -> None:
        """A probe was answered: the endpoint serves, whatever was said of it until now."""
        self.proven = True
        self._proven_at = self.meter.monotonic()
        self.paths = deque((self.paths[0],))
        self.call = None
        self._settle()

    @property
    def in_doubt(self) -> bool:
        """Whether a probe is wanted: somebody waits, or the provider says that it is ready."""
        if self.proven or not self.route.wake.probe:
            return False
        return len(self._hold) > 0 or self.is_said_ready

    @property
    def is_said_ready(self) -> bool:
        """Whether the provider says that it is ready."""
        return self.route.readiness is not None and self.route.readiness.standing is Standing.READY

    @property
    def capacity(self) -> float:
        """Requests in flight that may pass."""
        return self.route.readiness.capacity if self.route.readiness is not None else inf

    @property
    def load(self) -> float:
        """Requests in flight with one more, as a share of the capacity; of a capacity that is not known, as if it were one."""
        capacity = self.capacity
        return (self.meter.in_flight + 1) / (capacity if 0 < capacity < inf else 1.0)

    def calls(self, seconds: float) -> int:
        """Requests that call the sleeping endpoint, and still count: somebody waits, or the last came within so many seconds."""
        call = self.call
        if call is None or not (self._hold or self.meter.monotonic() - call.last < seconds):
            return 0
        return call.requests

    # requests

    def admit(self, wish: str, size: int, path: bytes = USUAL_PATH, *, streamed: bool) -> Way | Refusal:
        """What becomes of a request of ``size`` bytes whose client has this wish, one of `MODES` or empty."""
        mode = cast("WakeMode", wish or self.route.wake.mode)
        if not self.proven:
            self._note_call()
            if path not in self.paths:
                self.paths.appendleft(path)
            return self._while_asleep(mode, size, streamed=streamed)
        if not self._hold and self._busy < self.capacity:
            return Way.NOW
        return self._while_full(mode, size, streamed=streamed)

    def hold(self, held: Held) -> None:
        """It waits from now on."""
        self._held += 1
        self._hold.put(held)
        self._settle()

    def give_up(self, held: Held, outcome: str) -> None:
        """It leaves without its turn; what it ends with says nothing of the endpoint, whose ends the gate goes by."""
        self._hold.drop(held)
        self.meter.on_leave = None
        held.record.finish(outcome)
        self._settle()

    def held_for(self, seconds: float) -> None:
        """A request has waited so long, whatever came of it."""
        self._hold_seconds.observe(seconds)

    def shed(self, code: str, message: str, *, retry_after: float | None = None) -> Refusal:
        """The refusal, counted. ``retry_after`` in seconds; default: what is known of the start, or of the queue."""
        self._sheds[code] += 1
        wait = retry_after
        if wait is None:
            wait = self.expected_wait() if self.proven else self.remaining()
        return Refusal(code, message, retry_after=None if wait is None else max(1, ceil(wait)))

    def remaining(self) -> float | None:
        """Seconds until it serves, as far as anybody can tell; 0 when it does."""
        readiness = self.route.readiness
        if self.proven or readiness is None:
            return 0.0
        if readiness.remaining_seconds is None:
            return None
        passed = self.meter.monotonic() - readiness.at if readiness.standing is not Standing.ASLEEP else 0.0
        return max(0.0, readiness.remaining_seconds - passed)

    def spill(self) -> bool:
        """Whether a request for which there is no room goes elsewhere; if so, it is counted."""
        spills = self.proven and self.route.wake.saturated == "spill" and self._may_go_elsewhere()
        self._spills += spills
        return spills

    @property
    def is_impatient(self) -> bool:
        """Whether nobody is to wait here for longer than the objective allows."""
        return self.proven and self.route.wake.saturated in ("spill", "shed")

    @property
    def patience(self) -> float:
        """Seconds that a request may wait here."""
        most, objective = self.route.wake.hold_seconds, self.route.objective.ttft_seconds
        return most if objective is None or not self.is_impatient else min(most, objective)

    def read(self) -> GateReading:
        """The figures of this moment."""
        return GateReading(
            standing=self.route.readiness.standing if self.route.readiness is not None else None,
            proven=self.proven,
            capacity=self.capacity,
            waiting=len(self._hold),
            waiting_bytes=self._hold.bytes,
            call=self.call,
            held=self._held,
            hold_seconds=self._hold_seconds.read(),
            wakes=self._wakes,
            fallbacks=self._fallbacks,
            spills=self._spills,
            sheds=MappingProxyType(dict(self._sheds)),
        )

    # inside

    def _follow(self, route: Route) -> None:
        """Have at hand what every request asks for: a route itself is slower to ask."""
        self.route = route
        self.model, self.objective, self.max_in_flight = route.model, route.objective, route.max_in_flight
        self.retries = self.retry_budget if route.retry_stale else None

    @property
    def _busy(self) -> int:
        """Requests that have passed and not ended."""
        return self.meter.in_flight - len(self._hold)

    def _note_call(self) -> None:
        """The first request to a sleeping endpoint wakes it; the others are counted."""
        readiness, now = self.route.readiness, self.meter.monotonic()
        if readiness is None or readiness.standing is not Standing.ASLEEP:
            return
        if self.call is not None:
            self.call = Call(self.call.since, now, self.call.requests + 1)
            return
        self.call = Call(now, now, 1)
        self._wakes += 1
        self._on_call(self.route.key)

    def _while_asleep(self, mode: WakeMode, size: int, *, streamed: bool) -> Way | Refusal:
        match mode:
            case "hold" | "keepalive":
                return self._to_hold(mode, size, streamed=streamed)
            case "fallback" if self._may_go_elsewhere():
                self._fallbacks += 1
                return Way.ELSEWHERE
            case _:
                return self.shed("endpoint_waking", f"The endpoint of {self.route.key} {self.plight()}.")

    def _while_full(self, mode: WakeMode, size: int, *, streamed: bool) -> Way | Refusal:
        """Who comes while others wait goes to the end of the queue, unless that is too long to be of use."""
        saturated = self.route.wake.saturated
        if saturated == "pass":
            return self._to_hold(mode, size, streamed=streamed) if self._hold else Way.NOW
        if saturated == "queue" or self.expected_wait() <= self.patience:
            return self._to_hold(mode, size, streamed=streamed)
        if self.spill():
            return Way.ELSEWHERE
        return self.shed("saturated", f"The endpoint of {self.route.key} is full.", retry_after=self.expected_wait())

    def _to_hold(self, mode: WakeMode, size: int, *, streamed: bool) -> Way | Refusal:
        wake = self.route.wake
        if len(self._hold) >= wake.max_held or self._hold.bytes + size > wake.max_held_bytes:
            return self.shed("hold_full", f"Too many requests wait for the endpoint of {self.route.key}, which {self.plight()}.")
        return Way.KEEPALIVE if mode == "keepalive" and streamed else Way.HOLD

    def _may_go_elsewhere(self) -> bool:
        fallback = self.route.wake.fallback
        return fallback is not None and self._serves(fallback.model) and self._budget.take(fallback, self.meter.monotonic())

    def expected_wait(self) -> float:
        """Seconds that the next one would wait at the pace of the latest ends; 0 where no pace is known."""
        return (len(self._hold) + 1) * self._gap if self._gap is not None else 0.0

    def plight(self) -> str:
        """How the endpoint is, in words."""
        readiness, remaining = self.route.readiness, self.remaining()
        if self.proven or readiness is None:
            return "is full"
        about = f"; it should serve within {ceil(remaining)} s" if remaining else ""
        return ("sleeps and is called" if readiness.standing is Standing.ASLEEP else "is starting") + about

    def _left(self, outcome: str) -> None:
        """A request has ended, and leaves room."""
        now = self.meter.monotonic()
        if self.proven:
            self.health.note(outcome, now)
        if not self.open:
            self._note_pace(now)
            self._settle()

    def _note_pace(self, now: float) -> None:
        """On a full endpoint, the gap between two ends is what the queue moves by."""
        full = self._busy + 1 >= self.capacity
        if full and self._left_at is not None:
            gap = now - self._left_at
            self._gap = gap if self._gap is None else self._gap + PACE_WEIGHT * (gap - self._gap)
        self._left_at = now if full else None

    def _settle(self) -> None:
        """Let in whom there is room for, and see whether questions still have to be asked."""
        if self._releasing:
            return
        self._releasing = True
        try:
            while self._hold and self.proven and self._busy < self.capacity:
                self._hold.take().release()
        finally:
            self._releasing = False
        self.open = self.proven and not self._hold and (self.route.wake.saturated == "pass" or self.route.readiness is None)
        self.meter.on_leave = None if self.open and self.route.pool is None else self._left
        if self.in_doubt:
            self._on_doubt(self)
