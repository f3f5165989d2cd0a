"""One dedicated endpoint: its life, the queue in front of its replicas, and what decides their number.

States: PENDING (not placed) -> STARTING (booting) -> STARTED (serving) -> STOPPING -> STOPPED; ERROR from anywhere.
Methods take ``now`` in seconds and expect that the agenda has been worked off up to it.
"""

import math
import random
from collections import deque
from dataclasses import dataclass
from typing import Literal

from scaler.model import Bounds, EndpointState
from scaler.world.agenda import Event
from scaler.world.autoscaler import NativeAutoscaler, Scaling
from scaler.world.billing import MINUTE, Bill
from scaler.world.catalog import Hardware
from scaler.world.fleet import Fleet, Site
from scaler.world.prompt_cache import PromptCache
from scaler.world.refusals import Invalid, NotRunning, Overloaded
from scaler.world.replica import Job, JobState, Replica, ReplicaState

RUNNING = frozenset({EndpointState.PENDING, EndpointState.STARTING, EndpointState.STARTED})
"""States in which the endpoint serves or is on its way there."""

PACE_MEAN, PACE_SIGMA = 0.7, 0.8
"""Speculative decoding multiplies the time per output token: log-normal, mean and standard deviation of the logarithm.

Half of the requests take about half the time, one in 25 twice and one in 80 three times as long: drafts that are never accepted.
"""
SCALINGS = 200
"""Changes of the desired number that an endpoint remembers."""

Api = Literal["v1", "v2"]
"""The product it was created through: a v1 endpoint, or a deployment of v2."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What never changes about an endpoint. ``created_at`` is in seconds of the world; no ``zones`` = anywhere."""

    id: str
    name: str
    model: str
    hardware: Hardware
    zones: tuple[str, ...]
    created_at: float
    speculation: bool = False
    api: Api = "v1"


@dataclass(frozen=True, slots=True)
class Scaled:
    """The desired number of replicas changed."""

    at: float
    old: int
    new: int


class Endpoint:
    """Public attributes are for reading; only methods change them.

    ``desired`` is the number of replicas it steers to, ``open_jobs`` counts requests queued and in flight, ``requests`` all that it
    ever accepted, ``scaled`` is the recent past of ``desired``.
    """

    def __init__(self, identity: Identity, bounds: Bounds, inactive_timeout_minutes: int, *, site: Site, seed: str) -> None:
        """Begins STOPPED; ``seed`` decides how long each of its cold starts takes, and how lucky each request's drafts are."""
        self.identity = identity
        self.display_name = identity.name
        self.bounds = bounds
        self.inactive_timeout_minutes = inactive_timeout_minutes
        self.state = EndpointState.STOPPED
        self.desired = 0
        self.fleet = Fleet(identity.hardware, identity.zones, site, seed, booted=self._booted, reached=self._reached)
        self.queue: deque[Job] = deque()
        self.open_jobs = 0
        self.requests = 0
        self.scaled: deque[Scaled] = deque(maxlen=SCALINGS)
        self._settings = site.settings
        self._agenda = site.agenda
        self._autoscaler = NativeAutoscaler(Scaling.of(site.settings.native_autoscaler), identity.created_at)
        self._prompts = PromptCache()
        self._drafts = random.Random(f"{seed}/drafts")
        self._failing_starts = 0
        self._place_from = 0.0
        self._looked_at = 0.0
        self._load = 0.0
        self._load_at = 0.0
        self._active_at = 0.0
        self._look_event: Event | None = None
        self._idle_event: Event | None = None
        self._stopped_event: Event | None = None

    @property
    def in_flight(self) -> int:
        """Requests on replicas, draining ones included."""
        return self.open_jobs - len(self.queue)

    def bill(self, now: float) -> Bill:
        """What it has cost up to ``now``, running replicas included."""
        return self.fleet.bill(now)

    # What its owner does

    def start(self, now: float, *, after: float = 0.0) -> None:
        """Begin to run, placing replicas ``after`` seconds from now; harmless when it runs already."""
        if self.state in RUNNING:
            return
        self._agenda.cancel(self._stopped_event)
        self.state = EndpointState.PENDING
        self._steer(max(1, self.bounds.min_replicas), now)
        self._place_from = now + after
        self._agenda.add(self._place_from, self.reconcile)

    def stop(self, now: float) -> None:
        """Serve nobody new: requests in flight finish, waiting ones fail, and ``stop_seconds`` later it is STOPPED."""
        if self.state in (EndpointState.STOPPING, EndpointState.STOPPED):
            return
        self._leave_service(EndpointState.STOPPING, now)
        self.fleet.shed(self.fleet.size, now)
        self._when_empty(now)

    def fail(self, now: float) -> None:
        """Break: all replicas are gone, all requests fail."""
        self._leave_service(EndpointState.ERROR, now)
        self._agenda.cancel(self._stopped_event)
        for replica in list(self.fleet.replicas):
            self._lose(replica, now)

    def fail_next_starts(self, count: int) -> None:
        """The next ``count`` cold starts to end, those under way included, end in vain."""
        self._failing_starts = count

    def lose_replica(self, now: float) -> None:
        """The busiest ready replica vanishes, its requests fail, and it is replaced. Raises `Invalid` when none is ready."""
        ready = [replica for replica in self.fleet.replicas if replica.state is ReplicaState.READY]
        if not ready:
            raise Invalid(f"Endpoint {self.identity.name} has no ready replica to lose")
        self._lose(max(ready, key=lambda replica: replica.in_flight), now)
        self.reconcile(now)

    def set_bounds(self, bounds: Bounds, now: float) -> None:
        """New limits; the desired number moves between them at once."""
        self.bounds = bounds
        if self.state in RUNNING:
            floor = bounds.min_replicas if self.state is EndpointState.STARTED else max(1, bounds.min_replicas)
            self._steer(min(max(self.desired, floor), bounds.max_replicas), now)
            self.reconcile(now)

    def set_scaling(self, scaling: Scaling) -> None:
        """What its autoscaler goes by from now on."""
        self._autoscaler.scaling = scaling

    def set_inactive_timeout(self, minutes: int, now: float) -> None:
        """New idle limit in minutes, counted from the latest activity; 0 = never."""
        self.inactive_timeout_minutes = minutes
        if self.state is EndpointState.STARTED:
            self._watch_idleness(now)

    # What clients do

    def submit(self, input_tokens: int, output_tokens: int, now: float, prompt: bytes | None = None) -> Job:
        """Accept a request, or raise `NotRunning` or `Overloaded`. Equal ``prompt`` keys are equal prompts; None is like no other."""
        if self.state is not EndpointState.STARTED:
            raise NotRunning(f"Endpoint {self.identity.name} is not running (state {self.state})")
        replica = self.fleet.least_loaded()
        if replica is None and len(self.queue) >= self._settings.max_queued:
            raise Overloaded(f"Endpoint {self.identity.name} is overloaded, please try again later")
        cached = self._prompts.cached_tokens(prompt, input_tokens)
        job = Job(self.identity.id, input_tokens, output_tokens, now, pace=self._pace(), cached_tokens=cached)
        self._note_load(now)
        self.open_jobs += 1
        self.requests += 1
        self._active_at = now
        self.queue.append(job)
        if replica is not None:
            self._fill(replica, now)
        return job

    def cancel(self, job: Job, now: float) -> None:
        """The client is gone: free the slot, or the place in the queue; harmless after the end."""
        if job.ended:
            return
        replica = job.replica
        if replica is None:
            self.queue.remove(job)
            job.end(JobState.CANCELLED, now)
            self._job_over(now)
        else:
            replica.leave(job, JobState.CANCELLED, now)
            self._departed(replica, now)

    # What decides the number of replicas

    def reconcile(self, now: float) -> None:
        """Bring the fleet to the desired size, as far as the stock allows.

        A first placement through v1 is all or nothing: a minimum that does not fit leaves the endpoint PENDING. All others take what
        there is.
        """
        if self.state not in RUNNING or now < self._place_from:
            return
        short = self.desired - self.fleet.size
        if short < 0:
            self.fleet.shed(-short, now)
            return
        free = self.fleet.free
        if self.state is EndpointState.PENDING:
            if free < (max(1, self.bounds.min_replicas) if self.identity.api == "v1" else 1):
                return
            self.state = EndpointState.STARTING
        for _ in range(min(short, free)):
            self.fleet.place(now)

    def _look(self, now: float) -> None:
        """The native autoscaler's turn: judge by the mean number of open requests since its last one."""
        self._note_load(now)
        mean = self._load / (now - self._looked_at)
        wanted = self._autoscaler.look(mean, self.desired, now)
        self._steer(min(max(wanted, self.bounds.min_replicas), self.bounds.max_replicas), now)
        self.reconcile(now)
        self._next_look(now)

    def _steer(self, desired: int, now: float) -> None:
        if desired != self.desired:
            self.scaled.append(Scaled(now, self.desired, desired))
            self.desired = desired

    def _next_look(self, now: float) -> None:
        self._load, self._looked_at = 0.0, now
        self._look_event = self._agenda.add(now + self._settings.native_autoscaler.period_seconds, self._look)

    def _note_load(self, now: float) -> None:
        self._load += self.open_jobs * (now - self._load_at)
        self._load_at = now

    # What its life is

    def _enter_service(self, now: float) -> None:
        self.state = EndpointState.STARTED
        self._autoscaler = NativeAutoscaler(self._autoscaler.scaling, now)
        self._prompts = PromptCache()
        self._active_at = self._load_at = now
        self._next_look(now)
        self._watch_idleness(now)

    def _leave_service(self, state: EndpointState, now: float) -> None:
        self.state = state
        self._steer(0, now)
        self._agenda.cancel(self._look_event)
        self._agenda.cancel(self._idle_event)
        while self.queue:
            self.queue.popleft().end(JobState.FAILED, now)
            self._job_over(now)

    def _watch_idleness(self, now: float) -> None:
        """Stop when idle for too long; one event stands for all requests, and looks again if it came in vain."""
        self._agenda.cancel(self._idle_event)
        if not self.inactive_timeout_minutes:
            return
        due = (now if self.open_jobs else self._active_at) + self.inactive_timeout_minutes * MINUTE
        if due <= now:
            self.stop(now)
        else:
            self._idle_event = self._agenda.add(due, self._watch_idleness)

    def _when_empty(self, now: float) -> None:
        """Once the last replica is gone, the rest of stopping is a matter of time."""
        if self.state is EndpointState.STOPPING and not self.fleet.replicas:
            self._stopped_event = self._agenda.add(now + self._settings.stop_seconds, self._stopped)

    def _stopped(self, now: float) -> None:  # noqa: ARG002 (the shape of an event)
        self.state = EndpointState.STOPPED

    # What happens to replicas and requests

    def _booted(self, replica: Replica, now: float) -> None:
        """A cold start is over."""
        if self._failing_starts:
            self._failing_starts -= 1
            self._start_failed(replica, now)
            return
        replica.state = ReplicaState.READY
        if self.state is EndpointState.STARTING:
            self._enter_service(now)
        self._fill(replica, now)

    def _start_failed(self, replica: Replica, now: float) -> None:
        """The first start of an endpoint takes it down; one beside serving replicas is tried again."""
        if self.state is EndpointState.STARTING:
            self.fail(now)
        else:
            self._lose(replica, now)
            self.reconcile(now)

    def _lose(self, replica: Replica, now: float) -> None:
        """A replica and its requests are gone."""
        for job in replica.jobs():
            replica.leave(job, JobState.FAILED, now)
            self._job_over(now)
        self.fleet.release(replica, now)

    def _reached(self, replica: Replica, now: float) -> None:
        """A milestone of a request: its first token or its end."""
        if replica.step(now) is None:
            self.fleet.plan(replica)
        else:
            self._departed(replica, now)

    def _departed(self, replica: Replica, now: float) -> None:
        """A slot is free: the next in line takes it, or a draining replica comes to its end."""
        self._job_over(now)
        if replica.state is ReplicaState.DRAINING and not replica.in_flight:
            self.fleet.release(replica, now)
            self._when_empty(now)
        else:
            self._fill(replica, now)

    def _fill(self, replica: Replica, now: float) -> None:
        """Let the queue in as far as there is room."""
        while self.queue and replica.has_room:
            replica.admit(self.queue.popleft(), now)
        self.fleet.plan(replica)

    def _pace(self) -> float:
        """How the time per output token of the next request differs from that without speculation."""
        if not self.identity.speculation:
            return 1.0
        return self._drafts.lognormvariate(math.log(PACE_MEAN) - PACE_SIGMA**2 / 2, PACE_SIGMA)

    def _job_over(self, now: float) -> None:
        self._note_load(now)
        self.open_jobs -= 1
        self._active_at = now
