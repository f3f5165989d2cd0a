"""Whether the upstream can be reached. Clients are told the kind of a fault; whoever runs this wants to know what it is."""

import ssl
from collections.abc import Callable
from math import inf
from time import monotonic

from scaler.proxy.origin import Origin
from scaler.proxy.upstream import Pool, UpstreamConnection

AGAIN_SECONDS = 60.0
"""A fault is told at most this often, however many requests meet it."""


class WatchedPool(Pool):
    """A pool that tells why no connection can be made, and when one can be again."""

    def __init__(
        self,
        origin: Origin,
        *,
        idle_seconds: float,
        max_head_bytes: int,
        ssl_context: ssl.SSLContext | None = None,
        on_reach: Callable[[str], None],
    ) -> None:
        """As of `Pool`. ``on_reach`` is told what is wrong, empty when nothing is any more; it may not raise."""
        super().__init__(origin, idle_seconds=idle_seconds, max_head_bytes=max_head_bytes, ssl_context=ssl_context)
        self._on_reach = on_reach
        self._told_at = -inf
        self._fails = False  # as far as was told

    async def connect(self) -> UpstreamConnection:
        """As of `Pool`."""
        try:
            connection = await super().connect()
        except (OSError, ValueError) as error:
            self._tell(f"{type(error).__name__}: {error}")
            raise
        if self._fails:
            self._fails = False
            self._on_reach("")
        return connection

    def _tell(self, why: str) -> None:
        now = monotonic()
        if now - self._told_at >= AGAIN_SECONDS:
            self._told_at, self._fails = now, True
            self._on_reach(why)
