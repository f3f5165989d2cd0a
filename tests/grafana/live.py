"""A real daemon under traffic, and a real Prometheus that scrapes it: what the dashboard's queries are asked against."""

import asyncio
import contextlib
import copy
import itertools
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from scaler.demo.stage import free_ports

SPEED = 20.0
"""Clock seconds per second: a tick is half a second."""
CALM, SURGE = 2, 6
"""Requests in flight at first, which one replica can bear, and those on top, which it cannot."""
START_SECONDS = 30.0
STOP_SECONDS = 10.0
API_KEY = "tgp_v1_canary-0f5a9bd2c7e84163"
ADMIN_TOKEN = "adm_canary-71c3ab90ee5d4f28"
MODEL, HARDWARE = "meta-llama/Llama-3.3-70B-Instruct", "4x_nvidia_h100_80gb_sxm"
REQUEST = {
    "model": "chat",
    "stream": True,
    "max_tokens": 20,
    "stream_options": {"include_usage": True},
    "messages": [{"role": "user", "content": "Say something."}],
}


@dataclass(frozen=True)
class Target:
    """A running daemon: where it listens (HOST:PORT), its files, and a way to make something happen."""

    admin: str
    proxy: str
    token_file: Path
    log: Path
    process: asyncio.subprocess.Process
    surge: Callable[[], None]


class Traffic:
    """Streams through the proxy, each one request after the other until the end; and now and then one for an endpoint that sleeps."""

    def __init__(self, group: asyncio.TaskGroup, url: str) -> None:
        self._group = group
        self._url = url
        self._streams: list[asyncio.Task[None]] = []

    def knock(self) -> None:
        """Somebody calls for who has no money to get up."""
        self._streams.append(self._group.create_task(self._knock()))

    def add(self, count: int) -> None:
        self._streams += [self._group.create_task(self._stream(number)) for number in range(count)]

    def end(self) -> None:
        for stream in self._streams:
            stream.cancel()

    async def _knock(self) -> None:
        async with new_client() as client:
            while True:
                await client.post(self._url, json=REQUEST | {"model": "asleep"})
                await asyncio.sleep(0.1)

    async def _stream(self, number: int) -> None:
        """Now and then one asks for a model that does not exist."""
        async with new_client() as client:
            for count in itertools.count(number):
                body = REQUEST | {"model": "nobody"} if count % 10 == 0 else REQUEST
                async with client.stream("POST", self._url, json=body) as response:
                    async for _ in response.aiter_bytes():
                        pass


def new_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(trust_env=False, verify=False, timeout=START_SECONDS)


@contextlib.asynccontextmanager
async def process(*command: str, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that is ended, and has ended, on the way out."""
    with log.open("wb") as output:
        running = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output)
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            running.terminate()
        try:
            await asyncio.wait_for(running.wait(), STOP_SECONDS)
        except TimeoutError:
            running.kill()
            await running.wait()


async def answers(url: str, running: asyncio.subprocess.Process, log: Path) -> None:
    """Wait until ``url`` answers 200, while the process that should answer runs."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_SECONDS), new_client() as client:
            while running.returncode is None:
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(url)).is_success:
                        return
                await asyncio.sleep(0.05)
    raise AssertionError(f"{url} does not answer:\n{await asyncio.to_thread(log.read_text)}")


@contextlib.asynccontextmanager
async def live_target(folder: Path, *, company: bool = False, **settings: Any) -> AsyncIterator[Target]:  # noqa: ANN401 (branches of the configuration)
    """``scaler run`` on a platform in a box, under traffic for which one replica is not enough. ``settings`` replace whole branches.

    ``company``: beside it an endpoint that sleeps and is called in vain, and one that is declared; and an override is in force.
    """
    world, proxy, admin = (f"127.0.0.1:{port}" for port in free_ports([0, 0, 0]))
    config, token = folder / "scaler.yaml", folder / "admin-token"
    token.write_text(f"{ADMIN_TOKEN}\n")
    (folder / "api-key").write_text(f"{API_KEY}\n")
    tree = _settings(folder, world=world, proxy=proxy, admin=admin) | settings
    if company:
        tree["endpoints"] |= {
            "asleep": {"id": "endpoint-2", "budget": {"per_month_dollars": 0.01}, "wake": {"hold_seconds": 10}},
            "declared": {"create": True, "model": MODEL, "hardware": HARDWARE},
        }
        tree["world"]["endpoints"].append({"id": "endpoint-2", "model": MODEL, "hardware": HARDWARE, "state": "STOPPED"})
    config.write_text(yaml.safe_dump(tree))
    log = folder / "scaler.log"
    async with process(sys.executable, "-m", "scaler", "run", "--config", str(config), log=log) as running:
        await answers(f"http://{admin}/readyz", running, log)
        if company:
            await _impose(config, folder / "override.log")
        async with asyncio.TaskGroup() as group:
            traffic = Traffic(group, f"http://{proxy}/v1/chat/completions")
            traffic.add(CALM)
            if company:
                traffic.knock()
            try:
                yield Target(admin, proxy, token, log, running, surge=lambda: traffic.add(SURGE))
            finally:
                traffic.end()


async def _impose(config: Path, log: Path) -> None:
    """An override that changes nothing, to be shown."""
    order = ("override", "chat", "--floor", "1", "--for", "2d", "--config", str(config))
    async with process(sys.executable, "-m", "scaler", *order, log=log) as running:
        assert await asyncio.wait_for(running.wait(), START_SECONDS) == 0, await asyncio.to_thread(log.read_text)


def _settings(folder: Path, *, world: str, proxy: str, admin: str) -> dict[str, Any]:
    return {
        "clock": {"speed": SPEED},
        "provider": {"kind": "together_v1", "base_url": f"http://{world}/v1", "api_key_file": str(folder / "api-key")},
        "proxy": {"listen": proxy, "drain_seconds": 1},
        "admin": {"listen": admin, "token_file": str(folder / "admin-token")},
        "store": {"path": str(folder / "scaler.db")},
        "pause_file": str(folder / "scaler.paused"),
        "log": {"format": "json"},
        "endpoints": {
            "chat": {
                "id": "endpoint-1",
                "min_replicas": 1,
                "max_replicas": 4,
                "policy": {"target_concurrency": 4, "stable_window_seconds": 60, "cold_start_seconds": 60},
                "idle": {"inactive_timeout_minutes": 0},
                "budget": {"per_month_dollars": 1e6},
            }
        },
        "world": {
            "listen": world,
            "cold_start": {"median_seconds": 30},
            "replica": {"ttft_seconds": 2, "seconds_per_output_token": 0.2, "tokens_per_event": 4},
            "endpoints": [
                {
                    "id": "endpoint-1",
                    "model": MODEL,
                    "hardware": HARDWARE,
                    "inactive_timeout_minutes": 0,
                }
            ],
        },
    }


def find_prometheus() -> str | None:
    """Debian's, or whichever is on the path."""
    return shutil.which("prometheus")


class Prometheus:
    """A Prometheus to ask."""

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self._url = url

    async def query(self, expression: str) -> list[float]:
        """The values of an instant query now; raises when the expression is wrong."""
        data = await self._get("/api/v1/query", {"query": expression})
        return [float(series["value"][1]) for series in data["result"]]

    async def label_values(self, selector: str, label: str) -> set[str]:
        """What Grafana's ``label_values(selector, label)`` shows."""
        found = await self._get("/api/v1/series", {"match[]": selector})
        return {series[label] for series in found if label in series}

    async def _get(self, path: str, parameters: dict[str, str]) -> Any:  # noqa: ANN401 (JSON)
        response = await self._client.get(f"{self._url}{path}", params=parameters)
        answer = response.json()
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]


@contextlib.asynccontextmanager
async def prometheus(binary: str, example: dict[str, Any], target: Target, folder: Path) -> AsyncIterator[Prometheus]:
    """A Prometheus with the example's configuration, but quick, and with this target."""
    tree = copy.deepcopy(example)
    [job] = tree["scrape_configs"]
    job |= {
        "static_configs": [{"targets": [target.admin]}],
        "scrape_interval": "500ms",
        "scrape_timeout": "500ms",
        "authorization": {"credentials_file": str(target.token_file)},
    }
    config, log = folder / "prometheus.yml", folder / "prometheus.log"
    config.write_text(yaml.safe_dump(tree))
    [port] = free_ports([0])
    command = (
        binary,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    )
    async with process(*command, log=log) as running, new_client() as client:
        await answers(f"http://127.0.0.1:{port}/-/ready", running, log)
        yield Prometheus(client, f"http://127.0.0.1:{port}")
