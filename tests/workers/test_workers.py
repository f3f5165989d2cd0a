"""Several workers behind one address: they count together, follow the route table, and come and go without a request lost."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from hashlib import sha256

import pytest
from pydantic import SecretStr

from scaler.proxy import workers as workers_module
from scaler.proxy.readings import Call
from scaler.proxy.routes import Readiness, Route, RouteTable, Standing
from scaler.proxy.workers import StaleError, Workers
from scaler.settings import ClientKeySettings, ProxySettings, WakeSettings
from tests.proxy.wire import MODEL, STREAM_HEAD, Client, Script, Upstream, Visit, answer, chunk, read_message, request, until, well_behaved

START_SECONDS = 30.0
CHAT = Route("chat", MODEL, frozenset({"chat"}))
Make = Callable[..., Awaitable[tuple[Workers, Upstream]]]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    async with AsyncExitStack() as stack:

        async def build(
            script: Script = well_behaved,
            *,
            workers: int = 2,
            calls: list[str] | None = None,
            told: list[str] | None = None,
            upstream_port: int | None = None,
            **settings: float,
        ) -> tuple[Workers, Upstream]:
            upstream = Upstream(script)
            server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
            stack.callback(server.close)
            upstream.port = upstream_port or server.sockets[0].getsockname()[1]
            options = ProxySettings.model_validate({"listen": "127.0.0.1:0", "workers": workers, **settings})
            on_call = calls.append if calls is not None else (lambda _: None)
            on_reach = told.append if told is not None else (lambda _: None)
            all_workers = Workers(options, upstream.url, SecretStr("sk-ours"), on_call=on_call, on_reach=on_reach)
            all_workers.set_routes(RouteTable.of([CHAT]))
            stack.push_async_callback(all_workers.drain, 0.0)
            await all_workers.start()
            return all_workers, upstream

        yield build


@asynccontextmanager
async def connected(all_workers: Workers) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_connection(*all_workers.addresses[0]))
    try:
        yield client
    finally:
        client.close()


async def ask(all_workers: Workers, data: bytes | None = None) -> int:
    async with connected(all_workers) as client:
        await client.send(data or request())
        return (await asyncio.wait_for(read_message(client.reader), START_SECONDS)).status


def pids(all_workers: Workers) -> list[int]:
    return [worker.process.pid for place in all_workers._places for worker in place.workers]


def arrivals(all_workers: Workers) -> list[int]:
    """Of each worker."""
    reports = [worker.report for place in all_workers._places for worker in place.workers]
    return [report.readings["chat"].arrivals if "chat" in report.readings else 0 for report in reports]


def callers(all_workers: Workers) -> list[Call]:
    """What the workers whose gate of ``b`` calls say of it."""
    reports = [worker.report for place in all_workers._places for worker in place.workers]
    return [report.gates["b"].call for report in reports if "b" in report.gates and report.gates["b"].call is not None]


async def test_workers_share_the_work_and_count_together(make: Make) -> None:
    all_workers, upstream = await make()
    assert len(set(pids(all_workers))) == 2
    assert os.getpid() not in pids(all_workers)
    assert await asyncio.gather(*(ask(all_workers) for _ in range(40))) == [200] * 40
    await until(lambda: all_workers.read("chat").completions["2xx"] == 40)
    assert min(arrivals(all_workers)) > 0
    reading = all_workers.read("chat")
    assert (reading.arrivals, reading.in_flight, reading.input_tokens, reading.latency.count) == (40, 0, 120, 40)
    assert all_workers.read_all()["chat"] == reading
    assert await ask(all_workers, request(model="nobody")) == 404
    await until(lambda: all_workers.read("other").completions["4xx"] == 1)
    assert len(upstream.requests) == 40
    assert {message.values(b"authorization")[0] for message in upstream.requests} == {b"Bearer sk-ours"}
    with pytest.raises(KeyError):
        all_workers.read("nobody")


async def test_a_table_and_keys_reach_every_worker_and_calls_come_back(make: Make) -> None:
    known: list[int] = []

    class Calls(list[str]):
        def append(self, key: str) -> None:
            super().append(key)
            known.append(all_workers.calls(key, 60.0))

    calls = Calls()
    all_workers, _ = await make(calls=calls)
    asleep = Readiness(Standing.ASLEEP, at=0.0, capacity=8.0)
    sleeping = replace(CHAT, key="b", model="x/b", names=frozenset(), wake=CHAT.wake.model_copy(update={"mode": "fail"}), readiness=asleep)
    all_workers.set_routes(RouteTable.of([CHAT, sleeping]))
    assert all_workers.routes.find("b") is sleeping

    async def refused() -> bool:
        return {await ask(all_workers, request(model="b")) for _ in range(8)} == {503}

    while not await refused() or len(callers(all_workers)) < 2:
        await asyncio.sleep(0.01)
    await until(lambda: all_workers.calls("b", 60.0) >= 8)
    assert (calls, all_workers.gates["b"].wakes) == (["b"], 1)  # both workers call, and it is one call
    assert min(known) >= 1  # whoever is called finds somebody calling
    assert all_workers.gates["b"].standing is Standing.ASLEEP
    assert all_workers.gates["b"].capacity == 8.0
    all_workers.set_keys({"team": ClientKeySettings(sha256=sha256(b"sk-team").hexdigest())})
    while {await ask(all_workers) for _ in range(8)} != {401}:
        await asyncio.sleep(0.01)
    assert await ask(all_workers, request(fields=b"Authorization: Bearer sk-team\r\n")) == 200
    await until(lambda: "team" in all_workers.clients and all_workers.clients["team"].outcomes["admitted"] == 1)
    await until(lambda: all_workers.limits_hit["unauthorized"] >= 8)


async def endless_if_asked(visit: Visit) -> None:
    while b"endless" not in (await visit.request()).body:
        await visit.send(answer())
    await visit.send(STREAM_HEAD, chunk(b"data: x\n\n"))
    await visit.gone()


async def test_a_worker_that_dies_is_replaced_and_what_it_counted_stays(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "RESPAWN_SECONDS", 0.05)
    all_workers, _ = await make(endless_if_asked, workers=1)
    for _ in range(5):
        assert await ask(all_workers) == 200
    async with connected(all_workers) as client:
        await client.send(request(b'{"model":"chat","x":"endless"}'))
        await client.reader.readuntil(b"data: x")
        await until(lambda: all_workers.read("chat").in_flight == 1)
        before = all_workers.read("chat")
        (dead,) = pids(all_workers)
        os.kill(dead, signal.SIGKILL)
        await client.rest()
    assert await ask(all_workers) == 200  # waits in the queue of the socket until the next worker is there
    assert pids(all_workers) != [dead]
    await until(lambda: all_workers.read("chat").completions["2xx"] == 6, START_SECONDS)
    after = all_workers.read("chat")
    assert (before.arrivals, after.arrivals, after.in_flight) == (6, 7, 0)
    assert (after.completions["failed"], after.failures["worker_lost"]) == (1, 1)
    assert after.in_flight_seconds >= before.in_flight_seconds
    assert after.at > before.at


async def test_a_rolling_restart_under_load_loses_no_request(make: Make) -> None:
    async def script(visit: Visit) -> None:
        while True:
            await visit.request()
            await asyncio.sleep(0.002)
            await visit.send(answer())

    all_workers, _ = await make(script)
    stop = asyncio.Event()

    async def load(*, keep: bool) -> int:
        """Requests on one connection until the proxy says that it closes it, or on a new one each."""
        count = 0
        while not stop.is_set():
            async with connected(all_workers) as client:
                closes = False
                while not closes and not stop.is_set():
                    got = await client.ask(request())
                    assert got.status == 200
                    closes = not keep or got.values(b"connection") == [b"close"]
                    count += 1
        return count

    tasks = [asyncio.create_task(load(keep=index % 2 == 0)) for index in range(6)]
    await asyncio.sleep(0.1)
    old = pids(all_workers)
    await all_workers.restart()
    await until(lambda: not set(old) & set(pids(all_workers)), START_SECONDS)
    stop.set()
    count = sum(await asyncio.gather(*tasks))
    assert len(pids(all_workers)) == 2
    await until(lambda: all_workers.read("chat").completions["2xx"] == count)
    reading = all_workers.read("chat")
    assert (reading.arrivals, reading.completions["failed"], reading.completions["aborted"]) == (count, 0, 0)


async def test_streams_finish_before_the_workers_end(make: Make) -> None:
    release = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(STREAM_HEAD, chunk(b"data: 1\n\n"))
        await release.wait()
        await visit.send(chunk(b"data: 2\n\n"), b"0\r\n\r\n")

    all_workers, _ = await make(script)
    processes = [worker.process for place in all_workers._places for worker in place.workers]
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(all_workers)) for _ in range(6)]
        for client in clients:
            await client.send(request())
            await client.reader.readuntil(b"data: 1")
        draining = asyncio.create_task(all_workers.drain(10.0))
        await asyncio.sleep(0.1)
        assert not draining.done()
        release.set()
        for client in clients:
            assert (await client.rest()).endswith(b"0\r\n\r\n")
    await draining
    assert [process.returncode for process in processes] == [0, 0]
    assert all_workers.read("chat").completions["2xx"] == 6
    assert all_workers.addresses == []


async def test_the_figures_of_a_worker_that_hangs_are_unknown_and_not_zero(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "STALE_SECONDS", 0.5)
    all_workers, _ = await make(workers=1)
    assert await ask(all_workers) == 200
    await until(lambda: all_workers.read("chat").arrivals == 1)
    (pid,) = pids(all_workers)
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(0.6)
        with pytest.raises(StaleError, match="has said nothing"):
            all_workers.read("chat")
        assert all_workers.read_all()["chat"].arrivals == 1
    finally:
        os.kill(pid, signal.SIGCONT)

    def is_known() -> bool:
        with suppress(StaleError):
            return all_workers.read("chat").arrivals == 1
        return False

    await until(is_known)


async def test_an_address_that_workers_have_is_taken(make: Make) -> None:
    all_workers, _ = await make()
    host, port = all_workers.addresses[0]
    other = Workers(ProxySettings(listen=f"{host}:{port}", workers=2), "http://127.0.0.1:1/v1", SecretStr("k"), on_call=lambda _: None)
    with pytest.raises(OSError, match="in use"):
        await other.start()


async def test_a_worker_that_does_not_come_up_is_an_error(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(workers_module.WorkerError):
        await make(workers=1)


async def test_a_fault_in_a_worker_ends_it_and_is_seen(capfd: pytest.CaptureFixture[str]) -> None:
    broken = Workers(ProxySettings(listen="127.0.0.1:0"), "gopher://127.0.0.1", SecretStr("k"), on_call=lambda _: None)
    with pytest.raises(workers_module.WorkerError):
        await broken.start()
    await broken.drain(0.0)
    assert "expected an http(s) URL, got 'gopher://127.0.0.1'" in capfd.readouterr().err


async def test_a_worker_tells_why_it_cannot_reach_the_upstream(make: Make) -> None:
    told: list[str] = []
    all_workers, _ = await make(told=told, upstream_port=1)
    assert await ask(all_workers) == 502
    await until(lambda: any(why.startswith("ConnectionRefusedError: ") for why in told))


def test_limits_are_shared_out() -> None:
    route = replace(CHAT, max_in_flight=5, readiness=Readiness(Standing.READY, 0.0, 12.0))
    share = route.share(2)
    assert share.readiness is not None
    assert (share.max_in_flight, share.readiness.capacity, share.wake.max_held) == (3, 6.0, 500)
    assert json.dumps(CHAT.share(1).wake.model_dump()) == json.dumps(CHAT.wake.model_dump())


def test_the_budget_of_a_fallback_is_shared_too() -> None:
    fallback = {"fallback": {"model": "elsewhere", "requests_per_minute": 5, "requests_per_day": 1000}}
    mine = replace(CHAT, wake=WakeSettings.model_validate(fallback)).share(2).wake.fallback
    assert mine is not None
    assert (mine.requests_per_minute, mine.requests_per_day) == (3, 500)
