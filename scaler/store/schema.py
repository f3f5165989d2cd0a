"""The tables, and the way from each version of them to the next.

``PRAGMA user_version`` counts the migrations that a file has seen. Each runs in a transaction of its own together with its count, so a
crash in between leaves the version before it. Migrations are only ever added at the end.

The journals cannot be changed: triggers refuse it, whoever asks. ``open_intents`` is no journal but an index of the intents without end,
kept in the same transactions.
"""

import sqlite3
from collections.abc import Sequence

from scaler.store.base import StoreError, StoreFault

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE decisions (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, endpoint TEXT NOT NULL,
            decision TEXT NOT NULL, sample TEXT, observed TEXT)""",
        "CREATE INDEX decisions_of_endpoint ON decisions (endpoint, seq)",
        """CREATE TABLE intents (
            id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, endpoint TEXT NOT NULL, kind TEXT NOT NULL,
            action TEXT NOT NULL, why TEXT NOT NULL, before TEXT)""",
        "CREATE INDEX intents_of_endpoint ON intents (endpoint, id)",
        "CREATE INDEX intents_in_time ON intents (endpoint, at)",
        """CREATE TABLE outcomes (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, intent_id INTEGER NOT NULL REFERENCES intents (id), at REAL NOT NULL,
            status TEXT NOT NULL CHECK (status IN ('confirmed', 'refused', 'unknown')), detail TEXT NOT NULL)""",
        "CREATE INDEX outcomes_of_intent ON outcomes (intent_id, seq)",
        "CREATE UNIQUE INDEX one_end ON outcomes (intent_id) WHERE status <> 'unknown'",
        "CREATE TABLE open_intents (intent_id INTEGER PRIMARY KEY REFERENCES intents (id))",
        "CREATE TABLE endpoints (key TEXT PRIMARY KEY, endpoint TEXT NOT NULL)",
        "CREATE TRIGGER decisions_stay BEFORE UPDATE ON decisions BEGIN SELECT RAISE(ABORT, 'decisions are append-only'); END",
        "CREATE TRIGGER intents_stay BEFORE UPDATE ON intents BEGIN SELECT RAISE(ABORT, 'intents are append-only'); END",
        "CREATE TRIGGER intents_live BEFORE DELETE ON intents BEGIN SELECT RAISE(ABORT, 'intents are never removed'); END",
        "CREATE TRIGGER outcomes_stay BEFORE UPDATE ON outcomes BEGIN SELECT RAISE(ABORT, 'outcomes are append-only'); END",
        "CREATE TRIGGER outcomes_live BEFORE DELETE ON outcomes BEGIN SELECT RAISE(ABORT, 'outcomes are never removed'); END",
    ),
    ("CREATE TABLE declared (key TEXT PRIMARY KEY, endpoint_id TEXT NOT NULL)",),
    (  # what a decision was made from becomes one value
        "ALTER TABLE decisions ADD COLUMN inputs TEXT NOT NULL DEFAULT ''",
        "DROP TRIGGER decisions_stay",
        """UPDATE decisions SET inputs = '{"sample":' || iif(sample IS NULL, '{"why":"not in the journal","received":0}',
                '{"value":' || sample || ',"source":"journal","received":0}') || ',"endpoint":' ||
            iif(observed IS NULL, '{"why":"not in the journal","received":0}',
                '{"value":' || observed || ',"source":"journal","received":0}') || ',"now":0,"at":' || at || '}'""",
        "ALTER TABLE decisions DROP COLUMN sample",
        "ALTER TABLE decisions DROP COLUMN observed",
        "CREATE TRIGGER decisions_stay BEFORE UPDATE ON decisions BEGIN SELECT RAISE(ABORT, 'decisions are append-only'); END",
        "CREATE TABLE checkpoints (seq INTEGER PRIMARY KEY, settings TEXT NOT NULL, memory TEXT NOT NULL)",
    ),
    (
        """CREATE TABLE overrides (
            endpoint TEXT PRIMARY KEY, begins REAL NOT NULL, ends REAL NOT NULL, floor INTEGER, ceiling INTEGER)""",
        """CREATE TABLE ledger (
            endpoint TEXT NOT NULL, quarter INTEGER NOT NULL, dollars REAL NOT NULL, replica_seconds REAL NOT NULL,
            unpriced_seconds REAL NOT NULL, PRIMARY KEY (endpoint, quarter)) WITHOUT ROWID""",
        "CREATE TABLE accounts (endpoint TEXT PRIMARY KEY, at REAL NOT NULL, replicas INTEGER NOT NULL, dollars_per_hour REAL)",
    ),
    ("CREATE TABLE learned (endpoint TEXT PRIMARY KEY, document TEXT NOT NULL)",),
)


def migrate(connection: sqlite3.Connection, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Bring a database (in autocommit mode) to the newest version; `StoreError` if it is newer still or somebody else's."""
    version = _version(connection, len(migrations))
    if version == 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise StoreError(StoreFault.SCHEMA, "the file is a database of something else")
    for number, statements in enumerate(migrations[version:], start=version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in (*statements, f"PRAGMA user_version = {number}"):
                connection.execute(statement)
            connection.execute("COMMIT")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def require_newest(connection: sqlite3.Connection) -> None:
    """For whoever may not migrate: `StoreError` unless the database is at the newest version."""
    newest = len(MIGRATIONS)
    version = _version(connection, newest)
    if version == 0:
        raise StoreError(StoreFault.SCHEMA, "there is no store in this file; the daemon makes one when it starts")
    if version < newest:
        raise StoreError(StoreFault.SCHEMA, f"schema version {version}, not {newest} yet; the daemon brings it there when it starts")


def _version(connection: sqlite3.Connection, newest: int) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > newest:
        raise StoreError(StoreFault.SCHEMA, f"schema version {version}; this scaler knows {newest}: a newer one wrote the file")
    return version
