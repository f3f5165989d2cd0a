"""The daemon with workers, as an operator meets it."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from scaler.demo.load import Load, Progress
from scaler.demo.stage import ENDPOINT
from scaler.observability.client import get_json
from scaler.settings import ConfigError, load
from tests.scenarios.town import Town, steady


async def replaced(town: Town) -> None:
    async with asyncio.timeout(60):
        while "workers replaced" not in town.log():
            await asyncio.sleep(0.05)


async def test_a_daemon_with_workers_serves_samples_replaces_them_and_drains(tmp_path: Path) -> None:
    town = Town.found(tmp_path, replicas=2)
    tree: dict[str, Any] = yaml.safe_load(town.stage.config.read_text())
    del tree["clock"]
    tree["proxy"]["workers"] = 2
    tree["schedule"] = {"tick_seconds": 0.5}
    town.stage.config.write_text(yaml.safe_dump(tree))
    async with town.world(), town.daemon() as daemon:
        planned = steady(6, 1200)
        progress = Progress(planned=len(planned))
        traffic = asyncio.create_task(
            Load(town.stage.settings.proxy.listen, ENDPOINT, town.clock).run(planned, progress, start=town.clock.monotonic())
        )
        await asyncio.sleep(1)
        daemon.send_signal(signal.SIGUSR2)
        await replaced(town)
        await traffic
        assert len(progress.answers) == len(planned)
        assert all(answer.ok for answer in progress.answers)
        async with asyncio.timeout(20):
            while (await town.seen()).get("sample", {}).get("in_flight") != 0:
                await asyncio.sleep(0.1)
        status = await asyncio.to_thread(get_json, town.stage.settings.admin.listen, "/status")
        assert status["connections"] == 0
        daemon.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await daemon.wait() == 0
    assert "worker ended and is replaced" not in town.log()


NO_WORKERS = """
import os, sys
if "scaler.proxy.worker" in sys.orig_argv:
    os._exit(3)
"""


def test_a_worker_that_does_not_come_up_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_WORKERS)
    (tmp_path / "key").write_text("sk-secret")
    tree = {
        "provider": {"api_key_file": "key", "base_url": "http://127.0.0.1:1/v1"},
        "proxy": {"listen": "127.0.0.1:0", "workers": 2},
        "admin": {"listen": "127.0.0.1:0"},
        "endpoints": {"chat": {"id": "endpoint-1"}},
    }
    (tmp_path / "scaler.yaml").write_text(yaml.safe_dump(tree))
    command = (sys.executable, "-m", "scaler", "run", "--config", "scaler.yaml")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    (said,) = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert re.fullmatch(r"scaler: worker \d+ does not listen", said)


def test_workers_need_the_machines_own_clock(tmp_path: Path) -> None:
    town = Town.found(tmp_path)
    tree = yaml.safe_load(town.stage.config.read_text())
    tree["proxy"]["workers"] = 2
    town.stage.config.write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match=r"proxy\.workers: expected 1"):
        load(town.stage.config)
