"""The request path of the world: chat completions, completions and embeddings, whole or streamed."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.types import Receive, Scope, Send

from scaler.world.answers import Events, Heading, Kind, embeddings, error_event, whole
from scaler.world.live import World
from scaler.world.prompts import Prompt, embedding_inputs, read_prompt
from scaler.world.refusals import Refused
from scaler.world.replica import Job, JobState
from scaler.world.wire import ClientGone, error_object, read_body, read_object, send_bytes, send_json, send_refusal

MAX_BODY_BYTES = 16 * 1024 * 1024
STREAM_GAP = 0.004
"""Real seconds between two writes to one stream, at least: a fast clock has many events in one of them."""
LOST = error_object(503, "The endpoint stopped before the answer was complete", "endpoint_stopped")

PATHS: dict[str, Kind] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completion",
    "/v1/embeddings": "embedding",
}


class Inference:
    """Serves the three `PATHS` as raw ASGI: this is where the load is."""

    def __init__(self, world: World) -> None:
        """Requests go to this world."""
        self._world = world
        self._numbers = itertools.count(1)

    async def serve(self, kind: Kind, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, from its body to the last byte of its answer."""
        try:
            body = read_object(await read_body(receive, MAX_BODY_BYTES))
            prompt = read_prompt(kind, body, dict(scope["headers"]))
            job = self._world.submit(prompt.model, prompt.input_tokens, prompt.output_tokens, prompt.key)
        except Refused as refusal:
            await send_refusal(send, refusal)
            return
        except ClientGone:
            return
        progress = asyncio.Event()
        job.notify = progress.set
        async with self._cancelled_when_gone(job, receive):
            await progress.wait()
            heading = Heading(kind, next(self._numbers), int(self._world.unix(job.arrived_at)), prompt.model)
            if prompt.streamed:
                await self._stream(job, prompt, Events(heading), send)
            elif await self._answered(job, progress, send):
                await send_bytes(send, 200, _answer(heading, prompt, body), b"application/json")

    @contextlib.asynccontextmanager
    async def _cancelled_when_gone(self, job: Job, receive: Receive) -> AsyncIterator[None]:
        """However the exchange ends, the job ends with it."""
        watch = asyncio.ensure_future(self._watch(job, receive))
        try:
            yield
        finally:
            watch.cancel()
            self._world.cancel(job)

    async def _watch(self, job: Job, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._world.cancel(job)

    async def _answered(self, job: Job, progress: asyncio.Event, send: Send) -> bool:
        """Wait for the job's end; unless that is an answer, deal with it."""
        while not job.ended:
            progress.clear()
            await progress.wait()
        if job.state is JobState.FAILED:
            await send_json(send, 503, LOST)
        return job.state is JobState.DONE

    async def _stream(self, job: Job, prompt: Prompt, events: Events, send: Send) -> None:
        """Write tokens as they come out, those that are due together in one piece."""
        if job.first_token_at is None:
            if job.state is JobState.FAILED:
                await send_json(send, 503, LOST)
            return
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if events.opening:
            await send({"type": "http.response.body", "body": events.opening, "more_body": True})
        size = self._world.settings.replica.tokens_per_event
        sent = await self._pace(job, size, events, send)
        if job.state is JobState.DONE:
            last = _rest(prompt.output_tokens, sent, size, events)
            last += events.closing(prompt.input_tokens, prompt.output_tokens, prompt.finish_reason)
        else:
            last = error_event(LOST)
        if job.state is not JobState.CANCELLED:
            await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _pace(self, job: Job, size: int, events: Events, send: Send) -> int:
        """Write full events while the job runs; returns how many."""
        world = self._world
        sent = 0
        while True:
            now = world.catch_up()
            due = job.tokens_out(now) // size
            if job.ended:
                return sent
            if due > sent:
                body = events.content(size, due - sent)
                sent = due
                await send({"type": "http.response.body", "body": body, "more_body": True})
            next_event, end = job.token_due((sent + 1) * size, now), job.token_due(job.output_tokens + 1, now)
            if next_event is None or end is None:
                continue
            gap = STREAM_GAP * world.clock.speed
            await world.clock.sleep(max(min(next_event, end) - now, min(gap, end - now)))


def _rest(tokens: int, sent: int, size: int, events: Events) -> bytes:
    """What is left to write at the end: full events and a shorter last one."""
    full, odd = divmod(tokens - sent * size, size)
    return events.content(size, full) + (events.content(odd) if odd else b"")


def _answer(heading: Heading, prompt: Prompt, body: Mapping[str, Any]) -> bytes:
    """The body of an answer in one piece."""
    if heading.kind == "embedding":
        return embeddings(prompt.model, embedding_inputs(body), body.get("encoding_format"), prompt.input_tokens)
    return whole(heading, prompt.input_tokens, prompt.output_tokens, prompt.finish_reason)
