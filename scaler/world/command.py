"""``scaler emulator``: the platform in a box as a process of its own."""

import asyncio
import signal
import sys
from pathlib import Path

import uvloop

from scaler.clock import Clock, ScaledClock
from scaler.settings import WorldSettings, load_world
from scaler.world.http import serve
from scaler.world.refusals import Refused


def emulator(listen: str | None = None, speed: float = 1.0, seed: int | None = None, config: Path | None = None) -> None:
    """Serve a world until SIGTERM or SIGINT.

    ``config`` is a configuration file whose ``world`` section is taken; ``listen`` (HOST:PORT) and ``seed`` win over it. ``speed`` is
    clock seconds per real second. Raises `ConfigError`; what else is in the way ends the process with a message and status 1.
    """
    base = WorldSettings() if config is None else load_world(config)
    given = {name: value for name, value in (("listen", listen), ("seed", seed)) if value is not None}
    settings = WorldSettings.model_validate(base.model_dump() | given)
    clock = ScaledClock(speed)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve_until_signal(settings, clock))
    except OSError as error:
        sys.exit(f"cannot listen on {settings.listen}: {error.strerror}")
    except Refused as refusal:
        sys.exit(f"world: {refusal}")


async def _serve_until_signal(settings: WorldSettings, clock: Clock) -> None:
    loop = asyncio.get_running_loop()
    serving = asyncio.ensure_future(serve(settings, clock, ready=lambda url: _announce(url, clock)))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    await asyncio.wait([serving])
    if not serving.cancelled():
        serving.result()


def _announce(url: str, clock: Clock) -> None:
    sys.stdout.write(
        f"Serving Together's v1 API at {url}/v1, {clock.speed:g} seconds a second; "
        f"try: TOGETHER_BASE_URL={url}/v1 TOGETHER_API_KEY=test together endpoints list --mine true\n"
    )
    sys.stdout.flush()
