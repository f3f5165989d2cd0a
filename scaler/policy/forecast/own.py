"""What an endpoint's own last week adds to the network: two experts that are fitted to it alone."""

from dataclasses import dataclass

import numpy as np

from scaler.arrays import Kept
from scaler.policy.forecast.columns import Features
from scaler.policy.forecast.network import Network, View
from scaler.policy.forecast.regression import fit_quantile
from scaler.policy.forecast.windows import Floats

CORRECTION_RIDGE = 300.0
"""Holds the network's own word dear: a unit has to be wrong for long before the endpoint overrules it."""
CORRECTION_STEPS = 8
LEAST_UNIT = 0.05
"""A unit of the network that moves less than this counts as if it moved so much: what hardly ever spoke may not shout."""


@dataclass(frozen=True, slots=True, eq=False)
class Own:
    """Weights fitted to one endpoint; the first axis is up and down.

    line:       (2, own columns) of its own columns: all that this expert goes by
    correction: (2, units + 1) of what the network's last layer sees, and always; added to what the network says
    """

    line: Kept
    correction: Kept

    def growths(self, seen: Features, view: View, told: Floats) -> tuple[Floats, Floats]:
        """(2, instants) each, what the line and what the corrected network expect, where the network has ``told`` (2, instants)."""
        return self.line @ seen.values[:, : seen.own].T, told + self.correction @ _units(view).T


def fit_own(seen: Features, growths: Floats, weight: Floats, pooled: Network, *, lead: int, taus: tuple[float, float]) -> Own:
    """Fitted to instants, all of them known, and the ``growths`` (2, instants) that followed; ``taus``: the quantiles up and down.

    The line is a quantile regression on columns, the correction one of what the network missed on the units of its last layer: the
    network's view is kept, and how much each part of it means is learned anew.
    """
    columns, view = seen.values[:, : seen.own], pooled.look(seen.values, lead)
    units = _units(view)
    scale = np.append(np.maximum(units[:, :-1].std(axis=0), LEAST_UNIT), 1.0)
    missed = growths - view.growth(taus)
    line = [fit_quantile(columns, growth, weight, tau) for growth, tau in zip(growths, taus, strict=True)]
    correction = [
        fit_quantile(units / scale, miss, weight, tau, ridge=CORRECTION_RIDGE, steps=CORRECTION_STEPS) / scale
        for miss, tau in zip(missed, taus, strict=True)
    ]
    return Own(np.stack(line), np.stack(correction))


def _units(view: View) -> Floats:
    """(instants, units + 1): the network's last layer, and ones."""
    return np.column_stack((view.units, np.ones(len(view.units))))
