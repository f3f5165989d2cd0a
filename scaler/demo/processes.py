"""The program's own commands as child processes: started with a log, waited for, ended in good order."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from scaler.observability.client import NoAnswer, get_json

READY_SECONDS = 30.0
STOP_SECONDS = 20.0


@asynccontextmanager
async def process(folder: Path, command: str, *arguments: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """``scaler COMMAND``, ended by SIGTERM; its log goes into ``folder``."""
    with (folder / f"{command}.log").open("ab") as log:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "scaler", command, *arguments),
            stdout=log,
            stderr=log,
            env={**os.environ, **environment},
        )
    try:
        yield child
    finally:
        await end(child)


async def end(process: asyncio.subprocess.Process) -> None:
    """SIGTERM, and after a while SIGKILL."""
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def answers(listen: str, path: str, process: asyncio.subprocess.Process) -> None:
    """Wait until ``path`` answers 200; raises `NoAnswer` when it never does, or when the process has ended."""
    deadline = asyncio.get_running_loop().time() + READY_SECONDS
    while True:
        try:
            await asyncio.to_thread(get_json, listen, path)
        except NoAnswer as silence:
            if process.returncode is not None:
                raise NoAnswer(f"the process that should answer at {listen} has ended with {process.returncode}") from silence
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.05)
        else:
            return
