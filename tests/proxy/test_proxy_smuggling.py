"""Messages that two servers could read differently: refused and closed, or written anew with one framing.

Every case of `tests.proxy.corpus` is one connection's bytes. They are followed by a request of our own; if a case could hide something in
its body or swallow what follows, the upstream would see other requests than the client gets answers for.
"""

import json

import pytest

from tests.proxy.corpus import ANSWERED, BROKEN, FORWARDED, HIDDEN, LAST, REFUSED, UNTRUSTED
from tests.proxy.house import Build, House
from tests.proxy.wire import STREAM_HEAD, BrokenOffError, Message, Visit, chunk, request, until


async def answers(house: House, data: bytes) -> list[Message]:
    """Everything that comes back until the proxy closes, but for the leave to go on."""
    client = await house.client()
    client.writer.write(data)
    found: list[Message] = []
    while True:
        try:
            found.append(await client.answer())
        except (EOFError, ConnectionResetError):
            return [message for message in found if message.status != 100]


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_in_doubt_is_refused_and_nothing_after_it_is_heard(house: House, case: str) -> None:
    found = await answers(house, REFUSED[case] + HIDDEN + LAST)
    (refusal,) = found
    assert 400 <= refusal.status < 600
    assert refusal.values(b"connection") == [b"close"]
    assert refusal.code
    assert house.upstream.visits == []
    assert house.other.arrivals == 1


async def test_what_came_before_it_is_answered_first(house: House) -> None:
    for number, (case, raw) in enumerate(REFUSED.items(), 1):
        found = await answers(house, request() + raw + HIDDEN + LAST)
        assert [message.status == 200 for message in found] == [True, False], case
        assert len(house.upstream.requests) == number, case


@pytest.mark.parametrize("case", FORWARDED)
async def test_what_is_clear_is_written_anew(house: House, case: str) -> None:
    found = await answers(house, FORWARDED[case] + request() + LAST)
    assert [message.status for message in found] == [200] * 3
    sent, last = house.upstream.requests
    for message in (sent, last):
        assert message.values(b"content-length") == [str(len(message.body)).encode()]
        assert message.values(b"transfer-encoding") == []
        assert message.values(b"authorization") == [b"Bearer sk-ours"]
        assert len(message.values(b"host")) == 1
        assert not any(b"_" in name or name.startswith(b"x-forwarded") for name, _ in message.fields)
    assert sent.start == b"POST /base/v1/completions HTTP/1.1"
    assert json.loads(sent.body) == {"model": last.json["model"]}


@pytest.mark.parametrize("case", ANSWERED)
async def test_what_is_answered_from_here_leaves_the_connection_sound(house: House, case: str) -> None:
    client = await house.client()
    await client.send(ANSWERED[case] + request() + LAST)
    first = await client.answer(bodiless=ANSWERED[case].startswith(b"HEAD"))
    assert first.status in (200, 400, 404)
    assert not first.values(b"connection")
    assert [(await client.answer()).status for _ in range(2)] == [200, 200]
    assert await client.rest() == b""
    assert len(house.upstream.requests) == 1


def test_the_corpus_is_as_large_as_was_promised() -> None:
    assert len(REFUSED) + len(FORWARDED) + len(ANSWERED) >= 250
    assert len(UNTRUSTED) + len(BROKEN) >= 60


@pytest.mark.parametrize("case", UNTRUSTED)
async def test_an_answer_that_cannot_be_trusted_is_not_passed_on(build: Build, case: str) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(UNTRUSTED[case])
        await visit.gone()

    house = await build(script)
    client = await house.client()
    got = await client.ask(request())
    assert (got.status, got.code) == (502, "upstream_broken")
    await until(house.upstream.visits[0].closed.is_set)
    assert (house.reading.completions["failed"], house.reading.failures["broken"]) == (1, 1)
    assert (await client.ask(request())).status == 502  # the client's connection is sound
    assert len(house.upstream.requests) == 2


@pytest.mark.parametrize("case", BROKEN)
async def test_a_broken_chunk_breaks_the_answer(build: Build, case: str) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(STREAM_HEAD + chunk(b"data: 1\n\n"), BROKEN[case])
        await visit.gone()

    house = await build(script)
    with pytest.raises(BrokenOffError):
        await (await house.client()).ask(request())
    await until(house.upstream.visits[0].closed.is_set)
    assert house.reading.failures["truncated"] == 1


async def test_the_corpus_split_at_every_byte_means_the_same(house: House) -> None:
    for case, raw in FORWARDED.items():
        before = len(house.upstream.requests)
        client = await house.client()
        for start in range(len(raw)):
            await client.send(raw[start : start + 1])
        first = await client.answer()
        assert (first if first.status != 100 else await client.answer()).status == 200, case
        assert len(house.upstream.requests) == before + 1, case
        client.close()
    for case, raw in REFUSED.items():
        if len(raw) > 1000:
            continue
        client = await house.client()
        for start in range(len(raw)):
            await client.send(raw[start : start + 1])
        await client.send(HIDDEN)  # some cases are whole only with what follows
        try:
            assert (await client.answer()).status >= 400, case
        except (EOFError, BrokenOffError) as error:
            raise AssertionError(case) from error
        client.close()
    assert len(house.upstream.requests) == len(FORWARDED)
