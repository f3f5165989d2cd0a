"""Geometry of the plots: scales, ticks, and paths of SVG. Coordinates are user units, y downwards, with one decimal."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaler.backtest.demand import STEP_SECONDS, Demand

Series = NDArray[np.float64]

DAY, HOUR, MINUTE = 86400.0, 3600.0, 60.0
TIME_STEPS = (MINUTE * 5, MINUTE * 15, HOUR, HOUR * 3, HOUR * 6, DAY, DAY * 2, DAY * 7, DAY * 14, DAY * 28)
"""Distances that ticks of time may have."""
MOST_TICKS = 14
COUNT_STEPS = (1, 2, 3, 4, 5, 10, 20, 25, 50)
"""Distances that ticks of counts may have."""
MOST_COUNTS = 6
BINS = 480
"""Columns of a plot over time; what is finer is not drawn."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis and what is written there."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Scale:
    """From figures to places, in a line or in logarithms; what lies outside is moved to the edge."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The place of a figure."""
        low, high, here = (math.log(one) if self.log else one for one in (self.low, self.high, min(max(value, self.low), self.high)))
        return round(self.start + (self.end - self.start) * (here - low) / (high - low), 1)


def time_ticks(seconds: float, first: float, scale: Scale) -> list[Tick]:
    """Ticks of a span that begins ``first`` seconds after the trace's origin; days count from 1."""
    step = next((one for one in TIME_STEPS if seconds / one <= MOST_TICKS), TIME_STEPS[-1])
    at = math.ceil(first / step) * step
    times = [at + step * number for number in range(int((first + seconds - at) / step) + 1)]
    return [Tick(scale.at(time - first), _time(time, step)) for time in times]


def _time(at: float, step: float) -> str:
    day, rest = divmod(at, DAY)
    if step >= DAY or not rest:
        return f"day {day + 1:.0f}"
    return f"{rest // HOUR:.0f}:{rest % HOUR // MINUTE:02.0f}"


def count_ticks(most: float, scale: Scale) -> list[Tick]:
    """Whole numbers from zero on, about five of them."""
    step = next((one for one in COUNT_STEPS if most / one <= MOST_COUNTS), COUNT_STEPS[-1])
    return [Tick(scale.at(count), str(count)) for count in range(0, math.floor(most) + 1, step)]


def binned(values: Demand, how: Callable[[Series], Series], bins: int = BINS) -> Series:
    """``how`` over each of at most ``bins`` columns, of equal width but perhaps the last; called with shape (columns, width)."""
    width = math.ceil(values.size / bins)
    missing = -values.size % width
    padded = np.concatenate((values.astype(np.float64), np.full(missing, values[-1], dtype=np.float64)))
    return how(padded.reshape(-1, width))


def peak_of_each(table: Series) -> Series:
    """The largest of each column."""
    largest: Series = table.max(axis=1)
    return largest


def mean_of_each(table: Series) -> Series:
    """The mean of each column."""
    mean: Series = table.mean(axis=1)
    return mean


def area(heights: Series, x: Scale, y: Scale) -> str:
    """A path from the ground up along the heights and back."""
    places = _places(heights, x)
    points = " L".join(f"{place} {y.at(height)}" for place, height in zip(places, heights.tolist(), strict=True))
    return f"M{places[0]} {y.at(0.0)} L{points} L{places[-1]} {y.at(0.0)} Z"


def stairs(heights: Series, x: Scale, y: Scale) -> str:
    """A path that stays on each height for the width of a column."""
    edges = np.linspace(x.start, x.end, heights.size + 1).round(1).tolist()
    parts = [f"M{edges[0]} {y.at(float(heights[0]))}"]
    before = heights[0]
    for edge, height in zip(edges[1:-1], heights[1:], strict=True):
        if height != before:
            parts.append(f"H{edge}V{y.at(float(height))}")
            before = height
    return "".join([*parts, f"H{edges[-1]}"])


def _places(heights: Series, x: Scale) -> list[float]:
    """The middles of the columns, the first and the last at the edges."""
    edges = np.linspace(x.start, x.end, heights.size + 1)
    middles = (edges[:-1] + edges[1:]) / 2
    middles[0], middles[-1] = edges[0], edges[-1]
    places: list[float] = middles.round(1).tolist()
    return places


@dataclass(frozen=True, slots=True)
class Mark:
    """A column of misses: place, width, and how dark (0 to 1)."""

    x: float
    width: float
    dark: float


def marks(late: Series, x: Scale) -> list[Mark]:
    """Where work was late; ``late``: its share in each column. Even a little is to be seen."""
    edges = np.linspace(x.start, x.end, late.size + 1).round(1).tolist()
    shares = late.tolist()
    return [
        Mark(edges[k], round(max(1.5, edges[k + 1] - edges[k]), 1), round(0.35 + 0.65 * min(1.0, share * 4), 2))
        for k, share in enumerate(shares)
        if share > JUST_VISIBLE
    ]


JUST_VISIBLE = 0.0005
"""Less than this share of a column's work is not marked."""


@dataclass(frozen=True, slots=True)
class Label:
    """Text beside a point; ``anchor`` is that of SVG."""

    x: float
    y: float
    anchor: str


LETTER, LINE = 6.6, 13.0
"""Size of a letter and of a line of a label."""

Box = tuple[float, float, float, float]


def place_labels(points: Sequence[tuple[float, float, str]], *, right: float, taken: Sequence[Box] = ()) -> list[Label]:
    """A place for each text beside its point, where it covers nothing ``taken``, no point and no text if that can be.

    ``right``: the edge.
    """
    taken = [*taken, *((x - 5, y - 5, x + 5, y + 5) for x, y, _ in points)]
    labels = []
    for x, y, text in points:
        found = list(_around(x, y, text, right))
        label, box = next((one for one in found if not any(_meet(one[1], other) for other in taken)), found[0])
        taken.append(box)
        labels.append(label)
    return labels


def _around(x: float, y: float, text: str, right: float) -> Iterable[tuple[Label, Box]]:
    """Places for a text: beside the point, below, above, and farther and farther away."""
    wide = len(text) * LETTER
    for away in range(6):
        for side in (1, -1):
            down = y + 4 + side * away * LINE
            if x + 9 + wide <= right:
                yield Label(x + 9, down, "start"), (x + 9, down - 10, x + 9 + wide, down + 3)
            yield Label(x - 9, down, "end"), (x - 9 - wide, down - 10, x - 9, down + 3)


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def steps_of(changes: Sequence[tuple[float, int]], size: int) -> NDArray[np.int64]:
    """Changes as a count for each of ``size`` steps; a change within a step counts from the next one on."""
    at = np.array([math.ceil(when / STEP_SECONDS) for when, _ in changes])
    counts = np.array([count for _, count in changes], dtype=np.int64)
    return counts[np.searchsorted(at, np.arange(size), side="right") - 1]
