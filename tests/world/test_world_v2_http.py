"""v2 over real sockets."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest

from scaler.clock import ScaledClock
from scaler.settings import ReplicaSettings, WorldSettings
from scaler.world.http import Face
from scaler.world.live import World

P = "/v2/projects/proj-1"
MODEL = "projects/proj_public/models/ml_mixtral-8x7b-instruct-v0.1"
CONFIG = "projects/proj_public/configs/cr_mixtral-8x7b-instruct-v0.1_2x-nvidia-h100-80gb-sxm"
DEPLOYMENT = {"name": "one", "model": MODEL, "config": CONFIG, "autoscaling": {"minReplicas": 1, "maxReplicas": 2}}
H100 = "2x_nvidia_h100_80gb_sxm"

MakeSettings = Callable[..., WorldSettings]
ServeWorld = Callable[..., AbstractAsyncContextManager[Any]]


class Project:
    """A client of one project, with an endpoint ``front`` and a deployment ``one``."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.endpoint = self.deployment = ""

    async def ok(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 (httpx's)
        response = await self.client.request(method, path, **arguments)
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    async def refused(self, status: int, method: str, path: str, **arguments: Any) -> str:  # noqa: ANN401 (httpx's)
        response = await self.client.request(method, path, **arguments)
        assert response.status_code == status, response.text
        return str(response.json()["error"]["message"])

    async def begin(self, **changes: object) -> None:
        self.endpoint = f"{P}/endpoints/{(await self.ok('POST', f'{P}/endpoints', json={'name': 'front'}))['id']}"
        made = await self.ok("POST", f"{self.endpoint}/deployments", json={**DEPLOYMENT, **changes})
        self.deployment = f"{self.endpoint}/deployments/{made['id']}"

    async def patch(self, mask: str, body: dict[str, Any], *, key: str = "updateMask") -> dict[str, Any]:
        return await self.ok("PATCH", self.deployment, params={key: mask}, json=body)

    async def until(self, state: str) -> dict[str, Any]:
        async with asyncio.timeout(20):
            while True:
                body = await self.ok("GET", self.deployment)
                if body["status"]["state"] == f"DEPLOYMENT_STATE_{state}":
                    return body
                await asyncio.sleep(0.01)

    async def chat(self, model: str) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "Hello!"}]}
        return await self.client.post("/v1/chat/completions", json=body)


async def test_a_deployment_lives_from_create_to_delete(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings(None), speed=600) as served:
        project = Project(served.client)
        await project.begin(inactiveTimeout=60, placement={"inline": {"regions": ["us-east-1a"]}})
        made = await project.until("READY")
        assert made["name"] == "tester/front/one"
        assert made["hardware"] == "2xnvidia-h100-80gb"
        assert made["autoscaling"] == {"minReplicas": 1, "maxReplicas": 2}
        assert (made["desiredReplicas"], made["inactiveTimeout"], made["trafficMode"]) == (1, 60, "TRAFFIC_MODE_LIVE")
        assert made["status"]["details"] == {"region": [{"region": "us-east-1a", "readyReplicas": 1, "scheduledReplicas": 1}]}
        assert made["placement"] == {"inline": {"regions": ["us-east-1a"]}}
        refusal = await project.chat("tester/front")
        assert (refusal.status_code, refusal.json()["error"]["code"]) == (503, "routing_error")
        assert (await project.chat("tester/front/one")).status_code == 200
        split = [{"deploymentId": made["id"], "weight": 1}]
        routed = await project.ok("PATCH", project.endpoint, params={"updateMask": "trafficSplit"}, json={"trafficSplit": split})
        (summary,) = routed["deployments"]
        assert (summary["readyReplicas"], summary["estimatedEffectiveTrafficShare"]) == (1, 1.0)
        assert (await project.chat("tester/front")).json()["model"] == "tester/front"
        assert "is running" in await project.refused(409, "DELETE", project.deployment)
        stopping = await project.patch("autoscaling", {"autoscaling": {"minReplicas": 0, "maxReplicas": 0}})
        assert stopping["status"]["state"] == "DEPLOYMENT_STATE_STOPPING"
        await project.until("STOPPED")
        assert (await project.chat("tester/front")).status_code == 503
        assert await project.ok("DELETE", project.deployment) == {}
        assert await project.ok("DELETE", project.endpoint) == {}
        assert "Endpoint not found" in await project.refused(404, "GET", project.endpoint)
        assert (await project.chat("tester/front")).status_code == 404


async def test_both_spellings_of_masks_and_dotted_paths_change_what_they_name(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings(None)) as served:
        project = Project(served.client)
        await project.begin()
        bounds = {"minReplicas": 2, "maxReplicas": 4, "scaleDownWindow": "600s"}
        both = "autoscaling.minReplicas,autoscaling.maxReplicas"
        found = await project.patch(both, {"autoscaling": bounds}, key="update_mask")
        assert found["autoscaling"] == {"minReplicas": 2, "maxReplicas": 4}
        found = await project.patch("autoscaling", {"autoscaling": {"maxReplicas": 5, "scaleDownWindow": "10m"}})
        assert found["autoscaling"] == {"minReplicas": 2, "maxReplicas": 5, "scaleDownWindow": "600s"}
        policies = [{"type": "SCALING_POLICY_TYPE_PODS", "value": 1, "periodSeconds": 60}]
        down = {"policies": policies, "selectPolicy": "SCALING_POLICY_SELECT_MIN"}
        found = await project.patch("autoscaling.scaleDown", {"autoscaling": {"scaleDown": down}})
        assert found["autoscaling"]["scaleDown"] == down
        found = await project.patch("autoscaling.scaleDown.selectPolicy,autoscaling.scaleDownWindow", {"autoscaling": {}})
        assert found["autoscaling"] == {"minReplicas": 2, "maxReplicas": 5, "scaleDown": {"policies": policies}}
        found = await project.patch("inactiveTimeout", {"inactiveTimeout": 45, "autoscaling": {"minReplicas": 1}})
        assert (found["inactiveTimeout"], found["autoscaling"]["minReplicas"]) == (45, 2)
        assert "inactiveTimeout" not in await project.patch("inactiveTimeout", {})
        found = await project.ok("PATCH", project.deployment, json={"maxConcurrentRequestsPerReplica": "6"})
        assert found["maxConcurrentRequestsPerReplica"] == "6"


async def test_what_is_nested_too_deeply_is_refused(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings()) as served:
        project = Project(served.client)
        await project.begin()
        deep = '{"a":' * 900 + "1" + "}" * 900
        content = f'{{"autoscaling":{deep}}}'
        for mask in ("autoscaling", ".".join(["autoscaling", *["a"] * 1500])):
            await project.refused(400, "PATCH", project.deployment, params={"updateMask": mask}, content=content)
        messages = f'[{{"role":"user","content":{"[" * 900}{"]" * 900}}}]'
        body = f'{{"model":"endpoint-one","messages":{messages}}}'
        await project.refused(400, "POST", "/v1/chat/completions", content=body)


async def test_a_stale_etag_is_a_conflict(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings(None)) as served:
        project = Project(served.client)
        await project.begin()
        before = (await project.ok("GET", project.deployment))["etag"]
        after = (await project.patch("autoscaling", {"etag": before, "autoscaling": {"maxReplicas": 3}}))["etag"]
        assert after != before
        body = {"etag": before, "autoscaling": {"maxReplicas": 4}}
        assert "stale" in await project.refused(409, "PATCH", project.deployment, params={"updateMask": "autoscaling"}, json=body)
        assert "stale" in await project.refused(409, "DELETE", project.deployment, params={"etag": before})
        assert (await project.ok("GET", project.deployment))["autoscaling"]["maxReplicas"] == 3


BAD_DEPLOYMENTS: list[tuple[dict[str, Any], int, str]] = [
    ({"name": "a/b"}, 400, "Invalid name"),
    ({"name": "tester/other/one"}, 400, "Invalid name"),
    ({"model": None}, 400, "model"),
    ({"model": "projects/proj_public/models/ml_x"}, 404, "Model not found"),
    ({"config": "projects/proj_public/configs/cr_x"}, 404, "Config not found"),
    ({"model": "projects/proj_public/models/ml_qwen2.5-7b-instruct"}, 400, "not compatible"),
    ({"autoscaling": {}}, 400, "minReplicas"),
    ({"autoscaling": {"minReplicas": 0, "maxReplicas": 2}}, 400, "set both to 0"),
    ({"autoscaling": {"minReplicas": 3, "maxReplicas": 2}}, 400, "minReplicas <= maxReplicas"),
    ({"autoscaling": {"minReplicas": "1"}}, 400, "autoscaling.minReplicas"),
    ({"autoscaling": {"minReplicas": 1, "scaleUpWindow": "soon"}}, 400, "expected a duration"),
    ({"autoscaling": {"minReplicas": 1, "scaleUpWindow": "48h"}}, 400, "at most"),
    ({"autoscaling": {"minReplicas": 1, "scalingMetrics": [{"name": "mood"}]}}, 400, "scalingMetrics"),
    ({"inactiveTimeout": 5}, 400, "30 to 1440"),
    ({"placement": {"inline": {"regions": ["mars"]}}}, 400, "unknown region"),
    ({"name": "one"}, 409, "already exists"),
]


async def test_bad_deployments_are_refused_and_leave_nothing(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings(None)) as served:
        project = Project(served.client)
        await project.begin()
        for change, status, message in BAD_DEPLOYMENTS:
            body = {**DEPLOYMENT, "name": "two", **change}
            assert message in await project.refused(status, "POST", f"{project.endpoint}/deployments", json=body), change
        bad_patches: list[tuple[str, dict[str, Any], str]] = [
            ("", {}, "No fields to update"),
            ("hardware", {"hardware": "x"}, "cannot be updated"),
            ("autoscaling", {"autoscaling": {"maxReplicas": 0}}, "minReplicas"),
            ("autoscaling", {"autoscaling": 3}, "autoscaling"),
        ]
        for mask, patch, message in bad_patches:
            assert message in await project.refused(400, "PATCH", project.deployment, params={"updateMask": mask}, json=patch)
        split = {"trafficSplit": [{"deploymentId": "dep_x", "weight": 1}]}
        assert "no deployment" in await project.refused(400, "PATCH", project.endpoint, json=split)
        assert "No fields" in await project.refused(400, "PATCH", project.endpoint, json={})
        assert "already exists" in await project.refused(409, "POST", f"{P}/endpoints", json={"name": "tester/front"})
        listed = await project.ok("GET", f"{project.endpoint}/deployments")
        assert [item["name"] for item in listed["data"]] == ["tester/front/one"]


async def test_validation_alone_makes_nothing(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings(None)) as served:
        project = Project(served.client)
        await project.begin()
        path = f"{project.endpoint}/deployments"
        assert await project.ok("POST", path, json={**DEPLOYMENT, "name": "two", "validateOnly": True}) == {}
        body = {**DEPLOYMENT, "name": "two", "validateOnly": True, "autoscaling": {"minReplicas": 2, "maxReplicas": 1}}
        await project.refused(400, "POST", path, json=body)
        assert len((await project.ok("GET", path))["data"]) == 1


async def test_missing_capacity_is_told(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings(None, stock={H100: 1})) as served:
        project = Project(served.client)
        await project.begin(autoscaling={"minReplicas": 2})
        found = await project.until("DEGRADED")
        assert found["autoscaling"]["maxReplicas"] == 2
        assert (found["desiredReplicas"], found["status"]["scheduledReplicas"]) == (2, 1)
        assert "Insufficient GPU capacity: 1 of 2" in found["status"]["message"]


async def test_lists_have_pages_and_filters(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings(None)) as served:
        project = Project(served.client)
        made = [(await project.ok("POST", f"{P}/endpoints", json={"name": f"e{number}"}))["id"] for number in range(5)]
        seen: list[str] = []
        after: dict[str, str] = {}
        while True:
            page = await project.ok("GET", f"{P}/endpoints", params={"limit": "2", **after})
            assert page["object"] == "list"
            seen += [item["id"] for item in page["data"]]
            if page["next_cursor"] is None:
                break
            after = {"after": page["next_cursor"]}
        assert seen == made
        for name in ("e3", "tester/e3"):
            (found,) = (await project.ok("GET", f"{P}/endpoints", params={"filter": f'name="{name}"'}))["data"]
            assert found["id"] == made[3]
        assert (await project.ok("GET", "/v2/organizations/org-1/endpoints"))["data"][0]["id"] == made[0]
        for query in ({"limit": "0"}, {"limit": "x"}, {"after": "nobody"}, {"filter": "name:e*"}):
            await project.refused(400, "GET", f"{P}/endpoints", params=query)
        await project.refused(404, "GET", "/v2/projects/proj-2/endpoints")
        await project.refused(404, "GET", "/v2/organizations/org-2/endpoints")


async def test_events_are_told_newest_first_and_filtered(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings(None), speed=600) as served:
        project = Project(served.client)
        await project.begin()
        await project.until("READY")
        feed = (await project.ok("GET", f"{project.endpoint}/events"))["data"]
        assert [event["createdAt"] for event in feed] == sorted((event["createdAt"] for event in feed), reverse=True)
        assert {event["type"] for event in feed} == {
            "endpoint.created", "deployment.created", "deployment.scaled", "pod.startup_phase_changed",
        }  # fmt: skip
        assert len({event["id"] for event in feed}) == len(feed)
        phases = (await project.ok("GET", f"{project.endpoint}/events", params={"types": "pod.startup_phase_changed"}))["data"]
        assert [event["reason"] for event in phases] == ["StartupComplete", "LoadingWeights", "Starting", "PullingImage"]
        since = {"since": phases[0]["createdAt"]}
        assert (await project.ok("GET", f"{project.endpoint}/events", params=since))["data"] == phases[:1]
        until = {"until": phases[2]["createdAt"], "types": "pod.startup_phase_changed"}
        assert (await project.ok("GET", f"{project.endpoint}/events", params=until))["data"] == phases[3:]
        for query in ({"minLevel": "LEVEL_WARN"}, {"deploymentIds": "dep_x"}):
            assert (await project.ok("GET", f"{project.endpoint}/events", params=query))["data"] == []
        for bad in ({"minLevel": "LOUD"}, {"since": "yesterday"}):
            await project.refused(400, "GET", f"{project.endpoint}/events", params=bad)


async def test_the_catalog_has_models_configs_and_prices(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings(None, stock={H100: 7})) as served:
        project = Project(served.client)
        (found,) = (await project.ok("GET", "/v2/supported-models", params={"search": "Mixtral-8x7B"}))["data"]
        (profile,) = found["deploymentProfiles"]
        assert (profile["model"], profile["config"]) == (MODEL, CONFIG)
        config = await project.ok("GET", f"/v2/{CONFIG}")
        assert {item["key"]: item["value"] for item in config["selectors"]} == {
            "accelerator_type": "nvidia-h100-80gb", "accelerator_count": "2",
        }  # fmt: skip
        of = {"referenceModelId": config["referenceModelId"]}
        listed = (await project.ok("GET", "/v2/projects/proj_public/configs", params=of))["data"]
        assert {"draftModel" in item for item in listed} == {True, False}
        assert (await project.ok("GET", f"/v2/{MODEL}"))["name"] == found["name"]
        types = (await project.ok("GET", "/v2/public/inference-instance-types"))["data"]
        (h100,) = (item for item in types if item["name"] == "2xnvidia-h100-80gb")
        assert (h100["priceCentsPerHour"], h100["gpuCount"], h100["gpuType"]) == (1080, 2, "nvidia-h100-80gb")
        assert [region["headroom"]["value"] for region in h100["regions"]] == [2, 2, 1, 1, 1]
        assert len((await project.ok("GET", "/v2/supported-models"))["data"]) == 5


async def test_what_the_world_has_none_of_is_an_empty_list(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings(None)) as served:
        project = Project(served.client)
        await project.begin()
        below = [f"{project.endpoint}/{name}" for name in ("abExperiments", "shadowExperiments", "rollouts")]
        for path in (*below, f"{project.deployment}/adapters", f"{P}/placement-profiles", f"{P}/models"):
            assert await project.ok("GET", path) == {"object": "list", "data": [], "next_cursor": None}
        await project.ok("GET", f"{project.endpoint}/analytics")
        await project.refused(404, "GET", f"{P}/endpoints/ep_x/abExperiments")
        await project.refused(404, "GET", f"{project.endpoint}/deployments/dep_x/adapters")


async def test_v1_does_not_see_what_v2_deployed_but_the_world_does(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    async with serve_world(make_settings(None)) as served:
        project = Project(served.client)
        await project.begin()
        for path in ("/v1/endpoints?mine=true", "/v1/models"):
            assert (await project.ok("GET", path))["data"] == []
        inside = await served.inside()
        assert (inside["id"], inside["name"]) == (project.deployment.rpartition("/")[2], "tester/front/one")


@pytest.mark.parametrize("disabled", [True, False, None])
async def test_a_v1_endpoint_speculates_unless_told_not_to_and_caches_whatever_it_is_told(
    make_settings: MakeSettings,
    disabled: bool | None,  # noqa: FBT001 (a case)
) -> None:
    world = World(make_settings(None), ScaledClock(1))
    transport = httpx.ASGITransport(app=Face(world))
    async with httpx.AsyncClient(transport=transport, base_url="http://world", headers={"authorization": "Bearer test"}) as client:
        body: dict[str, Any] = {"model": "mistralai/Mixtral-8x7B-Instruct-v0.1", "hardware": H100, "disable_prompt_cache": True}
        body["autoscaling"] = {"min_replicas": 1, "max_replicas": 1}
        told = {} if disabled is None else {"disable_speculative_decoding": disabled}
        made = await Project(client).ok("POST", "/v1/endpoints", json=body | told)
    assert "no effect" in made["x_warnings"][0]
    assert world.platform.endpoint(made["id"], world.now()).identity.speculation is not bool(disabled)


async def test_a_repeated_prompt_is_answered_sooner(make_settings: MakeSettings, serve_world: ServeWorld) -> None:
    """1000 tokens of prompt take ten seconds to read; one whose length is only claimed is like no other."""
    replica = ReplicaSettings(ttft_seconds=1, seconds_per_input_token=0.01, seconds_per_output_token=0.001)
    async with serve_world(make_settings(replica=replica), speed=20) as served:
        loop = asyncio.get_running_loop()

        async def seconds(text: str, **headers: str) -> float:
            began = loop.time()
            body = {"model": "endpoint-one", "messages": [{"role": "user", "content": text}], "max_tokens": 1}
            assert (await served.client.post("/v1/chat/completions", json=body, headers=headers)).status_code == 200
            return loop.time() - began

        first = await seconds("x" * 4000)
        assert first > 0.5
        assert await seconds("x" * 4000) < first / 2
        assert await seconds("y" * 4000) > 0.5
        claim = {"x-world-input-tokens": "1000"}
        assert [await seconds("z", **claim) > 0.5 for _ in range(2)] == [True, True]
