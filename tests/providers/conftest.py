"""A server on loopback that does to each request what the test says, down to the byte."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from scaler.providers.http import JsonClient

KEY = "tgp_v1_canary/0123456789+abcdef"
ID = "endpoint-e6c6b82f-90f7-45b7-af39-3ca3b51d08aa"
ENDPOINT: dict[str, Any] = {
    "object": "endpoint",
    "id": ID,
    "name": "tester/mistralai/Mixtral-8x7B-Instruct-v0.1-bb04c904",
    "display_name": "mine",
    "model": "mistralai/Mixtral-8x7B-Instruct-v0.1",
    "hardware": "2x_nvidia_h100_80gb_sxm",
    "type": "dedicated",
    "owner": "tester",
    "state": "STARTED",
    "autoscaling": {"min_replicas": 1, "max_replicas": 3},
    "created_at": "2026-02-04T10:43:55.405Z",
}


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: Any


Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """``behave`` decides what happens to each request once it has been read whole, and thereby "committed"."""

    behave: Behaviour
    origin: str = ""
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    heard: bytes = b""
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while not writer.is_closing():
                self.requests.append(await self._request(reader))
                await self.behave(writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()
            self.gone.set()

    async def _request(self, reader: asyncio.StreamReader) -> Request:
        """Whatever arrives before the blank line is kept in ``heard``, be it HTTP or not."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = await reader.readexactly(1)
            self.heard += byte
            head += byte
        line, *rest = head.decode().strip().split("\r\n")
        method, target, _ = line.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (item.partition(":") for item in rest)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Request(method, target, headers, json.loads(body) if body else None)


def raw(status: int, body: object, **headers: str) -> bytes:
    """An HTTP reply; ``body`` is JSON unless it is bytes."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"HTTP/1.1 {status} Whatever", f"content-length: {len(content)}", *fields]).encode() + b"\r\n\r\n" + content


def says(data: bytes) -> Behaviour:
    """Write these bytes and close."""

    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        writer.close()

    return behave


def answers(status: int, body: object, **headers: str) -> Behaviour:
    """An ordinary reply, the only one on its connection."""
    return says(raw(status, body, connection="close", **headers))


@pytest.fixture
async def kit() -> AsyncIterator[SimpleNamespace]:
    """``serve`` a behaviour, make a ``client`` of a server, and what the tests speak of."""
    async with AsyncExitStack() as stack:

        async def serve(behave: Behaviour) -> Server:
            server = Server(behave)
            tasks: set[asyncio.Task[None]] = set()

            def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                tasks.add(asyncio.create_task(server.serve(reader, writer)))

            async def stop() -> None:
                listening.close()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await listening.wait_closed()

            listening = await asyncio.start_server(connected, "127.0.0.1", 0)
            stack.push_async_callback(stop)
            server.origin = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
            return server

        def client(server: Server | str, timeout: float = 5.0, *, reuse_connections: bool = True) -> JsonClient:
            origin = server if isinstance(server, str) else server.origin
            made = JsonClient(origin, SecretStr(KEY), timeout, reuse_connections=reuse_connections)
            stack.push_async_callback(made.close)
            return made

        yield SimpleNamespace(serve=serve, client=client, key=KEY, id=ID, endpoint=dict(ENDPOINT), raw=raw, says=says, answers=answers)
