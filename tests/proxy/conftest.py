import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
import uvloop
from pydantic import SecretStr

from scaler.proxy.meter import Meter, Reading
from scaler.proxy.routes import Objective, Route, RouteTable
from scaler.proxy.server import Proxy
from scaler.settings import ProxySettings
from tests.proxy.wire import MODEL, Client, Script, Upstream, well_behaved

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, LoopFactory]:
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@dataclass
class House:
    """A proxy before a scripted upstream, and everything one wants to know of them."""

    upstream: Upstream
    proxy: Proxy
    meter: Meter
    clients: list[Client] = field(default_factory=list[Client])

    async def client(self) -> Client:
        host, port = self.proxy.addresses[0]
        client = Client(*await asyncio.open_connection(host, port, limit=1 << 20))
        self.clients.append(client)
        return client

    @property
    def reading(self) -> Reading:
        return self.meter.read("chat")

    @property
    def other(self) -> Reading:
        return self.meter.read("other")

    @property
    def idle(self) -> int:
        """Connections in the upstream's pool."""
        return len(self.proxy._context.pool)


Build = Callable[..., Awaitable[House]]


@pytest.fixture
async def build() -> AsyncIterator[Build]:
    """Makes houses; every one is torn down, and must then be without a request in flight."""
    async with AsyncExitStack() as stack:

        async def make(
            script: Script = well_behaved,
            *,
            objective: Objective = Objective(),
            monotonic: Callable[[], float] = time.monotonic,
            server_tls: ssl.SSLContext | None = None,
            client_tls: ssl.SSLContext | None = None,
            **settings: float,
        ) -> House:
            upstream = Upstream(script)
            server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0, ssl=server_tls, limit=1 << 20)
            stack.callback(server.close)
            upstream.port = server.sockets[0].getsockname()[1]
            upstream.scheme = "https" if server_tls else "http"
            meter = Meter(monotonic)
            options = ProxySettings.model_validate({"listen": "127.0.0.1:0", **settings})
            proxy = Proxy(options, upstream.url, SecretStr("sk-ours"), meter, client_tls)
            proxy.set_routes(RouteTable.of([Route("chat", MODEL, frozenset({"chat", "alias"}), objective)]))
            await proxy.start()
            house = House(upstream, proxy, meter)
            stack.push_async_callback(leave, house)
            return house

        yield make


async def leave(house: House) -> None:
    """Close everything; whatever happened, nothing may be left in flight."""
    for client in house.clients:
        client.close()
    house.proxy.close()
    for visit in house.upstream.visits:
        visit.writer.transport.abort()
    await asyncio.sleep(0.01)
    assert house.reading.in_flight == 0
    assert house.reading.waiting == 0
    assert house.proxy.connections == 0


@pytest.fixture
async def house(build: Build) -> House:
    """The usual one."""
    return await build()
