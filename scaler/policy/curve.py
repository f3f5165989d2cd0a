"""Curves through noisy means: monotone by pooling, and a straight line that may bend upwards once.

All take ``x`` in ascending order, means ``y`` there and the weight of each mean.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TINY = 1e-12
"""Keeps equations solvable; far below what matters."""
MIN_ABOVE = 2
"""Means on the far side of a bend; one alone may be an outlier."""


def isotonic(y: Floats, weight: Floats) -> Floats:
    """The never falling curve nearest to ``y`` in weighted squares: pool adjacent violators (Ayer et al., 1955)."""
    blocks: list[tuple[float, float, int]] = []
    for mean, heft in zip(y.tolist(), weight.tolist(), strict=True):
        block = (mean, heft, 1)
        while blocks and blocks[-1][0] > block[0]:
            last = blocks.pop()
            total = last[1] + block[1]
            block = ((last[0] * last[1] + block[0] * block[1]) / total, total, last[2] + block[2])
        blocks.append(block)
    return np.repeat([mean for mean, _, _ in blocks], [count for _, _, count in blocks])


def first_above(x: Floats, y: Floats, limit: float) -> float | None:
    """Where the never falling curve through the points crosses ``limit``; None if it does not."""
    above = int(np.searchsorted(y, limit, side="right"))
    if above == y.size:
        return None
    if above == 0:
        return float(x[0])
    share = (limit - y[above - 1]) / (y[above] - y[above - 1])
    return float(x[above - 1] + share * (x[above] - x[above - 1]))


@dataclass(frozen=True, slots=True)
class Bend:
    """``y = level + slope x + bend max(0, x - at)``, never falling. ``gain``: F against the straight line, the larger the surer."""

    at: float
    level: float
    slope: float
    bend: float
    gain: float

    def before(self, x: float) -> float:
        """The line as it was before the bend, for an ``x`` beyond it the value at the bend."""
        return self.level + self.slope * min(x, self.at)


def slope_of(x: Floats, y: Floats, weight: Floats) -> tuple[float, float]:
    """Slope of the straight line through the points, and its standard error; (0, inf) where there is none."""
    if x.size <= MIN_ABOVE:
        return 0.0, np.inf
    centre = np.average(x, weights=weight)
    spread = float(np.sum(weight * (x - centre) ** 2))
    slope = float(np.sum(weight * (x - centre) * y)) / spread
    rest = y - np.average(y, weights=weight) - slope * (x - centre)
    return slope, float(np.sqrt(np.sum(weight * rest**2) / (x.size - 2) / spread))


def bend_of(x: Floats, y: Floats, weight: Floats) -> Bend | None:
    """The best fit that bends at one of the inner points; None where there are too few, or no bend is upwards."""
    free = x.size - 4
    if free <= 0:
        return None
    places = x[1:-MIN_ABOVE]
    after = np.maximum(0.0, x - places[:, np.newaxis])
    one, line = np.broadcast_to(np.ones_like(x), after.shape), np.broadcast_to(x, after.shape)
    found, squares = _least_squares(np.stack((one, line, after), axis=-1), y, weight)
    flat, flat_squares = _least_squares(np.stack((one, after), axis=-1), y, weight)
    falls = found[:, 1] < 0
    found[falls] = np.column_stack((flat[:, 0], np.zeros(places.size), flat[:, 1]))[falls]
    squares = np.where(found[:, 2] > 0, np.where(falls, flat_squares, squares), np.inf)
    best = int(np.argmin(squares))
    if not np.isfinite(squares[best]):
        return None
    straight = float(_least_squares(np.stack((one[:1], line[:1]), axis=-1), y, weight)[1][0])
    level, slope, bend = found[best].tolist()
    least = max(float(squares[best]), TINY * straight)
    return Bend(float(places[best]), level, slope, bend, (straight - least) / 2 / (least / free) if straight > 0 else 0.0)


def _least_squares(columns: Floats, y: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Weighted least squares of several models at once, ``columns`` of each (models, points, columns): coefficients, squares left."""
    weighted = columns * weight[:, np.newaxis]
    normal = np.swapaxes(weighted, 1, 2) @ columns
    scale = np.einsum("mii->m", normal)[:, np.newaxis, np.newaxis]
    found = np.linalg.solve(normal + TINY * scale * np.eye(columns.shape[2]), (np.swapaxes(weighted, 1, 2) @ y)[..., np.newaxis])[..., 0]
    rest = np.einsum("mpc,mc->mp", columns, found) - y
    return found, (weight * rest**2).sum(axis=1)
