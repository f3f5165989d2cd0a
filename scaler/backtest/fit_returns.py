"""Fit the coefficients of `scaler.policy.returns` to files of clients: ``python -m scaler.backtest.fit_returns FILE ...``.

Each window of each gap of a sparse client is a row, with what was known when the gap began; ridge regression by Newton's method. Clients
that are active in half of the windows or more are left out: nobody would let them sleep. Prints the figures of `returns_theta`.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scaler.backtest.activity import SELDOM_SHARE, Activity, read_activity
from scaler.policy.returns import HORIZON, features

Floats = NDArray[np.float64]

RIDGE = 10.0
"""On the coefficients of columns scaled to one standard deviation; the intercept goes free."""
LEAST_DEVIATION = 0.05
STEPS = 30
TOLERANCE = 1e-3
DIGITS = 4


def rows_of(activity: Activity, clients: Iterable[int]) -> tuple[Floats, Floats]:
    """Columns and outcomes (1: the gap ended with this window) of all gaps of these clients."""
    columns: list[Floats] = []
    outcomes: list[Floats] = []
    for client in clients:
        active = activity.active[client]
        begins = np.flatnonzero(active[:-1] & ~active[1:]) + 1
        for begin in begins.tolist():
            later = np.flatnonzero(active[begin:])
            ended = bool(later.size)
            age = min(int(later[0]) if ended else active.size - begin - 1, HORIZON)
            if age:
                columns.append(features(active[:begin])[:age])
                outcomes.append(np.concatenate((np.zeros(age - 1), [float(ended and later[0] == age)])))
    return np.concatenate(columns), np.concatenate(outcomes)


def fit(x: Floats, y: Floats) -> Floats:
    """Intercept and coefficients of the ridge logistic regression of ``y`` on ``x``, both for ``x`` as it is."""
    mean, deviation = x.mean(axis=0), np.maximum(x.std(axis=0), LEAST_DEVIATION)
    z = np.column_stack((np.ones(len(y)), (x - mean) / deviation))
    ridge = np.full(z.shape[1], RIDGE)
    ridge[0] = 0.0
    share = y.mean()
    theta = np.zeros(z.shape[1])
    theta[0] = np.log(share / (1.0 - share))
    for _ in range(STEPS):
        chance = 1.0 / (1.0 + np.exp(-z @ theta))
        slope = z.T @ (chance - y) + ridge * theta
        step = np.linalg.solve((z.T * (chance * (1.0 - chance))) @ z + np.diag(ridge + 1e-9), slope)
        theta = _descend(z, y, ridge, theta, step)
        if np.abs(step).max() < TOLERANCE:
            break
    scaled = theta[1:] / deviation
    return np.concatenate(([theta[0] - mean @ scaled], scaled))


def _descend(z: Floats, y: Floats, ridge: Floats, theta: Floats, step: Floats) -> Floats:
    """The whole step, or half of it as often as it takes to get lower."""

    def loss(at: Floats) -> float:
        odds = z @ at
        return float((np.logaddexp(0.0, odds) - y * odds).sum() + 0.5 * (ridge * at * at).sum())

    before, share = loss(theta), 1.0
    while share > TOLERANCE and loss(theta - share * step) > before:
        share /= 2
    return theta - share * step


def seldom(activity: Activity) -> list[int]:
    """Rows of the clients to learn from."""
    count = activity.active.sum(axis=1)
    return [int(row) for row in np.flatnonzero((count > 1) & (count < SELDOM_SHARE * activity.active.shape[1]))]


def main(paths: Iterable[str]) -> None:
    """Fit and print."""
    read = [read_activity(Path(path)) for path in paths]
    rows = [rows_of(activity, seldom(activity)) for activity in read]
    theta = fit(np.concatenate([x for x, _ in rows]), np.concatenate([y for _, y in rows]))
    sys.stdout.write(f"{tuple(round(value, DIGITS) for value in theta.tolist())}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
