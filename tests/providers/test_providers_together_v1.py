"""The words of the API: what is sent, and what its answers mean."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from scaler.model import Action, ActionKind, Bounds, Endpoint, EndpointState, Price
from scaler.providers.base import Availability, BadReply, Hardware, NotFound, OutcomeUnknown, Refused, Specs
from scaler.providers.together_v1 import TogetherV1Reader, endpoint_path, parse_endpoint, parse_hardware
from scaler.providers.together_v1_writer import TogetherV1Writer

HARDWARE = {
    "object": "hardware",
    "id": "2x_nvidia_h100_80gb_sxm",
    "pricing": {"cents_per_minute": 10.82},
    "specs": {"gpu_type": "h100-80gb", "gpu_link": "sxm", "gpu_memory": 80, "gpu_count": 2},
    "updated_at": "2026-01-01T00:00:00Z",
}


async def test_get_reads_what_matters_and_leaves_unsaid_what_v1_does_not_tell(kit: SimpleNamespace) -> None:
    server = await kit.serve(kit.answers(200, kit.endpoint))
    assert await TogetherV1Reader(kit.client(server)).get(kit.id) == Endpoint(
        id=kit.id,
        name="tester/mistralai/Mixtral-8x7B-Instruct-v0.1-bb04c904",
        model="mistralai/Mixtral-8x7B-Instruct-v0.1",
        hardware="2x_nvidia_h100_80gb_sxm",
        state=EndpointState.STARTED,
        bounds=Bounds(1, 3),
        display_name="mine",
        ready_replicas=None,
        inactive_timeout_minutes=None,
        created_at="2026-02-04T10:43:55.405Z",
        owner="tester",
    )
    (request,) = server.requests
    assert (request.method, request.target, request.body) == ("GET", f"/v1/endpoints/{kit.id}", None)
    assert request.headers["authorization"] == f"Bearer {kit.key}"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (ActionKind.UPDATE, {"autoscaling": {"min_replicas": 2, "max_replicas": 4}, "inactive_timeout": 0}),
        (ActionKind.START, {"state": "STARTED", "autoscaling": {"min_replicas": 2, "max_replicas": 4}, "inactive_timeout": 0}),
        (ActionKind.STOP, {"state": "STOPPED"}),
    ],
)
async def test_each_action_is_one_patch_that_says_everything_it_means(kit: SimpleNamespace, kind: ActionKind, body: dict[str, Any]) -> None:
    server = await kit.serve(kit.answers(200, kit.endpoint))
    told = await TogetherV1Writer(kit.client(server)).apply(Action(kind, kit.id, Bounds(2, 4), 0))
    assert told == parse_endpoint(kit.endpoint)
    (request,) = server.requests
    assert (request.method, request.target, request.body) == ("PATCH", f"/v1/endpoints/{kit.id}", body)


async def test_the_catalog_is_asked_for_a_model_and_tells_price_and_availability(kit: SimpleNamespace) -> None:
    listed = {"object": "list", "data": [HARDWARE | {"availability": {"status": "insufficient"}}]}
    server = await kit.serve(kit.answers(200, listed))
    found = await TogetherV1Reader(kit.client(server)).hardware("mistralai/Mixtral 8x7B&co")
    assert found == (Hardware("2x_nvidia_h100_80gb_sxm", Price(10.82), Availability.INSUFFICIENT, Specs("h100-80gb", "sxm", 80, 2)),)
    assert server.requests[0].target == "/v1/hardware?model=mistralai%2FMixtral+8x7B%26co"


async def test_the_catalog_without_a_model_leaves_availability_unknown(kit: SimpleNamespace) -> None:
    server = await kit.serve(kit.answers(200, {"object": "list", "data": [HARDWARE, HARDWARE | {"availability": {"status": "soon"}}]}))
    found = await TogetherV1Reader(kit.client(server)).hardware()
    assert [item.availability for item in found] == [Availability.UNKNOWN, Availability.UNKNOWN]
    assert server.requests[0].target == "/v1/hardware"


@pytest.mark.parametrize(
    ("word", "state"),
    [
        *((state.value, state) for state in EndpointState),
        ("FAILED", EndpointState.ERROR),
        ("READY", EndpointState.UNKNOWN),
        ("started", EndpointState.UNKNOWN),
    ],
)
def test_a_state_nobody_knows_is_unknown_and_a_failed_endpoint_is_in_error(kit: SimpleNamespace, word: str, state: EndpointState) -> None:
    assert parse_endpoint(kit.endpoint | {"state": word}).state is state


def test_fields_that_nobody_needs_may_be_missing_strange_or_new(kit: SimpleNamespace) -> None:
    body = kit.endpoint | {"display_name": None, "created_at": 5, "owner": [], "x_new": {"a": [None]}}
    del body["type"], body["object"]
    endpoint = parse_endpoint(body)
    assert (endpoint.display_name, endpoint.created_at, endpoint.owner) == ("", "", "")


@pytest.mark.parametrize("field", ["id", "name", "model", "hardware", "state", "autoscaling"])
@pytest.mark.parametrize(
    "spoil", [lambda _: None, lambda _: 7, lambda _: "", lambda _: [], lambda _: "a\nb", lambda _: "x" * 501, dict.copy]
)
def test_a_field_that_matters_must_be_there_and_be_right(kit: SimpleNamespace, field: str, spoil: Callable[[Any], Any]) -> None:
    with pytest.raises(BadReply, match=rf"endpoint: {field}"):
        parse_endpoint(kit.endpoint | {field: spoil({})})
    del kit.endpoint[field]
    with pytest.raises(BadReply, match=rf"endpoint: {field}: Field required"):
        parse_endpoint(kit.endpoint)


@pytest.mark.parametrize(
    "autoscaling",
    [
        {"min_replicas": 1},
        {"min_replicas": None, "max_replicas": 1},
        {"min_replicas": "1", "max_replicas": 1},
        {"min_replicas": 1.0, "max_replicas": 1},
        {"min_replicas": True, "max_replicas": 1},
        {"min_replicas": -1, "max_replicas": 1},
        {"min_replicas": 3, "max_replicas": 2},
        {"min_replicas": 0, "max_replicas": 10**300},
    ],
)
def test_bounds_that_make_no_sense_are_no_bounds(kit: SimpleNamespace, autoscaling: dict[str, Any]) -> None:
    with pytest.raises(BadReply, match="autoscaling"):
        parse_endpoint(kit.endpoint | {"autoscaling": autoscaling})


@pytest.mark.parametrize("price", [None, "10.82", -1, True, float("inf"), float("nan")])
def test_a_price_that_is_no_price_spoils_the_catalog(price: object) -> None:
    with pytest.raises(BadReply, match=r"data\.0\.pricing\.cents_per_minute"):
        parse_hardware({"data": [HARDWARE | {"pricing": {"cents_per_minute": price}}]})


@pytest.mark.parametrize("body", [None, [], 5, "text", {}, {"data": None}, {"data": {}}])
def test_a_body_of_another_shape_is_a_bad_reply(body: object) -> None:
    with pytest.raises(BadReply):
        parse_endpoint(body)
    with pytest.raises(BadReply):
        parse_hardware(body)


async def test_another_endpoint_than_the_one_asked_for_is_a_bad_reply(kit: SimpleNamespace) -> None:
    server = await kit.serve(kit.answers(200, kit.endpoint))
    with pytest.raises(BadReply, match="asked for endpoint-other"):
        await TogetherV1Reader(kit.client(server)).get("endpoint-other")
    with pytest.raises(BadReply, match="asked for endpoint-other"):
        await TogetherV1Writer(kit.client(server)).apply(Action(ActionKind.STOP, "endpoint-other", Bounds(1, 1), 60))


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a?b", "a%2Fb", "a#b", "a b", "é", "a\n"])
def test_an_id_cannot_lead_to_another_path(name: str) -> None:
    with pytest.raises(ValueError, match="not an endpoint id"):
        endpoint_path(name)


async def test_a_no_tells_its_status_its_code_and_its_words(kit: SimpleNamespace) -> None:
    error = {"message": "v1 creates\nare   disabled", "type": "forbidden", "param": None, "code": "endpoints_v1_create_access_disabled"}
    server = await kit.serve(kit.answers(403, {"error": error}))
    with pytest.raises(Refused) as caught:
        await TogetherV1Writer(kit.client(server)).apply(Action(ActionKind.START, kit.id, Bounds(1, 1), 60))
    assert (caught.value.status, caught.value.code) == (403, "endpoints_v1_create_access_disabled")
    assert str(caught.value) == f"PATCH /endpoints/{kit.id}: 403: endpoints_v1_create_access_disabled v1 creates are disabled"


async def test_an_endpoint_that_is_gone_is_not_found(kit: SimpleNamespace) -> None:
    server = await kit.serve(kit.answers(404, {"error": {"message": "Endpoint not found", "type": "not_found"}}))
    with pytest.raises(NotFound, match="Endpoint not found"):
        await TogetherV1Reader(kit.client(server)).get(kit.id)


async def test_a_failure_is_reported_after_a_single_request(kit: SimpleNamespace) -> None:
    server = await kit.serve(kit.answers(500, b"oops"))
    with pytest.raises(OutcomeUnknown):
        await TogetherV1Reader(kit.client(server)).get(kit.id)
    assert len(server.requests) == 1
