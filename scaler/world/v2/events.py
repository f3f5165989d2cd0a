"""What happened to an endpoint and its deployments, newest first: an audit of writes, changes of size, and the lives of replicas."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from typing_extensions import TypedDict  # (pydantic describes no other one before Python 3.12)

from scaler.world.replica import Replica
from scaler.world.v2.registry import Deployment, Endpoint

Level = Literal["LEVEL_DEBUG", "LEVEL_INFO", "LEVEL_WARN", "LEVEL_ERROR"]
LEVELS: tuple[Level, ...] = ("LEVEL_DEBUG", "LEVEL_INFO", "LEVEL_WARN", "LEVEL_ERROR")
PHASES = (("PullingImage", 0.0), ("Starting", 0.3), ("LoadingWeights", 0.4), ("StartupComplete", 1.0))
"""What a cold start goes through, and after which share of it."""


class Details(TypedDict, total=False):
    """Fields that only some types of events have."""

    deploymentId: str
    name: str
    oldReplicas: int
    newReplicas: int
    replicaId: str
    containerName: str
    serviceType: str
    clusterId: str
    reason: str


@dataclass(frozen=True, slots=True)
class Happening:
    """One entry of the feed."""

    at: float
    id: str
    type: str
    message: str
    deployment_id: str | None = None
    level: Level = "LEVEL_INFO"
    more: Details = field(default_factory=Details)


def feed(endpoint: Endpoint, now: float) -> list[Happening]:
    """All that is remembered, newest first."""
    happenings = [*_writes(endpoint), *(event for deployment in endpoint.deployments.values() for event in _life(deployment, now))]
    return sorted(happenings, key=lambda event: (event.at, event.id), reverse=True)


def _writes(endpoint: Endpoint) -> Iterator[Happening]:
    for note in endpoint.notes:
        identity = f"evt_{endpoint.id}_{note.at:.3f}_{note.type}_{note.deployment_id or ''}"
        yield Happening(note.at, identity, note.type, note.message, note.deployment_id, more={"name": note.name} if note.name else {})


def _life(deployment: Deployment, now: float) -> Iterator[Happening]:
    for scaled in deployment.workload.scaled:
        message = f"Scaled from {scaled.old} to {scaled.new} replicas"
        sizes: Details = {"oldReplicas": scaled.old, "newReplicas": scaled.new}
        identity = f"evt_{deployment.id}_{scaled.at:.3f}_scaled_{scaled.new}"
        yield Happening(scaled.at, identity, "deployment.scaled", message, deployment.id, more=sizes)
    for replica in deployment.workload.fleet.history:
        yield from _replica_life(deployment, replica, now)


def _replica_life(deployment: Deployment, replica: Replica, now: float) -> Iterator[Happening]:
    """Start-up phases over the cold start, and the end."""
    end = now if replica.released_at is None else replica.released_at
    pod = f"{deployment.id}-{replica.number}"
    more: Details = {"replicaId": pod, "containerName": "engine", "serviceType": "model-deployment", "clusterId": replica.zone}
    for order, (phase, share) in enumerate(PHASES):
        at = replica.placed_at + share * (replica.ready_at - replica.placed_at)
        if at <= end and not (phase == "StartupComplete" and replica.released_at == at):
            message = f"Replica {pod} entered {phase}"
            yield Happening(at, f"evt_{pod}_{order}", "pod.startup_phase_changed", message, deployment.id, more=more | {"reason": phase})
    if replica.released_at is not None:
        failed = replica.released_at == replica.ready_at
        message = f"Replica {pod} {'failed to start' if failed else 'terminated'}"
        level: Level = "LEVEL_ERROR" if failed else "LEVEL_INFO"
        yield Happening(replica.released_at, f"evt_{pod}_end", "pod.terminated", message, deployment.id, level, more)
