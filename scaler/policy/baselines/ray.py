"""Ray Serve's replica autoscaler."""

from scaler.policy.baselines.base import USUAL_SHARE, Limits, Periodic, Run, Seen, Window, ceil

PERIOD = 0.1
LOOK_BACK = 30.0
UP_DELAY = 30.0
DOWN_DELAY = 600.0


class RayServe(Periodic):
    """ceil(ongoing requests / target), mean of 30 s, once it has been above the target count for 30 s, or below it for 600 s.

    A single look that agrees with the target count, or is on the other side of it, begins the wait anew; its counters of looks are
    seconds here. The last replica goes in a wait of its own. From zero, any request gives one replica at once.

    Source: ray-project/ray, python/ray/serve/autoscaling_policy.py (the formula), config.py (the defaults; factors are 1).
    """

    def __init__(self, limits: Limits, *, share: float = USUAL_SHARE) -> None:
        """Steers to ``share`` of what a replica is good for (``target_ongoing_requests``, by default 2 whatever the replica)."""
        super().__init__(PERIOD)
        self._limits = limits
        self._target = limits.per_replica * share
        self._ongoing = Window(LOOK_BACK)
        self._count: int | None = None
        self._above, self._below = Run(), Run()

    def note(self, seen: Seen, span: float) -> None:
        """Ongoing requests."""
        self._ongoing.add(seen.now, span, seen.concurrency)

    def decide(self, seen: Seen) -> int:
        """One look."""
        count = self._limits.clamp(seen.replicas) if self._count is None else self._count
        if count == 0:
            self._count = 1 if seen.concurrency > 0 else 0
            return self._count
        wanted = self._limits.clamp(ceil(self._ongoing.mean() / self._target))
        if wanted < count > 1:
            wanted = max(1, wanted)
        self._above.mark(seen.now, holds=wanted > count)
        self._below.mark(seen.now, holds=wanted < count)
        self._count = count
        if self._above.lasts(UP_DELAY, seen.now) or self._below.lasts(DOWN_DELAY, seen.now):
            self._above, self._below, self._count = Run(), Run(), wanted
        return self._count
