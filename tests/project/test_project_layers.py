"""The import contracts hold, and they would notice if they did not."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

VIOLATIONS = {
    "a policy that reads the clock": ("policy/decide.py", "import time"),
    "a policy that asks the network": ("policy/decide.py", "import httpx"),
    "a noun that logs": ("model.py", "import structlog"),
    "a request path that knows the controller": ("proxy/meter.py", "import scaler.controller"),
    "a request path that needs the store": ("proxy/server.py", "import scaler.store"),
    "a second door to the provider": ("controller.py", "import scaler.providers.together_v1_writer"),
    "a ground floor that leans on the roof": ("settings/tree.py", "import scaler.daemon"),
}


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """The package and its contracts, to be spoiled."""
    shutil.copytree(root / "scaler", tmp_path / "scaler", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", tmp_path)
    return tmp_path


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_contracts_hold(copy: Path) -> None:
    result = lint_imports(copy)
    assert (result.returncode, " 0 broken" in result.stdout) == (0, True), result.stdout


@pytest.mark.parametrize("violation", VIOLATIONS)
def test_a_violation_is_noticed(copy: Path, violation: str) -> None:
    module, line = VIOLATIONS[violation]
    with (copy / "scaler" / module).open("a") as file:
        file.write(f"\n{line}\n")
    result = lint_imports(copy)
    assert (result.returncode, "BROKEN" in result.stdout) == (1, True), result.stdout
