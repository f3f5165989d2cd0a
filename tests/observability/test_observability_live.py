"""What a running daemon shows of itself, under hostile traffic and at the highest log level: no secret, no forged line, no new series."""

import asyncio
import base64
import json
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from scaler.observability.logs import MAX_LINE_BYTES
from tests.grafana.live import ADMIN_TOKEN, API_KEY, Target, live_target

CLIENT_KEY = "sk-canary-5d1f08c2aa7b4e96"
CANARIES = (API_KEY, ADMIN_TOKEN, CLIENT_KEY)
HOSTILE = ("\x1b[31mred", "a\r\nb", "\u2028\u0085", "' OR '1'='1", "../../etc/passwd", "x" * 100_000, CLIENT_KEY)
NAMES = 300


async def provoke(client: httpx.AsyncClient, target: Target) -> None:
    """Requests that carry secrets and control characters everywhere, and names that exist nowhere."""
    headers = {"authorization": f"Bearer {CLIENT_KEY}", "x-api-key": CLIENT_KEY, "cookie": f"session={CLIENT_KEY}"}
    bodies: list[dict[str, Any]] = [{"model": text, "messages": [{"role": "user", "content": text}]} for text in HOSTILE]
    bodies += [{"model": "chat", "messages": [{"role": "user", "content": CLIENT_KEY}], "max_tokens": 1, "api_key": CLIENT_KEY}]
    bodies += [{"model": f"model-{number}"} for number in range(NAMES)]
    for body in bodies:
        await client.post(f"http://{target.proxy}/v1/chat/completions", json=body, headers=headers)
    for number in range(NAMES):
        await client.get(f"http://{target.proxy}/v1/{number}?api_key={CLIENT_KEY}", headers=headers)
    await client.get(f"http://{target.admin}/explain/{CLIENT_KEY}", headers=headers)


async def shown(client: httpx.AsyncClient, target: Target) -> dict[str, str]:
    """Everything that the admin server tells to those who know the token."""
    headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
    pages = ("/metrics", "/status", "/explain/chat?limit=1000", "/livez", "/readyz", "/nothing")
    return {page: (await client.get(f"http://{target.admin}{page}", headers=headers)).text for page in pages}


async def settled(client: httpx.AsyncClient, target: Target) -> str:
    """The metrics once it has ticked three times: some speak of the span between two ticks."""
    deadline = time.monotonic() + 30
    while True:
        page = (await shown(client, target))["/metrics"]
        ticks = re.search(r"^scaler_tick_duration_seconds_count (\S+)", page, re.MULTILINE)
        if ticks and float(ticks[1]) >= 3:
            return page
        assert time.monotonic() < deadline, "it does not tick"
        await asyncio.sleep(0.1)


def series(page: str) -> set[str]:
    return {line.rpartition(" ")[0] for line in page.splitlines() if not line.startswith("#")}


def on_disk(folder: Path, target: Target) -> dict[str, str]:
    """What the daemon has written or lets others see: log, database and its write-ahead log, its command line."""
    written = {path.name: path.read_bytes().decode("latin-1") for path in folder.glob("scaler.*")}
    command_line = Path(f"/proc/{target.process.pid}/cmdline")
    return written | ({"command line": command_line.read_text()} if command_line.exists() else {})


def leaks(places: dict[str, str]) -> set[tuple[str, str]]:
    """Which secret stands where: plain, percent-encoded, in base64, or by its first twelve characters."""
    forms = {canary: (canary[:12], quote(canary), base64.b64encode(canary.encode()).decode()) for canary in CANARIES}
    return {(canary, place) for canary, written in forms.items() for place, text in places.items() if any(form in text for form in written)}


async def test_a_daemon_at_debug_under_hostile_traffic_keeps_its_secrets(tmp_path: Path) -> None:
    log_settings = {"level": "debug", "format": "json"}
    async with (
        live_target(tmp_path, log=log_settings) as target,
        httpx.AsyncClient(trust_env=False, verify=False, timeout=30) as client,
    ):
        before = series(await settled(client, target))
        await provoke(client, target)
        pages = await shown(client, target)
        assert leaks(pages) == set()
        assert leaks(await asyncio.to_thread(on_disk, tmp_path, target)) == set()
        assert series(pages["/metrics"]) == before
        assert len(before) < 500
        arrivals = re.search(r'scaler_request_arrivals_total\{endpoint="other"\} (\S+)', pages["/metrics"])
        assert arrivals
        assert float(arrivals[1]) >= 2 * NAMES
    lines = target.log.read_bytes().splitlines()
    assert [line for line in lines if not isinstance(json.loads(line), dict)] == []
    assert [line for line in lines if len(line) >= MAX_LINE_BYTES or any(byte < 0x20 or byte >= 0x7F for byte in line)] == []
    assert {json.loads(line)["level"] for line in lines} >= {"debug", "info"}
