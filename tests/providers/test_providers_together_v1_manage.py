"""Creating, changing, listing and deleting in the words of the first API."""

from types import SimpleNamespace
from typing import Any

import pytest

from scaler.model import Bounds, EndpointChange, EndpointState, EndpointWish
from scaler.providers.base import BadReply, EndpointSummary, Listing, NotFound, OutcomeUnknown
from scaler.providers.together_v1 import TogetherV1Reader, parse_endpoint, parse_hardware, parse_list
from scaler.providers.together_v1_writer import TogetherV1Writer

WISH = EndpointWish("mine", "org/m", "2x_gpu", Bounds(1, 3), 0)
BODY = {
    "model": "org/m",
    "hardware": "2x_gpu",
    "display_name": "mine",
    "autoscaling": {"min_replicas": 1, "max_replicas": 3},
    "inactive_timeout": 0,
    "disable_speculative_decoding": True,
    "state": "STARTED",
}
LISTED = {
    "object": "endpoint",
    "id": "endpoint-1",
    "name": "o/m-1",
    "model": "org/m",
    "type": "dedicated",
    "owner": "o",
    "state": "STOPPED",
    "created_at": "2026-02-04T10:43:55.405Z",
}


@pytest.mark.parametrize(
    ("wish", "body"),
    [
        (WISH, BODY),
        (
            EndpointWish("mine", "org/m", "2x_gpu", Bounds(1, 3), 0, zone="z", speculative_decoding=True, start=False),
            BODY | {"availability_zone": "z", "disable_speculative_decoding": False, "state": "STOPPED"},
        ),
    ],
)
async def test_a_create_says_everything_that_has_a_default(kit: SimpleNamespace, wish: EndpointWish, body: dict[str, Any]) -> None:
    server = await kit.serve(kit.answers(200, kit.endpoint | {"state": "PENDING"}))
    created = await TogetherV1Writer(kit.client(server)).create(wish)
    assert created == parse_endpoint(kit.endpoint | {"state": "PENDING"})
    (request,) = server.requests
    assert (request.method, request.target, request.body) == ("POST", "/v1/endpoints", body)


async def test_a_create_is_sent_once_whatever_comes_back(kit: SimpleNamespace) -> None:
    for status, reply, error in ((503, b"oops", OutcomeUnknown), (200, b"<html>", BadReply), (200, {"id": "endpoint-1"}, BadReply)):
        server = await kit.serve(kit.answers(status, reply))
        with pytest.raises(error):
            await TogetherV1Writer(kit.client(server)).create(WISH)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("change", "body"),
    [
        (EndpointChange(bounds=Bounds(2, 4)), {"autoscaling": {"min_replicas": 2, "max_replicas": 4}}),
        (EndpointChange(inactive_timeout_minutes=0), {"inactive_timeout": 0}),
        (EndpointChange(run=True), {"state": "STARTED"}),
        (EndpointChange(run=False), {"state": "STOPPED"}),
    ],
)
async def test_a_change_says_no_more_than_it_means(kit: SimpleNamespace, change: EndpointChange, body: dict[str, Any]) -> None:
    server = await kit.serve(kit.answers(200, kit.endpoint))
    await TogetherV1Writer(kit.client(server)).change(kit.id, change)
    (request,) = server.requests
    assert (request.method, request.target, request.body) == ("PATCH", f"/v1/endpoints/{kit.id}", body)


@pytest.mark.parametrize("reply", [(204, b""), (200, {})])
async def test_a_delete_may_be_answered_with_nothing(kit: SimpleNamespace, reply: tuple[int, object]) -> None:
    server = await kit.serve(kit.answers(*reply))
    await TogetherV1Writer(kit.client(server)).delete(kit.id)
    (request,) = server.requests
    assert (request.method, request.target, request.body) == ("DELETE", f"/v1/endpoints/{kit.id}", None)


async def test_deleting_what_is_not_there_is_not_found(kit: SimpleNamespace) -> None:
    server = await kit.serve(kit.answers(404, {"error": {"message": "Endpoint not found", "type": "not_found"}}))
    with pytest.raises(NotFound):
        await TogetherV1Writer(kit.client(server)).delete(kit.id)


async def test_a_list_asks_for_what_is_ours_unless_told_otherwise(kit: SimpleNamespace) -> None:
    server = await kit.serve(kit.answers(200, {"object": "list", "data": [LISTED]}))
    reader = TogetherV1Reader(kit.client(server))
    summary = EndpointSummary("endpoint-1", "o/m-1", "org/m", "dedicated", "o", EndpointState.STOPPED, "2026-02-04T10:43:55.405Z")
    assert await reader.list() == (summary,)
    await reader.list(Listing(mine=False, type=None, usage_type="reserved"))
    await reader.list(Listing(mine=False, type=None))
    assert [request.target for request in server.requests] == [
        "/v1/endpoints?mine=true&type=dedicated",
        "/v1/endpoints?usage_type=reserved",
        "/v1/endpoints",
    ]


def test_a_list_is_read_whole_or_not_at_all() -> None:
    assert parse_list({"data": [{**LISTED, "owner": None, "created_at": 5}]})[0].owner == ""
    for spoilt in ({"id": None}, {"state": 5}, {"name": ""}):
        with pytest.raises(BadReply, match=r"endpoints: data\.1\."):
            parse_list({"data": [LISTED, LISTED | spoilt]})


async def test_zones_are_names(kit: SimpleNamespace) -> None:
    server = await kit.serve(kit.answers(200, {"avzones": ["us-east-1a", "us-central-4b"]}))
    assert await TogetherV1Reader(kit.client(server)).zones() == ("us-east-1a", "us-central-4b")
    assert server.requests[0].target == "/v1/clusters/availability-zones"


@pytest.mark.parametrize("specs", [None, [], {"gpu_type": "h100"}, {"gpu_type": 5, "gpu_link": "", "gpu_memory": -1, "gpu_count": "2"}])
def test_specs_that_make_no_sense_are_left_out_and_the_price_stays(specs: object) -> None:
    (hardware,) = parse_hardware({"data": [{"id": "2x_gpu", "pricing": {"cents_per_minute": 1.5}, "specs": specs}]})
    assert (hardware.specs, hardware.price.cents_per_minute) == (None, 1.5)
