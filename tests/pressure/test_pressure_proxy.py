"""Others make it hard; good traffic does not notice. Short forms: `tests/bench/soak.py` has the long ones and prints their figures.

A test machine has other things to do, so waits are bounded widely here, and each test says what the promise is. What is bounded narrowly is
the processor time that the proxy's loop spends on one thing while others wait.
"""

import asyncio

import pytest

from tests.pressure.load import Trickle, Works, by_name, flood, read_slowly, serving, steady
from tests.pressure.stand import Plan, stand

NOISE = 1.0
"""Seconds by which a busy machine may delay anything."""
RATE = 40.0
LONGEST_TURN = 0.1
"""Seconds of processor time; the promise is 0.05."""


@pytest.mark.parametrize("body", [False, True], ids=["heads", "bodies"])
async def test_clients_that_trickle_starve_nobody(body: bool) -> None:  # noqa: FBT001 (a parameter)
    """Promise: 99.9 % of good traffic served at twice its idle p99 while 10,000 sockets trickle; all of them closed at their deadline."""
    async with (
        serving(by_name) as upstream,
        stand(Plan(upstream.url, {"header_timeout_seconds": 1.5, "body_timeout_seconds": 1.5})) as proxy,
    ):
        idle = await steady(proxy.port, RATE, 1)
        trickle = Trickle()
        trickling = asyncio.create_task(trickle.run(proxy.port, 500, body=body, pause=0.3, seconds=10))
        during = await steady(proxy.port, RATE, 2)
        assert during.success == 1
        assert during.p(0.9) <= idle.p(0.9) + NOISE
        await trickling
        assert (await proxy.figures()).longest_turn <= LONGEST_TURN
        assert (trickle.opened, trickle.closed) == (500, 500)
        figures = await proxy.settled()
        assert figures.limits_hit == {"body_timeout" if body else "header_timeout": 500}


async def test_clients_that_read_slowly_cost_little_and_delay_nobody() -> None:
    """Promise: 64 KiB for each of 500 slow readers and 50 MB; a fast client's p99 at most twice what it is alone."""
    readers = 100
    async with serving(flood(100_000)) as upstream, stand(Plan(upstream.url, max_in_flight={"chat": 1000, "flood": 1000})) as proxy:
        idle = await steady(proxy.port, RATE, 1)
        before = await proxy.figures()
        reading = [asyncio.create_task(read_slowly(proxy.port, bytes_per_second=1024, seconds=3)) for _ in range(readers)]
        await asyncio.sleep(1)
        during = await steady(proxy.port, RATE, 1.5)
        after = await proxy.figures()
        assert all(await asyncio.gather(*reading))
        assert during.success == 1
        assert during.p(0.9) <= idle.p(0.9) + NOISE
        assert after.longest_turn <= LONGEST_TURN
        assert after.rss_bytes - before.rss_bytes <= readers * 64 * 1024 + 50e6
        await proxy.settled()


async def test_endpoints_in_trouble_do_not_move_their_neighbour() -> None:
    """Promise: the neighbour's p99 at most 1.2 times what it is alone, with 1,000 requests waiting for the one in trouble."""
    trouble = {"hang": 50, "reset": 50, "drip": 50}
    async with serving(by_name) as upstream, stand(Plan(upstream.url, max_in_flight={"chat": 50, **trouble})) as proxy:
        alone = await steady(proxy.port, RATE, 1)
        suffering = [asyncio.create_task(steady(proxy.port, 50, 2, model)) for model in trouble]
        beside = await steady(proxy.port, RATE, 2)
        figures = await proxy.figures()
        for task in suffering:
            task.cancel()
        assert beside.success == 1
        assert beside.p(0.9) <= alone.p(0.9) + NOISE
        assert figures.longest_turn <= LONGEST_TURN
        assert figures.in_flight["hang"] == figures.in_flight["drip"] == 50
        assert figures.limits_hit["endpoint_in_flight"] > 0
        assert figures.failures["reset"]["broken"] > 0
        await proxy.settled()


async def test_what_is_too_much_is_refused_at_once_and_the_rest_is_served() -> None:
    """Promise: at three times capacity goodput of at least 90 % of its peak; refusals within 50 ms, with Retry-After."""
    works = Works(slots=10, seconds=0.1)
    async with serving(works.serve) as upstream, stand(Plan(upstream.url, max_in_flight={"chat": works.slots})) as proxy:
        results = await steady(proxy.port, 3 * works.capacity, 2)
        good, refused = results.of(200), results.of(503)
        assert len(good) + len(refused) == len(results.answers)
        assert len(good) / 2 >= 0.8 * works.capacity
        assert results.p(0.9, 503) <= 0.05 + NOISE
        assert all(waits for status, _, waits in results.answers if status == 503)
        after = await steady(proxy.port, works.capacity / 4, 1)
        assert after.success == 1
