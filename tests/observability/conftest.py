import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from scaler.observability.admin import Admin, admin_app, serve_admin
from scaler.settings import AdminSettings


@dataclass
class Daemon:
    """What an admin server would find around it, to be turned by hand."""

    age: float = 0.0
    store_hangs: bool = False
    reasons: list[str] = field(default_factory=list[str])
    asked: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def explain(self, endpoint: str, limit: int) -> Sequence[Mapping[str, Any]] | None:
        self.asked.append((endpoint, limit))
        if self.store_hangs:
            await asyncio.Event().wait()
        return [{"sentence": "Nothing happened."}] * limit if endpoint == "chat" else None

    def admin(self) -> Admin:
        registry = CollectorRegistry()
        Counter("scaler_test", "A counter.", registry=registry).inc()
        return Admin(
            registry=registry,
            tick_age=lambda: self.age,
            max_tick_age=30.0,
            not_ready=lambda: self.reasons,
            status=lambda: {"chat": {"ready": 1}},
            explain=self.explain,
        )


Serving = Callable[[AdminSettings], AbstractAsyncContextManager[Daemon]]


@pytest.fixture
def serving() -> Serving:
    @contextlib.asynccontextmanager
    async def serve(settings: AdminSettings) -> AsyncIterator[Daemon]:
        daemon = Daemon()
        port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        server = asyncio.create_task(serve_admin(admin_app(daemon.admin(), settings), "127.0.0.1:0", listening=port.set_result))
        try:
            daemon.port = await asyncio.wait_for(port, 5)
            yield daemon
        finally:
            server.cancel()
            await asyncio.wait_for(asyncio.gather(server, return_exceptions=True), 5)

    return serve
