"""The commands, each a few lines. Exit codes: 0 done, 1 a fault while running, 2 bad usage or configuration."""

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer
import uvloop
from rich.console import Console

import scaler
from scaler import daemon, override, show, spending
from scaler.backtest.command import backtest
from scaler.backtest.options import BadUsage
from scaler.demo.conduct import DemoOptions, conduct
from scaler.endpoints import commands as endpoints
from scaler.observability.admin import MAX_EXPLAINED, healthcheck
from scaler.observability.client import NoAnswer, ask
from scaler.observability.logs import configure
from scaler.providers.base import BadProviderSettings
from scaler.proxy.workers import WorkerError
from scaler.replay import Summary
from scaler.replay import replay as make_again
from scaler.settings import ConfigError, load
from scaler.store.base import StoreError
from scaler.store.sqlite import journalled, read_journal
from scaler.world import command
from scaler.world.workload import TraceError

app = typer.Typer(help=scaler.__doc__, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
app.add_typer(endpoints.app, name="endpoints")
app.command()(backtest)

Config = Annotated[Path, typer.Option("--config", "-c", help="YAML file; SCALER_... variables win over it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

MISTAKES = (ConfigError, BadProviderSettings, TraceError, BadUsage, override.BadOverride)
FAULTS = (StoreError, NoAnswer, WorkerError, OSError)
"""Both can be mended by an operator; what else is raised is a fault of ours, and shows where."""


def main() -> None:
    """The entry point: whatever an operator can mend is told in plain lines, without a traceback."""
    try:
        app()
    except MISTAKES as error:
        _fail(error, 2)
    except FAULTS as error:
        _fail(error, 1)
    except ExceptionGroup as group:
        if group.split(FAULTS)[1] is not None:
            raise  # one of ours is among them
        _fail("\n".join(str(error) for error in group.exceptions), 1)


def _fail(error: Exception | str, code: int) -> None:
    for line in str(error).splitlines():
        sys.stderr.write(f"scaler: {line}\n")
    sys.exit(code)


@app.callback(invoke_without_command=True)
def root(*, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Keeps paid LLM endpoints at the right size."""
    if version:
        typer.echo(scaler.__version__)
        raise typer.Exit


@app.command()
def run(config: Config, *, dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide and explain, send nothing.")] = False) -> None:
    """Run the daemon: proxy, control loop, metrics."""
    options = {"dry_run": True} if dry_run else {}
    settings = load(config, **options)
    configure(settings.log, settings.secrets)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(daemon.run(settings, lambda: load(config, **options)))


@app.command("check-config")
def check_config(config: Config) -> None:
    """Read and check a configuration as `run` would; exit code 2 and every fault if it is bad. Says what schedules and events come next."""
    settings = load(config)
    daemon.check(settings)
    typer.echo(f"{config}: good; endpoints: {', '.join(settings.endpoints)}")
    for line in show.plans(settings, daemon.clock_of(settings.clock).now()):
        typer.echo(line)


@app.command()
def status(config: Config, *, as_json: AsJson = False) -> None:
    """How the running daemon sees its endpoints."""
    answer = ask(load(config).admin, "/status")
    typer.echo(json.dumps(answer, indent=2)) if as_json else Console().print(show.status(answer))


@app.command()
def explain(endpoint: str, config: Config, *, limit: Annotated[int, typer.Option(min=1, max=1000)] = 10, as_json: AsJson = False) -> None:
    """Why ENDPOINT is the size it is: the newest decisions, newest first, with the numbers behind them.

    Decisions in a row that were made alike are shown as one; --json has each.
    """
    answer = ask(load(config).admin, f"/explain/{quote(endpoint)}?limit={limit if as_json else MAX_EXPLAINED}")
    typer.echo(json.dumps(answer, indent=2)) if as_json else Console().print(show.explanation(answer, limit))


@app.command()
def replay(endpoint: str, config: Config) -> None:
    """Make the journalled decisions about ENDPOINT again from what they were made from; exit 1 if one comes out otherwise."""
    path = load(config).store.path
    if endpoint not in (known := journalled(path)):
        raise BadUsage(f"{endpoint}: expected an endpoint that the journal has decisions of: {', '.join(known) or 'none yet'}")
    summary = Summary.of(make_again(read_journal(path, endpoint)))
    Console().print(show.replayed(endpoint, summary))
    raise typer.Exit(1 if summary.different else 0)


@app.command()
def pause(config: Config) -> None:
    """Send nothing to the update API until `resume`: a file on disk, looked for before each write."""
    file = load(config).pause_file
    file.touch()
    typer.echo(f"paused: {file} exists; traffic and decisions go on, nothing is sent")


@app.command()
def resume(config: Config) -> None:
    """Take the pause back."""
    file = load(config).pause_file
    file.unlink(missing_ok=True)
    typer.echo(f"resumed: {file} is gone")


@app.command("override")
def override_endpoint(
    config: Config,
    endpoint: Annotated[str | None, typer.Argument(help="Key of the endpoint; without one, all overrides are listed.")] = None,
    *,
    floor: Annotated[int | None, typer.Option(min=1, help="At least so many replicas.")] = None,
    ceiling: Annotated[int | None, typer.Option(min=1, help="At most so many replicas.")] = None,
    lasting: Annotated[str | None, typer.Option("--for", help="How long, such as 30m, 2h or 1d.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Take it back.")] = False,
) -> None:
    """Impose a floor or a ceiling on ENDPOINT for a while; it survives restarts. With neither: list what stands."""
    settings = load(config)
    if clear and (floor, ceiling, lasting) != (None, None, None):
        raise override.BadOverride("expected --clear alone; a new override takes the place of the old one by itself")
    if endpoint is not None and clear:
        typer.echo(override.clear_override(settings, endpoint))
    elif endpoint is not None and (floor, ceiling, lasting) != (None, None, None):
        typer.echo(override.set_override(settings, endpoint, floor, ceiling, lasting))
    elif endpoint is None and (clear or (floor, ceiling, lasting) != (None, None, None)):
        raise override.BadOverride("expected the key of an endpoint")
    else:
        Console().print(override.list_overrides(settings, endpoint))


@app.command("ledger")
def show_ledger(
    config: Config,
    *,
    days: Annotated[int, typer.Option(min=1, max=400, help="Today and the days before it, so many in all.")] = 7,
    hours: Annotated[bool, typer.Option("--hours", help="By the hour instead of the day.")] = False,
    as_json: AsJson = False,
) -> None:
    """What each endpoint has cost, by scaler's own ledger."""
    lines = spending.statement(load(config), days, hourly=hours)
    typer.echo(json.dumps([asdict(line) for line in lines], indent=2)) if as_json else Console().print(spending.table(lines))


@app.command("healthcheck")
def check_health(config: Config) -> None:
    """Exit 0 if the daemon of this configuration is alive, else 1."""
    raise typer.Exit(healthcheck(load(config).admin.listen))


@app.command()
def emulator(
    listen: Annotated[str | None, typer.Option(help="HOST:PORT; default 127.0.0.1:8123.")] = None,
    speed: Annotated[float, typer.Option(min=0.001, help="Seconds of the world in a real second.")] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Same seed, same cold starts.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="YAML file whose world section is taken.")] = None,
) -> None:
    """Serve the platform in a box by itself: the provider's API without the bill."""
    command.emulator(listen, speed, seed, config)


@app.command()
def demo(
    *,
    duration: Annotated[float, typer.Option("--for", max=24 * 366, help="Hours of the trace to play.")] = 24.0,
    speed: Annotated[float, typer.Option(min=1, help="Trace seconds in a real second.")] = 600.0,
    trace: Annotated[Path | None, typer.Option(help="CSV of requests; default: a bundled day.")] = None,
    requests: Annotated[int, typer.Option(min=1, max=1_000_000, help="Thin the trace to about so many requests a day.")] = 24_000,
    seed: Annotated[int, typer.Option(help="Same seed, same arrivals and cold starts.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here, too.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Stay up at normal speed when the day is over.")] = False,
) -> None:
    """A day of real traffic through the real daemon, on the platform in a box, in minutes."""
    options = DemoOptions(hours=duration, speed=speed, trace=trace, requests=requests, seed=seed, json_file=json_file, keep=keep)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        raise typer.Exit(runner.run(conduct(options)))
