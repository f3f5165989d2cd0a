"""Time as an argument: the daemon, the world and the tests all ask a Clock, never the operating system.

``monotonic`` is for arithmetic, ``now`` (Unix seconds) for records only.
"""

import asyncio
import heapq
import itertools
import time
from typing import Protocol

TIMER_RESOLUTION = 0.001
"""Real seconds: uvloop rounds shorter waits to nothing, and a loop on them would spin."""


class Clock(Protocol):
    """Two readings, one way to wait, and the exchange rate to real seconds."""

    speed: float
    """Clock seconds per real second; 1 outside demonstrations and tests."""

    def now(self) -> float:
        """Unix seconds, UTC. May jump; for records, never for arithmetic."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary origin; never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Wait this many clock seconds; returns at once when not positive."""


class SystemClock:
    """The machine's own time."""

    speed = 1.0
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        """Wait real seconds."""
        await asyncio.sleep(max(0.0, seconds))


class ScaledClock:
    """Real time stretched by ``speed``: a day passes in minutes.

    ``now`` reads ``start`` at the real instant ``epoch`` (Unix seconds), so processes that are given the same three numbers agree
    for as long as none of them changes its speed.
    """

    def __init__(self, speed: float, *, epoch: float | None = None, start: float | None = None) -> None:
        """``speed`` > 0; ``epoch`` defaults to this moment and ``start`` to ``epoch``."""
        self.speed = speed
        self._real_epoch = time.time() if epoch is None else epoch
        self._start = self._real_epoch if start is None else start
        self._offset = time.time() - time.monotonic()
        self._elapsed = 0.0
        self._naps: set[asyncio.Future[None]] = set()

    def now(self) -> float:
        """Scaled Unix seconds; derived from the real monotonic clock, so it cannot jump."""
        return self._start + self.monotonic()

    def monotonic(self) -> float:
        """Scaled seconds since the epoch."""
        return self._elapsed + (time.monotonic() + self._offset - self._real_epoch) * self.speed

    def set_speed(self, speed: float) -> None:
        """Go on at another speed (> 0) from the present reading; sleepers wake at the instant they were promised."""
        self._elapsed = self.monotonic()
        self._real_epoch = time.monotonic() + self._offset
        self.speed = speed
        for nap in self._naps:
            _wake(nap)

    async def sleep(self, seconds: float) -> None:
        """Wait ``seconds / speed`` real seconds, whatever the speed becomes meanwhile."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        until = self.monotonic() + seconds
        while (left := until - self.monotonic()) > 0:
            await self._nap(left / self.speed)

    async def _nap(self, real_seconds: float) -> None:
        """Wait, but no longer than until the next change of speed."""
        loop = asyncio.get_running_loop()
        nap: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(max(real_seconds, TIMER_RESOLUTION), _wake, nap)
        self._naps.add(nap)
        try:
            await nap
        finally:
            self._naps.discard(nap)
            timer.cancel()


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)


class VirtualClock:
    """Time that moves only when told to: backtests and tests."""

    def __init__(self, start: float = 0.0) -> None:
        """Both readings begin at ``start``."""
        self.speed = 1.0
        self._now = start
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        """The virtual second."""
        return self._now

    def monotonic(self) -> float:
        """The virtual second, too: virtual wall time never jumps."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Wait until `advance` has passed this point."""
        if seconds <= 0:
            return
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), wake))
        await wake

    def advance(self, seconds: float) -> None:
        """Move on and wake everyone whose time has come, in order."""
        self._now += seconds
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, wake = heapq.heappop(self._sleepers)
            _wake(wake)
