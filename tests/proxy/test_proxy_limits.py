"""Every bound at one less, at itself and at one more; every wait until its deadline."""

import asyncio
import json
import time
from http import HTTPStatus

import pytest

from scaler.proxy.context import address_of
from scaler.proxy.routes import Route, RouteTable
from tests.proxy.house import Build, House
from tests.proxy.wire import MODEL, STREAM_HEAD, Visit, answer, chunk, parse_head, request, until

LENGTH = 200


def body_of(length: int) -> bytes:
    return json.dumps({"model": "chat", "x": ""}).encode().replace(b'""', b'"%b"' % (b"y" * (length - 26)))


def head_of(length: int) -> bytes:
    head = request(b"{}", fields=b"X-Filler: \r\n").removesuffix(b"{}")
    return head.replace(b"X-Filler: ", b"X-Filler: " + b"y" * (length - len(head)))


async def test_a_body_may_have_so_many_bytes_and_is_not_read_beyond(build: Build) -> None:
    house = await build(max_body_bytes=LENGTH)
    for length in (LENGTH - 1, LENGTH):
        assert len(body_of(length)) == length
        assert (await (await house.client()).ask(request(body_of(length)))).status == 200
    client = await house.client()
    got = await client.ask(request(body_of(LENGTH + 1)).removesuffix(body_of(LENGTH + 1)))  # not a byte of the body is sent
    assert (got.status, got.code, got.values(b"connection")) == (413, "body_too_large", [b"close"])
    assert await client.rest() == b""
    assert house.limits_hit == {"body": 1}
    assert len(house.upstream.requests) == 2


async def test_a_chunked_body_is_cut_off_at_the_same_length(build: Build) -> None:
    house = await build(max_body_bytes=LENGTH)
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    for length in (LENGTH - 1, LENGTH):
        body = body_of(length)
        assert (await (await house.client()).ask(head + chunk(body[:100]) + chunk(body[100:]) + b"0\r\n\r\n")).status == 200
    client = await house.client()
    await client.send(head + chunk(body_of(LENGTH + 1))[:-2])  # refused though the body's end has not come
    assert (await client.answer()).code == "body_too_large"
    assert house.limits_hit == {"body": 1}


@pytest.mark.parametrize("pieces", [1, 3, 400])
async def test_a_head_may_have_so_many_bytes(build: Build, pieces: int) -> None:
    house = await build(max_head_bytes=2048)
    for length in (2047, 2048, 2049):
        head = head_of(length)
        assert len(head) == length
        client = await house.client()
        step = -(-length // pieces)
        for start in range(0, length, step):
            await client.send(head[start : start + step])
            await asyncio.sleep(0)
        await client.send(b"{}")
        assert (await client.answer()).code == ("head_too_large" if length > 2048 else "model_missing")
    assert house.limits_hit == {"head": 1}


async def test_a_head_is_measured_alike_behind_a_large_body(build: Build) -> None:
    house = await build(max_head_bytes=2048)
    for length, code in ((2048, "model_missing"), (2049, "head_too_large")):
        client = await house.client()
        await client.send(request(b" " * 10_000) + head_of(length) + b"{}")
        assert (await client.answer()).code == "invalid_json"
        assert (await client.answer()).code == code


async def test_a_head_may_have_so_many_fields(house: House) -> None:
    for count, status in ((127, 200), (128, 200), (129, 431)):
        client = await house.client()
        assert (await client.ask(request(fields=b"X: y\r\n" * (count - 2)))).status == status


@pytest.mark.parametrize(
    "endless",
    [
        b"POST /" + b"x" * 5000,
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 5000,
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 5000,
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Trailer: " + b"x" * 5000,
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X-Trailer: x\r\n" * 400,
    ],
)
async def test_whatever_does_not_end_is_cut_off_long_before_it_fills_memory(build: Build, endless: bytes) -> None:
    house = await build(max_head_bytes=1024)
    client = await house.client()
    for start in range(0, len(endless), 100):
        client.writer.write(endless[start : start + 100])
        await asyncio.sleep(0)
    assert (await client.answer()).code == "head_too_large"
    assert await client.rest() == b""


async def test_so_many_clients_may_be_connected(build: Build) -> None:
    house = await build(max_connections=3)
    clients = [await house.client() for _ in range(3)]
    for client in clients:
        assert (await client.ask(request())).status == 200
    with pytest.raises((EOFError, ConnectionError)):
        await (await house.client()).ask(request())
    assert (house.proxy.connections, house.limits_hit) == (3, {"connections": 1})
    clients[0].close()
    await until(lambda: house.proxy.connections == 2)
    assert (await (await house.client()).ask(request())).status == 200


async def test_so_many_clients_may_be_connected_from_one_address(build: Build) -> None:
    house = await build(max_connections_per_address=3)
    clients = [await house.client() for _ in range(3)]
    for client in clients:
        assert (await client.ask(request())).status == 200
    with pytest.raises((EOFError, ConnectionError)):
        await (await house.client()).ask(request())
    assert (await (await house.client("127.0.0.2")).ask(request())).status == 200
    assert (house.proxy.connections, house.limits_hit) == (4, {"connections_per_address": 1})
    clients[0].close()
    await until(lambda: house.proxy.connections == 3)
    assert (await (await house.client()).ask(request())).status == 200


async def test_addresses_are_forgotten_with_their_last_connection(build: Build) -> None:
    house = await build()
    for number in range(2, 20):
        (await house.client(f"127.0.0.{number}")).abort()
    await until(lambda: house.proxy.connections == 0)
    assert not house.proxy._context.addresses


@pytest.mark.parametrize(
    ("peer", "counted"),
    [
        (("203.0.113.9", 1), "203.0.113.9"),
        (("2001:db8::1", 1, 0, 0), "2001:0db8:0000:0000"),
        (("2001:db8:0:0:ffff::1", 1, 0, 0), "2001:0db8:0000:0000"),
        (("2001:db8:0:1::1", 1, 0, 0), "2001:0db8:0000:0001"),
        (("fe80::1%eth0", 1, 0, 2), "fe80:0000:0000:0000"),
        (None, "unknown"),
    ],
)
def test_a_network_of_ipv6_counts_as_one_address(peer: tuple[str, int] | None, counted: str) -> None:
    class Transport(asyncio.Transport):
        def get_extra_info(self, name: str, default: object = None) -> object:
            return peer

    assert address_of(Transport()) == counted


@pytest.mark.parametrize("pieces", [1, 7])
async def test_a_target_may_have_so_many_bytes(build: Build, pieces: int) -> None:
    house = await build(max_url_bytes=100)
    for length, status in ((99, 200), (100, 200), (101, 414)):
        target = b"/v1/completions?" + b"x" * (length - 16)
        whole = request(path=target)
        client = await house.client()
        for start in range(0, len(whole), len(whole) // pieces + 1):
            await client.send(whole[start : start + len(whole) // pieces + 1])
            await asyncio.sleep(0)
        assert (await client.answer()).status == status
    assert house.limits_hit == {"url": 1}
    assert len(house.upstream.requests) == 2


async def test_a_target_that_does_not_end_is_refused_as_such(build: Build) -> None:
    client = await (await build(max_url_bytes=100)).client()
    await client.send(b"POST /" + b"x" * 100)
    assert (await client.answer()).code == "url_too_long"
    assert await client.rest() == b""


async def silent(visit: Visit) -> None:
    """Takes the request, and says nothing."""
    while True:
        await visit.request()
        await visit.gone()


async def test_an_endpoint_may_have_so_many_requests_in_flight(build: Build) -> None:
    house = await build(silent)
    house.proxy.set_routes(
        RouteTable.of(
            [Route("chat", MODEL, frozenset({"chat"}), max_in_flight=2), Route("other-chat", "acme/other", frozenset(), max_in_flight=1)]
        )
    )
    clients = [await house.client() for _ in range(2)]
    for client in clients:
        await client.send(request())
    await until(lambda: house.reading.in_flight == 2)
    third = await house.client()
    for _ in range(2):
        got = await third.ask(request())
        assert (got.status, got.code, got.values(b"retry-after")) == (503, "endpoint_saturated", [b"1"])
    await third.send(request(model="other-chat"))  # its neighbour has seats of its own, and the refused connection is sound
    await until(lambda: house.meter.read("other-chat").in_flight == 1)
    assert house.limits_hit == {"endpoint_in_flight": 2}
    assert (house.reading.arrivals, house.reading.completions["5xx"]) == (4, 2)  # demand, though not served
    clients[0].abort()
    await until(lambda: house.reading.in_flight == 1)
    await (await house.client()).send(request())
    await until(lambda: house.reading.in_flight == 2)


# Memory of all connections together


async def test_so_many_bytes_of_bodies_may_be_held(build: Build) -> None:
    house = await build(max_body_bytes=1000, max_buffered_bytes=2000)
    first, second, third = [await house.client() for _ in range(3)]
    for client in (first, second):
        await client.send(request(body_of(1000))[:-1])
    await until(lambda: house.proxy._context.room.taken == 1998)
    await third.send(request(b"xy"))  # two more just fit
    assert (await third.answer()).code == "invalid_json"
    await third.send(request(b"xyz").removesuffix(b"xyz"))  # three are refused before they are read
    got = await third.answer()
    assert (got.status, got.code, got.values(b"retry-after"), got.values(b"connection")) == (503, "overloaded", [b"1"], [b"close"])
    first.close()
    await until(lambda: house.proxy._context.room.taken == 999)
    assert (await second.ask(request(body_of(1000))[-1:])).status == 200
    assert (await (await house.client()).ask(request(body_of(1000)))).status == 200
    assert house.limits_hit == {"buffered": 1}
    assert house.proxy._context.room.taken == 0


async def test_chunks_count_as_they_come(build: Build) -> None:
    house = await build(max_body_bytes=1000, max_buffered_bytes=1000)
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    first, second = [await house.client() for _ in range(2)]
    await first.send(head + chunk(b"x" * 600))
    await until(lambda: house.proxy._context.room.taken == 600)
    await second.send(head + chunk(b"x" * 400))
    await until(lambda: house.proxy._context.room.taken == 1000)
    await second.send(chunk(b"x"))
    assert (await second.answer()).code == "overloaded"
    assert house.proxy._context.room.taken == 600


async def test_pipelined_bodies_count_until_their_turn(build: Build) -> None:
    house = await build(silent)
    client = await house.client()
    await client.send(request() + request(body_of(500)) + request(body_of(700))[:-50])
    await until(lambda: house.proxy._context.room.taken == 1150)
    client.abort()
    await until(lambda: house.proxy.connections == 0)
    assert house.proxy._context.room.taken == 0


async def test_what_has_gone_upstream_does_not_count_while_its_answer_is_awaited(build: Build) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(answer())
        await visit.request()
        await visit.gone()

    house = await build(script)
    client = await house.client()
    await client.ask(request())
    await client.send(request(body_of(5000)))
    await until(lambda: len(house.upstream.requests) == 2)
    assert (house.proxy._context.room.taken, house.reading.in_flight) == (0, 1)


async def test_what_the_upstream_does_not_take_counts_until_the_end(build: Build) -> None:
    async def script(visit: Visit) -> None:
        visit.writer.transport.pause_reading()  # type: ignore[attr-defined]  # (a WriteTransport that also reads)
        await asyncio.sleep(60)

    house = await build(script, max_body_bytes=50_000_000)
    client = await house.client()
    body = body_of(30_000_000)
    sending = asyncio.create_task(client.send(request(body)))
    await until(lambda: house.reading.in_flight == 1)
    assert house.proxy._context.room.taken >= len(body)  # it has another name for the model now
    await sending
    client.abort()
    await until(lambda: house.reading.in_flight == 0)
    assert house.proxy._context.room.taken == 0


@pytest.mark.parametrize("count", [64, 65, 66])
async def test_so_many_requests_may_wait_for_an_earlier_answer(house: House, count: int) -> None:
    client = await house.client()
    await client.send(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n" * count)
    for _ in range(64):
        assert (await client.answer()).status == 200
    if count > 64:
        assert (await client.answer()).code == "invalid_request"
        assert await client.rest() == b""
    assert house.limits_hit == ({"pipeline": 1} if count > 64 else {})


@pytest.mark.parametrize(
    ("flood", "code"), [(b"\r\n", "head_too_large"), (b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n", "invalid_request")]
)
async def test_a_flood_behind_a_request_that_waits_is_not_kept(build: Build, flood: bytes, code: str) -> None:
    release = asyncio.Event()

    async def script(visit: Visit) -> None:
        while True:
            await visit.request()
            await release.wait()
            await visit.send(answer())

    house = await build(script)
    client = await house.client()
    await client.send(request() + request())
    await until(lambda: house.upstream.requests)
    await client.send(flood * 100_000)
    release.set()
    found = [await client.answer()]
    while (last := await client.answer()).status == 200:
        found.append(last)
    assert last.code == code
    assert len(found) == (2 if flood == b"\r\n" else 65)
    assert await client.rest() == b""
    assert len(house.upstream.requests) == 2


async def test_an_answers_head_is_bounded_too(build: Build) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        for _ in range(100):
            await visit.send(b"HTTP/1.1 200 OK\r\nX: " if not visit.closed.is_set() else b"", b"x" * 50)
        await visit.gone()

    house = await build(script, max_head_bytes=1024)
    assert (await (await house.client()).ask(request())).code == "upstream_broken"


@pytest.mark.parametrize(("count", "status"), [(7, 200), (8, 200), (9, 502)])
async def test_so_many_interim_answers_may_come_first(build: Build, count: int, status: int) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(b"HTTP/1.1 102 Processing\r\n\r\n" * count + answer())

    house = await build(script)
    assert (await (await house.client()).ask(request())).status == status


# Deadlines


@pytest.mark.parametrize("said", [b"POST", b"POST /v1/completions HTTP/1.1\r\nHost"])
async def test_a_head_that_does_not_come_is_not_awaited_for_ever(build: Build, said: bytes) -> None:
    house = await build(header_timeout_seconds=0.2)
    client = await house.client()
    began = time.monotonic()
    trickle = asyncio.create_task(drip(client.writer, said))
    got = await client.answer()
    assert (got.status, got.code) == (408, "request_timeout")
    assert 0.15 < time.monotonic() - began < 0.5
    assert await client.rest() == b""
    trickle.cancel()
    assert house.limits_hit == {"header_timeout": 1}


async def drip(writer: asyncio.StreamWriter, said: bytes) -> None:
    """A byte now and then renews no deadline."""
    for byte in said + b" /" + b"x" * 100:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.05)


async def test_a_client_that_says_nothing_is_closed_without_a_word(build: Build) -> None:
    house = await build(header_timeout_seconds=0.1)
    assert await (await house.client()).rest() == b""
    assert house.limits_hit == {"header_timeout": 1}
    assert house.other.arrivals == 0


async def test_many_deadlines_at_once_are_met_a_few_at_a_time(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scaler.proxy.server.EXPIRED_AT_ONCE", 3)
    house = await build(header_timeout_seconds=0.2)
    clients = [await house.client() for _ in range(20)]
    for client in clients:
        await client.send(b"POST")
    assert [(await client.answer()).status for client in clients] == [408] * 20
    assert house.limits_hit == {"header_timeout": 20}


async def test_a_body_that_trickles_is_not_awaited_for_ever(build: Build) -> None:
    house = await build(body_timeout_seconds=0.2)
    client = await house.client()
    whole = request()
    await client.send(whole[:-20])
    trickle = asyncio.create_task(drip(client.writer, whole[-20:-10] + b" "))
    began = time.monotonic()
    assert (await client.answer()).code == "request_timeout"
    assert time.monotonic() - began < 0.5
    trickle.cancel()
    assert house.limits_hit == {"body_timeout": 1}
    assert house.upstream.visits == []


async def test_deadlines_begin_anew_with_each_request(build: Build) -> None:
    house = await build(header_timeout_seconds=0.7, body_timeout_seconds=0.7)
    client = await house.client()
    whole = request()
    for _ in range(4):
        await client.send(whole[:10])
        await asyncio.sleep(0.2)
        await client.send(whole[10:-10])
        await asyncio.sleep(0.2)
        assert (await client.ask(whole[-10:])).status == 200
    assert house.limits_hit == {}


async def test_deadlines_begin_anew_after_an_answer_from_here(build: Build) -> None:
    house = await build(header_timeout_seconds=0.7)
    client = await house.client()
    listing = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
    await client.send(listing[:10])
    for _ in range(4):
        await asyncio.sleep(0.2)
        assert (await client.ask(listing[10:] + listing[:10])).status == 200
    assert house.limits_hit == {}


async def test_an_idle_client_is_kept_for_a_while(build: Build) -> None:
    house = await build(keepalive_seconds=0.2)
    client = await house.client()
    assert (await client.ask(request())).status == 200
    await asyncio.sleep(0.1)
    assert (await client.ask(request())).status == 200
    began = time.monotonic()
    assert await client.rest() == b""
    assert 0.15 < time.monotonic() - began < 0.5
    assert house.limits_hit == {}


async def test_an_upstream_that_cannot_be_reached(house: House) -> None:
    client = await house.client()
    origin = house.proxy._context.pool._origin
    port, origin.port = origin.port, 1  # nobody listens there
    got = await client.ask(request())
    assert (got.status, got.code) == (502, "upstream_unreachable")
    origin.port = port
    assert (await client.ask(request())).status == 200
    assert (house.reading.completions["failed"], house.reading.completions["2xx"]) == (1, 1)
    assert house.other.arrivals == 0


@pytest.mark.interpreted
async def test_an_upstream_that_takes_no_connection_in_time(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    house = await build(connect_timeout_seconds=0.2)
    cancelled = asyncio.Event()

    async def never() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    monkeypatch.setattr(house.proxy._context.pool, "connect", never)
    client = await house.client()
    await client.send(request())
    await until(lambda: house.reading.waiting == 1)
    got = await client.answer()
    assert (got.status, got.code) == (504, "connect_timeout")
    assert cancelled.is_set()
    assert house.limits_hit == {"connect_timeout": 1}
    assert house.reading.completions["failed"] == 1


async def test_an_upstream_that_says_nothing(build: Build) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.gone()

    house = await build(script, response_timeout_seconds=0.2)
    client = await house.client()
    got = await client.ask(request())
    assert (got.status, got.code) == (504, "response_timeout")
    await until(house.upstream.visits[0].closed.is_set)
    assert house.limits_hit == {"response_timeout": 1}
    await client.send(request())  # the client's own connection is sound
    assert (await client.answer()).status == 504


async def test_an_upstream_that_falls_silent_in_the_middle(build: Build) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(STREAM_HEAD)
        for _ in range(4):
            await asyncio.sleep(0.1)
            await visit.send(chunk(b"data: x\n\n"))
        await visit.gone()

    house = await build(script, response_timeout_seconds=0.2)
    client = await house.client()
    await client.send(request())
    assert (await client.rest()).count(b"data: x") == 4  # each event begins the silence anew
    assert house.limits_hit == {"response_timeout": 1}
    assert (house.reading.completions["failed"], house.reading.failures["stalled"]) == (1, 1)


async def test_an_idle_upstream_connection_is_kept_for_a_while(build: Build) -> None:
    house = await build(upstream_idle_seconds=0.2)
    client = await house.client()
    await client.ask(request())
    await asyncio.sleep(0.1)
    await client.ask(request())
    assert len(house.upstream.visits) == 1
    began = time.monotonic()
    await until(house.upstream.visits[0].closed.is_set)
    assert 0.15 < time.monotonic() - began < 0.5
    assert house.idle == 0


async def test_a_refusal_is_read_even_by_a_client_that_is_still_sending(build: Build) -> None:
    house = await build(max_body_bytes=1000)
    client = await house.client()
    sending = asyncio.create_task(client.send(request(b"x" * 3_000_000)))
    assert (await client.answer()).code == "body_too_large"
    await asyncio.wait_for(sending, 5)
    client.close()
    await until(lambda: house.proxy.connections == 0)


async def test_a_refused_client_that_never_stops_is_cut_off(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scaler.proxy.downstream.LINGER_SECONDS", 0.2)
    house = await build(max_body_bytes=1000, header_timeout_seconds=0.5)
    client = await house.client()
    await client.send(request(b"x" * 1001)[:-1])
    head, _ = parse_head(await client.rest())
    assert head == b"HTTP/1.1 413 " + HTTPStatus(413).phrase.encode()  # which Python 3.13 has renamed
    assert house.proxy.connections == 1
    await until(lambda: house.proxy.connections == 0)
