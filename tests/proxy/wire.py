"""Both ends of the wire, down to the byte: an upstream that does what a script says, and a client that hides nothing."""

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

DEADLINE = 5.0
"""Real seconds that any wait in these tests may take."""

MODEL = "acme/llama-3-abc123"
"""What the upstream calls the model of the route ``chat``."""


async def until(condition: Callable[[], object], seconds: float = DEADLINE) -> None:
    """Until the condition holds; it is looked at every millisecond."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        await asyncio.sleep(0.001)


def parse_head(head: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """First line, and fields with lower-case names."""
    first, *lines = head.split(b"\r\n")
    fields = [line.partition(b":") for line in lines if line]
    return first, [(name.lower(), value.strip()) for name, _, value in fields]


@dataclass
class Message:
    """A request or an answer, as it came in."""

    start: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes

    def values(self, name: bytes) -> list[bytes]:
        """All values of a field."""
        return [value for key, value in self.fields if key == name]

    @property
    def status(self) -> int:
        """Of an answer."""
        return int(self.start.split(b" ")[1])

    @property
    def json(self) -> dict[str, object]:
        """The body as an object."""
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value

    @property
    def code(self) -> object:
        """Of an error in the OpenAI shape, which must also be in the header."""
        error = self.json["error"]
        assert isinstance(error, dict)
        assert set(error) == {"message", "type", "param", "code"}
        assert self.values(b"x-scaler-error") == [str(error["code"]).encode()]
        return error["code"]


class BrokenOffError(Exception):
    """An answer ended before its framing said so."""


async def read_chunks(reader: asyncio.StreamReader) -> bytes:
    """A chunked body without trailers; strict."""
    body: list[bytes] = []
    while True:
        size = int(await reader.readuntil(b"\r\n"), 16)
        data = await reader.readexactly(size + 2)
        assert data.endswith(b"\r\n")
        if size == 0:
            return b"".join(body)
        body.append(data[:-2])


async def read_message(reader: asyncio.StreamReader, *, bodiless: bool = False) -> Message:
    """One message. Raises BrokenOffError where it is not whole; EOFError where there is none."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        raise (BrokenOffError if error.partial else EOFError) from error
    message = Message(*parse_head(head), b"")
    lengths, codings = message.values(b"content-length"), message.values(b"transfer-encoding")
    assert len(lengths) + len(codings) <= 1, "more than one field frames the body"
    is_answer = message.start.startswith(b"HTTP/")
    try:
        if bodiless or (is_answer and message.status in (100, 204, 304)):
            pass
        elif codings:
            assert codings == [b"chunked"]
            message.body = await read_chunks(reader)
        elif lengths:
            message.body = await reader.readexactly(int(lengths[0]))
        elif is_answer:
            message.body = await reader.read()
    except (asyncio.IncompleteReadError, ConnectionResetError) as error:
        raise BrokenOffError from error
    return message


@dataclass
class Visit:
    """One connection at the upstream."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    requests: list[Message]
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def request(self) -> Message:
        """The next request, noted in `Upstream.requests`; EOFError when there is none."""
        message = await read_message(self.reader)
        self.requests.append(message)
        return message

    async def send(self, *pieces: bytes) -> None:
        """Bytes, each piece in a write of its own."""
        for piece in pieces:
            if self.writer.is_closing():
                raise ConnectionResetError
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def gone(self) -> None:
        """Wait until the other side has closed."""
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(self.reader.read(), DEADLINE) == b""


Script = Callable[[Visit], Awaitable[None]]

ANSWER = json.dumps({"choices": [{"message": {"content": "hi"}}], "usage": {"prompt_tokens": 3, "completion_tokens": 5}}).encode()


def answer(body: bytes = ANSWER, status: bytes = b"200 OK", fields: bytes = b"content-type: application/json\r\n") -> bytes:
    """A whole answer with its length."""
    return b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\n\r\n%b" % (status, fields, len(body), body)


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


async def well_behaved(visit: Visit) -> None:
    """Answers every request."""
    while True:
        await visit.request()
        await visit.send(answer())


def paced(go_on: asyncio.Event) -> Script:
    """Streams two events; the second when it may."""

    async def script(visit: Visit) -> None:
        while True:
            await visit.request()
            await visit.send(STREAM_HEAD, chunk(b"data: 1\n\n"))
            await go_on.wait()
            await visit.send(chunk(b"data: 2\n\n"), b"0\r\n\r\n")

    return script


@dataclass
class Upstream:
    """A server on loopback that treats each connection as the script says."""

    script: Script = well_behaved
    requests: list[Message] = field(default_factory=list[Message])
    visits: list[Visit] = field(default_factory=list[Visit])
    port: int = 0
    scheme: str = "http"

    @property
    def url(self) -> str:
        """Base URL for a proxy."""
        return f"{self.scheme}://127.0.0.1:{self.port}/base/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection; ends when the script does."""
        visit = Visit(reader, writer, self.requests)
        self.visits.append(visit)
        try:
            await self.script(visit)
        except (EOFError, ConnectionError, asyncio.CancelledError):
            pass  # the other side is gone, or the test is over
        finally:
            visit.closed.set()
            writer.close()


def request(
    body: bytes | None = None, *, model: str = "chat", path: bytes = b"/v1/chat/completions", fields: bytes = b"", version: bytes = b"1.1"
) -> bytes:
    """A whole request with its length."""
    if body is None:
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hello"}]}).encode()
    return b"POST %b HTTP/%b\r\nHost: proxy\r\n%bContent-Length: %d\r\n\r\n%b" % (path, version, fields, len(body), body)


@dataclass
class Client:
    """One connection to the proxy."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, *, bodiless: bool = False) -> Message:
        """The next answer; see `read_message`."""
        return await asyncio.wait_for(read_message(self.reader, bodiless=bodiless), DEADLINE)

    async def ask(self, data: bytes) -> Message:
        """Send, and await the answer."""
        await self.send(data)
        return await self.answer()

    async def rest(self) -> bytes:
        """Everything until the proxy closes."""
        return await asyncio.wait_for(self.reader.read(), DEADLINE)

    def abort(self) -> None:
        """Reset the connection."""
        self.writer.transport.abort()

    def close(self) -> None:
        """Close the connection."""
        self.writer.close()
