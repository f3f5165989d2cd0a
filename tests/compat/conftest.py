"""Real clients against the world: each Together CLI in an environment of its own, and an emulator process to talk to."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.compat.clients import TogetherCli, environment
from tests.compat.table import DOCUMENT, Table, Tables
from tests.world.emulator import emulator

SPEED = 120
"""A cold start of half a second: over before a client that waits looks for the second time."""
WORLD = """
world:
  cold_start: {median_seconds: 60, sigma: 0.1}
  endpoints:
    - {id: endpoint-ready, model: mistralai/Mixtral-8x7B-Instruct-v0.1, hardware: 2x_nvidia_h100_80gb_sxm, inactive_timeout_minutes: 0}
"""


@pytest.fixture(scope="session")
def program_of() -> Callable[[str], Path]:
    """The ``together`` of a version; without an environment the test is skipped, except in CI, where that is a failure."""
    built: dict[str, Path | str] = {}

    def of(version: str) -> Path:
        if version not in built:
            try:
                built[version] = environment(version) / "bin" / "together"
            except (OSError, subprocess.SubprocessError) as error:
                said = (getattr(error, "stderr", None) or str(error)).strip().splitlines() or [type(error).__name__]
                built[version] = f"no environment for together=={version}: {said[-1]}"
        found = built[version]
        if isinstance(found, Path):
            return found
        return pytest.fail(found) if os.environ.get("CI") == "true" else pytest.skip(found)

    return of


@pytest.fixture(scope="session")
def emulator_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL (with /v1) of an emulator process that ends cleanly afterwards."""
    with emulator(WORLD, SPEED, tmp_path_factory.mktemp("emulator")) as url:
        yield url


@pytest.fixture
def cli_of(program_of: Callable[[str], Path], emulator_url: str, tmp_path: Path) -> Callable[[str], TogetherCli]:
    """The CLI of a version, ready to run: on /v1, or at the host root for the one that speaks v2."""

    def of(version: str) -> TogetherCli:
        return TogetherCli(program_of(version), emulator_url.removesuffix("/v1") if version == "3.1.1" else emulator_url, tmp_path)

    return of


@pytest.fixture
def together(cli_of: Callable[[str], TogetherCli]) -> TogetherCli:
    """The CLI that knows every command of the provider's page."""
    return cli_of("1.5.35")


@pytest.fixture(scope="session")
def tables() -> Iterator[Tables]:
    """The committed tables and what this run finds; written anew where COMPAT_TABLE=write asks for it."""
    rewrite = os.environ.get("COMPAT_TABLE") == "write"
    found = Tables(DOCUMENT.read_text() if DOCUMENT.exists() else "", rewrite=rewrite)
    yield found
    if rewrite:
        DOCUMENT.parent.mkdir(exist_ok=True)
        DOCUMENT.write_text(found.document())


@pytest.fixture(scope="session")
def page(tables: Tables) -> Table:
    """v1's commands on all versions."""
    return tables.page


@pytest.fixture(scope="session")
def own(tables: Tables) -> Table:
    """The newest version's commands."""
    return tables.own
