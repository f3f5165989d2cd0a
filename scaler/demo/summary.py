"""The figures at the end: what was served, how well, and what it would have cost otherwise."""

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from scaler.demo.load import Answer
from scaler.model import Bounds
from scaler.settings import ObjectiveSettings, WorldSettings
from scaler.world.simulate import Result, run_day
from scaler.world.workload import Arrival

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def quantiles(values: Iterable[float]) -> dict[str, float | None]:
    """p50, p95 and p99 by nearest rank; None where there are no values."""
    ranked = sorted(values)
    if not ranked:
        return dict.fromkeys(QUANTILES, None)
    return {name: round(ranked[max(0, math.ceil(share * len(ranked)) - 1)], 4) for name, share in QUANTILES.items()}


def within(answer: Answer, objective: ObjectiveSettings) -> bool:
    """Whether a request was answered as well as it should be."""
    late = objective.latency_seconds is not None and answer.latency > objective.latency_seconds
    slow = objective.ttft_seconds is not None and answer.ttft is not None and answer.ttft > objective.ttft_seconds
    return answer.ok and not late and not slow


@dataclass(frozen=True, slots=True)
class Alternatives:
    """The same day, bought differently: always on at the size that its peak needs, and the native autoscaler alone."""

    always_on_replicas: int
    always_on: Result
    native: Result


def alternatives(
    world: WorldSettings, arrivals: Sequence[Arrival], objective: ObjectiveSettings, *, most: int, until: float
) -> Alternatives:
    """Play the day again in virtual time. Always-on takes the fewest replicas (at most ``most``) that meet the objective's share."""
    runs: dict[Bounds, Result] = {}
    with ProcessPoolExecutor(max_workers=2) as pool:

        def run(*choices: Bounds) -> None:
            fresh = [bounds for bounds in choices if bounds not in runs]
            futures = [pool.submit(run_day, world, arrivals, bounds=bounds, until=until, objective=objective) for bounds in fresh]
            runs.update({bounds: future.result() for bounds, future in zip(fresh, futures, strict=True)})

        native = Bounds(1, most)
        low, high = 1, most
        while low < high:
            middle = (low + high) // 2
            run(Bounds(middle, middle), native)
            low, high = (low, middle) if runs[Bounds(middle, middle)].attainment >= objective.share else (middle + 1, high)
        run(Bounds(low, low), native)
    return Alternatives(low, runs[Bounds(low, low)], runs[native])


def figures(
    answers: Sequence[Answer], objective: ObjectiveSettings, bill: dict[str, Any], other: Alternatives, decisions: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Everything the table shows, as JSON-ready values. ``bill`` is the world's own: ``cost_dollars`` and ``replica_hours``."""
    good = [answer for answer in answers if answer.ok]
    return {
        "requests": len(answers),
        "streamed": sum(answer.streamed for answer in answers),
        "proxy_failures": sum(answer.proxy_fault for answer in answers),
        "refused": sum(not answer.ok and not answer.proxy_fault for answer in answers),
        "objective": objective.model_dump(),
        "attainment": round(sum(within(answer, objective) for answer in answers) / max(1, len(answers)), 4),
        "latency_seconds": quantiles(answer.latency for answer in good),
        "ttft_seconds": quantiles(answer.ttft for answer in good if answer.ttft is not None),
        "cost_dollars": {
            "scaler": round(bill["cost_dollars"], 2),
            "always_on_peak": round(other.always_on.cost_dollars, 2),
            "native": round(other.native.cost_dollars, 2),
        },
        "replica_hours": {
            "scaler": round(bill["replica_hours"], 2),
            "always_on_peak": round(other.always_on.replica_hours, 2),
            "native": round(other.native.replica_hours, 2),
        },
        "attainment_of": {
            "always_on_peak": round(other.always_on.attainment, 4),
            "native": round(other.native.attainment, 4),
        },
        "always_on_replicas": other.always_on_replicas,
        "decisions": list(decisions),
    }


def table(result: dict[str, Any]) -> Table:
    """The figures for people."""
    objective = result["objective"]
    title = f"{result['requests']:,} requests ({result['streamed']:,} streamed), {len(result['decisions'])} changes"
    shown = Table(title=title, title_justify="left")
    shown.add_column("")
    for name in ("scaler", "always on at peak", "native alone"):
        shown.add_column(name, justify="right")
    cost, hours, share = result["cost_dollars"], result["replica_hours"], result["attainment_of"]
    names = ("scaler", "always_on_peak", "native")
    shown.add_row("replica-hours", *(f"{hours[name]:.1f}" for name in names))
    shown.add_row("cost", *(f"${cost[name]:.2f}" for name in names))
    demands = " and ".join(
        f"{what} <= {objective[key]:g} s" for what, key in (("TTFT", "ttft_seconds"), ("latency", "latency_seconds")) if objective[key]
    )
    attained = (result["attainment"], share["always_on_peak"], share["native"])
    shown.add_row(f"within the objective ({demands})", *(f"{value:.2%}" for value in attained), end_section=True)
    for what, key in (("TTFT", "ttft_seconds"), ("latency", "latency_seconds")):
        values = " / ".join("-" if value is None else f"{value:.2f} s" for value in result[key].values())
        shown.add_row(f"{what} p50 / p95 / p99", values, "", "")
    shown.add_row("failed because of the proxy", str(result["proxy_failures"]), "", "")
    shown.add_row("refused by the endpoint", str(result["refused"]), "", "")
    return shown
