"""One worker: a proxy in a process of its own. It does what it is told, tells its figures, and ends when nobody listens.

Started as ``python -m scaler.proxy.worker LINK LISTENER``: two file descriptors that it inherits, the link to its owner and the socket to
listen on, which stays open there.
"""

import asyncio
import gc
import signal
import socket
import sys
from contextlib import suppress
from time import monotonic

import uvloop

from scaler.proxy.messages import Begin, Called, ClientReading, Drain, Keys, Link, Listening, News, Order, Reached, Report, Routes
from scaler.proxy.meter import Meter
from scaler.proxy.routes import RouteTable
from scaler.proxy.server import Proxy

REPORT_SECONDS = 0.2


class Worker:
    """The proxy and its link."""

    def __init__(self, listener: socket.socket) -> None:
        """Waits for `Begin`."""
        self._listener = listener
        self._link = Link(Order, self._obey, self._deserted)
        self._meter = Meter(monotonic)
        self._proxy: Proxy | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._drain_seconds = 0.0
        self._ending = asyncio.Event()
        self._fault: BaseException | None = None

    async def run(self, link: socket.socket) -> None:
        """Until it is drained. Raises what went wrong in the background: a worker must not go on half alive."""
        await asyncio.get_running_loop().create_connection(lambda: self._link, sock=link)
        while not self._ending.is_set():
            self._report()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), REPORT_SECONDS)
        if self._fault is not None:
            raise self._fault
        self._report()
        self._link.close()
        await asyncio.sleep(0)  # the last report is written

    def _obey(self, order: Order) -> None:
        match order:
            case Begin():
                self._spawn(self._begin(order))
            case Drain(seconds, idle):
                self._spawn(self._drain(seconds, idle=idle))
            case Routes(routes) if self._proxy is not None:
                self._proxy.set_routes(RouteTable.of(routes))
            case Keys(keys) if self._proxy is not None:
                self._proxy.set_keys(keys)

    async def _begin(self, order: Begin) -> None:
        self._drain_seconds = order.settings.drain_seconds
        self._proxy = Proxy(order.settings, order.upstream, order.api_key, self._meter, on_call=self._call, on_reach=self._reach)
        self._proxy.set_keys(order.keys)
        self._proxy.set_routes(RouteTable.of(order.routes))
        await self._proxy.start(self._listener)
        self._report()
        self._link.send(Listening())

    async def _drain(self, seconds: float, *, idle: bool) -> None:
        if self._proxy is not None:
            await self._proxy.drain(seconds, idle=idle)
        self._ending.set()

    def _deserted(self) -> None:
        """The owner is gone: finish what is under way."""
        self._spawn(self._drain(self._drain_seconds, idle=True))

    def _call(self, key: str) -> None:
        """The figures first: whoever hears of the call looks at once at how many there are."""
        self._report()
        self._link.send(Called(key))

    def _reach(self, why: str) -> None:
        self._link.send(Reached(why))

    def _report(self) -> None:
        if self._proxy is not None:
            self._link.send(report(self._proxy, self._meter))

    def _spawn(self, work: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._fault = fault
            self._ending.set()


def report(proxy: Proxy, meter: Meter) -> News:
    """All figures of this moment."""
    return Report(
        readings=meter.read_all(),
        gates=dict(proxy.gates),
        clients={name: ClientReading(account.in_flight, dict(account.outcomes)) for name, account in proxy.clients.items()},
        limits_hit=dict(proxy.limits_hit),
        connections=proxy.connections,
        tap_errors=meter.tap_errors,
    )


def main(link: int, listener: int) -> None:
    """Run; signals are for the owner, who says what they mean."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    gc.freeze()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Worker(socket.socket(fileno=listener)).run(socket.socket(fileno=link)))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
