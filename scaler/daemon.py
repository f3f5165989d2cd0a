"""The composition root: the only place where the parts meet, and their supervision.

One task group holds everything that runs for ever; what ends there unasked ends the daemon. SIGTERM or SIGINT: no more decisions, streams
finish within the drain time, exit 0; a second one: at once. SIGHUP: the configuration is read and checked whole, then swapped, or
the old one stays.
"""

import asyncio
import gc
import math
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from typing import Any

import structlog
from prometheus_client.registry import Collector

from scaler.actuator import Actuator, open_actuator, pause_state
from scaler.actuator.declare import open_declarer
from scaler.clock import Clock, ScaledClock, SystemClock
from scaler.controller import Controller, Tick, tick_all
from scaler.ledger import Ledger
from scaler.model import Endpoint, Known, Unknown
from scaler.observability.admin import Admin, admin_app, serve_admin
from scaler.observability.budget import BudgetCollector, budget_status
from scaler.observability.declared import DeclaredCollector, announce, declared_status
from scaler.observability.gates import GateCollector, gate_status
from scaler.observability.metrics import ControlMetrics, MeterCollector, TickCollector
from scaler.observability.report import Reporter, explanation
from scaler.observability.windows import WindowCollector, windows_status
from scaler.open_files import fitting
from scaler.policy.fleet import Fleet
from scaler.policy.learned import Learned
from scaler.providers import describe, open_reader
from scaler.providers.base import BadProviderSettings, ProviderError, Reader
from scaler.providers.http import require_callable
from scaler.proxy.meter import Meter
from scaler.proxy.routes import Readiness
from scaler.proxy.server import Proxy
from scaler.proxy.workers import WorkerError, Workers
from scaler.routing import readiness_of, route_table
from scaler.sampling.own_meter import OwnMeter
from scaler.scheduler import Scheduler
from scaler.schedules import Plans
from scaler.settings import ClockSettings, ConfigError, Settings
from scaler.shadow import Shadows
from scaler.store import open_store
from scaler.store.base import Store, StoreError
from scaler.store.sole import sole_owner
from scaler.world.http import serve as serve_world
from scaler.world.platform import Platform
from scaler.world.refusals import Refused

log = structlog.get_logger(__name__)

PRICE_REFRESH_SECONDS = 3600.0
PRICE_RETRY_SECONDS = 60.0
"""Where a price is not known; under a budget nothing is started without one."""
PRUNE_SECONDS = 86_400.0
RELOADABLE = frozenset({"endpoints", "clients", "guard", "dry_run", "pause_file"})
"""What SIGHUP may change; the rest is wired at the start and needs a restart."""


def clock_of(settings: ClockSettings) -> Clock:
    """The machine's time, or a faster one for the embedded world."""
    if settings.speed == 1 and settings.start is None:
        return SystemClock()
    return ScaledClock(settings.speed, epoch=settings.epoch, start=settings.start)


class Daemon:
    """All parts of one running scaler. `open` builds them, `run` keeps them going until a signal says stop."""

    def __init__(
        self,
        settings: Settings,
        reload: Callable[[], Settings],
        clock: Clock,
        store: Store,
        reader: Reader,
        *,
        ledger: Ledger | None = None,
    ) -> None:
        """``reload`` reads the configuration anew and raises `ConfigError` if it is bad. Without a ledger it keeps an empty one."""
        self._settings = settings
        self._reload = reload
        self._clock = clock
        self._store = store
        self._reader = reader
        self._ledger = ledger or Ledger(settings, store, clock)
        self._budget = BudgetCollector(self._ledger)
        self._windows = WindowCollector(self._planned)
        self._priced = -math.inf
        self._actuator: Actuator = open_actuator(settings, reader, store, clock, self._ledger)
        self._plans = Plans(settings)
        self._declarer = open_declarer(settings, reader, store, clock, report=announce, ledger=self._ledger)
        self._proxy: Proxy | Workers
        self._meter: Meter | Workers
        self._proxy, self._meter = self._open_request_path()
        self._metrics = ControlMetrics(settings.endpoints)
        self._shadows = Shadows()
        self._reporter = Reporter(self._metrics, self._shadows)
        self._reporter.set_endpoints(settings.endpoints)
        self._settled = self._declarer.settled(settings)
        self._unseen: set[str] = set()
        self._known: dict[str, Endpoint] = {}
        self._readiness: dict[str, Readiness] = {}
        self._controllers: dict[str, Controller] = {}
        self._scheduler = Scheduler(
            self._tick, tick_seconds=settings.schedule.tick_seconds, overdue_ticks=settings.schedule.overdue_ticks, clock=clock
        )
        for collector in self._collectors():
            self._metrics.registry.register(collector)
        self._stopping = asyncio.Event()
        self._restarting: asyncio.Task[None] | None = None

    def _collectors(self) -> Iterator[Collector]:
        """What is looked up when somebody asks for the metrics."""
        yield MeterCollector(self._meter, self._proxy)
        yield GateCollector(lambda: self._proxy.gates, self._clock.monotonic)
        yield TickCollector(lambda: self._scheduler.events)
        yield DeclaredCollector(lambda: self._declarer.findings)
        yield self._windows
        yield self._budget
        yield self._shadows

    def _open_request_path(self) -> tuple[Proxy, Meter] | tuple[Workers, Workers]:
        """In this process, or in workers of its own, which count for themselves."""
        proxy, upstream, key = fitting(self._settings.proxy), self._settings.upstream, self._settings.provider.key
        if proxy.workers > 1:
            workers = Workers(proxy, upstream, key, on_call=self._on_call, on_reach=self._on_reach)
            return workers, workers
        meter = Meter(self._clock.monotonic)
        return Proxy(proxy, upstream, key, meter, speed=self._clock.speed, on_call=self._on_call, on_reach=self._on_reach), meter

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises when a part fails that nothing works without."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop)
        loop.add_signal_handler(signal.SIGHUP, self._on_reload)
        loop.add_signal_handler(signal.SIGUSR2, self._on_restart_workers)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._serve_admin()), group.create_task(self._scheduler.watch())]
                if self._settings.world is not None:
                    tasks.append(await self._start_world(group))
                await self._start()
                await self._stopping.wait()
                await self._drain()
                for task in tasks:
                    task.cancel()
        finally:
            self._scheduler.stop()
            self._proxy.close()
            await self._actuator.close()
            await self._declarer.close()
        log.info("stopped")

    async def _start(self) -> None:
        """Learn the routes, open the request path, then begin to tick."""
        self._known = await self._store.known_endpoints()
        await self._declarer.recall()
        await self._meet()
        self._use(self._settings)
        with _listening("proxy", self._settings.proxy.listen):
            await self._proxy.start()
        self._scheduler.start()
        gc.collect()
        gc.freeze()  # what is there now stays: no collection need look at it while traffic waits
        self._scheduler.every("prices", PRICE_REFRESH_SECONDS, self._refresh_prices)
        self._scheduler.every("prune", PRUNE_SECONDS, self._prune)
        log.info("serving", proxy=self._proxy.addresses, admin=self._settings.admin.listen, dry_run=self._settings.dry_run)

    async def _start_world(self, group: asyncio.TaskGroup) -> asyncio.Task[None]:
        """The platform in a box, listening before anyone asks it anything."""
        listening = asyncio.Event()
        task = group.create_task(self._serve_world(listening))
        await listening.wait()
        return task

    async def _serve_world(self, listening: asyncio.Event) -> None:
        assert self._settings.world is not None  # noqa: S101 (whoever starts it has looked)
        with _listening("world", self._settings.world.listen):
            await serve_world(self._settings.world, self._clock, ready=lambda _url: listening.set())

    async def _drain(self) -> None:
        """The way out: decide nothing more, let the streams finish, keep what is scaled as it is."""
        log.info("stopping", drain_seconds=self._settings.proxy.drain_seconds)
        self._scheduler.stop()
        await self._proxy.drain(self._settings.proxy.drain_seconds)

    def _use(self, settings: Settings) -> None:
        """Swap in settings that are valid as a whole; of the declared endpoints, those that are settled are looked after."""
        self._settings = settings
        self._declarer.use(settings)
        self._settled = self._declarer.settled(settings)
        self._actuator.use(self._settled)
        self._proxy.set_keys(settings.clients.keys)
        self._plans.use(settings)
        self._ledger.use(settings)
        self._metrics.set_endpoints(settings.endpoints)
        self._shadows.use(settings.endpoints)
        self._reporter.set_endpoints(settings.endpoints)
        self._controllers = {key: self._controller(key) for key in self._settled.endpoints}
        self._set_routes()

    def _controller(self, key: str) -> Controller:
        """The controller of an endpoint: the one it had, told of its settings, or a new one."""
        settings = self._settled.endpoints[key]
        known = self._controllers.get(key)
        if known is not None and known.settings.id == settings.id:
            known.settings = settings
            return known
        source = OwnMeter(lambda: self._meter.read(key), self._clock.monotonic)
        return Controller(
            key,
            settings,
            source=source,
            reader=self._reader,
            actuator=self._actuator,
            store=self._store,
            clock=self._clock,
            report=self._reporter,
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

    async def _tick(self) -> None:
        """One round of every endpoint, and what it taught about names."""
        await self._take_overrides()
        self._metrics.set_switches(paused=pause_state(self._settings.pause_file) is not None, dry_run=self._settings.dry_run)
        (ticks, faults), settled = await asyncio.gather(tick_all(self._controllers.values()), self._declarer.round(self._unseen))
        self._unseen = {tick.key for tick in ticks if isinstance(tick.endpoint, Unknown)}
        for tick in ticks:
            await self._learn(tick)
        self._set_routes()
        if settled:
            await self._meet()
            self._use(self._settings)
        unpriced = any(self._ledger.price(key) is None for key in self._known if key in self._settings.endpoints)
        if settled or (unpriced and self._clock.monotonic() - self._priced >= PRICE_RETRY_SECONDS):
            await self._refresh_prices()
        self._budget.announce()
        self._windows.announce()
        if faults:
            raise ExceptionGroup("ticks failed", faults)

    async def _take_overrides(self) -> None:
        """What people have imposed; what was imposed before stands while the store is silent."""
        try:
            self._plans.impose(await self._store.overrides())
        except StoreError as error:
            log.warning("overrides not read", error=str(error))

    async def _learn(self, tick: Tick) -> None:
        """What the request path has to know, and for the next start the store. While the provider is silent, what was known stands."""
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

    async def _refresh_prices(self) -> None:
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
                log.warning(
                    "no price, so the budget starts nothing", endpoint=key, hardware=endpoint.hardware, set="budget.price_dollars_per_hour"
                )

    async def _prune(self) -> None:
        """Old decisions go, intents stay."""
        try:
            await self._store.prune(self._clock.now() - self._settings.store.retention_days * 86_400)
            await self._ledger.prune()
        except StoreError as error:
            log.warning("journal not pruned", error=str(error))

    async def _serve_admin(self) -> None:
        admin = Admin(
            registry=self._metrics.registry,
            tick_age=lambda: self._scheduler.age,
            max_tick_age=self._settings.schedule.tick_seconds * self._settings.schedule.overdue_ticks,
            not_ready=self._not_ready,
            status=self._status,
            explain=self._explain,
        )
        with _listening("admin", self._settings.admin.listen):
            await serve_admin(admin_app(admin, self._settings.admin), self._settings.admin.listen)

    def _not_ready(self) -> Sequence[str]:
        """Why no requests should come here; the provider's health is no reason."""
        reasons = []
        if self._stopping.is_set():
            reasons.append("shutting down")
        if not self._proxy.addresses:
            reasons.append("not listening yet")
        if len(self._proxy.routes.routes) < len(self._settings.endpoints):
            reasons.append("the inference name of an endpoint is not known yet")
        return reasons

    def _status(self) -> dict[str, Any]:
        return {
            "now": self._clock.now(),
            "paused": pause_state(self._settings.pause_file),
            "dry_run": self._settings.dry_run,
            "provider": describe(self._reader, self._settings.provider),
            "tick_age_seconds": round(self._scheduler.age, 3),
            "ticks": dict(self._scheduler.events),
            "proxy": self._proxy.addresses,
            "connections": self._proxy.connections,
            "declared": declared_status(self._declarer.findings),
            "windows": self._planned(),
            "budget": budget_status(self._ledger),
            "gates": gate_status(self._proxy.gates, self._clock.monotonic()),
            "endpoints": self._reporter.status(),
        }

    def _planned(self) -> dict[str, list[dict[str, Any]]]:
        now = self._clock.now()
        return {key: windows_status(self._plans.windows(key, now), now) for key in self._settings.endpoints}

    async def _explain(self, endpoint: str, limit: int) -> list[dict[str, Any]] | None:
        """The newest decisions about an endpoint, asked for by any of its names; None if it is not ours."""
        route = self._proxy.routes.find(endpoint)
        key = endpoint if endpoint in self._settings.endpoints else route.key if route else None
        if key is None:
            return None
        return [explanation(record) for record in await self._store.decisions(key, limit)]

    def _on_call(self, key: str) -> None:
        """Somebody asks for an endpoint that sleeps: the next tick comes at once."""
        log.info("endpoint called", endpoint=key)
        self._scheduler.soon()

    def _on_reach(self, why: str) -> None:
        """No connection can be made to the upstream, or one can be again."""
        if why:
            log.warning("upstream cannot be reached", upstream=self._settings.upstream, why=why)
        else:
            log.info("upstream reached again", upstream=self._settings.upstream)

    def _on_stop(self) -> None:
        if self._stopping.is_set():
            log.warning("stopping at once")
            self._proxy.close()
        self._stopping.set()

    def _on_restart_workers(self) -> None:
        """Replace the workers one after the other; without workers there is nothing to replace."""
        if isinstance(self._proxy, Workers) and self._restarting is None:
            log.info("replacing the workers")
            self._restarting = asyncio.get_running_loop().create_task(self._restart_workers(self._proxy))

    async def _restart_workers(self, workers: Workers) -> None:
        try:
            await workers.restart()
        except (OSError, WorkerError) as error:
            log.warning("workers not replaced", error=str(error))
        else:
            log.info("workers replaced")
        finally:
            self._restarting = None

    def _on_reload(self) -> None:
        """Take over what may change while running; on a bad configuration keep everything."""
        try:
            fresh = self._reload()
        except ConfigError as error:
            log.warning("configuration not reloaded, the old one stays", problems=error.problems)
            self._metrics.reloaded(ok=False)
            return
        names = type(fresh).model_fields
        fixed = {name: getattr(self._settings, name) for name in names if name not in RELOADABLE}
        restart = [name for name, old in fixed.items() if getattr(fresh, name) != old]
        if restart:
            log.warning("some settings need a restart", settings=restart)
        self._use(fresh.model_copy(update=fixed))
        self._metrics.reloaded(ok=True)
        log.info("configuration reloaded")


def check(settings: Settings) -> None:
    """What can be said of settings before anything runs; raises `BadProviderSettings`."""
    require_callable(settings.provider.base_url)
    if settings.world is not None:
        try:
            Platform(settings.world)
        except Refused as refusal:
            raise BadProviderSettings(f"world.endpoints: {refusal}") from None


@contextmanager
def _listening(section: str, listen: str) -> Iterator[None]:
    """Say whose address cannot be had, and why; asyncio and uvloop each have words of their own for it."""
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
        raise OSError(f"{section}.listen: cannot listen on {listen}: {why}") from error


async def run(settings: Settings, reload: Callable[[], Settings]) -> None:
    """Open what outlives a tick, run the daemon, and close it all in order."""
    check(settings)
    clock = clock_of(settings.clock)
    reader = open_reader(settings.provider, next((endpoint.id for endpoint in settings.endpoints.values() if endpoint.id), None))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(reader.close)
        stack.enter_context(sole_owner(settings.store.path))
        store = await open_store(settings.store, clock)
        stack.push_async_callback(store.close)
        try:
            ledger = await Ledger.open(settings, store, clock)
            await Daemon(settings, reload, clock, store, reader, ledger=ledger).run()
        except ExceptionGroup as group:  # one fault is told as what it is
            raise group if len(group.exceptions) > 1 else group.exceptions[0]  # noqa: B904 (the group is its context)
