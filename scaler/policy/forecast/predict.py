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
    up, down = forecasts(seen, model.weights)[:, 0].tolist()
    return Forecast(up, down, model.id)


def forecasts(seen: Features, weights: Floats) -> Floats:
    """(2, instants) replicas, up and down, for features at many instants and ``weights`` (experts, 2, columns)."""
    growth = np.clip(weights @ seen.values.T + seen.level, *GROWTHS)
    replicas = np.maximum(np.exp(growth) - 0.5, 0.0)
    mixed: Floats = np.exp(np.log(replicas + _MIX_OFFSET).mean(axis=0)) - _MIX_OFFSET
    return mixed
