"""SkyServe's request-rate autoscaler."""

from scaler.policy.baselines.base import USUAL_SHARE, Limits, Periodic, Run, Seen, Window, ceil

WINDOW = 60.0
DECISION = 20.0
DECISION_AT_ZERO = 5.0
UP_DELAY = 300.0
DOWN_DELAY = 1200.0


class SkyServe(Periodic):
    """ceil(requests of the last minute / 60 / target rate), once decisions of 300 s wanted more, or of 1200 s wanted fewer.

    Each decision stands for its 20 s, so the delays are 15 and 60 decisions in a row. One that agrees begins the wait anew.
    From zero it follows at once, and looks every 5 s.

    Source: skypilot-org/skypilot, sky/serve/autoscalers.py (the formula), sky/serve/constants.py (the defaults).
    """

    def __init__(self, limits: Limits, *, share: float = USUAL_SHARE) -> None:
        """Steers to ``share`` of the rate that a replica is good for."""
        super().__init__(DECISION)
        self._limits = limits
        self._target = limits.good_rate * share
        self._arrivals = Window(WINDOW)
        self._count: int | None = None
        self._above, self._below = Run(), Run()

    def note(self, seen: Seen, span: float) -> None:
        """Arrivals."""
        self._arrivals.add(seen.now, span, seen.rate)

    def decide(self, seen: Seen) -> int:
        """One decision."""
        count = self._limits.clamp(seen.replicas) if self._count is None else self._count
        wanted = self._limits.clamp(ceil(self._arrivals.total() / WINDOW / self._target))
        self._above.mark(seen.now - self.period, holds=wanted > count)
        self._below.mark(seen.now - self.period, holds=wanted < count)
        if count == 0 or self._above.lasts(UP_DELAY, seen.now) or self._below.lasts(DOWN_DELAY, seen.now):
            self._above, self._below, count = Run(), Run(), wanted
        self._count = count
        self.period = DECISION if count else DECISION_AT_ZERO
        return count
