"""A store in a directory of its own, and nouns to put into it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from scaler.model import (
    Action,
    ActionKind,
    Alternative,
    Bounds,
    Decision,
    Endpoint,
    EndpointState,
    Inputs,
    Known,
    Power,
    Reason,
    ReasonCode,
    Sample,
    Unknown,
)
from scaler.store.sqlite import SqliteStore
from tests.store.letting_go import let_go

Opener = Callable[[], Awaitable[SqliteStore]]


def decision(at: float, endpoint: str = "chat") -> Decision:
    reasons = (
        Reason(ReasonCode.TRAFFIC_UP, "Concurrency is 17.3, “more” than two can serve: ✗", {"concurrency": 17.3, "need": 3}),
        Reason(ReasonCode.BOUNDED, "The ceiling is 4.", {"ceiling": 4.0, "never": float("inf")}),
    )
    return Decision(endpoint, at, Bounds(3, 4), 60, Power.RUN, False, reasons, (Alternative(2, "too few"),), "max_replicas")


def sample() -> Sample:
    return Sample(0.1, 10.3, 70, {"2xx": 68, "aborted": 2}, 17.3, 19, 0, 1, 61.7 / 3, 68, 12.25, 68, 40_000, 9_000)


def endpoint(low: int = 1) -> Endpoint:
    return Endpoint("endpoint-1", "o/m-1", "m", "1x_gpu", EndpointState.STARTED, Bounds(low, 4))


def action(kind: ActionKind = ActionKind.UPDATE, low: int = 3) -> Action:
    return Action(kind, "endpoint-1", Bounds(low, 4), 60)


def inputs(seen: Sample | None = None, observed: Endpoint | None = None) -> Inputs:
    nothing = Unknown("nothing in this story", 4.5)
    return Inputs(Known(seen, "meter", 4.5) if seen else nothing, Known(observed, "provider", 4.75) if observed else nothing, 5.0, 6.0)


@pytest.fixture
def nouns() -> SimpleNamespace:
    return SimpleNamespace(decision=decision, sample=sample, endpoint=endpoint, inputs=inputs, action=action)


@pytest.fixture
async def reopen(tmp_path: Path) -> AsyncIterator[Opener]:
    """Open the store of this test; all that were opened are closed in the end."""
    async with AsyncExitStack() as stack:

        async def opener() -> SqliteStore:
            store = await SqliteStore.open(tmp_path / "scaler.db", now=1700000000.9)
            stack.callback(let_go, store)
            return store

        yield opener


@pytest.fixture
async def store(reopen: Opener) -> SqliteStore:
    return await reopen()
