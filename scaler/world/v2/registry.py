"""Endpoints, their deployments and the split of traffic among them: a pure state machine in front of the platform.

Every write gives a resource a new etag. A write that carries another one is refused with `Conflict` (HTTP 409); one that carries none
overwrites. Methods take ``now`` in seconds of the world.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scaler.model import Bounds, EndpointState
from scaler.settings import WorldSettings
from scaler.world.endpoint import RUNNING
from scaler.world.endpoint import Endpoint as Workload
from scaler.world.platform import Change, Platform, Wish
from scaler.world.refusals import Conflict, Invalid, NotFound, Unroutable
from scaler.world.replica import ReplicaState
from scaler.world.v2.autoscaling import Autoscaling
from scaler.world.v2.offers import Config

MAX_ENDPOINTS = 200
MAX_DEPLOYMENTS = 20
"""Deployments of one endpoint."""
MAX_NOTES = 500
"""Writes that an endpoint remembers."""
LEAST_TIMEOUT, MOST_TIMEOUT = 30, 1440
"""Minutes of inactivity after which a deployment may be stopped."""
PROJECT_ID = "proj-1"
ORGANIZATION_ID = "org-1"
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""What an endpoint or a deployment may be called."""

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a deployment is created from. ``shown`` is kept and shown, and means nothing to the world."""

    name: str
    config: Config
    autoscaling: Autoscaling
    inactive_timeout: int = 0
    zones: tuple[str, ...] = ()
    shown: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a client did. ``deployment_id`` is None for the endpoint itself."""

    at: float
    type: str
    message: str
    deployment_id: str | None = None
    name: str = ""


@dataclass(slots=True)
class Deployment:
    """A workload of the platform under v2's names. ``autoscaling`` is its JSON as the client wrote it, both bounds filled in."""

    id: str
    name: str
    config: Config
    workload: Workload
    autoscaling: Document
    shown: Mapping[str, Any]
    created_at: float
    updated_at: float
    version: int = 1

    @property
    def etag(self) -> str:
        """Its version, opaque to clients."""
        return f"{self.id}-{self.version}"

    @property
    def ready(self) -> int:
        """Replicas that serve."""
        return self.workload.fleet.count(ReplicaState.READY)

    @property
    def state(self) -> str:
        """One of v2's states, without their prefix."""
        workload = self.workload
        if workload.state in (EndpointState.STOPPING, EndpointState.STOPPED):
            return workload.state
        if workload.state is EndpointState.ERROR:
            return "FAILED"
        if self.missing and not workload.fleet.free:
            return "DEGRADED"
        if workload.state is not EndpointState.STARTED:
            return "PROVISIONING"
        return "READY" if self.ready == workload.desired else "SCALING"

    @property
    def missing(self) -> int:
        """Replicas that are desired and not even scheduled."""
        return max(0, self.workload.desired - self.workload.fleet.size)


@dataclass(slots=True)
class Endpoint:
    """A name that routes to deployments. ``split`` is weight by deployment id."""

    id: str
    name: str
    created_at: float
    updated_at: float
    deployments: dict[str, Deployment] = field(default_factory=dict)
    split: dict[str, float] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    version: int = 1

    @property
    def etag(self) -> str:
        """Its version, opaque to clients."""
        return f"{self.id}-{self.version}"

    def share(self, deployment: Deployment) -> float:
        """The part of the traffic that the deployment gets: weight times ready replicas, of all such products."""
        return self._capacity(deployment) / (sum(map(self._capacity, self.deployments.values())) or 1.0)

    def _capacity(self, deployment: Deployment) -> float:
        return self.split.get(deployment.id, 0.0) * deployment.ready

    def touched(self, now: float) -> None:
        """It was written to."""
        self.version += 1
        self.updated_at = now

    def note(self, note: Note) -> None:
        """Remember a write, and forget the oldest beyond `MAX_NOTES`."""
        self.notes.append(note)
        del self.notes[:-MAX_NOTES]


class Registry:
    """See the module."""

    def __init__(self, platform: Platform, settings: WorldSettings) -> None:
        """Nothing is deployed; the owner's name is the project's slug."""
        self.slug = settings.owner
        self.endpoints: dict[str, Endpoint] = {}
        self._platform = platform
        self._settings = settings
        self._names = random.Random(f"{settings.seed}/v2/names")
        self._routes = random.Random(f"{settings.seed}/v2/routes")
        self._by_model: dict[str, Endpoint] = {}

    # Endpoints

    def endpoint(self, endpoint_id: str) -> Endpoint:
        """Raises `NotFound`."""
        found = self.endpoints.get(endpoint_id)
        if found is None:
            raise NotFound(f"Endpoint not found: {endpoint_id}")
        return found

    def create_endpoint(self, name: str, now: float) -> Endpoint:
        """A new name that routes to nothing. Raises `Invalid`, or `Conflict` when the name is taken."""
        bare = _bare(name, self.slug)
        model = f"{self.slug}/{bare}"
        if model in self._by_model:
            raise Conflict(f"Endpoint {model} already exists")
        if len(self.endpoints) >= MAX_ENDPOINTS:
            raise Invalid(f"There are {MAX_ENDPOINTS} endpoints already; delete one first")
        endpoint = Endpoint(f"ep_{self._names.getrandbits(64):016x}", bare, now, now)
        endpoint.note(Note(now, "endpoint.created", f"Endpoint {bare} created", name=bare))
        self.endpoints[endpoint.id] = self._by_model[model] = endpoint
        return endpoint

    def split_traffic(self, endpoint_id: str, split: Sequence[tuple[str, float]], etag: str | None, now: float) -> Endpoint:
        """Replace the weights, by deployment id; none = unrouted. Raises `NotFound`, `Conflict` or `Invalid`."""
        endpoint = self.endpoint(endpoint_id)
        _check_etag(endpoint, etag)
        for deployment_id, _ in split:
            if deployment_id not in endpoint.deployments:
                raise Invalid(f"trafficSplit: {deployment_id} is no deployment of {endpoint_id}")
        if len({deployment_id for deployment_id, _ in split}) < len(split):
            raise Invalid("trafficSplit: a deployment stands twice")
        endpoint.split = dict(split)
        endpoint.touched(now)
        endpoint.note(Note(now, "endpoint.updated", "Traffic split updated"))
        return endpoint

    def delete_endpoint(self, endpoint_id: str, etag: str | None) -> None:
        """Raises `NotFound`, or `Conflict` while it has deployments."""
        endpoint = self.endpoint(endpoint_id)
        _check_etag(endpoint, etag)
        if endpoint.deployments:
            raise Conflict(f"Endpoint {endpoint_id} still has deployments; delete them first")
        del self.endpoints[endpoint_id], self._by_model[f"{self.slug}/{endpoint.name}"]

    # Deployments

    def deployment(self, endpoint_id: str, deployment_id: str) -> Deployment:
        """Raises `NotFound`."""
        found = self.endpoint(endpoint_id).deployments.get(deployment_id)
        if found is None:
            raise NotFound(f"Deployment not found: {deployment_id}")
        return found

    def deploy(self, endpoint_id: str, plan: Plan, now: float, *, validate_only: bool = False) -> Deployment | None:
        """A new deployment, which gets no traffic yet; None if it is only to be validated.

        Raises `NotFound`, `Invalid`, or `Conflict` when the name is taken.
        """
        endpoint = self.endpoint(endpoint_id)
        name = _bare(plan.name, f"{self.slug}/{endpoint.name}")
        if any(deployment.name == name for deployment in endpoint.deployments.values()):
            raise Conflict(f"Deployment {name} already exists")
        if len(endpoint.deployments) >= MAX_DEPLOYMENTS:
            raise Invalid(f"Endpoint {endpoint_id} has {MAX_DEPLOYMENTS} deployments already")
        bounds = plan.autoscaling.bounds()
        _check_timeout(plan.inactive_timeout)
        if validate_only:
            return None
        deployment_id = f"dep_{self._names.getrandbits(64):016x}"
        workload = self._platform.create(self._wish(plan, bounds, deployment_id, f"{self.slug}/{endpoint.name}/{name}"), now)
        workload.set_scaling(plan.autoscaling.scaling(self._settings.native_autoscaler))
        document = _filled(plan.autoscaling, bounds)
        deployment = Deployment(deployment_id, name, plan.config, workload, document, plan.shown, now, now)
        endpoint.deployments[deployment_id] = deployment
        endpoint.note(Note(now, "deployment.created", f"Deployment {name} created", deployment_id, name))
        return deployment

    def update(self, endpoint_id: str, deployment_id: str, edit: "Edit", etag: str | None, now: float) -> Deployment:
        """Replace what ``edit`` has. 0..0 stops, other bounds start what does not run. Raises `NotFound`, `Conflict` or `Invalid`."""
        endpoint = self.endpoint(endpoint_id)
        deployment = self.deployment(endpoint_id, deployment_id)
        _check_etag(deployment, etag)
        bounds = None if edit.autoscaling is None else edit.autoscaling.bounds()
        if edit.inactive_timeout is not None:
            _check_timeout(edit.inactive_timeout)
        self._platform.update(deployment_id, _change(bounds, edit.inactive_timeout), now)
        if edit.autoscaling is not None and bounds is not None:
            deployment.workload.set_scaling(edit.autoscaling.scaling(self._settings.native_autoscaler))
            deployment.autoscaling = _filled(edit.autoscaling, bounds)
        deployment.shown = {**deployment.shown, **edit.shown}
        deployment.version += 1
        deployment.updated_at = now
        endpoint.note(Note(now, "deployment.updated", f"Updated {', '.join(edit.paths)}", deployment_id))
        return deployment

    def delete_deployment(self, endpoint_id: str, deployment_id: str, etag: str | None, now: float) -> None:
        """Remove it, from the traffic split too. Raises `NotFound`, or `Conflict` while it runs."""
        endpoint = self.endpoint(endpoint_id)
        deployment = self.deployment(endpoint_id, deployment_id)
        _check_etag(deployment, etag)
        if deployment.workload.state in RUNNING:
            raise Conflict(f"Deployment {deployment_id} is running; set minReplicas and maxReplicas to 0 and wait until it has stopped")
        self._platform.delete(deployment_id, now)
        del endpoint.deployments[deployment_id]
        if endpoint.split.pop(deployment_id, None) is not None:
            endpoint.touched(now)
        endpoint.note(Note(now, "deployment.deleted", f"Deployment {deployment.name} deleted", deployment_id, deployment.name))

    # Requests

    def route(self, model: str, now: float) -> str:
        """The platform's name for where a request goes; whatever is no v2 name comes back as it is.

        ``SLUG/ENDPOINT`` draws a deployment by its share, ``SLUG/ENDPOINT/DEPLOYMENT`` names it. Raises `Unroutable` when nothing that
        is ready has any share.
        """
        endpoint = self._by_model.get(model)
        if endpoint is not None:
            self._platform.advance(now)
            return self._drawn(endpoint)
        above, _, name = model.rpartition("/")
        endpoint = self._by_model.get(above)
        if endpoint is None:
            return model
        self._platform.advance(now)
        for deployment in endpoint.deployments.values():
            if deployment.name == name:
                return _routable(deployment, model)
        raise NotFound(f"Deployment not found: {model}")

    def _drawn(self, endpoint: Endpoint) -> str:
        shares = {deployment.id: endpoint.share(deployment) for deployment in endpoint.deployments.values()}
        if not any(shares.values()):
            raise Unroutable(f"No ready replica with traffic weight behind {self.slug}/{endpoint.name}")
        (drawn,) = self._routes.choices(list(shares), list(shares.values()))
        return drawn

    def _wish(self, plan: Plan, bounds: Bounds, deployment_id: str, name: str) -> Wish:
        return Wish(
            plan.config.model.name,
            plan.config.hardware.id,
            bounds,
            plan.name,
            plan.inactive_timeout,
            plan.zones,
            start=bounds.max_replicas > 0,
            speculation=plan.config.speculation,
            api="v2",
            id=deployment_id,
            name=name,
        )


@dataclass(frozen=True, slots=True)
class Edit:
    """New values for parts of a deployment; None = leave. ``paths`` names them for the record."""

    paths: tuple[str, ...]
    autoscaling: Autoscaling | None = None
    inactive_timeout: int | None = None
    shown: Mapping[str, Any] = field(default_factory=dict)


def _change(bounds: Bounds | None, inactive_timeout: int | None) -> Change:
    if bounds is None:
        return Change(inactive_timeout_minutes=inactive_timeout)
    state: Any = "STARTED" if bounds.max_replicas else "STOPPED"
    return Change(bounds.min_replicas, bounds.max_replicas, None, inactive_timeout, state)


def _filled(autoscaling: Autoscaling, bounds: Bounds) -> Document:
    given = autoscaling.model_dump(by_alias=True, exclude_none=True)
    return given | {"minReplicas": bounds.min_replicas, "maxReplicas": bounds.max_replicas}


def _bare(name: str, parent: str) -> str:
    """The name without its parent's, if it has that. Raises `Invalid`."""
    bare = name.removeprefix(f"{parent}/")
    if not re.fullmatch(NAME, bare):
        raise Invalid(f"Invalid name {name[:200]!r}: expected up to 100 letters, digits, '.', '_' and '-'")
    return bare


def _check_etag(resource: Endpoint | Deployment, etag: str | None) -> None:
    if etag is not None and etag != resource.etag:
        raise Conflict(f"The etag {etag[:100]!r} of {resource.id} is stale; read it again")


def _check_timeout(minutes: int) -> None:
    if minutes and not LEAST_TIMEOUT <= minutes <= MOST_TIMEOUT:
        raise Invalid(f"inactiveTimeout: expected 0 or {LEAST_TIMEOUT} to {MOST_TIMEOUT} minutes, got {minutes}")


def _routable(deployment: Deployment, model: str) -> str:
    if not deployment.ready:
        raise Unroutable(f"No ready replica behind {model}")
    return deployment.id
