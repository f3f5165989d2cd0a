"""A configuration that declares its endpoint, from nothing to serving; the endpoint is lost, and only a person brings it back."""

import asyncio
import contextlib
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from scaler.demo.processes import answers, process
from scaler.demo.stage import ENDPOINT
from scaler.observability.client import NoAnswer, get_json, post_json
from tests.endpoints.served import HARDWARE, LOST, MODEL
from tests.scenarios.town import SPEED, Town


@pytest.fixture
def town(tmp_path: Path) -> Town:
    """A world without endpoints and a daemon that declares one."""
    made = Town.found(tmp_path)
    world = yaml.safe_load(made.stage.world_config.read_text())
    del world["world"]["endpoints"]
    made.stage.world_config.write_text(yaml.safe_dump(world))
    daemon = yaml.safe_load(made.stage.config.read_text())
    del daemon["endpoints"][ENDPOINT]["id"]
    daemon["endpoints"][ENDPOINT] |= {"create": True, "model": MODEL, "hardware": HARDWARE}
    made.stage.config.write_text(yaml.safe_dump(daemon))
    return made


async def existing(town: Town) -> list[dict[str, Any]]:
    status = await asyncio.to_thread(get_json, town.stage.world.listen, "/x/status")
    found: list[dict[str, Any]] = status["endpoints"]
    return found


async def standing(town: Town, wanted: str, *, minutes: float = 30) -> dict[str, Any]:
    """Wait until the daemon says so of its declared endpoint."""
    async with asyncio.timeout(minutes * 60 / SPEED + 5):
        while True:
            with contextlib.suppress(NoAnswer):
                status = await asyncio.to_thread(get_json, town.stage.settings.admin.listen, "/status")
                if status["declared"].get(ENDPOINT, {}).get("standing") == wanted:
                    return dict(status)
            await asyncio.sleep(0.02)


def recreate(town: Town, key: str = ENDPOINT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scaler", "endpoints", "recreate", key, "--config", str(town.stage.config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


async def delete(town: Town, endpoint_id: str) -> None:
    command = ["endpoints", "delete", endpoint_id, "--config", str(town.stage.config)]
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-m", "scaler", *command], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


async def test_declared_created_served_lost_and_brought_back_by_hand(town: Town) -> None:
    async with town.world():
        async with town.daemon():
            await town.until(lambda seen: seen.get("ready") == 1)
            (first,) = await existing(town)
            progress = await town.traffic(1, minutes=3)
            assert all(answer.ok for answer in progress.answers)
            refused = await asyncio.to_thread(recreate, town)
            assert (refused.returncode, "still exists" in refused.stderr) == (2, True)
            await delete(town, first["id"])
            status = await standing(town, "gone")
            assert status["endpoints"][ENDPOINT]["hold"]
            await town.minutes(3)
            assert await existing(town) == []
            metrics = await asyncio.to_thread(_metrics, town)
            assert 'scaler_declared_endpoint{endpoint="chat",standing="gone"} 1.0' in metrics
            done = await asyncio.to_thread(recreate, town)
            assert done.returncode == 0, done.stderr
            await standing(town, "settled")
            (second,) = await existing(town)
            assert second["id"] != first["id"]
            await town.until(lambda seen: isinstance(seen["provider"], dict) and seen["provider"].get("id") == second["id"])
        async with town.daemon():
            await standing(town, "settled")
            assert [endpoint["id"] for endpoint in await existing(town)] == [second["id"]]
    assert town.rows("SELECT count(*) FROM intents WHERE kind = 'create'") == [(2,)]
    assert '"standing": "gone"' in town.log() or "standing=gone" in town.log()


async def test_a_lost_answer_at_the_first_start_and_a_death_in_the_middle_make_one_endpoint(town: Town) -> None:
    async with town.world():
        await asyncio.to_thread(
            post_json,
            town.stage.world.listen,
            "/x/faults",
            {"management": [LOST, {"status": 500, "methods": ["GET"], "path_prefix": "/v1/endpoints/"}]},
        )
        async with process(town.stage.folder, "run", "--config", str(town.stage.config)) as child:
            await answers(town.stage.settings.admin.listen, "/livez", child)
            async with asyncio.timeout(30):
                while not await existing(town):
                    await asyncio.sleep(0.02)
            child.kill()
            await child.wait()
        await asyncio.to_thread(post_json, town.stage.world.listen, "/x/faults", {"management": None})
        async with town.daemon():
            await standing(town, "settled")
        assert len(await existing(town)) == 1
    assert town.rows("SELECT count(*) FROM open_intents") == [(0,)]


def _metrics(town: Town) -> str:
    with urllib.request.urlopen(f"http://{town.stage.settings.admin.listen}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def test_recreate_is_for_what_is_declared_only(town: Town) -> None:
    done = recreate(town, "other")
    assert done.returncode == 2
    assert "endpoints.other is not declared" in done.stderr
