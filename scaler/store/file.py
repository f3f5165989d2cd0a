"""The file that a store is in: made, judged, moved aside, and written anew where somebody has taken it away."""

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from itertools import count
from pathlib import Path

from scaler.store.base import StoreError, StoreFault
from scaler.store.schema import migrate

BUSY_SECONDS = 2.0
BESIDE = ("-wal", "-shm")
"""What SQLite keeps beside a file, by what it appends to its name."""

Identity = tuple[int, int]
"""What tells a file from any other: device and inode."""


def identity(path: Path) -> Identity | None:
    """Of the file at ``path``; None where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def log_of(path: Path) -> dict[Path, Identity | None]:
    """What SQLite keeps beside a file that is open."""
    return {file: identity(file) for file in (_beside(path, suffix) for suffix in BESIDE)}


def take_away(log: Mapping[Path, Identity | None]) -> None:
    """Remove the log of a file whose name has gone to another one, which would take it for its own."""
    for file, known in log.items():
        if identity(file) == known:
            file.unlink(missing_ok=True)


def connect(path: Path) -> sqlite3.Connection:
    """Open the file, or make one; mode 0600."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)
    return sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)


def prepare(connection: sqlite3.Connection) -> None:
    """See whether the database is sound, and bring it up to date."""
    verdict: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise StoreError(StoreFault.CORRUPT, verdict)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = ON")
    migrate(connection)


def move_aside(path: Path, now: float) -> Path:
    """Rename the file and what SQLite keeps beside it to the first free ``NAME.corrupt-<unix>``.

    The log goes first: a new file must never find itself beside the log of an old one.
    """
    aside = _free_name(path, "corrupt", int(now))
    for suffix in (*BESIDE, ""):
        with suppress(FileNotFoundError):
            _beside(path, suffix).rename(_beside(aside, suffix))
    return aside


def save(connection: sqlite3.Connection, path: Path) -> Path:
    """Write all that an open database holds to the first free ``NAME.kept-<n>``; it need not have a name itself any more."""
    kept = _free_name(path, "kept", 1)
    try:
        with closing(connect(kept)) as copy:
            connection.backup(copy)
    except BaseException:
        kept.unlink(missing_ok=True)
        raise
    return kept


def restore(connection: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """Write all that an open database holds to ``path``, where it was until somebody removed it, and open that in its place."""
    kept = save(connection, path)
    connection.close()
    take_away(log_of(path))
    kept.rename(path)
    fresh = connect(path)
    prepare(fresh)
    return fresh


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _free_name(path: Path, what: str, first: int) -> Path:
    names: Iterator[Path] = (_beside(path, f".{what}-{number}") for number in count(first))
    return next(name for name in names if not os.path.lexists(name))
