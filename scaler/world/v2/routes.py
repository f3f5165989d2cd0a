"""v2's management API at the host root, as JSON over HTTP.

Lists are ``{object, data, next_cursor}`` and take ``limit`` and ``after``. A PATCH names what it changes in ``updateMask`` or
``update_mask``; without one its body's fields are meant. A stale ``etag`` (in the body, or in the query of a DELETE) answers 409.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.routing import Route

from scaler.world.catalog import HARDWARE, ZONES
from scaler.world.live import World
from scaler.world.operation import TEXT, Call
from scaler.world.refusals import Invalid, NotFound
from scaler.world.v2 import views
from scaler.world.v2.autoscaling import Autoscaling
from scaler.world.v2.bodies import CreateDeployment, CreateEndpoint, PatchDeployment, PatchEndpoint, Placement
from scaler.world.v2.events import LEVELS, Happening, feed
from scaler.world.v2.masks import merged, paths_of
from scaler.world.v2.offers import CONFIGS, MODELS_BY_ID, Config, Model, default_config
from scaler.world.v2.registry import ORGANIZATION_ID, PROJECT_ID, Edit, Endpoint, Plan
from scaler.world.v2.resources import (
    Analytics,
    ConfigResource,
    DeploymentResource,
    Empty,
    EndpointResource,
    EventResource,
    InstanceType,
    Listing,
    ModelResource,
    SupportedModel,
)
from scaler.world.v2.views import CONCURRENCY, Views
from scaler.world.wire import read_body, read_object, shaped

MAX_BODY_BYTES = 64 * 1024
MAX_PAGE = 1_000
DEFAULT_PAGE = 50
UPDATABLE = ("autoscaling", "inactiveTimeout", CONCURRENCY)
PROJECT = "/v2/projects/{project}"
ENDPOINT = f"{PROJECT}/endpoints/{{endpoint}}"
DEPLOYMENT = f"{ENDPOINT}/deployments/{{deployment}}"
INSTANT = TEXT | {"format": "date-time"}
PAGE = {"after": TEXT, "limit": {"type": "integer", "minimum": 1, "maximum": 99_999}}
NAMED = {"filter": TEXT | {"pattern": '^name="[^"]*"$'}}
EVENTS = {"types": TEXT, "deploymentIds": TEXT, "minLevel": {"enum": list(LEVELS)}, "since": INSTANT, "until": INSTANT}
MASK = {"updateMask": TEXT, "update_mask": TEXT}
Item = TypeVar("Item")


class Routes:
    """The handlers; each is one call to the registry."""

    def __init__(self, world: World) -> None:
        """They manage this world."""
        self._world = world
        self._registry = world.registry
        self._views = Views(world.registry, world.platform, world.rfc3339)
        self.routes: list[Route] = [*self._catalog(), *self._writes(), *self._reads()]

    def _catalog(self) -> list[Call]:
        models = {"referenceModelId": TEXT, "referenceModel": TEXT}
        return [
            Call("GET", "/v2/supported-models", self._supported_models, query=PAGE | {"search": TEXT}),
            Call("GET", "/v2/public/inference-instance-types", self._instance_types),
            Call("GET", f"{PROJECT}/configs", self._configs, query=PAGE | models),
            Call("GET", f"{PROJECT}/configs/{{id}}", self._config),
            Call("GET", f"{PROJECT}/models", self._nothing),
            Call("GET", f"{PROJECT}/models/{{id}}", self._model),
            Call("GET", f"{PROJECT}/placement-profiles", self._nothing),
        ]

    def _writes(self) -> list[Call]:
        return [
            Call("POST", f"{PROJECT}/endpoints", self._create_endpoint, body=CreateEndpoint),
            Call("PATCH", ENDPOINT, self._patch_endpoint, body=PatchEndpoint, query=MASK),
            Call("DELETE", ENDPOINT, self._delete_endpoint, query={"etag": TEXT}),
            Call("POST", f"{ENDPOINT}/deployments", self._deploy, body=CreateDeployment),
            Call("PATCH", DEPLOYMENT, self._patch_deployment, body=PatchDeployment, query=MASK),
            Call("DELETE", DEPLOYMENT, self._delete_deployment, query={"etag": TEXT}),
        ]

    def _reads(self) -> list[Call]:
        none = ("abExperiments", "shadowExperiments", "rollouts", "deployments/{deployment}/adapters")
        return [
            Call("GET", "/v2/organizations/{organization}/endpoints", self._organization, query=PAGE | NAMED),
            Call("GET", f"{PROJECT}/endpoints", self._endpoints, query=PAGE | NAMED),
            Call("GET", ENDPOINT, self._endpoint),
            Call("GET", f"{ENDPOINT}/events", self._events, query=PAGE | EVENTS),
            Call("GET", f"{ENDPOINT}/analytics", self._analytics),
            Call("GET", f"{ENDPOINT}/deployments", self._deployments, query=PAGE),
            Call("GET", DEPLOYMENT, self._deployment),
            *(Call("GET", f"{ENDPOINT}/{name}", self._nothing) for name in none),
        ]

    # The catalog

    async def _supported_models(self, request: Request) -> Listing[SupportedModel]:
        wanted = request.query_params.get("search", "").lower()
        exact = [model for model in MODELS_BY_ID.values() if model.name.lower() == wanted]
        found = exact or [model for model in MODELS_BY_ID.values() if wanted in model.name.lower()]
        return _page(request, [(model.id, self._views.supported_model(model)) for model in found])

    async def _instance_types(self, _: Request) -> Listing[InstanceType]:
        self._world.catch_up()
        return _listed([self._views.instance_type(hardware) for hardware in HARDWARE.values()], None)

    async def _configs(self, request: Request) -> Listing[ConfigResource]:
        query = request.query_params
        model_id = query.get("referenceModelId") or query.get("referenceModel", "").rpartition("/")[2]
        found = [config for config in CONFIGS.values() if model_id in ("", config.model.id)]
        return _page(request, [(config.id, views.config(config)) for config in found])

    async def _config(self, request: Request) -> ConfigResource:
        return views.config(_config_of(request.path_params["id"]))

    async def _model(self, request: Request) -> ModelResource:
        return views.model(_model_of(request.path_params["id"]))

    async def _nothing(self, request: Request) -> Listing[Empty]:
        """A list of what this world has none of."""
        names = request.path_params
        endpoint = self._found(request) if "endpoint" in names else None
        if endpoint is not None and "deployment" in names:
            self._registry.deployment(endpoint.id, names["deployment"])
        return _listed([], None)

    # Endpoints

    async def _organization(self, request: Request) -> Listing[EndpointResource]:
        """All of the organization's endpoints are the project's."""
        if request.path_params["organization"] != ORGANIZATION_ID:
            raise NotFound(f"Organization not found: {request.path_params['organization']}")
        return self._endpoint_page(request)

    async def _endpoints(self, request: Request) -> Listing[EndpointResource]:
        _check_project(request)
        return self._endpoint_page(request)

    def _endpoint_page(self, request: Request) -> Listing[EndpointResource]:
        self._world.catch_up()
        wanted = _name_filter(request.query_params.get("filter"), self._registry.slug)
        found = [endpoint for endpoint in self._registry.endpoints.values() if wanted in (None, endpoint.name)]
        return _page(request, [(endpoint.id, self._views.endpoint(endpoint)) for endpoint in found])

    async def _create_endpoint(self, request: Request) -> EndpointResource:
        _check_project(request)
        body = shaped(CreateEndpoint, await self._body(request))
        return self._views.endpoint(self._registry.create_endpoint(body.name, self._world.catch_up()))

    async def _endpoint(self, request: Request) -> EndpointResource:
        return self._views.endpoint(self._found(request))

    async def _patch_endpoint(self, request: Request) -> EndpointResource:
        endpoint = self._found(request)
        body = await self._body(request)
        paths_of(_mask(request), body, ("trafficSplit",))
        patch = shaped(PatchEndpoint, body)
        split = [(entry.deployment_id, entry.weight) for entry in patch.traffic_split]
        self._registry.split_traffic(endpoint.id, split, patch.etag, self._world.catch_up())
        return self._views.endpoint(endpoint)

    async def _delete_endpoint(self, request: Request) -> Empty:
        self._registry.delete_endpoint(self._found(request).id, request.query_params.get("etag"))
        return {}

    async def _events(self, request: Request) -> Listing[EventResource]:
        endpoint = self._found(request)
        happenings = [event for event in feed(endpoint, self._world.now()) if self._wanted(request, event)]
        return _page(request, [(event.id, self._views.event(endpoint, event)) for event in happenings])

    async def _analytics(self, request: Request) -> Analytics:
        """Numbers are not kept."""
        return {"endpointId": self._found(request).id, "deploymentAnalytics": [], "timeSeries": []}

    # Deployments

    async def _deployments(self, request: Request) -> Listing[DeploymentResource]:
        endpoint = self._found(request)
        return _page(request, [(item.id, self._views.deployment(endpoint, item)) for item in endpoint.deployments.values()])

    async def _deploy(self, request: Request) -> DeploymentResource | Empty:
        endpoint = self._found(request)
        body = await self._body(request)
        wanted = shaped(CreateDeployment, body)
        shown = {name: body[name] for name in (CONCURRENCY, "placement") if body.get(name) is not None}
        plan = Plan(wanted.name, _config_for(wanted), wanted.autoscaling, wanted.inactive_timeout, _zones(wanted.placement), shown)
        deployment = self._registry.deploy(endpoint.id, plan, self._world.catch_up(), validate_only=wanted.validate_only)
        self._world.poke()
        return {} if deployment is None else self._views.deployment(endpoint, deployment)

    async def _deployment(self, request: Request) -> DeploymentResource:
        endpoint = self._found(request)
        deployment = self._registry.deployment(endpoint.id, request.path_params["deployment"])
        return self._views.deployment(endpoint, deployment)

    async def _patch_deployment(self, request: Request) -> DeploymentResource:
        endpoint = self._found(request)
        deployment = self._registry.deployment(endpoint.id, request.path_params["deployment"])
        body = await self._body(request)
        paths = paths_of(_mask(request), body, UPDATABLE)
        named = {path[0] for path in paths}
        result = shaped(PatchDeployment, merged({"autoscaling": deployment.autoscaling}, body, paths) | _etag(body))
        edit = Edit(
            tuple(".".join(path) for path in paths),
            (result.autoscaling or Autoscaling()) if "autoscaling" in named else None,
            (result.inactive_timeout or 0) if "inactiveTimeout" in named else None,
            {CONCURRENCY: result.max_concurrent_requests_per_replica} if CONCURRENCY in named else {},
        )
        self._registry.update(endpoint.id, deployment.id, edit, result.etag, self._world.catch_up())
        self._world.poke()
        return self._views.deployment(endpoint, deployment)

    async def _delete_deployment(self, request: Request) -> Empty:
        endpoint = self._found(request)
        etag = request.query_params.get("etag")
        self._registry.delete_deployment(endpoint.id, request.path_params["deployment"], etag, self._world.catch_up())
        self._world.poke()
        return {}

    # Inside

    def _found(self, request: Request) -> Endpoint:
        """The endpoint of the path, as it is now."""
        _check_project(request)
        self._world.catch_up()
        return self._registry.endpoint(request.path_params["endpoint"])

    async def _body(self, request: Request) -> dict[str, Any]:
        return read_object(await read_body(request.receive, MAX_BODY_BYTES))

    def _wanted(self, request: Request, event: Happening) -> bool:
        """Whether the query's filters let the event pass."""
        query = request.query_params
        types = _several(request, "types")
        ids = _several(request, "deploymentIds")
        least = query.get("minLevel", LEVELS[0])
        if least not in LEVELS:
            raise Invalid(f"minLevel: expected one of {', '.join(LEVELS)}")
        at = self._world.unix(event.at)
        return (
            (not types or event.type in types)
            and (not ids or event.deployment_id in ids)
            and LEVELS.index(event.level) >= LEVELS.index(least)
            and ("since" not in query or at >= _instant(query["since"]))
            and ("until" not in query or at < _instant(query["until"]))
        )


def _listed(data: list[Item], next_cursor: str | None) -> Listing[Item]:
    return {"object": "list", "data": data, "next_cursor": next_cursor}


def _page(request: Request, items: Sequence[tuple[str, Item]]) -> Listing[Item]:
    """The part of a list that was asked for; the cursor is the id of a page's last item. Raises `Invalid`."""
    ids = [item_id for item_id, _ in items]
    after = request.query_params.get("after")
    if after is not None and after not in ids:
        raise Invalid(f"after: {after[:100]!r} is no cursor of this list")
    start = 0 if after is None else ids.index(after) + 1
    text = request.query_params.get("limit", str(DEFAULT_PAGE))
    if not re.fullmatch(r"[1-9]\d{0,4}", text):
        raise Invalid("limit: expected a positive number")
    end = start + min(int(text), MAX_PAGE)
    return _listed([value for _, value in items[start:end]], ids[end - 1] if end < len(ids) else None)


def _check_project(request: Request) -> None:
    if request.path_params["project"] != PROJECT_ID:
        raise NotFound(f"Project not found: {request.path_params['project']}")


def _mask(request: Request) -> str | None:
    return request.query_params.get("updateMask") or request.query_params.get("update_mask")


def _etag(body: dict[str, Any]) -> dict[str, Any]:
    return {"etag": body["etag"]} if "etag" in body else {}


def _name_filter(text: str | None, slug: str) -> str | None:
    """The bare name in ``name="..."``. Raises `Invalid` for other filters."""
    if text is None:
        return None
    match = re.fullmatch(r'\s*name\s*=\s*"([^"]*)"\s*', text)
    if match is None:
        raise Invalid('filter: expected name="..."')
    return match[1].removeprefix(f"{slug}/")


def _several(request: Request, name: str) -> list[str]:
    """A query parameter that stands more than once, or once with commas."""
    return [part for value in request.query_params.getlist(name) for part in value.split(",") if part]


def _instant(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError as error:
        raise Invalid("since, until: expected RFC 3339") from error


def _config_of(config_id: str) -> Config:
    if config_id not in CONFIGS:
        raise NotFound(f"Config not found: {config_id[:100]}")
    return CONFIGS[config_id]


def _model_of(model_id: str) -> Model:
    if model_id not in MODELS_BY_ID:
        raise NotFound(f"Model not found: {model_id[:100]}")
    return MODELS_BY_ID[model_id]


def _config_for(wanted: CreateDeployment) -> Config:
    """The config that a deployment names, or the default of the model that it names. Raises `NotFound` or `Invalid`."""
    path = re.fullmatch(r"projects/[^/]+/models/([^/]+)(?:/revisions/[^/]+)?", wanted.model or "")
    model_id = path[1] if path else wanted.model or wanted.model_id
    config_id = (wanted.config or wanted.config_id or "").rpartition("/")[2]
    if not model_id:
        raise Invalid("model: expected projects/PROJECT/models/MODEL")
    model = _model_of(model_id)
    config = _config_of(config_id) if config_id else default_config(model)
    if config.model != model:
        raise Invalid(f"Config {config.id} is not compatible with model {model.id}")
    return config


def _zones(placement: Placement | None) -> tuple[str, ...]:
    """Where replicas must stand; a preference is none. Raises `Invalid` for an unknown region."""
    inline = placement.inline if placement else None
    if inline is None:
        return ()
    unknown = [region for region in inline.regions if region not in ZONES]
    if unknown:
        raise Invalid(f"placement: unknown region {unknown[0][:100]!r}; expected one of {', '.join(ZONES)}")
    return () if inline.constraint == "ENFORCEMENT_PREFERRED" else tuple(dict.fromkeys(inline.regions))
