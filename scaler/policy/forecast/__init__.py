"""What the load will be when a replica that is started now begins to serve. Pure: numpy, elapsed time, same inputs same bits.

`Record` holds 30-second means of demand; `refit` makes a `Model` of an endpoint from it once a day, shrunk towards `Pooled` weights that
ship with the program; `forecast` reads a `Forecast` off record and model. Quantile regression of the logarithm of the coming peak over the
recent level, on about ninety columns; two experts, one fitted to the endpoint alone and one to many, are averaged.
"""

from scaler.policy.forecast.model import Model, Pooled, Quantiles, refit, unfitted
from scaler.policy.forecast.predict import Forecast, forecast
from scaler.policy.forecast.record import Record

__all__ = ["Forecast", "Model", "Pooled", "Quantiles", "Record", "forecast", "refit", "unfitted"]
