"""Two ticks of a controller in a process of its own, which kills itself (SIGKILL) where it is told to.

Usage: crash_driver.py BASE_URL DIRECTORY [STEP]; STEP is OBJECT.METHOD:before or OBJECT.METHOD:after, of the calls the actuator makes.
"""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from scaler.actuator import Actuator
from scaler.clock import SystemClock
from scaler.ledger import Ledger
from scaler.model import Bounds, Decision, Power
from scaler.providers import open_reader
from scaler.providers.auto_writer import open_writer
from scaler.settings import EndpointSettings, ProviderSettings, Settings
from scaler.store.sqlite import SqliteStore


class Mortal:
    """Passes everything on, and dies at its step."""

    def __init__(self, name: str, inner: object, step: str) -> None:
        self._name, self._inner, self._step = name, inner, step

    def __getattr__(self, method: str) -> Any:  # noqa: ANN401 (a method of whatever it is)
        async def call(*args: object) -> object:
            self._die(f"{method}:before")
            result = await getattr(self._inner, method)(*args)
            self._die(f"{method}:after")
            return result

        return call

    def _die(self, here: str) -> None:
        if self._step == f"{self._name}.{here}":
            os.kill(os.getpid(), signal.SIGKILL)


async def main(base_url: str, directory: Path, step: str) -> None:
    settings = Settings(
        provider=ProviderSettings(base_url=base_url, api_key=SecretStr("k" * 20), timeout_seconds=5),
        endpoints={"chat": EndpointSettings(id="endpoint-1", min_replicas=1, max_replicas=4)},
        pause_file=directory / "paused",
    )
    store = await SqliteStore.open(directory / "scaler.db", time.time())
    reader = open_reader(settings.provider)
    writer = open_writer(settings.provider, reader)
    parts = {"reader": reader, "writer": writer, "store": store}
    mortal: dict[str, Any] = {name: Mortal(name, part, step) for name, part in parts.items()}
    clock = SystemClock()
    actuator = Actuator(
        settings, mortal["reader"], mortal["writer"], mortal["store"], clock, ledger=Ledger(settings, mortal["store"], clock)
    )
    for _ in range(2):
        observed = await reader.get("endpoint-1")
        await actuator.reconcile("chat", observed)
        decision = Decision("chat", time.time(), Bounds(2, 4), 60, Power.RUN, hold=False, reasons=())
        result = await actuator.carry_out("chat", decision, observed)
    sys.stdout.write(repr(result))
    await reader.close()
    await actuator.close()
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:] or [""]))
