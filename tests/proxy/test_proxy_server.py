"""The proxy as a whole: drain, end, TLS, addresses."""

import asyncio
import contextlib
import time

import pytest
from pydantic import SecretStr, ValidationError

from scaler.proxy.meter import Meter
from scaler.proxy.origin import Origin
from scaler.proxy.routes import Route, RouteTable
from scaler.proxy.server import LIMITS, Proxy
from scaler.settings import ProxySettings
from tests.proxy.house import Build, House
from tests.proxy.wire import ANSWER, BrokenOffError, paced, request, until


async def test_it_says_where_it_listens_and_counts_what_it_serves(house: House) -> None:
    ((host, port),) = house.proxy.addresses
    assert (host, port > 0) == ("127.0.0.1", True)
    assert house.proxy.connections == 0
    clients = [await house.client() for _ in range(3)]
    await asyncio.gather(*(client.ask(request()) for client in clients))
    assert house.proxy.connections == 3
    assert dict(house.proxy.limits_hit) == dict.fromkeys(LIMITS, 0)


async def test_an_address_that_is_taken_is_an_error(house: House) -> None:
    host, port = house.proxy.addresses[0]
    second = Proxy(ProxySettings(listen=f"{host}:{port}"), "http://127.0.0.1:1/v1", SecretStr("x"), Meter(time.monotonic))
    with pytest.raises(OSError, match=r"in use"):
        await second.start()
    second.close()


async def test_a_proxy_knows_its_routes_before_it_starts(build: Build) -> None:
    proxy = Proxy(ProxySettings(listen="127.0.0.1:0"), "https://api.example.com/v1", SecretStr("x"), Meter(time.monotonic))
    table = RouteTable.of([Route("a", "x/a", frozenset())])
    proxy.set_routes(table)
    assert proxy.routes is table
    assert proxy.addresses == []
    proxy.close()


@pytest.mark.parametrize(
    ("url", "start"),
    [
        ("https://api.together.xyz/v1", b"POST /v1/completions HTTP/1.1\r\nHost: api.together.xyz\r\n"),
        ("http://127.0.0.1:8123/v1/", b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:8123\r\n"),
        ("http://[::1]:8123", b"POST /completions HTTP/1.1\r\nHost: [::1]:8123\r\n"),
    ],
)
def test_where_requests_go(url: str, start: bytes) -> None:
    assert Origin(url, SecretStr("key")).post("/completions") == start + b"Authorization: Bearer key\r\n"


def test_a_place_that_is_none() -> None:
    with pytest.raises(ValueError, match="expected an http"):
        Origin("ftp://example.com", SecretStr("key"))
    with pytest.raises(ValidationError):
        ProxySettings(upstream="http://example.com/v1")


@pytest.mark.parametrize("key", ["line\nfeed", "k\u00e9y", "k\0y"])
def test_a_key_that_cannot_stand_in_a_head_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ValueError, match="printable") as refused:
        Origin("https://example.com", SecretStr(key))
    assert key not in str(refused.value)


# Draining


async def test_a_drain_lets_streams_finish_and_takes_nothing_new(build: Build) -> None:
    go_on = asyncio.Event()
    house = await build(paced(go_on))
    (address,) = house.proxy.addresses
    streaming, idle, half, never = [await house.client() for _ in range(4)]
    await streaming.send(request())
    await streaming.reader.readuntil(b"data: 1\n\n\r\n")
    assert (await idle.ask(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")).status == 200
    await half.send(request()[:-1])
    await until(lambda: [connection._reader.phase for connection in house.proxy._context.connections].count("body") == 1)
    await until(lambda: house.proxy.connections == 4)
    draining = asyncio.create_task(house.proxy.drain(60))
    assert await idle.rest() == b""
    assert await never.rest() == b""
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address)
    await half.send(request()[-1:])  # it was there before: it is served, and told to go
    head = await half.reader.readuntil(b"\r\n\r\n")
    assert b"connection: close" in head
    assert not draining.done()
    go_on.set()
    assert (await streaming.rest()).endswith(b"data: 2\n\n\r\n0\r\n\r\n")
    assert (await half.rest()).endswith(b"0\r\n\r\n")
    await asyncio.wait_for(draining, 1)
    assert house.reading.completions["2xx"] == 2
    assert (house.proxy.connections, house.idle) == (0, 0)


async def test_a_drain_ends_at_its_deadline_and_cuts_what_is_left(build: Build) -> None:
    house = await build(paced(asyncio.Event()))
    client = await house.client()
    await client.send(request())
    await client.reader.readuntil(b"data: 1\n\n\r\n")
    began = time.monotonic()
    await house.proxy.drain(0.2)
    assert 0.15 < time.monotonic() - began < 0.5
    assert house.reading.in_flight == 0
    assert house.reading.completions["aborted"] == 1
    with contextlib.suppress(ConnectionResetError):
        assert await client.rest() == b""
    await until(lambda: house.upstream.visits[0].closed.is_set() or house.upstream.visits[0].reader.at_eof())


async def test_a_drain_of_an_idle_proxy_takes_no_time(house: House) -> None:
    client = await house.client()
    await client.ask(request())
    await asyncio.wait_for(house.proxy.drain(60), 1)
    assert await client.rest() == b""
    house.proxy.close()
    house.proxy.close()


async def test_an_end_cuts_both_sides(build: Build) -> None:
    house = await build(paced(asyncio.Event()))
    client = await house.client()
    await client.send(request())
    await client.reader.readuntil(b"data: 1\n\n\r\n")
    house.proxy.close()
    with pytest.raises((BrokenOffError, EOFError, ConnectionError)):
        await client.answer()
    await until(lambda: house.upstream.visits[0].reader.at_eof() or house.upstream.visits[0].reader.exception())


async def test_small_packets_are_not_held_back(house: House) -> None:
    client = await house.client()
    assert (await client.ask(request())).body == ANSWER
    (downstream,) = house.proxy._context.connections
    (upstream,) = house.proxy._context.pool._idle
    for connection in (downstream, upstream):
        raw = connection.transport.get_extra_info("socket")
        assert raw.getsockopt(6, 1) != 0  # IPPROTO_TCP, TCP_NODELAY


async def test_the_credential_is_nowhere_to_be_seen(house: House) -> None:
    client = await house.client()
    got = await client.ask(request(model="sk-ours"))
    assert got.code == "model_not_found"
    context = house.proxy._context
    shown = [repr(thing) for thing in (house.proxy, context.pool, context.pool._origin, context.settings, *context.connections)]
    assert not any("sk-ours" in text for text in shown)
