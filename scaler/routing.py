"""What the request path is told: which names lead to which endpoint, and how near each endpoint is to serving.

Names are the configuration's own, and the inference name that the provider gave; one once learned is remembered in the store, so that a
restart while the provider is silent still serves its routes. Readiness is what was seen last; nothing known means that requests pass.
"""

from collections.abc import Mapping

from scaler.model import Endpoint, EndpointState
from scaler.policy.cold_start import PLANNED
from scaler.policy.fleet import Fleet
from scaler.policy.learned import Learned
from scaler.proxy.routes import MAX_IN_FLIGHT, Objective, Readiness, Route, RouteTable, Standing
from scaler.settings import EndpointSettings

STANDINGS = {
    EndpointState.PENDING: Standing.WAKING,
    EndpointState.STARTING: Standing.WAKING,
    EndpointState.STARTED: Standing.READY,
    EndpointState.STOPPING: Standing.ASLEEP,
    EndpointState.STOPPED: Standing.ASLEEP,
}
"""An endpoint in any other state says itself what is wrong with it."""


def route_table(endpoints: Mapping[str, EndpointSettings], known: Mapping[str, Endpoint], readiness: Mapping[str, Readiness]) -> RouteTable:
    """Routes of all endpoints whose inference name is configured or known; the others wait for the provider's word."""
    routes = []
    for key, settings in endpoints.items():
        name = settings.name or (known[key].name if key in known and known[key].id == settings.id else None)
        if name is not None:
            routes.append(_route(key, name, settings, readiness.get(key)))
    return RouteTable.of(routes)


def _route(key: str, name: str, settings: EndpointSettings, readiness: Readiness | None) -> Route:
    return Route(
        key,
        name,
        names=frozenset({key, settings.id, name, *settings.aliases}),
        objective=Objective(settings.objective.ttft_seconds, settings.objective.latency_seconds),
        max_in_flight=_max_in_flight(settings),
        retry_stale=settings.traffic.retry_stale,
        pool=settings.pool,
        wake=settings.wake,
        readiness=readiness,
    )


def _max_in_flight(settings: EndpointSettings) -> int:
    """As configured, or far above what a busy endpoint needs, those that wait among them: the limit is there for what the others need."""
    planned = settings.max_replicas * settings.policy.per_replica
    return settings.traffic.max_in_flight or max(MAX_IN_FLIGHT, round(4 * planned), settings.wake.max_held + round(planned))


def readiness_of(
    endpoint: Endpoint,
    fleet: Fleet | None,
    learned: Learned,
    settings: EndpointSettings,
    before: Readiness | None,
    *,
    wakes: bool,
    now: float,
) -> Readiness | None:
    """How near ``endpoint`` is at ``now``, given what was known before. ``wakes``: whether a call of the request path starts it.

    None where requests may as well pass: the endpoint's own answer then says what is wrong.
    """
    standing = STANDINGS.get(endpoint.state)
    if standing is None or (standing is Standing.ASLEEP and not wakes):
        return None
    ready = fleet.ready if fleet is not None else 0
    if standing is Standing.READY and fleet is not None and fleet.total and not ready:
        standing = Standing.WAKING  # all of its replicas are on their way, or wait for hardware
    capacity = learned.per_replica(settings) * max(1, ready)
    if standing is Standing.READY:
        return Readiness(standing, now, capacity)
    starts = learned.lead(settings)
    if standing is Standing.ASLEEP:
        return Readiness(standing, now, capacity, remaining_seconds=starts.remaining(0.0, PLANNED))
    since = now if before is None or before.since is None else before.since
    return Readiness(standing, now, capacity, since, starts.remaining(now - since, PLANNED))
