"""Linear quantile regression by iteratively reweighted least squares."""

import numpy as np

from scaler.policy.forecast.windows import Floats

NEAR = 0.02
"""Residuals smaller than this (in logarithms: 2 %) count as this, which keeps weights finite."""
RIDGE = 3.0
"""Against columns that say the same: half of this times ||theta||² is added to the loss, if not told otherwise."""
STEPS = 20


def fit_quantile(columns: Floats, target: Floats, weight: Floats, tau: float, *, ridge: float = RIDGE, steps: int = STEPS) -> Floats:
    """Coefficients theta that minimise the pinball loss of ``target - columns @ theta`` at ``tau``.

    ``columns`` is (rows, k), ``weight`` one figure per row. Each step solves least squares with weights
    (tau or 1 - tau) / max(|residual|, `NEAR`), beginning with the residuals of theta = 0 (Schlossmacher, 1973).
    """
    theta: Floats = np.zeros(columns.shape[1])
    for _ in range(steps):
        residual = target - columns @ theta
        row = weight * np.where(residual > 0, tau, 1 - tau) / np.maximum(np.abs(residual), NEAR)
        weighted = columns * row[:, np.newaxis]
        normal = weighted.T @ columns
        normal[np.diag_indices_from(normal)] += ridge
        theta = np.linalg.solve(normal, weighted.T @ target).astype(np.float64)
    return theta
