"""A day in seconds: arrivals against a platform in virtual time."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile

from scaler.model import Bounds
from scaler.settings import ObjectiveSettings, WorldSettings
from scaler.world.endpoint import Endpoint
from scaler.world.platform import Platform
from scaler.world.refusals import Refused
from scaler.world.replica import Job, JobState
from scaler.world.workload import Arrival


@dataclass(frozen=True, slots=True)
class Result:
    """What a run cost and how well it served.

    ttft_seconds, latency_seconds: of the requests that were answered, in order of arrival
    attainment:                    share of all requests that met the objective; refused and unfinished ones did not
    """

    cost_dollars: float
    replica_hours: float
    requests: int
    refused: int
    ttft_seconds: tuple[float, ...]
    latency_seconds: tuple[float, ...]
    attainment: float


def run_day(
    settings: WorldSettings,
    arrivals: Iterable[Arrival],
    *,
    bounds: Bounds,
    until: float,
    objective: ObjectiveSettings,
) -> Result:
    """Send ``arrivals`` (in time order) to the settings' first endpoint within ``bounds``, from second 0 to ``until``.

    Equal bounds are a fixed number of replicas; between unequal ones the platform's native autoscaler decides. It begins with the
    minimum ready. Raises `Refused` when the settings contradict the catalog and `ValueError` when they have no endpoint.
    """
    platform, endpoint = _opened(settings, bounds)
    jobs, refused = _sent(platform, endpoint, arrivals, until=until)
    platform.advance(until)
    bill = endpoint.bill(until)
    answered = [job for job, _ in jobs if job.state is JobState.DONE]
    good = sum(_on_time(job, streamed, objective) for job, streamed in jobs)
    return Result(
        cost_dollars=bill.dollars,
        replica_hours=bill.replica_seconds / 3600,
        requests=len(jobs) + refused,
        refused=refused,
        ttft_seconds=tuple(job.first_token_at - job.arrived_at for job in answered if job.first_token_at is not None),
        latency_seconds=tuple(job.finished_at - job.arrived_at for job in answered if job.finished_at is not None),
        attainment=good / max(1, len(jobs) + refused),
    )


def _opened(settings: WorldSettings, bounds: Bounds) -> tuple[Platform, Endpoint]:
    """A platform with the settings' first endpoint alone, within ``bounds``."""
    if not settings.endpoints:
        raise ValueError("expected an endpoint in the world's settings")
    first = settings.endpoints[0].model_copy(update={"min_replicas": bounds.min_replicas, "max_replicas": bounds.max_replicas})
    platform = Platform(settings.model_copy(update={"endpoints": (first,)}))
    (endpoint,) = platform.endpoints
    return platform, endpoint


def _sent(platform: Platform, endpoint: Endpoint, arrivals: Iterable[Arrival], *, until: float) -> tuple[list[tuple[Job, bool]], int]:
    """What was accepted before ``until``, each with whether it is streamed, and how many were refused."""
    jobs: list[tuple[Job, bool]] = []
    refused = 0
    for arrival in takewhile(lambda arrival: arrival.at < until, arrivals):
        try:
            jobs.append((platform.submit(endpoint.identity.id, arrival.input_tokens, arrival.output_tokens, arrival.at), arrival.streamed))
        except Refused:
            refused += 1
    return jobs, refused


def _on_time(job: Job, streamed: bool, objective: ObjectiveSettings) -> bool:  # noqa: FBT001 (a fact about the job)
    """A stream's first token and any answer's end within the objective's times."""
    if job.state is not JobState.DONE or job.first_token_at is None or job.finished_at is None:
        return False
    begun = not streamed or objective.ttft_seconds is None or job.first_token_at - job.arrived_at <= objective.ttft_seconds
    return begun and (objective.latency_seconds is None or job.finished_at - job.arrived_at <= objective.latency_seconds)
