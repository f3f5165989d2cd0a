"""The reactive core: how many replicas the traffic of the last seconds needs, and whether one fewer would do.

Stable and panic windows after Knative's autoscaler, tolerance and stabilization after Kubernetes' HPA, and the consolidation
question that both leave out: would N-1 replicas still meet the objective?
"""

import math
from dataclasses import dataclass

from scaler.policy.fleet import Fleet
from scaler.policy.history import History
from scaler.settings import EndpointSettings, PolicySettings

ROUNDING = 1e-9
"""Forgiven where a figure meets its bound exactly."""


@dataclass(frozen=True, slots=True)
class Need:
    """Replicas needed now, and the figures behind it.

    stable, panic:  mean concurrency over either window
    replicas:       what serves it at the planned utilization (0 without traffic)
    burst:          the panic window asks for a multiple of what is ready
    per_replica:    requests in flight that a replica is taken to serve well
    """

    stable: float
    panic: float
    replicas: int
    burst: bool
    per_replica: float


def replicas_for(concurrency: float, policy: PolicySettings) -> int:
    """ceil(concurrency / (per_replica x target_utilization)), forgiving rounding errors."""
    return math.ceil(concurrency / (policy.per_replica * policy.target_utilization) - ROUNDING)


def measure(history: History, fleet: Fleet, policy: PolicySettings, now: float) -> Need:
    """The need at ``now``. Within the tolerance of what is there already, it is what is there."""
    stable = history.mean_concurrency(now - policy.stable_window_seconds)
    panic = history.mean_concurrency(now - policy.panic_window_seconds)
    sudden = replicas_for(panic, policy)
    burst = sudden >= policy.panic_threshold * max(1, fleet.ready)
    planned = fleet.total * policy.per_replica * policy.target_utilization
    steady = planned > 0 and abs(stable / planned - 1) <= policy.tolerance
    usual = fleet.total if steady else replicas_for(stable, policy)
    return Need(stable, panic, max(usual, sudden) if burst else usual, burst, policy.per_replica)


def refuse_consolidation(history: History, replicas: int, settings: EndpointSettings, now: float, window: float) -> str | None:
    """Why ``replicas`` would not do for the load of the last ``window`` seconds, or None if they would.

    The window's peak must fit the replicas' full target (headroom is there for peaks), and the objective must be met today:
    whoever misses it with N will not meet it with N-1.
    """
    policy = settings.policy
    start = now - window
    peak = history.peak_concurrency(start)
    if peak > replicas * policy.per_replica:
        return f"the last {window:.0f} s saw {peak:.1f} requests in flight, {peak / replicas:.1f} for each of {replicas}"
    slow = history.slow_share(start)
    allowed = 1 - settings.objective.share
    if slow > allowed + ROUNDING:
        return f"{slow:.1%} of answers miss the objective already, {allowed:.1%} may"
    return None
