"""What happens to traffic and to money while parts are down. Real processes, real HTTP, a clock that runs 150 times as fast."""

import asyncio
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from scaler.observability.client import get_json
from tests.scenarios.town import Town

BROKEN: dict[str, dict[str, Any]] = {"500": {"status": 500}, "garbage": {"garbage": True}, "429": {"status": 429}}


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_update_api_leaves_traffic_and_size_alone(tmp_path: Path, fault: dict[str, Any]) -> None:
    """Three replicas serve; the management API breaks, then the traffic falls to a tenth of what they are for."""
    town = Town.found(tmp_path, replicas=3)
    async with town.world(), town.daemon():
        before = await town.traffic(7, minutes=6)
        held = await town.provider()
        await town.break_management(fault)
        during = await town.traffic(0.7, minutes=12)
        assert (await town.seen())["reasons"] == ["endpoint_unknown"]
        for name in ("min_replicas", "max_replicas", "state"):
            assert (await town.provider())[name] == held[name]
        assert held["min_replicas"] >= 3  # a stall of this machine may have looked like a burst
        for progress in (before, during):
            assert progress.answers
            assert all(answer.ok for answer in progress.answers)
        await town.break_management(None)
        await asyncio.gather(town.traffic(0.7, minutes=12), town.until(lambda seen: seen.get("min_replicas", 9) < 3))


async def test_a_cut_off_provider_at_the_start_still_serves_the_routes_of_the_last_run(tmp_path: Path) -> None:
    town = Town.found(tmp_path, replicas=2)
    async with town.world():
        async with town.daemon():
            await town.until(lambda seen: "sentence" in seen)
        await town.break_management({"status": 500})
        async with town.daemon():
            progress = await town.traffic(2, minutes=3)
        assert progress.answers
        assert all(answer.ok for answer in progress.answers)
        assert (await town.provider())["min_replicas"] == 2


async def test_kill_and_restart_change_nothing(tmp_path: Path) -> None:
    """Traffic for three replicas; the daemon dies without warning and comes back to the same traffic."""
    town = Town.found(tmp_path)
    async with town.world():
        async with town.daemon() as daemon:
            load = asyncio.create_task(town.traffic(7, minutes=25))
            await town.until(lambda seen: seen.get("min_replicas") == 3 and seen["starting"] == 0)
            await load
            daemon.send_signal(signal.SIGKILL)
            await daemon.wait()
        bounds = await _bounds(town)
        intents = town.rows("SELECT id FROM intents ORDER BY id")
        journal = town.rows("SELECT seq, at FROM decisions ORDER BY seq")
        async with town.daemon():
            progress = await town.traffic(7, minutes=8)
        assert all(answer.ok for answer in progress.answers)
        assert await _bounds(town) == bounds
    assert town.rows("SELECT id FROM intents ORDER BY id") == intents
    later = town.rows("SELECT seq, at FROM decisions ORDER BY seq")
    assert later[: len(journal)] == journal
    assert [seq for seq, _ in later] == list(range(1, len(later) + 1))
    assert town.rows("PRAGMA integrity_check") == [("ok",)]


async def test_a_journal_that_is_removed_is_written_anew_and_beside_one_that_is_replaced_nothing_is_done(tmp_path: Path) -> None:
    town = Town.found(tmp_path)
    async with town.world(), town.daemon():
        await town.until(lambda seen: "sentence" in seen)
        path = town.stage.settings.store.path
        before = town.rows("SELECT max(seq) FROM decisions")[0][0]
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()
        await logged(town, "the store's file was removed and is written anew")
        async with asyncio.timeout(20):
            while len(rows := town.rows("SELECT seq FROM decisions ORDER BY seq")) <= before:
                await asyncio.sleep(0.02)
        assert rows == [(seq + 1,) for seq in range(len(rows))]

        shutil.copy(path, tmp_path / "backup")
        (tmp_path / "backup").rename(path)
        await logged(town, "another file has taken its place")
        progress = await town.traffic(7, minutes=6)
        seen = await town.seen()
        assert all(answer.ok for answer in progress.answers)
        assert (seen["min_replicas"] > 1, seen["result"]) == (True, "store_failed")
        assert (await town.provider())["min_replicas"] == 1
        status = await asyncio.to_thread(get_json, town.stage.settings.admin.listen, "/status")
        assert "another file has taken its place; a restart goes on with that" in status["store"]


async def logged(town: Town, event: str) -> None:
    async with asyncio.timeout(20):
        while event not in town.log():
            await asyncio.sleep(0.02)


async def _bounds(town: Town) -> tuple[int, int]:
    provider = await town.provider()
    return provider["min_replicas"], provider["max_replicas"]
