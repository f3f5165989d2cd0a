"""The face over real sockets: what the provider's v1 API promises, and the world's own routes."""

import asyncio
import base64
import json
import struct
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any

import httpx
import pytest
from starlette.types import Message

from scaler.clock import ScaledClock
from scaler.settings import ReplicaSettings, WorldEndpointSettings, WorldSettings
from scaler.world.catalog import MODELS
from scaler.world.http import Face, bind, serve, url_of
from scaler.world.live import World

MODEL = "mistralai/Mixtral-8x7B-Instruct-v0.1"
HARDWARE = "2x_nvidia_h100_80gb_sxm"
ONE = "endpoint-one"
CHAT = {"model": ONE, "messages": [{"role": "user", "content": "Hello!"}]}
CREATE = {"model": MODEL, "hardware": HARDWARE, "autoscaling": {"min_replicas": 1, "max_replicas": 1}}

MakeSettings = Callable[..., WorldSettings]
ServeWorld = Callable[..., AbstractAsyncContextManager[Any]]


def error_of(response: httpx.Response) -> dict[str, Any]:
    """The error object, whose shape the 1.x client insists on."""
    error: dict[str, Any] = response.json()["error"]
    assert isinstance(error["message"], str)
    assert isinstance(error["type"], str)
    assert error["code"] is None or isinstance(error["code"], str)
    assert "param" in error
    return error


def events_of(text: str) -> list[dict[str, Any]]:
    """The JSON of all events but the last, which must be the end mark."""
    *events, last, rest = text.split("\n\n")
    assert (last, rest) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


# Management


async def test_an_endpoint_lives_from_create_to_delete(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings(None), speed=600) as served:
        response = await served.client.post("/v1/endpoints", json={**CREATE, "disable_prompt_cache": True})
        assert response.status_code == 200
        created = response.json()
        assert created["state"] == "PENDING"
        assert created["object"] == "endpoint"
        assert created["type"] == "dedicated"
        assert created["owner"] == "tester"
        assert created["display_name"] == created["name"]
        assert created["hardware"] == HARDWARE
        assert datetime.fromisoformat(created["created_at"]).tzinfo is not None
        path = f"/v1/endpoints/{created['id']}"
        assert (await served.eventually(path, "state", "STARTED"))["autoscaling"] == {"min_replicas": 1, "max_replicas": 1}
        answer = await served.client.post("/v1/chat/completions", json={**CHAT, "model": created["name"]})
        assert answer.status_code == 200
        assert (await served.client.patch(path, json={"state": "STOPPED"})).json()["state"] == "STOPPING"
        await served.eventually(path, "state", "STOPPED")
        assert (
            error_of(await served.client.post("/v1/chat/completions", json={**CHAT, "model": created["name"]}))["code"]
            == "endpoint_not_running"
        )
        assert (await served.client.patch(path, json={"state": "STARTED"})).json()["state"] == "STARTING"
        await served.eventually(path, "state", "STARTED")
        deleted = await served.client.delete(path)
        assert (deleted.status_code, deleted.content) == (204, b"")
        assert "content-length" not in deleted.headers
        gone = await served.client.get(path)
        assert gone.status_code == 404
        assert "Endpoint not found" in error_of(gone)["message"]
        assert (await served.client.get("/v1/endpoints")).status_code == 200


async def test_a_new_endpoint_can_stay_stopped_and_named(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings(None)) as served:
        body = {**CREATE, "state": "STOPPED", "display_name": "mine", "inactive_timeout": None}
        created = (await served.client.post("/v1/endpoints?availability_zone=us-east-1a", json=body)).json()
        assert (created["state"], created["display_name"]) == ("STOPPED", "mine")
        assert (await served.inside())["inactive_timeout_minutes"] == 0


async def test_the_idle_limit_left_out_is_an_hour_and_null_is_never(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    cases: list[tuple[dict[str, Any], int]] = [({}, 60), ({"inactive_timeout": None}, 0), ({"inactive_timeout": 30}, 30)]
    async with serve_world(make_settings(None)) as served:
        for given, minutes in cases:
            path = f"/v1/endpoints/{(await served.client.post('/v1/endpoints', json=CREATE | given)).json()['id']}"
            assert (await served.inside())["inactive_timeout_minutes"] == minutes
            await served.client.patch(path, json={"display_name": "x"})
            assert (await served.inside())["inactive_timeout_minutes"] == minutes
            await served.client.patch(path, json={"inactive_timeout": None})
            assert (await served.inside())["inactive_timeout_minutes"] == 0
            await served.client.delete(path)


async def test_an_update_may_be_partial(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings({"max_replicas": 3})) as served:
        for body, bounds in (
            ({"autoscaling": {"min_replicas": 2}}, (2, 3)),
            ({"autoscaling": {"max_replicas": 5}}, (2, 5)),
            ({"autoscaling": {"min_replicas": 0, "max_replicas": 2}}, (0, 2)),
            ({"display_name": "bar"}, (0, 2)),
        ):
            answer = (await served.client.patch(f"/v1/endpoints/{ONE}", json=body)).json()
            assert (answer["autoscaling"]["min_replicas"], answer["autoscaling"]["max_replicas"]) == bounds
        assert answer["display_name"] == "bar"


BAD_MANAGEMENT: list[tuple[str, object, int, str]] = [
    ("POST", {**CREATE, "hardware": "3x_abacus"}, 400, "check the hardware API"),
    ("POST", {**CREATE, "hardware": "1x_nvidia_a100_80gb_pcie"}, 404, "not available for this model"),
    ("POST", {**CREATE, "model": "no/such"}, 404, "no/such"),
    ("POST", {**CREATE, "availability_zone": "mars"}, 400, "availability zone"),
    ("POST", {**CREATE, "autoscaling": {"min_replicas": 1}}, 400, "autoscaling.max_replicas"),
    ("POST", {**CREATE, "autoscaling": {"min_replicas": 2, "max_replicas": 1}}, 400, "min_replicas"),
    ("POST", {**CREATE, "state": "READY"}, 400, "state"),
    ("POST", {"hardware": HARDWARE}, 400, "model"),
    ("PATCH", {"autoscaling": {"min_replicas": "1"}}, 400, "autoscaling.min_replicas"),
    ("PATCH", {"autoscaling": {"min_replicas": True}}, 400, "autoscaling.min_replicas"),
    ("PATCH", {"autoscaling": {"min_replicas": 9}}, 400, "min_replicas"),
    ("PATCH", {"autoscaling": {"min_replicas": 0, "max_replicas": 0}}, 400, "max_replicas"),
    ("PATCH", {"inactive_timeout": -1}, 400, "inactive_timeout"),
    ("PATCH", [], 400, "JSON object"),
]


async def test_bad_management_bodies_are_refused_and_change_nothing(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings()) as served:
        before = await served.inside()
        for method, body, status, message in BAD_MANAGEMENT:
            path = "/v1/endpoints" if method == "POST" else f"/v1/endpoints/{ONE}"
            response = await served.client.request(method, path, json=body)
            assert response.status_code == status, body
            assert message in error_of(response)["message"]
        after = await served.inside()
        keys = ("state", "min_replicas", "max_replicas", "inactive_timeout_minutes")
        assert [after[key] for key in keys] == [before[key] for key in keys]
        assert len((await served.client.get("/v1/endpoints?mine=true")).json()["data"]) == 1


async def test_the_list_filters_in_any_spelling(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings()) as served:

        async def ids(query: str) -> list[str]:
            body = (await served.client.get(f"/v1/endpoints{query}")).json()
            assert body["object"] == "list"
            return [item["id"] for item in body["data"]]

        for query in ("?mine=True", "?mine=true", "?type=dedicated", "?usage_type=on-demand&type=dedicated&mine=True"):
            assert await ids(query) == [ONE]
        assert await ids("?mine=true&usage_type=reserved") == []
        for query in ("", "?mine=False"):
            assert len(await ids(query)) == 1 + len(MODELS)
        assert len(await ids("?type=serverless")) == len(MODELS)
        assert (await served.client.get("/v1/endpoints?type=borrowed")).status_code == 400
        listed = (await served.client.get("/v1/endpoints?mine=true")).json()["data"][0]
        assert set(listed) == {"object", "id", "name", "model", "type", "owner", "state", "created_at"}


async def test_hardware_tells_availability_only_for_a_model(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    stock = {"2x_nvidia_a100_80gb_sxm": 0, HARDWARE: 1}
    async with serve_world(make_settings(stock=stock)) as served:
        body = (await served.client.get("/v1/hardware", params={"model": MODEL})).json()
        assert body["object"] == "list"
        assert [item["id"] for item in body["data"]] == [
            f"{count}x_nvidia_{gpu}_80gb_sxm" for count in (2, 4, 8) for gpu in ("a100", "h100")
        ]
        by_id = {item["id"]: item for item in body["data"]}
        assert by_id["2x_nvidia_a100_80gb_sxm"]["availability"] == {"status": "unavailable"}
        assert by_id["8x_nvidia_h100_80gb_sxm"]["availability"] == {"status": "available"}
        assert by_id[HARDWARE]["availability"] == {"status": "insufficient"}
        assert by_id[HARDWARE]["pricing"] == {"cents_per_minute": 18.0}
        assert by_id["8x_nvidia_h100_80gb_sxm"]["pricing"] == {"cents_per_minute": 72.0}
        assert by_id[HARDWARE]["specs"] == {"gpu_type": "h100-80gb", "gpu_link": "sxm", "gpu_memory": 80, "gpu_count": 2}
        everything = (await served.client.get("/v1/hardware")).json()["data"]
        assert "1x_nvidia_a100_80gb_pcie" in {item["id"] for item in everything}
        assert not any("availability" in item for item in everything)
        assert all({"object", "id", "pricing", "specs", "updated_at"} <= set(item) for item in everything)
        assert (await served.client.get("/v1/hardware?model=no/such")).status_code == 404


async def test_zones_and_whoami(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings(None)) as served:
        zones = (await served.client.get("/v1/clusters/availability-zones")).json()
        assert {"us-central-4b", "us-east-1a"} <= set(zones["avzones"])
        assert (await served.client.get("/v3/whoami")).json()["project"]["slug"] == "tester"


async def test_without_a_key_there_is_no_answer(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    calls = [("GET", "/v1/endpoints"), ("GET", "/v1/models"), ("GET", "/v3/whoami"), ("POST", "/v1/chat/completions")]
    async with serve_world(make_settings()) as served, httpx.AsyncClient(base_url=served.url) as stranger:
        for method, path in calls:
            for headers in ({}, {"authorization": "Bearer"}, {"authorization": "Basic abc"}):
                response = await stranger.request(method, path, headers=headers)
                assert response.status_code == 401, (path, headers)
                assert error_of(response)["type"] == "authentication_error"


async def test_what_does_not_exist_is_an_error_object_too(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings()) as served:
        for method, path, status in (("GET", "/v1/nothing", 404), ("PUT", f"/v1/endpoints/{ONE}", 405), ("GET", "/v1/completions", 404)):
            response = await served.client.request(method, path)
            assert response.status_code == status, path
            assert method in error_of(response)["message"]


async def test_bodies_are_bounded(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings()) as served:
        response = await served.client.post("/v1/endpoints", content=b"x" * 70_000)
        assert response.status_code == 413
        assert error_of(response)["code"] == "request_too_large"


# Inference


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_an_answer_in_one_piece(make_settings: MakeSettings, serve_world: ServeWorld, path: str) -> None:
    body = {**CHAT, "prompt": "x" * 40, "max_tokens": 7}
    async with serve_world(make_settings()) as served:
        answer = (await served.client.post(path, json=body)).json()
        (choice,) = answer["choices"]
        chat = "chat" in path
        assert answer["object"] == ("chat.completion" if chat else "text_completion")
        assert answer["usage"] == {"prompt_tokens": 1 if chat else 10, "completion_tokens": 7, "total_tokens": 8 if chat else 17}
        assert choice["finish_reason"] == "length"
        assert (choice["message"]["content"] if chat else choice["text"]) == " tok" * 7
        assert answer["model"] == ONE


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_an_answer_as_a_stream(make_settings: MakeSettings, serve_world: ServeWorld, path: str) -> None:
    body = {**CHAT, "prompt": "Hello!", "stream": True}
    headers = {"x-world-output-tokens": "10", "x-world-input-tokens": "33"}
    async with serve_world(make_settings()) as served:
        response = await served.client.post(path, json=body, headers=headers)
        assert response.headers["content-type"].startswith("text/event-stream")
        events = events_of(response.text)
        chat = "chat" in path
        if chat:
            opening, *events = events
            assert opening["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        *contents, last = events
        texts = [event["choices"][0]["delta"]["content"] if chat else event["choices"][0]["text"] for event in contents]
        assert texts == [" tok" * 4, " tok" * 4, " tok" * 2]
        assert {event["choices"][0]["finish_reason"] for event in contents} == {None}
        assert last["choices"][0]["finish_reason"] == "stop"
        assert last["usage"] == {"prompt_tokens": 33, "completion_tokens": 10, "total_tokens": 43}
        assert len({event["id"] for event in events}) == 1


async def test_a_stream_is_paced_by_the_world(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    """One second of prefill and 40 tokens of 0.1 s, ten times as fast as real time: first bytes at 0.1 s, the last at 0.5 s."""
    async with serve_world(make_settings(), speed=10) as served:
        loop = asyncio.get_running_loop()
        began = loop.time()
        headers = {"x-world-output-tokens": "40"}
        async with served.client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}, headers=headers) as response:
            times = [loop.time() - began async for _ in response.aiter_bytes()]
        assert times[0] >= 0.099
        assert times[-1] >= 0.499
        assert len(times) >= 5


async def test_a_fast_clock_joins_events(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings(), speed=10_000) as served:
        headers = {"x-world-output-tokens": "400"}
        async with served.client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}, headers=headers) as response:
            parts = [part async for part in response.aiter_raw()]
        assert len(events_of(b"".join(parts).decode())) == 102
        assert len(parts) < 20


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_embeddings(make_settings: MakeSettings, serve_world: ServeWorld, encoding: str) -> None:
    async with serve_world(make_settings()) as served:
        body = {"model": ONE, "input": ["one", "two", "one"], "encoding_format": encoding}
        answer = (await served.client.post("/v1/embeddings", json=body)).json()
        vectors = [item["embedding"] for item in answer["data"]]
        if encoding == "base64":
            vectors = [list(struct.unpack("<8f", base64.b64decode(vector))) for vector in vectors]
        assert vectors[0] == vectors[2] != vectors[1]
        assert [len(vector) for vector in vectors] == [8, 8, 8]
        assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


async def test_models_are_the_names_of_endpoints(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings()) as served:
        (model,) = (await served.client.get("/v1/models")).json()["data"]
        assert model["id"] == (await served.inside())["name"]


BAD_REQUESTS: list[tuple[str, dict[str, Any], dict[str, str], str]] = [
    ("/v1/chat/completions", {"messages": []}, {}, "model"),
    ("/v1/chat/completions", {"model": ONE}, {}, "messages"),
    ("/v1/chat/completions", {**CHAT, "stream": "yes"}, {}, "stream"),
    ("/v1/chat/completions", {**CHAT, "max_tokens": 0}, {}, "max_tokens"),
    ("/v1/chat/completions", {**CHAT, "max_completion_tokens": 1.5}, {}, "max_completion_tokens"),
    ("/v1/chat/completions", CHAT, {"x-world-output-tokens": "-1"}, "x-world-output-tokens"),
    ("/v1/chat/completions", CHAT, {"x-world-input-tokens": "9" * 30}, "x-world-input-tokens"),
    ("/v1/completions", {"model": ONE}, {}, "prompt"),
    ("/v1/embeddings", {"model": ONE}, {}, "input"),
    ("/v1/embeddings", {"model": ONE, "input": []}, {}, "input"),
]


async def test_bad_requests_say_what_is_missing(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings()) as served:
        for path, body, headers, message in BAD_REQUESTS:
            response = await served.client.post(path, json=body, headers=headers)
            assert response.status_code == 400, body
            assert message in error_of(response)["message"]


async def test_nonsense_is_refused(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings()) as served:
        for content in (b"", b"{", b"[" * 100_000, b"\xff"):
            response = await served.client.post("/v1/chat/completions", content=content)
            assert response.status_code == 400
            assert "JSON" in error_of(response)["message"]


async def test_a_stranger_and_a_sleeper(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings({"state": "STOPPED"})) as served:
        assert (await served.client.post("/v1/chat/completions", json={**CHAT, "model": "who"})).status_code == 404
        assert (await served.client.post("/v1/chat/completions", json=CHAT)).status_code == 400


async def test_a_full_queue_is_503_with_a_time_to_come_back(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings(max_queued=0), speed=1) as served, asyncio.TaskGroup() as group:
        running = [group.create_task(served.client.post("/v1/chat/completions", json=CHAT)) for _ in range(4)]
        while (await served.inside())["in_flight"] < 4:
            await asyncio.sleep(0.01)
        response = await served.client.post("/v1/chat/completions", json=CHAT)
        assert response.status_code == 503
        assert error_of(response)["code"] == "overloaded"
        assert int(response.headers["retry-after"]) >= 1
        for task in running:
            task.cancel()


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_client_that_leaves_frees_its_slot_at_once(make_settings: MakeSettings, serve_world: ServeWorld, *, streamed: bool) -> None:
    async with serve_world(make_settings(), speed=1) as served:
        headers = {"x-world-output-tokens": "100000"}
        leaving = asyncio.create_task(served.client.post("/v1/chat/completions", json={**CHAT, "stream": streamed}, headers=headers))
        while not (await served.inside())["in_flight"]:
            await asyncio.sleep(0.01)
        leaving.cancel()
        async with asyncio.timeout(1):
            while (await served.inside())["in_flight"]:
                await asyncio.sleep(0.01)


async def test_an_endpoint_that_goes_away_breaks_streams_visibly_and_fails_waiting_requests(
    make_settings: MakeSettings, serve_world: ServeWorld
) -> None:
    async with serve_world(make_settings(), speed=10) as served:
        headers = {"x-world-output-tokens": "100000"}
        body = {**CHAT, "stream": True}
        async with served.client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
            parts = response.aiter_text()
            text = await anext(parts)
            others = [asyncio.create_task(served.client.post("/v1/chat/completions", json=body, headers=headers)) for _ in range(5)]
            while (await served.inside())["queued"] < 2:
                await asyncio.sleep(0.01)
            await served.client.delete(f"/v1/endpoints/{ONE}")
            text += "".join([part async for part in parts])
        last = json.loads(text.rstrip().rpartition("data: ")[2])
        assert last["error"]["code"] == "endpoint_stopped"
        assert "[DONE]" not in text
        assert sorted({(await other).status_code for other in others}) in ([503], [200, 503])


async def test_when_the_server_ends_streams_end_too_with_an_error(make_settings: MakeSettings) -> None:
    listener = bind("127.0.0.1:0")
    serving = asyncio.create_task(serve(make_settings(), ScaledClock(10), sockets=[listener]))
    headers = {"authorization": "Bearer test", "x-world-output-tokens": "100000"}
    async with httpx.AsyncClient(base_url=url_of(listener), headers=headers) as client:
        async with client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as response:
            parts = response.aiter_text()
            await anext(parts)
            serving.cancel()
            text = "".join([part async for part in parts])
        await asyncio.wait([serving], timeout=10)
    assert serving.cancelled()
    assert json.loads(text.rstrip().rpartition("data: ")[2])["error"]["code"] == "endpoint_stopped"


async def test_a_handler_that_is_cancelled_takes_its_job_with_it(make_settings: MakeSettings) -> None:
    world = World(make_settings(), ScaledClock(1))
    body = json.dumps(CHAT).encode()
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else await asyncio.Future()

    async def send(message: Message) -> None:
        raise AssertionError(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": [(b"authorization", b"Bearer test")]}
    handler = asyncio.create_task(Face(world)(scope, receive, send))
    endpoint = world.platform.endpoint(ONE, world.now())
    async with asyncio.timeout(5):
        while not endpoint.in_flight:
            await asyncio.sleep(0)
    handler.cancel()
    await asyncio.wait([handler])
    assert endpoint.in_flight == 0


# The world's own routes


async def test_status_tells_what_the_provider_does_not(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings({"max_replicas": 3}), speed=1) as served:
        await served.client.post("/v1/chat/completions", json=CHAT, headers={"x-world-output-tokens": "1"})
        await served.client.patch(f"/v1/endpoints/{ONE}", json={"autoscaling": {"min_replicas": 2}})
        status = (await served.client.get("/x/status")).json()
        assert status["speed"] == 1
        (inside,) = status["endpoints"]
        expected = {"id": ONE, "state": "STARTED", "min_replicas": 2, "max_replicas": 3, "ready": 1, "starting": 1, "draining": 0}
        assert expected.items() <= inside.items()
        assert {"in_flight": 0, "queued": 0, "requests": 1}.items() <= inside.items()
        assert inside["cost_dollars"] == status["cost_dollars"] == pytest.approx(0.18)
        assert 0 < inside["replica_hours"] < 0.1


async def test_faults_hit_the_management_api_and_nothing_else(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings()) as served:
        await served.client.post("/x/faults", json={"management": {"status": 500}})
        for call in (served.client.get("/v1/endpoints"), served.client.patch(f"/v1/endpoints/{ONE}", json={"display_name": "x"})):
            response = await call
            assert response.status_code == 500
            assert error_of(response)["type"] == "server_error"
        assert (await served.client.post("/v1/chat/completions", json=CHAT)).status_code == 200
        await served.client.post("/x/faults", json={"management": {"garbage": True}})
        garbage = await served.client.get(f"/v1/endpoints/{ONE}")
        assert garbage.status_code == 200
        with pytest.raises(json.JSONDecodeError):
            garbage.json()
        await served.client.post("/x/faults", json={"management": None})
        assert (await served.client.get(f"/v1/endpoints/{ONE}")).json()["display_name"] != "x"


async def test_a_slow_management_api_is_slow_in_clock_time(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings(), speed=100) as served:
        await served.client.post("/x/faults", json={"management": {"delay_seconds": 20}})
        began = asyncio.get_running_loop().time()
        assert (await served.client.get(f"/v1/endpoints/{ONE}")).status_code == 200
        assert asyncio.get_running_loop().time() - began >= 0.199


async def test_faults_end_by_themselves(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings(), speed=100) as served:
        await served.client.post("/x/faults", json={"management": {"status": 503}, "seconds": 20})
        first = await served.client.get(f"/v1/endpoints/{ONE}")
        assert (first.status_code, first.headers["retry-after"]) == (503, "1")
        await served.eventually(f"/v1/endpoints/{ONE}", "state", "STARTED")


BAD_CONTROL: list[tuple[str, dict[str, Any]]] = [
    ("/x/faults", {"management": {"status": 200}}),
    ("/x/faults", {"management": {}}),
    ("/x/faults", {"inference": {}}),
    ("/x/faults", {"management": {"delay_seconds": "Infinity"}}),
    ("/x/clock", {"speed": 0}),
    ("/x/clock", {}),
]


async def test_bad_control_bodies_are_refused(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings()) as served:
        for path, body in BAD_CONTROL:
            response = await served.client.post(path, json=body)
            assert response.status_code == 400, body
            error_of(response)


async def test_the_clock_goes_faster_when_told_and_nothing_jumps(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings({"state": "STOPPED"}), speed=1) as served:
        await served.client.patch(f"/v1/endpoints/{ONE}", json={"state": "STARTED"})
        before = (await served.client.get("/x/status")).json()["now"]
        assert (await served.client.post("/x/clock", json={"speed": 1000})).json() == {"speed": 1000}
        await served.eventually(f"/v1/endpoints/{ONE}", "state", "STARTED")
        await served.client.post("/x/clock", json={"speed": 1})
        after = (await served.client.get("/x/status")).json()["now"]
        assert 180 < after - before < 180 + 20_000


async def test_slots_are_shared_over_http_as_in_virtual_time(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    """Eight requests of 2 s on four slots: the second half waits for the first."""
    settings = make_settings(replica=ReplicaSettings(slots=4, ttft_seconds=1, seconds_per_output_token=0.1, slowdown=0))
    async with serve_world(settings, speed=10) as served:
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def ask() -> float:
            await served.client.post("/v1/chat/completions", json=CHAT, headers={"x-world-output-tokens": "10"})
            return loop.time() - began

        times = sorted(await asyncio.gather(*(ask() for _ in range(8))))
        assert times[0] >= 0.199
        assert times[4] >= 0.399
        assert times[3] < times[4]


async def test_many_endpoints_share_one_world(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    endpoints = tuple(WorldEndpointSettings(id=f"endpoint-{number}", model=MODEL, hardware=HARDWARE) for number in range(3))
    async with serve_world(make_settings(None, endpoints=endpoints)) as served:
        for number in range(3):
            assert (await served.client.post("/v1/chat/completions", json={**CHAT, "model": f"endpoint-{number}"})).status_code == 200
        status = (await served.client.get("/x/status")).json()
        assert [endpoint["requests"] for endpoint in status["endpoints"]] == [1, 1, 1]
