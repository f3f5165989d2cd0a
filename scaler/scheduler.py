"""Says when: the tick and the slow jobs, on APScheduler, and a watchdog that does not trust it.

APScheduler runs on the wall clock: after a step back of an hour it would be silent for an hour. The watchdog looks at the monotonic age of
the last completed tick, counts a late one and asks for a run at once.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import structlog
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobEvent
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from scaler.clock import Clock

log = structlog.get_logger(__name__)

TICK = "tick"
_EVENTS = {EVENT_JOB_ERROR: "error", EVENT_JOB_MAX_INSTANCES: "overlap", EVENT_JOB_MISSED: "missed"}


class Scheduler:
    """Runs `tick` every ``tick_seconds`` of the clock, never twice at once, and catches up with one run, not many."""

    def __init__(self, tick: Callable[[], Awaitable[object]], *, tick_seconds: float, overdue_ticks: float, clock: Clock) -> None:
        """``overdue_ticks``: periods without a completed tick after which the watchdog speaks up."""
        self._tick = tick
        self._tick_seconds = tick_seconds
        self._overdue_seconds = tick_seconds * overdue_ticks
        self._clock = clock
        self._last_completed = clock.monotonic()
        self._under_way = False
        self._wanted = False
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        self.events: Counter[str] = Counter({"completed": 0, "late": 0, **dict.fromkeys(_EVENTS.values(), 0)})
        """Ticks completed and late, runs missed, overlapping or failed."""

    def start(self) -> None:
        """Begin; the first tick comes at once. Needs a running event loop."""
        self._scheduler.add_listener(self._on_event, EVENT_JOB_ERROR | EVENT_JOB_MAX_INSTANCES | EVENT_JOB_MISSED)
        self.every(TICK, self._tick_seconds, self._run_tick)
        self._scheduler.start()

    def every(self, name: str, seconds: float, job: Callable[[], Awaitable[object]]) -> None:
        """Run ``job`` now and then every ``seconds`` of the clock."""
        self._scheduler.add_job(
            job,
            "interval",
            id=name,
            seconds=seconds / self._clock.speed,
            next_run_time=datetime.now(UTC),
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
        )

    def stop(self) -> None:
        """No further runs; one under way is left to finish."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def soon(self) -> None:
        """Tick now, or once more when the tick under way has ended: it may have looked away already."""
        if self._under_way:
            self._wanted = True
        else:
            self._run_now()

    @property
    def age(self) -> float:
        """Clock seconds since the last completed tick."""
        return self._clock.monotonic() - self._last_completed

    @property
    def overdue(self) -> bool:
        """Whether that is too long."""
        return self.age > self._overdue_seconds

    async def watch(self) -> None:
        """The watchdog: for ever, look once a period; when a tick is overdue, count it and ask for a run at once."""
        while True:
            await self._clock.sleep(self._tick_seconds)
            if not self.overdue:
                continue
            self.events["late"] += 1
            log.warning("tick overdue", age_seconds=round(self.age, 3))
            self._run_now()

    def _run_now(self) -> None:
        if self._scheduler.running and self._scheduler.get_job(TICK):
            self._scheduler.modify_job(TICK, next_run_time=datetime.now(UTC))

    async def _run_tick(self) -> None:
        self._under_way = self._wanted = True
        try:
            while self._wanted:
                self._wanted = False
                await self._tick()
                self._last_completed = self._clock.monotonic()
                self.events["completed"] += 1
        finally:
            self._under_way = False

    def _on_event(self, event: JobEvent) -> None:
        self.events[_EVENTS[event.code]] += 1
        if event.code == EVENT_JOB_ERROR:
            log.error("job failed", job=event.job_id, error=repr(event.exception))
