"""Which names lead to which endpoint: the configuration's own, and the inference name that the provider gave.

A name once learned is remembered in the store, so that a restart while the provider is silent still serves its routes.
"""

from collections.abc import Mapping

from scaler.model import Endpoint
from scaler.proxy.routes import MAX_IN_FLIGHT, Objective, Route, RouteTable
from scaler.settings import EndpointSettings


def route_table(endpoints: Mapping[str, EndpointSettings], known: Mapping[str, Endpoint]) -> RouteTable:
    """Routes of all endpoints whose inference name is configured or known; the others wait for the provider's word."""
    routes = []
    for key, settings in endpoints.items():
        name = settings.name or (known[key].name if key in known and known[key].id == settings.id else None)
        if name is not None:
            objective = Objective(settings.objective.ttft_seconds, settings.objective.latency_seconds)
            names = frozenset({key, settings.id, name, *settings.aliases})
            routes.append(Route(key, name, names, objective, _max_in_flight(settings), settings.traffic.retry_stale))
    return RouteTable.of(routes)


def _max_in_flight(settings: EndpointSettings) -> int:
    """As configured, or far above what a busy endpoint needs: the limit is there for what the others need."""
    planned = settings.max_replicas * settings.policy.target_concurrency
    return settings.traffic.max_in_flight or max(MAX_IN_FLIGHT, round(4 * planned))
