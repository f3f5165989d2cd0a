"""Knative's pod autoscaler (KPA) on concurrency."""

import math

from scaler.policy.baselines.base import Limits, Periodic, Run, Seen, Window, ceil

PERIOD = 2.0
STABLE_WINDOW = 60.0
PANIC_WINDOW = 6.0
UTILIZATION = 0.7
LEAST_TARGET = 0.01
PANIC_THRESHOLD = 2.0
MAX_UP_RATE = 1000.0
MAX_DOWN_RATE = 2.0
ZERO_GRACE = 30.0


class Kpa(Periodic):
    """ceil(mean concurrency / target) over the stable window; over the panic window as well, and never down, while in panic.

    Panic begins when the panic window wants twice what is ready, and ends when it has not done so for a stable window. With more
    than one replica ready at the start it begins in panic, so that nothing is taken away before a window has been seen. Each turn
    stays between half and a thousand times what is ready. Zero takes another grace period.

    Source: knative/serving, pkg/autoscaler/scaling/autoscaler.go and pkg/reconciler/autoscaling/kpa/scaler.go (the formulas),
    config/core/configmaps/autoscaler.yaml (the defaults).
    """

    def __init__(self, limits: Limits) -> None:
        """Steers to 70 % of what a replica is good for."""
        super().__init__(PERIOD)
        self._target = max(LEAST_TARGET, limits.per_replica * UTILIZATION)
        self._stable, self._panic = Window(STABLE_WINDOW), Window(PANIC_WINDOW)
        self._fresh = True
        self._panicked: float | None = None
        self._most = 0
        self._idle = Run()

    def note(self, seen: Seen, span: float) -> None:
        """Both windows, and on the first step whether to begin in panic."""
        self._stable.add(seen.now, span, seen.concurrency)
        self._panic.add(seen.now, span, seen.concurrency)
        if self._fresh and seen.ready > 1:
            self._panicked, self._most = seen.now, seen.ready
        self._fresh = False

    def decide(self, seen: Seen) -> int:
        """One turn."""
        ready = max(1, seen.ready)
        sudden = ceil(self._panic.mean() / self._target)
        lowest, highest = math.floor(ready / MAX_DOWN_RATE), math.ceil(ready * MAX_UP_RATE)
        wanted = min(max(ceil(self._stable.mean() / self._target), lowest), highest)
        if self._in_panic(seen.now, over=sudden / ready >= PANIC_THRESHOLD):
            self._most = max(self._most, wanted, min(max(sudden, lowest), highest))
            wanted = self._most
        return self._spare_the_last(wanted, seen.now)

    def _in_panic(self, now: float, *, over: bool) -> bool:
        if over:
            self._panicked = now
        elif self._panicked is not None and self._panicked + STABLE_WINDOW < now:
            self._panicked, self._most = None, 0
        return self._panicked is not None

    def _spare_the_last(self, wanted: int, now: float) -> int:
        """Zero only after it has been wanted for the grace period."""
        self._idle.mark(now, holds=wanted == 0)
        return 0 if self._idle.lasts(ZERO_GRACE, now) else max(1, wanted)
