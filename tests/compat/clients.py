"""The ``together`` command in environments that hold exactly what a lock names."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD_SECONDS = 100
COMMAND_SECONDS = 30


def environment(version: str) -> Path:
    """Install what ``requirements/compat-together-VERSION.txt`` names; an environment built from the same file is used again."""
    requirements = ROOT / "requirements" / f"compat-together-{version}.txt"
    folder = ROOT / ".venvs" / f"together-{version}"
    folder.parent.mkdir(exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:  # tests of other processes may want it, too
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _built(requirements, folder)


def _built(requirements: Path, folder: Path) -> Path:
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    marker = folder / "built-from"
    if marker.exists() and marker.read_text() == wanted:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    command = [str(folder / "bin" / "pip"), "install", "--quiet", "--only-binary=:all:", "--require-hashes", "-r", str(requirements)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=BUILD_SECONDS)
    marker.write_text(wanted)
    return folder


@dataclass(frozen=True)
class TogetherCli:
    """The command of one version, pointed at one emulator."""

    program: Path
    base_url: str
    home: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``together endpoints ...``; its outputs as text."""
        return self.together("endpoints", *arguments)

    def together(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``together ...``; its outputs as text."""
        variables = {
            "PATH": os.defpath,
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "COLUMNS": "200",
            "TOGETHER_BASE_URL": self.base_url,
            "TOGETHER_API_KEY": "test",
            "TOGETHER_NO_BANNER": "1",
            "TOGETHER_DISABLE_VERSION_CHECK": "1",
            "TOGETHER_TELEMETRY_DISABLED": "1",
        }
        command = [str(self.program), *arguments]
        return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
