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
from starlette.types import Receive, Scope, Send

from scaler.clock import Clock
from scaler.settings import WorldSettings, host_port
from scaler.world.control import Control, ManagementFault
from scaler.world.inference import PATHS, Inference
from scaler.world.live import World
from scaler.world.management import Management
from scaler.world.refusals import Refused
from scaler.world.wire import UNAUTHORIZED, ClientGone, error_object, headers_of, send_bytes, send_json, status_of

FAULTY = ("/v1/endpoints", "/v1/hardware", "/v1/clusters/", "/v3/")
"""What faults of the management API apply to."""
GARBAGE = b"<html><body>Bad gateway</body></html>"
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
        self._routes = Starlette(
            routes=[*Management(world).routes, *self._control.routes],
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
            await self._inference.serve(PATHS[path], scope, receive, send)
        elif (fault := self._control.management_fault) is None or not path.startswith(FAULTY):
            await self._routed(scope, receive, send)
        else:
            await self._suffer(fault, scope, receive, send)

    async def _routed(self, scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(ClientGone):
            await self._routes(scope, receive, send)

    async def _suffer(self, fault: ManagementFault, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a management call as the fault demands."""
        if fault.delay_seconds is not None:
            await self._world.clock.sleep(fault.delay_seconds)
        if fault.status is not None:
            await send_json(send, fault.status, error_object(fault.status, "Emulated fault", "emulated_fault"))
        elif fault.garbage:
            await send_bytes(send, 200, GARBAGE, b"text/html")
        else:
            await self._routed(scope, receive, send)


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
        http="httptools",
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
