"""A ledger on a real store and a clock that moves when told to."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from scaler.clock import VirtualClock
from scaler.ledger import Ledger
from scaler.model import Bounds, Endpoint, EndpointState, Price
from scaler.policy.fleet import Fleet
from scaler.settings import Settings
from scaler.store.sqlite import SqliteStore


def moment(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def running(replicas: int, key: str = "chat") -> Endpoint:
    return Endpoint(f"endpoint-{key}", f"o/{key}", "m", "h", EndpointState.STARTED, Bounds(replicas, replicas))


@dataclass
class Office:
    """Who keeps the books."""

    path: Path
    clock: VirtualClock
    settings: Settings
    store: SqliteStore
    ledger: Ledger

    async def pass_time(self, minutes: float, replicas: dict[str, int]) -> None:
        """Ticks of ten seconds in which so many replicas run, written down each time."""
        for _ in range(round(minutes * 6)):
            self.look(replicas)
            self.clock.advance(10)
            for key in replicas:
                self.ledger.accrue(key)
                await self.ledger.save(key)

    def look(self, replicas: dict[str, int]) -> None:
        for key, count in replicas.items():
            stopped = Endpoint("e", "n", "m", "h", EndpointState.STOPPED, Bounds(1, 1))
            self.ledger.observe(key, running(count, key) if count else stopped, Fleet(count))

    async def restart(self, minutes: float = 0.0, **settings: Any) -> None:  # noqa: ANN401 (of any type)
        """The daemon is gone for so long; what it knows afterwards is in the file."""
        await self.store.close()
        self.clock.advance(minutes * 60)
        self.settings = self.settings.model_copy(update=settings)
        self.store = await SqliteStore.open(self.path, self.clock.now())
        self.ledger = await Ledger.open(self.settings, self.store, self.clock)

    def price(self, dollars_per_hour: float, *keys: str) -> None:
        for key in keys or self.settings.endpoints:
            self.ledger.set_price(key, Price(dollars_per_hour * 100 / 60))

    def spent(self, period: str = "month", key: str = "chat") -> float:
        value: float = getattr(self.ledger.spending()[key], period)
        return value


class Opening:
    """Opens an office; closes what was opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.open: list[Office] = []

    async def __call__(self, at: str = "2026-07-06T12:00", zone: str = "UTC", **tree: Any) -> Office:  # noqa: ANN401 (of any type)
        clock = VirtualClock(moment(at, zone))
        settings = Settings.model_validate(
            {"endpoints": {"chat": {"id": "endpoint-chat", "max_replicas": 8}}, "calendar": {"timezone": zone}} | tree
        )
        path = self.path / "scaler.db"
        store = await SqliteStore.open(path, clock.now())
        office = Office(path, clock, settings, store, await Ledger.open(settings, store, clock))
        self.open.append(office)
        return office


@pytest.fixture
async def opening(tmp_path: Path) -> AsyncIterator[Opening]:
    doors = Opening(tmp_path)
    yield doors
    for office in doors.open:
        await office.store.close()
