"""Disks fill up, files rot, directories are read-only: the store says so in one type and loses nothing it has promised."""

import asyncio
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from scaler.model import Inputs, Known, Outcome, OutcomeStatus, Unknown
from scaler.store.base import StoreError, StoreFault
from scaler.store.beside import read_overrides
from scaler.store.codec import encode
from scaler.store.schema import MIGRATIONS, migrate
from scaler.store.sqlite import MAX_WAITING, SqliteStore, journalled, read_decisions, read_journal

Opener = Callable[[], Awaitable[SqliteStore]]

WRITER = """
import asyncio, sys
from pathlib import Path
from scaler.model import Action, ActionKind, Bounds, Outcome, OutcomeStatus
from scaler.store.sqlite import SqliteStore

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]), 0.0)
    while True:
        intent = await store.add_intent(0.0, "chat", Action(ActionKind.UPDATE, "endpoint-1", Bounds(1, 2), 60), "x" * 2000)
        print(intent.id, flush=True)
        await store.add_outcome(Outcome(intent.id, 0.0, OutcomeStatus.CONFIRMED, ""))

asyncio.run(main())
"""


async def fault(call: Awaitable[object]) -> StoreFault:
    with pytest.raises(StoreError) as caught:
        await call
    assert "scaler.db" in str(caught.value)
    return caught.value.fault


async def test_a_corrupt_file_is_moved_aside_and_kept(store: SqliteStore, reopen: Opener, nouns: SimpleNamespace) -> None:
    await store.record_decision(nouns.decision(1.0), nouns.inputs())
    await store.close()
    rotten = b"rotten" * 5000
    for expected in ("scaler.db.corrupt-1700000000", "scaler.db.corrupt-1700000001"):
        store.path.write_bytes(rotten)
        with capture_logs() as told:
            fresh = await reopen()
        assert [(line["event"], line["kept"]) for line in told] == [
            ("the store is corrupt and is begun anew", str(store.path.with_name(expected)))
        ]
        assert fresh.faults[StoreFault.CORRUPT] == 1
        assert fresh.moved_aside == store.path.with_name(expected)
        assert fresh.moved_aside.read_bytes() == rotten
        assert await fresh.decisions("chat", 5) == []
        assert await fresh.record_decision(nouns.decision(1.0), nouns.inputs()) == 1
        await fresh.close()


async def test_a_file_is_moved_aside_together_with_its_log(store: SqliteStore, reopen: Opener, nouns: SimpleNamespace) -> None:
    await store.record_decision(nouns.decision(1.0), nouns.inputs())
    await store.close()
    store.path.write_bytes(b"rotten" * 5000)
    store.path.with_name("scaler.db-wal").write_bytes(b"old log")
    fresh = await reopen()
    assert fresh.moved_aside is not None
    assert fresh.moved_aside.with_name(fresh.moved_aside.name + "-wal").read_bytes() == b"old log"


async def test_a_rotten_page_in_the_middle_is_found_at_the_next_opening(store: SqliteStore, reopen: Opener, nouns: SimpleNamespace) -> None:
    for at in range(30):
        await store.record_decision(nouns.decision(float(at)), nouns.inputs())
    await store.close()
    content = store.path.read_bytes()
    assert len(content) % 4096 == 0
    store.path.write_bytes(content[:-4096] + bytes(4096))
    assert (await reopen()).moved_aside is not None


@pytest.mark.parametrize("seed", range(20))
async def test_flipped_bytes_end_in_a_store_that_works_or_in_a_typed_error(reopen: Opener, nouns: SimpleNamespace, seed: int) -> None:
    store = await reopen()
    for at in range(30):
        await store.record_decision(nouns.decision(float(at)), nouns.inputs(nouns.sample(), nouns.endpoint()))
    await store.close()
    dice = random.Random(seed)
    content = bytearray(store.path.read_bytes())
    for _ in range(50):
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    store.path.write_bytes(content)
    try:
        again = await reopen()
        rows = await again.decisions("chat", 100)
        await again.add_intent(0.0, "chat", nouns.action(), "")
    except StoreError:
        return
    assert len(rows) <= 30
    assert again.moved_aside is None or again.moved_aside.read_bytes() == content


async def test_a_log_that_broke_off_loses_the_end_only(store: SqliteStore, reopen: Opener, nouns: SimpleNamespace) -> None:
    for at in range(20):
        await store.record_decision(nouns.decision(float(at)), nouns.inputs())
    database, log = store.path.read_bytes(), store.path.with_name("scaler.db-wal").read_bytes()
    await store.close()
    store.path.write_bytes(database)
    store.path.with_name("scaler.db-wal").write_bytes(log[: len(log) * 2 // 3])
    again = await reopen()
    kept = [row.seq for row in await again.decisions("chat", 100)]
    assert again.moved_aside is None
    assert 0 < len(kept) < 20
    assert kept == list(range(len(kept), 0, -1))


@pytest.mark.parametrize(("version", "why"), [(len(MIGRATIONS) - 1, "the daemon brings it"), (len(MIGRATIONS) + 1, "a newer one")])
async def test_who_only_visits_a_file_of_another_version_says_so_and_leaves_it_alone(store: SqliteStore, version: int, why: str) -> None:
    await store.close()
    with closing(sqlite3.connect(store.path)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    before = store.path.read_bytes()
    for read in (lambda: journalled(store.path), lambda: list(read_journal(store.path, "chat")), lambda: read_overrides(store.path)):
        with pytest.raises(StoreError, match=f"schema version {version}.*{why}") as caught:
            read()
        assert caught.value.fault is StoreFault.SCHEMA
    assert store.path.read_bytes() == before


async def test_a_file_of_a_newer_scaler_is_left_alone(store: SqliteStore, reopen: Opener) -> None:
    await store.close()
    with closing(sqlite3.connect(store.path)) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    before = store.path.read_bytes()
    with pytest.raises(StoreError, match="a newer one wrote the file") as caught:
        await reopen()
    assert caught.value.fault is StoreFault.SCHEMA
    assert store.path.read_bytes() == before


async def test_a_database_of_something_else_is_left_alone(reopen: Opener, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "scaler.db")) as connection:
        connection.execute("CREATE TABLE photos (id INTEGER)")
    with pytest.raises(StoreError, match="a database of something else"):
        await reopen()


def remove(path: Path, *suffixes: str) -> None:
    for suffix in suffixes:
        path.with_name(path.name + suffix).unlink()


def kept_beside(path: Path) -> list[Path]:
    return sorted(path.parent.glob("scaler.db.kept-*"))


@pytest.mark.parametrize("suffixes", [("",), ("", "-wal"), ("", "-wal", "-shm")])
async def test_a_file_that_is_removed_is_written_anew_with_all_that_was_in_it(
    store: SqliteStore, reopen: Opener, nouns: SimpleNamespace, suffixes: tuple[str, ...]
) -> None:
    await store.record_decision(nouns.decision(1.0), nouns.inputs())
    intent = await store.add_intent(1.0, "chat", nouns.action(), "before")
    remove(store.path, *suffixes)
    with capture_logs() as told:
        assert await store.record_decision(nouns.decision(2.0), nouns.inputs()) == 2
        assert [open_one.id for open_one in await store.open_intents()] == [intent.id]
    assert [line["event"] for line in told] == ["the store's file was removed and is written anew, with all that was in it"]
    assert (store.faults[StoreFault.GONE], store.trouble, kept_beside(store.path)) == (1, None, [])
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert [row.seq for row in read_decisions(store.path, "chat", 9)] == [2, 1]
    remove(store.path, "", "-wal", "-shm")
    await store.close()  # one look more
    again = await reopen()
    assert [row.seq for row in await again.decisions("chat", 9)] == [2, 1]
    assert again.moved_aside is None


async def test_a_folder_that_is_removed_is_a_fault_until_it_is_there_again(tmp_path: Path, nouns: SimpleNamespace) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    store = await SqliteStore.open(folder / "scaler.db", 0.0)
    await store.add_intent(1.0, "chat", nouns.action(), "before")
    shutil.rmtree(folder)
    assert await fault(store.add_intent(2.0, "chat", nouns.action(), "")) is StoreFault.IO
    assert store.trouble is not None
    folder.mkdir()
    assert (await store.add_intent(3.0, "chat", nouns.action(), "")).id == 2
    await store.close()
    assert sorted(path.name for path in folder.iterdir()) == ["scaler.db"]


async def test_where_another_file_takes_its_place_nothing_is_written_and_nothing_is_lost(
    store: SqliteStore, reopen: Opener, nouns: SimpleNamespace, tmp_path: Path
) -> None:
    backup = await SqliteStore.open(tmp_path / "backup.db", 0.0)
    await backup.close()
    await store.add_intent(1.0, "chat", nouns.action(), "before")
    (tmp_path / "backup.db").rename(store.path)
    theirs = store.path.read_bytes()
    with capture_logs() as told:
        for _ in range(3):
            assert await fault(store.add_intent(2.0, "chat", nouns.action(), "")) is StoreFault.REPLACED
        assert await fault(store.intents("chat", 9)) is StoreFault.REPLACED
    [kept] = kept_beside(store.path)
    assert str(store.trouble).endswith(f"a restart goes on with that, and what was written until then is in {kept}")
    assert [(line["event"], line["error"]) for line in told] == [("the store does not work", store.trouble)]
    await store.close()
    assert store.path.read_bytes() == theirs
    assert await (await reopen()).intents("chat", 9) == [], "a restart goes on with the new one"
    saved = await SqliteStore.open(kept, 0.0)
    assert [record.intent.why for record in await saved.intents("chat", 9)] == ["before"]
    await saved.close()


async def test_a_file_that_is_put_back_is_taken_up_by_a_restart(
    store: SqliteStore, reopen: Opener, nouns: SimpleNamespace, tmp_path: Path
) -> None:
    await store.add_intent(1.0, "chat", nouns.action(), "before")
    store.path.rename(tmp_path / "moved.db")
    store.path.write_bytes(b"something else")
    assert await fault(store.intents("chat", 9)) is StoreFault.REPLACED
    [kept] = kept_beside(store.path)
    kept.rename(store.path)
    assert await fault(store.intents("chat", 9)) is StoreFault.REPLACED
    await store.close()
    again = await reopen()
    assert [record.intent.why for record in await again.intents("chat", 9)] == ["before"]


def memory() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        yield connection


connection = pytest.fixture(memory)


def test_migrations_go_forward_one_by_one_and_keep_what_is_there(connection: sqlite3.Connection) -> None:
    migrate(connection)
    connection.execute("INSERT INTO endpoints VALUES ('chat', '{}')")
    later = (*MIGRATIONS, ("ALTER TABLE endpoints ADD COLUMN seen REAL",), ("CREATE TABLE more (x)",))
    migrate(connection, later)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 2,)
    assert connection.execute("SELECT * FROM endpoints").fetchall() == [("chat", "{}", None)]
    migrate(connection, later)
    with pytest.raises(StoreError, match="a newer one"):
        migrate(connection)


def test_a_migration_that_fails_half_way_leaves_the_version_before_it(connection: sqlite3.Connection) -> None:
    migrate(connection)
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, (*MIGRATIONS, ("CREATE TABLE one (x)", "CREATE TABLE endpoints (x)")))
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'one'").fetchone() == (0,)


async def test_a_directory_that_cannot_be_written_is_a_store_error() -> None:
    assert await fault(SqliteStore.open(Path("/sys/scaler.db"), 0.0)) is StoreFault.READ_ONLY  # not even root may make a file there


async def test_a_store_that_has_become_read_only_refuses_intents_and_still_tells(store: SqliteStore, nouns: SimpleNamespace) -> None:
    await store.record_decision(nouns.decision(1.0), nouns.inputs())
    await store._run(lambda: store._connection.execute("PRAGMA query_only = ON"))
    with capture_logs() as told:
        for _ in range(3):
            assert await fault(store.add_intent(0.0, "chat", nouns.action(), "")) is StoreFault.READ_ONLY
            assert [row.seq for row in await store.decisions("chat", 5)] == [1]
        assert "readonly" in str(store.trouble)
        await store._run(lambda: store._connection.execute("PRAGMA query_only = OFF"))
        await store.add_intent(0.0, "chat", nouns.action(), "")
    assert [line["event"] for line in told] == ["the store does not work", "the store works again"]
    assert store.faults[StoreFault.READ_ONLY] == 3


async def test_a_directory_that_is_missing_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file or directory"):
        await SqliteStore.open(tmp_path / "missing" / "scaler.db", 0.0)
    with pytest.raises(StoreError, match="Is a directory"):
        await SqliteStore.open(tmp_path, 0.0)


async def test_a_full_disk_refuses_intents_until_there_is_room_again(store: SqliteStore, nouns: SimpleNamespace) -> None:
    def limit_pages(limit: int) -> Callable[[], object]:
        return lambda: store._connection.execute(f"PRAGMA max_page_count = {limit}").fetchone()

    async def fill() -> None:
        for _ in range(1000):
            await store.add_intent(0.0, "chat", nouns.action(), "x" * 3000)

    await store._run(limit_pages(1))
    assert await fault(fill()) is StoreFault.FULL
    done = len(await store.open_intents())
    await store._run(limit_pages(100_000))
    assert (await store.add_intent(0.0, "chat", nouns.action(), "x" * 3000)).id == done + 1


async def test_a_file_system_that_is_full_for_real_refuses_intents_too(store: SqliteStore, nouns: SimpleNamespace) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    log = store.path.with_name("scaler.db-wal").stat().st_size
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (log, limits[1]))
        refused = await fault(store.add_intent(0.0, "chat", nouns.action(), "x" * 3000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert refused in {StoreFault.FULL, StoreFault.IO}
    assert await store.open_intents() == []
    assert (await store.add_intent(0.0, "chat", nouns.action(), "")).id == 1


async def test_a_file_that_somebody_else_has_locked_is_a_store_error(
    store: SqliteStore, nouns: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store._run(lambda: store._connection.execute("PRAGMA busy_timeout = 50"))
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert await fault(store.add_intent(0.0, "chat", nouns.action(), "")) is StoreFault.LOCKED
        assert await store.open_intents() == []
        other.execute("ROLLBACK")
    assert (await store.add_intent(0.0, "chat", nouns.action(), "")).id == 1


async def test_a_disk_that_hangs_holds_nobody_up_for_longer_than_the_deadline(
    store: SqliteStore, nouns: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scaler.store.sqlite.DEADLINE_SECONDS", 0.1)
    release = threading.Event()
    try:
        assert await fault(store._run(release.wait)) is StoreFault.SLOW
        assert await fault(store.add_intent(0.0, "chat", nouns.action(), "")) is StoreFault.SLOW
        calls = [store.open_intents() for _ in range(MAX_WAITING + 5)]
        faults = [each.fault for each in await asyncio.gather(*calls, return_exceptions=True) if isinstance(each, StoreError)]
        assert faults == [StoreFault.SLOW] * (MAX_WAITING + 5)
    finally:
        release.set()
    monkeypatch.undo()
    assert await store.open_intents() == []


@pytest.mark.parametrize("acknowledged", [1, 7, 40])
async def test_kill_9_loses_nothing_that_was_acknowledged(reopen: Opener, tmp_path: Path, acknowledged: int) -> None:
    path = tmp_path / "scaler.db"
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, str(path), stdout=subprocess.PIPE)
    assert child.stdout is not None
    told = [int(await child.stdout.readline()) for _ in range(acknowledged)]
    child.kill()
    told += [int(line) for line in (await child.stdout.read()).split()]
    await child.wait()
    store = await reopen()
    found = [record.intent.id for record in await store.intents("chat", 100_000)]
    assert found == list(range(len(found), 0, -1))
    assert len(found) - len(told) in {0, 1}
    assert told == list(range(1, len(told) + 1))
    waiting = await store.open_intents()
    assert [intent.id for intent in waiting] in ([], [len(found)])
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    for intent in waiting:
        await store.add_outcome(Outcome(intent.id, 1.0, OutcomeStatus.REFUSED, "not applied"))


def test_what_older_journals_hold_is_kept(tmp_path: Path, nouns: SimpleNamespace) -> None:
    with closing(sqlite3.connect(tmp_path / "old.db", isolation_level=None)) as connection:
        migrate(connection, MIGRATIONS[:2])
        add = "INSERT INTO decisions (at, endpoint, decision, sample, observed) VALUES (1.5, 'chat', ?, ?, ?)"
        for sample, observed in ((encode(nouns.sample()), None), (None, encode(nouns.endpoint()))):
            connection.execute(add, (encode(nouns.decision(1.5)), sample, observed))
        migrate(connection)
    newer, older = (record.inputs for record in read_decisions(tmp_path / "old.db", "chat", 10))
    nothing = Unknown("not in the journal", 0.0)
    assert older == Inputs(Known(nouns.sample(), "journal", 0.0), nothing, 0.0, 1.5)
    assert newer == Inputs(nothing, Known(nouns.endpoint(), "journal", 0.0), 0.0, 1.5)
