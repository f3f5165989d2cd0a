"""On while there is traffic, off after a fixed time without."""

from scaler.policy.baselines.base import ROUNDING, Limits, Periodic, Seen


class IdleTimeout(Periodic):
    """max(1, min) replicas from the first request on, zero once nobody has asked for ``seconds``.

    Source: the idle timers of serverless platforms and of Together's first API (60 minutes); waking at once is the kindest reading.
    """

    def __init__(self, limits: Limits, *, seconds: float) -> None:
        """``seconds``: idle time that is enough to stop."""
        super().__init__(period=1.0)
        self._on = max(1, limits.min_replicas)
        self._seconds = seconds
        self._busy: float | None = None
        self._fresh = True

    def note(self, seen: Seen, span: float) -> None:  # noqa: ARG002 (the span does not matter here)
        """When there was traffic; what runs at the first step counts as traffic, since nobody knows what was before."""
        if seen.concurrency > 0 or seen.rate > 0 or (self._fresh and seen.replicas):
            self._busy = seen.now
        self._fresh = False

    def decide(self, seen: Seen) -> int:
        """On or off."""
        return self._on if self._busy is not None and seen.now - self._busy < self._seconds - ROUNDING else 0
