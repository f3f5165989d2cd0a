"""What a backtest of two weeks costs: CPU seconds of each policy on a trace of 14 days at ten-second steps.

python tests/bench/bench_backtest.py
"""

import time
from dataclasses import replace

from rich.console import Console
from rich.table import Table

from scaler.backtest.demand import Traffic, traffic_of
from scaler.backtest.fluid import Rules
from scaler.backtest.options import IDLE
from scaler.backtest.policies import NAMES, OURS, Case, score
from scaler.world.workload import OFFICE_DAY, Bucket, Trace, read_trace

DAY = 86_400.0
DAYS = 14
LIMITS = {OURS: 60.0}
LIMIT = 10.0
"""CPU seconds that a policy may take; ours has more to think about."""


def two_weeks() -> Traffic:
    """The bundled day fourteen times, weekends at a third."""
    day = read_trace(OFFICE_DAY)
    buckets = [replace(bucket, at=bucket.at + number * DAY) for number in range(DAYS) for bucket in day.buckets]
    return traffic_of(Trace(day.bucket_seconds, tuple(_quiet_on_weekends(bucket) for bucket in buckets)))


def _quiet_on_weekends(bucket: Bucket) -> Bucket:
    weekend = int(bucket.at // DAY) % 7 >= 5
    return replace(bucket, requests=bucket.requests // 3) if weekend else bucket


def main() -> None:
    """Print the table."""
    case = Case(two_weeks(), Rules(180.0))
    table = Table("policy", "CPU seconds", "allowed", "cost / oracle", "on time")
    best = case.best.cost_replica_minutes
    for name in (each for each in NAMES if each not in IDLE):
        start = time.process_time()
        outcome = score(name, case)
        spent = time.process_time() - start
        ratio = outcome.cost_replica_minutes / best
        table.add_row(name, f"{spent:.1f}", f"{LIMITS.get(name, LIMIT):.0f}", f"{ratio:.3f}", f"{outcome.attainment:.2%}")
    Console().print(table)


if __name__ == "__main__":
    main()
