"""The openai package against the world."""

from collections.abc import AsyncIterator

import openai
import pytest

MODEL = "endpoint-ready"


@pytest.fixture
async def client(emulator_url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=emulator_url, api_key="test", max_retries=0, timeout=30) as made:
        yield made


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
    assert any(model.id.startswith("tester/mistralai/") for model in listed)


async def test_errors_are_the_clients_own_classes(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="Endpoint not found"):
        await client.completions.create(model="nobody", prompt="x")
    with pytest.raises(openai.BadRequestError, match="max_tokens"):
        await client.completions.create(model=MODEL, prompt="x", max_tokens=0)
