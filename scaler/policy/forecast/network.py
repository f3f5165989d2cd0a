"""A small network of rectified units: what many endpoints have in common, as arrays."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Singles = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What a network makes of some instants.

    taus:    its quantiles, ascending
    units:   (instants, units): its last rectified layer, which is what it sees in the columns
    outputs: (2, taus, instants): what it says
    """

    taus: tuple[float, ...]
    units: NDArray[np.float64]
    outputs: NDArray[np.float64]

    def growth(self, aims: tuple[float, float]) -> NDArray[np.float64]:
        """(2, instants): up and down at their quantiles ``aims``, in proportion to log(tau / (1 - tau)) between trained ones and beyond."""
        return np.stack([self._shares(tau) @ head for tau, head in zip(aims, self.outputs, strict=True)])

    def _shares(self, tau: float) -> NDArray[np.float64]:
        """What each trained quantile counts for at ``tau``: the two that are nearest make a line."""
        grid = _odds(np.array(self.taus))
        right = int(np.clip(np.searchsorted(grid, _odds(tau)), 1, grid.size - 1))
        share = (_odds(tau) - grid[right - 1]) / (grid[right] - grid[right - 1])
        shares = np.zeros(grid.size)
        shares[right - 1 : right + 1] = 1 - share, share
        return shares


@dataclass(frozen=True, eq=False)
class Network:
    """Columns of a forecast and its lead in, growth of the peak over the level out, for two heads (up, down) at each quantile.

    names:  of the columns it was trained on
    taus:   quantiles, ascending
    shift, scale: of the inputs, (columns + 1,)
    layers: (weights, offsets) in order; all but the last are rectified
    skip:   from the inputs straight to the outputs
    """

    names: tuple[str, ...]
    taus: tuple[float, ...]
    shift: Singles
    scale: Singles
    layers: tuple[tuple[Singles, Singles], ...]
    skip: Singles

    @cached_property
    def id(self) -> str:
        """Names all of this: same network, same id."""
        mark = hashlib.sha256(repr((self.names, self.taus)).encode())
        for array in (self.shift, self.scale, *(part for layer in self.layers for part in layer), self.skip):
            mark.update(array.tobytes())
        return mark.hexdigest()[:12]

    def look(self, columns: NDArray[np.float64], lead: int) -> View:
        """At ``columns`` (instants, columns), with a ``lead`` in steps."""
        inputs: Singles = (with_lead(columns, lead) - self.shift) / self.scale
        units = inputs
        for weights, offsets in self.layers[:-1]:
            units = np.maximum(units @ weights + offsets, 0)
        weights, offsets = self.layers[-1]
        outputs = units @ weights + offsets + inputs @ self.skip
        return View(self.taus, units.astype(np.float64), outputs.T.reshape(2, len(self.taus), -1).astype(np.float64))


def with_lead(columns: NDArray[np.float64], lead: int) -> Singles:
    """Inputs of a network: the columns, and the logarithm of the lead."""
    return np.column_stack((columns, np.full(len(columns), np.log(lead)))).astype(np.float32)


def _odds(taus: NDArray[np.float64] | float) -> NDArray[np.float64]:
    odds: NDArray[np.float64] = np.log(np.divide(taus, np.subtract(1, taus)))
    return odds
