"""Kubernetes' Horizontal Pod Autoscaler (autoscaling/v2) on an external metric of type AverageValue."""

from collections import deque
from dataclasses import dataclass

from scaler.policy.baselines.base import USUAL_SHARE, Limits, Periodic, Seen, ceil

PERIOD = 15.0
TOLERANCE = 0.1
STABILIZATION_UP = 0.0
STABILIZATION_DOWN = 300.0


@dataclass(frozen=True, slots=True)
class Step:
    """A scaling policy: so many replicas and so many percent of those at the period's start, within ``seconds``; the larger counts."""

    replicas: int
    percent: float
    seconds: float

    def up(self, start: int) -> int:
        """The most that ``start`` replicas may become."""
        return max(start + self.replicas, ceil(start * (1 + self.percent / 100)))

    def down(self, start: int) -> int:
        """The fewest that ``start`` replicas may become."""
        return max(0, min(start - self.replicas, int(start * (1 - self.percent / 100))))


UP = Step(replicas=4, percent=100, seconds=15.0)
DOWN = Step(replicas=0, percent=100, seconds=15.0)


class Hpa(Periodic):
    """ceil(total / target), unless total is within the tolerance of what the present replicas are to carry.

    Then the stabilization windows (up: the lowest recommendation of the window; down: the highest) and the scaling policies.
    Recommendations are kept as they were before stabilization; the first one is the count found at the start.
    With no replicas it is disabled, and with a count outside of the bounds it goes to the bound.

    Source: kubernetes/kubernetes, pkg/controller/podautoscaler/replica_calculator.go and horizontal.go (the formulas),
    pkg/apis/autoscaling/v2/defaults.go (the defaults).
    """

    def __init__(self, limits: Limits, *, share: float = USUAL_SHARE) -> None:
        """Steers to ``share`` of what a replica is good for; Kubernetes itself has no default for this metric."""
        super().__init__(PERIOD)
        self._limits = limits
        self._target = limits.per_replica * share
        self._recommended: deque[tuple[float, int]] = deque()
        self._changes: deque[tuple[float, int]] = deque()

    def decide(self, seen: Seen) -> int | None:
        """One turn of the control loop."""
        current = seen.replicas
        if not current:
            return None
        bounded = self._limits.clamp(current)
        wanted = bounded if bounded != current else self._limit(self._stabilize(seen, current), current, seen.now)
        if wanted != current:
            self._changes.append((seen.now, wanted - current))
        return wanted

    def _stabilize(self, seen: Seen, current: int) -> int:
        """The present count, moved no further than every recommendation of the direction's window wants."""
        if not self._recommended:
            self._recommended.append((seen.now, current))
        raw = self._raw(seen, current)
        up = min([raw, *self._since(seen.now - STABILIZATION_UP)])
        down = max([raw, *self._since(seen.now - STABILIZATION_DOWN)])
        self._recommended.append((seen.now, raw))
        while self._recommended[0][0] <= seen.now - max(STABILIZATION_UP, STABILIZATION_DOWN):
            self._recommended.popleft()
        return min(max(current, up), down)

    def _raw(self, seen: Seen, current: int) -> int:
        ratio = seen.concurrency / (self._target * current)
        return current if abs(1 - ratio) <= TOLERANCE else ceil(seen.concurrency / self._target)

    def _since(self, start: float) -> list[int]:
        return [count for when, count in self._recommended if when > start]

    def _limit(self, wanted: int, current: int, now: float) -> int:
        """The scaling policies, each from the count at the start of its period, and the bounds."""
        if wanted > current:
            most = max(current, UP.up(current - self._changed(now - UP.seconds)))
            return min(wanted, most, self._limits.max_replicas)
        fewest = min(current, DOWN.down(current - self._changed(now - DOWN.seconds)))
        return max(wanted, fewest, self._limits.min_replicas)

    def _changed(self, start: float) -> int:
        """Replicas added less those removed since ``start``."""
        while self._changes and self._changes[0][0] <= start:
            self._changes.popleft()
        return sum(change for _, change in self._changes)
