"""What a declaration has become survives everything but a person who removes it."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from scaler.store.base import StoreError
from scaler.store.sqlite import SqliteStore, declared_id, forget_declared

Opener = Callable[[], Awaitable[SqliteStore]]


async def test_it_is_there_after_reopening_and_may_change(store: SqliteStore, reopen: Opener) -> None:
    for key, endpoint_id in (("a", "endpoint-1"), ("b", "endpoint-2"), ("a", "endpoint-3")):
        await store.remember_declared(key, endpoint_id)
    await store.close()
    assert await (await reopen()).declared() == {"a": "endpoint-3", "b": "endpoint-2"}


async def test_another_process_removes_it_while_the_daemon_runs_and_only_what_it_has_seen(store: SqliteStore) -> None:
    await store.remember_declared("a", "endpoint-1")
    assert declared_id(store.path, "a") == "endpoint-1"
    assert declared_id(store.path, "b") is None
    forget_declared(store.path, "a", "endpoint-0")
    assert await store.declared() == {"a": "endpoint-1"}
    forget_declared(store.path, "a", "endpoint-1")
    assert await store.declared() == {}


async def test_it_is_synced_to_the_disk(store: SqliteStore) -> None:
    seen: list[str] = []
    await store._run(lambda: store._connection.set_trace_callback(seen.append))
    await store.remember_declared("a", "endpoint-1")
    assert seen.index("PRAGMA synchronous = FULL") < seen.index("COMMIT")


def test_where_there_is_no_store_it_says_so_and_makes_none(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no\.db"):
        declared_id(tmp_path / "no.db", "a")
    with pytest.raises(StoreError, match=r"no\.db"):
        forget_declared(tmp_path / "no.db", "a", "endpoint-1")
    assert list(tmp_path.iterdir()) == []
