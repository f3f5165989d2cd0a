"""SIGTERM with two hundred streams open: no new ones, all of those finish or meet the deadline, exit 0. Clients need a key meanwhile."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import httpx

from scaler.demo.stage import ENDPOINT
from scaler.settings import host_port
from tests.pressure.load import serving
from tests.proxy.wire import STREAM_HEAD, Client, Script, Visit, chunk, request
from tests.scenarios.town import Town

STREAMS = 200
KEY = "sk-team"
BEARER = f"Authorization: Bearer {KEY}\r\n".encode()


def streaming(end: asyncio.Event) -> Script:
    """Answers go on until the event; those to a request with ``X-Endless`` for ever."""

    async def script(visit: Visit) -> None:
        while True:
            asked = await visit.request()
            await visit.send(STREAM_HEAD)
            while asked.values(b"x-endless") or not end.is_set():
                await visit.send(chunk(b"data: x\n\n"))
                await asyncio.sleep(0.2)
            await visit.send(chunk(b"data: [DONE]\n\n"), b"0\r\n\r\n")

    return script


@contextlib.asynccontextmanager
async def begun(town: Town, count: int, fields: bytes = b"") -> AsyncIterator[list[Client]]:
    """So many streams, each with its first event."""
    address = host_port(town.stage.settings.proxy.listen)
    async with contextlib.AsyncExitStack() as open_ones:
        clients: list[Client] = []
        for _ in range(count):
            clients.append(Client(*await asyncio.open_connection(*address)))
            open_ones.callback(clients[-1].close)
        for client in clients:
            await client.send(request(model=ENDPOINT, fields=BEARER + fields))
        for client in clients:
            await asyncio.wait_for(client.reader.readuntil(b"data: x\n\n\r\n"), 20)
        yield clients


async def status_without_key(town: Town) -> int:
    client = Client(*await asyncio.open_connection(*host_port(town.stage.settings.proxy.listen)))
    got = await client.ask(request(model=ENDPOINT))
    client.close()
    await client.writer.wait_closed()
    return got.status


async def admitted(town: Town) -> int:
    """Requests of the one client, as Prometheus sees them."""
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://{town.stage.settings.admin.listen}/metrics")).text
    (line,) = [line for line in text.splitlines() if line.startswith('scaler_client_requests_total{client="team",outcome="admitted"}')]
    return int(float(line.split()[1]))


async def refuses(town: Town) -> bool:
    try:
        _, writer = await asyncio.open_connection(*host_port(town.stage.settings.proxy.listen))
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it waited to be accepted when the listener closed
        return False
    writer.close()
    with contextlib.suppress(ConnectionResetError):
        await writer.wait_closed()
    return False


async def test_streams_that_are_open_at_sigterm_finish_or_are_cut_visibly_at_the_deadline(tmp_path: Path) -> None:
    end = asyncio.Event()
    town = Town.found(tmp_path)
    async with town.world(), serving(streaming(end)) as upstream:
        town.environment |= {"SCALER_PROXY__UPSTREAM": upstream.url, "SCALER_PROXY__DRAIN_SECONDS": "3"}
        town.environment["SCALER_CLIENTS__KEYS__TEAM__SHA256"] = sha256(KEY.encode()).hexdigest()
        async with (
            town.daemon() as daemon,
            begun(town, STREAMS // 2) as finite,
            begun(town, STREAMS // 2, b"X-Endless: 1\r\n") as endless,
        ):
            assert await status_without_key(town) == 401
            assert await admitted(town) == STREAMS
            daemon.send_signal(signal.SIGTERM)
            began = time.monotonic()
            async with asyncio.timeout(2):
                while not await refuses(town):
                    await asyncio.sleep(0.02)
            assert daemon.returncode is None  # it waits for them
            end.set()
            finished = await asyncio.gather(*map(rest, finite))
            assert all(body.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") for body in finished)
            cut = await asyncio.gather(*map(rest, endless))
            assert time.monotonic() - began >= 2.9
            assert not any(b"[DONE]" in body or body.endswith(b"0\r\n\r\n") for body in cut)
            async with asyncio.timeout(10):
                assert await daemon.wait() == 0


async def rest(client: Client) -> bytes:
    """What still comes, to whatever end."""
    body = b""
    with contextlib.suppress(ConnectionError):
        while piece := await asyncio.wait_for(client.reader.read(65_536), 10):
            body += piece
    client.close()
    with contextlib.suppress(ConnectionError):
        await client.writer.wait_closed()
    return body
