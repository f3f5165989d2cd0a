"""v2's management API at the host root, as JSON over HTTP.

Lists are ``{object, data, next_cursor}`` and take ``limit`` and ``after``. A PATCH names what it changes in ``updateMask`` or
``update_mask``; without one its body's fields are meant. A stale ``etag`` (in the body, or in the query of a DELETE) answers 409.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from scaler.world.catalog import HARDWARE, ZONES
from scaler.world.live import World
from scaler.world.refusals import Invalid, NotFound
from scaler.world.v2 import views
from scaler.world.v2.autoscaling import Autoscaling, Shape
from scaler.world.v2.events import LEVELS, Happening, feed
from scaler.world.v2.masks import merged, paths_of
from scaler.world.v2.offers import CONFIGS, MODELS_BY_ID, Config, Model, default_config
from scaler.world.v2.registry import ORGANIZATION_ID, PROJECT_ID, Edit, Endpoint, Plan
from scaler.world.v2.views import Views
from scaler.world.wire import read_body, read_object, shaped

MAX_BODY_BYTES = 64 * 1024
MAX_PAGE = 1_000
DEFAULT_PAGE = 50
CONCURRENCY = "maxConcurrentRequestsPerReplica"
UPDATABLE = ("autoscaling", "inactiveTimeout", CONCURRENCY)
Name = Annotated[str, Field(min_length=1, max_length=300)]
Minutes = Annotated[int, Field(ge=0, le=100_000)]


class _Weight(Shape):
    deployment_id: str
    weight: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _CreateEndpoint(Shape):
    name: Name


class _PatchEndpoint(Shape):
    etag: str | None = None
    traffic_split: list[_Weight] = Field(default_factory=list, max_length=100)


class _Inline(Shape):
    regions: list[str] = Field(default_factory=list, max_length=20)
    constraint: Literal["ENFORCEMENT_REQUIRED", "ENFORCEMENT_PREFERRED"] | None = None


class _Placement(Shape):
    inline: _Inline | None = None
    profile: str | None = None


class _CreateDeployment(Shape):
    name: Name
    autoscaling: Autoscaling
    model: str | None = None
    model_id: str | None = None
    config: str | None = None
    config_id: str | None = None
    inactive_timeout: Minutes = 0
    max_concurrent_requests_per_replica: str | None = None
    placement: _Placement | None = None
    validate_only: bool = False


class _PatchDeployment(Shape):
    etag: str | None = None
    autoscaling: Autoscaling | None = None
    inactive_timeout: Minutes | None = None
    max_concurrent_requests_per_replica: str | None = None


class Routes:
    """The handlers; each is one call to the registry."""

    def __init__(self, world: World) -> None:
        """They manage this world."""
        self._world = world
        self._registry = world.registry
        self._views = Views(world.registry, world.platform, world.rfc3339)
        endpoint, deployment = "/v2/projects/{project}/endpoints/{endpoint}", "/deployments/{deployment}"
        self.routes = [
            Route("/v2/supported-models", self._supported_models, methods=["GET"]),
            Route("/v2/public/inference-instance-types", self._instance_types, methods=["GET"]),
            Route("/v2/projects/{project}/configs", self._configs, methods=["GET"]),
            Route("/v2/projects/{project}/configs/{id}", self._config, methods=["GET"]),
            Route("/v2/projects/{project}/models", self._models, methods=["GET"]),
            Route("/v2/projects/{project}/models/{id}", self._model, methods=["GET"]),
            Route("/v2/projects/{project}/placement-profiles", self._nothing, methods=["GET"]),
            Route("/v2/organizations/{organization}/endpoints", self._organization, methods=["GET"]),
            Route("/v2/projects/{project}/endpoints", self._endpoints, methods=["GET"]),
            Route("/v2/projects/{project}/endpoints", self._create_endpoint, methods=["POST"]),
            Route(endpoint, self._endpoint, methods=["GET"]),
            Route(endpoint, self._patch_endpoint, methods=["PATCH"]),
            Route(endpoint, self._delete_endpoint, methods=["DELETE"]),
            Route(endpoint + "/events", self._events, methods=["GET"]),
            Route(endpoint + "/analytics", self._analytics, methods=["GET"]),
            *(Route(f"{endpoint}/{name}", self._nothing, methods=["GET"]) for name in ("abExperiments", "shadowExperiments", "rollouts")),
            Route(endpoint + "/deployments", self._deployments, methods=["GET"]),
            Route(endpoint + "/deployments", self._deploy, methods=["POST"]),
            Route(endpoint + deployment, self._deployment, methods=["GET"]),
            Route(endpoint + deployment, self._patch_deployment, methods=["PATCH"]),
            Route(endpoint + deployment, self._delete_deployment, methods=["DELETE"]),
            Route(endpoint + deployment + "/adapters", self._nothing, methods=["GET"]),
        ]

    # The catalog

    async def _supported_models(self, request: Request) -> Response:
        wanted = request.query_params.get("search", "").lower()
        exact = [model for model in MODELS_BY_ID.values() if model.name.lower() == wanted]
        found = exact or [model for model in MODELS_BY_ID.values() if wanted in model.name.lower()]
        return _page(request, [(model.id, self._views.supported_model(model)) for model in found])

    async def _instance_types(self, _: Request) -> Response:
        self._world.catch_up()
        return _listed([self._views.instance_type(hardware) for hardware in HARDWARE.values()], None)

    async def _configs(self, request: Request) -> Response:
        query = request.query_params
        model_id = query.get("referenceModelId") or query.get("referenceModel", "").rpartition("/")[2]
        found = [config for config in CONFIGS.values() if model_id in ("", config.model.id)]
        return _page(request, [(config.id, views.config(config)) for config in found])

    async def _config(self, request: Request) -> Response:
        return JSONResponse(views.config(_config_of(request.path_params["id"])))

    async def _models(self, request: Request) -> Response:
        """The project has no models of its own."""
        return await self._nothing(request)

    async def _model(self, request: Request) -> Response:
        return JSONResponse(views.model(_model_of(request.path_params["id"])))

    async def _nothing(self, request: Request) -> Response:
        """A list of what this world has none of."""
        if "endpoint" in request.path_params:
            self._found(request)
        return _listed([], None)

    # Endpoints

    async def _organization(self, request: Request) -> Response:
        """All of the organization's endpoints are the project's."""
        if request.path_params["organization"] != ORGANIZATION_ID:
            raise NotFound(f"Organization not found: {request.path_params['organization']}")
        return self._endpoint_page(request)

    async def _endpoints(self, request: Request) -> Response:
        _check_project(request)
        return self._endpoint_page(request)

    def _endpoint_page(self, request: Request) -> Response:
        self._world.catch_up()
        wanted = _name_filter(request.query_params.get("filter"), self._registry.slug)
        found = [endpoint for endpoint in self._registry.endpoints.values() if wanted in (None, endpoint.name)]
        return _page(request, [(endpoint.id, self._views.endpoint(endpoint)) for endpoint in found])

    async def _create_endpoint(self, request: Request) -> Response:
        _check_project(request)
        body = shaped(_CreateEndpoint, await self._body(request))
        return JSONResponse(self._views.endpoint(self._registry.create_endpoint(body.name, self._world.catch_up())))

    async def _endpoint(self, request: Request) -> Response:
        return JSONResponse(self._views.endpoint(self._found(request)))

    async def _patch_endpoint(self, request: Request) -> Response:
        endpoint = self._found(request)
        body = await self._body(request)
        paths_of(_mask(request), body, ("trafficSplit",))
        patch = shaped(_PatchEndpoint, body)
        split = [(entry.deployment_id, entry.weight) for entry in patch.traffic_split]
        self._registry.split_traffic(endpoint.id, split, patch.etag, self._world.catch_up())
        return JSONResponse(self._views.endpoint(endpoint))

    async def _delete_endpoint(self, request: Request) -> Response:
        self._registry.delete_endpoint(self._found(request).id, request.query_params.get("etag"))
        return JSONResponse({})

    async def _events(self, request: Request) -> Response:
        endpoint = self._found(request)
        happenings = [event for event in feed(endpoint, self._world.now()) if self._wanted(request, event)]
        return _page(request, [(event.id, self._views.event(endpoint, event)) for event in happenings])

    async def _analytics(self, request: Request) -> Response:
        """Numbers are not kept."""
        return JSONResponse({"endpointId": self._found(request).id, "deploymentAnalytics": [], "timeSeries": []})

    # Deployments

    async def _deployments(self, request: Request) -> Response:
        endpoint = self._found(request)
        return _page(request, [(item.id, self._views.deployment(endpoint, item)) for item in endpoint.deployments.values()])

    async def _deploy(self, request: Request) -> Response:
        endpoint = self._found(request)
        body = await self._body(request)
        wanted = shaped(_CreateDeployment, body)
        shown = {name: body[name] for name in (CONCURRENCY, "placement") if body.get(name) is not None}
        plan = Plan(wanted.name, _config_for(wanted), wanted.autoscaling, wanted.inactive_timeout, _zones(wanted.placement), shown)
        deployment = self._registry.deploy(endpoint.id, plan, self._world.catch_up(), validate_only=wanted.validate_only)
        self._world.poke()
        return JSONResponse({} if deployment is None else self._views.deployment(endpoint, deployment))

    async def _deployment(self, request: Request) -> Response:
        endpoint = self._found(request)
        deployment = self._registry.deployment(endpoint.id, request.path_params["deployment"])
        return JSONResponse(self._views.deployment(endpoint, deployment))

    async def _patch_deployment(self, request: Request) -> Response:
        endpoint = self._found(request)
        deployment = self._registry.deployment(endpoint.id, request.path_params["deployment"])
        body = await self._body(request)
        paths = paths_of(_mask(request), body, UPDATABLE)
        named = {path[0] for path in paths}
        result = shaped(_PatchDeployment, merged({"autoscaling": deployment.autoscaling}, body, paths) | _etag(body))
        edit = Edit(
            tuple(".".join(path) for path in paths),
            (result.autoscaling or Autoscaling()) if "autoscaling" in named else None,
            (result.inactive_timeout or 0) if "inactiveTimeout" in named else None,
            {CONCURRENCY: result.max_concurrent_requests_per_replica} if CONCURRENCY in named else {},
        )
        self._registry.update(endpoint.id, deployment.id, edit, result.etag, self._world.catch_up())
        self._world.poke()
        return JSONResponse(self._views.deployment(endpoint, deployment))

    async def _delete_deployment(self, request: Request) -> Response:
        endpoint = self._found(request)
        etag = request.query_params.get("etag")
        self._registry.delete_deployment(endpoint.id, request.path_params["deployment"], etag, self._world.catch_up())
        self._world.poke()
        return JSONResponse({})

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


def _listed(data: Sequence[object], next_cursor: str | None) -> Response:
    return JSONResponse({"object": "list", "data": data, "next_cursor": next_cursor})


def _page(request: Request, items: Sequence[tuple[str, object]]) -> Response:
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


def _config_for(wanted: _CreateDeployment) -> Config:
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


def _zones(placement: _Placement | None) -> tuple[str, ...]:
    """Where replicas must stand; a preference is none. Raises `Invalid` for an unknown region."""
    inline = placement.inline if placement else None
    if inline is None:
        return ()
    unknown = [region for region in inline.regions if region not in ZONES]
    if unknown:
        raise Invalid(f"placement: unknown region {unknown[0][:100]!r}; expected one of {', '.join(ZONES)}")
    return () if inline.constraint == "ENFORCEMENT_PREFERRED" else tuple(dict.fromkeys(inline.regions))
