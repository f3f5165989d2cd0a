"""The platform on a clock: what makes the passive state machine happen in time."""

import asyncio
from datetime import UTC, datetime

from scaler.clock import Clock
from scaler.settings import WorldSettings
from scaler.world.platform import Platform
from scaler.world.replica import Job
from scaler.world.v2.registry import Registry

DRIVER_GAP = 0.001
"""Real seconds between two looks at the agenda, at least: a fast clock has many events in one of them."""
IDLE_LOOK = 3600.0
"""Clock seconds the driver sleeps when nothing at all is planned."""


class World:
    """A `Platform`, the v2 `Registry` in front of it, and their clock. While `run` runs, everything happens when it is due."""

    def __init__(self, settings: WorldSettings, clock: Clock) -> None:
        """Begins at the clock's present reading. Raises `Refused` when the settings contradict the catalog."""
        self.settings = settings
        self.clock = clock
        self.platform = Platform(settings, clock.monotonic())
        self.registry = Registry(self.platform, settings)
        self._unix = clock.now() - clock.monotonic()
        self._alarm: asyncio.Task[None] | None = None
        self._alarm_at = 0.0

    def now(self) -> float:
        """Seconds of the world: the clock's monotonic reading."""
        return self.clock.monotonic()

    def catch_up(self) -> float:
        """Live through what is due and return the instant it was done for."""
        now = self.now()
        self.platform.advance(now)
        return now

    def unix(self, at: float) -> float:
        """An instant of the world in Unix seconds, on the scaled clock."""
        return self._unix + at

    def rfc3339(self, at: float) -> str:
        """The same for people and JSON."""
        return datetime.fromtimestamp(self.unix(at), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def submit(self, name: str, input_tokens: int, output_tokens: int, prompt: bytes | None = None) -> Job:
        """`Platform.submit` to wherever `Registry.route` sends it, now."""
        now = self.now()
        job = self.platform.submit(self.registry.route(name, now), input_tokens, output_tokens, now, prompt)
        self.poke()
        return job

    def cancel(self, job: Job) -> None:
        """`Platform.cancel`, now."""
        self.platform.cancel(job, self.now())
        self.poke()

    def poke(self) -> None:
        """Tell the driver that the agenda has changed."""
        due = self.platform.next_event()
        if due is not None and due < self._alarm_at and self._alarm is not None:
            self._alarm.cancel()

    def end(self) -> None:
        """The end of the world: all endpoints break, so that nobody waits for them any longer."""
        now = self.catch_up()
        for endpoint in self.platform.endpoints:
            self.platform.fail(endpoint.identity.id, now)

    async def run(self) -> None:
        """Live through events as they come due, until cancelled."""
        try:
            while True:
                now = self.catch_up()
                due = self.platform.next_event()
                wait = max(IDLE_LOOK if due is None else due - now, DRIVER_GAP * self.clock.speed)
                self._alarm_at = now + wait
                self._alarm = asyncio.ensure_future(self.clock.sleep(wait))
                await asyncio.wait([self._alarm])
        finally:
            if self._alarm is not None:
                self._alarm.cancel()
