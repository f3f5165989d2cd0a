"""The world's own OpenAPI document (3.1): made from its routes, the shapes of its bodies, and what is said here of its answers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema
from starlette.routing import Route

from scaler.model import EndpointState
from scaler.world.management import CreateBody, UpdateBody

Document = dict[str, Any]


class Autoscaling(BaseModel):
    """Bounds, both inclusive."""

    min_replicas: int = Field(ge=0)
    max_replicas: int = Field(ge=0)


class ListedEndpoint(BaseModel):
    """An endpoint in a list."""

    object: Literal["endpoint"]
    id: str
    name: str
    model: str
    type: Literal["dedicated", "serverless"]
    owner: str
    state: EndpointState
    created_at: str = Field(json_schema_extra={"format": "date-time"})


class DedicatedEndpoint(ListedEndpoint):
    """An endpoint by itself."""

    display_name: str
    hardware: str
    autoscaling: Autoscaling


class EndpointList(BaseModel):
    """All endpoints that the filters let through."""

    object: Literal["list"]
    data: list[ListedEndpoint]


class Pricing(BaseModel):
    """Cents per minute of one replica."""

    cents_per_minute: float


class Specs(BaseModel):
    """What one replica runs on; memory in GB."""

    gpu_type: str
    gpu_link: str
    gpu_memory: float
    gpu_count: int


class Availability(BaseModel):
    """Whether a replica could be placed."""

    status: Literal["available", "unavailable", "insufficient"]


class Hardware(BaseModel):
    """A hardware configuration; availability is told only for a given model."""

    object: Literal["hardware"]
    id: str
    pricing: Pricing
    specs: Specs
    updated_at: str = Field(json_schema_extra={"format": "date-time"})
    availability: Availability | None = None


class HardwareList(BaseModel):
    """The catalog."""

    object: Literal["list"]
    data: list[Hardware]


class Zones(BaseModel):
    """Availability zones."""

    avzones: list[str]


class Model(BaseModel):
    """What can stand in ``model`` of a request."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(BaseModel):
    """All models."""

    object: Literal["list"]
    data: list[Model]


class Message(BaseModel):
    """A part of a conversation."""

    role: str
    content: str


class _Generation(BaseModel):
    model: str = Field(min_length=1)
    stream: bool | None = None
    max_tokens: int | None = Field(default=None, ge=1, le=64)


class ChatBody(_Generation):
    """A conversation to go on with."""

    messages: list[Message] = Field(min_length=1)


class CompletionBody(_Generation):
    """A text to go on with."""

    prompt: str


class EmbeddingBody(BaseModel):
    """Texts to embed."""

    model: str = Field(min_length=1)
    input: str | list[str] = Field(min_length=1)
    encoding_format: Literal["float", "base64"] | None = None


class Usage(BaseModel):
    """Tokens."""

    prompt_tokens: int
    total_tokens: int


class Answer(BaseModel):
    """A chat completion or a completion."""

    id: str
    object: Literal["chat.completion", "text_completion"]
    created: int
    model: str
    choices: list[dict[str, Any]] = Field(min_length=1)
    usage: Usage


class Embeddings(BaseModel):
    """One vector per input."""

    object: Literal["list"]
    model: str
    data: list[dict[str, Any]] = Field(min_length=1)
    usage: Usage


class ErrorDetail(BaseModel):
    """What went wrong; ``code`` is a word, never a number."""

    message: str
    type: str
    param: str | None
    code: str | None


class Error(BaseModel):
    """Every answer that is not a success."""

    error: ErrorDetail


@dataclass(frozen=True, slots=True)
class Operation:
    """One call: its query (names and what they may be), its body, its answer (None = 204), and whether that may be a stream."""

    answer: type[BaseModel] | None
    body: type[BaseModel] | None = None
    query: Mapping[str, Document] | None = None
    streams: bool = False


TEXT: Document = {"type": "string"}
EVENT: Document = {"type": "object", "required": ["data"], "properties": {"data": TEXT}}
"""One event of a stream; its data is JSON, or the end mark."""
FILTERS: dict[str, Document] = {
    "type": {"enum": ["dedicated", "serverless"]},
    "usage_type": {"enum": ["on-demand", "reserved"]},
    "mine": {"enum": ["true", "false", "True", "False"]},
}
ENDPOINT = "/v1/endpoints/{id}"
OPERATIONS: dict[tuple[str, str], Operation] = {
    ("GET", "/v1/endpoints"): Operation(EndpointList, query=FILTERS),
    ("POST", "/v1/endpoints"): Operation(DedicatedEndpoint, CreateBody, {"availability_zone": TEXT}),
    ("GET", ENDPOINT): Operation(DedicatedEndpoint),
    ("PATCH", ENDPOINT): Operation(DedicatedEndpoint, UpdateBody),
    ("DELETE", ENDPOINT): Operation(None),
    ("GET", "/v1/hardware"): Operation(HardwareList, query={"model": TEXT}),
    ("GET", "/v1/clusters/availability-zones"): Operation(Zones),
    ("GET", "/v1/models"): Operation(ModelList),
    ("POST", "/v1/chat/completions"): Operation(Answer, ChatBody, streams=True),
    ("POST", "/v1/completions"): Operation(Answer, CompletionBody, streams=True),
    ("POST", "/v1/embeddings"): Operation(Embeddings, EmbeddingBody),
}
"""What is known in detail; other routes of the world take and give JSON objects."""
ERRORS = {
    "400": "The request contradicts itself or the catalog, or the endpoint is not running",
    "401": "No API key",
    "404": "There is no such thing",
    "405": "There is no such method",
    "409": "The name is taken, or the version is stale",
    "413": "The body is too large",
    "503": "Overloaded, or no replica is ready",
}


def document(routes: Iterable[Route]) -> Document:
    """The whole document: `OPERATIONS`, and beside them whatever else ``routes`` serve under /v1, /v2 and /v3."""
    served = {(method, route.path): Operation(BaseModel) for route in routes for method in route.methods or () if method != "HEAD"}
    paths: dict[str, Document] = {}
    refs, definitions = _schemas()
    for (method, path), operation in sorted((served | OPERATIONS).items(), key=lambda item: (item[0][1], item[0][0])):
        if not path.startswith("/x/"):
            paths.setdefault(path, {})[method.lower()] = _described(method, path, operation, refs)
    return {
        "openapi": "3.1.0",
        "info": {"title": "A platform in a box", "version": "1", "description": "Dedicated endpoints as Together's clients know them."},
        "security": [{"key": []}],
        "paths": paths,
        "components": {"schemas": definitions, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }


def _schemas() -> tuple[dict[type[BaseModel], Document], Document]:
    """A reference for each model, and what these refer to."""
    models: set[type[BaseModel]] = {Error}
    for operation in OPERATIONS.values():
        models |= {model for model in (operation.answer, operation.body) if model is not None}
    inputs = [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)]
    refs, whole = models_json_schema(inputs, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type] # (a literal in a tuple)
    return {model: ref for (model, _), ref in refs.items()}, whole["$defs"]  # type: ignore[misc] # (all of them are pydantic models)


def _described(method: str, path: str, operation: Operation, refs: Mapping[type[BaseModel], Document]) -> Document:
    names = [part.strip("{}") for part in path.split("/") if part.startswith("{")]
    parameters = [{"name": name, "in": "path", "required": True, "schema": TEXT | {"minLength": 1}} for name in names]
    parameters += [{"name": name, "in": "query", "schema": schema} for name, schema in (operation.query or {}).items()]
    described: Document = {"parameters": parameters, "responses": _answers(operation, refs)}
    if method in ("POST", "PATCH"):
        schema = {"type": "object"} if operation.body is None else refs[operation.body]
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return described


def _answers(operation: Operation, refs: Mapping[type[BaseModel], Document]) -> Document:
    failure = {"application/json": {"schema": refs[Error]}}
    answers: Document = {status: {"description": text, "content": failure} for status, text in ERRORS.items()}
    if operation.answer is None:
        return {"204": {"description": "Done"}} | answers
    content: Document = {"application/json": {"schema": refs.get(operation.answer, {"type": "object"})}}
    if operation.streams:
        content["text/event-stream"] = {"schema": EVENT}
    return {"200": {"description": "Done", "content": content}} | answers
