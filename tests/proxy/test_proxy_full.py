"""An endpoint is full: who comes waits here, goes elsewhere, is told no, or passes, as its route says."""

import asyncio
import statistics
import time
from hashlib import sha256
from typing import Any

import pytest

from scaler.proxy.routes import Objective, Standing
from scaler.settings import ClientKeySettings
from tests.proxy.house import Build, House
from tests.proxy.sleeper import Sleeper, ask, gate, route, tell
from tests.proxy.wire import until

READY = Standing.READY
FALLBACK = {"model": "org/serverless"}


async def full(build: Build, sleeper: Sleeper, *, ttft: float | None = None, **wake: Any) -> House:  # noqa: ANN401 (settings of any type)
    """A house whose endpoint has room for two, and is as busy as that."""
    house = await build(sleeper)
    tell(house, route(READY, capacity=2, objective=Objective(ttft_seconds=ttft), **wake))
    for number in range(2):
        await (await house.client()).send(ask(f"early {number}"))
    await until(lambda: sleeper.serving == 2)
    return house


async def test_as_ever_everything_passes(build: Build) -> None:
    sleeper = Sleeper(awake=True, seconds=1.0)
    house = await full(build, sleeper)
    assert (await (await house.client()).ask(ask())).values(b"x-scaler-held-seconds") == []
    assert (sleeper.most, gate(house).held) == (3, 0)


async def test_a_queue_lets_in_as_many_as_there_is_room_for(build: Build) -> None:
    sleeper = Sleeper(awake=True, seconds=0.02)
    house = await full(build, sleeper, saturated="queue")
    clients = [await house.client() for _ in range(20)]
    answers = await asyncio.gather(*(client.ask(ask(number)) for number, client in enumerate(clients)))
    assert {answer.status for answer in answers} == {200}
    assert sleeper.most == 2
    assert gate(house).held >= 10
    assert (await clients[0].ask(ask())).values(b"x-scaler-held-seconds") == []  # there is room again


async def test_more_capacity_lets_more_in_at_once(build: Build) -> None:
    sleeper = Sleeper(awake=True, seconds=0.3)
    house = await full(build, sleeper, saturated="queue")
    clients = [await house.client() for _ in range(3)]
    for client in clients:
        await client.send(ask())
    await until(lambda: gate(house).waiting == 3)
    tell(house, route(READY, capacity=5, saturated="queue"))
    await until(lambda: sleeper.serving == 5)


async def test_whoever_would_wait_longer_than_the_objective_is_told_no_at_once(build: Build) -> None:
    sleeper = Sleeper(awake=True, seconds=0.05)
    house = await full(build, sleeper, saturated="shed", ttft=0.3)
    clients = [await house.client() for _ in range(60)]
    answers = await asyncio.gather(*(client.ask(ask()) for client in clients[:20]))  # a pace is learned
    assert {answer.status for answer in answers} <= {200, 503}
    started = time.monotonic()
    times = []

    async def timed(client_number: int) -> int:
        status = (await clients[client_number].ask(ask())).status
        times.append((status, time.monotonic() - started))
        return status

    statuses = await asyncio.gather(*map(timed, range(20, 60)))
    refused = statuses.count(503)
    assert 20 <= refused <= 38  # at two in 50 ms, 300 ms are room for twelve
    assert sleeper.most == 2
    refusals, answers_in = ([seconds for status, seconds in times if status == wanted] for wanted in (503, 200))
    assert statistics.median(refusals) < statistics.median(answers_in)  # however slow this machine is just now
    assert gate(house).sheds["saturated"] >= refused


async def test_a_refusal_says_when_there_should_be_room(build: Build) -> None:
    sleeper = Sleeper(awake=True, seconds=5)
    house = await full(build, sleeper, saturated="shed", ttft=0.1)
    late = await (await house.client()).ask(ask())  # no pace is known: it is tried, for as long as the objective allows
    assert (late.status, late.code, late.values(b"retry-after")) == (503, "saturated", [b"1"])
    assert b"The request was held for 0 s, but the endpoint of chat is full." in late.body


async def test_what_has_no_room_spills_over(build: Build) -> None:
    sleeper = Sleeper(awake=True, seconds=0.4)
    house = await full(build, sleeper, saturated="spill", ttft=0.05, fallback=FALLBACK)
    got = await (await house.client()).ask(ask("late"))
    assert (got.status, got.values(b"x-scaler-fallback")) == (200, [b"org/serverless"])
    (spilled,) = [message for message in house.upstream.requests if message.json["x"] == "late"]
    assert spilled.json["model"] == "org/serverless"
    assert gate(house).spills == 1
    assert house.meter.read("chat:fallback").completions["2xx"] == 1
    assert house.reading.completions["aborted"] == 1  # here; it began anew there
    assert house.limits_hit == {}  # it waited no longer than it was meant to


@pytest.mark.parametrize("wake", ["hold", "keepalive"])
async def test_what_spills_over_keeps_its_seat_and_is_admitted_once(build: Build, wake: str) -> None:
    sleeper = Sleeper(awake=True, seconds=0.4)
    house = await full(build, sleeper, saturated="spill", ttft=0.05, fallback=FALLBACK)
    house.proxy.set_keys({"alice": ClientKeySettings(sha256=sha256(b"sk-alice").hexdigest(), max_in_flight=1)})
    client = await house.client()
    await client.send(ask("late", stream=True, wake=wake, fields=b"Authorization: Bearer sk-alice\r\n"))
    await until(lambda: "late" in sleeper.served)
    account = house.proxy.clients["alice"]
    assert (account.in_flight, gate(house).waiting) == (1, 0)
    assert (await client.answer()).status == 200
    assert (account.in_flight, account.outcomes) == (0, {"admitted": 1, "rate": 0, "concurrency": 0})


async def test_a_stream_that_waits_with_comments_spills_over_within_its_stream(build: Build) -> None:
    sleeper = Sleeper(awake=True, seconds=0.4)
    house = await full(build, sleeper, saturated="spill", ttft=0.05, fallback=FALLBACK)
    got = await (await house.client()).ask(ask("late", stream=True, wake="keepalive"))
    assert got.body.startswith(b": chat is full; waiting for 0 s\n\n: chat is full; org/serverless answers instead\n\ndata: ")
    assert got.body.endswith(b"data: [DONE]\n\n")
    assert gate(house).spills == 1


async def test_a_spill_without_budget_is_a_refusal(build: Build) -> None:
    sleeper = Sleeper(awake=True, seconds=0.5)
    house = await full(build, sleeper, saturated="spill", ttft=0.05, fallback=FALLBACK | {"requests_per_day": 1})
    clients = [await house.client() for _ in range(2)]
    answers = await asyncio.gather(*(client.ask(ask()) for client in clients))
    assert sorted(answer.status for answer in answers) == [200, 503]


async def test_a_queue_at_a_proxy_that_shuts_down_is_served(build: Build) -> None:
    sleeper = Sleeper(awake=True, seconds=0.1)
    house = await full(build, sleeper, saturated="queue")
    client = await house.client()
    await client.send(ask())
    await until(lambda: gate(house).waiting == 1)
    draining = asyncio.create_task(house.proxy.drain(5))
    assert (await client.answer()).status == 200
    await draining
