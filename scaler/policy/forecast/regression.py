"""Linear quantile regression by iteratively reweighted least squares."""

import numpy as np
from numpy.typing import NDArray

from scaler.policy.forecast.windows import Floats

NEAR = 0.02
"""Residuals smaller than this (in logarithms: 2 %) count as this, which keeps weights finite."""


def fit_quantile(columns: Floats, target: Floats, weight: Floats, tau: float, *, prior: Floats, ridge: float, steps: int) -> Floats:
    """Coefficients theta that minimise the pinball loss of ``target - columns @ theta`` at ``tau`` + ``ridge`` x ||theta - prior||² / 2.

    ``columns`` is (rows, k), ``weight`` one figure per row. Each step solves least squares with weights
    (tau or 1 - tau) / max(|residual|, `NEAR`), beginning with the residuals that ``prior`` leaves (Schlossmacher, 1973).
    """
    theta: NDArray[np.floating] = prior
    for _ in range(steps):
        residual = target - columns @ theta
        row = weight * np.where(residual > 0, tau, 1 - tau) / np.maximum(np.abs(residual), NEAR)
        weighted = columns * row[:, np.newaxis]
        normal = weighted.T @ columns
        normal[np.diag_indices_from(normal)] += ridge
        theta = np.linalg.solve(normal, weighted.T @ target + ridge * prior)
    return theta.astype(np.float64)
