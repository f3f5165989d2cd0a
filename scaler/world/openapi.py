"""The world's own OpenAPI document (3.1): made from its routes, the shapes of its bodies, and what is said here of its answers."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field, TypeAdapter
from starlette.routing import Route

from scaler.model import EndpointState
from scaler.world.management import CreateBody, UpdateBody
from scaler.world.operation import TEXT, Call, Document, Operation


class Bounds(BaseModel):
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
    autoscaling: Bounds


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
"""The first generation and inference; calls of the second know by themselves what they take and answer."""
ANY = Operation(Document)
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
    served = {
        (method, route.path): route.operation if isinstance(route, Call) else ANY
        for route in routes
        for method in route.methods or ()
        if method != "HEAD" and not route.path.startswith("/x/")
    }
    operations = served | OPERATIONS
    paths: dict[str, Document] = {}
    refs, definitions = _schemas(operations.values())
    for (method, path), operation in sorted(operations.items(), key=lambda item: (item[0][1], item[0][0])):
        paths.setdefault(path, {})[method.lower()] = _described(path, operation, refs)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "A platform in a box",
            "version": "1",
            "description": "Dedicated endpoints as Together's clients know them, both generations.",
        },
        "security": [{"key": []}],
        "paths": paths,
        "components": {"schemas": definitions, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }


def _schemas(operations: Iterable[Operation]) -> tuple[dict[Any, Document], Document]:
    """A schema for each body and answer, and the definitions that these refer to."""
    shapes = {Error} | {shape for operation in operations for shape in (operation.answer, operation.body) if shape is not None}
    inputs: list[tuple[Any, Literal["validation"], TypeAdapter[Any]]]
    inputs = [(shape, "validation", TypeAdapter(shape)) for shape in sorted(shapes, key=str)]
    schemas, whole = TypeAdapter.json_schemas(inputs, ref_template="#/components/schemas/{model}")
    return {shape: schema for (shape, _), schema in schemas.items()}, whole["$defs"]


def _described(path: str, operation: Operation, refs: Mapping[Any, Document]) -> Document:
    names = [part.strip("{}") for part in path.split("/") if part.startswith("{")]
    parameters = [{"name": name, "in": "path", "required": True, "schema": TEXT | {"minLength": 1}} for name in names]
    parameters += [{"name": name, "in": "query", "schema": schema} for name, schema in operation.query.items()]
    described: Document = {"parameters": parameters, "responses": _answers(operation, refs)}
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": refs[operation.body]}}}
    return described


def _answers(operation: Operation, refs: Mapping[Any, Document]) -> Document:
    failure = {"application/json": {"schema": refs[Error]}}
    answers: Document = {status: {"description": text, "content": failure} for status, text in ERRORS.items()}
    if operation.answer is None:
        return {"204": {"description": "Done"}} | answers
    content: Document = {"application/json": {"schema": refs[operation.answer]}}
    if operation.streams:
        content["text/event-stream"] = {"schema": EVENT}
    return {"200": {"description": "Done", "content": content}} | answers
