"""Means and extremes of a series over windows that lie relative to instants: one instant live, many at once in training and backtests."""

import math
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Instants = NDArray[np.int64]
"""Positions in a series; at instant k everything before ``series[k]`` has happened."""

FEW = 4
"""Up to so many instants, windows are looked at one by one; beyond, all at once, with tables over the whole series."""


class Windows:
    """Windows of ``values`` (NaN = nothing known) around each of the instants ``at``.

    A window from ``start`` to ``stop`` covers ``values[at + start : at + stop]``; what lies outside the series is not known either.
    Each answer has one figure per instant, NaN where nothing in the window is known.
    """

    def __init__(self, values: Floats, at: Instants) -> None:
        """Remember the series; sums and tables are built when they are asked for."""
        self._values = values
        self._at = at
        self._unknown = np.isnan(values)

    @cached_property
    def _sums(self) -> Floats:
        return np.concatenate(([0.0], np.cumsum(np.where(self._unknown, 0.0, self._values))))

    @cached_property
    def _gaps(self) -> Instants:
        return np.concatenate(([0], np.cumsum(self._unknown)))

    @cached_property
    def _tops(self) -> list[Floats]:
        return [np.where(self._unknown, -np.inf, self._values)]

    @cached_property
    def _bottoms(self) -> list[Floats]:
        return [np.where(self._unknown, -np.inf, -self._values)]

    def mean(self, start: int, stop: int) -> Floats:
        """The mean of what is known."""
        if self._at.size <= FEW:
            return np.array([self._mean(low, high) for low, high in self._spans(start, stop)])
        first, last = self._edges(start, stop)
        counts = last - first - (self._gaps[last] - self._gaps[first])
        sums = self._sums[last] - self._sums[first]
        means: Floats = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
        return means

    def highest(self, start: int, stop: int) -> Floats:
        """The maximum of what is known."""
        return self._extreme(self._tops, start, stop)

    def lowest(self, start: int, stop: int) -> Floats:
        """The minimum of what is known."""
        return -self._extreme(self._bottoms, start, stop)

    def _edges(self, start: int, stop: int) -> tuple[Instants, Instants]:
        size = self._values.size
        first, last = self._at + start, self._at + stop
        return np.minimum(np.maximum(first, 0), size), np.minimum(np.maximum(last, 0), size)

    def _spans(self, start: int, stop: int) -> list[tuple[int, int]]:
        size = self._values.size
        return [(min(max(k + start, 0), size), min(max(k + stop, 0), size)) for k in self._at.tolist()]

    def _mean(self, low: int, high: int) -> float:
        count = high - low - (self._gaps[high] - self._gaps[low])
        return (self._sums[high] - self._sums[low]) / count if count else math.nan

    def _extreme(self, tables: list[Floats], start: int, stop: int) -> Floats:
        if self._at.size <= FEW:
            found = np.array([tables[0][low:high].max(initial=-np.inf) for low, high in self._spans(start, stop)])
        else:
            found = _from_tables(tables, *self._edges(start, stop))
        return np.where(np.isneginf(found), np.nan, found)


def _from_tables(tables: list[Floats], first: Instants, last: Instants) -> Floats:
    """Maxima of ``[first, last)`` as the larger of two overlapping spans of 2**k; ``tables[k][j]`` is the maximum of ``[j, j + 2**k)``."""
    spans = last - first
    level = max(int(spans.max(initial=1)), 1).bit_length() - 1
    while len(tables) <= level:
        hop = 1 << (len(tables) - 1)
        tables.append(np.maximum(tables[-1][:-hop], tables[-1][hop:]))
    found = np.full(spans.shape, -np.inf)
    for power in range(level + 1):
        mine = (spans >= 1 << power) & (spans < 2 << power)
        if not mine.any():
            continue
        table = tables[power]
        found[mine] = np.maximum(table[first[mine]], table[last[mine] - (1 << power)])
    return found
