"""The world's own description of itself, and calls made up from it: none is answered otherwise than described."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings, strategies
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from scaler.clock import ScaledClock
from scaler.settings import WorldSettings
from scaler.world.live import World
from scaler.world.management import Management
from scaler.world.openapi import document
from scaler.world.v2.routes import Routes
from tests.world.emulator import emulator

SPEED = 600
WORLD = """
world:
  replica: {ttft_seconds: 0.1, seconds_per_output_token: 0.001}
  endpoints:
    - {id: endpoint-ready, model: mistralai/Mixtral-8x7B-Instruct-v0.1, hardware: 2x_nvidia_h100_80gb_sxm, inactive_timeout_minutes: 0}
"""
KEY = {"authorization": "Bearer test"}
READY = "endpoint-ready"
V2 = "/v2/projects/{project}"
DEPLOYMENTS = f"{V2}/endpoints/{{endpoint}}/deployments"
ONE_TO_TWO = {"minReplicas": 1, "maxReplicas": 2}
FITTING: dict[str, dict[str, Any]] = {
    "/v1/endpoints": {
        "model": "mistralai/Mixtral-8x7B-Instruct-v0.1",
        "hardware": "2x_nvidia_h100_80gb_sxm",
        "autoscaling": {"min_replicas": 1, "max_replicas": 2},
        "availability_zone": "us-east-1a",
    },
    "/v1/chat/completions": {"model": READY},
    "/v1/completions": {"model": READY},
    "/v1/embeddings": {"model": READY},
    f"{V2}/endpoints/{{endpoint}}": {"etag": None, "trafficSplit": []},
    DEPLOYMENTS: {
        "model": "ml_mixtral-8x7b-instruct-v0.1",
        "config": None,
        "configId": None,
        "inactiveTimeout": 30,
        "placement": {"inline": {"regions": ["us-east-1a"]}},
    },
    f"{DEPLOYMENTS}/{{deployment}}": {"etag": None, "autoscaling": ONE_TO_TWO, "inactiveTimeout": 60},
}
"""Parts of a body, by path, that only somebody who knows the catalog, or what is there, finds."""
EXAMPLES = 40
"""Calls of each operation."""
ALL = list(HealthCheck)
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A world in a process of its own."""
    with emulator(WORLD, SPEED, tmp_path_factory.mktemp("openapi")) as base:
        yield base.removesuffix("/v1")


def described() -> dict[str, Any]:
    """The document, made without a server."""
    world = World(WorldSettings(), ScaledClock(1))
    return document([*Management(world).routes, *Routes(world).routes])


CALLS = [call.ok() for call in schemathesis.openapi.from_dict(described()).get_all_operations() if isinstance(call, Ok)]


@pytest.fixture(scope="module")
def known(url: str) -> dict[str, str]:
    """Names of what exists: an endpoint of the first generation, an endpoint, a deployment and a config of the second."""
    project = "/v2/projects/proj-1"
    with httpx.Client(base_url=url, headers=KEY) as client:
        model = client.get("/v2/supported-models").json()["data"][0]
        config = model["deploymentProfiles"][0]["config"]
        endpoint = client.post(f"{project}/endpoints", json={"name": "serving"}).json()["id"]
        wish = {"name": "d", "model": model["baseModel"], "config": config, "autoscaling": ONE_TO_TWO}
        deployment = client.post(f"{project}/endpoints/{endpoint}/deployments", json=wish).json()["id"]
    ids = {"/v1/endpoints": READY, f"{V2}/configs": config.rpartition("/")[2], f"{V2}/models": model["baseModelId"]}
    return ids | {"project": "proj-1", "organization": "org-1", "endpoint": endpoint, "deployment": deployment}


def placed(case: Any, known: dict[str, str]) -> Any:  # noqa: ANN401 (schemathesis' own class)
    """With a key; a third stays as made up, a third is about what exists, a third fits it too. Nothing that the rest needs is deleted."""
    case.headers = {name: value for name, value in (case.headers or {}).items() if name.lower() != "authorization"} | KEY
    parameters: dict[str, Any] = case.path_parameters or {}
    ids = known | {"id": known.get(case.path.removesuffix("/{id}"), "")}
    part = len(str([parameters, case.query, case.body])) % 3
    if part and case.method != "DELETE":
        case.path_parameters = {name: ids.get(name, value) for name, value in parameters.items()}
    if part == 1 and isinstance(case.body, dict):
        case.body |= FITTING.get(case.path, {})
        if isinstance(case.body.get("name"), str):
            case.body["name"] = case.body["name"].rpartition("/")[2]
        if case.path == DEPLOYMENTS and isinstance(case.body.get("autoscaling"), dict):
            case.body["autoscaling"] |= ONE_TO_TWO
        case.query = {}
    return case


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.label)
def test_calls_made_up_from_the_description_are_answered_as_described(url: str, known: dict[str, str], call: Any) -> None:  # noqa: ANN401 (schemathesis' own)
    seen: set[int] = set()
    modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
    made_up = strategies.one_of([call.as_strategy(generation_mode=mode) for mode in modes])

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, phases=[Phase.generate], suppress_health_check=ALL)
    @given(made_up)
    def answered_as_described(case: Any) -> None:  # noqa: ANN401 (see above)
        response = placed(case, known).call(base_url=url, timeout=20)
        case.validate_response(response, checks=CHECKS)
        seen.add(response.status_code // 100)

    answered_as_described()
    if call.method.upper() != "DELETE":
        assert 2 in seen


def test_the_document_names_every_call_and_can_be_had_without_a_key(url: str) -> None:
    served = httpx.get(f"{url}/x/openapi.json").json()
    assert served == described()
    assert served["openapi"].startswith("3.1.")
    assert {"get", "patch", "delete"} == set(served["paths"]["/v1/endpoints/{id}"])
    assert {"get", "post"} == set(served["paths"]["/v1/endpoints"])
    for path in ("/v1/hardware", "/v1/clusters/availability-zones", "/v1/models", "/v1/chat/completions", "/v3/whoami"):
        assert path in served["paths"]
    assert not any(path.startswith("/x/") for path in served["paths"])
    create = served["components"]["schemas"]["CreateBody"]
    assert set(create["required"]) == {"model", "hardware", "autoscaling"}


def test_bodies_and_answers_of_both_generations_are_described_in_full() -> None:
    whole = described()
    schemas = whole["components"]["schemas"]
    for path, calls in whole["paths"].items():
        for method, call in calls.items():
            bodies = [call["requestBody"]] if "requestBody" in call else []
            for content in [*bodies, *(answer for status, answer in call["responses"].items() if status == "200")]:
                schema = content["content"]["application/json"]["schema"]
                assert "$ref" in str(schema) or path == "/v3/whoami", (method, path)
    patch = schemas["PatchDeployment"]["properties"]
    assert set(patch) == {"etag", "autoscaling", "inactiveTimeout", "maxConcurrentRequestsPerReplica"}
    deployment = schemas["DeploymentResource"]
    assert set(deployment["properties"]) - set(deployment["required"]) == {
        "inactiveTimeout", "speculator", "placement", "maxConcurrentRequestsPerReplica",
    }  # fmt: skip
    assert deployment["additionalProperties"] is False
    assert deployment["properties"]["autoscaling"] == {"$ref": "#/components/schemas/Autoscaling"}
