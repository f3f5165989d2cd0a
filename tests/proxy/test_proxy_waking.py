"""An endpoint sleeps, is called, wakes and proves it: what becomes of the requests meanwhile."""

import asyncio
import json
import time

import pytest

from scaler.proxy.routes import Route, Standing
from scaler.settings import WakeSettings
from tests.proxy.house import Build, House
from tests.proxy.sleeper import EVENTS, Sleeper, ask, gate, route, stands, tell
from tests.proxy.wire import MODEL, BrokenOffError, Client, Visit, answer, parse_head, read_chunks, until

ASLEEP, WAKING, READY = Standing.ASLEEP, Standing.WAKING, Standing.READY


async def hold(house: House, *requests: bytes) -> list[Client]:
    """Send each on a connection of its own, and see it held before the next."""
    clients = []
    for data in requests:
        waiting = gate(house).waiting
        clients.append(await house.client())
        await clients[-1].send(data)
        await until(lambda before=waiting: gate(house).waiting > before)  # type: ignore[misc] # (mypy infers no defaults of lambdas)
    return clients


async def test_a_burst_is_one_call_and_is_let_in_by_order_and_room_once_a_probe_has_passed(build: Build) -> None:
    sleeper = Sleeper(seconds=0.005)
    house = await build(sleeper)
    tell(house, route(ASLEEP, probe_seconds=10))
    clients = await hold(house, *(ask(number) for number in range(40)))
    call = gate(house).call
    assert (gate(house).wakes, gate(house).held, call and call.requests) == (1, 40, 40)
    assert (house.reading.in_flight, house.reading.waiting) == (40, 40)  # what the policy sees as demand
    await until(lambda: sleeper.probes == 1)
    sleeper.awake = True
    tell(house, route(WAKING))
    tell(house, route(READY))
    assert (sleeper.served, sleeper.refused) == ([], 0)  # the provider's word is no proof
    house.proxy._context.gates["chat"].prove()
    answers = await asyncio.gather(*(client.answer() for client in clients))
    assert {message.status for message in answers} == {200}
    assert all(float(message.values(b"x-scaler-held-seconds")[0]) >= 0 for message in answers)
    assert sorted(map(int, sleeper.served)) == list(range(40))
    assert all(abs(int(mark) - place) < 4 for place, mark in enumerate(sleeper.served))  # those let in together may race
    assert sleeper.most == 4
    assert gate(house).call is None
    assert (gate(house).waiting, gate(house).waiting_bytes, gate(house).hold_seconds.count) == (0, 0, 40)


async def test_started_is_not_ready_until_a_probe_says_so(build: Build) -> None:
    sleeper = Sleeper(refusal=answer(b"{}", b"503 Service Unavailable"))
    house = await build(sleeper)
    asleep = route(ASLEEP)
    tell(house, asleep)
    (client,) = await hold(house, ask())
    tell(house, stands(asleep, READY))
    await until(lambda: sleeper.probes >= 3)
    assert (sleeper.refused, gate(house).waiting, gate(house).proven) == (0, 1, False)
    sleeper.awake = True
    assert (await client.answer()).status == 200
    probes = sleeper.probes
    assert (await client.ask(ask())).values(b"x-scaler-held-seconds") == []  # an open gate leaves no trace
    await asyncio.sleep(0.05)
    assert sleeper.probes == probes


async def test_a_probe_opens_even_when_the_provider_still_says_that_it_sleeps(build: Build) -> None:
    sleeper = Sleeper()
    house = await build(sleeper)
    asleep = route(ASLEEP)
    tell(house, asleep)
    (client,) = await hold(house, ask())
    sleeper.awake = True
    assert (await client.answer()).status == 200
    tell(house, asleep)  # the controller is down or the provider is slow
    assert (await client.ask(ask())).status == 200


async def test_an_endpoint_that_is_ready_when_first_seen_needs_no_proof_and_one_that_falls_asleep_does(build: Build) -> None:
    sleeper = Sleeper(awake=True)
    house = await build(sleeper)
    ready = route(READY)
    tell(house, ready)
    client = await house.client()
    assert (await client.ask(ask())).status == 200
    assert sleeper.probes == 0
    sleeper.awake = False
    tell(house, stands(ready, ASLEEP))
    (held,) = await hold(house, ask())
    await until(lambda: sleeper.probes > 0)
    held.close()


async def test_the_providers_word_is_enough_where_probes_are_not_wanted(build: Build) -> None:
    sleeper = Sleeper()
    house = await build(sleeper)
    tell(house, waking := route(WAKING, probe=False))
    (client,) = await hold(house, ask())
    sleeper.awake = True
    tell(house, stands(waking, READY))
    assert (await client.answer()).status == 200
    assert sleeper.probes == 0


async def test_who_waits_is_let_go_when_nothing_is_known_any_longer(build: Build) -> None:
    sleeper = Sleeper()
    house = await build(sleeper)
    tell(house, route(ASLEEP, probe_seconds=10))
    clients = await hold(house, *(ask(number) for number in range(6)))
    tell(house, route(None))
    assert {(await client.answer()).status for client in clients} == {400}  # the upstream's own word


@pytest.mark.parametrize("said", [READY, WAKING])
async def test_a_model_that_refuses_the_probe_itself_is_there_if_the_provider_says_so(build: Build, said: Standing) -> None:
    house = await build(sleeper := Sleeper())  # it answers 400, as one that sleeps does
    tell(house, asleep := route(ASLEEP))
    (client,) = await hold(house, ask())
    tell(house, stands(asleep, said))
    probes = sleeper.probes
    await until(lambda: sleeper.probes >= probes + 3 or gate(house).proven)
    assert gate(house).proven == (said is READY)
    client.close()


async def test_probes_ask_for_all_that_clients_ask_for(build: Build) -> None:
    async def chats_only(visit: Visit) -> None:
        while True:
            message = await visit.request()
            await visit.send(answer() if b"chat" in message.start else answer(b"{}", b"404 Not Found"))

    house = await build(chats_only)
    tell(house, route(WAKING))
    mistaken, client = await house.client(), await house.client()
    await mistaken.send(ask().replace(b"/v1/chat/completions", b"/v1/embeddings"))
    assert (await client.ask(ask())).status == 200
    assert (await mistaken.answer()).status == 404


async def test_the_queue_has_a_length(build: Build) -> None:
    house = await build(Sleeper())
    tell(house, route(ASLEEP, max_held=3, remaining=120))
    held = await hold(house, ask(), ask(), ask())
    client = await house.client()
    started = time.monotonic()
    refused = await client.ask(ask())
    assert time.monotonic() - started < 0.5
    assert (refused.status, refused.code, refused.values(b"retry-after")) == (503, "hold_full", [b"120"])
    held[1].close()
    await until(lambda: gate(house).waiting == 2)
    await hold(house, ask())
    assert gate(house).sheds["hold_full"] == 1


async def test_the_queue_has_a_size(build: Build) -> None:
    house = await build(Sleeper())
    size = len(ask("y" * 100).partition(b"\r\n\r\n")[2]) + len(MODEL) - len("chat")  # as it goes upstream
    tell(house, route(ASLEEP, max_held_bytes=2 * size))
    await hold(house, ask("y" * 100), ask("y" * 99))
    assert gate(house).waiting_bytes == 2 * size - 1
    refused = await (await house.client()).ask(ask("y" * 2))
    assert refused.code == "hold_full"


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_whoever_gives_up_leaves_at_once_and_costs_nothing(build: Build, how: str) -> None:
    sleeper = Sleeper()
    house = await build(sleeper)
    tell(house, route(ASLEEP, probe_seconds=10))
    clients = await hold(house, *(ask(number, stream=True, wake="keepalive" if number % 2 else "") for number in range(10)))
    started = time.monotonic()
    for client in clients[1:]:
        getattr(client, how)()
    await until(lambda: gate(house).waiting == 1)
    assert time.monotonic() - started < 1
    assert (house.reading.in_flight, house.reading.completions["aborted"], gate(house).waiting_bytes) == (
        1,
        9,
        len(ask(0, stream=True).partition(b"\r\n\r\n")[2]) + len(MODEL) - 4,
    )
    sleeper.awake = True
    house.proxy._context.gates["chat"].prove()
    assert (await clients[0].answer()).status == 200
    assert sleeper.served == ["0"]


async def test_who_waits_too_long_is_told_why(build: Build) -> None:
    house = await build(Sleeper())
    tell(house, route(WAKING, at=time.monotonic(), hold_seconds=0.1, remaining=90))
    late = await (await house.client()).ask(ask())
    assert (late.status, late.code) == (504, "hold_timeout")
    assert b"the endpoint of chat is starting; it should serve within" in late.body
    assert (house.limits_hit, gate(house).sheds["hold_timeout"], house.reading.completions["5xx"]) == ({"hold_timeout": 1}, 1, 1)


async def test_failing_fast_says_honestly_when_to_come_again(build: Build) -> None:
    house = await build(Sleeper())
    client = await house.client()
    tell(house, route(ASLEEP, remaining=200, at=time.monotonic() - 100))
    asleep = await client.ask(ask(wake="fail"))
    assert (asleep.status, asleep.code, asleep.values(b"retry-after")) == (503, "endpoint_waking", [b"200"])  # the start has not begun
    tell(house, route(WAKING, remaining=200, at=time.monotonic() - 100))
    assert (await client.ask(ask(wake="fail"))).values(b"retry-after") == [b"100"]
    tell(house, route(WAKING, remaining=200, at=time.monotonic() - 900))
    assert (await client.ask(ask(wake="fail"))).values(b"retry-after") == [b"1"]
    tell(house, route(WAKING))
    assert (await client.ask(ask(wake="fail"))).values(b"retry-after") == []  # nobody knows
    assert (gate(house).wakes, gate(house).sheds["endpoint_waking"], house.reading.completions["5xx"]) == (1, 4, 4)


async def test_the_header_wins_over_the_setting_and_is_checked(build: Build) -> None:
    house = await build(Sleeper())
    tell(house, route(ASLEEP, mode="fail"))
    client = await house.client()
    assert (await client.ask(ask())).status == 503
    bad = await client.ask(ask(wake="please"))
    assert (bad.status, bad.code) == (400, "invalid_request")
    assert b"x-scaler-wake: expected one of fail, fallback, hold, keepalive" in bad.body
    await hold(house, ask(wake="Hold"))
    assert house.upstream.requests == [message for message in house.upstream.requests if not message.values(b"x-scaler-wake")]


async def test_a_request_may_fall_back_to_another_model_within_its_budget(build: Build) -> None:
    sleeper = Sleeper(awake=True)
    house = await build(sleeper)
    fallback = {"model": "org/serverless", "requests_per_minute": 2}
    tell(house, route(ASLEEP, mode="fallback", fallback=fallback, remaining=60))
    client = await house.client()
    for _ in range(2):
        got = await client.ask(ask())
        assert (got.status, got.values(b"x-scaler-fallback")) == (200, [b"org/serverless"])
    third = await client.ask(ask())
    assert (third.status, third.code, third.values(b"retry-after")) == (503, "endpoint_waking", [b"60"])
    assert [message.json["model"] for message in house.upstream.requests] == ["org/serverless"] * 2
    assert (gate(house).fallbacks, gate(house).wakes) == (2, 1)
    elsewhere = house.meter.read("chat:fallback")
    assert (elsewhere.arrivals, elsewhere.completions["2xx"], house.reading.in_flight) == (2, 2, 0)


async def test_a_fallback_may_be_another_endpoint_if_that_one_serves(build: Build) -> None:
    sleeper = Sleeper(awake=True)
    house = await build(sleeper)
    chat = route(ASLEEP, fallback={"model": "small", "requests_per_day": 2})
    small = Route("small", "org/small", frozenset({"small"}))
    tell(house, chat, small)
    client = await house.client()
    got = await client.ask(ask(wake="fallback"))
    assert (got.status, got.values(b"x-scaler-fallback")) == (200, [b"small"])
    assert house.upstream.requests[-1].json["model"] == "org/small"
    assert house.meter.read("small").completions["2xx"] == 1
    tell(house, chat, Route("small", "org/small", frozenset({"small"}), readiness=chat.readiness))
    assert (await client.ask(ask(wake="fallback"))).code == "endpoint_waking"
    assert gate(house).fallbacks == 1  # who was refused did not go, and the budget is there for those who can
    tell(house, chat, small)
    assert [(await client.ask(ask(wake="fallback"))).status for _ in range(2)] == [200, 503]


async def test_without_a_fallback_the_wish_for_one_fails_fast(build: Build) -> None:
    house = await build(Sleeper())
    tell(house, route(ASLEEP))
    assert (await (await house.client()).ask(ask(wake="fallback"))).code == "endpoint_waking"


async def head_and_comment(client: Client) -> tuple[list[tuple[bytes, bytes]], bytes]:
    start, fields = parse_head(await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 5))
    assert start == b"HTTP/1.1 200 OK\r\n".strip()
    size = int(await client.reader.readuntil(b"\r\n"), 16)
    return fields, (await client.reader.readexactly(size + 2))[:-2]


async def test_a_stream_is_kept_alive_by_comments_and_then_goes_on_with_events(build: Build) -> None:
    sleeper = Sleeper()
    house = await build(sleeper)
    tell(house, route(ASLEEP, mode="keepalive", remaining=180))
    (client,) = await hold(house, ask(stream=True, fields=b"Accept-Encoding: gzip\r\n"))
    fields, comment = await head_and_comment(client)
    assert (b"content-type", b"text/event-stream") in fields
    assert (b"x-scaler-wake", b"keepalive") in fields
    assert comment == b": chat sleeps and is called; it should serve within 180 s; waiting for 0 s\n\n"
    await asyncio.sleep(0.12)
    sleeper.awake = True
    body = await read_chunks(client.reader)
    comments, _, events = body.partition(b"data: ")
    assert comments.count(b": chat ") >= 2
    assert b"data: " + events == b"".join(EVENTS)
    assert house.upstream.requests[-1].values(b"accept-encoding") == []  # the head could not say that it is compressed
    assert (await client.ask(ask())).status == 200  # and the connection is sound
    assert (house.reading.completions["2xx"], house.reading.ttft.count) == (2, 1)


async def test_what_is_not_streamed_is_held_without_comments(build: Build) -> None:
    sleeper = Sleeper()
    house = await build(sleeper)
    tell(house, route(ASLEEP))
    (client,) = await hold(house, ask(wake="keepalive"))
    await asyncio.sleep(0.1)
    sleeper.awake = True
    assert (await client.answer()).status == 200


def error_of(events: bytes) -> object:
    """The error that the last event tells."""
    return json.loads(events.split(b"\n\n")[-2].removeprefix(b"data: "))["error"]["code"]


async def broken_stream(client: Client) -> bytes:
    """All of a chunked body that ends before its end."""
    raw = await client.rest()
    assert not raw.endswith(b"0\r\n\r\n")
    return b"".join(piece for piece in raw.split(b"\r\n") if piece.startswith((b":", b"data:")))


UPSTREAMS = {
    "an error": answer(b'{"error": {}}', b"500 Internal Server Error"),
    "no stream": answer(),
    "compressed": answer(fields=b"content-type: text/event-stream\r\ncontent-encoding: gzip\r\n"),
    "nothing": b"",
}


@pytest.mark.parametrize("what", UPSTREAMS)
async def test_what_goes_wrong_after_a_comment_is_an_event_and_a_visible_break(build: Build, what: str) -> None:
    async def upstream(visit: Visit) -> None:
        await visit.request()
        await visit.send(UPSTREAMS[what])

    house = await build(upstream)
    tell(house, asleep := route(ASLEEP, mode="keepalive", probe=False))
    (client,) = await hold(house, ask(stream=True))
    await head_and_comment(client)
    tell(house, stands(asleep, READY))
    assert error_of(await broken_stream(client)) == "upstream_broken"
    assert house.reading.completions["2xx"] == 0


async def test_a_stream_that_breaks_among_its_events_is_cut_as_ever(build: Build) -> None:
    async def upstream(visit: Visit) -> None:
        await visit.request()
        await visit.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n6\r\ndata: \r\n")

    house = await build(upstream)
    tell(house, asleep := route(ASLEEP, mode="keepalive", probe=False))
    (client,) = await hold(house, ask(stream=True))
    tell(house, stands(asleep, READY))
    assert (await client.rest()).endswith(b"6\r\ndata: \r\n")  # half an event, and nothing glued to it
    assert house.reading.completions["failed"] == 1


async def test_the_deadline_of_a_stream_kept_alive_is_an_event(build: Build) -> None:
    house = await build(Sleeper())
    tell(house, route(ASLEEP, mode="keepalive", hold_seconds=0.15))
    client = await house.client()
    await client.send(ask(stream=True))
    assert error_of(await broken_stream(client)) == "hold_timeout"


async def test_a_client_that_knows_no_chunks_is_kept_alive_until_the_connection_ends(build: Build) -> None:
    sleeper = Sleeper()
    house = await build(sleeper)
    tell(house, route(ASLEEP, mode="keepalive"))
    (client,) = await hold(house, ask(stream=True, version=b"1.0"))
    sleeper.awake = True
    head, _, body = (await client.rest()).partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert body.startswith(b": chat ")
    assert body.endswith(b"".join(EVENTS))


async def test_nobody_waits_for_a_start_at_a_proxy_that_shuts_down(build: Build) -> None:
    house = await build(Sleeper())
    tell(house, route(ASLEEP, remaining=100))
    (client,) = await hold(house, ask())
    draining = asyncio.create_task(house.proxy.drain(5))
    got = await client.answer()
    assert (got.status, got.code, got.values(b"retry-after")) == (503, "shutting_down", [b"100"])
    await asyncio.wait_for(draining, 2)


async def test_a_slow_reader_gets_no_pile_of_comments(build: Build) -> None:
    house = await build(Sleeper())
    tell(house, route(ASLEEP, mode="keepalive", comment_seconds=0.001))
    (client,) = await hold(house, ask(stream=True))
    connection = next(iter(house.proxy._context.connections))
    connection.pause_writing()
    await asyncio.sleep(0.02)
    assert connection.transport.get_write_buffer_size() == 0
    connection.resume_writing()
    await head_and_comment(client)


async def test_settings_of_a_route_are_whole() -> None:
    for wake in ({"mode": "fallback"}, {"saturated": "spill"}):
        with pytest.raises(ValueError, match="fallback"):
            WakeSettings.model_validate(wake)


async def test_an_answer_cut_short_while_held_is_no_answer(build: Build) -> None:
    house = await build(Sleeper())
    tell(house, route(ASLEEP))
    (client,) = await hold(house, ask())
    house.proxy.close()
    with pytest.raises((BrokenOffError, EOFError, ConnectionError)):
        await client.answer()
