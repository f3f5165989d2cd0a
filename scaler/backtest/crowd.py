"""The people of a request-mode backtest: they ask, give up when nobody begins to answer, and remember how it went.

Each request passes through the proxy's own meter, so whoever decides sees what it would see live.
"""

from collections import deque
from dataclasses import dataclass
from functools import partial

from scaler.backtest.fluid import ON_TIME_SECONDS, PATIENCE_SECONDS
from scaler.proxy.meter import InFlight, RouteMeter
from scaler.proxy.routes import Objective
from scaler.world.platform import Platform
from scaler.world.refusals import Refused
from scaler.world.replica import Job, JobState, ReplicaState
from scaler.world.workload import Arrival

OUTCOMES = {JobState.DONE: "2xx", JobState.CANCELLED: "aborted", JobState.FAILED: "failed"}


@dataclass(slots=True)
class Fate:
    """What became of one request. ``job`` None: refused at the door; ``starting``: it came while a replica was on its way."""

    arrival: Arrival
    job: Job | None
    starting: bool

    @property
    def arrived_at(self) -> float:
        """When it came."""
        return self.arrival.at

    @property
    def on_time(self) -> bool:
        """Whether it waited no longer than it may, and got its answer (or still does at the end)."""
        job = self.job
        if job is None or job.state in (JobState.CANCELLED, JobState.FAILED) or job.started_at is None:
            return False
        return job.started_at - self.arrived_at <= ON_TIME_SECONDS


class Crowd:
    """All requests to one endpoint."""

    def __init__(self, platform: Platform, endpoint_id: str, objective: Objective) -> None:
        """``objective``: what the meter calls slow."""
        self.meter = RouteMeter(lambda: platform.now)
        self.fates: list[Fate] = []
        self._platform = platform
        self._endpoint = platform.endpoint(endpoint_id, platform.now)
        self._objective = objective
        self._waiting: deque[Job] = deque()

    def arrive(self, arrival: Arrival) -> None:
        """One more, at its time."""
        self.lose_patience(arrival.at)
        self._platform.advance(arrival.at)
        flight = self.meter.enter(self._objective)
        flight.sent()
        starting = self._endpoint.fleet.count(ReplicaState.STARTING) > 0
        try:
            job = self._endpoint.submit(arrival.input_tokens, arrival.output_tokens, arrival.at)
        except Refused:
            flight.finish("5xx")
            self.fates.append(Fate(arrival, None, starting))
            return
        job.notify = partial(_tell, flight, job, arrival)
        self.fates.append(Fate(arrival, job, starting))
        if job.started_at is None:
            self._waiting.append(job)

    def lose_patience(self, now: float) -> None:
        """Those who have waited for too long by ``now`` leave at the moment at which they had."""
        while self._waiting and self._waiting[0].arrived_at + PATIENCE_SECONDS <= now:
            job = self._waiting.popleft()
            self._platform.advance(max(self._platform.now, job.arrived_at + PATIENCE_SECONDS))
            if job.started_at is None:
                self._platform.cancel(job, self._platform.now)


def _tell(flight: InFlight, job: Job, arrival: Arrival) -> None:
    """The meter hears of a request's first token, and of its end with the usage that a real answer ends with."""
    if not job.ended:
        if arrival.streamed:
            flight.head(200, streamed=True, readable=True)
            flight.body(b"\n")
        return
    if job.state is JobState.DONE:
        if not arrival.streamed:
            flight.head(200, streamed=False, readable=True)
        flight.body(b'"usage": {"prompt_tokens": %d, "completion_tokens": %d}' % (arrival.input_tokens, arrival.output_tokens))
    flight.finish(OUTCOMES[job.state])
