"""How many requests may go elsewhere: so many a minute, so many a day."""

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
