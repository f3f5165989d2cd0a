"""Forecasts from a record and a model: one for now, or one for each of many instants."""

from dataclasses import dataclass

import numpy as np

from scaler.policy.forecast.columns import Features, features
from scaler.policy.forecast.model import Model
from scaler.policy.forecast.record import DAY, Record
from scaler.policy.forecast.windows import Floats

REACH_DAYS = 8
"""No column looks back farther."""
GROWTHS = (-3.0, 4.0)
"""The logarithm of the forecast growth is kept in here."""
RECORD_GROWTH = 1.5
"""No more is forecast than this times the week's highest step, or the level if that is more; less would miss the first big burst."""
NETWORK_SHARE, LINE_SHARE, CORRECTED_SHARE = 1 / 2, 1 / 4, 1 / 4
"""Weights of the three experts where there is an own fit; unseen endpoints do best with about these, and those it knows hardly notice."""
OWN_BELOW = 0.2
"""An own fit counts as no farther below the network than this, in logarithms: beyond what it was fitted to, a line may say anything."""
_MIX_OFFSET = 0.3


@dataclass(frozen=True, slots=True)
class Forecast:
    """Demand to be ready for, in replicas.

    up:    quantile of the peak over a short window that begins when a replica started now would serve
    down:  quantile of the peak from now on over two leads
    model: id of the model it was made with
    """

    up: float
    down: float
    model: str


def forecast(record: Record, model: Model) -> Forecast | None:
    """What to be ready for at the end of ``record``; None while the last ten minutes are not known."""
    values = record.values[-REACH_DAYS * DAY :]
    seen = features(values, np.array([values.size]), model.lead)
    if np.isnan(seen.level[0]):
        return None
    up, down = forecasts(seen, model)[:, 0].tolist()
    return Forecast(up, down, model.id)


def forecasts(seen: Features, model: Model) -> Floats:
    """(2, instants) replicas, up and down: the mean, in logarithms, of what the network and the endpoint's own experts say."""
    view = model.pooled.look(seen.values, model.lead)
    told = view.growth((model.aims.up, model.aims.down))
    mean = network = _mixable(told, seen)
    if model.own is not None:
        growths = model.own.growths(seen, view, told)
        line, corrected = (np.maximum(_mixable(growth, seen), network - OWN_BELOW) for growth in growths)
        mean = NETWORK_SHARE * network + LINE_SHARE * line + CORRECTED_SHARE * corrected
    capped: Floats = np.minimum(np.exp(mean) - _MIX_OFFSET, np.fmax(RECORD_GROWTH * seen.highest, np.exp(seen.level) - 0.5))
    return capped


def _mixable(growth: Floats, seen: Features) -> Floats:
    """A growth of the level as a logarithm of replicas."""
    replicas = np.maximum(np.exp(np.clip(growth, *GROWTHS) + seen.level) - 0.5, 0.0)
    logarithm: Floats = np.log(replicas + _MIX_OFFSET)
    return logarithm
