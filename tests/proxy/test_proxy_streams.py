"""Server-sent events pass byte for byte, however they are cut, and are measured on the way."""

import asyncio
import random
import time

import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from scaler.proxy.routes import Objective
from tests.proxy.house import Build
from tests.proxy.wire import MODEL, STREAM_HEAD, BrokenOffError, Client, Visit, answer, chunk, read_message, request, until

EVENTS = (
    b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
    b": a comment\n\n"
    b"event: x\r\ndata: \xe2\x82\xac \xf0\x9f\x98\x80 split me\r\n\r\n"
    b'data: {"choices":[{"delta":{"content":"one"}}]}\n\n'
    b'data: {"choices":[{"delta":{"content": "two"}}]}\r\r'
    b"data: " + b"x" * 30_000 + b"\n\n"
    b'data: {"choices":[{"delta":{"reasoning_content":"three"}}]}\n\n'
    b"data: [DONE]\n\ndata: no final blank line"
)
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":%d,"total_tokens":9}}\n\ndata: [DONE]\n\n'


def cuts(data: bytes, dice: random.Random, mean: int) -> list[bytes]:
    """The data in random pieces."""
    places = sorted({dice.randrange(1, len(data)) for _ in range(len(data) // mean)})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@pytest.mark.parametrize("mean", [3000, 300, 30])
async def test_a_stream_passes_byte_for_byte_however_it_is_cut(build: Build, mean: int) -> None:
    dice = random.Random(mean)

    async def script(visit: Visit) -> None:
        while True:
            await visit.request()
            in_chunks = b"".join(chunk(piece) for piece in cuts(EVENTS, dice, mean))
            for piece in cuts(STREAM_HEAD + in_chunks + b"0\r\n\r\n", dice, mean):
                await visit.send(piece)

    house = await build(script)
    client = await house.client()
    rounds = 8
    for _ in range(rounds):
        assert (await client.ask(request())).body == EVENTS
    assert len(house.upstream.visits) == 1
    assert house.reading.output_tokens == 3 * rounds
    assert house.meter.tap_errors == 0


async def test_every_byte_may_come_alone(build: Build) -> None:
    events = EVENTS.replace(b"x" * 30_000, b"x") + USAGE % 5

    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(*(bytes([byte]) for byte in STREAM_HEAD + chunk(events) + b"0\r\n\r\n"))

    house = await build(script)
    client = await house.client()
    for byte in request():
        await client.send(bytes([byte]))
    assert (await client.answer()).body == events
    assert (house.reading.input_tokens, house.reading.output_tokens) == (7, 5)


async def test_an_event_is_passed_on_as_soon_as_it_is_there(build: Build) -> None:
    go_on = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(STREAM_HEAD)
        for _ in range(20):
            await go_on.wait()
            go_on.clear()
            sent.append(time.monotonic())
            await visit.send(chunk(b"data: x\n\n"))
        await visit.send(b"0\r\n\r\n")

    sent: list[float] = []
    house = await build(script)
    client = await house.client()
    await client.send(request())
    await client.reader.readuntil(b"\r\n\r\n")  # the head does not wait for the first event
    delays = []
    for _ in range(20):
        go_on.set()
        await client.reader.readuntil(b"data: x\n\n\r\n")
        delays.append(time.monotonic() - sent[-1])
    assert sorted(delays)[10] < 0.005


async def test_figures_of_a_stream(build: Build) -> None:
    now = 100.0

    async def script(visit: Visit) -> None:
        nonlocal now
        while True:
            await visit.request()
            now += 1.0  # thinking; the head comes before the first token, and is no answer yet
            await visit.send(STREAM_HEAD)
            await until(lambda: head_seen)
            now += 2.0
            await visit.send(chunk(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'))
            await until(lambda: first_seen)
            now += 4.0
            await visit.send(chunk(USAGE % 5))
            await until(lambda: last_seen)
            now += 0.5
            await visit.send(b"0\r\n\r\n")

    house = await build(script, objective=Objective(ttft_seconds=2.9), monotonic=lambda: now)
    client = await house.client()
    head_seen = first_seen = last_seen = False
    await client.send(request())
    await client.reader.readuntil(b"\r\n\r\n")
    assert (house.reading.in_flight, house.reading.waiting, house.reading.ttft.count) == (1, 0, 0)
    head_seen = True
    await client.reader.readuntil(b"\n\n\r\n")
    assert (house.reading.ttft.count, house.reading.ttft.sum) == (1, 3.0)
    first_seen = True
    await client.reader.readuntil(b"[DONE]\n\n\r\n")
    last_seen = True
    assert await client.reader.readexactly(5) == b"0\r\n\r\n"
    reading = house.reading
    assert (reading.arrivals, reading.in_flight, reading.completions["2xx"], reading.slow) == (1, 0, 1, 1)
    assert (reading.latency.sum, reading.ttft.sum, reading.tpot.sum) == (7.5, 3.0, 4.5 / 4)
    assert (reading.input_tokens, reading.output_tokens) == (7, 5)
    assert reading.in_flight_seconds == 7.5


async def test_figures_of_other_answers(build: Build) -> None:
    answers = iter(
        [
            answer(),
            answer(b'{"error":{}}', b"429 Too Many Requests"),
            answer(b"x" * 100_000 + b',"usage": {"prompt_tokens":10,"total_tokens":10}}'),
            answer(b'{"usage":{"prompt_tokens":-1,"completion_tokens":"9"}}'),
            answer(b'{"usage":null,"n":1'),
        ]
    )

    async def script(visit: Visit) -> None:
        while True:
            await visit.request()
            await visit.send(next(answers))

    house = await build(script, objective=Objective(ttft_seconds=1e-9))
    client = await house.client()
    figures = []
    for _ in range(5):
        await client.ask(request())
        figures.append((house.reading.input_tokens, house.reading.output_tokens))
    assert figures == [(3, 5), (3, 5), (13, 5), (13, 5), (13, 5)]
    assert (house.reading.completions["2xx"], house.reading.completions["4xx"]) == (4, 1)
    assert (house.reading.latency.count, house.reading.ttft.count, house.reading.slow) == (4, 0, 0)


async def test_tokens_of_a_broken_stream_count_as_far_as_it_came(build: Build) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(STREAM_HEAD + chunk(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n') * 3)
        visit.writer.close()

    house = await build(script)
    client = await house.client()
    await client.send(request())
    await client.rest()
    assert (house.reading.output_tokens, house.reading.completions["failed"]) == (3, 1)
    assert house.reading.latency.count == 0


async def test_many_streams_at_once_do_not_mix(build: Build) -> None:
    async def script(visit: Visit) -> None:
        while True:
            mine = await visit.request()
            await visit.send(STREAM_HEAD)
            for number in range(20):
                await visit.send(chunk(b"data: %b %d\n\n" % (mine.values(b"x-number")[0], number)))
                await asyncio.sleep(0)
            await visit.send(b"0\r\n\r\n")

    house = await build(script)
    clients = [await house.client() for _ in range(50)]

    async def ask(client: Client, number: int) -> None:
        for turn in range(3):
            name = f"{number}/{turn}".encode()
            got = await client.ask(request(fields=b"X-Number: %b\r\n" % name))
            assert got.body == b"".join(b"data: %b %d\n\n" % (name, event) for event in range(20))

    await asyncio.gather(*(ask(client, number) for number, client in enumerate(clients)))
    assert house.reading.arrivals == house.reading.completions["2xx"] == 150
    assert len(house.upstream.visits) <= 50


# The client that most people use


async def completions(visit: Visit) -> None:
    """The upstream of a real client."""
    while True:
        asked = await visit.request()
        if asked.json.get("stream"):
            event = b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[%b]}\n\n'
            body = b"".join(event % b'{"index":0,"delta":{"content":"%b"}}' % word for word in (b"to", b"be", b"or"))
            await visit.send(STREAM_HEAD, chunk(body), chunk(USAGE % 3), b"0\r\n\r\n")
        else:
            message = b'{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"to be"}}'
            usage = b'{"prompt_tokens":4,"completion_tokens":2,"total_tokens":6}'
            await visit.send(
                answer(b'{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[%b],"usage":%b}' % (message, usage))
            )


async def test_the_official_client_is_content(build: Build) -> None:
    house = await build(completions)
    host, port = house.proxy.addresses[0]
    async with openai.AsyncOpenAI(base_url=f"http://{host}:{port}/v1", api_key="sk-client", max_retries=0) as client:
        whole = await client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "go on"}])
        assert whole.choices[0].message.content == "to be"
        stream = await client.chat.completions.create(model="alias", messages=[], stream=True)
        events: list[ChatCompletionChunk] = [event async for event in stream]
        assert "".join(event.choices[0].delta.content or "" for event in events if event.choices) == "tobeor"
        assert [entry.id async for entry in client.models.list()] == ["chat"]
        with pytest.raises(openai.NotFoundError) as refused:
            await client.chat.completions.create(model="gpt-5", messages=[])
        assert (refused.value.code, refused.value.param) == ("model_not_found", "model")
        assert refused.value.response.headers["x-scaler-error"] == "model_not_found"
    assert {sent.json["model"] for sent in house.upstream.requests} == {MODEL}
    assert {sent.values(b"authorization")[0] for sent in house.upstream.requests} == {b"Bearer sk-ours"}
    assert (house.reading.input_tokens, house.reading.output_tokens) == (11, 5)


async def test_the_official_client_sees_a_stream_break_off(build: Build) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(STREAM_HEAD, chunk(b'data: {"choices":[]}\n\n'))
        visit.writer.close()

    house = await build(script)
    host, port = house.proxy.addresses[0]
    async with openai.AsyncOpenAI(base_url=f"http://{host}:{port}/v1", api_key="sk-client", max_retries=0) as client:
        stream = await client.chat.completions.create(model="chat", messages=[], stream=True)
        with pytest.raises(openai.APIConnectionError):
            async for _ in stream:
                pass
        await stream.close()


async def test_these_tests_would_notice_an_answer_that_is_not_whole() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(STREAM_HEAD + chunk(b"data: x\n\n"))
    reader.feed_eof()
    with pytest.raises(BrokenOffError):
        await read_message(reader)
