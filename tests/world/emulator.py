"""``scaler emulator`` as a process of its own, for clients that cannot share a loop with it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RUN = """
import pathlib, sys
from scaler.world.command import emulator
emulator("127.0.0.1:0", float(sys.argv[1]), None, pathlib.Path(sys.argv[2]))
"""


@contextmanager
def emulator(world: str, speed: float, folder: Path) -> Iterator[str]:
    """The base URL (with /v1) of a world of this configuration (YAML); the process has to end cleanly afterwards."""
    config = folder / "scaler.yaml"
    config.write_text(world)
    process = subprocess.Popen([sys.executable, "-c", RUN, str(speed), str(config)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        words = process.stdout.readline().split()
        yield words[words.index("at") + 1].rstrip(",")
        process.terminate()
        process.communicate(timeout=10)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate(timeout=10)
