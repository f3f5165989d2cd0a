"""What speculative decoding does to the mean and to the tail: the bundled day on the platform in a box, with and without it.

python tests/bench/bench_speculation.py
"""

import statistics

from rich.console import Console
from rich.table import Table

from scaler.demo.summary import quantiles
from scaler.model import Bounds
from scaler.settings import ObjectiveSettings, WorldEndpointSettings, WorldSettings
from scaler.world.simulate import Result, run_day
from scaler.world.workload import OFFICE_DAY, arrivals, read_trace

DAY = 86_400.0
REPLICAS = 4


def day(*, speculative: bool) -> Result:
    """The same requests on the same replicas, far from saturation, so that nothing but decoding differs."""
    endpoint = WorldEndpointSettings(
        model="meta-llama/Llama-3.3-70B-Instruct", hardware="2x_nvidia_h100_80gb_sxm", speculative_decoding=speculative
    )
    world = WorldSettings(endpoints=(endpoint,))
    planned = arrivals(read_trace(OFFICE_DAY), seconds=DAY, requests=24_000, seed=1)
    return run_day(world, planned, bounds=Bounds(REPLICAS, REPLICAS), until=DAY + 3600, objective=ObjectiveSettings())


def main() -> None:
    """Print the table."""
    table = Table("speculative decoding", "mean latency", "p50", "p95", "p99", "slowest")
    for name, speculative in (("off", False), ("on", True)):
        latency = day(speculative=speculative).latency_seconds
        figures = (statistics.fmean(latency), *(value or 0.0 for value in quantiles(latency).values()), max(latency))
        table.add_row(name, *(f"{value:.1f} s" for value in figures))
    Console().print(table)


if __name__ == "__main__":
    main()
