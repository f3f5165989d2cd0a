"""What a report tells of one trace at one cold start: figures, sentences, and plots ready to be drawn."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from scaler.backtest.demand import STEP_SECONDS, Demand, peak_of
from scaler.backtest.fluid import Flow, Rules, Schedule, flow, run
from scaler.backtest.policies import OURS
from scaler.backtest.report import plot
from scaler.backtest.report.plot import Label, Mark, Scale, Tick
from scaler.backtest.rows import Played, Row, span_of
from scaler.backtest.windows import window_max

DAY = 86400.0
DAYS_A_MONTH = 30.4
HELD_SECONDS = 600.0
"""A replica that was busy so recently is held, not headroom; or two cold starts ago, if that is longer."""

WIDTH, LEFT, RIGHT = 1060.0, 44.0, 12.0
TOP, HEIGHT = 26.0, 220.0
STRIP = 12.0
"""Height of the strip of misses under a plot."""


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the money: what for, how much of a dollar, and its colour's name."""

    name: str
    cents: float
    kind: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """Traffic and replicas over time."""

    title: str
    peaks: str
    means: str
    wanted: str
    always: float
    misses: list[Mark]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    bottom: float


@dataclass(frozen=True, slots=True)
class Strip:
    """When one endpoint was on, and when it was in use; paths along the height ``y``."""

    name: str
    y: float
    on: str
    used: str
    cold: str


@dataclass(frozen=True, slots=True)
class Dot:
    """A policy in the plot of cost against attainment."""

    row: Row
    x: float
    y: float
    label: Label
    kind: str


@dataclass(frozen=True, slots=True)
class Scatter:
    """All policies: cost to the right, work that was late downwards."""

    dots: list[Dot]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    goal: float
    goal_text: str
    optimum: float


@dataclass(frozen=True, slots=True)
class Words:
    """What things are called: what is counted, what is good, and what the lines of the plots are."""

    unit: str
    good: str
    share: str
    traffic: str
    wanted: str
    late: str


FLEET = Words(
    unit="replicas",
    good="of the work was served on time",
    share="on time",
    traffic="traffic, in replicas kept busy (pale: its peaks)",
    wanted="replicas running and starting",
    late="work that was late (the darker, the more)",
)


@dataclass(frozen=True)
class Story:
    """The runs of one trace at one cold start; the first row's policy is the hero, or scaler if it is among them.

    objective: share that should be on time
    """

    runs: Sequence[Played]
    warm_up_seconds: float
    price: float
    objective: float
    words: Words = FLEET
    lates: tuple[float, ...] = (0.0001, 0.001, 0.01, 0.05, 0.1, 0.2, 0.5)
    """Ticks of what did not go well; beyond the first and the last there is no room."""

    @staticmethod
    def share(row: Row) -> float:
        """Share of what went well."""
        return row.attainment if row.attainment is not None else row.warm_share or 0.0

    @property
    def always(self) -> str:
        """Who never scales."""
        return f"{self.peak} {self.words.unit} always on"

    @cached_property
    def hero(self) -> Played:
        """Whose story is told."""
        return next((one for one in self.runs if one.result.row.policy == OURS), self.runs[0])

    @property
    def row(self) -> Row:
        """Its figures."""
        return self.hero.result.row

    @property
    def rows(self) -> list[Row]:
        """Everybody's, the cheapest first."""
        return sorted((one.result.row for one in self.runs), key=lambda row: row.cost_replica_minutes)

    @cached_property
    def first(self) -> int:
        """The first step that is scored."""
        return math.ceil(self.warm_up_seconds / STEP_SECONDS)

    @cached_property
    def schedule(self) -> Schedule:
        """Replicas that the hero wanted, step by step."""
        return plot.steps_of(self.hero.result.changes, self.hero.demand.size)

    @cached_property
    def rules(self) -> Rules:
        """Of the fluid model, wide enough for everything that happened."""
        most = max(int(self.schedule.max()), self.peak)
        return Rules(self.row.cold_start_seconds, max_replicas=most, warm_up_seconds=self.warm_up_seconds)

    @cached_property
    def flow(self) -> Flow:
        """What became of the work."""
        return flow(self.hero.demand, self.schedule, self.rules)

    @cached_property
    def peak(self) -> int:
        """Replicas of who never scales: those of the static baseline if it was played, else what the peak needs."""
        static = self._static
        return static.result.changes[-1][1] if static else max(1, round(peak_of(self.hero.demand)))

    @cached_property
    def _static(self) -> Played | None:
        return next((one for one in self.runs if one.result.row.policy == "static"), None)

    @cached_property
    def always_on(self) -> Row:
        """So many all the time: the static baseline if it was played, or else what the fluid model says of it."""
        if self._static:
            return self._static.result.row
        score = run(self.hero.demand, np.full(self.hero.demand.size, self.peak), self.rules, self.hero.known)
        dollars = score.cost_replica_minutes / 60 * self.price
        return replace(self.row, policy="static", cost_dollars=dollars, attainment=score.attainment)

    @cached_property
    def strips(self) -> list[Strip]:
        """A line for each endpoint, where there are several."""
        return []

    @property
    def saved_dollars(self) -> float:
        """What the hero costs less."""
        return self.always_on.cost_dollars - self.row.cost_dollars

    @property
    def saved_share(self) -> float:
        """As a share of always on."""
        return self.saved_dollars / self.always_on.cost_dollars if self.always_on.cost_dollars else 0.0

    @property
    def span(self) -> str:
        """How much was scored."""
        return span_of(self.row.days)

    @property
    def saved_a_month(self) -> float:
        """Dollars in a month of such days."""
        return self.saved_dollars / self.row.days * DAYS_A_MONTH

    @cached_property
    def money(self) -> list[Share]:
        """Where each dollar goes, in cents: work, cold starts, what a peak left behind, and what nobody needed."""
        known = np.ones(self.schedule.size) if self.hero.known is None else self.hero.known
        ready, billed = self.flow.ready * known, self.schedule * known
        served = self.flow.served / STEP_SECONDS * known
        behind = max(2 * self.rules.cold_steps, round(HELD_SECONDS / STEP_SECONDS))
        padded = np.concatenate((np.zeros(behind), self.hero.demand))
        lately = window_max(padded, behind + 1)
        held = np.clip(np.minimum(lately, ready) - served, 0.0, None)
        parts = (served, billed - ready, held, ready - served - held)
        total = float(billed[self.first :].sum()) or 1.0
        names = (("work", "work"), ("cold starts", "cold"), ("held after peaks", "held"), ("idle headroom", "idle"))
        return [Share(name, 100 * float(part[self.first :].sum()) / total, kind) for (name, kind), part in zip(names, parts, strict=True)]

    @cached_property
    def timelines(self) -> list[Timeline]:
        """The whole scored time, and the day with most late work if there is more than one."""
        size = self.hero.demand.size
        whole = _timeline(self, self.first, size, "All of it")
        day = round(DAY / STEP_SECONDS)
        if size - self.first <= day * 1.5:
            return [whole]
        late = self.hero.late[self.first :]
        sums = [float(late[start : start + day].sum()) for start in range(0, late.size - day + 1, day)]
        worst = self.first + day * max(range(len(sums)), key=sums.__getitem__)
        return [whole, _timeline(self, worst, worst + day, "The day with most late work, closer")]

    @cached_property
    def scatter(self) -> Scatter:
        """Cost against attainment for all policies."""
        return _scatter(self)


def _timeline(story: Story, first: int, end: int, title: str) -> Timeline:
    demand, wanted = story.hero.demand[first:end], story.schedule[first:end]
    top = max(float(plot.binned(demand, plot.peak_of_each).max()), float(wanted.max()), story.peak) * 1.05
    bottom = TOP + HEIGHT
    seconds = demand.size * STEP_SECONDS
    x, y = Scale(0.0, seconds, LEFT, WIDTH - RIGHT), Scale(0.0, top, bottom, TOP)
    late = plot.binned(story.hero.late[first:end], plot.mean_of_each)
    means = plot.binned(demand, plot.mean_of_each)
    return Timeline(
        title=title,
        peaks=plot.area(plot.binned(demand, plot.peak_of_each), x, y),
        means=plot.area(means, x, y),
        wanted=plot.stairs(plot.binned(wanted.astype(np.float64), plot.peak_of_each), x, y),
        always=y.at(story.peak),
        misses=plot.marks(_shares(late, means), x),
        x_ticks=plot.time_ticks(seconds, first * STEP_SECONDS, x),
        y_ticks=plot.count_ticks(top, y),
        bottom=bottom,
    )


def _shares(late: Demand, means: Demand) -> Demand:
    return np.divide(late, means, out=np.zeros_like(late), where=means > 0)


SCATTER_WIDTH, SCATTER_HEIGHT = 640.0, 360.0
RATIOS = (1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0)


def _scatter(story: Story) -> Scatter:
    rows = [row for row in story.rows if row.ratio_to_oracle is not None]
    ratios = [row.ratio_to_oracle or 1.0 for row in rows]
    low, high = max(0.5, min(0.97, *ratios)), max(1.6, *ratios) * 1.12
    x = Scale(low, high, 58.0, SCATTER_WIDTH - 14, log=True)
    y = Scale(story.lates[0], story.lates[-1], 16.0, SCATTER_HEIGHT - 44, log=True)
    points = [(x.at(row.ratio_to_oracle or 1.0), y.at(max(story.lates[0], 1 - story.share(row))), row.policy) for row in rows]
    goal = y.at(1 - story.objective)
    labels = plot.place_labels(
        points, right=SCATTER_WIDTH, taken=[(0.0, goal - 3, SCATTER_WIDTH, goal + 3), (SCATTER_WIDTH - 90, goal - 18, SCATTER_WIDTH, goal)]
    )
    dots = [Dot(row, at[0], at[1], label, _kind(row)) for row, at, label in zip(rows, points, labels, strict=True)]
    return Scatter(
        dots=dots,
        x_ticks=[Tick(x.at(ratio), f"{ratio:g}x") for ratio in RATIOS if low <= ratio <= high],
        y_ticks=[Tick(y.at(late), f"{100 - 100 * late:g}%") for late in story.lates],
        goal=goal,
        goal_text=f"goal: {100 * story.objective:.4g}%",
        optimum=x.at(1.0),
    )


def _kind(row: Row) -> str:
    if row.policy == OURS:
        return "ours"
    return "clairvoyant" if row.policy in ("oracle", "perfect") else "field"
