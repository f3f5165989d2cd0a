"""What a run costs: every started minute of every replica."""

import math
from dataclasses import dataclass

MINUTE = 60.0
ROUNDING = 1e-9
"""Share of a minute forgiven to floating point: the end of minute one is not minute two."""


@dataclass(frozen=True, slots=True)
class Bill:
    """Dollars, and the replica-seconds behind them before they were rounded up to minutes."""

    dollars: float = 0.0
    replica_seconds: float = 0.0

    def __add__(self, other: "Bill") -> "Bill":
        """Both together."""
        return Bill(self.dollars + other.dollars, self.replica_seconds + other.replica_seconds)


def run_bill(cents_per_minute: float, start: float, end: float) -> Bill:
    """One replica billed from ``start`` to ``end`` (seconds); nothing when it never got as far as ``start``."""
    seconds = max(0.0, end - start)
    minutes = math.ceil(seconds / MINUTE - ROUNDING)
    return Bill(minutes * cents_per_minute / 100, seconds)
