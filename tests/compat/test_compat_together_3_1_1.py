"""together 3.1.1, which speaks v2 only: the life of a deployment, command by command, against the world.

What becomes of each command is compared with the table in docs/together-clients.md.
"""

import json
import re
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.compat.clients import TogetherCli
from tests.compat.table import WORKS, Table, complaint, nameless

VERSION = "3.1.1"
MODEL = "mistralai/Mixtral-8x7B-Instruct-v0.1"
DEADLINE_SECONDS = 20
HEADERS = {"authorization": "Bearer test"}


@dataclass(frozen=True)
class Tg:
    """The command, and a look past it at what the world answers."""

    cli: TogetherCli
    table: Table

    def ok(self, *arguments: str) -> str:
        """What a command behind ``endpoints`` that must succeed prints, without the tables' lines."""
        return self.text(0, "", "endpoints", *arguments)

    def refused(self, when: str, *arguments: str) -> str:
        """The same of one that must fail, and how things stand."""
        return self.text(1, when, "endpoints", *arguments)

    def text(self, status: int, when: str, *arguments: str) -> str:
        """What the command prints when it ends with ``status``; a row of the table."""
        ran = self.cli.together(*arguments, "--project", "proj-1")
        said = ran.stdout + ran.stderr
        assert ran.returncode == status, said
        line = nameless(shlex.join(arguments)) + (f"  # {when}" if when else "")
        self.table.record(line, VERSION, complaint(said) if status else WORKS)
        return " ".join(re.sub(r"[─│╭╮╰╯┬┴├┤┼]", " ", said).split())

    def get(self, path: str) -> dict[str, Any]:
        answer = httpx.get(f"{self.cli.base_url}/v2/projects/proj-1{path}", headers=HEADERS)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def endpoint(self, name: str) -> dict[str, Any]:
        (found,) = (item for item in self.get("/endpoints")["data"] if item["name"] == f"tester/{name}")
        return dict(found)

    def until(self, name: str, state: str) -> dict[str, Any]:
        """The endpoint's one deployment, once it is in ``state``."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            (deployment,) = self.endpoint(name)["deployments"]
            if deployment["state"] == f"DEPLOYMENT_STATE_{state}":
                return dict(deployment)
            assert time.monotonic() < deadline, deployment
            time.sleep(0.05)


@pytest.fixture
def tg(cli_of: Callable[[str], TogetherCli], own: Table) -> Tg:
    """The CLI, whose commands are written down."""
    return Tg(cli_of(VERSION), own)


def test_the_life_of_a_deployment_from_deploy_to_rm(tg: Tg) -> None:
    scaling = ("--scaling-metric", "inflight_requests", "--scaling-target", "4", "--scale-up-window", "30s", "--scale-down-window", "5m")
    bounds = ("--min-replicas", "1", "--max-replicas", "3")
    said = tg.ok("deploy", MODEL, "--endpoint", "life", *bounds, *scaling, "--inactive-timeout", "60", "--traffic-weight", "1")
    assert "2x H100 80GB, which is estimated to cost approximately $10.80/hr - $32.40/hr" in said
    assert "√ Model deployed to endpoint tester/life." in said
    endpoint = tg.endpoint("life")
    deployment = tg.until("life", "READY")

    said = tg.ok("ls")
    assert f"{endpoint['id']} life {MODEL[:29]}… 2x H100 80GB • 1/1 ready" in said

    said = tg.ok("get", "life")
    assert f"Endpoint string tester/life Endpoint ID {endpoint['id']}" in said
    assert f"{MODEL[:34]}… 100% Status: Ready ID: {deployment['id']} Replicas: 1 / 1" in said

    said = tg.ok("get", deployment["id"])
    for line in (
        f"Name: {deployment['name']} ID: {deployment['id']} Endpoint: {endpoint['id']} Project: proj-1",
        "accelerator_type: nvidia-h100-80gb accelerator_count: 2 Hardware: 2xnvidia-h100-80gb",
        "State: DEPLOYMENT_STATE_READY Message: All replicas are ready Ready: 1 Replicas: min: 1 max: 3 Traffic: 100%",
    ):
        assert line in said
    full = tg.get(f"/endpoints/{endpoint['id']}/deployments/{deployment['id']}")
    metric = {"name": "inflight_requests", "type": "METRIC_TARGET_TYPE_AVERAGE_VALUE", "target": 4.0}
    windows = {"scaleUpWindow": "30s", "scaleDownWindow": "300s"}
    assert full["autoscaling"] == {"minReplicas": 1, "maxReplicas": 3, **windows, "scalingMetrics": [metric]}
    assert full["inactiveTimeout"] == 60

    body = {"model": "tester/life", "messages": [{"role": "user", "content": "Hello!"}]}
    assert httpx.post(f"{tg.cli.base_url}/v1/chat/completions", headers=HEADERS, json=body).status_code == 200

    said = tg.ok("update", deployment["id"], "--min-replicas", "2", "--max-replicas", "4")
    assert f"√ Updated deployment {deployment['name']}." in said
    assert "Replicas: 1 / 2" in said
    assert tg.until("life", "READY")["readyReplicas"] == 2

    said = tg.ok("events", "life")
    for phase in ("PullingImage", "Starting", "LoadingWeights", "StartupComplete"):
        assert f"entered {phase}" in said
    assert "Scaled from 1 to 2 replicas" in said

    assert "Remove its deployments first" in tg.refused("it has deployments", "rm", endpoint["id"])
    assert "Status: Stopping" in tg.ok("update", deployment["id"], "--min-replicas", "0", "--max-replicas", "0")
    tg.until("life", "STOPPED")
    assert httpx.post(f"{tg.cli.base_url}/v1/chat/completions", headers=HEADERS, json=body).json()["error"]["code"] == "routing_error"
    assert f"√ Deleted deployment {deployment['id']}" in tg.ok("rm", deployment["id"])
    assert f"√ Deleted endpoint {endpoint['id']}" in tg.ok("rm", endpoint["id"])
    assert "not found" in tg.refused("it is deleted", "get", "life")


def test_a_second_deployment_joins_the_endpoint_and_takes_a_share(tg: Tg) -> None:
    tg.ok("deploy", MODEL, "--endpoint", "shared", "--deployment-name", "first", "--traffic-weight", "1")
    config = "cr_mixtral-8x7b-instruct-v0.1_4x-nvidia-h100-80gb-sxm"
    second = ("--config", config, "--deployment-name", "second", "--min-replicas", "1", "--max-replicas", "1")
    said = tg.ok("deploy", MODEL, "--endpoint", "shared", *second, "--traffic-weight", "3", "--json")
    made = json.loads(said)
    assert made["deployment"]["hardware"] == "4xnvidia-h100-80gb"
    assert [entry["weight"] for entry in made["endpoint"]["trafficSplit"]] == [1, 3]
    tg.ok("update", made["deployment"]["id"], "--traffic-weight", "0.5", "--inactive-timeout", "30")
    assert [entry["weight"] for entry in tg.endpoint("shared")["trafficSplit"]] == [1, 0.5]
    assert "√ Deleted endpoint" in tg.ok("rm", made["endpoint"]["id"], "--force")


def test_refusals_are_the_clients_own(tg: Tg) -> None:
    made = json.loads(tg.ok("deploy", MODEL, "--endpoint", "refusals", "--json"))
    deployment = made["deployment"]["id"]
    tg.ok("update", deployment, "--max-replicas", "2")
    said = tg.refused("the etag is an old one", "update", deployment, "--max-replicas", "3", "--etag", made["deployment"]["etag"])
    assert "stale" in said
    assert "must be stopped before it can be deleted" in tg.refused("it runs", "rm", deployment)
    tg.until("refusals", "STOPPED")
    tg.ok("rm", deployment)
    said = tg.refused("no such config", "deploy", MODEL, "--endpoint", "refusals", "--config", "cr_none")
    assert "cr_none is not valid" in said
    tg.ok("rm", made["endpoint"]["id"])
    assert "not found" in tg.refused("no such model", "deploy", "nobody/nothing", "--endpoint", "refusals")


def test_the_key_and_the_catalog_are_shown(tg: Tg) -> None:
    assert "API key: key-1 Project: tester (proj-1) Organization: tester (org-1)" in tg.text(0, "", "whoami")
    assert f"{MODEL} 2x Nvidia H100 80gb TP2" in tg.text(0, "", "models", "public")


def test_the_table_has_no_row_but_those_of_the_stories_above(request: pytest.FixtureRequest, own: Table) -> None:
    run = {item.name for item in request.session.items if item.path == request.path}
    if {name for name in globals() if name.startswith("test_")} <= run:
        assert own.rewrite or own.committed.keys() == own.found.keys()
