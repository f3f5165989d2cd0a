import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest
import uvloop
from pydantic import SecretStr

from scaler.proxy.meter import Meter
from scaler.proxy.routes import Objective, Route, RouteTable
from scaler.proxy.server import Proxy
from scaler.settings import ProxySettings
from tests.proxy.house import Build, House, leave
from tests.proxy.wire import MODEL, Script, Upstream, well_behaved

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, LoopFactory]:
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture
async def build() -> AsyncIterator[Build]:
    """Makes houses; every one is torn down, and must then be without a request in flight. No callback may have raised."""
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    async with AsyncExitStack() as stack:

        async def make(
            script: Script = well_behaved,
            *,
            objective: Objective | None = None,
            monotonic: Callable[[], float] = time.monotonic,
            server_tls: ssl.SSLContext | None = None,
            client_tls: ssl.SSLContext | None = None,
            **settings: float,
        ) -> House:
            upstream = Upstream(script)
            server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0, ssl=server_tls, limit=1 << 20)
            stack.callback(server.close)
            upstream.port = server.sockets[0].getsockname()[1]
            upstream.scheme = "https" if server_tls or client_tls else "http"
            meter = Meter(monotonic)
            options = ProxySettings.model_validate({"listen": "127.0.0.1:0", **settings})
            proxy = Proxy(options, upstream.url, SecretStr("sk-ours"), meter, client_tls)
            proxy.set_routes(RouteTable.of([Route("chat", MODEL, frozenset({"chat", "alias"}), objective or Objective())]))
            await proxy.start()
            house = House(upstream, proxy, meter)
            stack.push_async_callback(leave, house)
            return house

        yield make
    assert faults == []


@pytest.fixture
async def house(build: Build) -> House:
    """The usual one."""
    return await build()
