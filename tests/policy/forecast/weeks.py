"""Weeks of traffic for stories: office hours with a ramp of forty minutes, a lunch dip and noise."""

import numpy as np

from scaler.policy.forecast.record import DAY
from scaler.policy.forecast.windows import Floats


def office(days: int, *, seed: int = 0, noise: float = 0.05) -> Floats:
    """30-second means: half a replica at night, eight by day from nine to five, two on days 5 and 6 of a week."""
    dice = np.random.default_rng(seed)
    hour = np.arange(days * DAY) % DAY / DAY * 24
    weekend = np.arange(days * DAY) // DAY % 7 >= 5
    open_ = np.interp(hour, [8.67, 9.33, 12, 12.25, 12.75, 13, 16.5, 18], [0, 1, 1, 0.7, 0.7, 1, 1, 0])
    level = 0.5 + np.where(weekend, 1.5, 7.5) * open_
    return level * np.exp(noise * dice.standard_normal(level.size))
