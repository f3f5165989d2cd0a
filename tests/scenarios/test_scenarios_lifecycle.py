"""Starting, stopping, reloading, pausing: the daemon as an operator meets it."""

import asyncio
import signal
from pathlib import Path

import yaml

from scaler.demo.stage import ENDPOINT
from tests.scenarios.town import Town


async def test_sigterm_lets_streams_finish_decides_nothing_more_and_exits_0(tmp_path: Path) -> None:
    town = Town.found(tmp_path, replicas=2)
    async with town.world():
        async with town.daemon() as daemon:
            load = asyncio.create_task(town.traffic(4, minutes=2))
            await town.until(lambda seen: seen.get("sample", {}).get("in_flight", 0) >= 3)
            daemon.send_signal(signal.SIGTERM)
            decided = len(town.rows("SELECT seq FROM decisions"))
            async with asyncio.timeout(10):
                assert await daemon.wait() == 0
            progress = await load
        assert len(town.rows("SELECT seq FROM decisions")) <= decided + 1
        begun = [answer for answer in progress.answers if answer.status]
        assert len(begun) >= 3
        assert all(answer.ok for answer in begun)
        assert (await town.provider())["min_replicas"] == 2


async def test_sighup_takes_over_a_good_configuration_and_refuses_a_bad_one(tmp_path: Path) -> None:
    town = Town.found(tmp_path)
    async with town.world(), town.daemon() as daemon:
        load = asyncio.create_task(town.traffic(1, minutes=20))
        good = town.stage.config.read_text()
        tree = yaml.safe_load(good)
        tree["endpoints"][ENDPOINT]["min_replicas"] = 2
        town.stage.config.write_text(yaml.safe_dump(tree))
        daemon.send_signal(signal.SIGHUP)
        await town.until(lambda seen: seen.get("min_replicas") == 2)

        tree["endpoints"][ENDPOINT] |= {"min_replicas": 3, "max_replica": 4}
        town.stage.config.write_text(yaml.safe_dump(tree))
        daemon.send_signal(signal.SIGHUP)
        await _logged(town, "max_replica: unknown key")
        await town.minutes(2)
        assert (await town.seen())["min_replicas"] == 2
        assert daemon.returncode is None
        progress = await load
    assert all(answer.ok for answer in progress.answers)


async def test_an_endpoint_that_leaves_the_configuration_in_the_middle_of_a_tick_is_let_go_after_it(tmp_path: Path) -> None:
    town = Town.found(tmp_path)
    one = yaml.safe_load(town.stage.config.read_text())
    two = one | {"endpoints": one["endpoints"] | {"leaving": {"id": "endpoint-leaving", "name": "o/leaving"}}}
    town.stage.config.write_text(yaml.safe_dump(two))
    async with town.world(), town.daemon() as daemon:
        await town.until(lambda seen: "sentence" in seen)
        await town.break_management({"delay_seconds": 45})  # a third of a second, most of a tick
        for turn in range(12):
            tree = two if turn % 2 else one
            taken_over = town.log().count("configuration reloaded")
            town.stage.config.write_text(yaml.safe_dump(tree))
            daemon.send_signal(signal.SIGHUP)
            async with asyncio.timeout(10):
                while town.log().count("configuration reloaded") == taken_over:
                    await asyncio.sleep(0.02)
            await asyncio.sleep(0.1 * turn)  # into some tick
        assert "job failed" not in town.log()


async def test_pause_is_a_file_that_outlives_the_daemon_and_stops_every_write(tmp_path: Path) -> None:
    town = Town.found(tmp_path, min_replicas=2)
    town.stage.settings.pause_file.touch()
    async with town.world():
        for _ in range(2):
            async with town.daemon():
                paused = await town.until(lambda seen: seen.get("result") == "paused")
                assert paused["min_replicas"] == 2
                assert (await town.provider())["min_replicas"] == 1
        async with town.daemon():
            town.stage.settings.pause_file.unlink()
            await town.until(lambda seen: seen["provider"].get("min_replicas") == 2)


async def test_dry_run_decides_and_sends_nothing(tmp_path: Path) -> None:
    town = Town.found(tmp_path, min_replicas=2)
    async with town.world(), town.daemon("--dry-run"):
        await town.until(lambda seen: seen.get("result") == "dry_run")
        await town.minutes(5)
        assert (await town.provider())["min_replicas"] == 1
    assert town.rows("SELECT id FROM intents") == []


async def test_secrets_are_in_no_file(tmp_path: Path) -> None:
    town = Town.found(tmp_path, min_replicas=2)
    key = "canary-f3a91c77d2"
    (town.stage.folder / "api-key").write_text(key)
    town.environment["SCALER_LOG__LEVEL"] = "debug"
    async with town.world(), town.daemon():
        await town.traffic(2, minutes=3)
        await town.break_management({"status": 401})
        await town.minutes(2)
    for file in tmp_path.iterdir():
        if file.is_file() and file.name != "api-key":
            assert key.encode() not in file.read_bytes(), file


async def _logged(town: Town, text: str) -> None:
    async with asyncio.timeout(10):
        while text not in town.log():
            await asyncio.sleep(0.02)
