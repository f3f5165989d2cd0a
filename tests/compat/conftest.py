"""Real clients against the world: the Together CLI in an environment of its own, and an emulator process to talk to."""

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements" / "compat-together-1.5.35.txt"
ENVIRONMENT = ROOT / ".venvs" / "together-1.5.35"
BUILD_SECONDS = 100
COMMAND_SECONDS = 30
SPEED = 60

WORLD = """
world:
  cold_start: {median_seconds: 60, sigma: 0.1}
  endpoints:
    - {id: endpoint-ready, model: mistralai/Mixtral-8x7B-Instruct-v0.1, hardware: 2x_nvidia_h100_80gb_sxm, inactive_timeout_minutes: 0}
"""
RUN = """
import pathlib, sys
from scaler.world.command import emulator
emulator("127.0.0.1:0", float(sys.argv[1]), None, pathlib.Path(sys.argv[2]))
"""


@dataclass(frozen=True)
class TogetherCli:
    """The ``together`` command, pointed at one emulator."""

    program: Path
    base_url: str
    home: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``together endpoints ...``; its outputs as text."""
        environment = {
            "PATH": os.defpath,
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "TOGETHER_BASE_URL": self.base_url,
            "TOGETHER_API_KEY": "test",
            "TOGETHER_NO_BANNER": "1",
        }
        command = [str(self.program), "endpoints", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)


def _build() -> None:
    """Install exactly what the requirements name; an environment built from the same file is used again."""
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()
    marker = ENVIRONMENT / "built-from"
    if marker.exists() and marker.read_text() == wanted:
        return
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    venv.create(ENVIRONMENT, with_pip=True)
    command = [str(ENVIRONMENT / "bin" / "pip"), "install", "--quiet", "--only-binary=:all:", "--require-hashes", "-r", str(REQUIREMENTS)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=BUILD_SECONDS)
    marker.write_text(wanted)


@pytest.fixture(scope="session")
def together_program() -> Path:
    """The CLI's path; without an environment the tests are skipped, except in CI, where that is a failure."""
    try:
        _build()
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines() or [type(error).__name__]
        message = f"no environment for together==1.5.35: {said[-1]}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return ENVIRONMENT / "bin" / "together"


@pytest.fixture(scope="session")
def emulator_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL (with /v1) of an emulator process that ends cleanly afterwards."""
    config = tmp_path_factory.mktemp("emulator") / "scaler.yaml"
    config.write_text(WORLD)
    process = subprocess.Popen([sys.executable, "-c", RUN, str(SPEED), str(config)], stdout=subprocess.PIPE, text=True)
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


@pytest.fixture
def together(together_program: Path, emulator_url: str, tmp_path: Path) -> TogetherCli:
    """The CLI, ready to run."""
    return TogetherCli(together_program, emulator_url, tmp_path)
