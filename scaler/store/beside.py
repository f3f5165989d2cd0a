"""What other processes read and write in the store while the daemon runs, or does not. Blocking; all raise `StoreError`."""

from pathlib import Path

from scaler.model import Entry, Override
from scaler.store.sqlite import ENTRIES, OVERRIDES, visit

IMPOSE = """INSERT INTO overrides (endpoint, begins, ends, floor, ceiling) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (endpoint) DO UPDATE SET begins = excluded.begins, ends = excluded.ends,
    floor = excluded.floor, ceiling = excluded.ceiling"""


def impose(path: Path, override: Override) -> None:
    """Write an override down, in place of the endpoint's earlier one."""
    with visit(path, write=True) as connection:
        connection.execute(IMPOSE, (override.endpoint, override.begins, override.ends, override.floor, override.ceiling))


def lift(path: Path, endpoint: str) -> bool:
    """Remove an endpoint's override; whether there was one."""
    with visit(path, write=True) as connection:
        return connection.execute("DELETE FROM overrides WHERE endpoint = ?", (endpoint,)).rowcount > 0


def read_overrides(path: Path) -> list[Override]:
    """All of them, over or not."""
    with visit(path) as connection:
        return [Override(*row) for row in connection.execute(OVERRIDES)]


def read_entries(path: Path, since: int) -> list[tuple[str, Entry]]:
    """The ledger from the quarter ``since`` on, by key, oldest first."""
    with visit(path) as connection:
        return [(row[0], Entry(*row[1:])) for row in connection.execute(ENTRIES, (since,))]
