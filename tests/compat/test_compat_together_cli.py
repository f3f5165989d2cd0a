"""What the CLI of Together's dedicated endpoints page (together 1.5.35) prints, and the life of an endpoint in its hands."""

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Protocol

import httpx
import pytest

MODEL = "mistralai/Mixtral-8x7B-Instruct-v0.1"
HARDWARE = ["2x_nvidia_a100_80gb_sxm", "2x_nvidia_h100_80gb_sxm", "4x_nvidia_a100_80gb_sxm"]
HARDWARE += ["4x_nvidia_h100_80gb_sxm", "8x_nvidia_a100_80gb_sxm", "8x_nvidia_h100_80gb_sxm"]
ID = re.compile(r"endpoint-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
ON_H100 = ("--model", MODEL, "--gpu", "h100", "--gpu-count", "2")


class Cli(Protocol):
    base_url: str

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]: ...


def ok(result: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert result.returncode == 0, result.stderr
    return result


def printed_fields(text: str) -> dict[str, str]:
    """``Name:<tabs>value`` lines."""
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {name: value.strip() for name, value in pairs}


@pytest.fixture
def created(together: Cli) -> Iterator[str]:
    """An endpoint created without waiting; deleted afterwards."""
    endpoint_id = ok(together.run("create", *ON_H100, "--no-wait")).stdout.strip()
    yield endpoint_id
    together.run("delete", endpoint_id)


def test_hardware_lists_what_the_page_lists(together: Cli) -> None:
    listed = ok(together.run("hardware", "--model", MODEL)).stderr.splitlines()
    assert listed[0] == "All hardware options:"
    assert [line.strip() for line in listed[1:]] == HARDWARE
    full = json.loads(ok(together.run("hardware", "--model", MODEL, "--json")).stdout)
    assert [item["id"] for item in full] == HARDWARE
    assert full[1]["pricing"]["cents_per_minute"] == 18.0
    assert full[1]["availability"]["status"] == "available"


def test_the_life_of_an_endpoint_from_create_to_delete(together: Cli) -> None:
    create = ok(together.run("create", *ON_H100, "--no-speculative-decoding", "--wait"))
    endpoint_id = create.stdout.strip()
    assert ID.fullmatch(endpoint_id)
    assert "Endpoint ready" in create.stderr

    got = printed_fields(ok(together.run("get", endpoint_id)).stdout)
    assert got["ID"] == endpoint_id
    assert re.fullmatch(rf"tester/{MODEL}-[0-9a-f]{{8}}", got["Name"])
    assert got["Display Name"] == got["Name"]
    expected = {"Hardware": HARDWARE[1], "Autoscaling": "Min=1, Max=1", "Model": MODEL, "Type": "dedicated", "Owner": "tester"}
    assert expected.items() <= got.items()
    assert got["State"] == "STARTED"
    assert re.match(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}", got["Created"])

    for arguments in (("--mine", "true"), ("--mine", "true", "--type", "dedicated", "--usage-type", "on-demand")):
        listed = ok(together.run("list", *arguments)).stdout
        assert f"ID:\t\t{endpoint_id}" in listed
        assert "serverless" not in listed

    headers = {"authorization": "Bearer test"}
    body = {"model": got["Name"], "messages": [{"role": "user", "content": "Hello!"}]}
    assert httpx.post(f"{together.base_url}/chat/completions", headers=headers, json=body).status_code == 200

    assert ok(together.run("update", "--min-replicas", "2", "--max-replicas", "4", endpoint_id)).stdout.strip() == endpoint_id
    assert printed_fields(ok(together.run("get", endpoint_id)).stdout)["Autoscaling"] == "Min=2, Max=4"

    assert "Endpoint stopped" in ok(together.run("stop", endpoint_id)).stderr
    assert printed_fields(ok(together.run("get", endpoint_id)).stdout)["State"] == "STOPPED"
    assert httpx.post(f"{together.base_url}/chat/completions", headers=headers, json=body).status_code == 400

    assert "Endpoint started" in ok(together.run("start", endpoint_id)).stderr
    assert printed_fields(ok(together.run("get", endpoint_id)).stdout)["State"] == "STARTED"

    assert "Successfully deleted" in ok(together.run("delete", endpoint_id)).stderr
    gone = together.run("get", endpoint_id)
    assert gone.returncode == 1
    assert gone.stderr.startswith("Error: Endpoint not found")


@pytest.mark.parametrize(("gpu", "count"), [("h100", "3"), ("h100", "1")])
def test_hardware_that_does_not_fit_is_answered_with_what_does(together: Cli, gpu: str, count: str) -> None:
    refused = together.run("create", "--model", MODEL, "--gpu", gpu, "--gpu-count", count, "--no-wait")
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: ")
    assert HARDWARE[0] in refused.stderr


def test_contradictory_bounds_are_refused_in_words(together: Cli, created: str) -> None:
    refused = together.run("update", "--min-replicas", "4", "--max-replicas", "2", created)
    assert refused.returncode == 1
    assert "Error: Invalid autoscaling" in refused.stderr
