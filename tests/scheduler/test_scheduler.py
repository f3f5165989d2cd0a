"""When the tick comes: on a frozen wall clock, on a scaled one, late, overlapping and failing."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from freezegun import freeze_time

from scaler.clock import ScaledClock, SystemClock
from scaler.scheduler import TICK, Scheduler


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_minute_of_wall_time_is_six_ticks() -> None:
    ticks: list[datetime] = []

    async def tick() -> None:
        ticks.append(datetime.now(UTC))

    with freeze_time("2026-03-01 12:00:00", real_asyncio=True) as frozen:
        scheduler = Scheduler(tick, tick_seconds=10, overdue_ticks=3, clock=SystemClock())
        scheduler.start()
        await until(lambda: len(ticks) == 1)
        for count in range(2, 7):
            frozen.tick(timedelta(seconds=10))
            scheduler._scheduler.wakeup()
            await until(lambda count=count: len(ticks) == count)  # type: ignore[misc]
        scheduler.stop()
    assert [(tick.minute, tick.second) for tick in ticks] == [(0, 0), (0, 10), (0, 20), (0, 30), (0, 40), (0, 50)]


async def test_a_blocked_loop_is_caught_up_with_one_run() -> None:
    ticks: list[datetime] = []

    async def tick() -> None:
        ticks.append(datetime.now(UTC))

    with freeze_time("2026-03-01 12:00:00", real_asyncio=True) as frozen:
        scheduler = Scheduler(tick, tick_seconds=10, overdue_ticks=3, clock=SystemClock())
        scheduler.start()
        await until(lambda: len(ticks) == 1)
        frozen.tick(timedelta(minutes=10))
        scheduler._scheduler.wakeup()
        await until(lambda: len(ticks) == 2)
        frozen.tick(timedelta(seconds=10))
        scheduler._scheduler.wakeup()
        await until(lambda: len(ticks) == 3)
        scheduler.stop()


async def test_a_tick_that_is_wanted_soon_comes_at_once_or_once_more_after_the_one_under_way() -> None:
    ticks, go = 0, asyncio.Event()

    async def tick() -> None:
        nonlocal ticks
        ticks += 1
        await go.wait()

    scheduler = Scheduler(tick, tick_seconds=3600, overdue_ticks=3, clock=SystemClock())
    scheduler.start()
    await until(lambda: ticks == 1)
    for _ in range(5):
        scheduler.soon()
    go.set()
    await until(lambda: scheduler.events["completed"] == 2)
    scheduler.soon()
    await until(lambda: scheduler.events["completed"] == 3)
    scheduler.stop()
    assert ticks == 3
    assert scheduler.events["overlap"] == 0


async def test_the_watchdog_sees_a_tick_that_the_wall_clock_hides() -> None:
    """The wall clock is set back an hour: APScheduler would be silent for an hour, the watchdog is not."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        ticks += 1

    clock = ScaledClock(speed=200.0)
    scheduler = Scheduler(tick, tick_seconds=10, overdue_ticks=3, clock=clock)
    scheduler.start()
    await until(lambda: ticks >= 2)
    scheduler._scheduler.modify_job(TICK, next_run_time=datetime.now(UTC) + timedelta(hours=1))
    seen = ticks
    watchdog = asyncio.create_task(scheduler.watch())
    await until(lambda: scheduler.events["late"] >= 1)
    await until(lambda: ticks > seen)
    watchdog.cancel()
    scheduler.stop()


async def test_a_slow_tick_never_runs_twice_at_once_and_is_counted() -> None:
    running = most = 0
    release = asyncio.Event()

    async def tick() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await release.wait()
        running -= 1

    scheduler = Scheduler(tick, tick_seconds=10, overdue_ticks=3, clock=ScaledClock(speed=500.0))
    scheduler.start()
    await until(lambda: scheduler.events["overlap"] >= 2)
    await until(lambda: scheduler.overdue)
    release.set()
    await until(lambda: scheduler.events["completed"] >= 1)
    scheduler.stop()
    assert most == 1


async def test_a_tick_that_raises_is_counted_and_the_next_one_comes() -> None:
    calls = 0

    async def tick() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ValueError("boom")

    scheduler = Scheduler(tick, tick_seconds=10, overdue_ticks=3, clock=ScaledClock(speed=500.0))
    scheduler.start()
    await until(lambda: scheduler.events["completed"] >= 1)
    scheduler.stop()
    assert scheduler.events["error"] == 1
    assert calls >= 2


async def test_the_age_is_measured_from_the_last_completed_tick() -> None:
    async def tick() -> None:
        return None

    clock = ScaledClock(speed=1000.0)
    scheduler = Scheduler(tick, tick_seconds=10, overdue_ticks=3, clock=clock)
    scheduler.start()
    await until(lambda: scheduler.events["completed"] >= 1)
    scheduler.stop()
    await clock.sleep(60)
    assert scheduler.age >= 60
    assert scheduler.overdue
