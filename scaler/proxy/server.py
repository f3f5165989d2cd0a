"""The proxy as a whole: listener, shared state, deadlines, drain."""

import asyncio
import json
import socket
import ssl
from collections.abc import Callable, Mapping
from time import monotonic

from pydantic import SecretStr

from scaler.proxy.context import Context
from scaler.proxy.downstream import ClientConnection
from scaler.proxy.errand import fallback_key
from scaler.proxy.gates import Gates
from scaler.proxy.keys import Account, KeyRing
from scaler.proxy.meter import Meter
from scaler.proxy.origin import Origin
from scaler.proxy.reach import WatchedPool
from scaler.proxy.readings import GateReading
from scaler.proxy.request_reader import OPERATIONS
from scaler.proxy.routes import RouteTable
from scaler.proxy_settings import ClientKeySettings, ProxySettings, host_port

BACKLOG = 1024
LIMITS = (
    *("connections", "connections_per_address", "url", "head", "body", "buffered", "pipeline"),
    *("unauthorized", "endpoint_in_flight", "retry_budget"),
    *("header_timeout", "body_timeout", "hold_timeout", "connect_timeout", "response_timeout", "write_timeout"),
)
"""Counts and bytes, what a request may not have, then spans of time; write_timeout: a client that does not read."""
SWEEP_SECONDS = 0.5
"""Deadlines are looked at this often, or ten times within the shortest of them, whichever is more often."""

EXPIRED_AT_ONCE = 100
"""Connections whose deadlines have passed that are seen to before the traffic gets its turn again."""


class Proxy:
    """Takes inference requests and passes them to one upstream under our own credential.

    Knows a route table, swapped whole, and its own meter. Deadlines are real seconds, whatever clock the meter runs on, but for those
    of waking: a start takes its time on the endpoint's clock.
    """

    def __init__(
        self,
        settings: ProxySettings,
        upstream: str,
        api_key: SecretStr,
        meter: Meter,
        ssl_context: ssl.SSLContext | None = None,
        *,
        speed: float = 1.0,
        on_call: Callable[[str], None] = lambda _: None,
        on_reach: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Nothing listens yet.

        upstream:      base URL including ``/v1``
        ssl_context:   for https; default: verified by the system's authorities
        speed:         seconds of the meter's clock per real second
        on_call:       told the key of an endpoint that is asked for and sleeps, once until somebody has woken it
        on_reach:      told why the upstream cannot be reached, and nothing when it can be again; see `WatchedPool`
        """
        origin = Origin(upstream, api_key)
        pool = WatchedPool(
            origin,
            idle_seconds=settings.upstream_idle_seconds,
            max_head_bytes=settings.max_head_bytes,
            ssl_context=ssl_context,
            on_reach=on_reach,
        )
        starts = {path: origin.post(below) for path, below in OPERATIONS.items()}
        gates = Gates(meter, pool, starts, speed=speed, on_call=on_call)
        self._context = Context(settings, pool, meter, gates, starts)
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self.set_routes(RouteTable())

    async def start(self, listener: socket.socket | None = None) -> None:
        """Listen, on a socket that does so already if one is given. Raises OSError when the address cannot be had."""
        host, port = host_port(self._context.settings.listen)
        create_server = asyncio.get_running_loop().create_server
        if listener is None:
            self._server = await create_server(lambda: ClientConnection(self._context), host, port, backlog=BACKLOG)
        else:
            self._server = await create_server(lambda: ClientConnection(self._context), sock=listener, backlog=BACKLOG)
        self._sweep()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens: host and port; empty when it does not."""
        return [listener.getsockname()[:2] for listener in self._server.sockets] if self._server is not None else []

    @property
    def routes(self) -> RouteTable:
        """The table in force."""
        return self._context.gates.table

    def set_routes(self, table: RouteTable) -> None:
        """Swap the table; it holds from the next request on, those under way are not touched."""
        for route in table.routes:
            self._context.meter.route(route.key)
            if route.wake.fallback is not None:
                self._context.meter.route(fallback_key(route.key))
        names = [*(route.key for route in table.routes), *table.pools]
        entries = [{"id": name, "object": "model", "created": 0, "owned_by": "scaler"} for name in names]
        self._context.models = json.dumps({"object": "list", "data": entries}).encode()
        self._context.gates.use(table)

    def set_keys(self, keys: Mapping[str, ClientKeySettings]) -> None:
        """Who may ask from the next request on; anyone where nobody is named."""
        if not keys:
            self._context.keys = None
        elif self._context.keys is None:
            self._context.keys = KeyRing(keys)
        else:
            self._context.keys.use(keys)

    @property
    def connections(self) -> int:
        """Client connections that are open."""
        return len(self._context.connections)

    @property
    def gates(self) -> Mapping[str, GateReading]:
        """By the route's key, what its gate does."""
        return self._context.gates.read()

    def calls(self, key: str, seconds: float) -> int:
        """Requests that call a sleeping endpoint, and still count; see `Gate.calls`."""
        return self._context.gates[key].calls(seconds) if key in self._context.gates else 0

    @property
    def limits_hit(self) -> Mapping[str, int]:
        """How often each of `LIMITS` was hit."""
        hits = self._context.limits_hit
        hits["retry_budget"] = self._context.gates.retries_refused
        return {limit: hits[limit] for limit in LIMITS}

    @property
    def clients(self) -> Mapping[str, Account]:
        """Who may ask, by name; empty where anyone may."""
        return self._context.keys.accounts if self._context.keys is not None else {}

    async def drain(self, seconds: float, *, idle: bool = True) -> None:
        """Accept no more, let connections finish; after ``seconds`` cut what is left.

        ``idle``: close idle connections at once; else they close with their next answer, so that no request meets a closed one.
        """
        context = self._context
        context.draining = True
        if self._server is not None:
            self._server.close()
        if idle:
            for connection in tuple(context.connections):
                connection.drain()
        try:
            if context.connections:
                await asyncio.wait_for(context.empty.wait(), seconds)
        except TimeoutError:
            pass  # close cuts them
        finally:
            self.close()

    def close(self) -> None:
        """Cut everything at once. Works any number of times."""
        if self._server is not None:
            self._server.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in tuple(self._context.connections):
            connection.abort()
        self._context.gates.close()
        self._context.pool.close()

    def _sweep(self) -> None:
        """One timer for all deadlines, so that setting one is an assignment. A fault in one connection stops no other."""
        settings = self._context.settings
        shortest = min(value for name, value in settings if name.endswith("_seconds") and value > 0)
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_later(min(SWEEP_SECONDS, shortest / 10), self._sweep)
        now = monotonic()
        self._expire([connection for connection in self._context.connections if connection.is_due(now)])
        self._context.pool.expire(now)

    def _expire(self, due: list[ClientConnection]) -> None:
        """Some of those that were due, and the others after what else waits: ten thousand deadlines must not hold up the traffic."""
        loop, now = asyncio.get_running_loop(), monotonic()
        for connection in due[-EXPIRED_AT_ONCE:]:
            if connection.is_due(now):
                loop.call_soon(connection.expire)
        del due[-EXPIRED_AT_ONCE:]
        if due:
            loop.call_soon(self._expire, due)
