"""Where requests go: an immutable table, swapped whole."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from math import ceil
from types import MappingProxyType

from scaler.proxy_settings import WakeSettings

MAX_IN_FLIGHT = 1024
"""Requests that an endpoint may have at once where nobody says otherwise."""
USUAL = WakeSettings()


@dataclass(frozen=True, slots=True)
class Objective:
    """What a good answer is, in seconds; None = no such demand."""

    ttft_seconds: float | None = None
    latency_seconds: float | None = None


class Standing(IntEnum):
    """How near an endpoint is to serving; a greater number is nearer."""

    ASLEEP = 0
    WAKING = 1
    READY = 2


@dataclass(frozen=True, slots=True)
class Readiness:
    """What is known of an endpoint's readiness at the monotonic second ``at``.

    capacity:            requests in flight that its ready replicas serve well; of one replica while none is ready
    since:               monotonic second at which a start under way was first seen
    remaining_seconds:   how long it will take at most, very likely, until it serves; None if nobody can tell
    """

    standing: Standing
    at: float
    capacity: float
    since: float | None = None
    remaining_seconds: float | None = None


NO_OBJECTIVE = Objective()


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint as the proxy sees it.

    key:            the configuration's name of the endpoint; the label of its meter
    model:          what the upstream wants to read in the request's ``model`` (the endpoint's inference name)
    names:          what clients may write there: key, id, name, aliases
    max_in_flight:  requests at once, waiting ones among them; beyond it 503, so that one endpoint cannot take what all need
    retry_stale:    whether a request that met a kept connection's end is sent once more; see `scaler.proxy.exchange`
    pool:           a name that it shares with other routes; a request for it goes to the best of them
    wake:           what becomes of requests that cannot be served at once
    readiness:      None = not known: requests pass
    """

    key: str
    model: str
    names: frozenset[str]
    objective: Objective = NO_OBJECTIVE
    max_in_flight: int = MAX_IN_FLIGHT
    retry_stale: bool = False
    pool: str | None = None
    wake: WakeSettings = USUAL
    readiness: Readiness | None = None

    def share(self, workers: int) -> "Route":
        """What one of so many proxies may do of it; counts are rounded up."""
        known = self.readiness
        readiness = None if known is None else replace(known, capacity=known.capacity / workers)
        wake = _share_of(self.wake, workers)
        return replace(self, max_in_flight=ceil(self.max_in_flight / workers), readiness=readiness, wake=wake)

    def unknown(self) -> "Route":
        """The same, without anything known of its readiness."""
        return replace(self, readiness=None)


def _share_of(wake: WakeSettings, workers: int) -> WakeSettings:
    counts = {"max_held": ceil(wake.max_held / workers), "max_held_bytes": ceil(wake.max_held_bytes / workers)}
    if wake.fallback is None:
        return wake.model_copy(update=counts)
    limits = {name: ceil(getattr(wake.fallback, name) / workers) for name in ("requests_per_minute", "requests_per_day")}
    return wake.model_copy(update={**counts, "fallback": wake.fallback.model_copy(update=limits)})


@dataclass(frozen=True, slots=True)
class RouteTable:
    """A snapshot. The proxy looks a name up once per request; a new table takes effect with the next request."""

    routes: tuple[Route, ...] = ()
    pools: Mapping[str, tuple[Route, ...]] = field(init=False, repr=False, compare=False)
    """Routes by the name that they share, in the table's order."""
    by_name: Mapping[str, Route] = field(init=False, repr=False, compare=False)
    """Routes by all that clients may call them."""

    def __post_init__(self) -> None:
        """Index the names; a name that two routes claim is a `ValueError`."""
        index: dict[str, Route] = {}
        for route in self.routes:
            for name in route.names | {route.key, route.model}:
                if index.setdefault(name, route) is not route:
                    raise ValueError(f"{name!r} names both {index[name].key!r} and {route.key!r}")
        pools: dict[str, tuple[Route, ...]] = {}
        for route in self.routes:
            if route.pool is not None:
                if route.pool in index:
                    raise ValueError(f"{route.pool!r} names {index[route.pool].key!r} and a pool")
                pools[route.pool] = (*pools.get(route.pool, ()), route)
        object.__setattr__(self, "pools", MappingProxyType(pools))
        object.__setattr__(self, "by_name", index)

    @classmethod
    def of(cls, routes: Iterable[Route]) -> "RouteTable":
        """A table of these routes."""
        return cls(tuple(routes))

    def find(self, name: str) -> Route | None:
        """The route that a request's ``model`` asks for."""
        return self.by_name.get(name)
