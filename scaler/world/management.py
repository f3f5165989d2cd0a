"""The management API of Together's v1 dedicated endpoints, as JSON over HTTP.

``inactive_timeout``: minutes; 0 and null = never. Left out of a create it is 60, the documented default; left out of an update it stays.
``mine``: unless it is true, a list also has the provider's serverless endpoints, which belong to somebody else.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from scaler.model import Bounds
from scaler.world.catalog import HARDWARE, MODELS, ZONES, Hardware
from scaler.world.endpoint import Endpoint
from scaler.world.live import World
from scaler.world.platform import DEFAULT_TIMEOUT_MINUTES, MAX_REPLICAS, Change, Wish
from scaler.world.refusals import Invalid, NotFound
from scaler.world.wire import read_as

MAX_BODY_BYTES = 64 * 1024
CACHE_WARNING = "disable_prompt_cache is deprecated and has no effect: prompts are always cached"

Int32 = Annotated[int, Field(ge=-MAX_REPLICAS, le=MAX_REPLICAS)]
Minutes = Annotated[int, Field(ge=0, le=MAX_REPLICAS)]
Power = Literal["STARTED", "STOPPED"]


class _Body(BaseModel):
    """A request body: no number for a string, no boolean for a number; unknown keys are ignored, as the provider does."""

    model_config = ConfigDict(strict=True)


class _Autoscaling(_Body):
    min_replicas: Int32
    max_replicas: Int32


class CreateBody(_Body):
    """What an endpoint is created from; timeout in minutes."""

    model: str
    hardware: str
    autoscaling: _Autoscaling
    display_name: Annotated[str, Field(max_length=200)] | None = None
    inactive_timeout: Minutes | None = DEFAULT_TIMEOUT_MINUTES
    availability_zone: str | None = None
    disable_speculative_decoding: bool = False
    disable_prompt_cache: bool = False
    state: Power = "STARTED"


class _PartialAutoscaling(_Body):
    min_replicas: Int32 | None = None
    max_replicas: Int32 | None = None


class UpdateBody(_Body):
    """What is to change; left out = stays. Timeout in minutes."""

    display_name: Annotated[str, Field(max_length=200)] | None = None
    state: Power | None = None
    autoscaling: _PartialAutoscaling | None = None
    inactive_timeout: Minutes | None = None


class Management:
    """The handlers; each is one call to the platform."""

    def __init__(self, world: World) -> None:
        """They manage this world."""
        self._world = world
        self.routes = [
            Route("/v1/endpoints", self._list, methods=["GET"]),
            Route("/v1/endpoints", self._create, methods=["POST"]),
            Route("/v1/endpoints/{id}", self._get, methods=["GET"]),
            Route("/v1/endpoints/{id}", self._update, methods=["PATCH"]),
            Route("/v1/endpoints/{id}", self._delete, methods=["DELETE"]),
            Route("/v1/hardware", self._hardware, methods=["GET"]),
            Route("/v1/clusters/availability-zones", self._zones, methods=["GET"]),
            Route("/v1/models", self._models, methods=["GET"]),
            Route("/v3/whoami", self._whoami, methods=["GET"]),
        ]

    async def _list(self, request: Request) -> Response:
        kind = _choice(request, "type", ("dedicated", "serverless"))
        usage = _choice(request, "usage_type", ("on-demand", "reserved"))
        mine = _choice(request, "mine", ("true", "false")) == "true"
        self._world.catch_up()
        found = []
        if kind != "serverless" and usage != "reserved":
            found += [self._listed(endpoint) for endpoint in self._own()]
        if kind != "dedicated" and usage is None and not mine:
            found += [self._serverless(model) for model in MODELS]
        return JSONResponse({"object": "list", "data": found})

    async def _create(self, request: Request) -> Response:
        body = await read_as(CreateBody, request.receive, MAX_BODY_BYTES)
        zone = body.availability_zone or request.query_params.get("availability_zone")
        wish = Wish(
            model=body.model,
            hardware=body.hardware,
            bounds=Bounds(body.autoscaling.min_replicas, body.autoscaling.max_replicas),
            display_name=body.display_name,
            inactive_timeout_minutes=body.inactive_timeout or 0,
            zones=(zone,) if zone else (),
            start=body.state == "STARTED",
            speculation=not body.disable_speculative_decoding,
        )
        endpoint = self._world.platform.create(wish, self._world.now())
        self._world.poke()
        warnings = {"x_warnings": [CACHE_WARNING]} if body.disable_prompt_cache else {}
        return JSONResponse(self._described(endpoint) | warnings)

    async def _get(self, request: Request) -> Response:
        return JSONResponse(self._described(self._world.platform.endpoint(request.path_params["id"], self._world.now())))

    async def _update(self, request: Request) -> Response:
        body = await read_as(UpdateBody, request.receive, MAX_BODY_BYTES)
        autoscaling = body.autoscaling or _PartialAutoscaling()
        change = Change(
            min_replicas=autoscaling.min_replicas,
            max_replicas=autoscaling.max_replicas,
            display_name=body.display_name,
            inactive_timeout_minutes=(body.inactive_timeout or 0) if "inactive_timeout" in body.model_fields_set else None,
            state=body.state,
        )
        endpoint = self._world.platform.update(request.path_params["id"], change, self._world.now())
        self._world.poke()
        return JSONResponse(self._described(endpoint))

    async def _delete(self, request: Request) -> Response:
        self._world.platform.delete(request.path_params["id"], self._world.now())
        self._world.poke()
        return Response(status_code=204)

    async def _hardware(self, request: Request) -> Response:
        model = request.query_params.get("model")
        if model is not None and model not in MODELS:
            raise NotFound(f"Model {model} was not found among the models for dedicated endpoints")
        now = self._world.catch_up()
        ids = HARDWARE if model is None else MODELS[model]
        data = [self._configuration(HARDWARE[hardware_id], now, priced_for=model) for hardware_id in ids]
        return JSONResponse({"object": "list", "data": data})

    async def _zones(self, _: Request) -> Response:
        return JSONResponse({"avzones": list(ZONES)})

    async def _models(self, _: Request) -> Response:
        self._world.catch_up()
        return JSONResponse({"object": "list", "data": [self._model(endpoint) for endpoint in self._own()]})

    async def _whoami(self, _: Request) -> Response:
        owner = self._world.settings.owner
        return JSONResponse(
            {
                "type": "project_api_key",
                "api_key": {"id": "key-1"},
                "organization": {"id": "org-1", "name": owner},
                "project": {"id": "proj-1", "name": owner, "slug": owner},
            }
        )

    def _own(self) -> list[Endpoint]:
        """Those of this API."""
        return [endpoint for endpoint in self._world.platform.endpoints if endpoint.identity.api == "v1"]

    def _described(self, endpoint: Endpoint) -> dict[str, Any]:
        return self._listed(endpoint) | {
            "display_name": endpoint.display_name,
            "hardware": endpoint.identity.hardware.id,
            "autoscaling": {"min_replicas": endpoint.bounds.min_replicas, "max_replicas": endpoint.bounds.max_replicas},
        }

    def _listed(self, endpoint: Endpoint) -> dict[str, Any]:
        return {
            "object": "endpoint",
            "id": endpoint.identity.id,
            "name": endpoint.identity.name,
            "model": endpoint.identity.model,
            "type": "dedicated",
            "owner": self._world.settings.owner,
            "state": endpoint.state,
            "created_at": self._world.rfc3339(endpoint.identity.created_at),
        }

    def _serverless(self, model: str) -> dict[str, Any]:
        return {
            "object": "endpoint",
            "id": f"endpoint-serverless-{model.rpartition('/')[2].lower()}",
            "name": model,
            "model": model,
            "type": "serverless",
            "owner": "together",
            "state": "STARTED",
            "created_at": self._world.rfc3339(0.0),
        }

    def _model(self, endpoint: Endpoint) -> dict[str, Any]:
        return {
            "id": endpoint.identity.name,
            "object": "model",
            "created": int(self._world.unix(endpoint.identity.created_at)),
            "owned_by": self._world.settings.owner,
            "type": "chat",
            "display_name": endpoint.display_name,
            "organization": self._world.settings.owner,
            "pricing": {},
        }

    def _configuration(self, hardware: Hardware, now: float, *, priced_for: str | None) -> dict[str, Any]:
        gpu = hardware.gpu
        described: dict[str, Any] = {
            "object": "hardware",
            "id": hardware.id,
            "pricing": {"cents_per_minute": hardware.cents_per_minute},
            "specs": {"gpu_type": gpu.type, "gpu_link": gpu.link, "gpu_memory": gpu.memory, "gpu_count": hardware.count},
            "updated_at": self._world.rfc3339(now),
        }
        if priced_for is not None:
            described["availability"] = {"status": self._world.platform.availability(hardware.id)}
        return described


def _choice(request: Request, name: str, choices: tuple[str, ...]) -> str | None:
    """A query parameter in any spelling of case (clients write ``True`` and ``true``), or None. Raises `Invalid`."""
    value = request.query_params.get(name)
    if value is None or value.lower() in choices:
        return value and value.lower()
    raise Invalid(f"Invalid '{name}': expected one of {', '.join(choices)}")
