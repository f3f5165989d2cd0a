"""scaler's side of the benchmark: the request path alone, as a worker has it. ``python -m tests.bench.proxy.ours URL CA WORKERS``."""

import asyncio
import gc
import ssl
import sys
from time import monotonic

import uvloop
from pydantic import SecretStr

from scaler.proxy.meter import Meter
from scaler.proxy.routes import Route, RouteTable
from scaler.proxy.server import Proxy
from scaler.proxy.workers import Workers
from scaler.settings import ProxySettings

TABLE = RouteTable.of([Route("llama", "acme/llama-abc123", frozenset(), max_in_flight=100_000)])


async def serve(url: str, certificate: str, workers: int) -> None:
    """Prints its port, and serves for ever."""
    key = SecretStr("sk-upstream")
    settings = ProxySettings(listen="127.0.0.1:0", workers=workers)
    if workers > 1:
        proxy: Proxy | Workers = Workers(settings, url, key, on_call=lambda _: None)
    else:
        context = ssl.create_default_context(cafile=certificate) if url.startswith("https") else None
        proxy = Proxy(settings, url, key, Meter(monotonic), context)
    proxy.set_routes(TABLE)
    await proxy.start()
    gc.freeze()
    print(proxy.addresses[0][1], flush=True)  # noqa: T201 (tells the parent)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], sys.argv[2], int(sys.argv[3])))
