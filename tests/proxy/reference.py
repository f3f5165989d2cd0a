"""The same routes once more, as plainly as they can be written: raw ASGI on uvicorn, the aiohttp client, no limits, no metering.

What the request path does with two parsers and a hundred shortcuts must be what this does with two libraries and none.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import uvicorn
from starlette.types import Receive, Scope, Send

from scaler.proxy.routes import RouteTable

OPERATIONS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length"}
NOT_FORWARDED = {"host", "expect", "authorization", "api-key", "x-api-key", "cookie", "forwarded", "x-real-ip", "http2-settings"}
NOT_RETURNED = {"alt-svc", "set-cookie", "strict-transport-security"}
Fields = list[tuple[str, str]]


def end_to_end(fields: Iterable[tuple[bytes, bytes]], dropped: set[str], prefixes: tuple[str, ...]) -> Fields:
    """The fields that are for the other end."""
    texts = [(name.decode().lower(), value.decode("utf-8", "surrogateescape").strip()) for name, value in fields]
    listed = {token.strip().lower() for name, value in texts if name == "connection" for token in value.split(",")}
    dropped = dropped | listed | HOP_BY_HOP
    return [(name, value) for name, value in texts if name not in dropped and not name.startswith(prefixes)]


class Reference:
    """A proxy to one upstream."""

    def __init__(self, client: aiohttp.ClientSession, upstream: str, api_key: str, table: RouteTable) -> None:
        self._client = client
        self._upstream = upstream
        self._api_key = api_key
        self._table = table

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        assert scope["type"] == "http"
        body = await _body(receive)
        if scope["path"] == "/v1/models" and scope["method"] in ("GET", "HEAD"):
            models = [{"id": route.key, "object": "model", "created": 0, "owned_by": "scaler"} for route in self._table.routes]
            await _say(send, 200, {"object": "list", "data": models})
        elif scope["path"] not in OPERATIONS:
            await _refuse(send, 404, "unknown_url")
        elif scope["method"] != "POST":
            await _refuse(send, 405, "method_not_allowed")
        else:
            await self._route(scope, body, send)

    async def _route(self, scope: Scope, body: bytes, send: Send) -> None:
        try:
            asked = json.loads(body.decode(), parse_constant=lambda _: json.loads(""))
        except ValueError:
            asked = None
        if not isinstance(asked, dict):
            await _refuse(send, 400, "invalid_json")
        elif not isinstance(asked.get("model"), str):
            await _refuse(send, 400, "model_missing", "model")
        elif (route := self._table.find(asked["model"])) is None:
            await _refuse(send, 404, "model_not_found", "model")
        else:
            await self._pass_on(scope, json.dumps(asked | {"model": route.model}).encode(), send)

    async def _pass_on(self, scope: Scope, body: bytes, send: Send) -> None:
        fields = end_to_end(scope["headers"], NOT_FORWARDED, ("proxy-", "x-forwarded-", "x-scaler-"))
        fields = [(name, value) for name, value in fields if "_" not in name] + [("authorization", f"Bearer {self._api_key}")]
        url = self._upstream + scope["path"].removeprefix("/v1")
        try:
            async with self._client.post(url, data=body, headers=fields, allow_redirects=False) as answer:
                returned = end_to_end(answer.raw_headers, NOT_RETURNED, ("proxy-", "x-scaler-"))
                await _begin(send, answer.status, [*returned, *_length(answer)])
                async for piece in answer.content.iter_any():
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body"})
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientResponseError, aiohttp.ClientOSError):
            await _refuse(send, 502, "upstream_broken")


def _length(answer: aiohttp.ClientResponse) -> Fields:
    bodiless = answer.status in (204, 304)
    return [("content-length", answer.headers["content-length"])] if "content-length" in answer.headers and not bodiless else []


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message["body"])
        if not message.get("more_body"):
            return body


async def _begin(send: Send, status: int, fields: Fields) -> None:
    raw = [(name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in fields]
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def _say(send: Send, status: int, value: Any, fields: Fields | None = None) -> None:  # noqa: ANN401 (JSON)
    body = json.dumps(value).encode()
    await _begin(send, status, [("content-type", "application/json"), ("content-length", str(len(body))), *(fields or [])])
    await send({"type": "http.response.body", "body": body})


async def _refuse(send: Send, status: int, code: str, param: str | None = None) -> None:
    await _say(send, status, {"error": {"code": code, "param": param}}, [("x-scaler-error", code)])


@asynccontextmanager
async def reference(upstream: str, api_key: str, table: RouteTable) -> AsyncIterator[int]:
    """Serves on a port of loopback."""
    skipped = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
    async with aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=skipped, cookie_jar=aiohttp.DummyCookieJar()) as client:
        app = Reference(client, upstream, api_key, table)
        config = uvicorn.Config(app, http="httptools", ws="none", lifespan="off", log_config=None, server_header=False, date_header=False)
        config.load()
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server.lifespan = config.lifespan_class(config)
            await server.startup([listener])
            ticking = asyncio.create_task(server.main_loop())
            try:
                yield listener.getsockname()[1]
            finally:
                server.should_exit = True
                await ticking
                await server.shutdown([listener])
