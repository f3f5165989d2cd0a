"""Faults as a client meets them on the wire: late, refused, nonsense, cut in half, or no answer at all."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest

from scaler.settings import FaultSettings, FaultsSettings, WorldSettings
from scaler.world.faults import Faults

MODEL = "mistralai/Mixtral-8x7B-Instruct-v0.1"
HARDWARE = "2x_nvidia_h100_80gb_sxm"
ONE = "endpoint-one"
PATH = f"/v1/endpoints/{ONE}"
CHAT = {"model": ONE, "messages": [{"role": "user", "content": "Hello!"}]}
RENAME = {"display_name": "renamed"}

MakeSettings = Callable[..., WorldSettings]
ServeWorld = Callable[..., AbstractAsyncContextManager[Any]]


async def break_it(served: Any, **body: object) -> None:  # noqa: ANN401 (the fixture's own class)
    response = await served.client.post("/x/faults", json=body)
    assert response.status_code == 200, response.text


async def name_of(served: Any) -> str:  # noqa: ANN401 (see above)
    name: str = (await served.client.get(PATH)).json()["display_name"]
    return name


# Which calls are struck


def strikes(fault: dict[str, Any], calls: int = 1, *, method: str = "GET", path: str = PATH, at: float = 0.0, seed: int = 1) -> int:
    faults = Faults(seed)
    faults.put("management", (FaultSettings.model_validate({"status": 500} | fault),), None, 0.0)
    return sum(faults.strike("management", method, path, at) is not None for _ in range(calls))


def test_filters_limits_and_dice() -> None:
    assert strikes({}) == 1
    assert strikes({"methods": ["PATCH"]}) == 0
    assert strikes({"methods": ["PATCH", "GET"]}) == 1
    assert strikes({"path_prefix": "/v1/hardware"}) == 0
    assert strikes({"path_prefix": "/v1/endpoints/"}) == 1
    assert strikes({"count": 3}, calls=10) == 3
    assert strikes({"seconds": 5}, at=4.9) == 1
    assert strikes({"seconds": 5}, at=5.0) == 0
    assert 200 < strikes({"share": 0.25}, calls=1000) < 300
    assert strikes({"share": 0.25}, calls=1000) == strikes({"share": 0.25}, calls=1000)
    assert strikes({"share": 0.5, "count": 3}, calls=100) == 3


def test_calls_that_pass_the_filter_in_vain_do_not_use_up_the_count() -> None:
    faults = Faults(seed=1)
    faults.put("management", (FaultSettings(status=500, methods=("PATCH",), count=1), FaultSettings(garbage=True, count=1)), None, 0.0)
    struck = [faults.strike("management", method, PATH, 0.0) for method in ("GET", "GET", "PATCH", "PATCH")]
    assert [fault and fault.status for fault in struck] == [None, None, 500, None]
    assert [fault is not None and fault.garbage for fault in struck] == [True, False, False, False]
    assert faults.strike("inference", "POST", "/v1/chat/completions", 0.0) is None


BAD: list[dict[str, Any]] = [
    {},
    {"share": 0.5},
    {"status": 500, "garbage": True},
    {"half_body": True, "drop_reply": True},
    {"status": 399},
    {"garbage": True, "retry_after_seconds": 1},
    {"status": 500, "share": 0},
    {"status": 500, "count": 0},
    {"status": 500, "methods": ["patch"]},
    {"status": 500, "every": 2},
]


async def test_contradictory_faults_are_refused_and_change_nothing(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings()) as served:
        await break_it(served, management={"status": 418})
        for fault in BAD:
            for body in ({"management": fault}, {"inference": [fault]}):
                assert (await served.client.post("/x/faults", json=body)).status_code == 400, fault
        for platform in ({"stock": {"abacus": 1}}, {"lose_replica": "nobody"}, {"fail_starts": {"nobody": 1}}, {"slow_starts": 0}):
            response = await served.client.post("/x/faults", json={"platform": platform, "management": None})
            assert response.status_code in (400, 404), platform
        assert (await served.client.get(PATH)).status_code == 418


# What becomes of a call


async def test_an_error_with_a_time_to_come_back(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    cases = [(429, None, "1"), (429, 7, "7"), (503, 0, "0"), (500, None, None), (500, 30, "30"), (403, None, None)]
    async with serve_world(make_settings()) as served:
        for status, given, header in cases:
            await break_it(served, management={"status": status, "retry_after_seconds": given})
            response = await served.client.patch(PATH, json=RENAME)
            assert (response.status_code, response.headers.get("retry-after")) == (status, header)
            assert response.json()["error"]["code"] == "emulated_fault"
        await break_it(served, management=None)
        assert await name_of(served) != "renamed"


async def test_a_lost_answer_hides_a_call_that_was_carried_out(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings()) as served:
        await break_it(served, management={"drop_reply": True, "methods": ["PATCH"]})
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            await served.client.patch(PATH, json=RENAME)
        assert await name_of(served) == "renamed"


async def test_a_lost_request_has_no_effect(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings()) as served:
        await break_it(served, management={"drop_request": True, "count": 1})
        with pytest.raises(httpx.TransportError):
            await served.client.patch(PATH, json=RENAME)
        assert await name_of(served) != "renamed"


async def test_half_an_answer_promises_more_than_it_sends(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings()) as served:
        await break_it(served, management={"half_body": True, "methods": ["PATCH", "DELETE"]})
        async with served.client.stream("PATCH", PATH, json=RENAME) as response:
            assert response.status_code == 200
            promised = int(response.headers["content-length"])
            assert promised > 100
            with pytest.raises(httpx.RemoteProtocolError, match=f"received {promised // 2} bytes, expected {promised}"):
                await response.aread()
        assert await name_of(served) == "renamed"
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            await served.client.delete(PATH)
        assert (await served.client.get(PATH)).status_code == 404


async def test_the_same_on_raw_bytes(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    """No client in between: after half a body and after nothing at all the connection is closed."""
    async with serve_world(make_settings()) as served:
        host, port = served.url.removeprefix("http://").split(":")
        request = f"GET {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer test\r\n\r\n".encode()
        for fault in ("half_body", "drop_reply", "drop_request"):
            await break_it(served, management={fault: True})
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(request)
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            if fault != "half_body":
                assert answer == b""
                continue
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            assert len(body) == length // 2


# Inference


async def test_inference_has_faults_of_its_own(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings()) as served:
        await break_it(served, inference={"status": 503, "retry_after_seconds": 5, "count": 1})
        response = await served.client.post("/v1/chat/completions", json=CHAT)
        assert (response.status_code, response.headers["retry-after"]) == (503, "5")
        assert (await served.client.get(PATH)).status_code == 200
        assert (await served.client.post("/v1/chat/completions", json=CHAT)).status_code == 200
        await break_it(served, inference={"garbage": True, "path_prefix": "/v1/embeddings"})
        assert (await served.client.post("/v1/chat/completions", json=CHAT)).status_code == 200
        assert "<html>" in (await served.client.post("/v1/embeddings", json={"model": ONE, "input": "x"})).text
        assert (await served.inside())["requests"] == 2


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("fault", ["half_body", "drop_reply", "drop_request"])
async def test_a_broken_answer_is_visibly_broken(
    make_settings: MakeSettings, serve_world: ServeWorld, fault: str, *, streamed: bool
) -> None:
    async with serve_world(make_settings()) as served:
        await break_it(served, inference={fault: True})
        with pytest.raises(httpx.TransportError):
            await served.client.post("/v1/chat/completions", json={**CHAT, "stream": streamed})
        inside = await served.inside()
        assert inside["in_flight"] == 0
        assert inside["requests"] == (0 if fault == "drop_request" else 1)


async def test_a_late_answer_is_late_in_clock_time(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings(), speed=100) as served:
        await break_it(served, inference={"delay_seconds": 20, "status": 504})
        began = asyncio.get_running_loop().time()
        assert (await served.client.post("/v1/chat/completions", json=CHAT)).status_code == 504
        assert asyncio.get_running_loop().time() - began >= 0.199


# From the beginning, and behind the API


async def test_what_is_not_named_stays_as_it_was(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings()) as served:
        await break_it(served, management={"status": 500})
        await break_it(served, inference={"status": 504})
        await break_it(served, platform={"slow_starts": 2})
        await break_it(served)
        assert (await served.client.get(PATH)).status_code == 500
        assert (await served.client.post("/v1/chat/completions", json=CHAT)).status_code == 504


async def test_a_world_can_begin_with_faults(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    faults = FaultsSettings.model_validate(
        {
            "management": [{"status": 500, "methods": ["PATCH"], "count": 1}, {"status": 403, "methods": ["DELETE"]}],
            "platform": {"stock": {HARDWARE: 2}},
        }
    )
    async with serve_world(make_settings({"max_replicas": 4}, faults=faults)) as served:
        bounds = {"autoscaling": {"min_replicas": 4, "max_replicas": 4}}
        assert (await served.client.patch(PATH, json=bounds)).status_code == 500
        assert (await served.client.patch(PATH, json=bounds)).status_code == 200
        assert (await served.client.delete(PATH)).status_code == 403
        assert (await served.client.get("/v1/hardware", params={"model": MODEL})).status_code == 200
        inside = await served.inside()
        assert inside["desired_replicas"] == 4
        assert inside["ready"] + inside["starting"] == 2


async def test_the_platform_can_be_broken_while_it_runs(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings({"min_replicas": 2, "max_replicas": 4}), speed=600) as served:
        await break_it(served, platform={"stock": {HARDWARE: 2}, "slow_starts": 3, "lose_replica": ONE})
        lost = await served.inside()
        assert (lost["ready"], lost["starting"]) == (1, 1)
        await served.client.patch(PATH, json={"autoscaling": {"min_replicas": 4}})
        assert (await served.inside())["starting"] == 1
        async with asyncio.timeout(10):
            while (await served.inside())["ready"] < 2:
                await asyncio.sleep(0.01)
        await break_it(served, platform={"fail_starts": {ONE: 1}, "stock": {HARDWARE: 4}})
        await served.client.patch(PATH, json={"state": "STOPPED"})
        await served.eventually(PATH, "state", "STOPPED")
        await served.client.patch(PATH, json={"state": "STARTED"})
        await served.eventually(PATH, "state", "ERROR")
