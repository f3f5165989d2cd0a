import asyncio
import socket
import sys
import time
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from pydantic import SecretStr

from scaler.observability.admin import HEALTH_PATHS, admin_app, healthcheck, serve_admin
from scaler.settings import AdminSettings

if TYPE_CHECKING:
    from tests.observability.conftest import Daemon, Serving

TOKEN = "correct-horse"
ROUTES = ("/livez", "/healthz", "/readyz", "/metrics", "/status", "/explain/chat")


@pytest.fixture
async def daemon(serving: "Serving") -> AsyncIterator["Daemon"]:
    async with serving(AdminSettings()) as daemon:
        yield daemon


@pytest.fixture
async def guarded(serving: "Serving") -> AsyncIterator["Daemon"]:
    async with serving(AdminSettings(token=SecretStr(TOKEN))) as daemon:
        yield daemon


async def get(daemon: "Daemon", path: str, headers: dict[str, str] | None = None, *, method: str = "GET") -> httpx.Response:
    async with httpx.AsyncClient(base_url=daemon.url, trust_env=False, verify=False, timeout=5) as client:
        return await client.request(method, path, headers=headers)


async def raw(daemon: "Daemon", request: bytes) -> bytes:
    """The status line that answers these very bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    writer.write(request)
    async with asyncio.timeout(5):
        line = await reader.readline()
    writer.close()
    return line


async def test_live_while_ticks_complete_in_time(daemon: "Daemon") -> None:
    daemon.age = 30.0
    assert (await get(daemon, "/livez")).json() == {"live": True, "tick_age_seconds": 30.0, "max_tick_age_seconds": 30.0}
    daemon.age = 30.001
    response = await get(daemon, "/livez")
    assert (response.status_code, response.json()["live"]) == (503, False)
    assert (await get(daemon, "/healthz")).status_code == 503
    daemon.age = 1.0
    assert (await get(daemon, "/healthz")).status_code == 200


async def test_ready_is_another_question_than_live(daemon: "Daemon") -> None:
    assert (await get(daemon, "/readyz")).json() == {"ready": True, "reasons": []}
    daemon.reasons = ["draining"]
    response = await get(daemon, "/readyz")
    assert (response.status_code, response.json()) == (503, {"ready": False, "reasons": ["draining"]})
    assert (await get(daemon, "/livez")).status_code == 200


async def test_metrics_are_served_even_when_all_else_is_wrong(daemon: "Daemon") -> None:
    daemon.age, daemon.reasons = 1e9, ["everything"]
    response = await get(daemon, "/metrics", {"accept": "application/openmetrics-text; version=nonsense"})
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "scaler_test_total 1.0" in response.text


async def test_status_is_json(daemon: "Daemon") -> None:
    response = await get(daemon, "/status")
    assert response.json() == {"chat": {"ready": 1}}
    assert response.headers["cache-control"] == "no-store"


async def test_explain_asks_for_as_many_decisions_as_it_is_told(daemon: "Daemon") -> None:
    assert len((await get(daemon, "/explain/chat")).json()["decisions"]) == 20
    assert len((await get(daemon, "/explain/chat?limit=1000")).json()["decisions"]) == 1000
    assert daemon.asked == [("chat", 20), ("chat", 1000)]
    assert (await get(daemon, "/explain/other?limit=1")).status_code == 404


async def test_whoever_asks_by_an_inference_name_is_understood(daemon: "Daemon", tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-secret")
    config = tmp_path / "scaler.yaml"
    admin = f"admin: {{listen: '127.0.0.1:{daemon.port}'}}\n"
    config.write_text(admin + f"provider: {{api_key_file: {tmp_path / 'key'}}}\nendpoints: {{chat: {{id: endpoint-1}}}}\n")
    for name in ("o/chat-1", "what is this?"):
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "scaler", "explain", name, "--json", "--config", str(config)), stderr=asyncio.subprocess.PIPE
        )
        _, said = await child.communicate()
        assert (child.returncode, daemon.asked.pop()) == (1, (name, 10))
        assert b"no such endpoint in the configuration" in said


async def test_explain_refuses_other_limits(daemon: "Daemon") -> None:
    for limit in ("0", "1001", "-1", "1.5", "", "x", "٣", "9" * 5000):
        response = await get(daemon, f"/explain/chat?limit={limit}")
        assert (limit, response.status_code, daemon.asked) == (limit, 400, [])


NO_TOKENS = [None, "", "Bearer", "Bearer wrong", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN, "Bearer ' OR '1'='1"]


async def test_without_the_token_only_health_is_shown(guarded: "Daemon") -> None:
    paths = (*ROUTES, "/", "/nothing", "/docs", "//livez", "/livez/", "/status/", "/explain/", "/status?x=/livez")
    for path, authorization in product(paths, NO_TOKENS):
        response = await get(guarded, path, {} if authorization is None else {"authorization": authorization})
        assert (path, authorization, response.status_code) == (path, authorization, 200 if path in HEALTH_PATHS else 401)
        assert "scaler_test" not in response.text
    assert guarded.asked == []


async def test_two_tokens_are_none(guarded: "Daemon") -> None:
    token = f"Authorization: Bearer {TOKEN}\r\n"
    assert b" 401 " in await raw(guarded, f"GET /status HTTP/1.1\r\nHost: localhost\r\n{token}{token}\r\n".encode())


async def test_with_the_token_everything_is_shown(guarded: "Daemon") -> None:
    for path in ROUTES:
        assert (await get(guarded, path, {"authorization": f"Bearer {TOKEN}"})).status_code == 200
        assert (await get(guarded, path, {"authorization": f"bearer  {TOKEN}"})).status_code == 200


async def test_a_refusal_does_not_repeat_what_was_sent(guarded: "Daemon") -> None:
    response = await get(guarded, "/status", {"authorization": "Bearer guess-1234"})
    assert "guess-1234" not in response.text
    assert TOKEN not in response.text


async def test_nothing_but_get_is_answered(daemon: "Daemon") -> None:
    for path in ROUTES:
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "PROPFIND"):
            response = await get(daemon, path, method=method)
            assert (response.status_code, response.headers["allow"]) == (405, "GET")


async def test_names_of_this_machine_are_answered(daemon: "Daemon") -> None:
    for host in ("127.0.0.1", "127.0.0.1:9090", "localhost", "LOCALHOST:1", "[::1]", "[::1]:9090"):
        assert (host, (await get(daemon, "/status", {"host": host})).status_code) == (host, 200)


HOSTILE_HOSTS = [
    "evil.example",
    "127.0.0.1.evil.example",
    "localhost.",
    "a/?x=",
    "127.0.0.1:x",
    "127.0.0.1@evil",
    "",
    "[::2]",
    "10.0.0.1",
    ":",
]


async def test_other_names_are_refused(daemon: "Daemon") -> None:
    for host in HOSTILE_HOSTS:
        for path in ROUTES:
            line = await raw(daemon, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert line.split()[1] in {b"421", b"400"}, (host, path)


async def test_no_name_and_two_names_are_refused(daemon: "Daemon") -> None:
    assert b" 421 " in await raw(daemon, b"GET /status HTTP/1.0\r\n\r\n")
    assert b" 400 " in await raw(daemon, b"GET /status HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n")


async def test_bound_to_all_addresses_any_address_will_do_but_no_foreign_name(serving: "Serving") -> None:
    settings = AdminSettings(listen="0.0.0.0:9090", token=SecretStr(TOKEN), hosts=("scaler.monitoring",))
    async with serving(settings) as daemon:
        for host, status in {"10.1.2.3:9090": 200, "scaler.monitoring:9090": 200, "[fd00::1]:9090": 200, "evil.example": 421}.items():
            response = await get(daemon, "/status", {"host": host, "authorization": f"Bearer {TOKEN}"})
            assert (host, response.status_code) == (host, status)


@pytest.mark.parametrize(("origin", "status"), [("http://localhost:9090", 200), ("https://evil.example", 403), ("null", 403), ("", 403)])
async def test_pages_of_other_sites_are_refused_and_none_may_read(daemon: "Daemon", origin: str, status: int) -> None:
    response = await get(daemon, "/status", {"origin": origin})
    assert response.status_code == status
    assert not [name for name in response.headers if name.startswith("access-control")]


async def test_an_answer_that_takes_too_long_is_given_up(daemon: "Daemon", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scaler.observability.admin.EXPLAIN_SECONDS", 0.05)
    daemon.store_hangs = True
    assert (await get(daemon, "/explain/chat")).status_code == 503
    assert (await get(daemon, "/metrics")).status_code == 200


async def test_cancelled_it_ends_soon_and_frees_the_port(serving: "Serving") -> None:
    async with serving(AdminSettings()) as daemon:
        reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 200 " in await reader.readline()
        began = time.monotonic()
    assert time.monotonic() - began < 1
    assert await asyncio.wait_for(reader.read(), 5)
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", daemon.port)


async def test_an_address_that_cannot_be_bound_is_an_error(daemon: "Daemon") -> None:
    app = admin_app(daemon.admin(), AdminSettings())
    with pytest.raises(OSError, match="in use"):
        await serve_admin(app, f"127.0.0.1:{daemon.port}")


async def test_healthcheck_says_what_livez_says(daemon: "Daemon") -> None:
    for listen in (f"127.0.0.1:{daemon.port}", f"0.0.0.0:{daemon.port}", f"localhost:{daemon.port}"):
        assert await asyncio.to_thread(healthcheck, listen) == 0
    daemon.age = 31.0
    assert await asyncio.to_thread(healthcheck, f"127.0.0.1:{daemon.port}") == 1


def test_healthcheck_of_nothing_and_of_something_silent_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scaler.observability.admin.HEALTHCHECK_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert healthcheck(f"127.0.0.1:{port}") == 1
    assert healthcheck(f"127.0.0.1:{port}") == 1


async def test_healthcheck_of_another_kind_of_server_is_a_failure() -> None:
    async def babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-x\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        assert await asyncio.to_thread(healthcheck, f"127.0.0.1:{server.sockets[0].getsockname()[1]}") == 1
