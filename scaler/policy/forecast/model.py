"""What forecasts are made with: weights that ship with the program, and weights refitted to one endpoint."""

import hashlib
from dataclasses import dataclass

import numpy as np

from scaler.policy.forecast.columns import WINDOW, Features, features, lg
from scaler.policy.forecast.record import DAY, STEP_SECONDS, Record
from scaler.policy.forecast.regression import fit_quantile
from scaler.policy.forecast.windows import Floats, Instants, Windows

FIT_DAYS = 7
"""Days of instants that a fit looks at."""
FIRST_FIT_DAYS = 2
"""Days on record before the first fit."""
EVERY = 10
"""One instant in so many steps is fitted on (five minutes); neighbours say the same."""
_FIRST_ROW = DAY // 4
_SHORTEST_HOLD = 6
"""Steps beyond the lead for which replicas are kept at least (three minutes)."""
_OWN_RIDGE, _OWN_STEPS = 3.0, 20
_SHRINKAGE, _SHRUNK_STEPS = 1000.0, 8


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Which quantiles are forecast. up: of the peak in the window ahead; down: of the peak from now on over two leads."""

    up: float
    down: float


@dataclass(frozen=True, slots=True, eq=False)
class Pooled:
    """Weights fitted over many endpoints, on a grid of leads and quantiles.

    leads:   seconds, ascending
    taus:    quantiles, ascending
    names:   of the columns
    weights: (leads, taus, 2, columns); up and down on the third axis
    """

    leads: tuple[float, ...]
    taus: tuple[float, ...]
    names: tuple[str, ...]
    weights: Floats

    def at(self, lead_seconds: float, aims: Quantiles) -> Floats:
        """(2, columns): between leads in proportion to log(lead), between quantiles to log(tau / (1 - tau)); the ends hold beyond."""
        leads = _between(np.log(self.leads), float(np.log(lead_seconds)))
        odds = np.log(np.array(self.taus) / (1 - np.array(self.taus)))
        taus = (_between(odds, float(np.log(aim / (1 - aim)))) for aim in (aims.up, aims.down))
        mixed = np.tensordot(leads, self.weights, axes=1)
        return np.stack([tau @ mixed[:, head] for head, tau in enumerate(taus)])


def _between(grid: Floats, where: float) -> Floats:
    """The weight of each point of an ascending ``grid`` in linear interpolation."""
    return np.array([np.interp(where, grid, one) for one in np.eye(grid.size)])


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """What forecasts of one endpoint are made with, for one lead.

    lead:    steps, from a start to service
    weights: (experts, 2, columns); the forecast is the mean of the experts' in logarithms
    id:      names the weights: same weights, same id
    """

    lead: int
    weights: Floats
    id: str


def unfitted(pooled: Pooled, lead_seconds: float, aims: Quantiles) -> Model:
    """The pooled weights as they are: for an endpoint of which little is known."""
    return _model(steps_of(lead_seconds), pooled.at(lead_seconds, aims)[np.newaxis])


def refit(record: Record, pooled: Pooled, lead_seconds: float, aims: Quantiles) -> Model:
    """A model of this endpoint from what is on record: pooled weights drawn towards its last week, and a small fit to it alone.

    `unfitted` while fewer than `FIRST_FIT_DAYS` are known.
    """
    if record.known_steps < FIRST_FIT_DAYS * DAY:
        return unfitted(pooled, lead_seconds, aims)
    lead = steps_of(lead_seconds)
    at = fitting(record.values.size, lead)
    return fit(features(record.values, at, lead), targets(record.values, at, lead), lead, pooled.at(lead_seconds, aims), aims)


def fit(seen: Features, goals: Floats, lead: int, prior: Floats, aims: Quantiles) -> Model:
    """Both experts from features at instants and what became of them (`targets`)."""
    usable = ~np.isnan(seen.level) & ~np.isnan(goals).any(axis=0)
    columns, level = seen.values[usable], seen.level[usable]
    weight = np.exp(level / 2)
    weight /= weight.mean()
    alone, shrunk = np.zeros_like(prior), np.empty_like(prior)
    for head, tau in enumerate((aims.up, aims.down)):
        growth = goals[head, usable] - level
        own = columns[:, : seen.own]
        nothing = np.zeros(seen.own)
        alone[head, : seen.own] = fit_quantile(own, growth, weight, tau, prior=nothing, ridge=_OWN_RIDGE, steps=_OWN_STEPS)
        shrunk[head] = fit_quantile(columns, growth, weight, tau, prior=prior[head], ridge=_SHRINKAGE, steps=_SHRUNK_STEPS)
    return _model(lead, np.stack((alone, shrunk)))


def fitting(now: int, lead: int) -> Instants:
    """The instants that a fit at ``now`` looks at: their outcome is known, and some past of theirs."""
    return np.arange(max(_FIRST_ROW, now - FIT_DAYS * DAY), now - _longest(lead), EVERY)


def targets(values: Floats, at: Instants, lead: int) -> Floats:
    """(2, instants), lg: the peak in the window ahead, and from now on until replicas would be back if they were given up now."""
    demand = Windows(values, at)
    return np.stack((lg(demand.highest(lead, lead + WINDOW)), lg(demand.highest(0, _longest(lead)))))


def steps_of(seconds: float) -> int:
    """Whole steps that cover ``seconds``, at least one."""
    return max(1, int(np.ceil(seconds / STEP_SECONDS - 1e-9)))


def _longest(lead: int) -> int:
    return lead + max(lead, _SHORTEST_HOLD) + WINDOW // 2


def _model(lead: int, weights: Floats) -> Model:
    weights.setflags(write=False)
    return Model(lead, weights, hashlib.sha256(weights.tobytes()).hexdigest()[:12])
