"""One round: a tick of every endpoint, and what it teaches the others: names and readiness the request path, prices the ledger.

What was learned once stands while provider or store are silent. Which endpoints there are is the declarer's to say: of the declared ones,
those that are settled are looked after.
"""

import asyncio
import math
from collections.abc import Callable
from functools import partial

import structlog

from scaler.actuator import Actuator
from scaler.actuator.declare import Declarer
from scaler.clock import Clock
from scaler.controller import Controller, Tick, tick_all
from scaler.ledger import Ledger
from scaler.model import Endpoint, Known, Unknown
from scaler.policy.fleet import Fleet
from scaler.policy.learned import Learned
from scaler.providers.base import ProviderError, Reader
from scaler.proxy.meter import Meter
from scaler.proxy.routes import Readiness
from scaler.proxy.server import Proxy
from scaler.proxy.workers import Workers
from scaler.routing import readiness_of, route_table
from scaler.sampling.own_meter import OwnMeter
from scaler.schedules import Plans
from scaler.settings import Settings
from scaler.store.base import Store, StoreError

log = structlog.get_logger(__name__)

PRICE_RETRY_SECONDS = 60.0
"""Where a price is not known; under a budget nothing is started without one."""


class Rounds:
    """All endpoints, round after round. `begin` comes first, then `use`, then as many calls of `go` as there are ticks, one at a time."""

    def __init__(
        self,
        settings: Settings,
        reader: Reader,
        store: Store,
        clock: Clock,
        *,
        ledger: Ledger,
        plans: Plans,
        actuator: Actuator,
        declarer: Declarer,
        proxy: Proxy | Workers,
        meter: Meter | Workers,
        report: Callable[[Tick], None],
    ) -> None:
        """``proxy`` is told the routes, ``meter`` asked for demand; ``report`` is told of each tick and must not raise."""
        self._settings = settings
        self._reader = reader
        self._store = store
        self._clock = clock
        self._ledger = ledger
        self._plans = plans
        self._actuator = actuator
        self._declarer = declarer
        self._proxy = proxy
        self._meter = meter
        self._report = report
        self._settled = declarer.settled(settings)
        self._unseen: set[str] = set()
        self._known: dict[str, Endpoint] = {}
        self._readiness: dict[str, Readiness] = {}
        self._controllers: dict[str, Controller] = {}
        self._priced = -math.inf

    async def begin(self) -> None:
        """Take up what earlier processes knew, and look at what is new. Raises `StoreError`."""
        self._known = await self._store.known_endpoints()
        await self._declarer.recall()
        await self._meet()

    def use(self, settings: Settings) -> None:
        """Go by these settings from now on."""
        self._settings = settings
        self._declarer.use(settings)
        self._settle()

    async def go(self) -> list[Exception]:
        """Go round once; the faults of ours that ended the ticks of single endpoints."""
        await self._take_overrides()
        (ticks, faults), settled = await asyncio.gather(tick_all(self._controllers.values()), self._declarer.round(self._unseen))
        self._unseen = {tick.key for tick in ticks if isinstance(tick.endpoint, Unknown)}
        for tick in ticks:
            await self._learn(tick)
        self._set_routes()
        if settled:
            await self._meet()
            self._settle()
        unpriced = any(self._ledger.price(key) is None for key in self._known if key in self._settings.endpoints)
        if settled or (unpriced and self._clock.monotonic() - self._priced >= PRICE_RETRY_SECONDS):
            await self.refresh_prices()
        return faults

    async def refresh_prices(self) -> None:
        """What a replica of each endpoint costs; the old price stands while the provider is silent."""
        self._priced = self._clock.monotonic()
        try:
            prices = {hardware.id: hardware.price for hardware in await self._reader.hardware()}
        except ProviderError as error:
            log.warning("prices not refreshed", error=str(error))
            return
        for key, endpoint in self._known.items():
            if key not in self._settings.endpoints:
                continue
            if endpoint.hardware in prices:
                self._ledger.set_price(key, prices[endpoint.hardware])
            elif self._ledger.price(key) is None and self._ledger.capped(key):
                setting = f"endpoints.{key}.budget.price_dollars_per_hour"
                log.warning("no price, so the budget starts nothing", endpoint=key, hardware=endpoint.hardware, set=setting)

    # inside

    def _settle(self) -> None:
        """Look after the endpoints whose ids are known now."""
        self._settled = self._declarer.settled(self._settings)
        self._actuator.use(self._settled)
        self._controllers = {key: self._controller(key) for key in self._settled.endpoints}
        self._set_routes()

    def _controller(self, key: str) -> Controller:
        """The controller of an endpoint: the one it had, told of its settings, or a new one."""
        settings = self._settled.endpoints[key]
        known = self._controllers.get(key)
        if known is not None and known.settings.id == settings.id:
            known.settings = settings
            return known
        return Controller(
            key,
            settings,
            source=OwnMeter(lambda: self._meter.read(key), self._clock.monotonic),
            reader=self._reader,
            actuator=self._actuator,
            store=self._store,
            clock=self._clock,
            report=self._report,
            ledger=self._ledger,
            windows=partial(self._plans.windows, key),
            calls=lambda: self._calls(key),
        )

    def _calls(self, key: str) -> int:
        """Requests that call the sleeping endpoint; those that nobody waits for count as long as traffic does."""
        settings = self._settings.endpoints.get(key)
        return 0 if settings is None else self._proxy.calls(key, settings.policy.stable_window_seconds)

    def _set_routes(self) -> None:
        self._proxy.set_routes(route_table(self._settled.endpoints, self._known, self._readiness))

    async def _take_overrides(self) -> None:
        """What people have imposed; what was imposed before stands while the store is silent."""
        try:
            self._plans.impose(await self._store.overrides())
        except StoreError as error:
            log.warning("overrides not read", error=str(error))

    async def _learn(self, tick: Tick) -> None:
        """What the request path has to know, and for the next start the store."""
        if not isinstance(tick.endpoint, Known):
            return
        endpoint, before = tick.endpoint.value, self._known.get(tick.key)
        self._known[tick.key] = endpoint
        self._judge(tick.key, endpoint, tick.fleet, tick.learned)
        if before is None or (before.id, before.name) != (endpoint.id, endpoint.name):
            try:
                await self._store.remember_endpoint(tick.key, endpoint)
            except StoreError as error:
                log.warning("endpoint not remembered", endpoint=tick.key, error=str(error))

    def _judge(self, key: str, endpoint: Endpoint, fleet: Fleet | None, learned: Learned) -> None:
        """How near an endpoint is to serving."""
        settings = self._settled.endpoints.get(key)
        if settings is None:
            return
        wakes = settings.idle.wake and not self._settings.dry_run
        before, now = self._readiness.pop(key, None), self._clock.monotonic()
        readiness = readiness_of(endpoint, fleet, learned, settings, before, wakes=wakes, now=now)
        if readiness is not None:
            self._readiness[key] = readiness

    async def _meet(self) -> None:
        """Look at every endpoint whose id is known and which is new."""
        ids = {key: endpoint.id for key, endpoint in self._declarer.settled(self._settings).endpoints.items()}
        new = {key: known for key, known in ids.items() if key not in self._known or self._known[key].id != known}
        await asyncio.gather(*(self._look(key, endpoint_id) for key, endpoint_id in new.items()))

    async def _look(self, key: str, endpoint_id: str) -> None:
        """Ask the provider for an endpoint never seen before; if it is silent, the tick will ask again."""
        try:
            self._known[key] = await self._reader.get(endpoint_id)
            self._judge(key, self._known[key], None, Learned())
            await self._store.remember_endpoint(key, self._known[key])
        except (ProviderError, StoreError) as error:
            log.warning("endpoint not known yet", endpoint=key, error=str(error))
