"""scaler's side of the benchmark: the request path alone, as a worker has it. ``python -I tests/bench/proxy/ours.py URL CA WORKERS``."""

import asyncio
import gc
import ssl
import sys
from time import monotonic
from typing import TYPE_CHECKING

import uvloop
from pydantic import SecretStr

from scaler.proxy.meter import Meter
from scaler.proxy.routes import Route, RouteTable
from scaler.proxy.server import Proxy
from scaler.proxy_settings import ProxySettings

if TYPE_CHECKING:
    from scaler.proxy.workers import Workers

TABLE = RouteTable.of([Route("llama", "acme/llama-abc123", frozenset(), max_in_flight=100_000)])


def proxy_of(settings: ProxySettings, url: str, certificate: str) -> "Proxy | Workers":
    """One process or several."""
    key = SecretStr("sk-upstream")
    if settings.workers > 1:
        from scaler.proxy.workers import Workers  # noqa: PLC0415 (a worker does not have it in its memory)

        return Workers(settings, url, key, on_call=lambda _: None)
    context = ssl.create_default_context(cafile=certificate) if url.startswith("https") else None
    return Proxy(settings, url, key, Meter(monotonic), context)


async def serve(url: str, certificate: str, workers: int) -> None:
    """Prints its port, and serves for ever."""
    proxy = proxy_of(ProxySettings(listen="127.0.0.1:0", workers=workers), url, certificate)
    proxy.set_routes(TABLE)
    await proxy.start()
    gc.freeze()
    print(proxy.addresses[0][1], flush=True)  # noqa: T201 (tells the parent)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], sys.argv[2], int(sys.argv[3])))
