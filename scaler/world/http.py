"""The world's only face: the provider's HTTP API, management and inference, as the real clients speak it.

It adds nothing but HTTP. Inference is raw ASGI because that is where the load is; the rest is routed by Starlette.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from scaler.clock import Clock
from scaler.settings import WorldSettings, host_port
from scaler.world.control import Control
from scaler.world.faults import HANG_UP, Side, suffer
from scaler.world.inference import PATHS, Inference
from scaler.world.live import World
from scaler.world.management import Management
from scaler.world.openapi import document
from scaler.world.refusals import Refused
from scaler.world.v2.routes import Routes
from scaler.world.wire import UNAUTHORIZED, ClientGone, error_object, headers_of, send_json, status_of

FAULTY = ("/v1/endpoints", "/v1/hardware", "/v1/clusters/", "/v2/", "/v3/")
"""What faults of the management API apply to."""
KEEPALIVE_SECONDS = 75
"""Idle connections are kept this long, in real seconds."""
GRACE_SECONDS = 2
"""Real seconds that clients get to take their last bytes when the server ends."""
MAX_CONNECTIONS = 10_000


class Face:
    """The ASGI application."""

    def __init__(self, world: World) -> None:
        """Shows this world."""
        self._world = world
        self._inference = Inference(world)
        self._control = Control(world)
        routes = [*Management(world).routes, *Routes(world).routes, *self._control.routes]
        described = document(routes)
        routes.append(Route("/x/openapi.json", lambda _: JSONResponse(described), methods=["GET"]))
        self._routes = Starlette(
            routes=routes,
            exception_handlers={Refused: _refused, HTTPException: _unroutable, Exception: _broken},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        path: str = scope["path"]
        if path.startswith("/x/"):
            await self._routed(scope, receive, send)
        elif not _authorized(scope):
            await send_json(send, UNAUTHORIZED, error_object(UNAUTHORIZED, "Missing or invalid API key", "invalid_api_key"))
        elif scope["method"] == "POST" and path in PATHS:
            await self._exposed("inference", self._inferred, scope, receive, send)
        elif path.startswith(FAULTY):
            await self._exposed("management", self._routed, scope, receive, send)
        else:
            await self._routed(scope, receive, send)

    async def _exposed(self, side: Side, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """One call that a fault may strike."""
        fault = self._control.faults.strike(side, scope["method"], scope["path"], self._world.now())
        if fault is None:
            await app(scope, receive, send)
        else:
            await suffer(fault, app, scope, receive, send, clock=self._world.clock)

    async def _inferred(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._inference.serve(PATHS[scope["path"]], scope, receive, send)

    async def _routed(self, scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(ClientGone):
            await self._routes(scope, receive, send)


def _authorized(scope: Scope) -> bool:
    """Any key will do, but there must be one."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, key = value.partition(b" ")
            return bool(scheme.lower() == b"bearer" and key.strip())
    return False


async def _refused(_: Request, refusal: Exception) -> Response:
    if not isinstance(refusal, Refused):
        raise refusal
    return _error(status_of(refusal), str(refusal), refusal.code)


async def _unroutable(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return _error(status, f"There is no {request.method} {request.url.path}")


async def _broken(_: Request, __: Exception) -> Response:
    """The traceback goes to the log, Starlette raises it again after this answer."""
    return _error(500, "Internal error of the emulator")


def _error(status: int, message: str, code: str | None = None) -> Response:
    headers = {name.decode(): value.decode() for name, value in headers_of(status)}
    return JSONResponse(error_object(status, message, code), status, headers)


class _Server(uvicorn.Server):
    """uvicorn without a hand on the process's signals: ending is the caller's business."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Connection(HttpToolsProtocol):
    """uvicorn's connection, which lets the application hang up on a client."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {HANG_UP: self.transport.close}  # type: ignore[dict-item] # (ASGI's own type knows no functions)


def bind(listen: str) -> socket.socket:
    """A listening socket on ``HOST:PORT``. Raises `OSError`."""
    host, port = host_port(listen)
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048)


def url_of(listener: socket.socket) -> str:
    """The base URL of a listening socket, without a path."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve(
    settings: WorldSettings,
    clock: Clock,
    *,
    sockets: list[socket.socket] | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Run a world and its face until cancelled; requests in flight then fail, visibly, as in any outage.

    ``sockets`` are listening sockets to take over instead of ``settings.listen``; ``ready`` is called with the base URL (no path) once
    requests are accepted. Raises `OSError` when it cannot listen and `Refused` when the settings contradict the catalog.
    """
    world = World(settings, clock)
    listeners = sockets or [bind(settings.listen)]
    for listener in listeners:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited by connections; asyncio alone leaves Nagle's 40 ms on
    url = url_of(listeners[0])
    config = uvicorn.Config(
        Face(world),
        http=_Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=KEEPALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = _Server(config, lambda: ready(url) if ready else None)
    async with asyncio.TaskGroup() as group:
        driver = group.create_task(world.run())
        await _until_cancelled(server, listeners, world)
        driver.cancel()


async def _until_cancelled(server: uvicorn.Server, listeners: list[socket.socket], world: World) -> None:
    """Serve; on cancellation end in good order before it goes on."""
    serving = asyncio.ensure_future(server.serve(sockets=listeners))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        world.end()
        server.should_exit = True
        await serving
        raise
