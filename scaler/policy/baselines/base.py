"""What every baseline shares: what it sees, the limits it keeps, its rhythm, and means over a window of time."""

import math
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from typing import Protocol

USUAL_SHARE = 0.7
"""Share of what a replica is good for that people aim at, where a product wants an absolute target and names none."""

ROUNDING = 1e-9
"""Forgiven when replicas are rounded up and when a time is compared with a deadline."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a policy sees at a step. Raises `ValueError` for anything that is not a finite, non-negative figure.

    now:         seconds, any origin, growing
    concurrency: mean requests in flight (running and queued) since the last step
    rate:        arrivals per second since the last step
    ready, starting: replicas that serve, and that are on their way
    ttft:        mean seconds to the first token since the last step; None if nobody measured
    """

    now: float
    concurrency: float
    rate: float
    ready: int
    starting: int
    ttft: float | None = None

    def __post_init__(self) -> None:
        figures = (self.concurrency, self.rate, float(self.ready), float(self.starting), self.ttft or 0.0)
        if not (math.isfinite(self.now) and all(math.isfinite(figure) and figure >= 0 for figure in figures)):
            raise ValueError(f"expected finite figures that are not negative, got {self}")

    @property
    def replicas(self) -> int:
        """Those that serve and those on their way."""
        return self.ready + self.starting


@dataclass(frozen=True, slots=True)
class Limits:
    """What the user configures, whatever the product. Raises `ValueError` for figures that contradict each other.

    per_replica:      requests in flight that one replica is good for
    rate_per_replica: arrivals per second that one replica is good for; None = as many as ``per_replica`` (requests of one second)
    """

    min_replicas: int
    max_replicas: int
    per_replica: float
    rate_per_replica: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.min_replicas <= self.max_replicas or self.max_replicas == 0:
            raise ValueError(f"expected 0 <= min_replicas <= max_replicas and max_replicas > 0, got {self}")
        if not all(math.isfinite(figure) and figure > 0 for figure in (self.per_replica, self.good_rate)):
            raise ValueError(f"expected positive, finite figures for one replica, got {self}")

    @property
    def good_rate(self) -> float:
        """Arrivals per second that one replica is good for."""
        return self.per_replica if self.rate_per_replica is None else self.rate_per_replica

    def clamp(self, replicas: int) -> int:
        """The nearest count within the bounds."""
        return min(max(replicas, self.min_replicas), self.max_replicas)


class Autoscaler(Protocol):
    """A policy under comparison: told every step, in order of time."""

    period: float
    """Seconds between its own decisions; steps in between are only noted."""

    def desired(self, seen: Seen) -> int | None:
        """Replicas wanted (running and starting), before the caller clamps; None = no change."""
        ...


class Periodic(ABC):
    """The rhythm of an `Autoscaler`: notes every step, decides on a grid of ``period`` seconds that begins with the first step.

    Steps longer than the period get one decision each. Told of an instant a second time, it repeats its answer and learns nothing.
    """

    period: float

    def __init__(self, period: float) -> None:
        """Decides every ``period`` seconds."""
        self.period = period
        self._told: float | None = None
        self._due = -math.inf
        self._answer: int | None = None

    def desired(self, seen: Seen) -> int | None:
        """Replicas wanted, or None for no change."""
        if self._told is not None and seen.now <= self._told:
            return self._answer
        span = 0.0 if self._told is None else seen.now - self._told
        self._told = seen.now
        self.note(seen, span)
        self._answer = self.decide(seen) if seen.now >= self._due - ROUNDING else None
        if seen.now >= self._due - ROUNDING:
            self._due = self._next(seen.now)
        return self._answer

    def note(self, seen: Seen, span: float) -> None:  # noqa: B027 (many decide on the present step alone)
        """Take note of a step; ``span`` = the seconds that its means cover, 0 at the first."""

    @abstractmethod
    def decide(self, seen: Seen) -> int | None:
        """The decision of one period."""

    def _next(self, now: float) -> float:
        """The first instant of the grid after ``now``."""
        if self._due == -math.inf:
            return now + self.period
        return self._due + self.period * (math.floor((now - self._due + ROUNDING) / self.period) + 1)


class Window:
    """Time-weighted mean of a figure over the last seconds; over what there is while there is less."""

    def __init__(self, seconds: float) -> None:
        """Looks back ``seconds``."""
        self.seconds = seconds
        self._parts: deque[tuple[float, float, float]] = deque()

    def add(self, now: float, span: float, value: float) -> None:
        """``value`` was the mean of the ``span`` seconds before ``now``."""
        self._parts.append((now, span, value))
        while self._parts[0][0] <= now - self.seconds and len(self._parts) > 1:
            self._parts.popleft()

    def mean(self) -> float:
        """The mean over the window; the last value if no time has passed yet, 0 if nothing was added."""
        if not self._parts:
            return 0.0
        covered = sum(part for _, part in self._weighted())
        return self.total() / covered if covered > 0 else self._parts[-1][2]

    def total(self) -> float:
        """The integral over the window: value x seconds."""
        return sum(value * part for value, part in self._weighted())

    def _weighted(self) -> list[tuple[float, float]]:
        """Each value with the seconds of it that lie in the window."""
        start = self._parts[-1][0] - self.seconds if self._parts else 0.0
        return [(value, max(0.0, min(span, end - start))) for end, span, value in self._parts]


class Run:
    """How long a condition has held without a break."""

    def __init__(self) -> None:
        """It has not held."""
        self._since: float | None = None

    def mark(self, start: float, *, holds: bool) -> None:
        """Whether it holds now; if it did not before, it does from ``start`` on."""
        if not holds:
            self._since = None
        elif self._since is None:
            self._since = start

    def lasts(self, seconds: float, now: float) -> bool:
        """Whether it has held for this long."""
        return self._since is not None and now - self._since >= seconds - ROUNDING


def ceil(replicas: float) -> int:
    """Round up, forgiving rounding errors; never negative."""
    return max(0, math.ceil(replicas - ROUNDING))
