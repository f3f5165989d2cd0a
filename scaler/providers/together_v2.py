"""Together's second dedicated-endpoint API, ``/v2/projects/{project}/endpoints/{endpoint}/deployments/{deployment}``: reading.

What the rest of the house calls an endpoint is a deployment here: it has the bounds, the replicas and the price. Its inference name is
that of the endpoint above it. Parsing is as strict as that of v1; what v2 may leave out stays None, for no data is not zero.
"""

import re
from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from scaler.model import Bounds, Endpoint, EndpointState, Price, Start
from scaler.providers.base import OWN, Availability, BadReply, EndpointSummary, Hardware, Listing, NotFound, Refused, Specs
from scaler.providers.http import JsonClient
from scaler.providers.wire import Count, Shown, Text, Wire, read

PREFIX = "DEPLOYMENT_STATE_"
STATES = {
    f"{PREFIX}PROVISIONING": EndpointState.STARTING,
    f"{PREFIX}SCALING": EndpointState.STARTED,
    f"{PREFIX}READY": EndpointState.STARTED,
    f"{PREFIX}DEGRADED": EndpointState.STARTED,
    f"{PREFIX}STOPPING": EndpointState.STOPPING,
    f"{PREFIX}STOPPED": EndpointState.STOPPED,
    f"{PREFIX}FAILED": EndpointState.ERROR,
}
PAGE = 100
MAX_PAGES = 50
MAX_EVENTS = 1000
STARTUP = "pod.startup_phase_changed"
STARTED_UP = "StartupComplete"
ID = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
NOT_OFFERED = 501

Id = Annotated[str, Field(max_length=200, pattern=f"^{ID}$")]
Rows = Annotated[list[Any], Field(max_length=10_000)]


class NotOffered(Refused):
    """This generation of the API has no such thing; the message says what to use. Nothing was sent."""

    def __init__(self, message: str) -> None:
        """``message`` says what to use instead."""
        super().__init__(message, status=NOT_OFFERED, code="not_offered")


class _V2(Wire):
    model_config = ConfigDict(alias_generator=to_camel)


class _Project(Wire):
    id: Id


class _Whoami(Wire):
    project: _Project | None = None


class _Page(Wire):
    data: Rows
    next_cursor: Text | None = None


class _Autoscaling(_V2):
    min_replicas: Count | None = None
    max_replicas: Count | None = None


class _Summary(_V2):
    id: Id
    name: Shown = ""
    state: Text
    model: Shown = ""
    created_at: Shown = ""


class _Parent(_V2):
    id: Id
    name: Text
    endpoint_type: Shown = ""
    deployments: Annotated[tuple[_Summary, ...], Field(max_length=10_000, strict=False)] = ()


class _Status(_V2):
    state: Text
    message: Shown = ""
    ready_replicas: Count | None = None
    scheduled_replicas: Count | None = None


class _Deployment(_V2):
    id: Id
    name: Text
    model: Text
    hardware: Text
    autoscaling: _Autoscaling
    status: _Status
    desired_replicas: Count | None = None
    inactive_timeout: Count | None = None
    etag: Text | None = None
    created_at: Shown = ""


class _Headroom(Wire):
    relation: Shown = ""
    value: Count | None = None


class _Region(Wire):
    name: Text
    headroom: _Headroom | None = None


class _InstanceType(_V2):
    id: Text
    name: Text
    gpu_type: Shown = ""
    gpu_count: Count
    gpu_memory_gib: Count
    price_cents_per_hour: Count
    regions: Annotated[tuple[_Region, ...], Field(max_length=1000, strict=False)] = ()


class _Catalog(Wire):
    data: Annotated[list[_InstanceType], Field(max_length=10_000)]


def _moment(value: object) -> object:
    """RFC 3339 comes as text, which strict reading would not take for a time."""
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return value


class _Event(_V2):
    type: Text
    created_at: Annotated[AwareDatetime, BeforeValidator(_moment)]
    deployment_id: Shown = ""
    replica_id: Shown = ""
    reason: Shown = ""
    status: Shown = ""
    message: Shown = ""


def parse_deployment(body: object) -> Endpoint:
    """A deployment as an endpoint. Raises `BadReply`."""
    wire = read(_Deployment, "deployment", body)
    bounds = _bounds(wire)
    degraded = wire.status.state == f"{PREFIX}DEGRADED"
    return Endpoint(
        id=wire.id,
        name=_inference_name(wire.name),
        model=wire.model,
        hardware=wire.hardware,
        state=parse_state(wire.status.state, bounds, placed=bool(wire.status.scheduled_replicas)),
        bounds=bounds,
        display_name=wire.name,
        ready_replicas=wire.status.ready_replicas,
        inactive_timeout_minutes=wire.inactive_timeout or 0,
        created_at=wire.created_at,
        etag=wire.etag,
        desired_replicas=wire.desired_replicas,
        message=wire.status.message,
        missing_replicas=_missing(wire, bounds) if degraded else 0,
    )


def expect_deployment(body: object, deployment_id: str) -> Endpoint:
    """`parse_deployment`, and `BadReply` if it is another one than we spoke of."""
    endpoint = parse_deployment(body)
    if endpoint.id != deployment_id:
        raise BadReply(f"deployment: asked for {deployment_id}, told of another")
    return endpoint


def _bounds(wire: _Deployment) -> Bounds:
    """Bounds left out are zero where nothing runs (JSON of protobuf drops zeros), and a `BadReply` everywhere else."""
    low, high = wire.autoscaling.min_replicas, wire.autoscaling.max_replicas
    if wire.status.state in (f"{PREFIX}STOPPED", f"{PREFIX}STOPPING"):
        low, high = low or 0, high or 0
    if low is None or high is None or low > high:
        raise BadReply("deployment: autoscaling: expected minReplicas <= maxReplicas, both told")
    return Bounds(low, high)


def _inference_name(name: str) -> str:
    """``<slug>/<endpoint>`` of ``<slug>/<endpoint>/<deployment>``."""
    parts = name.split("/")
    if len(parts) != 3 or not all(parts):  # noqa: PLR2004 (project, endpoint, deployment)
        raise BadReply("deployment: name: expected <project>/<endpoint>/<deployment>")
    return "/".join(parts[:2])


def _missing(wire: _Deployment, bounds: Bounds) -> int:
    """Replicas of a degraded deployment that the platform wants and has not placed."""
    wanted = bounds.min_replicas if wire.desired_replicas is None else wire.desired_replicas
    placed = max(wire.status.scheduled_replicas or 0, wire.status.ready_replicas or 0)
    return max(0, wanted - placed)


def parse_state(word: str, bounds: Bounds | None, *, placed: bool) -> EndpointState:
    """v2's word as ours. Bounds of 0..0 are a stop under way, whatever the word; ``placed``: a first replica has its hardware."""
    state = STATES.get(word, EndpointState.UNKNOWN)
    if bounds == Bounds(0, 0) and state in (EndpointState.STARTED, EndpointState.STARTING):
        return EndpointState.STOPPING
    return EndpointState.PENDING if state is EndpointState.STARTING and not placed else state


def parse_catalog(body: object) -> tuple[Hardware, ...]:
    """The instance types, each under its id and under its name: a deployment may speak of its hardware by either.

    Prices are in cents per hour for one replica. Raises `BadReply`.
    """
    return tuple(
        Hardware(
            word,
            Price(item.price_cents_per_hour / 60),
            _availability(item.regions),
            Specs(item.gpu_type, "", item.gpu_memory_gib, item.gpu_count),
        )
        for item in read(_Catalog, "instance types", body).data
        for word in dict.fromkeys((item.id, item.name))
    )


def _availability(regions: Iterable[_Region]) -> Availability:
    """Room anywhere is room; only where every region says that it has none there is none."""
    said = [region.headroom for region in regions if region.headroom is not None]
    if any(headroom.value for headroom in said):
        return Availability.AVAILABLE
    full = bool(said) and all(headroom.relation == "RELATION_EQ" and headroom.value == 0 for headroom in said)
    return Availability.UNAVAILABLE if full else Availability.UNKNOWN


def parse_starts(body: object, deployment_id: str) -> tuple[Start, ...]:
    """The complete starts among a deployment's events, by the time they began. Raises `BadReply`."""
    events = [read(_Event, "event", item) for item in read(_Page, "events", body).data]
    begun: dict[str, float] = {}
    starts = []
    for event in sorted(events, key=lambda event: event.created_at):
        if event.type != STARTUP or event.deployment_id != deployment_id or not event.replica_id:
            continue
        at = event.created_at.timestamp()
        began = begun.setdefault(event.replica_id, at)
        if STARTED_UP in (event.reason, event.status) or STARTED_UP in event.message:
            starts.append(Start(event.replica_id, began, at))
            del begun[event.replica_id]
    return tuple(sorted((start for start in starts if start.ready_at > start.started_at), key=lambda start: start.started_at))


class Directory:
    """Where things are: the project of the key, and the endpoint above each deployment. Asked for once and remembered."""

    def __init__(self, client: JsonClient, project: str | None) -> None:
        """The client belongs to somebody else; ``project`` spares the question."""
        self._client = client
        self._project = project
        self._parents: dict[str, str] = {}

    async def project(self) -> str:
        """Path of the project; `NotOffered` if the key belongs to none and none is configured. Raises `ProviderError`."""
        if self._project is None:
            found = read(_Whoami, "whoami", await self._client.call("GET", "/v3/whoami")).project
            if found is None:
                raise NotOffered("GET /v3/whoami: the key belongs to no single project; set provider.project")
            self._project = found.id
        return f"/v2/projects/{self._project}"

    async def endpoint(self, deployment_id: str) -> str:
        """Path of the endpoint above a deployment; `NotFound` if there is none. Raises `ProviderError`."""
        if not re.fullmatch(ID, deployment_id):
            raise ValueError(f"not a deployment id: {deployment_id!r}")
        project = await self.project()
        if deployment_id not in self._parents:
            self._parents = {item.id: parent.id async for parent in self.parents() for item in parent.deployments}
        if deployment_id not in self._parents:
            raise NotFound(f"no deployment {deployment_id} in project {self._project}", status=404, code=None)
        return f"{project}/endpoints/{self._parents[deployment_id]}"

    async def deployment(self, deployment_id: str) -> str:
        """Path of a deployment. Raises as `endpoint` does."""
        return f"{await self.endpoint(deployment_id)}/deployments/{deployment_id}"

    async def parents(self) -> AsyncIterator[_Parent]:
        """All endpoints of the project, page by page. Raises `ProviderError`, and `BadReply` for a list without end."""
        path, query = f"{await self.project()}/endpoints", {"limit": str(PAGE)}
        for _ in range(MAX_PAGES):
            page = read(_Page, "endpoints", await self._client.call("GET", path, query=query))
            for item in page.data:
                yield read(_Parent, "endpoint", item)
            if page.next_cursor is None:
                return
            query = {"limit": str(PAGE), "after": page.next_cursor}
        raise BadReply(f"GET {path}: more than {MAX_PAGES} pages")

    async def look(self) -> None:
        """One call that succeeds only where there is such a project. Raises `ProviderError`."""
        read(_Page, "endpoints", await self._client.call("GET", f"{await self.project()}/endpoints", query={"limit": "1"}))

    def knows(self, deployment_id: str) -> bool:
        """Whether the endpoint above it is remembered."""
        return deployment_id in self._parents

    def forget(self, deployment_id: str) -> None:
        """It is not where it was: look again next time."""
        self._parents.pop(deployment_id, None)


class TogetherV2Reader:
    """The reading half of the API; see `scaler.providers.base.Reader`."""

    def __init__(self, client: JsonClient, project: str | None = None) -> None:
        """Takes the client over and closes it in the end; its base is the host root."""
        self._client = client
        self.directory = Directory(client, project)

    async def get(self, endpoint_id: str) -> Endpoint:
        """``GET`` of the deployment; one that is not where it was is looked for once more."""
        remembered = self.directory.knows(endpoint_id)
        try:
            return await self._get(endpoint_id)
        except NotFound:
            self.directory.forget(endpoint_id)
            if not remembered:
                raise
        return await self._get(endpoint_id)

    async def _get(self, endpoint_id: str) -> Endpoint:
        path = await self.directory.deployment(endpoint_id)
        return expect_deployment(await self._client.call("GET", path), endpoint_id)

    async def hardware(self, model: str | None = None) -> tuple[Hardware, ...]:
        """``GET /v2/public/inference-instance-types``; which of them serve ``model``, v2 says in the model's configs only."""
        if model is not None:
            raise NotOffered("v2 binds hardware to a model's configs; `together endpoints deploy MODEL` shows them")
        return parse_catalog(await self._client.call("GET", "/v2/public/inference-instance-types"))

    async def list(self, which: Listing = OWN) -> tuple[EndpointSummary, ...]:
        """The deployments of the project; others' and serverless ones are not to be seen in v2."""
        if which.type == "serverless":
            raise NotOffered("v2 lists the project's own dedicated deployments only; leave type out")
        kinds = {None: ("",), "on-demand": ("ENDPOINT_TYPE_DEDICATED",), "reserved": ("ENDPOINT_TYPE_RESERVED",)}[which.usage_type]
        parents = [parent async for parent in self.directory.parents() if which.usage_type is None or parent.endpoint_type in kinds]
        return tuple(_summary(parent, item) for parent in parents for item in parent.deployments)

    async def zones(self) -> tuple[str, ...]:
        """v2 places by region: the names of those that offer anything."""
        catalog = read(_Catalog, "instance types", await self._client.call("GET", "/v2/public/inference-instance-types"))
        return tuple(sorted({region.name for item in catalog.data for region in item.regions}))

    async def starts(self, endpoint_id: str) -> tuple[Start, ...]:
        """The last complete starts of replicas, from the events of the endpoint above."""
        path = f"{await self.directory.endpoint(endpoint_id)}/events"
        query = {"deploymentIds": endpoint_id, "types": STARTUP, "limit": str(MAX_EVENTS)}
        return parse_starts(await self._client.call("GET", path, query=query), endpoint_id)

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()


def _summary(parent: _Parent, item: _Summary) -> EndpointSummary:
    return EndpointSummary(
        id=item.id,
        name=parent.name,
        model=item.model,
        type="dedicated",
        owner=parent.name.partition("/")[0],
        state=parse_state(item.state, None, placed=False),
        created_at=item.created_at,
        display_name=item.name,
    )
