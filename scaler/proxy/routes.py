"""Where requests go: an immutable table, swapped whole."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

MAX_IN_FLIGHT = 1024
"""Requests that an endpoint may have at once where nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class Objective:
    """What a good answer is, in seconds; None = no such demand."""

    ttft_seconds: float | None = None
    latency_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint as the proxy sees it.

    key:            the configuration's name of the endpoint; the label of its meter
    model:          what the upstream wants to read in the request's ``model`` (the endpoint's inference name)
    names:          what clients may write there: key, id, name, aliases
    max_in_flight:  requests at once, waiting ones among them; beyond it 503, so that one endpoint cannot take what all need
    retry_stale:    whether a request that met a kept connection's end is sent once more; see `scaler.proxy.exchange`
    """

    key: str
    model: str
    names: frozenset[str]
    objective: Objective = Objective()
    max_in_flight: int = MAX_IN_FLIGHT
    retry_stale: bool = False


@dataclass(frozen=True, slots=True)
class RouteTable:
    """A snapshot. The proxy looks a name up once per request; a new table takes effect with the next request."""

    routes: tuple[Route, ...] = ()
    _by_name: Mapping[str, Route] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the names; a name that two routes claim is a `ValueError`."""
        index: dict[str, Route] = {}
        for route in self.routes:
            for name in route.names | {route.key, route.model}:
                if index.setdefault(name, route) is not route:
                    raise ValueError(f"{name!r} names both {index[name].key!r} and {route.key!r}")
        object.__setattr__(self, "_by_name", MappingProxyType(index))

    @classmethod
    def of(cls, routes: Iterable[Route]) -> "RouteTable":
        """A table of these routes."""
        return cls(tuple(routes))

    def find(self, name: str) -> Route | None:
        """The route that a request's ``model`` asks for."""
        return self._by_name.get(name)
