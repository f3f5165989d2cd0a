"""Proof that an endpoint serves: one request of one token, answered with success. "Started" alone is no proof.

One more answer is: an endpoint that the provider says is ready, and that finds fault with the request itself, has read it. Else a model
that does not take such a request could never be proven.
"""

import asyncio
import json
from typing import Any

from scaler.proxy.heads import ResponseHead
from scaler.proxy.upstream import Pool, Receiver

DEADLINE_SECONDS = 30.0
"""Real seconds that a probe may take, connecting included."""
SUCCESS = range(200, 300)
READ_AND_REFUSED = frozenset({400, 422})

_BODIES: dict[bytes, dict[str, Any]] = {
    b"/v1/chat/completions": {"messages": [{"role": "user", "content": "."}], "max_tokens": 1},
    b"/v1/completions": {"prompt": ".", "max_tokens": 1},
    b"/v1/embeddings": {"input": "."},
}


async def probe(pool: Pool, start: bytes, path: bytes, model: str) -> int:
    """How ``model`` answers what clients ask for at ``path``: a status, 0 if there is no answer.

    ``start`` is the beginning of a head for that path.
    """
    body = json.dumps({"model": model} | _BODIES[path]).encode()
    head = b"%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (start, len(body))
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await _ask(pool, head, body)
    except (OSError, ValueError):  # TimeoutError and ssl.SSLError are OSErrors; ValueError: a name that cannot be a host's
        return 0


async def _ask(pool: Pool, head: bytes, body: bytes) -> int:
    """The answer's status; 0 if it was broken."""
    connection = pool.take() or await pool.connect()
    answer = _Answer()
    connection.send(answer, head, body)
    try:
        return await answer.status
    except asyncio.CancelledError:
        connection.abort()
        raise


class _Answer(Receiver):
    """Waits for the end of an answer and keeps its status alone."""

    def __init__(self) -> None:
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._status = 0

    def received(self, head: ResponseHead | None, body: bytes, *, complete: bool) -> None:  # noqa: ARG002 (only the status counts)
        if head is not None:
            self._status = head.status
        if complete:
            self._end(self._status)

    def broken(self, why: str, *, silent: bool) -> None:  # noqa: ARG002 (it is broken either way)
        self._end(0)

    def _end(self, status: int) -> None:
        if not self.status.done():
            self.status.set_result(status)
