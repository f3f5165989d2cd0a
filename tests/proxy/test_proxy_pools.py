"""Several endpoints behind one name."""

import asyncio
from dataclasses import replace

import pytest

from scaler.proxy.health import ERRORS, FIRST_SECONDS, Health
from scaler.proxy.routes import Readiness, Route, RouteTable, Standing
from scaler.settings import WakeSettings
from tests.proxy.house import Build, House
from tests.proxy.sleeper import ask, tell
from tests.proxy.wire import Visit, answer, until

UNPROBED = WakeSettings(probe=False)
READY, WAKING, ASLEEP = Standing.READY, Standing.WAKING, Standing.ASLEEP


def member(key: str, standing: Standing = READY, capacity: float = 4) -> Route:
    return Route(key, f"org/{key}", frozenset({key}), pool="any", wake=UNPROBED, readiness=Readiness(standing, 0.0, capacity))


class Site:
    """An upstream of many models: counts what each is asked, answers when told to, and fails for those that are ill."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.ill: set[str] = set()
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, visit: Visit) -> None:
        while True:
            model = str((await visit.request()).json["model"]).removeprefix("org/")
            self.asked.append(model)
            await self.go.wait()
            await visit.send(answer(status=b"500 Internal Server Error") if model in self.ill else answer())


async def ask_any(house: House, times: int) -> list[int]:
    """One after another."""
    client = await house.client()
    return [(await client.ask(ask(model="any"))).status for _ in range(times)]


async def test_requests_go_where_most_room_is_left(build: Build) -> None:
    site = Site()
    house = await build(site)
    tell(house, member("large", capacity=6), member("small", capacity=3))
    site.go.clear()
    clients = [await house.client() for _ in range(9)]
    for number, client in enumerate(clients):
        await client.send(ask(model="any"))
        await until(lambda number=number: len(site.asked) == number + 1)  # type: ignore[misc] # (mypy infers no defaults of lambdas)
    assert (site.asked.count("large"), site.asked.count("small")) == (6, 3)
    site.go.set()
    assert {(await client.answer()).status for client in clients} == {200}
    assert house.meter.read("large").completions["2xx"] == 6  # each is metered as itself


async def test_a_member_has_its_own_name_and_the_pool_is_listed(build: Build) -> None:
    site = Site()
    house = await build(site)
    tell(house, member("one"), member("two"))
    client = await house.client()
    assert (await client.ask(ask(model="two"))).status == 200
    assert site.asked == ["two"]
    models = await client.ask(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b'"id": "any"' in models.body


async def test_the_ill_are_left_alone_for_a_while_and_tried_again(build: Build) -> None:
    site, now = Site(), [0.0]
    house = await build(site, monotonic=lambda: now[0])
    tell(house, member("ill", capacity=100), member("well"))
    site.ill.add("ill")
    assert (await ask_any(house, ERRORS + 5))[ERRORS:] == [200] * 5
    assert site.asked == ["ill"] * ERRORS + ["well"] * 5
    now[0] += FIRST_SECONDS
    site.ill.clear()
    await ask_any(house, 3)
    assert site.asked[-3:] == ["ill"] * 3


async def test_if_all_look_ill_all_are_asked(build: Build) -> None:
    site = Site()
    house = await build(site)
    tell(house, member("one"), member("two"))
    site.ill |= {"one", "two"}
    await ask_any(house, 4 * ERRORS)
    site.ill.clear()
    assert await ask_any(house, 4) == [200] * 4


async def test_those_that_sleep_are_passed_over_and_if_all_do_the_nearest_is_waited_for(build: Build) -> None:
    site = Site()
    house = await build(site)
    one, two, three = member("one", ASLEEP, 100), member("two"), member("three", WAKING)
    tell(house, one, two, three)
    assert await ask_any(house, 3) == [200] * 3
    assert site.asked == ["two"] * 3
    two = replace(two, readiness=Readiness(ASLEEP, 0.0, 4))
    tell(house, one, two, three)
    client = await house.client()
    await client.send(ask(model="any"))
    await until(lambda: house.proxy.gates["three"].waiting == 1)
    client.close()
    tell(house, one, two)
    client = await house.client()
    await client.send(ask(model="any"))
    await until(lambda: house.proxy.gates["one"].wakes == 1)  # the first of them is called, not all
    assert house.proxy.gates["two"].wakes == 0
    client.close()


async def test_a_pool_may_be_where_others_fall_back_to(build: Build) -> None:
    site = Site()
    house = await build(site)
    wake = WakeSettings.model_validate({"mode": "fallback", "fallback": {"model": "any"}})
    chat = Route("chat", "org/chat", frozenset({"chat"}), wake=wake, readiness=Readiness(ASLEEP, 0.0, 1.0))
    tell(house, chat, member("one", ASLEEP), member("two"))
    got = await (await house.client()).ask(ask())
    assert (got.status, got.values(b"x-scaler-fallback"), site.asked) == (200, [b"any"], ["two"])


def test_a_pool_is_not_called_as_an_endpoint_is() -> None:
    with pytest.raises(ValueError, match="'any' names 'any' and a pool"):
        RouteTable.of([Route("any", "org/any", frozenset()), member("one")])


def test_health_is_lost_by_errors_in_a_row_and_longer_each_time() -> None:
    health = Health()
    for outcome in ("5xx",) * (ERRORS - 1) + ("2xx",) + ("failed", "aborted") * (ERRORS - 1):
        health.note(outcome, 0.0)
    assert health.is_good(0.0)
    health.note("5xx", 0.0)
    assert not health.is_good(FIRST_SECONDS - 1)
    assert health.is_good(FIRST_SECONDS)
    for _ in range(ERRORS):
        health.note("failed", FIRST_SECONDS)
    assert not health.is_good(FIRST_SECONDS * 3 - 1)
    assert health.is_good(FIRST_SECONDS * 3)
    health.note("4xx", FIRST_SECONDS * 3)  # an answer, and no error of the endpoint
    for _ in range(ERRORS):
        health.note("5xx", 200.0)
    assert health.is_good(200.0 + FIRST_SECONDS)


def test_it_is_left_alone_for_five_minutes_at_most_and_errors_meanwhile_add_nothing() -> None:
    health, now = Health(), 0.0
    for _ in range(30):
        for _ in range(ERRORS):
            health.note("5xx", now)
        assert not health.is_good(now)
        now += 300
        assert health.is_good(now)
    for _ in range(2 * ERRORS):
        health.note("5xx", now)
    assert health.is_good(now + 300)
