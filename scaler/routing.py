"""Which names lead to which endpoint: the configuration's own, and the inference name that the provider gave.

A name once learned is remembered in the store, so that a restart while the provider is silent still serves its routes.
"""

from collections.abc import Mapping

from scaler.model import Endpoint
from scaler.proxy.routes import Objective, Route, RouteTable
from scaler.settings import EndpointSettings


def route_table(endpoints: Mapping[str, EndpointSettings], known: Mapping[str, Endpoint]) -> RouteTable:
    """Routes of all endpoints whose inference name is configured or known; the others wait for the provider's word."""
    routes = []
    for key, settings in endpoints.items():
        name = settings.name or (known[key].name if key in known and known[key].id == settings.id else None)
        if name is not None:
            objective = Objective(settings.objective.ttft_seconds, settings.objective.latency_seconds)
            routes.append(Route(key, name, frozenset({key, settings.id, name, *settings.aliases}), objective))
    return RouteTable.of(routes)
