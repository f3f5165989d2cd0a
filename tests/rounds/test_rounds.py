"""Round after round: what the provider says of endpoints and prices reaches whoever needs it, and what it does not say is told."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from scaler.actuator import Actuator
from scaler.actuator.declare import Declarer
from scaler.clock import VirtualClock
from scaler.ledger import Ledger
from scaler.model import Price
from scaler.providers.base import Availability, Hardware, OutcomeUnknown
from scaler.proxy.meter import Meter
from scaler.proxy.server import Proxy
from scaler.rounds import Rounds
from scaler.schedules import Plans
from scaler.settings import ProxySettings, Settings
from scaler.store.sqlite import SqliteStore
from tests.ledger.cloud import AtOnce, Cloud

NO_PRICE = "no price, so the budget starts nothing"
BUDGET = {"per_day_dollars": 100}
SETTING = "endpoints.chat.budget.price_dollars_per_hour"


@dataclass
class Dealer(Cloud):
    """A cloud that says its prices: what is not in ``prices`` has none, and None is no answer."""

    offers: dict[str, float] | None = None

    async def hardware(self, model: str | None = None) -> tuple[Hardware, ...]:
        if self.offers is None:
            raise OutcomeUnknown("GET /hardware: HTTP 500")
        return tuple(Hardware(name, Price(dollars * 100 / 60), Availability.AVAILABLE) for name, dollars in self.offers.items())


@dataclass
class Place:
    """A round, and all around it."""

    clock: VirtualClock
    cloud: Dealer
    store: SqliteStore
    ledger: Ledger
    proxy: Proxy
    rounds: Rounds

    async def minutes(self, count: float) -> list[dict[str, Any]]:
        """Ticks of ten seconds; what was told meanwhile."""
        with capture_logs() as told:
            for _ in range(round(count * 6)):
                self.clock.advance(10)
                assert await self.rounds.go() == []
        return [dict(line) for line in told]


Open = Callable[..., Awaitable[Place]]


@pytest.fixture
async def opening(tmp_path: Path) -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:

        async def build(offers: dict[str, float] | None, **tree: Any) -> Place:  # noqa: ANN401 (settings of any type)
            clock = VirtualClock(1000.0)
            cloud = Dealer(clock, {}, offers=offers)
            cloud.add("chat", 1)
            endpoints = {"chat": {"id": "endpoint-chat", "max_replicas": 4}}
            settings = Settings.model_validate({"endpoints": endpoints, "dry_run": True} | tree)
            store = await AtOnce.open(tmp_path / "scaler.db", clock.now())
            stack.push_async_callback(store.close)
            ledger = await Ledger.open(settings, store, clock)
            meter = Meter(clock.monotonic)
            proxy = Proxy(ProxySettings(), "http://127.0.0.1:1/v1", SecretStr("sk-ours"), meter)
            rounds = Rounds(
                settings,
                cloud,
                store,
                clock,
                ledger=ledger,
                plans=Plans(settings),
                actuator=Actuator(settings, cloud, cloud, store, clock, ledger=ledger),
                declarer=Declarer(settings, cloud, cloud, store, clock, report=lambda _key, _finding: None, ledger=ledger),
                proxy=proxy,
                meter=meter,
                report=lambda _tick: None,
            )
            await rounds.begin()
            rounds.use(settings)
            return Place(clock, cloud, store, ledger, proxy, rounds)

        yield build


async def test_what_has_no_price_under_a_budget_is_told_each_minute_until_it_has_one(opening: Open) -> None:
    place = await opening({"other": 1.0}, budget=BUDGET)
    told = [line for line in await place.minutes(3) if line["event"] == NO_PRICE]
    assert told == [{"event": NO_PRICE, "log_level": "warning", "endpoint": "chat", "hardware": "chat", "set": SETTING}] * 3
    place.cloud.offers = {"chat": 6.0}
    assert await place.minutes(2) == []
    assert place.ledger.price("chat") == pytest.approx(6.0)
    place.cloud.offers = {}
    await place.rounds.refresh_prices()
    assert await place.minutes(2) == []
    assert place.ledger.price("chat") == pytest.approx(6.0), "the old one stands"


async def test_without_a_budget_nothing_waits_for_a_price(opening: Open) -> None:
    place = await opening({"other": 1.0})
    assert await place.minutes(3) == []
    assert place.ledger.price("chat") is None


async def test_a_provider_that_says_no_prices_is_asked_again_in_a_minute(opening: Open) -> None:
    place = await opening(None)
    assert [line["event"] for line in await place.minutes(2)] == ["prices not refreshed"] * 2
    place.cloud.offers = {"chat": 6.0}
    await place.minutes(1)
    assert place.ledger.price("chat") == pytest.approx(6.0)


async def test_an_endpoint_is_routed_by_every_name_once_the_provider_has_said_its_own(opening: Open) -> None:
    place = await opening({})
    assert {name for name in ("chat", "o/chat", "endpoint-chat") if place.proxy.routes.find(name)} == {"chat", "o/chat", "endpoint-chat"}
    assert {key: known.name for key, known in (await place.store.known_endpoints()).items()} == {"chat": "o/chat"}
