"""The admin server: health, metrics, status and explanations, for reading only.

    GET /livez, /healthz           200 while ticks complete in time, else 503; no token needed
    GET /readyz                    200 when requests may be sent here, else 503 with the reasons; no token needed
    GET /metrics                   Prometheus text
    GET /status                    JSON
    GET /explain/{endpoint}        JSON: the latest decisions with their arguments, newest first; ?limit=1..1000, default 20

A bearer token, where one is configured, is demanded of everything but health, unknown paths included. The Host header must name this
server, so that a page in a browser cannot reach it under a name of its own (DNS rebinding). Not offered: TLS, and protection
against clients that are slow on purpose; beyond loopback, put a proxy in front.
"""

import asyncio
import contextlib
import hmac
import http.client
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import uvicorn
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from scaler.settings import LOOPBACK, AdminSettings, host_port

HEALTH_PATHS = frozenset({"/livez", "/readyz", "/healthz"})
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (compared with, not bound to)
DEFAULT_EXPLAINED = 20
MAX_EXPLAINED = 1000
MAX_CONNECTIONS = 128
EXPLAIN_SECONDS = 10.0
SHUTDOWN_SECONDS = 2
HEALTHCHECK_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Admin:
    """What the routes show; each is asked anew for each request.

    registry:          the metrics
    tick_age:          seconds since the last completed tick
    max_tick_age:      above it the process counts as hung
    not_ready:         why requests should not be sent here, one sentence each; empty = ready
    status:            JSON-ready values for /status
    explain:           the latest ``limit`` decisions about an endpoint as JSON-ready values, None if there is no such endpoint
    """

    registry: CollectorRegistry
    tick_age: Callable[[], float]
    max_tick_age: float
    not_ready: Callable[[], Sequence[str]]
    status: Callable[[], Mapping[str, Any]]
    explain: Callable[[str, int], Awaitable[Sequence[Mapping[str, Any]] | None]]


def admin_app(admin: Admin, settings: AdminSettings) -> Starlette:
    """The routes behind the gate."""
    routes = _Routes(admin)
    app = Starlette(
        routes=[
            Route("/livez", routes.live),
            Route("/healthz", routes.live),
            Route("/readyz", routes.ready),
            Route("/metrics", routes.metrics),
            Route("/status", routes.status),
            Route("/explain/{endpoint:path}", routes.explain),
        ],
        middleware=[Middleware(Gate, settings=settings)],
        exception_handlers={HTTPException: _refuse},
    )
    app.router.redirect_slashes = False  # a redirect would repeat the client's Host header
    return app


class _Routes:
    """One method per route."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin

    async def live(self, _request: Request) -> Response:
        age, limit = self._admin.tick_age(), self._admin.max_tick_age
        live = age <= limit
        return _json({"live": live, "tick_age_seconds": round(age, 3), "max_tick_age_seconds": limit}, 200 if live else 503)

    async def ready(self, _request: Request) -> Response:
        reasons = list(self._admin.not_ready())
        return _json({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    async def metrics(self, _request: Request) -> Response:
        return Response(generate_latest(self._admin.registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    async def status(self, _request: Request) -> Response:
        return _json(self._admin.status())

    async def explain(self, request: Request) -> Response:
        limit = _limit(request.query_params.get("limit", str(DEFAULT_EXPLAINED)))
        endpoint = request.path_params["endpoint"]
        try:
            async with asyncio.timeout(EXPLAIN_SECONDS):
                decisions = await self._admin.explain(endpoint, limit)
        except TimeoutError as error:
            raise HTTPException(503, f"the store did not answer in {EXPLAIN_SECONDS:g} s") from error
        if decisions is None:
            raise HTTPException(404, "no such endpoint in the configuration")
        return _json({"endpoint": endpoint, "decisions": list(decisions)})


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_EXPLAINED)) and 1 <= int(text) <= MAX_EXPLAINED):
        raise HTTPException(400, f"limit: expected a whole number from 1 to {MAX_EXPLAINED}")
    return int(text)


def _json(body: Mapping[str, Any], status: int = 200) -> Response:
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return JSONResponse(body, status, headers=headers)


async def _refuse(_request: Request, error: Exception) -> Response:
    """Say no in the form of every other answer."""
    if not isinstance(error, HTTPException):
        raise error
    response = _json({"error": error.detail}, error.status_code)
    response.headers.update(error.headers or {})
    return response


class Gate:
    """Lets a request through that is a GET, is meant for this server, does not come from a foreign page, and knows the token."""

    def __init__(self, app: ASGIApp, *, settings: AdminSettings) -> None:
        """``settings`` say the address, more names for it, and the token."""
        self._app = app
        host, _ = host_port(settings.listen)
        self._any_address = host in WILDCARDS
        self._hosts = {name.strip("[]").lower() for name in (*LOOPBACK, host, *settings.hosts)}
        self._token = settings.token.get_secret_value().encode() if settings.token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer at the gate or pass on."""
        if scope["type"] != "http":
            return
        request = Request(scope)
        if refusal := self._refusal(request):
            response = await _refuse(request, refusal)
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, request: Request) -> HTTPException | None:
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return HTTPException(421, "the Host header does not name this server (admin.listen, admin.hosts)")
        if any(not self._is_ours(origin.partition("://")[2]) for origin in request.headers.getlist("origin")):
            return HTTPException(403, "requests of other sites' pages are refused")
        if request.method != "GET":
            return HTTPException(405, "only GET is answered here", {"allow": "GET"})
        if request.scope["path"] not in HEALTH_PATHS and not self._knows_token(request):
            return HTTPException(401, "expected 'Authorization: Bearer <admin token>'", {"www-authenticate": "Bearer"})
        return None

    def _is_ours(self, authority: str) -> bool:
        """``HOST`` or ``HOST:PORT``. Bound to all addresses, any address will do: rebinding needs a name."""
        name, colon, port = authority.rpartition(":")
        if not colon or authority.endswith("]"):
            name, port = authority, "0"
        if not port.isdigit():
            return False
        name = name.lower().removeprefix("[").removesuffix("]")
        return name in self._hosts or (self._any_address and _is_address(name))

    def _knows_token(self, request: Request) -> bool:
        if self._token is None:
            return True
        given = request.headers.getlist("authorization")
        scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode("latin-1"), self._token)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class _Server(uvicorn.Server):
    """uvicorn without its own ideas about signals: the daemon decides when to end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


async def serve_admin(app: ASGIApp, listen: str, *, listening: Callable[[int], None] | None = None) -> None:
    """Serve until cancelled, then end within `SHUTDOWN_SECONDS`.

    ``listening`` is told the port as soon as connections are accepted (port 0 in ``listen`` takes a free one).
    Raises `OSError` when the address cannot be bound.
    """
    host, port = host_port(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=MAX_CONNECTIONS) as server_socket:
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve([server_socket]))
        try:
            if listening is not None:
                listening(server_socket.getsockname()[1])
            await asyncio.shield(serving)
        finally:
            server.should_exit = True
            await asyncio.wait([serving], timeout=SHUTDOWN_SECONDS + 1)
            serving.cancel()


def healthcheck(listen: str) -> int:
    """Ask ``/livez`` of the server at ``listen``: 0 when it is well, else 1. For container health checks; waits 3 s at most."""
    host, port = host_port(listen)
    connection = http.client.HTTPConnection(WILDCARDS.get(host, host), port, timeout=HEALTHCHECK_SECONDS)
    try:
        connection.request("GET", "/livez")
        return 0 if connection.getresponse().status == http.client.OK else 1
    except (OSError, http.client.HTTPException):
        return 1
    finally:
        connection.close()
