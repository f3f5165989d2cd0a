"""The OpenAI client through every way of waking, streamed and not, against a stopped endpoint with a cold start of five minutes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import yaml
from openai.types.chat import ChatCompletionMessageParam

from scaler.demo.stage import ENDPOINT
from tests.compat.waking_page import Page
from tests.scenarios.town import Town

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello!"}]
SHORT = "short"
"""Another endpoint that sleeps, and whose clients are not patient enough for its start."""
SERVERLESS = "endpoint-serverless"
"""Runs all the time; stands for a serverless model."""
TEXT = " tok" * 3


def found(folder: Path) -> Town:
    """Two endpoints that sleep, and one that serves."""
    town = Town.found(folder, wake={"comment_seconds": 60, "fallback": {"model": SERVERLESS}})
    world = yaml.safe_load(town.stage.world_config.read_text())
    world["world"]["cold_start"] = {"median_seconds": 300, "sigma": 0.05}
    first = world["world"]["endpoints"][0]
    world["world"]["endpoints"] = [
        first | {"state": "STOPPED"},
        first | {"id": "endpoint-short", "display_name": "short", "state": "STOPPED"},
        first | {"id": SERVERLESS, "display_name": "serverless"},
    ]
    town.stage.world_config.write_text(yaml.safe_dump(world))
    daemon = yaml.safe_load(town.stage.config.read_text())
    daemon["endpoints"][ENDPOINT]["policy"]["cold_start_seconds"] = 330
    short = {"id": "endpoint-short", "wake": {"hold_seconds": 60, "comment_seconds": 20}}
    daemon["endpoints"][SHORT] = daemon["endpoints"][ENDPOINT] | short
    town.stage.config.write_text(yaml.safe_dump(daemon))
    return town


@dataclass
class User:
    """Someone with the OpenAI client, who notes what he sees; seconds are those of the endpoint's clock."""

    town: Town
    client: openai.AsyncOpenAI

    async def whole(self, wake: str, model: str = ENDPOINT) -> list[str]:
        """An answer in one piece."""
        started = self.town.clock.monotonic()
        completions = self.client.chat.completions.with_raw_response
        try:
            raw = await completions.create(model=model, messages=MESSAGES, max_tokens=3, extra_headers={"x-scaler-wake": wake})
        except openai.APIStatusError as error:
            return [self._after(started), *told(error)]
        answer = raw.parse()
        assert answer.choices[0].message.content == TEXT
        return [self._after(started), *ours(raw.headers), f"answer: {answer.choices[0].message.content!r}"]

    async def streamed(self, wake: str, model: str = ENDPOINT) -> list[str]:
        """An answer in pieces."""
        started = self.town.clock.monotonic()
        headers = {"x-scaler-wake": wake}
        try:
            stream = await self.client.chat.completions.create(
                model=model, messages=MESSAGES, max_tokens=3, stream=True, extra_headers=headers
            )
        except openai.APIStatusError as error:
            return [self._after(started), *told(error)]
        seen = [f"stream open: {self._after(started)}", *ours(stream.response.headers)]
        try:
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        except openai.APIError as error:
            return [*seen, self._after(started), *told(error)]
        assert text == TEXT
        return [*seen, f"stream complete: {self._after(started)}", f"answer: {text!r}"]

    async def wire(self) -> list[str]:
        """What goes over the wire while a stream is kept alive."""
        body = {"model": ENDPOINT, "messages": MESSAGES, "max_tokens": 3, "stream": True}
        async with (
            httpx.AsyncClient(timeout=30, trust_env=False) as client,
            client.stream("POST", f"{self.client.base_url}chat/completions", json=body, headers={"x-scaler-wake": "keepalive"}) as answer,
        ):
            lines = [line async for line in answer.aiter_lines() if line]
        comments = [line for line in lines if line.startswith(":")]
        events = [line for line in lines if not line.startswith(":")]
        assert len(comments) >= 4
        assert lines == comments + events
        return [*comments[:3], "...", events[0].partition(',"model"')[0] + ", ...", "...", events[-1]]

    def _after(self, started: float) -> str:
        return f"after {self.town.clock.monotonic() - started:.0f} s"


def ours(headers: Any) -> list[str]:  # noqa: ANN401 (httpx's and the client's own kind)
    """The fields of a head that tell what happened."""
    return [f"{name}: {value}" for name, value in headers.items() if name.startswith("x-scaler-") or name == "retry-after"]


def told(error: openai.APIError) -> list[str]:
    """An error as the client's user sees it."""
    headers = ours(error.response.headers) if isinstance(error, openai.APIStatusError) else []
    return [f"raises openai.{type(error).__name__}: {error.message}", f"code: {error.code}", *headers]


@contextlib.asynccontextmanager
async def user_of(town: Town) -> AsyncIterator[User]:
    base = f"http://{town.stage.settings.proxy.listen}/v1"
    async with openai.AsyncOpenAI(base_url=base, api_key="test", max_retries=0, timeout=30) as client:
        yield User(town, client)


async def test_every_way_of_waking_streamed_and_not(tmp_path: Path) -> None:
    town, page = found(tmp_path), Page()
    async with town.world(), town.daemon(), user_of(town) as user:
        await town.until(lambda seen: seen["provider"].get("state") == "STOPPED")
        at_once: dict[str, Callable[[], Awaitable[list[str]]]] = {
            "fail": lambda: user.whole("fail"),
            "fail-streamed": lambda: user.streamed("fail"),
            "fallback": lambda: user.whole("fallback"),
            "fallback-streamed": lambda: user.streamed("fallback"),
        }
        patient: dict[str, Callable[[], Awaitable[list[str]]]] = {
            "hold": lambda: user.whole("hold"),
            "hold-streamed": lambda: user.streamed("hold"),
            "keepalive": lambda: user.whole("keepalive"),
            "keepalive-streamed": lambda: user.streamed("keepalive"),
            "keepalive-wire": user.wire,
            "hold-timeout": lambda: user.whole("hold", SHORT),
            "keepalive-timeout": lambda: user.streamed("keepalive", SHORT),
        }
        for name, look in at_once.items():
            page.show(name, await look())
        for name, seen in zip(patient, await asyncio.gather(*(look() for look in patient.values())), strict=True):
            page.show(name, seen)
        starts = [key for (key,) in town.rows("""SELECT endpoint FROM intents WHERE action LIKE '%"kind":"start"%'""")]
        assert sorted(starts) == [ENDPOINT, SHORT]
        page.show("ready", await user.whole("fail"))
    assert page.shown == page.names
