"""What the load will be when a replica that is started now begins to serve. Pure: numpy, elapsed time, same inputs same bits.

`Record` holds 30-second means of demand; `refit` makes a `Model` of an endpoint from it once a day; `forecast` reads a `Forecast` off
record and model. What is forecast are quantiles of the logarithm of the coming peak over the recent level, by three experts whose answers
are averaged: a small network on about ninety columns, fitted to many endpoints, which ships with the program; a linear regression on a few
of the columns, fitted to the last week of the endpoint alone; and the network with its last layer corrected by that week.
"""

from scaler.policy.forecast.model import Model, Quantiles, refit, unfitted
from scaler.policy.forecast.network import Network
from scaler.policy.forecast.predict import Forecast, forecast
from scaler.policy.forecast.record import Record

__all__ = ["Forecast", "Model", "Network", "Quantiles", "Record", "forecast", "refit", "unfitted"]
