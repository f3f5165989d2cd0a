"""Whatever comes: the whole client's side on a transport of memory, so that thousands of connections take a second.

A find is added to `tests.proxy.corpus` or to the examples here. `FUZZ_EXAMPLES=100000` looks longer.
"""

import asyncio
import json
import os
import socket
import time
from collections.abc import Iterable
from typing import Any

import pytest
from httptools import HttpRequestParser
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from scaler.proxy.downstream import ClientConnection
from scaler.proxy.meter import Meter
from scaler.proxy.routes import Route, RouteTable
from scaler.proxy.server import Proxy
from scaler.proxy.upstream import UpstreamConnection
from scaler.proxy.usage import UsageTap
from scaler.settings import ProxySettings
from tests.proxy.corpus import ANSWERED, FORWARDED, HIDDEN, REFUSED
from tests.proxy.test_proxy_strictness import MUTATION, mutated
from tests.proxy.wire import MODEL, Message, read_message, request

LOOK = settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", "150")), deadline=None)


class Memory(asyncio.Transport):
    """A transport whose other end is a list."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__({"socket": connection, "peername": ("127.0.0.1", 1)})
        self.out = bytearray()
        self.ended = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.ended, "written after the end"
        self.out += data

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.ended = True

    abort = close

    def is_closing(self) -> bool:
        return self.ended

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


class Echo(Memory):
    """The transport to an upstream that answers at once and remembers what it was sent."""

    ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

    def __init__(self, connection: socket.socket, sent: list[bytes]) -> None:
        super().__init__(connection)
        self._sent = sent
        self.protocol: asyncio.Protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._sent.append(bytes(data))
        self.protocol.data_received(self.ANSWER)

    def writelines(self, pieces: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(pieces))


class Sandbox:
    """A proxy that never listens."""

    def __init__(self, **options: int) -> None:
        self.meter = Meter(time.monotonic)
        self.proxy = Proxy(ProxySettings.model_validate(options), "http://127.0.0.1:1/v1", SecretStr("sk-ours"), self.meter)
        self.proxy.set_routes(RouteTable.of([Route("chat", MODEL, frozenset({"chat"}))]))
        self.context = self.proxy._context
        self.sent: list[bytes] = []

    def talk(self, data: bytes, lengths: list[int]) -> list[Message]:
        """One client's bytes, cut so; its answers. Afterwards nothing may be left of it."""
        with socket.socket() as connection, socket.create_server(("127.0.0.1", 0)) as silent:
            self._connect(Echo(silent, self.sent))
            transport = Memory(connection)
            client = ClientConnection(self.context)
            client.connection_made(transport)
            at = number = 0
            while at < len(data):
                client.data_received(data[at : at + lengths[number % len(lengths)]])
                at, number = at + lengths[number % len(lengths)], number + 1
            client.eof_received()
            client.connection_lost(None)
            self.context.pool.close()
        assert (self.context.room.taken, self.meter.read("chat").in_flight, len(self.context.connections)) == (0, 0, 0)
        assert not self.context.addresses
        return asyncio.run(_answers(bytes(transport.out), data))

    def _connect(self, echo: Echo) -> None:
        """An idle connection to the upstream."""
        echo.protocol = connection = UpstreamConnection(self.context.pool, 65_536)
        connection.connection_made(echo)
        self.context.pool.put(connection)


async def _answers(out: bytes, data: bytes) -> list[Message]:
    """Every answer, whole; but for the leave to go on. An answer to HEAD has no body, which only the request tells."""
    reader = asyncio.StreamReader()
    reader.feed_data(out)
    reader.feed_eof()
    found = []
    try:
        while True:
            found.append(await read_message(reader, bodiless=b"HEAD" in data and not _has_body(reader)))
    except EOFError:
        return [message for message in found if message.status != 100]


def _has_body(reader: asyncio.StreamReader) -> bool:
    """Whether behind the next head there is something that is no head."""
    buffered = bytes(reader._buffer)  # type: ignore[attr-defined]  # (a test may look)
    rest = buffered.partition(b"\r\n\r\n")[2]
    return bool(rest) and not rest.startswith(b"HTTP/1.1 ")


def understood(raw: bytes) -> tuple[list[bytes], int]:
    """What llhttp reads in bytes that went upstream: names of fields, and how many requests."""

    class Reader:
        def __init__(self) -> None:
            self.names: list[bytes] = []
            self.whole = 0

        def on_header(self, name: bytes, _: bytes) -> None:
            self.names.append(name.lower())

        def on_message_complete(self) -> None:
            self.whole += 1

    reader = Reader()
    HttpRequestParser(reader).feed_data(raw)
    return reader.names, reader.whole


ALL = [raw for raw in {**REFUSED, **FORWARDED, **ANSWERED}.values() if len(raw) < 1000]
TALK = st.lists(st.sampled_from(ALL) | st.binary(max_size=30), min_size=1, max_size=4)


@LOOK
@given(TALK, st.lists(MUTATION, max_size=3), st.lists(st.integers(1, 200), min_size=1, max_size=5))
@example([HIDDEN] * 4, [], [1])
def test_whatever_a_client_sends_is_answered_and_what_goes_upstream_is_one_clear_request(
    raws: list[bytes], mutations: list[tuple[int, int, bytes]], lengths: list[int]
) -> None:
    sandbox = Sandbox()
    answers = sandbox.talk(mutated(b"".join(raws), mutations), lengths)
    assert len([answer for answer in answers if answer.status == 200 and answer.body == b"{}"]) == len(sandbox.sent)
    assert all(answer.status in (200, 400, 404, 405, 408, 413, 414, 417, 431, 505) for answer in answers)
    assert all(not answer.values(b"connection") for answer in answers[:-1])
    for raw in sandbox.sent:
        names, whole = understood(raw)
        assert whole == 1
        assert names.count(b"content-length") + names.count(b"transfer-encoding") == 1
        assert names.count(b"host") == names.count(b"authorization") == 1


@LOOK
@given(TALK, st.lists(MUTATION, max_size=2), st.lists(st.integers(1, 200), min_size=1, max_size=5))
def test_how_it_is_cut_changes_no_request(raws: list[bytes], mutations: list[tuple[int, int, bytes]], lengths: list[int]) -> None:
    data = mutated(b"".join(raws), mutations)
    at_once, in_pieces = Sandbox(), Sandbox()
    whole, cut = at_once.talk(data, [len(data) or 1]), in_pieces.talk(data, lengths)
    assert at_once.sent == in_pieces.sent
    assert [answer.status for answer in whole if answer.status == 200] == [answer.status for answer in cut if answer.status == 200]


@LOOK
@given(TALK, st.integers(200, 400), st.integers(1, 60))
def test_tight_limits_hold_whatever_comes(raws: list[bytes], head: int, body: int) -> None:
    sandbox = Sandbox(max_head_bytes=1024, max_body_bytes=body, max_buffered_bytes=body, max_url_bytes=head)
    for answer in sandbox.talk(b"".join(raws), [7]):
        assert answer.status in (200, 400, 404, 405, 408, 413, 414, 417, 431, 503, 505)
    assert all(len(raw.partition(b"\r\n\r\n")[2]) <= body + len(MODEL) for raw in sandbox.sent)


# The route that a name finds

NAMES = st.text(max_size=5) | st.sampled_from(["chat", MODEL, "Chat", "chat ", " chat", "chat\0", "ch\u0430t", "../chat", "other"])


@LOOK
@given(NAMES, st.booleans())
@example("\ud800", True)
def test_a_name_finds_its_route_or_none(name: str, escape: bool) -> None:  # noqa: FBT001 (a drawn value)
    body = json.dumps({"model": name}, ensure_ascii=escape).encode(errors="replace")
    sandbox = Sandbox()
    (answer,) = sandbox.talk(request(body), [10_000])
    asked = json.loads(body)["model"]
    assert answer.status == (200 if asked in ("chat", MODEL) else 404)
    assert len(sandbox.sent) == (answer.status == 200)


@LOOK
@given(
    st.lists(st.tuples(st.text(min_size=1, max_size=3), st.text(min_size=1, max_size=3), st.frozensets(NAMES, max_size=3)), max_size=4),
    NAMES,
)
def test_a_table_finds_what_it_was_made_of(parts: list[tuple[str, str, frozenset[str]]], name: str) -> None:
    routes = [Route(*part) for part in parts]
    claims = [{route.key, route.model, *route.names} for route in routes]
    if any(first & second for i, first in enumerate(claims) for second in claims[:i]):
        with pytest.raises(ValueError, match="names both"):
            RouteTable.of(routes)
        return
    found = RouteTable.of(routes).find(name)
    assert (found is not None) == any(name in claim for claim in claims)
    assert found is None or name in {found.key, found.model, *found.names}


@pytest.mark.parametrize("depth", [100, 10_000, 1_000_000])
def test_a_body_of_brackets_is_answered_soon(depth: int) -> None:
    body = b'{"model":"chat","x":' + b"[" * depth + b"]" * depth + b"}"
    sandbox = Sandbox()
    began = time.monotonic()
    (answer,) = sandbox.talk(request(body), [1 << 20])
    assert answer.status in (200, 400)
    assert time.monotonic() - began < 2


# The scanner of streams

TEXTS = st.text(max_size=12) | st.sampled_from(
    ['"usage":{"prompt_tokens":9', 'content":"', "\n\n", "data: ", "[DONE]", '\\"', "\u2028", "\U0001f600"]
)
DELTA = st.dictionaries(st.sampled_from(["content", "reasoning_content", "role", "refusal"]), TEXTS | st.none(), max_size=3)
SPACES = st.sampled_from([(",", ":"), (", ", ": ")])


USAGE = st.none() | st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.booleans())
STYLE = st.tuples(SPACES, st.booleans(), st.sampled_from([b"\n\n", b"\r\n\r\n"]))


@LOOK
@given(st.lists(DELTA, max_size=40), USAGE, STYLE, st.lists(st.integers(1, 300), min_size=1, max_size=6))
def test_a_stream_is_counted_as_its_json_says_however_it_is_cut(
    deltas: list[dict[str, Any]], usage: tuple[int, int, bool] | None, style: tuple[tuple[str, str], bool, bytes], lengths: list[int]
) -> None:
    separators, escape, end = style
    events: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": delta}], "usage": None} for delta in deltas]
    if usage is not None:
        counts = [("prompt_tokens", usage[0]), ("completion_tokens", usage[1]), ("total_tokens", sum(usage[:2]))]
        events.append({"choices": [], "usage": dict(counts if usage[2] else reversed(counts))})
    lines = [json.dumps(event, separators=separators, ensure_ascii=escape).encode() for event in events]
    data = b"".join(b"data: %b%b" % (line, end) for line in [*lines, b"[DONE]"])
    tap, at, number = UsageTap(streamed=True), 0, 0
    while at < len(data):
        tap.feed(data[at : at + lengths[number % len(lengths)]])
        at, number = at + lengths[number % len(lengths)], number + 1
    texts = sum(bool(delta.get(name)) for delta in deltas for name in ("content", "reasoning_content"))
    assert tap.usage() == ((usage[0], usage[1]) if usage else (0, texts))
