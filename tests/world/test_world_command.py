"""``emulator`` as a process."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from scaler.settings import ConfigError
from scaler.world.command import emulator

RUN = "import pathlib, sys; from scaler.world.command import emulator; emulator({})"


@contextmanager
def running(arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", RUN.format(arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_is_and_ends_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    config = tmp_path / "scaler.yaml"
    config.write_text("world: {endpoints: [{id: endpoint-x, model: Qwen/Qwen2.5-7B-Instruct, hardware: 1x_nvidia_h100_80gb_sxm}]}")
    with running(f"'127.0.0.1:0', 60, 7, pathlib.Path({str(config)!r})") as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        base = line.split()[line.split().index("at") + 1].rstrip(",")
        assert "60 seconds a second" in line
        assert f"TOGETHER_BASE_URL={base} TOGETHER_API_KEY=test together endpoints list" in line
        answer = httpx.get(f"{base}/endpoints/endpoint-x", headers={"authorization": "Bearer test"})
        assert answer.json()["state"] == "STARTED"
        process.send_signal(number)
        rest, errors = process.communicate(timeout=10)
        assert (process.returncode, rest, errors) == (0, "", "")


def test_an_address_in_use_is_said_and_ends_with_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with running(repr(address)) as process:
            _, errors = process.communicate(timeout=10)
    assert process.returncode == 1
    assert errors.startswith(f"cannot listen on {address}: ")
    assert len(errors.splitlines()) == 1


def test_a_bad_configuration_is_named(tmp_path: Path) -> None:
    config = tmp_path / "scaler.yaml"
    config.write_text("world: {replica: {slots: 0}}")
    with pytest.raises(ConfigError, match=r"scaler.yaml: world.replica.slots: "):
        emulator("127.0.0.1:0", config=config)


def test_an_endpoint_that_the_catalog_does_not_have_is_named(tmp_path: Path) -> None:
    config = tmp_path / "scaler.yaml"
    config.write_text("world: {endpoints: [{model: no/such, hardware: none}]}")
    with pytest.raises(SystemExit, match=r"^world: Model no/such was not found"):
        emulator("127.0.0.1:0", config=config)
