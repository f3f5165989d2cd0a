"""The composition root: the only place where the parts meet, and their supervision.

One task group holds everything that runs for ever; what ends there unasked ends the daemon. SIGTERM or SIGINT: no more decisions, streams
finish within the drain time, exit 0; a second one: at once. SIGHUP: the configuration is read and checked whole, then swapped
between two ticks, or the old one stays.
"""

import asyncio
import gc
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import structlog
from prometheus_client.registry import Collector

from scaler.actuator import Actuator, open_actuator, pause_state
from scaler.actuator.declare import open_declarer
from scaler.clock import Clock, ScaledClock, SystemClock
from scaler.ledger import Ledger
from scaler.observability.admin import Admin, admin_app, serve_admin
from scaler.observability.budget import BudgetCollector, budget_status
from scaler.observability.declared import DeclaredCollector, announce, declared_status
from scaler.observability.gates import GateCollector, gate_status
from scaler.observability.metrics import ControlMetrics, MeterCollector, StoreCollector, TickCollector
from scaler.observability.report import Reporter, explanation
from scaler.observability.windows import WindowCollector, windows_status
from scaler.open_files import fitting
from scaler.providers import describe, open_reader
from scaler.providers.base import BadProviderSettings, Reader
from scaler.providers.http import require_callable
from scaler.proxy.meter import Meter
from scaler.proxy.server import Proxy
from scaler.proxy.workers import WorkerError, Workers
from scaler.rounds import Rounds
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
        self._rounds = Rounds(
            settings,
            reader,
            store,
            clock,
            ledger=self._ledger,
            plans=self._plans,
            actuator=self._actuator,
            declarer=self._declarer,
            proxy=self._proxy,
            meter=self._meter,
            report=self._reporter,
        )
        self._scheduler = Scheduler(
            self._tick, tick_seconds=settings.schedule.tick_seconds, overdue_ticks=settings.schedule.overdue_ticks, clock=clock
        )
        for collector in self._collectors():
            self._metrics.registry.register(collector)
        self._fresh: Settings | None = None  # read and checked, for the next tick
        self._stopping = asyncio.Event()
        self._restarting: asyncio.Task[None] | None = None

    def _collectors(self) -> Iterator[Collector]:
        """What is looked up when somebody asks for the metrics."""
        yield MeterCollector(self._meter, self._proxy)
        yield GateCollector(lambda: self._proxy.gates, self._clock.monotonic)
        yield TickCollector(lambda: self._scheduler.events)
        yield StoreCollector(lambda: self._store.faults)
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
        await self._rounds.begin()
        self._use(self._settings)
        with _listening("proxy", self._settings.proxy.listen):
            await self._proxy.start()
        self._scheduler.start()
        gc.collect()
        gc.freeze()  # what is there now stays: no collection need look at it while traffic waits
        self._scheduler.every("prices", PRICE_REFRESH_SECONDS, self._rounds.refresh_prices)
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
        """Swap in settings that are valid as a whole."""
        self._settings = settings
        self._proxy.set_keys(settings.clients.keys)
        self._plans.use(settings)
        self._ledger.use(settings)
        self._metrics.set_endpoints(settings.endpoints)
        self._shadows.use(settings.endpoints)
        self._reporter.set_endpoints(settings.endpoints)
        self._rounds.use(settings)

    async def _tick(self) -> None:
        """One round, and what is told of it once for all endpoints. Only before it settings change: no tick is between two of them."""
        if self._fresh is not None:
            self._take_over(self._fresh)
        self._metrics.set_switches(paused=pause_state(self._settings.pause_file) is not None, dry_run=self._settings.dry_run)
        faults = await self._rounds.go()
        self._budget.announce()
        self._windows.announce()
        if faults:
            raise ExceptionGroup("ticks failed", faults)

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
            "store": self._store.trouble,
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
        """Have what may change while running taken over by the next tick, which comes at once; on a bad configuration keep everything."""
        try:
            self._fresh = self._reload()
        except ConfigError as error:
            log.warning("configuration not reloaded, the old one stays", problems=error.problems)
            self._metrics.reloaded(ok=False)
        else:
            self._scheduler.soon()

    def _take_over(self, fresh: Settings) -> None:
        self._fresh = None
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
    require_callable(settings.provider.base_url, settings.provider.key)
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
