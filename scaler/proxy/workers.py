"""Several proxies as one: worker processes that share an address (SO_REUSEPORT), seen from outside like a `Proxy` and its meter.

The listening sockets are made and kept here, one for each worker: a connection that waits in the queue of a worker that ends is taken by
the one that follows it. Counters never go back: what a worker counted stays when it is gone, and what it had in flight has failed.
A worker that says nothing makes the figures unknown, not zero. Limits of counts and bytes are divided among the workers, rounded up.
"""

import asyncio
import socket
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from math import ceil
from time import monotonic

import structlog
from pydantic import SecretStr

from scaler.proxy.messages import Begin, Called, ClientReading, Drain, Keys, Link, Listening, News, Reached, Report, Routes
from scaler.proxy.readings import GateReading, Reading
from scaler.proxy.routes import Route, RouteTable
from scaler.proxy.server import BACKLOG
from scaler.proxy.totals import ended, total, total_reading
from scaler.proxy_settings import ClientKeySettings, ProxySettings, host_port

log = structlog.get_logger(__name__)

START_SECONDS = 30.0
"""A worker must listen in this time."""
STALE_SECONDS = 3.0
"""Figures of a worker that has said nothing for so long are not known."""
HUNG_SECONDS = 60.0
"""A worker that has said nothing for so long is killed."""
WATCH_SECONDS = 5.0
RESPAWN_SECONDS = 1.0
"""Between the end of a worker and the start of the next in its place."""


class StaleError(RuntimeError):
    """A worker's figures are too old to count."""


class WorkerError(RuntimeError):
    """A worker did not come up."""


class _Worker:
    """A process, and the latest word from it."""

    def __init__(self, on_call: Callable[[str], None], on_reach: Callable[[str], None]) -> None:
        self.gone = asyncio.Event()
        self.link = Link(News, self._heard, self.gone.set)
        self.process: asyncio.subprocess.Process
        self.report = Report()
        self.heard_at = monotonic()
        self.listening = asyncio.Event()
        self.is_leaving = False
        self._on_call = on_call
        self._on_reach = on_reach

    @property
    def silence(self) -> float:
        """Seconds since its last word."""
        return monotonic() - self.heard_at

    def _heard(self, news: News) -> None:
        self.heard_at = monotonic()
        match news:
            case Report():
                self.report = news
            case Listening():
                self.listening.set()
            case Called(key):
                self._on_call(key)
            case Reached(why):
                self._on_reach(why)

    def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()


class _Place:
    """Where one worker listens, whichever it is."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.workers: list[_Worker] = []  # the one that takes new connections is last
        self.past = Report()  # of those that are gone


class Workers:
    """The workers; has what the daemon needs of a `Proxy` and of a `Meter`."""

    def __init__(
        self,
        settings: ProxySettings,
        upstream: str,
        api_key: SecretStr,
        *,
        on_call: Callable[[str], None],
        on_reach: Callable[[str], None] = lambda _: None,
    ) -> None:
        """As of `Proxy`; the workers' clock is the machine's."""
        self._settings = settings
        self._upstream = upstream
        self._api_key = api_key
        self._on_call = on_call
        self._on_reach = on_reach
        self._keys: Mapping[str, ClientKeySettings] = {}
        self.routes = RouteTable()
        """The table in force."""
        self._places: list[_Place] = []
        self._wakes = Counter[str]()  # each worker calls for itself, and only here can be seen whether it is the first to
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    # as a proxy

    async def start(self) -> None:
        """Listen. Raises OSError when the address cannot be had, `WorkerError` when a worker does not come up."""
        listeners = _listen(*host_port(self._settings.listen), self._settings.workers)
        self._places = [_Place(listener) for listener in listeners]
        await asyncio.gather(*(self._spawn(place) for place in self._places))

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens."""
        return [place.listener.getsockname()[:2] for place in self._places[:1]] if not self._closing else []

    def set_routes(self, table: RouteTable) -> None:
        """Swap the table; it holds from the next request on."""
        self.routes = table
        self._tell(Routes(self._shares(table)))

    def set_keys(self, keys: Mapping[str, ClientKeySettings]) -> None:
        """Who may ask from the next request on; anyone where nobody is named."""
        self._keys = keys
        self._tell(Keys(self._key_shares()))

    @property
    def connections(self) -> int:
        """Client connections that are open."""
        return self._total().connections

    @property
    def gates(self) -> Mapping[str, GateReading]:
        """By the route's key, what its gates do."""
        return {key: replace(gate, wakes=self._wakes[key]) for key, gate in self._total().gates.items()}

    @property
    def limits_hit(self) -> Mapping[str, int]:
        """How often each limit was hit."""
        return self._total().limits_hit

    @property
    def clients(self) -> Mapping[str, ClientReading]:
        """Clients with keys, by name."""
        return self._total().clients

    def calls(self, key: str, seconds: float) -> int:
        """Requests that call a sleeping endpoint, and still count; see `scaler.proxy.gate.Gate.calls`."""
        gate = self._total().gates.get(key)
        if gate is None or gate.call is None or not (gate.waiting or monotonic() - gate.call.last < seconds):
            return 0
        return gate.call.requests

    async def drain(self, seconds: float) -> None:
        """Accept no more, close idle connections, let the others finish; after ``seconds`` cut what is left."""
        self._closing = True
        self._leave([worker for place in self._places for worker in place.workers], seconds, idle=True)
        if not await self._all_gone(seconds + STALE_SECONDS):
            log.warning("workers did not end in time")
        self.close()
        await self._all_gone(STALE_SECONDS)

    def close(self) -> None:
        """Cut everything at once. Works any number of times."""
        self._closing = True
        for place in self._places:
            place.listener.close()
            for worker in place.workers:
                worker.kill()

    async def restart(self) -> None:
        """Replace one worker after the other, without a connection lost: the next one listens before the last one leaves."""
        for place in self._places:
            leaving = list(place.workers)
            await self._spawn(place)
            self._leave(leaving, self._settings.drain_seconds, idle=False)

    # as a meter

    def read(self, key: str) -> Reading:
        """One route's figures; KeyError where no table ever named it. Raises `StaleError` where a worker's are not known."""
        for place in self._places:
            for worker in place.workers:
                if worker.silence > STALE_SECONDS:
                    raise StaleError(f"worker {worker.process.pid} has said nothing for {worker.silence:.0f} s")
        readings = [report.readings[key] for report in self._reports() if key in report.readings]
        if not readings:
            raise KeyError(key)
        return total_reading(readings)

    def read_all(self) -> dict[str, Reading]:
        """Everyone's figures."""
        return self._total().readings

    @property
    def tap_errors(self) -> int:
        """Answers that could not be looked into because of a fault of ours."""
        return self._total().tap_errors

    # inside

    def _reports(self) -> list[Report]:
        return [report for place in self._places for report in (place.past, *(worker.report for worker in place.workers))]

    def _total(self) -> Report:
        return total(self._reports())

    def _called(self, key: str) -> None:
        """A worker calls an endpoint that sleeps, having told its figures just before; another may have done so already."""
        if [report.gates[key].call is not None for report in self._reports() if key in report.gates].count(True) == 1:
            self._wakes[key] += 1
            self._on_call(key)

    def _tell(self, order: Routes | Keys) -> None:
        for place in self._places:
            for worker in place.workers:
                worker.link.send(order)

    def _leave(self, workers: Sequence[_Worker], seconds: float, *, idle: bool) -> None:
        for worker in workers:
            worker.is_leaving = True
            worker.link.send(Drain(seconds, idle))

    async def _all_gone(self, seconds: float) -> bool:
        """Whether every worker has ended in this time."""
        return not self._tasks or not (await asyncio.wait(self._tasks, timeout=seconds))[1]

    async def _spawn(self, place: _Place) -> None:
        """Start a worker in this place, and wait until it listens."""
        ours, theirs = socket.socketpair()
        worker = _Worker(self._called, self._on_reach)
        with theirs:
            command = (sys.executable, "-m", "scaler.proxy.worker", str(theirs.fileno()), str(place.listener.fileno()))
            worker.process = await asyncio.create_subprocess_exec(*command, pass_fds=(theirs.fileno(), place.listener.fileno()))
        place.workers.append(worker)
        task = asyncio.get_running_loop().create_task(self._watch(place, worker))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.get_running_loop().create_connection(lambda: worker.link, sock=ours)
        worker.link.send(Begin(self._settings_share(), self._upstream, self._api_key, self._key_shares(), self._shares(self.routes)))
        await self._listens(worker)

    async def _listens(self, worker: _Worker) -> None:
        """Wait until it does; raises `WorkerError` where it does not, and then it is no more."""
        loop = asyncio.get_running_loop()
        signs = (loop.create_task(worker.listening.wait()), loop.create_task(worker.process.wait()))
        await asyncio.wait(signs, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for sign in signs:
            sign.cancel()
        if not worker.listening.is_set():
            worker.kill()
            raise WorkerError(f"worker {worker.process.pid} does not listen")

    async def _watch(self, place: _Place, worker: _Worker) -> None:
        """Until it ends; then keep its figures, and start another if it was not to end."""
        while worker.process.returncode is None:
            try:
                await asyncio.wait_for(worker.process.wait(), WATCH_SECONDS)
            except TimeoutError:
                if worker.silence > HUNG_SECONDS:
                    log.warning("worker does not answer and is killed", pid=worker.process.pid)
                    worker.kill()
        with suppress(TimeoutError):
            await asyncio.wait_for(worker.gone.wait(), STALE_SECONDS)  # its last words
        place.workers.remove(worker)
        place.past = total((place.past, ended(worker.report)))
        worker.link.close()
        if worker.is_leaving or self._closing:
            return
        log.warning("worker ended and is replaced", pid=worker.process.pid, status=worker.process.returncode)
        await self._replace(place)

    async def _replace(self, place: _Place) -> None:
        """Start another; one that does not come up is replaced by its own watch."""
        await asyncio.sleep(RESPAWN_SECONDS)
        while not place.workers:
            if self._closing:
                return
            try:
                await self._spawn(place)
            except (OSError, WorkerError) as error:
                log.warning("worker does not start", error=str(error))
                await asyncio.sleep(RESPAWN_SECONDS)

    # shares

    def _settings_share(self) -> ProxySettings:
        settings, workers = self._settings, self._settings.workers
        return settings.model_copy(
            update={
                "max_connections": ceil(settings.max_connections / workers),
                "max_connections_per_address": ceil(settings.max_connections_per_address / workers),
                "max_buffered_bytes": max(settings.max_body_bytes, settings.max_buffered_bytes // workers),
            }
        )

    def _key_shares(self) -> dict[str, ClientKeySettings]:
        workers = self._settings.workers
        return {
            name: key.model_copy(
                update={
                    "requests_per_minute": None if key.requests_per_minute is None else key.requests_per_minute / workers,
                    "burst": None if key.burst is None else ceil(key.burst / workers),
                    "max_in_flight": None if key.max_in_flight is None else ceil(key.max_in_flight / workers),
                }
            )
            for name, key in self._keys.items()
        }

    def _shares(self, table: RouteTable) -> tuple[Route, ...]:
        return tuple(route.share(self._settings.workers) for route in table.routes)


def _listen(host: str, port: int, count: int) -> list[socket.socket]:
    """So many sockets at one address. Raises OSError where it is taken, by other workers, too."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    with socket.socket(family, kind, protocol) as first:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        first.bind(address)
        address = first.getsockname()
    listeners: list[socket.socket] = []
    for _ in range(count):
        listener = socket.socket(family, kind, protocol)
        listeners.append(listener)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    return listeners
