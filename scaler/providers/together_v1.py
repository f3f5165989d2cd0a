"""Together's first dedicated-endpoint API, ``/v1/endpoints``: reading, and what its JSON means.

Parsing is strict about the fields that decisions rest on and blind to all others. An unknown word for a state becomes
`EndpointState.UNKNOWN`, on which nobody decides; a missing or ill-typed field makes the whole reply a `BadReply`.
"""

import re
from typing import Annotated, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from scaler.model import Bounds, Endpoint, EndpointState, Price
from scaler.providers.base import Availability, BadReply, Hardware
from scaler.providers.http import JsonClient

STATES = {state.value: state for state in EndpointState} | {"FAILED": EndpointState.ERROR}


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected printable characters only")
    return text


Text = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_printable)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]


class _Wire(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class _Autoscaling(_Wire):
    min_replicas: Count
    max_replicas: Count

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError("expected min_replicas <= max_replicas")
        return self


class _Endpoint(_Wire):
    id: Text
    name: Text
    model: Text
    hardware: Text
    state: Text
    autoscaling: _Autoscaling
    display_name: Annotated[str, Field(max_length=500)] | None = None


class _Pricing(_Wire):
    cents_per_minute: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Availability(_Wire):
    status: Text


class _Hardware(_Wire):
    id: Text
    pricing: _Pricing
    availability: _Availability | None = None


class _HardwareList(_Wire):
    data: Annotated[list[_Hardware], Field(max_length=10_000)]


W = TypeVar("W", bound=_Wire)


def _read(kind: type[W], what: str, body: object) -> W:
    """``body`` as ``kind``; the input itself is never shown."""
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        first = f"{'.'.join(map(str, faults[0]['loc']))}: {faults[0]['msg']}".removeprefix(": ")
        raise BadReply(f"{what}: {first}" + (f" (and {len(faults) - 1} more)" if len(faults) > 1 else "")) from None


def parse_endpoint(body: object) -> Endpoint:
    """A ``DedicatedEndpoint``. v1 tells neither ready replicas nor the inactive timeout. Raises `BadReply`."""
    wire = _read(_Endpoint, "endpoint", body)
    return Endpoint(
        id=wire.id,
        name=wire.name,
        model=wire.model,
        hardware=wire.hardware,
        state=STATES.get(wire.state, EndpointState.UNKNOWN),
        bounds=Bounds(wire.autoscaling.min_replicas, wire.autoscaling.max_replicas),
        display_name=wire.display_name or "",
    )


def expect_endpoint(body: object, endpoint_id: str) -> Endpoint:
    """`parse_endpoint`, and `BadReply` if it is another endpoint than the one we spoke of."""
    endpoint = parse_endpoint(body)
    if endpoint.id != endpoint_id:
        raise BadReply(f"endpoint: asked for {endpoint_id}, told of another")
    return endpoint


def parse_hardware(body: object) -> tuple[Hardware, ...]:
    """A list of ``Hardware``; cents per minute are for the whole configuration, one replica. Raises `BadReply`."""
    return tuple(
        Hardware(item.id, Price(item.pricing.cents_per_minute), _availability(item.availability))
        for item in _read(_HardwareList, "hardware", body).data
    )


def _availability(wire: _Availability | None) -> Availability:
    known = {word.value: word for word in Availability}
    return known.get(wire.status, Availability.UNKNOWN) if wire else Availability.UNKNOWN


def endpoint_path(endpoint_id: str) -> str:
    """Path of an endpoint below the base URL; `ValueError` for an id that would lead elsewhere."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+", endpoint_id) or endpoint_id in {".", ".."}:
        raise ValueError(f"not an endpoint id: {endpoint_id!r}")
    return f"/endpoints/{endpoint_id}"


class TogetherV1Reader:
    """The reading half of the API; see `scaler.providers.base.Reader`."""

    def __init__(self, client: JsonClient) -> None:
        """Takes the client over and closes it in the end."""
        self._client = client

    async def get(self, endpoint_id: str) -> Endpoint:
        """``GET /endpoints/{id}``."""
        return expect_endpoint(await self._client.call("GET", endpoint_path(endpoint_id)), endpoint_id)

    async def hardware(self, model: str | None = None) -> tuple[Hardware, ...]:
        """``GET /hardware``; availability is told only for a given ``model``."""
        return parse_hardware(await self._client.call("GET", "/hardware", query={"model": model} if model else None))

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()
