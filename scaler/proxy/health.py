"""Whether an endpoint's answers are sound, judged by the traffic itself; after Envoy's outlier detection by consecutive errors."""

from math import inf

ERRORS = 5
"""So many in a row, and it is left alone for a while."""
FIRST_SECONDS = 30.0
"""How long the first time; each time in a row adds as much."""
MOST_SECONDS = 300.0


class Health:
    """Of one endpoint; monotonic seconds."""

    def __init__(self) -> None:
        """In good health."""
        self._errors = 0
        self._ejections = 0
        self._until = -inf

    def note(self, outcome: str, now: float) -> None:
        """A request ended. Clients that go prove nothing; an answer that is not an error proves health."""
        if outcome in ("5xx", "failed"):
            self._errors += 1
        elif outcome != "aborted":
            self._errors = self._ejections = 0
        if self._errors >= ERRORS and now >= self._until:
            self._errors = 0
            self._ejections += 1
            self._until = now + min(FIRST_SECONDS * self._ejections, MOST_SECONDS)

    def is_good(self, now: float) -> bool:
        """Whether it may be chosen."""
        return now >= self._until
