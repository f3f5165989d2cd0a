"""One side goes away or stops reading: the other one learns it, at once and truthfully."""

import asyncio
import os
import socket
import time
from collections.abc import Callable

import pytest

from scaler.proxy.upstream import ATTENDED_SECONDS, UpstreamConnection
from tests.proxy.house import Build, House
from tests.proxy.wire import ANSWER, MODEL, STREAM_HEAD, BrokenOffError, Client, Script, Visit, answer, chunk, request, until

AT_ONCE = 0.1
"""Seconds within which a lost client must have taken its request back."""


def reset(client: Client) -> None:
    client.abort()


def close(client: Client) -> None:
    client.close()


def half_close(client: Client) -> None:
    client.writer.write_eof()


LEAVE = pytest.mark.parametrize("leave", [reset, close, half_close])
Leave = Callable[[Client], None]


async def hold_back(visit: Visit) -> None:
    """Read the request, say nothing."""
    await visit.request()
    await visit.gone()


async def begin_json(visit: Visit) -> None:
    """Half an answer."""
    await visit.request()
    await visit.send(answer()[:-5])
    await visit.gone()


async def begin_stream(visit: Visit) -> None:
    """A stream that goes on."""
    await visit.request()
    await visit.send(STREAM_HEAD)
    while not visit.reader.at_eof():
        await visit.send(chunk(b"data: x\n\n"))
        await asyncio.sleep(0.005)


@LEAVE
@pytest.mark.parametrize(("script", "begun"), [(hold_back, False), (begin_json, True), (begin_stream, True)])
async def test_a_client_that_leaves_takes_its_request_with_it(build: Build, script: Script, begun: bool, leave: Leave) -> None:  # noqa: FBT001 (a parameter)
    house = await build(script)
    client = await house.client()
    await client.send(request())
    await until(lambda: house.upstream.requests)
    if begun:
        await client.reader.readuntil(b"\r\n\r\n")
    leave(client)
    left = time.monotonic()
    await until(lambda: house.upstream.visits[0].reader.at_eof() or house.upstream.visits[0].reader.exception())
    assert time.monotonic() - left < AT_ONCE
    await until(lambda: house.reading.in_flight == 0)
    assert house.reading.completions["aborted"] == 1
    assert sum(house.reading.completions.values()) == 1
    assert house.idle == 0


@pytest.mark.parametrize(("script", "begun"), [(hold_back, False), (begin_json, True), (begin_stream, True)])
async def test_clients_that_leave_in_numbers_are_noticed_at_once(build: Build, script: Script, begun: bool) -> None:  # noqa: FBT001 (a parameter)
    """Promise: upstream closed within 100 ms at p99."""
    house = await build(script)
    waits = []
    for number in range(30):
        client = await house.client()
        await client.send(request())
        await until(lambda: len(house.upstream.requests) > number)  # noqa: B023 (awaited before it changes)
        if begun:
            await client.reader.readuntil(b"\r\n\r\n")
        (reset, close, half_close)[number % 3](client)
        left, reader = time.monotonic(), house.upstream.visits[-1].reader
        await until(lambda: reader.at_eof() or reader.exception())  # noqa: B023 (the same)
        waits.append(time.monotonic() - left)
    await until(lambda: house.reading.in_flight == 0)
    assert house.reading.completions["aborted"] == 30
    assert sorted(waits)[len(waits) * 9 // 10] < AT_ONCE


@LEAVE
@pytest.mark.parametrize("behind", [request(), request() * 3, request() + request()[:-5], b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_a_client_that_leaves_takes_its_queue_with_it(build: Build, behind: bytes, leave: Leave) -> None:
    house = await build(hold_back)
    client = await house.client()
    await client.send(request() + behind)
    await until(lambda: house.upstream.requests)
    await asyncio.sleep(0.01)  # what is behind has arrived, too
    leave(client)
    await until(lambda: house.reading.in_flight == 0, AT_ONCE)
    await until(lambda: house.proxy.connections == 0, AT_ONCE)
    assert (house.reading.arrivals, len(house.upstream.requests)) == (1, 1)


@LEAVE
async def test_a_client_that_leaves_is_noticed_whatever_it_said_after_its_last_request(build: Build, leave: Leave) -> None:
    house = await build(hold_back)
    client = await house.client()
    await client.send(request(fields=b"Connection: close\r\n") + request() + b"and so on")
    await until(lambda: house.upstream.requests)
    leave(client)
    await until(lambda: house.reading.in_flight == 0, AT_ONCE)
    assert house.reading.arrivals == 1


async def test_a_client_that_neither_reads_nor_stays_is_not_waited_for(build: Build) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(STREAM_HEAD)
        while True:
            await visit.send(chunk(b"x" * 100_000))

    house = await build(script)
    client = await house.client()
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # (a WriteTransport that also reads)
    await client.send(request())
    await until(lambda: next(iter(house.proxy._context.connections)).writing_paused)
    half_close(client)
    await until(lambda: house.reading.in_flight == 0, AT_ONCE)


@pytest.mark.interpreted
@LEAVE
async def test_a_client_that_leaves_while_we_connect_is_not_connected_for(
    build: Build, monkeypatch: pytest.MonkeyPatch, leave: Leave
) -> None:
    house = await build()
    cancelled = asyncio.Event()

    async def slow() -> UpstreamConnection:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    monkeypatch.setattr(house.proxy._context.pool, "connect", slow)
    client = await house.client()
    await client.send(request())
    await until(lambda: house.reading.waiting == 1)
    leave(client)
    await asyncio.wait_for(cancelled.wait(), AT_ONCE)
    assert (house.reading.in_flight, house.reading.waiting, house.reading.completions["aborted"]) == (0, 0, 1)


async def test_a_connection_that_comes_to_stand_as_its_client_leaves_is_not_left_behind(build: Build) -> None:
    house = await build()
    for delay in range(40):
        client = await house.client()
        await client.send(request())
        await asyncio.sleep(delay / 20_000)
        client.abort()
    await until(lambda: house.proxy.connections == 0 and house.reading.in_flight == 0)
    assert house.reading.arrivals == sum(house.reading.completions.values())
    await until(lambda: all(visit.closed.is_set() for visit in house.upstream.visits[: -house.idle or None]))
    await until(lambda: sum(not visit.closed.is_set() for visit in house.upstream.visits) <= house.idle)


async def test_a_client_that_leaves_before_its_request_is_whole_is_none(house: House) -> None:
    client = await house.client()
    await client.send(request()[:-1])
    client.close()
    await until(lambda: house.proxy.connections == 0)
    assert house.upstream.visits == []
    assert house.reading.arrivals == 0


# The upstream breaks off

ENDS: dict[str, Callable[[Visit], None]] = {
    "end": lambda visit: visit.writer.close(),
    "reset": lambda visit: visit.writer.transport.abort(),
}


def in_chunks(body: bytes) -> bytes:
    return STREAM_HEAD + b"".join(chunk(body[start : start + 20]) for start in range(0, len(body), 20)) + b"0\r\n\r\n"


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("shape", ["length", "chunked"])
async def test_an_answer_that_breaks_off_is_seen_to_break_off_wherever_it_does(build: Build, shape: str, end: str) -> None:
    whole = answer() if shape == "length" else in_chunks(b"data: [DONE]\n\n" * 5)
    cut = 0

    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(whole[:cut])
        await asyncio.sleep(0.002)
        ENDS[end](visit)

    house = await build(script)
    begun = whole.index(b"\r\n\r\n") + 4
    cuts = [*range(0, begun, 9), *range(begun, len(whole), 4), len(whole) - 1]
    for cut in cuts:
        client = await house.client()
        await client.send(request())
        if cut < begun:
            assert (await client.answer()).code == "upstream_broken"
        else:
            with pytest.raises(BrokenOffError):
                await client.answer()
        client.close()
    assert house.reading.completions == {"2xx": 0, "3xx": 0, "4xx": 0, "5xx": 0, "aborted": 0, "failed": len(cuts)}
    reasons = {reason: count for reason, count in house.reading.failures.items() if count}
    assert reasons == {"broken": sum(cut < begun for cut in cuts), "truncated": sum(cut >= begun for cut in cuts)}
    assert len(house.upstream.requests) == len(cuts)  # none was sent twice
    assert house.idle == 0


async def test_what_came_before_the_break_is_not_lost(build: Build) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(STREAM_HEAD + chunk(b"data: 1\n\n") + chunk(b"data: 2\n\n"))
        visit.writer.close()

    house = await build(script)
    client = await house.client()
    await client.send(request())
    rest = await client.rest()
    assert b"data: 2" in rest
    assert not rest.endswith(b"0\r\n\r\n")


async def test_an_answer_without_a_frame_is_reset_where_it_breaks(build: Build) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(STREAM_HEAD + chunk(b"data: 1\n\n"))
        await asyncio.sleep(0.05)
        visit.writer.close()

    house = await build(script)
    client = await house.client()
    await client.send(request(version=b"1.0"))
    with pytest.raises(ConnectionResetError):
        await client.rest()


# Connections that must not be used again


async def test_bytes_after_an_answer_reach_nobody(build: Build) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(answer() + answer(b'{"stolen": 1}'))
        await visit.gone()

    house = await build(script)
    client = await house.client()
    for number in range(1, 4):
        assert (await client.ask(request())).body == ANSWER
        assert (len(house.upstream.visits), house.idle) == (number, 0)


async def test_bytes_on_an_idle_connection_kill_it(build: Build) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(answer())
        await asyncio.sleep(0.02)
        await visit.send(answer(b'{"stolen": 1}'))
        await visit.gone()

    house = await build(script)
    client = await house.client()
    assert (await client.ask(request())).body == ANSWER
    assert house.idle == 1
    await until(lambda: house.idle == 0)
    await until(house.upstream.visits[0].closed.is_set)
    assert (await client.ask(request())).body == ANSWER


@pytest.mark.parametrize("last_words", [b"", b"HTTP/1.1 408 Request Timeout\r\n\r\n"])
async def test_a_connection_found_dead_when_it_is_needed_is_passed_over(house: House, last_words: bytes) -> None:
    client = await house.client()
    assert (await client.ask(request())).status == 200
    descriptor = os.dup(house.upstream.visits[0].writer.get_extra_info("socket").fileno())
    with socket.socket(fileno=descriptor) as ours_at_the_upstream:
        ours_at_the_upstream.send(last_words)
        ours_at_the_upstream.shutdown(socket.SHUT_WR)
    time.sleep(2 * ATTENDED_SECONDS)  # noqa: ASYNC251 (the loop was busy elsewhere)
    assert house.idle == 1  # it has not heard of it yet, and the next request is there already
    (connection,) = house.proxy._context.connections
    connection.data_received(request())
    assert (await client.answer()).status == 200
    assert (len(house.upstream.visits), len(house.upstream.requests)) == (2, 2)
    assert house.reading.completions["2xx"] == 2


async def test_an_answer_that_comes_before_the_request_is_sent_ends_the_connection(build: Build) -> None:
    async def script(visit: Visit) -> None:
        await visit.reader.readuntil(b"\r\n\r\n")
        await visit.send(answer(b"{}", b"413 Too Large"))
        await asyncio.sleep(0.05)

    house = await build(script)
    client = await house.client()
    body = b'{"model":"%b","x":"%b"}' % (MODEL.encode(), b"x" * 12_000_000)
    assert (await client.ask(request(body))).status == 413
    assert house.idle == 0


# A client that does not read


@pytest.mark.parametrize("shape", ["length", "chunked"])
async def test_a_client_that_does_not_read_holds_its_upstream_back(build: Build, shape: str) -> None:
    total, piece = 60, b"x" * 1_000_000
    sent = 0

    async def script(visit: Visit) -> None:
        nonlocal sent
        await visit.request()
        await visit.send(STREAM_HEAD if shape == "chunked" else b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (total * len(piece)))
        for _ in range(total):
            await visit.send(chunk(piece) if shape == "chunked" else piece)
            sent += 1
        await visit.send(b"0\r\n\r\n" if shape == "chunked" else b"")

    house = await build(script)
    client = await house.client()
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # (a WriteTransport that also reads)
    await client.send(request())
    await until(lambda: sent)
    (connection,) = house.proxy._context.connections
    before = -1
    while before != sent:
        before = sent
        await asyncio.sleep(0.2)
    assert sent < 30  # what the kernel's buffers take
    assert connection.transport.get_write_buffer_size() < 700_000  # one read beyond the mark
    assert house.reading.in_flight == 1
    client.writer.transport.resume_reading()  # type: ignore[attr-defined]  # (as above)
    got = await asyncio.wait_for(client.answer(), 20)
    assert got.body == piece * total
    assert house.reading.completions["2xx"] == 1


async def test_a_client_that_never_reads_is_cut_off(build: Build) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(STREAM_HEAD)
        while True:
            await visit.send(chunk(b"x" * 100_000))

    house = await build(script, response_timeout_seconds=0.3)
    client = await house.client()
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # (a WriteTransport that also reads)
    await client.send(request())
    await until(lambda: house.upstream.visits and house.upstream.visits[0].closed.is_set())
    assert house.limits_hit == {"write_timeout": 1}
    assert house.reading.completions["aborted"] == 1


async def test_answers_of_our_own_are_not_piled_up_for_a_client_that_does_not_read(house: House) -> None:
    client = await house.client()
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # (a WriteTransport that also reads)
    flood = asyncio.create_task(client.send(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n" * 20))
    pump = asyncio.create_task(keep_asking(client))
    await until(lambda: house.other.arrivals > 1000)
    before = -1
    while before != house.other.arrivals:
        before = house.other.arrivals
        await asyncio.sleep(0.2)
    (connection,) = house.proxy._context.connections
    assert connection.transport.get_write_buffer_size() < 200_000
    pump.cancel()
    await flood


async def keep_asking(client: Client) -> None:
    while True:
        await client.send(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        await asyncio.sleep(0)
