"""Which of many clients asked in which window: the files that scale to zero is judged on."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from scaler.world.workload import UNREADABLE, TraceError, open_table

WINDOW_SECONDS = 600.0
"""Width of a window."""
COLUMNS = ("client", "window_600s", "requests")
"""Header of a file; its name ends in `SUFFIX`."""
SUFFIX = "_clients_600s"
MAX_WINDOWS = 3660 * 144
"""A longer file is refused: ten years."""
MAX_CELLS = 50_000_000
"""Clients times windows that are read; more is refused."""

SELDOM_SHARE = 0.45
"""Sparse: active in fewer of the windows than this share,"""
SPARSE_WINDOWS = 20
"""in at least so many of them,"""
SPARSE_DAYS = 6
"""on at least so many days,"""
SPARSE_SCORED = 5
"""and in at least so many that are scored."""

_DAY_WINDOWS = 144


@dataclass(frozen=True, slots=True)
class Activity:
    """Requests or none, window by window from the file's origin on.

    clients: names, one for each row of ``active``
    active:  shape (clients, windows): whether the client asked for anything in the window
    """

    clients: tuple[str, ...]
    active: NDArray[np.bool_]

    @property
    def seconds(self) -> float:
        """Span, from the origin to the end of the last window that any client was active in."""
        return float(self.active.shape[1] * WINDOW_SECONDS)

    def only(self, rows: Iterable[int]) -> "Activity":
        """The same span with these rows alone."""
        kept = list(rows)
        return Activity(tuple(self.clients[row] for row in kept), self.active[kept])


def is_activity(path: Path) -> bool:
    """Whether the name is that of a file of clients."""
    return path.name.removesuffix(".gz").removesuffix(".csv").endswith(SUFFIX)


def read_activity(path: Path) -> Activity:
    """Read ``client,window_600s,requests`` (gzipped if it ends in ``.gz``); windows that are not there had no requests.

    Clients are sorted, as numbers if all of them are. Raises `TraceError`.
    """
    try:
        with open_table(path) as file:
            cells, end = _cells(path, file)
    except UNREADABLE as error:
        raise TraceError(f"{path}: cannot be read: {error}") from error
    return _activity(path, cells, end)


def _cells(path: Path, file: TextIO) -> tuple[dict[str, list[int]], int]:
    """The windows that each client was active in, and the end of the last one that is named."""
    rows = csv.DictReader(file)
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise TraceError(f"{path}:1: expected the columns {','.join(COLUMNS)}")
    cells: dict[str, list[int]] = {}
    end = 0
    for row in rows:
        try:
            window, requests = int(row["window_600s"]), int(row["requests"])
        except (TypeError, ValueError):
            window, requests = -1, -1
        if not (0 <= window < MAX_WINDOWS and requests >= 0):
            raise TraceError(f"{path}:{rows.line_num}: expected whole numbers from 0 on and fewer than {MAX_WINDOWS} windows")
        windows = cells.setdefault(row["client"], [])
        end = max(end, window + 1)
        if requests:
            windows.append(window)
    return cells, end


def _activity(path: Path, cells: dict[str, list[int]], end: int) -> Activity:
    """The matrix of what was read."""
    if not end or len(cells) * end > MAX_CELLS:
        raise TraceError(f"{path}: expected at least one row, and clients times windows up to {MAX_CELLS}")
    numbered = all(client.isdecimal() for client in cells)
    clients = sorted(cells, key=(lambda name: (int(name), name)) if numbered else (lambda name: (0, name)))
    active = np.zeros((len(clients), end), dtype=np.bool_)
    for row, client in enumerate(clients):
        active[row, cells[client]] = True
    return Activity(tuple(clients), active)


def sparse(activity: Activity, *, warm_up_seconds: float = 7 * 86400.0) -> list[int]:
    """Rows worth scaling to zero, by the study's filter (`SELDOM_SHARE` and what follows it)."""
    active = activity.active
    first = round(warm_up_seconds / WINDOW_SECONDS)
    count = active.sum(axis=1)
    padded = np.pad(active, ((0, 0), (0, -active.shape[1] % _DAY_WINDOWS)))
    days = padded.reshape(len(active), -1, _DAY_WINDOWS).any(axis=2).sum(axis=1)
    often_enough = (count >= SPARSE_WINDOWS) & (days >= SPARSE_DAYS) & (active[:, first:].sum(axis=1) >= SPARSE_SCORED)
    return [int(row) for row in np.flatnonzero(often_enough & (count < SELDOM_SHARE * active.shape[1]))]
