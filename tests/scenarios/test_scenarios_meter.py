"""The meter is cut off from the controller while requests flow: bounds hold, and traffic does not notice."""

import asyncio
from pathlib import Path

import pytest

from scaler.daemon import Daemon, clock_of
from scaler.model import ReasonCode
from scaler.providers import open_reader
from scaler.proxy.meter import Meter
from scaler.settings import load
from scaler.store import open_store
from tests.scenarios.town import Town


async def test_without_the_meter_nothing_is_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    town = Town.found(tmp_path, replicas=3)
    settings = load(town.stage.config)
    clock = clock_of(settings.clock)
    async with town.world():
        store, reader = await open_store(settings.store, clock), open_reader(settings.provider)
        daemon = asyncio.create_task(Daemon(settings, lambda: load(town.stage.config), clock, store, reader).run())
        await town.until(lambda _: True)

        def cut_off(self: Meter, key: str) -> None:
            raise ConnectionError("the meter is gone")

        monkeypatch.setattr(Meter, "read", cut_off)
        progress = await town.traffic(1, minutes=20)
        seen = await town.seen()
        assert seen["reasons"] == [ReasonCode.NO_DATA.value]
        assert "the meter is gone" in seen["sample"]["unknown"]
        assert (await town.provider())["min_replicas"] == 3
        assert all(answer.ok for answer in progress.answers)

        monkeypatch.undo()
        await asyncio.gather(town.traffic(1, minutes=15), town.until(lambda seen: seen["min_replicas"] < 3))
        daemon.cancel()
        await asyncio.wait([daemon])
        await store.close()
        await reader.close()
