"""Both ends of the benchmark, each a process of its own: an upstream that does as little as possible, and the clients.

``python -m tests.bench.proxy.traffic stub CERTIFICATE KEY`` prints the port for http and the one for https, and serves for ever;
``... LOAD PORT COUNT`` runs one load against a port and prints its figures.
"""

import asyncio
import json
import ssl
import statistics
import sys
from collections.abc import Callable
from time import perf_counter
from typing import cast

import uvloop

MODEL = "acme/llama-abc123"
CHUNKS_PER_SECOND = 50
STREAM_SECONDS = 3.0
REQUEST_SECONDS = 2.0
BURST_CHUNKS = 400
BURST_ROUNDS = 12
DEADLINE_SECONDS = 60.0

LONG_TURNS = 1000
LOOKED_AT = 4096
"""Bytes of a body among which the stub finds what is wanted, if it is not the usual."""
PROMPT = "Say something about the weather of the day. " * 20
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": MODEL,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": PROMPT}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 200, "completion_tokens": 200, "total_tokens": 400},
    }
).encode()
DELTA = {"index": 0, "delta": {"content": " weather"}, "finish_reason": None}
CHUNK = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": MODEL, "choices": [DELTA]}
EVENT = b"data: %b\n\n" % json.dumps(CHUNK).encode()
DONE = b"data: [DONE]\n\n"
COMMON = b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\nx-request-id: 0123456789abcdef\r\nx-ratelimit-limit: 3000\r\nserver: stub\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\n%bcontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n" % COMMON


def request(kind: str, *, stream: bool) -> bytes:
    """A chat request of about 1 KB with the header fields of a usual client; ``user`` tells the stub what is wanted.

    A ``long`` one is a conversation of `LONG_TURNS` turns, 0.9 MB.
    """
    turns = [{"role": "user", "content": PROMPT}] * (LONG_TURNS if kind == "long" else 1)
    asked = {"model": MODEL, "messages": turns, "stream": stream, "user": kind}
    body = json.dumps(asked).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: proxy\r\nAccept-Encoding: identity\r\nConnection: keep-alive\r\n"
        b"Accept: application/json\r\nContent-Type: application/json\r\nUser-Agent: OpenAI/Python 2.0.0\r\nX-Stainless-Lang: python\r\n"
        b"X-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\nX-Stainless-Runtime: CPython\r\nAuthorization: Bearer sk-client\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )


def framed(data: bytes) -> bytes:
    """One chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Stub(asyncio.Protocol):
    """The upstream: answers at once, in chunks at a pace, or in chunks as fast as they go."""

    def __init__(self) -> None:
        """One connection."""
        self._transport: asyncio.Transport
        self._seen = bytearray()
        self._least = 0  # bytes of the request that is coming in, once that can be told

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer each complete request; a body may come in chunks."""
        self._seen += data
        if len(self._seen) < self._least:
            return
        body = self._seen.find(b"\r\n\r\n") + 4
        if body < 4:
            return
        head = self._seen[:body].lower()
        if b"transfer-encoding: chunked" in head:
            if not self._seen.endswith(b"0\r\n\r\n"):
                return
            self._least = len(self._seen)
        else:
            self._least = body + int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or b"0")
            if len(self._seen) < self._least:
                return
        asked = bytes(self._seen[body : min(self._least, body + LOOKED_AT)])
        del self._seen[: self._least]
        self._least = 0
        self._answer(asked)

    def _answer(self, body: bytes) -> None:
        if b'"paced"' in body:
            self._transport.write(STREAM_HEAD + framed(EVENT))
            asyncio.get_running_loop().call_later(1 / CHUNKS_PER_SECOND, self._stream, int(STREAM_SECONDS * CHUNKS_PER_SECOND) - 1)
        elif b'"burst"' in body:
            self._transport.write(STREAM_HEAD + framed(EVENT) * BURST_CHUNKS + framed(DONE) + b"0\r\n\r\n")
        elif b'"first"' in body:
            self._transport.write(STREAM_HEAD + framed(EVENT) + framed(DONE) + b"0\r\n\r\n")
        elif b'"hold"' in body:
            self._transport.write(STREAM_HEAD + framed(EVENT) * 20)
        else:
            start = b"HTTP/1.1 200 OK\r\n%bcontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            self._transport.write(start % (COMMON, len(ANSWER)) + ANSWER)

    def _stream(self, left: int) -> None:
        if self._transport.is_closing():
            return
        if left == 0:
            self._transport.write(framed(DONE) + b"0\r\n\r\n")
            return
        self._transport.write(framed(EVENT))
        asyncio.get_running_loop().call_later(1 / CHUNKS_PER_SECOND, self._stream, left - 1)


async def serve(certificate: str, key: str) -> None:
    """The upstream's process."""
    loop = asyncio.get_running_loop()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    servers = [await loop.create_server(Stub, "127.0.0.1", 0, ssl=tls, backlog=1024) for tls in (None, context)]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)  # noqa: T201 (tells the parent)
    await asyncio.Event().wait()


class Caller(asyncio.Protocol):
    """One connection of the load: sends the same request again as soon as the answer is complete."""

    def __init__(self, request: bytes, end: bytes, again: Callable[[], bool]) -> None:
        """``end``: what is among the last bytes of a whole answer, if it has no length; ``again``: whether to go on after one."""
        self._request = request
        self._end = end
        self._again = again
        self._tail = b""
        self._left = 0
        self._sent_at = 0.0
        self._begun = False
        self._transport: asyncio.Transport
        self.first: list[float] = []
        self.whole: list[float] = []
        self.events = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast("asyncio.Transport", transport)

    def ask(self) -> None:
        """Begin."""
        self._tail, self._begun, self._sent_at = b"", False, perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Count, and ask again."""
        events = data.count(b"data: {")
        self.events += events
        if events and not self._begun:
            self._begun = True
            self.first.append(perf_counter() - self._sent_at)
        if not self._is_whole(data):
            return
        self.whole.append(perf_counter() - self._sent_at)
        if self._again():
            self.ask()
        elif not self.done.done():
            self.done.set_result(None)

    def _is_whole(self, data: bytes) -> bool:
        """Whether these were the last bytes of the answer: by its end, or by its length."""
        if self._end:
            self._tail = self._tail[-64:] + data
            return self._end in self._tail[-len(self._end) - 64 :]
        if not self._left:
            head, _, body = data.partition(b"\r\n\r\n")
            self._left = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]) - len(body)
        else:
            self._left -= len(data)
        return not self._left

    def connection_lost(self, exc: Exception | None) -> None:
        """Too early, unless it was done."""
        if not self.done.done():
            self.done.set_exception(exc or ConnectionResetError("the server closed the connection"))


def quantiles(seconds: list[float]) -> list[float]:
    """p50 and p99, in milliseconds."""
    cuts = statistics.quantiles(seconds, n=100) if len(seconds) > 1 else seconds * 99
    return [1000 * cuts[49], 1000 * cuts[98]] if seconds else [0.0, 0.0]


async def call(load: str, port: int, count: int) -> None:
    """The clients, on so many connections.

    requests, long:  one after the other; ``first``: the same with short streams; ``once``: one each, all at once
    paced, burst:    so many streams at once; ``hold``: they stay open
    """
    loop = asyncio.get_running_loop()
    is_over = False
    left = BURST_ROUNDS * count

    def again() -> bool:
        nonlocal left
        left -= 1
        return not is_over if load in ("requests", "long", "first") else load == "burst" and left >= count

    is_plain = load in ("requests", "long", "once")
    end = b"" if is_plain else b"data: [DONE]"
    asked = request(load, stream=not is_plain)
    callers = [(await loop.create_connection(lambda: Caller(asked, end, again), "127.0.0.1", port))[1] for _ in range(count)]
    began = loop.time()
    for index, caller in enumerate(callers):
        caller.ask()
        if load == "paced":
            await asyncio.sleep(max(0.0, began + (index + 1) / count / CHUNKS_PER_SECOND - loop.time()))
    if load == "hold":
        await asyncio.sleep(1.0)
        print(json.dumps({"streams": sum(caller.events > 0 for caller in callers)}), flush=True)  # noqa: T201 (tells the parent)
        await loop.run_in_executor(None, sys.stdin.readline)
        return
    if load in ("requests", "long", "first"):
        await asyncio.sleep(REQUEST_SECONDS)
        is_over = True
    await asyncio.wait_for(asyncio.gather(*(caller.done for caller in callers)), DEADLINE_SECONDS)
    latencies = quantiles([seconds for caller in callers for seconds in (caller.whole if is_plain else caller.first)])
    number = sum(len(caller.whole) if is_plain else caller.events for caller in callers)
    print(json.dumps({"count": number, "seconds": loop.time() - began, "latencies": latencies}), flush=True)  # noqa: T201 (tells the parent)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["stub", certificate, key]:
            uvloop.run(serve(certificate, key))
        case [load, port, count]:
            uvloop.run(call(load, int(port), int(count)))
