"""The story of many endpoints that may sleep: a file of clients at one cold start."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from scaler.backtest.demand import STEP_SECONDS, Steps
from scaler.backtest.fluid import Schedule
from scaler.backtest.report import plot
from scaler.backtest.report.plot import Scale
from scaler.backtest.report.story import DAY, LEFT, RIGHT, WIDTH, Share, Story, Strip, Words
from scaler.backtest.rows import Played, Row

MOST_STRIPS = 60
"""Endpoints that are drawn one by one; of more, the first."""
STRIP_TOP, STRIP_HEIGHT = 12.0, 11.0

ENDPOINTS = Words(
    unit="endpoints",
    good="of the windows in use found their endpoint awake",
    share="awake",
    traffic="endpoints in use (pale: the most at once)",
    wanted="endpoints running and starting",
    late="in use, but still starting (the darker, the more)",
)


@dataclass(frozen=True)
class SleepStory(Story):
    """The runs of all clients together; ``each`` are those of every client by itself."""

    words: Words = ENDPOINTS
    lates: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
    each: tuple[Played, ...] = ()

    @cached_property
    def _clients(self) -> list[Played]:
        return [one for one in self.each if one.result.row.policy == self.row.policy]

    @cached_property
    def peak(self) -> int:
        """All of them."""
        return len(self._clients)

    @cached_property
    def always_on(self) -> Row:
        """All endpoints awake all the time."""
        hours = self.peak * self.row.days * DAY / 3600
        return replace(self.row, policy="static", cost_dollars=hours * self.price, warm_share=1.0)

    @cached_property
    def money(self) -> list[Share]:
        """Where each dollar goes, in cents: use, cold starts, and waiting for the next call."""
        used = starting = billed = 0.0
        for one in self._clients:
            on, booting = self._on(one)
            billed += float(on[self.first :].sum())
            starting += float(booting[self.first :].sum())
            used += float((one.demand - one.late)[self.first :].sum())
        total = billed or 1.0
        parts = (("work", used, "work"), ("cold starts", starting, "cold"), ("awake in between", billed - starting - used, "idle"))
        return [Share(name, 100 * part / total, kind) for name, part, kind in parts]

    def _on(self, one: Played) -> tuple[Schedule, Schedule]:
        """Step by step whether an endpoint is on, and whether it is still starting."""
        on = plot.steps_of(one.result.changes, one.demand.size)
        booting = np.zeros_like(on)
        cold = round(self.row.cold_start_seconds / STEP_SECONDS)
        for start in np.flatnonzero(np.diff(on, prepend=0) > 0).tolist():
            booting[start : start + cold] = on[start : start + cold]
        return on, booting

    @cached_property
    def strips(self) -> list[Strip]:
        """When each endpoint was on and in use."""
        x = Scale(self.first, self.hero.demand.size, LEFT, WIDTH - RIGHT)
        return [self._strip(one, STRIP_TOP + STRIP_HEIGHT * number, x) for number, one in enumerate(self._clients[:MOST_STRIPS])]

    def _strip(self, one: Played, y: float, x: Scale) -> Strip:
        on, _ = self._on(one)
        paths = (_dashes(where, self.first, y, x) for where in (on > 0, one.demand > 0, one.late > 0))
        return Strip(one.result.row.client or "", y, *paths)


def _dashes(where: Steps, first: int, y: float, x: Scale) -> str:
    """A path along ``y`` in the steps in question."""
    edges = np.flatnonzero(np.diff(where[first:].astype(np.int64), prepend=0, append=0)) + first
    return "".join(f"M{x.at(start)} {y}H{x.at(end)}" for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
