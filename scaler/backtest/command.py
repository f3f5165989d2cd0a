"""``scaler backtest``: what a policy would have cost on a trace, and how well it would have served."""

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from scaler.backtest import policies
from scaler.backtest.activity import is_activity
from scaler.backtest.demand import PEAK_REPLICAS
from scaler.backtest.fluid_mode import Watch, play_fluid, runs_of
from scaler.backtest.live import Native
from scaler.backtest.options import BadUsage, Mode, Options, cold_starts_of, policies_of, seconds_of, without_repeats
from scaler.backtest.report import page
from scaler.backtest.request_mode import play_requests
from scaler.backtest.rows import Played, as_json, write_schedule
from scaler.backtest.sleep_mode import play_clients
from scaler.backtest.table import tables
from scaler.world.catalog import HARDWARE

PRICED = HARDWARE["2x_nvidia_h100_80gb_sxm"]
"""The hardware whose price is taken when none is given,"""
DOLLARS = round(PRICED.cents_per_minute * 60 / 100, 2)
"""and that price for an hour."""


PIPED_WIDTH = 120
"""Columns of the tables where no terminal says how many it has."""
WARM_UP: dict[Mode, str] = {"fluid": "7d", "requests": "15m"}
"""History that is not scored when nothing else is asked for."""
WARM_UP_TEXT = f"{WARM_UP['fluid']}, in request mode {WARM_UP['requests']}"


def backtest(
    trace: Annotated[
        list[Path], typer.Argument(metavar="TRACE", help="CSV files: t_seconds,requests,input_tokens,output_tokens (.gz or not).")
    ],
    *,
    policy: Annotated[str, typer.Option(help=f"Names between commas, or all: {', '.join(policies.NAMES)}.")] = policies.OURS,
    cold_start: Annotated[str, typer.Option(help="Seconds from a start to service, several between commas.")] = "60,180,600",
    peak_replicas: Annotated[
        float | None,
        typer.Option(help=f"Scale the peak to so many busy replicas; default: {PEAK_REPLICAS:g}, a store as it is."),
    ] = None,
    max_replicas: Annotated[int, typer.Option(help="Never more replicas than this.")] = 24,
    objective: Annotated[float, typer.Option(help="Share of work that should be on time.")] = 0.99,
    warm_up: Annotated[str | None, typer.Option(help=f"History that is played but not scored; default: {WARM_UP_TEXT}.")] = None,
    mode: Annotated[Mode, typer.Option(help="Work that flows, for weeks; or each request on the platform in a box, for hours.")] = "fluid",
    begin: Annotated[str, typer.Option(help="In request mode: where in the trace to begin, such as 7d.")] = "0",
    length: Annotated[str | None, typer.Option("--for", help="In request mode: how much of the trace, such as 6h; default: all.")] = None,
    price: Annotated[float, typer.Option(help=f"Dollars of a replica for an hour; default: that of {PRICED.id}.")] = DOLLARS,
    tune: Annotated[bool, typer.Option("--tune", help="Show each baseline with the best target in hindsight, too.")] = False,
    native: Annotated[Native, typer.Option(help="What is between scaler's bounds.")] = "pinned",
    burst_replicas: Annotated[int, typer.Option(help="How far above its own count scaler's upper bound is.")] = 0,
    warm_share: Annotated[
        float | None,
        typer.Option(help="Of a file of clients (*_clients_600s): share of calls that find their endpoint awake; default: objective."),
    ] = None,
    from_store: Annotated[bool, typer.Option("--from-store", help="TRACE is a store of the daemon: replay what it recorded.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the rows here.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a report for people here: one file, with plots.")] = None,
    schedule: Annotated[Path | None, typer.Option(help="Write the replicas wanted here: t_seconds,desired, a row per change.")] = None,
) -> None:
    """Replay traces against policies: cost, distance from the optimum, work on time."""
    options = Options(
        traces=without_repeats(trace),
        policies=policies_of(policy),
        cold_starts=cold_starts_of(cold_start),
        peak_replicas=peak_replicas,
        max_replicas=max_replicas,
        objective=objective,
        warm_up_seconds=seconds_of(WARM_UP[mode] if warm_up is None else warm_up, "--warm-up"),
        price=price,
        tune=tune,
        native=native,
        burst_replicas=burst_replicas,
        mode=mode,
        begin_seconds=seconds_of(begin, "--begin"),
        from_store=from_store,
        warm_share=warm_share,
        length_seconds=math.inf if length is None else seconds_of(length, "--for"),
    )
    _require_places(json_file, html, schedule)
    played = play(options)
    results = [each.result for each in played]
    console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
    console.print(tables([result.row for result in results]))
    if json_file:
        json_file.write_text(as_json(result.row for result in results), encoding="utf-8")
    if html:
        html.write_text(page(played, options), encoding="utf-8")
    if schedule:
        with schedule.open("w", encoding="utf-8", newline="") as file:
            write_schedule(results, file)


def _require_places(*files: Path | None) -> None:
    """What cannot be written is said before anything is played. Raises `BadUsage`."""
    for file in filter(None, files):
        if file.is_dir() or not file.parent.is_dir():
            raise BadUsage(f"{file}: expected the name of a file in a folder that exists")


Play = Callable[[Path, Options, Watch], Iterator[Played]]

MODES: dict[Mode, Play] = {"fluid": play_fluid, "requests": play_requests}


def play(options: Options) -> list[Played]:
    """Everything that was asked for, with a progress bar on standard error meanwhile. Raises `BadUsage` or `TraceError`."""
    with _watching(runs_of(options) * len(options.traces)) as watch:
        return [each for path in options.traces for each in _mode(path, options)(path, options, watch)]


def _mode(path: Path, options: Options) -> Play:
    """Files of clients have a model of their own."""
    return play_clients if is_activity(path) and not options.from_store else MODES[options.mode]


@contextmanager
def _watching(runs: int) -> Iterator[Watch]:
    """A bar of so many runs on standard error."""
    columns = (BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=runs)
        planned = 0

        def watch(what: str, often: int) -> policies.Progress:
            nonlocal planned
            bar.update(task, completed=planned, description=what)
            planned += often
            return lambda share: bar.advance(task, share)

        yield watch
