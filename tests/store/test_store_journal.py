"""What is written down is there afterwards, in order, complete, and as it was."""

import asyncio
import sqlite3
import stat
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.clock import VirtualClock
from scaler.model import (
    Action,
    ActionKind,
    Bounds,
    Decision,
    Endpoint,
    Inputs,
    Intent,
    Known,
    Observation,
    Outcome,
    OutcomeStatus,
    Sample,
    Unknown,
)
from scaler.settings import StoreSettings
from scaler.store import open_store
from scaler.store.base import DecisionRecord, IntentRecord, StoreError, StoreFault
from scaler.store.codec import decode, encode
from scaler.store.sqlite import SqliteStore, read_decisions

Opener = Callable[[], Awaitable[SqliteStore]]
CONFIRMED, REFUSED, UNKNOWN = OutcomeStatus.CONFIRMED, OutcomeStatus.REFUSED, OutcomeStatus.UNKNOWN


async def act(store: SqliteStore, action: Action, *ends: OutcomeStatus, at: float = 100.0, endpoint: str = "chat") -> Intent:
    """An intent and its outcomes."""
    intent = await store.add_intent(at, endpoint, action, "because")
    for number, status in enumerate(ends, start=1):
        await store.add_outcome(Outcome(intent.id, at + number, status, status.value))
    return intent


async def test_a_decision_comes_back_as_it_was_with_what_it_was_made_from(store: SqliteStore, nouns: SimpleNamespace) -> None:
    full, bare = nouns.decision(1.1), nouns.decision(2.2)
    assert await store.record_decision(full, nouns.inputs(nouns.sample(), nouns.endpoint())) == 1
    assert await store.record_decision(nouns.decision(1.5, "other"), nouns.inputs()) == 2
    assert await store.record_decision(bare, nouns.inputs()) == 3
    assert await store.decisions("chat", 10) == [
        DecisionRecord(3, bare, nouns.inputs()),
        DecisionRecord(1, full, nouns.inputs(nouns.sample(), nouns.endpoint())),
    ]
    assert [row.seq for row in await store.decisions("chat", 1)] == [3]
    assert await store.decisions("nobody", 10) == []


def observations(kind: type[Sample] | type[Endpoint]) -> st.SearchStrategy[Observation[Any]]:
    return st.builds(Known, st.from_type(kind), st.text(), st.floats()) | st.from_type(Unknown)


INPUTS = st.builds(Inputs, sample=observations(Sample), endpoint=observations(Endpoint))


@settings(max_examples=200, deadline=None)
@given(st.from_type(Decision) | INPUTS | st.from_type(Endpoint) | st.from_type(Action) | st.from_type(Bounds))
def test_every_noun_survives_the_journal_bit_for_bit(noun: object) -> None:
    back = decode(type(noun), encode(noun))
    assert type(back) is type(noun)
    assert encode(back) == encode(noun)
    assert back == noun or "nan" in repr(noun)


def test_text_that_is_no_noun_is_corruption() -> None:
    with pytest.raises(StoreError, match="holds no Bounds") as caught:
        decode(Bounds, '{"min_replicas": "many"}')
    assert caught.value.fault is StoreFault.CORRUPT


async def test_an_intent_is_open_until_it_ends_and_an_unknown_is_no_end(store: SqliteStore, nouns: SimpleNamespace) -> None:
    intent = await store.add_intent(5.0, "chat", nouns.action(), "more traffic", Bounds(1, 4))
    assert intent == Intent(1, 5.0, "chat", nouns.action(), "more traffic", Bounds(1, 4))
    assert await store.open_intents() == [intent]
    unknown, end = Outcome(1, 6.0, UNKNOWN, "reply lost"), Outcome(1, 16.0, CONFIRMED, "found applied")
    await store.add_outcome(unknown)
    assert await store.open_intents() == [intent]
    await store.add_outcome(end)
    assert await store.open_intents() == []
    assert await store.intents("chat", 5) == [IntentRecord(intent, (unknown, end))]


async def test_an_intent_ends_once_and_nothing_ends_that_was_not_intended(store: SqliteStore, nouns: SimpleNamespace) -> None:
    intent = await act(store, nouns.action(), REFUSED)
    for wrong in (Outcome(intent.id, 9.0, CONFIRMED, "too late"), Outcome(99, 9.0, CONFIRMED, "of what?")):
        with pytest.raises(StoreError) as caught:
            await store.add_outcome(wrong)
        assert caught.value.fault is StoreFault.CONSTRAINT
    (record,) = await store.intents("chat", 5)
    assert [outcome.status for outcome in record.outcomes] == [REFUSED]


async def test_only_what_was_not_refused_counts_as_an_action(store: SqliteStore, nouns: SimpleNamespace) -> None:
    await act(store, nouns.action(), CONFIRMED, at=99.0)
    await act(store, nouns.action(), CONFIRMED, at=100.0)
    await act(store, nouns.action(), REFUSED, at=101.0)
    await act(store, nouns.action(), UNKNOWN, REFUSED, at=102.0)
    await act(store, nouns.action(), UNKNOWN, at=103.0)
    await act(store, nouns.action(), at=104.0)
    await act(store, nouns.action(), CONFIRMED, at=105.0, endpoint="other")
    assert await store.actions_since("chat", 100.0) == 3
    assert await store.actions_since("chat", 0.0) == 4
    assert await store.actions_since("chat", 1e9) == 0


async def test_the_last_confirmed_action_is_the_last_that_told_a_timeout(store: SqliteStore, nouns: SimpleNamespace) -> None:
    assert await store.last_confirmed_action("chat") is None
    await act(store, nouns.action(ActionKind.START, 1), CONFIRMED)
    await act(store, nouns.action(low=2), UNKNOWN, CONFIRMED)
    await act(store, nouns.action(low=3), REFUSED)
    await act(store, nouns.action(ActionKind.STOP), CONFIRMED)
    await act(store, nouns.action(low=4), UNKNOWN)
    await act(store, nouns.action(low=4), CONFIRMED, endpoint="other")
    assert await store.last_confirmed_action("chat") == nouns.action(low=2)


async def test_endpoints_are_remembered_as_they_were_last_seen(store: SqliteStore, reopen: Opener, nouns: SimpleNamespace) -> None:
    for key, low in (("a", 1), ("b", 1), ("a", 2), ("a", 2)):
        await store.remember_endpoint(key, nouns.endpoint(low))
    await store.close()
    assert await (await reopen()).known_endpoints() == {"a": nouns.endpoint(2), "b": nouns.endpoint(1)}


async def test_everything_is_there_after_reopening_and_numbers_go_on(store: SqliteStore, reopen: Opener, nouns: SimpleNamespace) -> None:
    intent = await act(store, nouns.action(), UNKNOWN)
    await store.record_decision(nouns.decision(1.0), nouns.inputs())
    await store.close()
    again = await reopen()
    assert await again.open_intents() == [intent]
    assert (await act(again, nouns.action())).id == 2
    assert await again.record_decision(nouns.decision(2.0), nouns.inputs()) == 2
    assert again.moved_aside is None


async def test_pruning_takes_the_oldest_and_leaves_no_gap(store: SqliteStore, nouns: SimpleNamespace) -> None:
    for at in (1.0, 2.0, 50.0, 3.0, 60.0):  # the wall clock was set back once
        await store.record_decision(nouns.decision(at), nouns.inputs())
    intent = await act(store, nouns.action(), at=1.0)
    assert await store.prune(before=10.0) == 2
    assert [row.seq for row in await store.decisions("chat", 10)] == [5, 4, 3]
    assert await store.prune(before=10.0) == 0
    assert await store.prune(before=1000.0) == 3
    assert await store.open_intents() == [intent]
    assert await store.record_decision(nouns.decision(2000.0), nouns.inputs()) == 6


@pytest.mark.parametrize("old", [0, 3])
async def test_what_is_written_while_pruning_stays(store: SqliteStore, nouns: SimpleNamespace, old: int) -> None:
    """The first decision of a daemon and its first pruning come at the same moment."""
    for _ in range(old):
        await store.record_decision(nouns.decision(1.0), nouns.inputs())
    pruned, *_ = await asyncio.gather(
        store.prune(before=10.0), *(store.record_decision(nouns.decision(20.0), nouns.inputs()) for _ in range(5))
    )
    assert pruned == old
    assert [row.seq for row in await store.decisions("chat", 10)] == list(range(old + 5, old, -1))


async def test_pruning_in_portions_removes_all_that_is_due(
    store: SqliteStore, nouns: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scaler.store.sqlite.PRUNE_ROWS", 4)
    for at in range(10):
        await store.record_decision(nouns.decision(float(at)), nouns.inputs())
    assert await store.prune(before=8.0) == 8
    assert [row.seq for row in await store.decisions("chat", 10)] == [10, 9]


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE decisions SET at = 0",
        "UPDATE intents SET why = ''",
        "DELETE FROM intents",
        "UPDATE outcomes SET status = 'confirmed'",
        "DELETE FROM outcomes",
    ],
)
async def test_the_journals_refuse_to_be_rewritten_by_anyone(store: SqliteStore, nouns: SimpleNamespace, sql: str) -> None:
    await store.record_decision(nouns.decision(1.0), nouns.inputs())
    await act(store, nouns.action(), REFUSED)
    await store.close()
    with sqlite3.connect(store.path) as connection, pytest.raises(sqlite3.IntegrityError, match=r"append-only|never removed"):
        connection.execute(sql)
    connection.close()


async def test_numbers_have_no_gaps_when_many_write_at_once(store: SqliteStore, nouns: SimpleNamespace) -> None:
    async def one(number: int) -> int:
        if number % 3 == 0:  # a transaction that fails must not use up a number
            with pytest.raises(StoreError):
                await store.add_outcome(Outcome(10_000 + number, 0.0, CONFIRMED, ""))
        return (await store.add_intent(0.0, "chat", nouns.action(), "")).id

    assert sorted(await asyncio.gather(*map(one, range(30)))) == list(range(1, 31))


async def test_another_process_reads_decisions_while_the_daemon_writes(store: SqliteStore, nouns: SimpleNamespace) -> None:
    for at in (1.0, 2.0, 3.0):
        await store.record_decision(nouns.decision(at), nouns.inputs(nouns.sample()))
    assert [row.seq for row in read_decisions(store.path, "chat", 2)] == [3, 2]
    assert read_decisions(store.path, "chat", 9) == await store.decisions("chat", 9)
    await store.close()
    assert [row.seq for row in read_decisions(store.path, "chat", 2)] == [3, 2]


@pytest.mark.parametrize("content", [None, b"", b"this is not a database at all, is it?" * 40])
def test_reading_what_is_no_store_is_a_store_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "odd #?name%.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StoreError, match="odd #"):
        read_decisions(path, "chat", 1)
    assert path.exists() is (content is not None)


async def test_the_file_and_its_log_are_for_the_owner_only(store: SqliteStore, reopen: Opener, nouns: SimpleNamespace) -> None:
    await store.record_decision(nouns.decision(1.0), nouns.inputs())
    files = list(store.path.parent.iterdir())
    assert {file.name for file in files} == {"scaler.db", "scaler.db-wal", "scaler.db-shm"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    await store.close()
    store.path.chmod(0o644)
    await reopen()
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600


async def test_an_intent_is_synced_to_the_disk_and_a_decision_is_not(store: SqliteStore, nouns: SimpleNamespace) -> None:
    seen: list[str] = []
    await store._run(lambda: store._connection.set_trace_callback(seen.append))
    await store.record_decision(nouns.decision(1.0), nouns.inputs())
    decided = [line for line in seen if "synchronous" in line]
    seen.clear()
    await store.add_intent(0.0, "chat", nouns.action(), "")
    assert (decided, [line for line in seen if "synchronous" in line]) == (["PRAGMA synchronous = NORMAL"], ["PRAGMA synchronous = FULL"])
    assert seen.index("PRAGMA synchronous = FULL") < seen.index("COMMIT")


async def test_ten_thousand_decisions_are_written_and_read_quickly(store: SqliteStore, nouns: SimpleNamespace) -> None:
    one, inputs = nouns.decision(1.0), nouns.inputs(nouns.sample(), nouns.endpoint())
    began = time.perf_counter()
    for _ in range(10_000):
        await store.record_decision(one, inputs)
    written = time.perf_counter()
    assert len(await store.decisions("chat", 100)) == 100
    read = time.perf_counter()
    assert await store.prune(before=2.0) == 10_000
    assert written - began < 60
    assert read - written < 1


async def test_settings_open_a_store(tmp_path: Path) -> None:
    store = await open_store(StoreSettings(path=tmp_path / "x.db"), VirtualClock(5.0))
    await store.close()
    assert (tmp_path / "x.db").exists()
    with pytest.raises(StoreError) as caught:
        await store.open_intents()
    assert caught.value.fault is StoreFault.CLOSED
