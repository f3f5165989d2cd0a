"""A request costs money as soon as the upstream has it: it goes once, but for one exception that a route may choose."""

import asyncio
from collections.abc import Callable

import pytest

from scaler.proxy.budget import RetryBudget
from scaler.proxy.routes import Route, RouteTable
from tests.proxy.house import Build, House
from tests.proxy.wire import ANSWER, MODEL, Script, Visit, answer, request, until

Ending = Callable[[Visit], None]


def close(visit: Visit) -> None:
    visit.writer.close()


def reset(visit: Visit) -> None:
    visit.writer.transport.abort()


ENDINGS = pytest.mark.parametrize("ending", [close, reset])


def allow(house: House) -> None:
    """The route lets stale connections be tried again."""
    house.proxy.set_routes(RouteTable.of([Route("chat", MODEL, frozenset({"chat"}), retry_stale=True)]))


def dies_at(turn: int, ending: Ending, *, last_words: bytes = b"") -> Script:
    """An upstream whose first connection ends when it is asked for the ``turn``-th time; the others serve."""
    visits = 0

    async def script(visit: Visit) -> None:
        nonlocal visits
        visits += 1
        mortal = visits == 1
        for number in range(1, 1000):
            await visit.request()
            if mortal and number == turn:
                await visit.send(last_words)
                await asyncio.sleep(0.005)
                ending(visit)
                return
            await visit.send(answer())

    return script


@ENDINGS
async def test_a_kept_connections_silent_end_is_not_tried_again_unless_the_route_says_so(build: Build, ending: Ending) -> None:
    house = await build(dies_at(12, ending))
    client = await house.client()
    for _ in range(11):
        assert (await client.ask(request())).status == 200
    assert (await client.ask(request())).code == "upstream_broken"
    assert (len(house.upstream.requests), house.reading.retries) == (12, 0)
    assert house.reading.failures["broken"] == 1


@ENDINGS
async def test_a_route_may_choose_to_try_once_more(build: Build, ending: Ending) -> None:
    house = await build(dies_at(12, ending))
    allow(house)
    client = await house.client()
    for _ in range(12):
        assert (await client.ask(request())).body == ANSWER
    assert (len(house.upstream.requests), house.reading.retries, house.reading.completions["2xx"]) == (13, 1, 12)
    assert house.reading.completions["failed"] == 0
    assert house.upstream.requests[-1] == house.upstream.requests[-2]


@ENDINGS
@pytest.mark.parametrize(
    "last_words", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", answer()[:-1]], ids=["one byte", "interim", "all but one byte"]
)
async def test_never_once_a_byte_of_an_answer_has_come(build: Build, ending: Ending, last_words: bytes) -> None:
    house = await build(dies_at(12, ending, last_words=last_words))
    allow(house)
    client = await house.client()
    for _ in range(11):
        await client.ask(request())
    await client.send(request())
    await until(lambda: house.reading.completions["failed"] == 1)
    assert (len(house.upstream.requests), house.reading.retries) == (12, 0)


@ENDINGS
async def test_never_on_a_connection_that_was_made_for_it(build: Build, ending: Ending) -> None:
    house = await build(dies_at(1, ending))
    allow(house)
    house.proxy._context.gates["chat"].retry_budget._balance = 10
    client = await house.client()
    assert (await client.ask(request())).code == "upstream_broken"
    assert (len(house.upstream.requests), house.reading.retries) == (1, 0)


async def test_never_twice(build: Build) -> None:
    """The new connection dies as well: that was a request in earnest."""
    visits = 0

    async def script(visit: Visit) -> None:
        nonlocal visits
        visits += 1
        if visits == 1:
            for _ in range(11):
                await visit.request()
                await visit.send(answer())
        await visit.request()
        close(visit)

    house = await build(script)
    allow(house)
    client = await house.client()
    for _ in range(11):
        await client.ask(request())
    assert (await client.ask(request())).code == "upstream_broken"
    assert (len(house.upstream.requests), house.reading.retries) == (13, 1)


async def test_not_for_a_client_that_has_left(build: Build) -> None:
    house = await build(dies_at(12, close))
    allow(house)
    client = await house.client()
    for _ in range(11):
        await client.ask(request())
    await client.send(request())
    await until(lambda: len(house.upstream.requests) == 12)
    client.abort()
    await until(lambda: house.reading.in_flight == 0)
    await asyncio.sleep(0.02)
    assert len(house.upstream.requests) == 12


async def test_an_upstream_that_ends_every_kept_connection_is_asked_a_tenth_more_at_most(build: Build) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(answer())
        await visit.request()
        close(visit)

    house = await build(script)
    allow(house)
    client = await house.client()
    asked = 300
    for _ in range(asked):
        await client.ask(request())
    attempts = len(house.upstream.requests)
    assert attempts <= 1.1 * asked
    assert house.reading.retries == attempts - asked > 0
    assert house.limits_hit["retry_budget"] > 0


@pytest.mark.interpreted
async def test_a_second_try_has_the_time_that_a_connection_may_take(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    house = await build(dies_at(12, close), connect_timeout_seconds=0.2)
    allow(house)
    client = await house.client()
    for _ in range(11):
        await client.ask(request())

    async def never() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(house.proxy._context.pool, "connect", never)
    got = await client.ask(request())
    assert (got.status, got.code, house.reading.retries) == (504, "connect_timeout", 1)
    assert house.limits_hit == {"connect_timeout": 1}


def test_a_budget_saves_no_more_than_ten() -> None:
    budget = RetryBudget()
    assert not budget.spend()
    for _ in range(1000):
        budget.earn()
    assert [budget.spend() for _ in range(12)] == [True] * 10 + [False] * 2
    assert budget.refused == 3
