"""The demo's configuration: an ordinary file for an ordinary daemon, and one for the world, written where anyone can read them."""

import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from scaler.settings import Settings, WorldSettings, load, load_world

ENDPOINT = "chat"
ENDPOINT_ID = "endpoint-demo-0001"
MAX_REPLICAS = 12
DAY = 86_400

REPLICA = {"slots": 4, "ttft_seconds": 0.6, "seconds_per_output_token": 0.05, "slowdown": 0.6, "tokens_per_event": 8}
"""A large model: four streams at once, 20 tokens a second each when alone, a third slower in full company."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where everything is: a configuration for the daemon, one for the world."""

    folder: Path
    config: Path
    settings: Settings
    world_config: Path
    world: WorldSettings


def free_ports(wanted: Sequence[int]) -> list[int]:
    """Each port that is ``wanted`` if nobody has it, else one that is free now; no two the same."""
    with ExitStack() as held:
        return [_hold(port, held) for port in wanted]


def _hold(wanted: int, held: ExitStack) -> int:
    """The number of a port that is taken until the stack unwinds."""
    for port in (wanted, 0):
        probe = held.enter_context(socket.socket())
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()  # two that only bind it may share a port
        except OSError:
            continue
        return int(probe.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")


PORTS = (8123, 8080, 9090)


def build(folder: Path, *, speed: float, seed: int, ports: Sequence[int] = PORTS) -> Stage:
    """Write the configuration into ``folder`` and load it as the daemon will. ``ports`` of world, proxy and admin are wishes."""
    key = folder / "api-key"
    key.write_text("demo-key\n")
    world, proxy, admin = (f"127.0.0.1:{port}" for port in free_ports(ports))
    config, world_config = folder / "daemon.yaml", folder / "world.yaml"
    config.write_text(yaml.safe_dump(_daemon(folder, world, proxy, admin, speed), sort_keys=False))
    world_config.write_text(yaml.safe_dump({"world": _world(world, seed)}, sort_keys=False))
    return Stage(folder, config, load(config), world_config, load_world(world_config))


def _daemon(folder: Path, world: str, proxy: str, admin: str, speed: float) -> dict[str, Any]:
    now = time.time()
    return {
        "clock": {"speed": speed, "epoch": now, "start": now // DAY * DAY},
        "provider": {"kind": "together_v1", "base_url": f"http://{world}/v1", "api_key_file": str(folder / "api-key")},
        "proxy": {"listen": proxy, "drain_seconds": 5},
        "admin": {"listen": admin},
        "store": {"path": str(folder / "scaler.db")},
        "pause_file": str(folder / "scaler.paused"),
        "log": {"format": "json"},
        "guard": {"max_decision_age_seconds": 60},
        "endpoints": {
            ENDPOINT: {
                "id": ENDPOINT_ID,
                "min_replicas": 1,
                "max_replicas": MAX_REPLICAS,
                "objective": {"ttft_seconds": 10, "share": 0.95},
                "policy": {"target_concurrency": REPLICA["slots"], "target_utilization": 0.7, "cold_start_seconds": 240},
                "idle": {"inactive_timeout_minutes": 0},
            }
        },
    }


def _world(listen: str, seed: int) -> dict[str, Any]:
    return {
        "listen": listen,
        "seed": seed,
        "cold_start": {"median_seconds": 180, "sigma": 0.2},
        "replica": REPLICA,
        "native_autoscaler": {"target_in_flight": REPLICA["slots"]},
        "endpoints": [
            {
                "id": ENDPOINT_ID,
                "model": "meta-llama/Llama-3.3-70B-Instruct",
                "hardware": "2x_nvidia_h100_80gb_sxm",
                "display_name": "demo",
                "min_replicas": 1,
                "max_replicas": 1,
                "inactive_timeout_minutes": 0,
            }
        ],
    }
