"""`scaler endpoints ...`: the provider's endpoints by hand. Exit codes: 0 done, 1 it did not work, 2 bad usage or configuration."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console, RenderableType

from scaler.actuator.by_hand import ByHand, MaybeCreated, NotSent, open_by_hand
from scaler.clock import SystemClock
from scaler.endpoints import tables
from scaler.endpoints.budget import objection
from scaler.endpoints.orders import BadOrder, bounds_of, change_of, choose_hardware, look_up, make_display_name, require_gone, require_model
from scaler.endpoints.wait import WaitFailed, wait_for
from scaler.model import Endpoint, EndpointChange, EndpointState, EndpointWish
from scaler.observability.client import NoAnswer
from scaler.policy.fleet import RUNNING
from scaler.providers import open_reader
from scaler.providers.base import Listing, ProviderError, Reader
from scaler.settings import Settings, load, load_provider, names_endpoints
from scaler.store.base import StoreError
from scaler.store.sqlite import declared_id, forget_declared

WIDE = 200
"""Columns where the output is no terminal: a table in a pipe must not be cut to 80."""

app = typer.Typer(help="Manage the provider's endpoints by hand.", no_args_is_help=True, rich_markup_mode=None)

Config = Annotated[Path | None, typer.Option("--config", "-c", help="YAML file; without it SCALER_PROVIDER__... variables.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Force = Annotated[bool, typer.Option("--force", help="Send although the pause file says no.")]
OverBudget = Annotated[bool, typer.Option("--over-budget", help="Send although no budget of the configuration pays for it.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Come back when the endpoint is as asked.")]
Timeout = Annotated[float, typer.Option("--timeout", min=0, help="Wait at most so many seconds.")]
EndpointId = Annotated[str, typer.Argument(metavar="ENDPOINT_ID")]
Replicas = typer.Option(min=0, max=1_000_000)
Minutes = typer.Option(min=0, max=1_000_000, help="Minutes without a request until it stops by itself; 0 = never.")


@dataclass(frozen=True, slots=True)
class Desk:
    """What a command works with."""

    reader: Reader
    hand: ByHand
    settings: Settings | None = None
    """The configuration whose budgets hold for what is ordered; None: none do."""

    async def afford(self, endpoint: Endpoint, replicas: int) -> None:
        """Raises `NotSent` unless the budgets pay for so many."""
        try:
            why = await objection(self.settings, self.reader, endpoint, replicas) if self.settings else None
        except (StoreError, NoAnswer) as error:
            raise NotSent(f"nobody can tell what is spent ({error}); --over-budget sends all the same") from error
        if why is not None:
            raise NotSent(f"over budget: {why}; --over-budget sends all the same")

    async def wait(self, endpoint: Endpoint, *, running: bool, seconds: float | None) -> Endpoint:
        """The endpoint once it runs or rests; as it is if ``seconds`` is None."""
        if seconds is None:
            return endpoint
        goal = EndpointState.STARTED if running else EndpointState.STOPPED
        _note(f"{endpoint.id}: {endpoint.state}, waiting up to {seconds:g} s for {goal}")
        return await wait_for(self.reader, endpoint, goal, seconds, SystemClock())


@app.command()
def hardware(config: Config = None, *, model: Annotated[str | None, typer.Option()] = None, as_json: AsJson = False) -> None:
    """The hardware options, of a model or all, with the price of one replica."""
    found = _run(config, lambda desk: desk.reader.hardware(require_model(model) if model else None))
    _show(found, tables.hardware(found), as_json=as_json)


@app.command("availability-zones")
def availability_zones(config: Config = None, *, as_json: AsJson = False) -> None:
    """The zones that an endpoint may be created in."""
    found = _run(config, lambda desk: desk.reader.zones())
    _show(found, "\n".join(found), as_json=as_json)


@app.command()
def create(
    config: Config = None,
    *,
    model: Annotated[str, typer.Option()],
    gpu: Annotated[str | None, typer.Option(help="Such as h100; with --gpu-count it names the hardware.")] = None,
    gpu_count: Annotated[int, typer.Option(min=1)] = 1,
    hardware: Annotated[str | None, typer.Option(help="Hardware id, instead of --gpu.")] = None,
    min_replicas: Annotated[int, Replicas] = 1,
    max_replicas: Annotated[int, Replicas] = 1,
    inactive_timeout: Annotated[int, Minutes] = 60,
    availability_zone: Annotated[str | None, typer.Option()] = None,
    display_name: Annotated[str | None, typer.Option(help="Default: one that nothing else has.")] = None,
    speculative_decoding: Annotated[bool, typer.Option("--speculative-decoding/--no-speculative-decoding")] = True,
    no_prompt_cache: Annotated[bool, typer.Option("--no-prompt-cache", help="Accepted and ignored.")] = False,
    no_auto_start: Annotated[bool, typer.Option("--no-auto-start", help="Create it stopped.")] = False,
    wait: Wait = False,
    timeout: Timeout = 1800.0,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Create an endpoint. A create whose answer is lost is looked for, never repeated."""
    if no_prompt_cache:
        _note("--no-prompt-cache has no effect: prompt caching is always on")

    async def work(desk: Desk) -> Endpoint:
        bounds = bounds_of(min_replicas, max_replicas)
        wish = EndpointWish(
            display_name=display_name or make_display_name(),
            model=require_model(model),
            hardware=await _hardware_id(desk.reader, model, hardware, gpu, gpu_count),
            bounds=bounds,
            inactive_timeout_minutes=inactive_timeout,
            zone=availability_zone,
            speculative_decoding=speculative_decoding,
            start=not no_auto_start,
        )
        created = await desk.hand.create(wish)
        _note(f"created {created.id}, display name {wish.display_name}")
        return await desk.wait(created, running=wish.start, seconds=timeout if wait else None)

    _describe(_run(config, work, force=force), as_json=as_json)


async def _hardware_id(reader: Reader, model: str, hardware_id: str | None, gpu: str | None, count: int) -> str:
    """The hardware that was asked for in one of the two ways."""
    if (hardware_id is None) == (gpu is None):
        raise BadOrder("give either --gpu with --gpu-count, or --hardware")
    if gpu is None:
        return hardware_id or ""
    return choose_hardware(await reader.hardware(model), gpu, count)


@app.command()
def get(endpoint_id: EndpointId, config: Config = None, *, as_json: AsJson = False) -> None:
    """How an endpoint is right now."""
    _describe(_run(config, lambda desk: look_up(desk.reader, endpoint_id)), as_json=as_json)


@app.command("list")
def list_(
    config: Config = None,
    *,
    mine: Annotated[Literal["true", "false"], typer.Option(help="false: those of others, too.")] = "true",
    type_: Annotated[Literal["dedicated", "serverless"] | None, typer.Option("--type")] = "dedicated",
    usage_type: Annotated[Literal["on-demand", "reserved"] | None, typer.Option()] = None,
    as_json: AsJson = False,
) -> None:
    """The endpoints: your own dedicated ones unless asked otherwise."""
    found = _run(config, lambda desk: desk.reader.list(Listing(mine == "true", type_, usage_type)))
    _show(found, tables.summaries(found), as_json=as_json)


@app.command()
def start(
    endpoint_id: EndpointId,
    config: Config = None,
    *,
    wait: Wait = False,
    timeout: Timeout = 1800.0,
    force: Force = False,
    over_budget: OverBudget = False,
    as_json: AsJson = False,
) -> None:
    """Start a stopped endpoint, if the budgets of the configuration pay for it."""

    async def work(desk: Desk) -> Endpoint:
        found = await look_up(desk.reader, endpoint_id)
        await desk.afford(found, found.bounds.max_replicas)
        return await desk.wait(await desk.hand.change(found.id, EndpointChange(run=True)), running=True, seconds=timeout if wait else None)

    _describe(_run(config, work, force=force, budgeted=not over_budget), as_json=as_json)


@app.command()
def stop(
    endpoint_id: EndpointId,
    config: Config = None,
    *,
    wait: Wait = False,
    timeout: Timeout = 1800.0,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Stop an endpoint; its configuration stays. The platform does not wake it on traffic, but a daemon with idle.wake does."""

    async def work(desk: Desk) -> Endpoint:
        found = await look_up(desk.reader, endpoint_id)
        changed = await desk.hand.change(found.id, EndpointChange(run=False))
        return await desk.wait(changed, running=False, seconds=timeout if wait else None)

    _describe(_run(config, work, force=force), as_json=as_json)


@app.command()
def update(
    endpoint_id: EndpointId,
    config: Config = None,
    *,
    min_replicas: Annotated[int | None, Replicas] = None,
    max_replicas: Annotated[int | None, Replicas] = None,
    inactive_timeout: Annotated[int | None, Minutes] = None,
    force: Force = False,
    over_budget: OverBudget = False,
    as_json: AsJson = False,
) -> None:
    """Change both bounds, the inactive timeout, or all three; more replicas only if the budgets of the configuration pay for them."""

    async def work(desk: Desk) -> Endpoint:
        change = change_of(min_replicas, max_replicas, inactive_timeout)
        found = await look_up(desk.reader, endpoint_id)
        if change.bounds is not None and found.state in RUNNING:
            await desk.afford(found, change.bounds.max_replicas)
        return await desk.hand.change(found.id, change)

    _describe(_run(config, work, force=force, budgeted=not over_budget), as_json=as_json)


@app.command()
def delete(endpoint_id: EndpointId, config: Config = None, *, force: Force = False) -> None:
    """Remove an endpoint for good."""

    async def work(desk: Desk) -> str:
        found = await look_up(desk.reader, endpoint_id)
        await desk.hand.delete(found.id)
        return found.id

    typer.echo(f"deleted {_run(config, work, force=force)}")


@app.command()
def recreate(key: Annotated[str, typer.Argument(metavar="KEY")], config: Annotated[Path, typer.Option("--config", "-c")]) -> None:
    """Let a declared endpoint that is gone be created anew: forget what it had become. Refused while that still exists."""
    settings = load(config)
    with _plain_words():
        if key not in settings.endpoints or not settings.endpoints[key].create:
            raise BadOrder(f"endpoints.{key} is not declared in {config} (create: true)")
    endpoint_id = declared_id(settings.store.path, key)
    if endpoint_id is None:
        typer.echo(f"nothing to forget: endpoints.{key} has not become an endpoint yet")
        return
    _run(config, lambda desk: require_gone(desk.reader, endpoint_id))
    forget_declared(settings.store.path, key, endpoint_id)
    typer.echo(f"forgotten: {endpoint_id}; the daemon creates endpoints.{key} anew at its next tick")


def _run(config: Path | None, work: Callable[[Desk], Awaitable[Any]], *, force: bool = False, budgeted: bool = False) -> Any:  # noqa: ANN401 (what work gives)
    """Do ``work`` with an open connection; what can go wrong ends the command in plain words. ``budgeted``: it may cost more."""
    settings = load_provider(config)
    whole = load(config) if budgeted and config is not None and names_endpoints(config) else None

    async def at_the_desk() -> object:
        async with AsyncExitStack() as stack:
            reader = open_reader(settings.provider)
            stack.push_async_callback(reader.close)
            hand = open_by_hand(settings.provider, reader, None if force else settings.pause_file)
            stack.push_async_callback(hand.close)
            return await work(Desk(reader, hand, whole))

    with _plain_words():
        return asyncio.run(at_the_desk())


@contextmanager
def _plain_words() -> Iterator[None]:
    try:
        yield
    except BadOrder as error:
        _note(str(error))
        raise typer.Exit(2) from error
    except (ProviderError, NotSent, MaybeCreated, WaitFailed) as error:
        _note(str(error))
        raise typer.Exit(1) from error


def _note(sentence: str) -> None:
    """Progress and complaints go to standard error, so that standard output is the answer alone."""
    sys.stderr.write(f"scaler: {sentence}\n")


def _describe(endpoint: Endpoint, *, as_json: bool) -> None:
    _show(endpoint, tables.details(endpoint), as_json=as_json)


def _show(answer: object, picture: RenderableType, *, as_json: bool) -> None:
    """JSON or a picture on standard output."""
    if as_json:
        typer.echo(json.dumps(answer, indent=2, default=_fields))
        return
    Console(width=None if sys.stdout.isatty() else WIDE, highlight=False, markup=False).print(picture)


def _fields(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"not JSON: {type(value).__name__}")
