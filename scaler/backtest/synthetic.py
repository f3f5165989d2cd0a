"""Endpoints that never were: clients of a real service by themselves and in mixtures, from counts per ten minutes."""

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scaler.backtest.demand import PEAK_PERCENTILE
from scaler.policy.forecast.windows import Floats, Instants

WINDOW_SECONDS = 600
PER_WINDOW = 20
"""Steps of a record in a window."""
WEEK = 7 * 86400 // WINDOW_SECONDS
BUSY_WINDOWS, BUSY_REQUESTS = 600, 10_000
"""A client with fewer windows or requests says too little."""
MIXTURES = 60
SIZES = (2, 3, 5, 8, 12)
"""Clients in a mixture."""
PEAKS = (3.0, 24.0)
"""Peaks of mixtures, in replicas, are drawn from this range; those of clients are as in backtests."""
CLIENT_PEAK = 12.0
SEED = 1


@dataclass(frozen=True, slots=True)
class Synthetic:
    """An endpoint: its record (30-second means, replicas), and the clients in it."""

    name: str
    values: Floats
    clients: frozenset[int]


def endpoints(path: Path) -> Iterator[Synthetic]:
    """Each busy client, then mixtures.

    Arrivals within a window follow a Poisson process with the `rates` of its steps.
    """
    dice = np.random.default_rng(SEED)
    counts = read_clients(path)
    enough = busy(counts)
    for client in enough:
        yield Synthetic(f"client {client}", scaled(_arrivals(counts[client], dice), CLIENT_PEAK), frozenset({int(client)}))
    for number in range(MIXTURES):
        members = dice.choice(enough, min(int(dice.choice(SIZES)), enough.size), replace=False)
        shares = dice.dirichlet(np.ones(members.size))
        parts = [_arrivals(counts[one], dice) / counts[one].mean() * share for one, share in zip(members, shares, strict=True)]
        yield Synthetic(f"mixture {number}", scaled(np.sum(parts, axis=0), draw_peak(dice)), frozenset(members.tolist()))


def read_clients(path: Path) -> Floats:
    """(clients, windows) requests of a ``client,window_600s,requests`` file. Raises `OSError` or `ValueError`."""
    with gzip.open(path, "rt", encoding="ascii", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        table = np.array([[int(cell) for cell in row] for row in rows], dtype=np.int64)
    counts = np.zeros(table[:, :2].max(axis=0) + 1)
    counts[table[:, 0], table[:, 1]] = table[:, 2]
    return counts[:, seen(counts)]


def seen(counts: Floats) -> Instants:
    """For each window, the one to look at: itself, or where no client has any request, and the collection a hole, the week beside."""
    windows = np.arange(counts.shape[1])
    return np.where(counts.sum(axis=0) == 0, (windows + WEEK) % windows.size, windows)


def busy(counts: Floats) -> Instants:
    """The clients that say enough."""
    return np.flatnonzero(((counts > 0).sum(axis=1) >= BUSY_WINDOWS) & (counts.sum(axis=1) >= BUSY_REQUESTS))


def rates(counts: Floats) -> Floats:
    """Of a step, from a client's ``counts`` per window: lines between the middles of windows."""
    middles = np.arange(counts.size) * PER_WINDOW + PER_WINDOW / 2
    between: Floats = np.interp(np.arange(counts.size * PER_WINDOW) + 0.5, middles, counts / PER_WINDOW)
    return between


def _arrivals(counts: Floats, dice: np.random.Generator) -> Floats:
    drawn: Floats = dice.poisson(rates(counts)).astype(np.float64)
    return drawn


def draw_peak(dice: np.random.Generator) -> float:
    """From `PEAKS`, evenly in logarithms."""
    return float(np.exp(dice.uniform(*np.log(PEAKS))))


def scaled(steps: Floats, replicas: float) -> Floats:
    """A record's ``steps`` with the peak that backtests would see at ``replicas``."""
    peak = np.percentile(steps.reshape(-1, 2).mean(axis=1), PEAK_PERCENTILE)
    grown: Floats = steps * (replicas / peak)
    return grown
