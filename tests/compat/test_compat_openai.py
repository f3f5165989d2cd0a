"""The openai package against the world, directly and through scaler's proxy."""

import contextlib
from collections.abc import AsyncIterator
from time import monotonic

import httpx
import openai
import pytest
from pydantic import SecretStr

from scaler.proxy.meter import Meter
from scaler.proxy.routes import Route, RouteTable
from scaler.proxy.server import Proxy
from scaler.settings import ProxySettings

MODEL = "endpoint-ready"


@contextlib.asynccontextmanager
async def scaler_before(upstream: str) -> AsyncIterator[str]:
    """The base URL of a proxy that knows the ready endpoint."""
    async with httpx.AsyncClient(base_url=upstream, headers={"authorization": "Bearer test"}) as client:
        name: str = (await client.get(f"/endpoints/{MODEL}")).json()["name"]
    meter = Meter(monotonic)
    proxy = Proxy(ProxySettings(listen="127.0.0.1:0"), upstream, SecretStr("test"), meter)
    proxy.set_routes(RouteTable.of([Route("chat", name, frozenset({MODEL}))]))
    await proxy.start()
    try:
        yield "http://{}:{}/v1".format(*proxy.addresses[0])
        reading = meter.read("chat")
        assert reading.in_flight == 0
    finally:
        proxy.close()


@pytest.fixture(params=["directly", "through scaler"])
async def client(request: pytest.FixtureRequest, emulator_url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with contextlib.AsyncExitStack() as stack:
        base = await stack.enter_async_context(scaler_before(emulator_url)) if request.param == "through scaler" else emulator_url
        yield await stack.enter_async_context(openai.AsyncOpenAI(base_url=base, api_key="test", max_retries=0, timeout=30))


async def test_chat(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hello!"}], max_completion_tokens=9)
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.content == " tok" * 9
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 9


async def test_chat_streamed(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Hello!"}],
        stream=True,
        extra_headers={"x-world-output-tokens": "30", "x-world-input-tokens": "1000"},
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == " tok" * 30
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (1000, 30)


async def test_completions(client: openai.AsyncOpenAI) -> None:
    answer = await client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=5)
    assert answer.choices[0].text == " tok" * 5
    stream = await client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=5, stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == " tok" * 5


async def test_embeddings_in_the_clients_own_encoding(client: openai.AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model=MODEL, input=["one", "two"])
    first, second = (item.embedding for item in answer.data)
    assert len(first) == len(second) == 8
    assert first != second
    assert (await client.embeddings.create(model=MODEL, input="one", encoding_format="float")).data[0].embedding == first


async def test_models(client: openai.AsyncOpenAI) -> None:
    listed = [model async for model in client.models.list()]
    assert listed
    assert all(model.object == "model" for model in listed)
    first = await client.completions.create(model=listed[0].id, prompt="x", max_tokens=1)
    assert first.choices[0].text == " tok"


async def test_errors_are_the_clients_own_classes(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match=r"nobody|not found"):
        await client.completions.create(model="nobody", prompt="x")
    with pytest.raises(openai.BadRequestError, match="max_tokens"):
        await client.completions.create(model=MODEL, prompt="x", max_tokens=0)
