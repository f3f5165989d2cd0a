"""A proxy before a scripted upstream."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from scaler.proxy.meter import Meter
from scaler.proxy.readings import Reading
from scaler.proxy.server import Proxy
from tests.proxy.wire import Client, Upstream


@dataclass
class House:
    """A proxy before a scripted upstream, and everything one wants to know of them."""

    upstream: Upstream
    proxy: Proxy
    meter: Meter
    clients: list[Client] = field(default_factory=list[Client])

    async def client(self, address: str = "127.0.0.1") -> Client:
        """A connection from this address."""
        host, port = self.proxy.addresses[0]
        client = Client(*await asyncio.open_connection(host, port, limit=1 << 20, local_addr=(address, 0)))
        self.clients.append(client)
        return client

    @property
    def reading(self) -> Reading:
        return self.meter.read("chat")

    @property
    def other(self) -> Reading:
        return self.meter.read("other")

    @property
    def limits_hit(self) -> dict[str, int]:
        """Those that were hit at all."""
        return {limit: count for limit, count in self.proxy.limits_hit.items() if count}

    @property
    def idle(self) -> int:
        """Connections in the upstream's pool."""
        return len(self.proxy._context.pool._idle)


async def leave(house: House) -> None:
    """Close everything; whatever happened, nothing may be left in flight."""
    for client in house.clients:
        client.close()
    house.proxy.close()
    for visit in house.upstream.visits:
        with contextlib.suppress(AttributeError):  # asyncio 3.11 forgets its loop when a closing transport has flushed
            visit.writer.transport.abort()
    await asyncio.sleep(0.01)
    assert house.reading.in_flight == 0
    assert house.reading.waiting == 0
    assert house.proxy.connections == 0


Build = Callable[..., Awaitable[House]]
"""Takes a script for the upstream and settings for the proxy; see the fixture ``build``."""
