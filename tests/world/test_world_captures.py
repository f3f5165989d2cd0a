"""Every request that real clients were seen to send is answered as they expect it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from scaler.settings import WorldEndpointSettings, WorldSettings

CAPTURED = [json.loads(line) for line in (Path(__file__).parent / "data" / "captured_requests.jsonl").read_text().splitlines()]
V1 = [request for request in CAPTURED if request["generation"] == "v1"]
V2 = [request for request in CAPTURED if request["generation"] == "v2"]
PROJECT = "/v2/projects/proj-1"
MODEL = "mistralai/Mixtral-8x7B-Instruct-v0.1"
HARDWARE = "2x_nvidia_h100_80gb_sxm"

MakeSettings = Callable[..., WorldSettings]
ServeWorld = Callable[..., AbstractAsyncContextManager[Any]]


def titled(request: dict[str, Any]) -> str:
    return f"{request['method']} {request['path']} of {request['clients'][-1]}"


def filled(request: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """The request with ids and names in place of the placeholders."""
    text = json.dumps([request["path"], request["query"], request["body"]])
    for placeholder, name in names.items():
        text = text.replace(f"{{{placeholder}}}", name)
    path, query, body = json.loads(text)
    return {"method": request["method"], "url": path, "params": [tuple(pair) for pair in query], "json": body}


@pytest.fixture
async def v1(make_settings: MakeSettings, serve_world: ServeWorld) -> AsyncIterator[httpx.AsyncClient]:
    endpoint = WorldEndpointSettings(id="endpoint-e6c6b82f", model=MODEL, hardware=HARDWARE, max_replicas=2)
    async with serve_world(make_settings(None, endpoints=(endpoint,))) as served:
        yield served.client


@pytest.mark.parametrize("request_", V1, ids=titled)
async def test_a_captured_v1_request_is_answered_as_its_client_expects(v1: httpx.AsyncClient, request_: dict[str, Any]) -> None:
    (inside,) = (await v1.get("/x/status")).json()["endpoints"]
    response = await v1.request(**filled(request_, {"id": inside["id"], "name": inside["name"]}))
    assert response.status_code // 100 == request_["status"], response.text
    if response.status_code == 204:
        assert response.content == b""
    else:
        assert isinstance(response.json(), dict)
    if request_["method"] == "PATCH" and request_["status"] == 2 and "autoscaling" in request_["body"]:
        assert request_["body"]["autoscaling"].items() <= response.json()["autoscaling"].items()


@dataclass
class V2World:
    """A deployment that serves, and the names of everything about it."""

    client: httpx.AsyncClient
    names: dict[str, str]

    async def calm(self, *, empty: bool) -> None:
        """The deployment comes to rest, which a deletion of it demands; and is gone, which that of its endpoint demands."""
        deployment = f"{PROJECT}/endpoints/{self.names['endpoint']}/deployments/{self.names['deployment']}"
        (await self.client.patch(deployment, json={"autoscaling": {"minReplicas": 0, "maxReplicas": 0}})).raise_for_status()
        async with asyncio.timeout(20):
            while (await self.client.get(deployment)).json()["status"]["state"] != "DEPLOYMENT_STATE_STOPPED":
                await asyncio.sleep(0.01)
        if empty:
            (await self.client.delete(deployment)).raise_for_status()


@pytest.fixture
async def v2(make_settings: MakeSettings, serve_world: ServeWorld) -> AsyncIterator[V2World]:
    async with serve_world(make_settings(None), speed=1000) as served:
        client: httpx.AsyncClient = served.client
        (model, *_) = (await client.get("/v2/supported-models", params={"search": "Qwen/Qwen2.5-7B"})).json()["data"]
        config: str = model["deploymentProfiles"][0]["config"]
        endpoint = (await client.post(f"{PROJECT}/endpoints", json={"name": "serving"})).json()
        wish = {"name": "d", "autoscaling": {"minReplicas": 1, "maxReplicas": 1}}
        wish |= {"model": model["baseModel"], "config": config}
        deployment = (await client.post(f"{PROJECT}/endpoints/{endpoint['id']}/deployments", json=wish)).json()
        etag = (await client.get(f"{PROJECT}/endpoints/{endpoint['id']}")).json()["etag"]
        _, public, _, config_id = config.split("/")
        names = {"project": "proj-1", "public": public, "config": config_id, "model": model["baseModelId"], "id": "endpoint-of-v1"}
        yield V2World(client, names | {"endpoint": endpoint["id"], "deployment": deployment["id"], "etag": etag})


@pytest.mark.parametrize("request_", V2, ids=titled)
async def test_a_captured_v2_request_is_answered_as_its_client_expects(v2: V2World, request_: dict[str, Any]) -> None:
    if request_["method"] == "DELETE":
        await v2.calm(empty=request_["path"].endswith("{endpoint}"))
    response = await v2.client.request(**filled(request_, v2.names))
    assert response.status_code // 100 == request_["status"], response.text
    assert isinstance(response.json(), dict)


def test_the_requests_are_those_of_all_clients_and_say_why_they_are_refused() -> None:
    assert {version for request in V1 for version in request["clients"]} == {
        "1.5.2", "1.5.20", "1.5.35", "1.6.0", "2.0.0", "2.10.0", "2.42.0", "3.1.1",
    }  # fmt: skip
    refused = [request for request in V1 if request["status"] != 2 and request["path"] != "/v1/v1/chat/completions"]
    assert all(request["why"] for request in refused)
    assert len(V1) - len(refused) > 30
    assert not any("why" in request for request in V2)
