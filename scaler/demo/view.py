"""The day as it passes: a live screen on a terminal, a line now and then elsewhere."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from scaler.demo.load import Answer, Progress
from scaler.demo.summary import quantiles

BARS = " ▁▂▃▄▅▆▇█"
WIDTH = 72
LAST_DECISIONS = 6
RECENT_SECONDS = 900.0


def sparkline(values: deque[float]) -> str:
    """Values as bars, scaled to the highest."""
    top = max(values, default=0.0) or 1.0
    return "".join(BARS[round(value / top * (len(BARS) - 1))] for value in values)


def clock_face(seconds: float) -> str:
    """Seconds of the day as HH:MM."""
    minutes = int(seconds // 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


@dataclass(slots=True)
class Screen:
    """What is shown; `update` takes the newest figures, `render` draws them.

    world:  the platform's own account of the endpoint (replicas, cost)
    daemon: the daemon's account (bounds, decisions)
    """

    day_seconds: float
    started_at: float
    elapsed: float = 0.0
    world: dict[str, Any] = field(default_factory=dict[str, Any])
    daemon: dict[str, Any] = field(default_factory=dict[str, Any])
    in_flight: deque[float] = field(default_factory=lambda: deque(maxlen=WIDTH))
    replicas: deque[float] = field(default_factory=lambda: deque(maxlen=WIDTH))
    columns: int = 0

    def update(self, elapsed: float, progress: Progress, world: dict[str, Any], daemon: dict[str, Any]) -> None:
        """Take the figures of this moment; one column of the charts for each 1/72 of the day."""
        self.elapsed, self.world, self.daemon = elapsed, world, daemon
        column = int(elapsed / self.day_seconds * WIDTH)
        if column >= self.columns:
            self.columns = column + 1
            self.in_flight.append(progress.in_flight)
            self.replicas.append(world["ready"] + world["starting"])

    def render(self, progress: Progress) -> RenderableType:
        """The screen."""
        share = min(1.0, self.elapsed / self.day_seconds)
        head = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=1.0, completed=share, width=WIDTH - 16)
        head.add_row(Text(clock_face(self.elapsed), style="bold"), bar, f"{share:.0%}")
        charts = Table.grid(padding=(0, 2))
        charts.add_row("in flight", Text(sparkline(self.in_flight), style="cyan"), f"{progress.in_flight}")
        charts.add_row("replicas", Text(sparkline(self.replicas), style="green"), self._replicas())
        return Panel(Group(head, "", charts, "", self._figures(progress), "", self._decisions()), title="scaler demo", width=110)

    def _replicas(self) -> str:
        if not self.world:
            return ""
        return f"{self.world['ready']} ready, {self.world['starting']} starting"

    def _figures(self, progress: Progress) -> RenderableType:
        recent = self._recent(progress)
        ttft = quantiles(answer.ttft for answer in recent if answer.ttft is not None)["p95"]
        figures = Table.grid(padding=(0, 3))
        figures.add_row(
            f"{progress.sent:,} of {progress.planned:,} requests",
            f"{len(recent) / RECENT_SECONDS:.2f}/s",
            f"TTFT p95 {ttft:.1f} s" if ttft is not None else "TTFT p95 -",
            f"bounds {self._bounds()}",
            f"cost so far ${self.world.get('cost_dollars', 0.0):.2f}",
            f"failed {sum(count for status, count in progress.statuses.items() if status != 200)}",  # noqa: PLR2004 (HTTP's own number)
        )
        return figures

    def _recent(self, progress: Progress) -> list[Answer]:
        """Answers to the requests of the last quarter of an hour."""
        recent: list[Answer] = []
        for answer in reversed(progress.answers):
            if answer.at < self.elapsed - 2 * RECENT_SECONDS:
                break
            if answer.at >= self.elapsed - RECENT_SECONDS:
                recent.append(answer)
        return recent

    def _bounds(self) -> str:
        return f"{self.daemon['min_replicas']}..{self.daemon['max_replicas']}" if "min_replicas" in self.daemon else "-"

    def _decisions(self) -> RenderableType:
        """The last decisions in words."""
        rows = Table.grid(padding=(0, 1))
        for event in list(self.daemon.get("recent", []))[-LAST_DECISIONS:]:
            bounds = "hold" if event["hold"] else f"{event['min_replicas']}..{event['max_replicas']}"
            rows.add_row(Text(clock_face(event["at"] - self.started_at), style="dim"), Text(bounds, style="bold"), Text(event["sentence"]))
        return rows

    def line(self, progress: Progress) -> str:
        """One line, for logs."""
        cost = self.world.get("cost_dollars", 0.0)
        return (
            f"{clock_face(self.elapsed)}  {progress.sent:6d} requests  {progress.in_flight:3d} in flight  {self._replicas()}  "
            f"bounds {self._bounds()}  cost ${cost:.2f}"
        )


def is_live(console: Console) -> bool:
    """Whether the console can be redrawn."""
    return console.is_terminal and not console.is_dumb_terminal
