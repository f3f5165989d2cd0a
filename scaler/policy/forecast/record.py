"""What an endpoint has been asked to do: demand in replicas, step by step, without a clock of its own."""

import math
from dataclasses import dataclass

import numpy as np

from scaler.arrays import Kept
from scaler.policy.forecast.windows import Floats

STEP_SECONDS = 30.0
"""Length of a step of the record."""
KEEP_DAYS = 15
"""A fit looks at a week of instants, each with a week behind it."""
DAY = round(86400 / STEP_SECONDS)
"""Steps of a day."""
WEEK = 7 * DAY
"""Steps of a week."""
ORDINARY = 0.6
"""Utilization of an endpoint of which less than a day is known."""
_KEEP = KEEP_DAYS * DAY
_ENOUGH = 0.5
"""A step is known if at least this share of it was measured."""


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """Means of offered demand (replicas kept busy by what arrives) over whole steps, oldest first; NaN where nobody measured.

    end:      position of the end of the last whole step on the caller's elapsed time, in steps
    part:     demand x seconds measured in the step under way
    measured: seconds measured in the step under way
    """

    values: Kept
    end: int = 0
    part: float = 0.0
    measured: float = 0.0

    @staticmethod
    def empty(now: float = 0.0) -> "Record":
        """Nothing is known before ``now``."""
        return Record(_frozen(np.empty(0)), math.floor(now / STEP_SECONDS))

    @property
    def known_steps(self) -> int:
        """Steps that were measured."""
        return int(np.count_nonzero(~np.isnan(self.values)))

    def observe(self, start: float, stop: float, replicas: float) -> "Record":
        """The record after a mean of ``replicas`` was measured from ``start`` to ``stop`` seconds, in order of time.

        What lies before the step under way is too late and left out; steps that nobody spoke of become gaps.
        """
        record = self.until(start)
        while (edge := (record.end + 1) * STEP_SECONDS) <= stop:
            record = _measured(record, max(start, edge - STEP_SECONDS), edge, replicas).until(edge)
        return _measured(record, max(start, record.end * STEP_SECONDS), stop, replicas)

    def until(self, now: float) -> "Record":
        """The record with every step closed that is over at ``now``."""
        over = math.floor(now / STEP_SECONDS) - self.end
        if over <= 0:
            return self
        closed = self.part / self.measured if self.measured >= _ENOUGH * STEP_SECONDS else math.nan
        steps = np.concatenate(([closed], np.full(min(over - 1, _KEEP), np.nan)))
        return Record(_frozen(np.concatenate((self.values, steps))[-_KEEP:]), self.end + over)


def utilization(values: Floats) -> float:
    """Share of their time that replicas would have work if there were always just as many as it takes, one at least; over the last week."""
    week = values[-WEEK:]
    known = week[~np.isnan(week)]
    return float(known.sum() / np.maximum(np.ceil(known), 1.0).sum()) if known.size >= DAY else ORDINARY


def _measured(record: Record, start: float, stop: float, replicas: float) -> Record:
    seconds = max(0.0, stop - start)
    return Record(record.values, record.end, record.part + replicas * seconds, record.measured + seconds)


def _frozen(values: Floats) -> Floats:
    values.setflags(write=False)
    return values
