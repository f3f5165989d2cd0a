"""What forecasts are made with: a network that ships with the program, and a small fit to the endpoint itself."""

import hashlib
from dataclasses import dataclass

import numpy as np

from scaler.policy.forecast.columns import WINDOW, Features, features, lg
from scaler.policy.forecast.network import Network
from scaler.policy.forecast.own import Own, fit_own
from scaler.policy.forecast.record import DAY, STEP_SECONDS, Record
from scaler.policy.forecast.windows import Floats, Instants, Windows

FIT_DAYS = 7
"""Days of instants that a fit looks at."""
FIRST_FIT_DAYS = 3
"""Days on record before the first fit."""
EVERY = 10
"""One instant in so many steps is fitted on (five minutes); neighbours say the same."""
_FIRST_ROW = DAY // 4
_SHORTEST_HOLD = 6
"""Steps beyond the lead for which replicas are kept at least (three minutes)."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Which quantiles are forecast. up: of the peak in the window ahead; down: of the peak from now on over two leads."""

    up: float
    down: float


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """What forecasts of one endpoint are made with, for one lead.

    lead:   steps, from a start to service
    pooled: what many endpoints have in common
    own:    what was fitted to this endpoint; None while little is known
    id:     names all of this: same model, same id
    """

    lead: int
    aims: Quantiles
    pooled: Network
    own: Own | None
    id: str


def unfitted(pooled: Network, lead_seconds: float, aims: Quantiles) -> Model:
    """The network alone: for an endpoint of which little is known."""
    return assemble(steps_of(lead_seconds), aims, pooled, None)


def refit(record: Record, pooled: Network, lead_seconds: float, aims: Quantiles) -> Model:
    """A model of this endpoint from the last week on record; `unfitted` while fewer than `FIRST_FIT_DAYS` are known."""
    lead = steps_of(lead_seconds)
    if record.known_steps < FIRST_FIT_DAYS * DAY:
        return unfitted(pooled, lead_seconds, aims)
    at = fitting(record.values.size, lead)
    return fit(features(record.values, at, lead), targets(record.values, at, lead), lead, pooled, aims)


def fit(seen: Features, goals: Floats, lead: int, pooled: Network, aims: Quantiles) -> Model:
    """A model from features at instants and what became of them (`targets`); with too few of them the network alone."""
    usable = ~np.isnan(seen.level) & ~np.isnan(goals).any(axis=0)
    if np.count_nonzero(usable) < seen.own:
        return assemble(lead, aims, pooled, None)
    known = seen.at(usable)
    own = fit_own(known, goals[:, usable] - known.level, weights(known.level), pooled, lead=lead, taus=(aims.up, aims.down))
    return assemble(lead, aims, pooled, own)


def weights(level: Floats) -> Floats:
    """How much an instant counts in a fit, 1 on average: the square root of its level, as errors at high load cost more."""
    roots = np.exp(level / 2)
    share: Floats = roots / roots.mean()
    return share


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


def assemble(lead: int, aims: Quantiles, pooled: Network, own: Own | None) -> Model:
    """The network with an endpoint's own weights, if there are any."""
    mark = hashlib.sha256(repr((lead, aims, pooled.id)).encode())
    if own is not None:
        for fitted in (own.line, own.correction):
            fitted.setflags(write=False)
            mark.update(fitted.tobytes())
    return Model(lead, aims, pooled, own, mark.hexdigest()[:12])
