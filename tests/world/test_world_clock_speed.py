"""A scaled clock whose speed changes."""

import asyncio

import pytest

from scaler.clock import ScaledClock


async def test_readings_go_on_without_a_jump() -> None:
    clock = ScaledClock(1000)
    await asyncio.sleep(0.02)
    for speed in (1.0, 500.0, 0.1):
        before, now = clock.monotonic(), clock.now()
        clock.set_speed(speed)
        assert before <= clock.monotonic() < before + 50
        assert now <= clock.now() < now + 50
        assert clock.speed == speed
    before = clock.monotonic()
    await asyncio.sleep(0.05)
    assert clock.monotonic() - before == pytest.approx(0.005, abs=0.02)


async def test_a_sleeper_wakes_at_the_promised_reading_whatever_the_speed_becomes() -> None:
    clock = ScaledClock(1)
    until = clock.monotonic() + 3600
    sleeper = asyncio.create_task(clock.sleep(3600))
    await asyncio.sleep(0.01)
    assert not sleeper.done()
    clock.set_speed(36_000)
    await asyncio.wait_for(sleeper, 5)
    assert clock.monotonic() >= until


async def test_a_slower_clock_does_not_wake_early() -> None:
    clock = ScaledClock(1000)
    sleeper = asyncio.create_task(clock.sleep(100))
    await asyncio.sleep(0.01)
    clock.set_speed(1)
    await asyncio.sleep(0.2)
    assert not sleeper.done()
    sleeper.cancel()
    await asyncio.wait([sleeper])
    assert sleeper.cancelled()
    clock.set_speed(2)


async def test_no_time_is_no_wait() -> None:
    clock = ScaledClock(1)
    await asyncio.wait_for(clock.sleep(-5), 1)
