"""Conducts the demo: the world, the daemon and the load, each a process of its own, talking HTTP as they would anywhere.

Nothing here decides or measures for the daemon: it is ``scaler run`` with a configuration file, on a clock that is fast.
"""

import asyncio
import json
import signal
import tempfile
import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from scaler.clock import Clock, ScaledClock, SystemClock
from scaler.demo import summary
from scaler.demo.load import Load, Progress
from scaler.demo.processes import answers, process
from scaler.demo.stage import ENDPOINT, ENDPOINT_ID, MAX_REPLICAS, Stage, build
from scaler.demo.view import Screen, clock_face, is_live
from scaler.model import Power
from scaler.observability.client import NoAnswer, get_json, post_json
from scaler.settings import ClockSettings
from scaler.store import open_store
from scaler.world.workload import OFFICE_DAY, Arrival, TraceError, arrivals, read_trace

REFRESH_SECONDS = 0.5
LINE_SECONDS = 5.0
JOURNAL_ROWS = 1_000_000
FILE_WIDTH = 140
DAY = 86_400.0
KEEP_FROM = 10 * 3600.0
"""`--keep` goes on with the trace from ten in the morning."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the command line asks for. ``hours`` of the trace at ``speed`` trace seconds a second, thinned to ``requests`` a day."""

    hours: float
    speed: float
    trace: Path | None
    requests: int
    seed: int
    json_file: Path | None
    keep: bool


async def conduct(options: DemoOptions) -> int:
    """Play the day and tell how it went; the exit code. Raises `TraceError`."""
    console = _console()
    day = options.hours * 3600
    chosen = planned(options)
    if not chosen:
        raise TraceError(f"--for: no request of {(options.trace or OFFICE_DAY).name} comes within {options.hours:g} hours")
    stage = build(Path(tempfile.mkdtemp(prefix="scaler-demo-")), speed=options.speed, seed=options.seed)
    _introduce(console, stage, options, chosen)
    clock = _clock(stage.settings.clock)
    async with process(stage.folder, "emulator", "--config", str(stage.world_config), "--speed", str(options.speed)) as world:
        await answers(stage.world.listen, "/x/status", world)
        async with process(stage.folder, "run", "--config", str(stage.config)) as daemon:
            await answers(stage.settings.admin.listen, "/readyz", daemon)
            screen, progress = await _play(console, stage, clock, chosen, day=day)
            bill = await _world(stage)
        if daemon.returncode != 0:
            console.print(f"[bold red]the daemon ended with {daemon.returncode}; its log is {stage.folder / 'run.log'}[/]")
            return 1
        result = await _account(stage, chosen, progress, bill, screen, until=day)
        _conclude(console, stage, options, result)
        if options.keep:
            await _keep(console, stage, clock, chosen)
    return 0


def planned(options: DemoOptions) -> list[Arrival]:
    """The requests of the first hours, as many as come then when the trace is thinned by the day."""
    seconds = max(DAY, options.hours * 3600)
    kept = arrivals(
        read_trace(options.trace or OFFICE_DAY), seconds=seconds, requests=round(options.requests * seconds / DAY), seed=options.seed
    )
    return [arrival for arrival in kept if arrival.at < options.hours * 3600]


def _console() -> Console:
    """The terminal, or wide enough lines for a file."""
    console = Console()
    return console if console.is_terminal else Console(width=FILE_WIDTH)


def _introduce(console: Console, stage: Stage, options: DemoOptions, planned: list[Arrival]) -> None:
    settings = stage.settings
    console.print(
        f"[bold]scaler demo[/]: {options.hours:g} h of {(options.trace or OFFICE_DAY).name}, {len(planned):,} requests, "
        f"{options.speed:g} x faster than life\n"
        f"  proxy    http://{settings.proxy.listen}/v1\n"
        f"  metrics  http://{settings.admin.listen}/metrics\n"
        f"  world    http://{stage.world.listen}/v1\n"
        f"  files    {stage.folder} (configuration, logs, journal)",
        highlight=False,
    )


def _clock(settings: ClockSettings) -> ScaledClock:
    return ScaledClock(settings.speed, epoch=settings.epoch, start=settings.start)


async def _play(console: Console, stage: Stage, clock: Clock, planned: list[Arrival], *, day: float) -> tuple[Screen, Progress]:
    """Send the day's requests and show how it goes."""
    progress = Progress(planned=len(planned))
    start = clock.monotonic()
    screen = Screen(day_seconds=day, started_at=clock.now())
    load = Load(stage.settings.proxy.listen, ENDPOINT, clock)
    watching = asyncio.create_task(_watch(console, stage, clock, screen, progress))
    try:
        await load.run(planned, progress, start=start)
        await clock.sleep(start + day - clock.monotonic())
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    return screen, progress


async def _watch(console: Console, stage: Stage, clock: Clock, screen: Screen, progress: Progress) -> None:
    """Look at world and daemon as any visitor could, and show it."""
    start = clock.monotonic()
    live = is_live(console)
    with Live(console=console, refresh_per_second=4, transient=True) if live else nullcontext() as shown:
        while True:
            with suppress(NoAnswer):
                world = await _world(stage)
                status = await asyncio.to_thread(get_json, stage.settings.admin.listen, "/status")
                screen.update(clock.monotonic() - start, progress, world, status["endpoints"][ENDPOINT])
            if shown is not None:
                shown.update(screen.render(progress))
            elif screen.world:
                console.print(screen.line(progress), highlight=False)
            await asyncio.sleep(REFRESH_SECONDS if live else LINE_SECONDS)


async def _world(stage: Stage) -> dict[str, Any]:
    """The platform's own account of the demo's endpoint."""
    answer = await asyncio.to_thread(get_json, stage.world.listen, "/x/status")
    return next(endpoint for endpoint in answer["endpoints"] if endpoint["id"] == ENDPOINT_ID)


async def _account(
    stage: Stage, planned: list[Arrival], progress: Progress, bill: dict[str, Any], screen: Screen, *, until: float
) -> dict[str, Any]:
    """The figures of the day, and of the same day bought otherwise."""
    objective = stage.settings.endpoints[ENDPOINT].objective
    other = await asyncio.to_thread(summary.alternatives, stage.world, planned, objective, most=MAX_REPLICAS, until=until)
    return summary.figures(progress.answers, objective, bill, other, await _changes(stage, screen.started_at))


async def _changes(stage: Stage, started_at: float) -> list[dict[str, Any]]:
    """From the journal: each decision that asked for something new, with its time of the day."""
    store = await open_store(stage.settings.store, SystemClock())
    try:
        records = await store.decisions(ENDPOINT, JOURNAL_ROWS)
    finally:
        await store.close()
    changes = []
    before = None
    for decision in (record.decision for record in reversed(records)):
        if decision.hold or (decision.bounds == before and decision.power is Power.KEEP):
            continue
        before = decision.bounds
        changes.append(
            {
                "time": clock_face(decision.at - started_at),
                "seconds": round(decision.at - started_at, 1),
                "min_replicas": decision.bounds.min_replicas,
                "max_replicas": decision.bounds.max_replicas,
                "reasons": [reason.code.value for reason in decision.reasons],
                "sentence": decision.sentence,
            }
        )
    return changes


def _conclude(console: Console, stage: Stage, options: DemoOptions, result: dict[str, Any]) -> None:
    """The table, and where the rest is."""
    metrics = f"http://{stage.settings.admin.listen}/metrics"
    result |= {"speed": options.speed, "hours": options.hours, "seed": options.seed, "metrics": metrics}
    console.print(summary.table(result))
    always_on = "the fewest that meet the objective's share"
    if result["attainment_of"]["always_on_peak"] < result["objective"]["share"]:
        always_on = "the most there may be, which do not meet the objective's share either"
    console.print(
        f"always on: {result['always_on_replicas']} replicas, {always_on}; native: 1..{MAX_REPLICAS}, "
        f"both played in virtual time.\nmetrics were served at {metrics}; journal and logs are in {stage.folder}",
        highlight=False,
    )
    if options.json_file is not None:
        options.json_file.write_text(json.dumps(result, indent=2) + "\n")
        console.print(f"figures written to {options.json_file}", highlight=False)


async def _keep(console: Console, stage: Stage, clock: Clock, planned: list[Arrival]) -> None:
    """Go on at normal speed, with a new daemon on the same journal, until Ctrl-C."""
    await asyncio.to_thread(post_json, stage.world.listen, "/x/clock", {"speed": 1.0})
    now = {"SCALER_CLOCK__SPEED": "1", "SCALER_CLOCK__EPOCH": str(time.time()), "SCALER_CLOCK__START": str(clock.now())}
    async with process(stage.folder, "run", "--config", str(stage.config), **now) as daemon:
        await answers(stage.settings.admin.listen, "/readyz", daemon)
        console.print(
            f"staying up at normal speed; metrics at http://{stage.settings.admin.listen}/metrics; Ctrl-C ends it", highlight=False
        )
        traffic = asyncio.create_task(_repeat(stage, planned))
        await _interrupted()
        traffic.cancel()
        await asyncio.wait([traffic])


async def _repeat(stage: Stage, planned: list[Arrival]) -> None:
    """The trace from `KEEP_FROM` on (a shorter one from its beginning) at normal speed, again and again."""
    usual = SystemClock()
    begin = KEEP_FROM if planned and planned[-1].at > KEEP_FROM else 0.0
    rest = [replace(arrival, at=arrival.at - begin) for arrival in planned if arrival.at >= begin]
    while True:
        await Load(stage.settings.proxy.listen, ENDPOINT, usual).run(rest, Progress(planned=len(rest)), start=usual.monotonic())
        await usual.sleep(LINE_SECONDS)


async def _interrupted() -> None:
    """Wait for Ctrl-C or SIGTERM."""
    interrupted = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, interrupted.set)
    await interrupted.wait()
