"""Together's first dedicated-endpoint API, ``/v1/endpoints``: reading, and what its JSON means.

Parsing is strict about the fields that decisions rest on and blind to all others. An unknown word for a state becomes
`EndpointState.UNKNOWN`, on which nobody decides; a missing or ill-typed field makes the whole reply a `BadReply`.
"""

import re
from typing import Annotated, Self

from pydantic import Field, ValidationError, WrapValidator, model_validator
from pydantic_core.core_schema import ValidatorFunctionWrapHandler

from scaler.model import Bounds, Endpoint, EndpointState, Price, Start
from scaler.providers.base import OWN, Availability, BadReply, EndpointSummary, Hardware, Listing, Specs
from scaler.providers.http import JsonClient
from scaler.providers.wire import MAX_TEXT, Count, Shown, Text, Wire, read

STATES = {state.value: state for state in EndpointState} | {"FAILED": EndpointState.ERROR}


class _Autoscaling(Wire):
    min_replicas: Count
    max_replicas: Count

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError("expected min_replicas <= max_replicas")
        return self


class _Endpoint(Wire):
    id: Text
    name: Text
    model: Text
    hardware: Text
    state: Text
    autoscaling: _Autoscaling
    display_name: Annotated[str, Field(max_length=MAX_TEXT)] | None = None
    created_at: Shown = ""
    owner: Shown = ""


class _Listed(Wire):
    id: Text
    name: Text
    model: Text
    type: Shown = ""
    owner: Shown = ""
    state: Text
    created_at: Shown = ""


class _EndpointList(Wire):
    data: Annotated[list[_Listed], Field(max_length=10_000)]


class _Zones(Wire):
    avzones: Annotated[list[Text], Field(max_length=10_000)]


def _specs_or_none(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    """Specs are for people: those that are not as they should be are left out."""
    try:
        return handler(value)
    except ValidationError:
        return None


class _Specs(Wire):
    gpu_type: Text
    gpu_link: Text
    gpu_memory: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    gpu_count: Count


class _Pricing(Wire):
    cents_per_minute: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Availability(Wire):
    status: Text


class _Hardware(Wire):
    id: Text
    pricing: _Pricing
    availability: _Availability | None = None
    specs: Annotated[_Specs | None, WrapValidator(_specs_or_none)] = None


class _HardwareList(Wire):
    data: Annotated[list[_Hardware], Field(max_length=10_000)]


def parse_endpoint(body: object) -> Endpoint:
    """A ``DedicatedEndpoint``. v1 tells neither ready replicas nor the inactive timeout. Raises `BadReply`."""
    wire = read(_Endpoint, "endpoint", body)
    return Endpoint(
        id=wire.id,
        name=wire.name,
        model=wire.model,
        hardware=wire.hardware,
        state=STATES.get(wire.state, EndpointState.UNKNOWN),
        bounds=Bounds(wire.autoscaling.min_replicas, wire.autoscaling.max_replicas),
        display_name=wire.display_name or "",
        created_at=wire.created_at,
        owner=wire.owner,
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
        Hardware(item.id, Price(item.pricing.cents_per_minute), _availability(item.availability), _specs(item.specs))
        for item in read(_HardwareList, "hardware", body).data
    )


def _availability(wire: _Availability | None) -> Availability:
    known = {word.value: word for word in Availability}
    return known.get(wire.status, Availability.UNKNOWN) if wire else Availability.UNKNOWN


def _specs(wire: _Specs | None) -> Specs | None:
    return Specs(wire.gpu_type, wire.gpu_link, wire.gpu_memory, wire.gpu_count) if wire else None


def parse_list(body: object) -> tuple[EndpointSummary, ...]:
    """A list of ``ListEndpoint``, which tells neither display name nor hardware nor bounds. Raises `BadReply`."""
    return tuple(
        EndpointSummary(
            item.id, item.name, item.model, item.type, item.owner, STATES.get(item.state, EndpointState.UNKNOWN), item.created_at
        )
        for item in read(_EndpointList, "endpoints", body).data
    )


def _query(which: Listing) -> dict[str, str]:
    asked = {"mine": "true" if which.mine else None, "type": which.type, "usage_type": which.usage_type}
    return {name: value for name, value in asked.items() if value is not None}


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

    async def list(self, which: Listing = OWN) -> tuple[EndpointSummary, ...]:
        """``GET /endpoints``; there is no paging."""
        return parse_list(await self._client.call("GET", "/endpoints", query=_query(which) or None))

    async def zones(self) -> tuple[str, ...]:
        """``GET /clusters/availability-zones``."""
        return tuple(read(_Zones, "availability zones", await self._client.call("GET", "/clusters/availability-zones")).avzones)

    async def starts(self, endpoint_id: str) -> tuple[Start, ...]:  # noqa: ARG002 (of no endpoint)
        """None: v1 keeps no record of events."""
        return ()

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()
