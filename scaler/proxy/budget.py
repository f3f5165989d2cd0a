"""How many requests may go elsewhere, and how many may go once more."""

from scaler.proxy_settings import FallbackSettings

MINUTE, DAY = 60.0, 86_400.0


class Budget:
    """A bucket that fills evenly within a minute, under a count that begins anew every day."""

    def __init__(self, now: float) -> None:
        """A day begins ``now`` (monotonic seconds), with a full bucket."""
        self._spent_since = now
        self._spent = 0
        self._missing = 0.0  # of a full bucket
        self._filled_at = now

    def take(self, limits: FallbackSettings, now: float) -> bool:
        """Whether one more may go, and if so, count it."""
        self._missing = max(0.0, self._missing - (now - self._filled_at) * limits.requests_per_minute / MINUTE)
        self._filled_at = now
        if now - self._spent_since >= DAY:
            self._spent_since, self._spent = now, 0
        if self._missing + 1 > limits.requests_per_minute or self._spent >= limits.requests_per_day:
            return False
        self._missing += 1
        self._spent += 1
        return True


class RetryBudget:
    """Retries may be a tenth of a route's requests: each one earns a part of a retry, and a few are saved."""

    EARNED = 0.1
    SAVED = 10.0

    def __init__(self) -> None:
        """Nothing is earned yet."""
        self._balance = 0.0
        self.refused = 0
        """Retries that were not affordable."""

    def earn(self) -> None:
        """A request was sent."""
        self._balance = min(self.SAVED, self._balance + self.EARNED)

    def spend(self) -> bool:
        """Whether a retry is affordable; if so, it is paid."""
        affordable = self._balance > 1 - self.EARNED / 2  # ten tenths need not add up to one exactly
        self._balance -= affordable
        self.refused += not affordable
        return affordable
