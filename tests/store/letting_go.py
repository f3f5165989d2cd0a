"""What the kernel does when a daemon has died: its store is let go of, as it is."""

from contextlib import suppress

from scaler.store.sqlite import SqliteStore


def let_go(store: SqliteStore) -> None:
    """Also of one that is closed already, or whose disk hangs."""
    with suppress(RuntimeError):  # its thread has ended
        store._worker.submit(store._connection.close)
    store._worker.shutdown()
