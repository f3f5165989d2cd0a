"""The provider's getting-started page, command by command, and everything that can be typed wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.endpoints.served import HARDWARE, LOST, MODEL, Platform

Typed = Callable[..., Any]
CREATE = ("create", "--model", MODEL, "--gpu", "h100", "--gpu-count", "2")


async def test_the_page_from_hardware_to_delete(platform: Platform, typed: Typed) -> None:
    options = await typed(platform, "hardware", "--model", MODEL)
    assert options.exit_code == 0
    assert [line.split()[1] for line in options.stdout.splitlines() if "x_nvidia" in line] == [
        f"{count}x_nvidia_{gpu}_80gb_sxm" for count in (2, 4, 8) for gpu in ("a100", "h100")
    ]
    assert "10.80" in next(line for line in options.stdout.splitlines() if HARDWARE in line)
    zones = (await typed(platform, "availability-zones")).stdout.split()
    assert "us-east-1a" in zones
    created = await typed(platform, *CREATE, "--availability-zone", zones[0], "--no-speculative-decoding", "--wait", answer=True)
    assert (created["state"], created["hardware"]) == ("STARTED", HARDWARE)
    endpoint_id = created["id"]
    shown = await typed(platform, "get", endpoint_id)
    assert "Autoscaling:" in shown.stdout
    assert "Min=1, Max=1" in shown.stdout
    updated = await typed(platform, "update", "--min-replicas", "2", "--max-replicas", "4", endpoint_id, answer=True)
    assert updated["bounds"] == {"min_replicas": 2, "max_replicas": 4}
    assert (await typed(platform, "stop", endpoint_id, "--wait", answer=True))["state"] == "STOPPED"
    assert (await typed(platform, "start", endpoint_id, "--wait", answer=True))["state"] == "STARTED"
    listed = await typed(platform, "list", "--mine", "true", "--type", "dedicated", "--usage-type", "on-demand", answer=True)
    assert [line["id"] for line in listed] == [endpoint_id]
    assert (await typed(platform, "delete", endpoint_id)).exit_code == 0
    gone = await typed(platform, "get", endpoint_id)
    assert gone.exit_code == 1
    assert "404" in gone.stderr


async def test_an_update_of_the_timeout_alone_leaves_the_bounds_alone(resting: Platform, typed: Typed) -> None:
    await typed(resting, "update", "endpoint-one", "--inactive-timeout", "0", answer=True)
    (endpoint,) = await resting.endpoints()
    assert (endpoint["inactive_timeout_minutes"], endpoint["min_replicas"], endpoint["max_replicas"]) == (0, 1, 1)
    await typed(resting, "update", "endpoint-one", "--min-replicas", "1", "--max-replicas", "3", answer=True)
    (endpoint,) = await resting.endpoints()
    assert (endpoint["inactive_timeout_minutes"], endpoint["max_replicas"]) == (0, 3)


async def test_no_auto_start_creates_a_stopped_endpoint_and_no_prompt_cache_only_warns(platform: Platform, typed: Typed) -> None:
    result = await typed(platform, *CREATE, "--no-auto-start", "--no-prompt-cache", "--display-name", "mine", "--wait")
    assert result.exit_code == 0
    assert "no effect" in result.stderr
    (endpoint,) = await platform.endpoints()
    assert endpoint["state"] == "STOPPED"
    again = await typed(platform, *CREATE, "--display-name", "mine")
    assert again.exit_code == 1
    assert f"exists already; its id is {endpoint['id']}" in again.stderr
    assert len(await platform.endpoints()) == 1


async def test_a_create_whose_answer_is_lost_is_found_and_not_repeated(platform: Platform, typed: Typed) -> None:
    await platform.break_(LOST)
    created = await typed(platform, *CREATE, answer=True)
    assert [endpoint["id"] for endpoint in await platform.endpoints()] == [created["id"]]
    assert created["display_name"].startswith("scaler-")


WRONG = {
    "one bound": (("update", "endpoint-one", "--min-replicas", "2"), "both --min-replicas and --max-replicas must be given together"),
    "nothing": (("update", "endpoint-one"), "nothing to update"),
    "crossed": (("update", "endpoint-one", "--min-replicas", "2", "--max-replicas", "1"), "2 > 1"),
    "no hardware": (("create", "--model", MODEL), "give either --gpu with --gpu-count, or --hardware"),
    "both": ((*CREATE, "--hardware", HARDWARE), "give either --gpu with --gpu-count, or --hardware"),
    "no such gpu": (("create", "--model", MODEL, "--gpu", "b200"), "no hardware option is 1 x b200 for this model"),
    "id for a model": (("create", "--model", "endpoint-one", "--gpu", "h100"), "endpoint-one is the id of an endpoint"),
    "display name for an id": (("stop", "first"), "management uses the id; first is a name; its id is endpoint-one"),
    "a name nobody has": (("get", "a/b"), "none of your endpoints has it"),
    "no id at all": (("get", "a b"), "not an endpoint id"),
    "mine": (("list", "--mine", "perhaps"), "perhaps"),
}


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=WRONG.keys())
async def test_what_is_typed_wrong_ends_with_2_and_says_what_is_right(
    resting: Platform, typed: Typed, words: tuple[str, ...], message: str
) -> None:
    result = await typed(resting, *words)
    assert result.exit_code == 2
    assert message in result.stderr
    (endpoint,) = await resting.endpoints()
    assert endpoint["state"] == "STOPPED"


async def test_an_inference_name_is_answered_with_the_id(resting: Platform, typed: Typed) -> None:
    (endpoint,) = await resting.endpoints()
    result = await typed(resting, "delete", endpoint["name"])
    assert result.exit_code == 2
    assert f"{endpoint['name']} is a name; its id is endpoint-one" in result.stderr
    assert len(await resting.endpoints()) == 1


async def test_the_wait_ends_with_an_endpoint_that_fails(resting: Platform, typed: Typed) -> None:
    await resting.break_(None, fail_starts={"endpoint-one": 1})
    result = await typed(resting, "start", "endpoint-one", "--wait")
    assert result.exit_code == 1
    assert "endpoint-one will not be STARTED: it is ERROR" in result.stderr


async def test_the_wait_has_a_deadline(resting: Platform, typed: Typed) -> None:
    await resting.break_(None, slow_starts=1e6)
    result = await typed(resting, "start", "endpoint-one", "--wait", "--timeout", "1")
    assert result.exit_code == 1
    assert "endpoint-one is STARTING, not STARTED, after 1 s" in result.stderr


async def test_a_pause_stops_hands_too_unless_forced(resting: Platform, typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "paused").touch()
    config = tmp_path / "scaler.yaml"
    config.write_text(f"pause_file: {tmp_path / 'paused'}\n")
    for words in (("start", "endpoint-one"), ("delete", "endpoint-one"), (*CREATE, "--display-name", "second")):
        result = await typed(resting, *words, "--config", str(config))
        assert result.exit_code == 1
        assert "paused exists; --force sends all the same" in result.stderr
    (endpoint,) = await resting.endpoints()
    assert endpoint["state"] == "STOPPED"
    assert (await typed(resting, "delete", "endpoint-one", "--config", str(config), "--force")).exit_code == 0
    assert await resting.endpoints() == []
