"""The same verbs on a v2 deployment; what that generation does not have says what to use instead."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.endpoints.served import Platform

Typed = Callable[..., Any]
P = "/v2/projects/proj-1"
DEPLOYMENT = {
    "name": "one",
    "model": "projects/proj_public/models/ml_mixtral-8x7b-instruct-v0.1",
    "config": "projects/proj_public/configs/cr_mixtral-8x7b-instruct-v0.1_2x-nvidia-h100-80gb-sxm",
    "autoscaling": {"minReplicas": 1, "maxReplicas": 2},
}


@pytest.fixture(autouse=True)
def v2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALER_PROVIDER__KIND", "together_v2")


async def deploy(platform: Platform) -> str:
    """A deployment, made as its owner makes one; its id."""
    endpoint = (await platform.client.post(f"{P}/endpoints", json={"name": "front"})).json()["id"]
    answer = await platform.client.post(f"{P}/endpoints/{endpoint}/deployments", json=DEPLOYMENT)
    deployment: str = answer.raise_for_status().json()["id"]
    return deployment


async def test_the_verbs_from_list_to_delete(platform: Platform, typed: Typed) -> None:
    deployment = await deploy(platform)
    (listed,) = await typed(platform, "list", answer=True)
    assert (listed["id"], listed["name"]) == (deployment, "tester/front")
    shown = await typed(platform, "get", deployment)
    assert "Min=1, Max=2" in shown.stdout
    assert "us-east-1a" in (await typed(platform, "availability-zones")).stdout.split()
    assert (await typed(platform, "hardware")).exit_code == 0
    updated = await typed(platform, "update", "--min-replicas", "2", "--max-replicas", "3", deployment, answer=True)
    assert updated["bounds"] == {"min_replicas": 2, "max_replicas": 3}
    assert (await typed(platform, "stop", deployment, "--wait", answer=True))["state"] == "STOPPED"
    assert (await typed(platform, "update", "--min-replicas", "1", "--max-replicas", "1", deployment)).exit_code == 0
    assert (await typed(platform, "stop", deployment, "--wait", answer=True))["state"] == "STOPPED"
    assert (await typed(platform, "delete", deployment)).exit_code == 0
    assert await typed(platform, "list", answer=True) == []


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        (("start", "DEPLOYMENT"), "update --min-replicas N --max-replicas N"),
        (("create", "--model", "org/model", "--hardware", "2x_gpu"), "together endpoints deploy"),
        (("hardware", "--model", "org/model"), "together endpoints deploy"),
        (("update", "--inactive-timeout", "10", "DEPLOYMENT"), "30 to 1440"),
    ],
)
async def test_what_v2_does_not_have_says_what_to_use(platform: Platform, typed: Typed, words: tuple[str, ...], instead: str) -> None:
    deployment = await deploy(platform)
    refused = await typed(platform, *(deployment if word == "DEPLOYMENT" else word for word in words))
    assert refused.exit_code == 1
    assert instead in refused.stderr
    assert len(await typed(platform, "list", answer=True)) == 1
