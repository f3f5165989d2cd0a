"""The platform: endpoints, stock and time. A pure, passive, deterministic state machine.

Every method takes ``now`` (seconds of the world, never going back) and first lives through everything due until then, in time order.
Same settings, same calls: same events. Nothing here waits, reads a clock or touches a network.
"""

import math
import random
import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from scaler.model import Bounds
from scaler.settings import WorldEndpointSettings, WorldSettings
from scaler.world.agenda import Agenda
from scaler.world.billing import Bill
from scaler.world.catalog import HARDWARE, MODELS, ZONES, Hardware
from scaler.world.endpoint import RUNNING, Api, Endpoint, Identity
from scaler.world.fleet import Site
from scaler.world.refusals import Invalid, NotFound
from scaler.world.replica import Job
from scaler.world.stock import Stock

MAX_ENDPOINTS = 1_000
"""Endpoints at once."""
MAX_REPLICAS = 2**31 - 1
"""The API's integers are int32."""
DEFAULT_TIMEOUT_MINUTES = 60
"""Idle limit of an endpoint whose creator said nothing about it."""

Availability = Literal["available", "insufficient", "unavailable"]


@dataclass(frozen=True, slots=True)
class Wish:
    """What an endpoint is created from.

    inactive_timeout_minutes: 0 = never
    zones:                    where its replicas may stand; none named = anywhere
    speculation:              whether a draft model guesses ahead
    api, id, name:            v2 gives its deployments ids and names of its own; a v1 endpoint's are made up
    """

    model: str
    hardware: str
    bounds: Bounds
    display_name: str | None = None
    inactive_timeout_minutes: int = DEFAULT_TIMEOUT_MINUTES
    zones: tuple[str, ...] = ()
    start: bool = True
    speculation: bool = False
    api: Api = "v1"
    id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What an update asks for; None = leave as it is."""

    min_replicas: int | None = None
    max_replicas: int | None = None
    display_name: str | None = None
    inactive_timeout_minutes: int | None = None
    state: Literal["STARTED", "STOPPED"] | None = None


class Platform:
    """See the module."""

    def __init__(self, settings: WorldSettings, now: float = 0.0) -> None:
        """A world at ``now`` with the endpoints of its settings. Raises `Refused` when these contradict the catalog."""
        self.now = now
        self._settings = settings
        self._agenda = Agenda()
        self._stock = Stock(settings.stock)
        self._site = Site(settings, self._agenda, self._stock, self._released)
        self._names = random.Random(f"{settings.seed}/names")
        self._created = 0
        self._by_id: dict[str, Endpoint] = {}
        self._by_name: dict[str, Endpoint] = {}
        self._past = Bill()
        for endpoint in settings.endpoints:
            self._begin_with(endpoint)
        self.advance(now)

    # Time

    def next_event(self) -> float | None:
        """When something happens next if nobody does anything, in seconds; None = never."""
        return self._agenda.next()

    def advance(self, now: float) -> None:
        """Live through everything that is due until ``now``. Raises `ValueError` when that is in the past."""
        if now < self.now:
            raise ValueError(f"the world is at {self.now} s and cannot go back to {now} s")
        agenda = self._agenda
        while (due := agenda.next()) is not None and due <= now:
            event = agenda.pop()
            self.now = event.at
            event.action(event.at)
        self.now = now

    # What one sees

    @property
    def endpoints(self) -> Iterable[Endpoint]:
        """All that exist, in order of creation."""
        return self._by_id.values()

    def endpoint(self, endpoint_id: str, now: float) -> Endpoint:
        """The endpoint of this id, as it is ``now``. Raises `NotFound`."""
        self.advance(now)
        return self._find(endpoint_id)

    def availability(self, hardware_id: str) -> Availability:
        """Whether a replica could be placed; insufficient: all of them are taken, unavailable: there are none at all."""
        if not self._stock.total(hardware_id):
            return "unavailable"
        return "available" if self._stock.free(hardware_id) else "insufficient"

    def free(self, hardware_id: str, zones: Collection[str] = ()) -> int:
        """Replicas of this hardware that could be placed in one of ``zones``; none named = anywhere."""
        return self._stock.free(hardware_id, zones)

    def cost(self, endpoint_id: str, now: float) -> float:
        """Dollars spent on the endpoint, every started minute of every replica. Raises `NotFound`."""
        return self.endpoint(endpoint_id, now).bill(now).dollars

    def replica_seconds(self, endpoint_id: str, now: float) -> float:
        """Billed seconds of all replicas, before rounding up to minutes. Raises `NotFound`."""
        return self.endpoint(endpoint_id, now).bill(now).replica_seconds

    def total(self, now: float) -> Bill:
        """What everything has cost, deleted endpoints included."""
        self.advance(now)
        return sum((endpoint.bill(now) for endpoint in self.endpoints), self._past)

    # What the owner does

    def create(self, wish: Wish, now: float) -> Endpoint:
        """A new endpoint: PENDING, or STOPPED if so wished. Raises `Invalid` or `NotFound`."""
        self.advance(now)
        endpoint = self._add(wish)
        if wish.start:
            endpoint.start(now, after=self._settings.placement_seconds)
            self.advance(now)
        return endpoint

    def update(self, endpoint_id: str, change: Change, now: float) -> Endpoint:
        """Change all of it or, with `Invalid` or `NotFound`, nothing. Starting and stopping are only begun."""
        endpoint = self.endpoint(endpoint_id, now)
        bounds = Bounds(
            endpoint.bounds.min_replicas if change.min_replicas is None else change.min_replicas,
            endpoint.bounds.max_replicas if change.max_replicas is None else change.max_replicas,
        )
        runs = endpoint.state in RUNNING if change.state is None else change.state == "STARTED"
        _check(bounds, least_maximum=1 if runs else 0)
        if change.display_name is not None:
            endpoint.display_name = change.display_name
        if change.state == "STOPPED":
            endpoint.stop(now)
        endpoint.set_bounds(bounds, now)
        if change.state == "STARTED":
            endpoint.start(now)
        if change.inactive_timeout_minutes is not None:
            endpoint.set_inactive_timeout(change.inactive_timeout_minutes, now)
        self.advance(now)
        return endpoint

    def delete(self, endpoint_id: str, now: float) -> None:
        """Remove it for good; requests in flight fail. What it has cost stays in `total`. Raises `NotFound`."""
        endpoint = self.endpoint(endpoint_id, now)
        endpoint.fail(now)
        self._past += endpoint.bill(now)
        del self._by_id[endpoint.identity.id], self._by_name[endpoint.identity.name]
        self.advance(now)

    def fail(self, endpoint_id: str, now: float) -> None:
        """Break it: state ERROR, replicas and requests lost. Raises `NotFound`."""
        self.endpoint(endpoint_id, now).fail(now)
        self.advance(now)

    # What can go wrong

    def set_stock(self, hardware_id: str, replicas: int, now: float) -> None:
        """So many replicas of this hardware there are from ``now`` on; placed ones stay. Raises `NotFound` or `Invalid`."""
        self.advance(now)
        if hardware_id not in HARDWARE:
            raise NotFound(f"Hardware {hardware_id} was not found")
        if not 0 <= replicas <= MAX_REPLICAS:
            raise Invalid(f"Invalid stock: expected 0 to {MAX_REPLICAS} replicas, got {replicas}")
        self._stock.set_total(hardware_id, replicas)
        self._share_out(hardware_id, now)
        self.advance(now)

    def fail_next_starts(self, endpoint_id: str, count: int, now: float) -> None:
        """The next ``count`` cold starts of this endpoint end in vain.

        One that should bring the endpoint into service ends in ERROR instead; one beside serving replicas is lost and tried again.
        Cold starts under way count; 0 takes it back. Raises `NotFound` or `Invalid`.
        """
        if count < 0:
            raise Invalid(f"Invalid count: expected 0 or more, got {count}")
        self.endpoint(endpoint_id, now).fail_next_starts(count)

    def slow_starts(self, factor: float) -> None:
        """Cold starts from now on take ``factor`` times as long; 1 takes it back. Raises `Invalid`."""
        if not 0 < factor < math.inf:
            raise Invalid(f"Invalid factor: expected a positive number, got {factor}")
        self._site.cold_start_factor = factor

    def lose_replica(self, endpoint_id: str, now: float) -> None:
        """The busiest ready replica vanishes: its requests fail, and another one is started. Raises `NotFound` or `Invalid`."""
        self.endpoint(endpoint_id, now).lose_replica(now)
        self.advance(now)

    # What clients do

    def submit(self, name: str, input_tokens: int, output_tokens: int, now: float, prompt: bytes | None = None) -> Job:
        """Send a request to the endpoint of this name or id. Raises `NotFound`, `NotRunning` or `Overloaded`.

        Most of the prefill is spared when ``prompt``, a key of the request's text, was seen before; None is a text like no other.
        """
        self.advance(now)
        endpoint = self._by_name.get(name) or self._find(name)
        return endpoint.submit(input_tokens, output_tokens, now, prompt)

    def cancel(self, job: Job, now: float) -> None:
        """The client of this request is gone; harmless when it has ended."""
        self.advance(now)
        if not job.ended:
            self._by_id[job.endpoint_id].cancel(job, now)
            self.advance(now)

    # Inside

    def _find(self, endpoint_id: str) -> Endpoint:
        endpoint = self._by_id.get(endpoint_id)
        if endpoint is None:
            raise NotFound(f"Endpoint not found: {endpoint_id}")
        return endpoint

    def _add(self, wish: Wish) -> Endpoint:
        hardware = _fitting_hardware(wish)
        _check(wish.bounds, least_maximum=1 if wish.api == "v1" else 0)
        if len(self._by_id) >= MAX_ENDPOINTS:
            raise Invalid(f"There are {MAX_ENDPOINTS} endpoints already; delete one first")
        if wish.id in self._by_id:
            raise Invalid(f"Endpoint {wish.id} stands twice")
        made_up = f"endpoint-{uuid.UUID(int=self._names.getrandbits(128), version=4)}"
        name = wish.name or f"{self._settings.owner}/{wish.model}-{self._names.getrandbits(32):08x}"
        identity = Identity(wish.id or made_up, name, wish.model, hardware, wish.zones, self.now, wish.speculation, wish.api)
        self._created += 1
        seed = f"{self._settings.seed}/{self._created}"
        endpoint = Endpoint(identity, wish.bounds, wish.inactive_timeout_minutes, site=self._site, seed=seed)
        endpoint.display_name = wish.display_name or name
        self._by_id[identity.id] = endpoint
        self._by_name[name] = endpoint
        return endpoint

    def _begin_with(self, settings: WorldEndpointSettings) -> None:
        wish = Wish(
            settings.model,
            settings.hardware,
            Bounds(settings.min_replicas, settings.max_replicas),
            settings.display_name,
            settings.inactive_timeout_minutes,
            speculation=settings.speculative_decoding,
            id=settings.id,
        )
        endpoint = self._add(wish)
        if settings.state == "STARTED":
            endpoint.start(self.now)
            self.advance(self.now)
            endpoint.fleet.skip_cold_starts(self.now)

    def _released(self, hardware_id: str, now: float) -> None:
        """Whoever waits for this hardware may have it, the oldest endpoint first."""
        self._agenda.add(now, lambda now: self._share_out(hardware_id, now))

    def _share_out(self, hardware_id: str, now: float) -> None:
        for endpoint in list(self.endpoints):
            if endpoint.identity.hardware.id == hardware_id:
                endpoint.reconcile(now)


def _fitting_hardware(wish: Wish) -> Hardware:
    if wish.model not in MODELS:
        raise NotFound(f"Model {wish.model} was not found among the models for dedicated endpoints")
    if wish.hardware not in HARDWARE:
        raise Invalid(f"Invalid hardware provided: {wish.hardware!r}; check the hardware API for the options of {wish.model}")
    if wish.hardware not in MODELS[wish.model]:
        raise NotFound(f"Hardware {wish.hardware} is not available for this model; check the hardware API for the options of {wish.model}")
    for zone in wish.zones:
        if zone not in ZONES:
            raise Invalid(f"Unknown availability zone {zone!r}; expected one of {', '.join(ZONES)}")
    return HARDWARE[wish.hardware]


def _check(bounds: Bounds, *, least_maximum: int = 1) -> None:
    if not (0 <= bounds.min_replicas <= bounds.max_replicas <= MAX_REPLICAS and bounds.max_replicas >= least_maximum):
        raise Invalid(
            f"Invalid autoscaling: expected 0 <= min_replicas <= max_replicas and max_replicas >= {least_maximum}, "
            f"got min_replicas {bounds.min_replicas} and max_replicas {bounds.max_replicas}"
        )
