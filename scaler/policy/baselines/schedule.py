"""A timetable: so many replicas for each hour of the week."""

from collections.abc import Sequence

from scaler.policy.baselines.base import Limits, Periodic, Seen

HOUR = 3600.0
DAY = 24
WEEK = 7 * DAY
MONDAY_OF_UNIX_TIME = 3 * DAY * HOUR
"""Unix time began on a Thursday: seconds from its Monday, 00:00 UTC, to its zero."""


def office_hours(limits: Limits, *, first: int = 8, last: int = 20, days: int = 5) -> tuple[int, ...]:
    """The maximum from hour ``first`` until ``last`` on the first ``days`` of the week, otherwise the minimum."""
    hours = [(hour // DAY, hour % DAY) for hour in range(WEEK)]
    return tuple(limits.max_replicas if day < days and first <= hour < last else limits.min_replicas for day, hour in hours)


class Schedule(Periodic):
    """The count of the hour, come what may. Source: cron-like scalers everywhere; the table is the user's."""

    def __init__(self, table: Sequence[int], *, since_monday: float = MONDAY_OF_UNIX_TIME) -> None:
        """``table``: 168 counts from Monday, 00:00; ``since_monday``: its seconds at time zero. Raises `ValueError` for another size."""
        if len(table) != WEEK or min(table) < 0:
            raise ValueError(f"expected {WEEK} counts, none negative, got {len(table)}")
        super().__init__(period=60.0)
        self._table = tuple(table)
        self._since_monday = since_monday

    def decide(self, seen: Seen) -> int:
        """The count of the hour."""
        return self._table[int((seen.now + self._since_monday) // HOUR) % WEEK]
