"""An endpoint sleeps behind the whole of scaler, and requests come: one start, whoever is broken."""

import asyncio
import json
from pathlib import Path
from typing import Any

import yaml

from scaler.demo.stage import ENDPOINT
from scaler.observability.client import get_json
from scaler.settings import host_port
from tests.scenarios.town import Town

BURST = 1000


def sleeping(folder: Path, **endpoint: Any) -> Town:  # noqa: ANN401 (settings of any type)
    """A town whose endpoint is stopped at the beginning; a cold start takes about five minutes, two real seconds."""
    town = Town.found(folder, **endpoint)
    world = yaml.safe_load(town.stage.world_config.read_text())
    world["world"]["endpoints"][0]["state"] = "STOPPED"
    world["world"]["cold_start"] = {"median_seconds": 300, "sigma": 0.05}
    town.stage.world_config.write_text(yaml.safe_dump(world))
    return town


async def ask(town: Town) -> int:
    """One short request; the status of its answer."""
    host, port = host_port(town.stage.settings.proxy.listen)
    reader, writer = await asyncio.open_connection(host, port)
    body = json.dumps({"model": ENDPOINT, "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 1}).encode()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    status = int((await reader.readline()).split(b" ")[1])
    writer.close()
    return status


async def gate(town: Town) -> dict[str, Any]:
    status = await asyncio.to_thread(get_json, town.stage.settings.admin.listen, "/status")
    found: dict[str, Any] = status["gates"][ENDPOINT]
    return found


async def metrics(town: Town) -> dict[str, float]:
    """The gate's series, without their label."""
    reader, writer = await asyncio.open_connection(*host_port(town.stage.settings.admin.listen))
    writer.write(b"GET /metrics HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
    page = (await reader.read()).decode()
    writer.close()
    label = f'{{endpoint="{ENDPOINT}"}} '
    return {name: float(value) for name, found, value in (line.partition(label) for line in page.splitlines()) if found}


def kinds(town: Town) -> list[str]:
    """The calls that change something, as they were sent."""
    return [json.loads(action)["kind"] for (action,) in town.rows("SELECT action FROM intents ORDER BY id")]


async def test_a_thousand_requests_at_once_are_one_start_and_are_all_answered(tmp_path: Path) -> None:
    town = sleeping(tmp_path, wake={"hold_seconds": 3600})  # a busy machine takes its time for a thousand
    async with town.world(), town.daemon():
        await town.until(lambda seen: seen["provider"].get("state") == "STOPPED")
        asked = [asyncio.create_task(ask(town)) for _ in range(BURST)]
        await town.until(lambda seen: seen["provider"].get("state") in ("PENDING", "STARTING"))
        assert kinds(town) == ["start"]
        seen = await town.until(lambda seen: seen["sample"].get("waiting", 0) > 0)
        assert seen["sample"]["in_flight"] == seen["sample"]["waiting"]  # what waits is demand, and nothing has gone upstream
        assert set(await asyncio.gather(*asked)) == {200}
        assert kinds(town).count("start") == 1
        shown, read = await gate(town), await metrics(town)
        assert (shown["wakes"], shown["held"], shown["waiting"], shown["standing"]) == (1, BURST, 0, "ready")
        assert read["scaler_requests_held_total"] == read["scaler_hold_seconds_count"] == BURST
        assert read["scaler_hold_seconds_sum"] / BURST > 200
        assert (read["scaler_wakes_total"], read["scaler_gate_open"]) == (1, 1)
        assert (await town.provider())["state"] == "STARTED"


async def test_a_call_waits_visibly_while_the_provider_does_not_answer_and_is_answered_then(tmp_path: Path) -> None:
    town = sleeping(tmp_path)
    async with town.world(), town.daemon():
        await town.until(lambda seen: seen["provider"].get("state") == "STOPPED")
        await town.break_management({"status": 500})
        asked = asyncio.create_task(ask(town))
        await town.until(lambda seen: seen["reasons"] == ["endpoint_unknown"] and seen["sample"].get("waiting") == 1)
        await town.minutes(2)
        shown, read = await gate(town), await metrics(town)
        assert (shown["called"]["requests"], shown["waiting"], shown["open"]) == (1, 1, False)
        assert shown["called"]["seconds_ago"] > 60
        assert read["scaler_wake_pending_seconds"] > 60
        assert read["scaler_requests_held_now"] == 1
        assert not asked.done()
        await town.break_management(None)
        assert await asked == 200
        assert kinds(town) == ["start"]
