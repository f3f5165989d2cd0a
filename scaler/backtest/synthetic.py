"""Endpoints that never were: clients of a real service by themselves and in mixtures, from counts per ten minutes."""

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scaler.backtest.demand import PEAK_PERCENTILE
from scaler.policy.forecast.windows import Floats

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

    Arrivals within a window follow a Poisson process whose rate runs in lines between the middles of windows. Windows in which no
    client has any request are holes in the collection and taken from the week beside.
    """
    dice = np.random.default_rng(SEED)
    counts = read_clients(path)
    busy = np.flatnonzero(((counts > 0).sum(axis=1) >= BUSY_WINDOWS) & (counts.sum(axis=1) >= BUSY_REQUESTS))
    for client in busy:
        yield Synthetic(f"client {client}", scaled(_arrivals(counts[client], dice), CLIENT_PEAK), frozenset({int(client)}))
    for number in range(MIXTURES):
        members = dice.choice(busy, min(int(dice.choice(SIZES)), busy.size), replace=False)
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
    holes = np.flatnonzero(counts.sum(axis=0) == 0)
    counts[:, holes] = counts[:, (holes + WEEK) % counts.shape[1]]
    return counts


def _arrivals(counts: Floats, dice: np.random.Generator) -> Floats:
    middles = np.arange(counts.size) * PER_WINDOW + PER_WINDOW / 2
    steps = np.arange(counts.size * PER_WINDOW) + 0.5
    drawn: Floats = dice.poisson(np.interp(steps, middles, counts / PER_WINDOW)).astype(np.float64)
    return drawn


def draw_peak(dice: np.random.Generator) -> float:
    """From `PEAKS`, evenly in logarithms."""
    return float(np.exp(dice.uniform(*np.log(PEAKS))))


def scaled(steps: Floats, replicas: float) -> Floats:
    """A record's ``steps`` with the peak that backtests would see at ``replicas``."""
    peak = np.percentile(steps.reshape(-1, 2).mean(axis=1), PEAK_PERCENTILE)
    grown: Floats = steps * (replicas / peak)
    return grown
