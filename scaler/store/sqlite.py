"""The store in one SQLite file (WAL), which a single thread owns.

An intent is on the disk (fsync) before `SqliteStore.add_intent` returns. Everything else survives the death of the process at once and the
loss of power within moments. A file that SQLite calls corrupt is moved aside, never deleted; losing it costs history and the memory
of past actions, not safety. One that somebody removes is written anew from what is open; where another one takes its place, what is
open is kept beside it and nothing more is written, until a restart goes on with the new one.
"""

import asyncio
import errno
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar

import structlog

from scaler.model import Account, Action, ActionKind, Bounds, Decision, Endpoint, Entry, Inputs, Intent, Outcome, OutcomeStatus, Override
from scaler.store.base import Checkpoint, DecisionRecord, IntentRecord, StoreError, StoreFault
from scaler.store.codec import decode, encode
from scaler.store.file import BUSY_SECONDS, Identity, connect, identity, log_of, move_aside, prepare, restore, save, take_away
from scaler.store.schema import require_newest

log = structlog.get_logger(__name__)

T = TypeVar("T")

DEADLINE_SECONDS = 10.0
MAX_WAITING = 64
PRUNE_ROWS = 5000

FAULTS = {
    sqlite3.SQLITE_FULL: StoreFault.FULL,
    sqlite3.SQLITE_READONLY: StoreFault.READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: StoreFault.IO,
    sqlite3.SQLITE_BUSY: StoreFault.LOCKED,
    sqlite3.SQLITE_LOCKED: StoreFault.LOCKED,
    sqlite3.SQLITE_CORRUPT: StoreFault.CORRUPT,
    sqlite3.SQLITE_NOTADB: StoreFault.CORRUPT,
    sqlite3.SQLITE_CONSTRAINT: StoreFault.CONSTRAINT,
}

ERRNOS = {
    errno.ENOSPC: StoreFault.FULL,
    errno.EDQUOT: StoreFault.FULL,
    errno.EFBIG: StoreFault.FULL,
    errno.EACCES: StoreFault.READ_ONLY,
    errno.EPERM: StoreFault.READ_ONLY,
    errno.EROFS: StoreFault.READ_ONLY,
}

FAILURES = (StoreError, sqlite3.Error, OSError, UnicodeDecodeError)

DECISIONS = "SELECT seq, decision, inputs FROM decisions WHERE endpoint = ? ORDER BY seq DESC LIMIT ?"
JOURNAL = """SELECT seq, decision, inputs, settings, memory FROM decisions LEFT JOIN checkpoints USING (seq)
    WHERE endpoint = ? ORDER BY seq"""
INTENTS = "SELECT id, at, endpoint, action, why, before FROM intents WHERE endpoint = ? ORDER BY id DESC LIMIT ?"
OPEN_INTENTS = """SELECT id, at, endpoint, action, why, before FROM intents
    WHERE id IN (SELECT intent_id FROM open_intents) ORDER BY id"""
LAST_CONFIRMED = """SELECT action FROM intents WHERE endpoint = ? AND kind IN (?, ?)
    AND EXISTS (SELECT 1 FROM outcomes WHERE intent_id = intents.id AND status = ?) ORDER BY id DESC LIMIT 1"""
ACTIONS_SINCE = """SELECT count(*) FROM intents WHERE endpoint = ? AND at >= ?
    AND NOT EXISTS (SELECT 1 FROM outcomes WHERE intent_id = intents.id AND status = ?)"""
FIRST_KEPT = """SELECT coalesce((SELECT seq FROM decisions WHERE at >= ? ORDER BY seq LIMIT 1), (SELECT max(seq) + 1 FROM decisions), 0)"""
"""Where all are too old, or there are none, what is written from now on stays."""
PRUNE = "DELETE FROM decisions WHERE seq IN (SELECT seq FROM decisions WHERE seq < ? ORDER BY seq LIMIT ?)"
PRUNE_CHECKPOINTS = "DELETE FROM checkpoints WHERE seq < ?"
REMEMBER = """INSERT INTO endpoints (key, endpoint) VALUES (?, ?)
    ON CONFLICT (key) DO UPDATE SET endpoint = excluded.endpoint WHERE endpoint <> excluded.endpoint"""

KEEP_LEARNED = """INSERT INTO learned (endpoint, document) VALUES (?, ?)
    ON CONFLICT (endpoint) DO UPDATE SET document = excluded.document"""
REMEMBER_DECLARED = """INSERT INTO declared (key, endpoint_id) VALUES (?, ?)
    ON CONFLICT (key) DO UPDATE SET endpoint_id = excluded.endpoint_id"""

OVERRIDES = "SELECT endpoint, begins, ends, floor, ceiling FROM overrides ORDER BY endpoint"
ENTRIES = """SELECT endpoint, quarter, dollars, replica_seconds, unpriced_seconds FROM ledger
    WHERE quarter >= ? ORDER BY quarter, endpoint"""
BOOK_ENTRY = """INSERT INTO ledger (endpoint, quarter, dollars, replica_seconds, unpriced_seconds) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (endpoint, quarter) DO UPDATE SET dollars = excluded.dollars,
    replica_seconds = excluded.replica_seconds, unpriced_seconds = excluded.unpriced_seconds"""
BOOK_ACCOUNT = """INSERT INTO accounts (endpoint, at, replicas, dollars_per_hour) VALUES (?, ?, ?, ?)
    ON CONFLICT (endpoint) DO UPDATE SET at = excluded.at, replicas = excluded.replicas, dollars_per_hour = excluded.dollars_per_hour"""


def _fault(error: Exception) -> StoreFault:
    """Our word for what SQLite or the file system said; text that cannot be decoded comes from rotten pages."""
    if isinstance(error, StoreError):
        return error.fault
    if isinstance(error, UnicodeDecodeError):
        return StoreFault.CORRUPT
    if isinstance(error, OSError):
        return ERRNOS.get(error.errno or 0, StoreFault.IO)
    return FAULTS.get(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_IOERR) & 0xFF, StoreFault.IO)


def _decision_record(row: tuple[int, str, str]) -> DecisionRecord:
    seq, decision, inputs = row
    return DecisionRecord(seq, decode(Decision, decision), decode(Inputs, inputs))


def _journal_record(row: tuple[int, str, str, str | None, str | None]) -> DecisionRecord:
    seq, decision, inputs, settings, memory = row
    checkpoint = None if settings is None or memory is None else Checkpoint(settings, memory)
    return replace(_decision_record((seq, decision, inputs)), checkpoint=checkpoint)


def _intent(row: tuple[int, float, str, str, str, str | None]) -> Intent:
    number, at, endpoint, action, why, before = row
    return Intent(number, at, endpoint, decode(Action, action), why, None if before is None else decode(Bounds, before))


def read_decisions(path: Path, endpoint: str, limit: int) -> list[DecisionRecord]:
    """What `SqliteStore.decisions` says, for another process while the daemon runs: read-only, blocking. Raises `StoreError`."""
    with visit(path) as connection:
        return [_decision_record(row) for row in connection.execute(DECISIONS, (endpoint, limit))]


def read_journal(path: Path, endpoint: str) -> Iterator[DecisionRecord]:
    """All decisions of an endpoint, oldest first, with their checkpoints; for another process, read-only, blocking. Raises `StoreError`."""
    with visit(path) as connection:
        yield from map(_journal_record, connection.execute(JOURNAL, (endpoint,)))


def journalled(path: Path) -> list[str]:
    """Keys of the endpoints that the journal has decisions of, sorted; for another process, read-only, blocking. Raises `StoreError`."""
    with visit(path) as connection:
        return [key for (key,) in connection.execute("SELECT DISTINCT endpoint FROM decisions ORDER BY endpoint")]


@contextmanager
def visit(path: Path, *, write: bool = False) -> Iterator[sqlite3.Connection]:
    """The file for a moment, for another process while the daemon runs or does not; one transaction, blocking. Raises `StoreError`."""
    mode = "rw" if write else "ro"
    if not path.exists():
        raise StoreError(StoreFault.IO, f"{path} does not exist yet; the daemon makes it when it starts")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=BUSY_SECONDS)) as connection, connection:
            require_newest(connection)
            yield connection
    except FAILURES as error:
        raise StoreError(_fault(error), f"{path}: {error}") from error


def declared_id(path: Path, key: str) -> str | None:
    """What `SqliteStore.declared` says of ``key``, for another process; read-only, blocking. Raises `StoreError`."""
    with visit(path) as connection:
        row = connection.execute("SELECT endpoint_id FROM declared WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])


def forget_declared(path: Path, key: str, endpoint_id: str) -> None:
    """Remove the memory that ``key`` became ``endpoint_id``, for another process while the daemon runs; blocking. Raises `StoreError`."""
    with visit(path, write=True) as connection:
        connection.execute("DELETE FROM declared WHERE key = ? AND endpoint_id = ?", (key, endpoint_id))


class SqliteStore:
    """See `scaler.store.base.Store`. Made by `open`.

    ``moved_aside`` is where a corrupt file went when this one was opened in its place, or None.
    """

    def __init__(self, path: Path) -> None:
        """Nothing is opened yet."""
        self.path = path
        self.moved_aside: Path | None = None
        self.faults = Counter[StoreFault](dict.fromkeys(StoreFault, 0))
        self.trouble: str | None = None
        self._file: Identity | None = None  # as it was when it was opened, with its log
        self._log: dict[Path, Identity | None] = {}
        self._kept: Path | None = None  # what was written until another file took its place
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._places = threading.BoundedSemaphore(MAX_WAITING)
        self._connection: sqlite3.Connection

    @classmethod
    async def open(cls, path: Path, now: float) -> Self:
        """Open the file or make a new one; ``now`` (Unix seconds) names a corrupt one that has to be moved aside."""
        store = cls(path)
        try:
            await store._run(lambda: store._open(now))
        except BaseException:
            store._worker.shutdown(wait=False)
            raise
        return store

    @classmethod
    async def look(cls, path: Path) -> Self:
        """The file as it is, for another process while the daemon runs: nothing is written, checked, migrated or moved aside."""
        store = cls(path)
        try:
            await store._run(store._look)
        except BaseException:
            store._worker.shutdown(wait=False)
            raise
        return store

    def _look(self) -> None:
        where = f"{self.path.absolute().as_uri()}?mode=ro"
        self._connection = sqlite3.connect(where, uri=True, timeout=BUSY_SECONDS, isolation_level=None)

    def _open(self, now: float) -> None:
        connection = connect(self.path)
        try:
            prepare(connection)
        except Exception as error:
            if _fault(error) is StoreFault.CORRUPT:  # before closing, which would remove the log
                self.moved_aside = move_aside(self.path, now)
            connection.close()
            if self.moved_aside is None:
                raise
            log.warning("the store is corrupt and is begun anew", path=str(self.path), kept=str(self.moved_aside), error=str(error))
            self.faults[StoreFault.CORRUPT] += 1
            connection = connect(self.path)
            prepare(connection)
        self._take(connection)

    def _take(self, connection: sqlite3.Connection) -> None:
        """From now on this is open, and is to be found where it is now."""
        self._connection = connection
        self._file, self._log = identity(self.path), log_of(self.path)

    def _stay(self) -> None:
        """See that the name still leads to what is open: SQLite goes on writing to a file that nobody can find any more."""
        if self._kept is None and self._file is not None and (found := identity(self.path)) != self._file:
            if found is None:
                self._write_anew()
            else:
                self._make_way()
        if self._kept is not None:
            said = f"another file has taken its place; a restart goes on with that, and what was written until then is in {self._kept}"
            raise StoreError(StoreFault.REPLACED, said)

    def _write_anew(self) -> None:
        self._take(restore(self._connection, self.path))
        self.faults[StoreFault.GONE] += 1
        log.warning("the store's file was removed and is written anew, with all that was in it", path=str(self.path))

    def _make_way(self) -> None:
        self._kept = save(self._connection, self.path)
        take_away(self._log)

    async def _run(self, work: Callable[[], T]) -> T:
        """Do ``work`` on the thread that owns the connection, and remember what goes wrong."""
        try:
            return await self._submit(work)
        except StoreError as error:
            self.faults[error.fault] += 1
            if self._file is not None and self.trouble is None:
                log.warning("the store does not work", fault=error.fault, error=str(error))
            self.trouble = str(error)
            raise

    async def _submit(self, work: Callable[[], T]) -> T:
        """One that takes too long may still be done later."""

        def in_place() -> T:
            self._stay()
            return work()

        if not self._places.acquire(blocking=False):
            raise StoreError(StoreFault.SLOW, f"{self.path}: {MAX_WAITING} calls are waiting already")
        try:
            job = self._worker.submit(in_place)
        except RuntimeError:
            self._places.release()
            raise StoreError(StoreFault.CLOSED, f"{self.path}: the store is closed") from None
        job.add_done_callback(lambda _: self._places.release())
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                return await asyncio.wrap_future(job)
        except TimeoutError:
            raise StoreError(StoreFault.SLOW, f"{self.path}: no answer within {DEADLINE_SECONDS:g} s") from None
        except FAILURES as error:
            raise StoreError(_fault(error), f"{self.path}: {error}") from error

    @contextmanager
    def _transaction(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """All or nothing; ``durable`` waits until the disk has it."""
        self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
            self._connection.execute("COMMIT")
            if self.trouble is not None:
                log.info("the store works again", path=str(self.path))
            self.trouble = None
        except BaseException:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    async def record_decision(self, decision: Decision, inputs: Inputs, checkpoint: Checkpoint | None = None) -> int:
        """Append to the journal of decisions."""
        values = (decision.at, decision.endpoint, encode(decision), encode(inputs))

        def work() -> int:
            with self._transaction() as connection:
                seq = _row_id(connection.execute("INSERT INTO decisions (at, endpoint, decision, inputs) VALUES (?, ?, ?, ?)", values))
                if checkpoint is not None:
                    kept = (seq, checkpoint.settings, checkpoint.memory)
                    connection.execute("INSERT INTO checkpoints (seq, settings, memory) VALUES (?, ?, ?)", kept)
                return seq

        return await self._run(work)

    async def decisions(self, endpoint: str, limit: int) -> list[DecisionRecord]:
        """Newest first."""
        return await self._read(DECISIONS, (endpoint, limit), _decision_record)

    async def prune(self, before: float) -> int:
        """Remove old decisions in portions, so that other calls come between; what stays has no gaps."""
        first_kept: int = (await self._read(FIRST_KEPT, (before,), _first))[0]

        def work() -> int:
            with self._transaction() as connection:
                connection.execute(PRUNE_CHECKPOINTS, (first_kept,))
                return connection.execute(PRUNE, (first_kept, PRUNE_ROWS)).rowcount

        removed = portion = await self._run(work)
        while portion == PRUNE_ROWS:
            portion = await self._run(work)
            removed += portion
        return removed

    async def add_intent(self, at: float, endpoint: str, action: Action, why: str, before: Bounds | None = None) -> Intent:
        """Write an intent down; it is on the disk when this returns."""
        values = (at, endpoint, action.kind.value, encode(action), why, None if before is None else encode(before))

        def work() -> int:
            with self._transaction(durable=True) as connection:
                sql = "INSERT INTO intents (at, endpoint, kind, action, why, before) VALUES (?, ?, ?, ?, ?, ?)"
                number = _row_id(connection.execute(sql, values))
                connection.execute("INSERT INTO open_intents (intent_id) VALUES (?)", (number,))
                return number

        return Intent(await self._run(work), at, endpoint, action, why, before)

    async def add_outcome(self, outcome: Outcome) -> None:
        """Append an outcome, and end the intent unless it is UNKNOWN."""

        def work() -> None:
            with self._transaction() as connection:
                values = (outcome.intent_id, outcome.at, outcome.status.value, outcome.detail)
                connection.execute("INSERT INTO outcomes (intent_id, at, status, detail) VALUES (?, ?, ?, ?)", values)
                if outcome.status is not OutcomeStatus.UNKNOWN:
                    connection.execute("DELETE FROM open_intents WHERE intent_id = ?", (outcome.intent_id,))

        await self._run(work)

    async def open_intents(self) -> list[Intent]:
        """Oldest first."""
        return await self._read(OPEN_INTENTS, (), _intent)

    async def intents(self, endpoint: str, limit: int) -> list[IntentRecord]:
        """Newest first."""

        def work() -> list[IntentRecord]:
            rows = self._connection.execute(INTENTS, (endpoint, limit)).fetchall()
            return [IntentRecord(intent, self._outcomes(intent.id)) for intent in map(_intent, rows)]

        return await self._run(work)

    def _outcomes(self, intent_id: int) -> tuple[Outcome, ...]:
        rows = self._connection.execute("SELECT at, status, detail FROM outcomes WHERE intent_id = ? ORDER BY seq", (intent_id,))
        return tuple(Outcome(intent_id, at, OutcomeStatus(status), detail) for at, status, detail in rows)

    async def actions_since(self, endpoint: str, at: float) -> int:
        """Those after a jump of the clock into the past count, too: better one too many."""
        (count,) = await self._read(ACTIONS_SINCE, (endpoint, at, OutcomeStatus.REFUSED.value), _first)
        return int(count)

    async def last_confirmed_action(self, endpoint: str) -> Action | None:
        """A STOP says nothing about the timeout, so it is passed over."""
        values = (endpoint, ActionKind.UPDATE.value, ActionKind.START.value, OutcomeStatus.CONFIRMED.value)
        found = await self._read(LAST_CONFIRMED, values, lambda row: decode(Action, row[0]))
        return found[0] if found else None

    async def remember_endpoint(self, key: str, endpoint: Endpoint) -> None:
        """Written only when it differs from what is there."""

        def work() -> None:
            with self._transaction() as connection:
                connection.execute(REMEMBER, (key, encode(endpoint)))

        await self._run(work)

    async def known_endpoints(self) -> dict[str, Endpoint]:
        """What was remembered, by key."""
        return dict(await self._read("SELECT key, endpoint FROM endpoints", (), lambda row: (row[0], decode(Endpoint, row[1]))))

    async def remember_declared(self, key: str, endpoint_id: str) -> None:
        """On the disk when this returns: what is forgotten would be created a second time."""

        def work() -> None:
            with self._transaction(durable=True) as connection:
                connection.execute(REMEMBER_DECLARED, (key, endpoint_id))

        await self._run(work)

    async def declared(self) -> dict[str, str]:
        """What another process has removed is not among them."""
        return dict(await self._read("SELECT key, endpoint_id FROM declared", (), lambda row: (row[0], row[1])))

    async def keep_learned(self, endpoint_id: str, document: str) -> None:
        """The loss of power may cost the last one."""

        def work() -> None:
            with self._transaction() as connection:
                connection.execute(KEEP_LEARNED, (endpoint_id, document))

        await self._run(work)

    async def learned(self, endpoint_id: str) -> str | None:
        """As it was kept."""
        found = await self._read("SELECT document FROM learned WHERE endpoint = ?", (endpoint_id,), lambda row: str(row[0]))
        return found[0] if found else None

    async def overrides(self) -> tuple[Override, ...]:
        """What another process has written is among them at once."""
        return tuple(await self._read(OVERRIDES, (), lambda row: Override(*row)))

    async def book(self, endpoint: str, account: Account, entries: Sequence[Entry]) -> None:
        """Account and entries together or neither; written twice they are the same."""
        rows = [(endpoint, e.quarter, e.dollars, e.replica_seconds, e.unpriced_seconds) for e in entries]

        def work() -> None:
            with self._transaction() as connection:
                connection.executemany(BOOK_ENTRY, rows)
                connection.execute(BOOK_ACCOUNT, (endpoint, account.at, account.replicas, account.dollars_per_hour))

        await self._run(work)

    async def accounts(self) -> dict[str, Account]:
        """All accounts, by key."""
        return dict(await self._read("SELECT * FROM accounts", (), lambda row: (row[0], Account(*row[1:]))))

    async def entries(self, since: int) -> list[tuple[str, Entry]]:
        """Oldest first."""
        return await self._read(ENTRIES, (since,), lambda row: (row[0], Entry(*row[1:])))

    async def prune_ledger(self, before: int) -> None:
        """At once: a day has 96 rows for each endpoint."""

        def work() -> None:
            with self._transaction() as connection:
                connection.execute("DELETE FROM ledger WHERE quarter < ?", (before,))

        await self._run(work)

    async def close(self) -> None:
        """Close the file after the calls that are waiting."""
        try:
            with suppress(StoreError):
                await self._run(lambda: None)  # one that was removed is written anew
            self._file = self._kept = None
            await self._run(self._connection.close)
        finally:
            self._worker.shutdown(wait=False)

    async def _read(self, sql: str, values: tuple[Any, ...], row: Callable[[Any], T]) -> list[T]:
        return await self._run(lambda: [row(each) for each in self._connection.execute(sql, values)])


def _first(row: tuple[Any, ...]) -> Any:  # noqa: ANN401 (the type of a column)
    return row[0]


def _row_id(cursor: sqlite3.Cursor) -> int:
    if cursor.lastrowid is None:
        raise StoreError(StoreFault.IO, "nothing was inserted")
    return cursor.lastrowid
