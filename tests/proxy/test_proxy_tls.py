"""TLS towards the upstream: whom it trusts, and that no way in which bytes may come or end deceives it."""

import asyncio
import contextlib
import gc
import ipaddress
import os
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import cast

import pytest
from pydantic import SecretStr

from scaler.proxy import tls
from scaler.proxy.meter import Meter
from scaler.proxy.server import Proxy
from scaler.settings import ProxySettings
from tests.proxy.house import Build
from tests.proxy.wire import DEADLINE, BrokenOffError, Visit, answer, paced, request, until


def certificate(folder: Path, *names: str) -> tuple[Path, Path]:
    """A self-signed certificate for these names, and its key."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    kinds = ["IP" if is_address(name) else "DNS" for name in names]
    subject = ",".join(f"{kind}:{name}" for kind, name in zip(kinds, names, strict=True))
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
            *("-subj", "/CN=throw-away", "-addext", f"subjectAltName={subject}", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def server_side(files: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    return context


async def test_an_upstream_behind_tls_that_can_be_verified(build: Build, tmp_path: Path) -> None:
    files = certificate(tmp_path, "127.0.0.1")
    go_on = asyncio.Event()
    house = await build(paced(go_on), server_tls=server_side(files), client_tls=ssl.create_default_context(cafile=files[0]))
    go_on.set()
    client = await house.client()
    for _ in range(3):
        assert (await client.ask(request())).body == b"data: 1\n\ndata: 2\n\n"
    assert len(house.upstream.visits) == 1
    go_on.clear()
    await client.send(request())
    await client.reader.readuntil(b"data: 1\n\n\r\n")
    client.abort()
    await until(lambda: house.upstream.visits[0].reader.at_eof() or house.upstream.visits[0].reader.exception(), 0.1)


async def test_a_large_answer_and_a_break_behind_tls(build: Build, tmp_path: Path) -> None:
    files = certificate(tmp_path, "127.0.0.1")
    large = bytes(range(256)) * 40_000

    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(answer(large))
        await visit.request()
        await visit.send(answer(large)[:-1])
        visit.writer.close()

    house = await build(script, server_tls=server_side(files), client_tls=ssl.create_default_context(cafile=files[0]))
    client = await house.client()
    assert (await client.ask(request(b'{"model":"chat","x":"%b"}' % (b"y" * 3_000_000)))).body == large
    with pytest.raises(BrokenOffError):
        await client.ask(request())


@pytest.mark.parametrize("trusted", [False, True])
async def test_an_upstream_that_cannot_be_verified_gets_nothing(build: Build, tmp_path: Path, trusted: bool) -> None:  # noqa: FBT001 (a parameter)
    files = certificate(tmp_path, "elsewhere.example" if trusted else "127.0.0.1")
    context = ssl.create_default_context(cafile=files[0]) if trusted else None
    house = await build(server_tls=server_side(files), client_tls=context)
    got = await (await house.client()).ask(request())
    assert (got.status, got.code) == (502, "upstream_unreachable")
    assert house.upstream.requests == []
    assert house.reading.completions["failed"] == 1


def expired(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that ended yesterday, and its key."""
    key, wish, names, certificate = (folder / name for name in ("key.pem", "wish.csr", "names.cnf", "certificate.pem"))
    names.write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=critical,CA:TRUE\n")
    make_key = ("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=x")
    subprocess.run([*make_key, "-keyout", str(key), "-out", str(wish)], check=True, capture_output=True)
    sign = ("openssl", "x509", "-req", "-in", str(wish), "-signkey", str(key), "-days", "-1", "-extfile", str(names))
    subprocess.run([*sign, "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key


async def test_an_upstream_whose_certificate_is_over_gets_nothing(build: Build, tmp_path: Path) -> None:
    files = expired(tmp_path)
    house = await build(server_tls=server_side(files), client_tls=ssl.create_default_context(cafile=files[0]))
    got = await (await house.client()).ask(request())
    assert (got.status, got.code) == (502, "upstream_unreachable")
    assert (house.upstream.requests, house.reading.failures["unreachable"]) == ([], 1)


async def test_a_verified_upstream_is_the_default(build: Build) -> None:
    proxy = Proxy(ProxySettings(listen="127.0.0.1:0"), "https://127.0.0.1:1/v1", SecretStr("x"), Meter(time.monotonic))
    context = proxy._context.pool._ssl
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    proxy.close()


# How bytes come and end


@pytest.mark.parametrize("announced", [True, False])
async def test_an_answer_that_ends_with_its_connection_is_complete_only_if_the_end_was_announced(
    build: Build,
    tmp_path: Path,
    announced: bool,  # noqa: FBT001 (a parameter)
) -> None:
    files = certificate(tmp_path, "127.0.0.1")

    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n", b"all of it?")
        if announced:
            visit.writer.close()
        else:
            visit.writer.transport.abort()

    house = await build(script, server_tls=server_side(files), client_tls=ssl.create_default_context(cafile=files[0]))
    client = await house.client()
    if announced:
        assert (await client.ask(request())).body == b"all of it?"
        return
    with pytest.raises(BrokenOffError):
        await client.ask(request())
    assert house.reading.failures["truncated"] == 1


async def test_an_upstream_that_never_proves_its_name_is_left_in_time(build: Build, tmp_path: Path) -> None:
    async def mute(visit: Visit) -> None:
        await visit.reader.read()

    house = await build(mute, connect_timeout_seconds=0.2, client_tls=ssl.create_default_context())
    got = await (await house.client()).ask(request())
    assert (got.status, got.code) == (504, "connect_timeout")
    await until(house.upstream.visits[0].closed.is_set)


async def test_an_upstream_that_speaks_no_tls_gets_nothing(build: Build) -> None:
    async def plain(visit: Visit) -> None:
        greeting = await visit.reader.read(1000)
        assert b"sk-ours" not in greeting
        await visit.send(answer())
        assert b"sk-ours" not in await visit.reader.read()

    house = await build(plain, client_tls=ssl.create_default_context())
    got = await (await house.client()).ask(request())
    assert (got.status, got.code) == (502, "upstream_unreachable")


class Heard(asyncio.Protocol):
    """Notes what comes."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.transport: asyncio.Transport
        self.ended = False
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)

    def eof_received(self) -> None:
        self.ended = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)

    @property
    def all(self) -> bytes:
        return b"".join(self.pieces)


@contextlib.asynccontextmanager
async def echo(files: tuple[Path, Path], way_back: Callable[[bytes], Iterable[bytes]]) -> AsyncIterator[int]:
    """The port of a server that says all again, and at a "!" announces its end. What it says passes ``way_back``, still encrypted."""
    relays: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while (data := await reader.read(100_000)) and b"!" not in data:
                writer.write(data)
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
        relays.append(asyncio.create_task(pump(reader, forth, lambda data: [data])))
        relays.append(asyncio.create_task(pump(back, writer, way_back)))

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Callable[[bytes], Iterable[bytes]]) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(100_000):
                for piece in change(data):
                    writer.write(piece)
                    await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_side(files))
    way = await asyncio.start_server(relay, "127.0.0.1", 0)
    try:
        async with asyncio.timeout(DEADLINE):
            yield way.sockets[0].getsockname()[1]
            await asyncio.gather(*relays)
    finally:
        way.close()
        server.close()


@pytest.mark.parametrize("drop", [1, 7, 1000, 100_000])
async def test_records_may_come_in_any_pieces(tmp_path: Path, drop: int) -> None:
    files = certificate(tmp_path, "127.0.0.1")
    said = os.urandom(tls.RECORD_BYTES * 3 + 1 if drop > 7 else 500).replace(b"!", b"?")
    async with echo(files, lambda data: [data[at : at + drop] for at in range(0, len(data), drop)]) as port:
        heard = Heard()
        write = await tls.connect(heard, ssl.create_default_context(cafile=files[0]), "127.0.0.1", port)
        expected = bytearray()
        for piece in (said, b"and some", said, b" more"):
            write(piece)
            expected.extend(piece)
            await until(lambda: len(heard.all) == len(expected))
        assert heard.all == expected
        write(b"!")
        await heard.lost
        assert heard.ended
        assert heard.transport.is_closing()


async def test_a_connection_that_is_given_up_at_any_moment_leaves_nothing_behind(tmp_path: Path) -> None:
    files = certificate(tmp_path, "127.0.0.1")
    context = ssl.create_default_context(cafile=files[0])
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    given_up = 0
    async with echo(files, lambda data: [data]) as port:
        for turns in range(60):
            heard = Heard()
            connecting = asyncio.create_task(tls.connect(heard, context, "127.0.0.1", port))
            for _ in range(turns):
                await asyncio.sleep(0)
            connecting.cancel()
            await asyncio.wait([connecting])
            if connecting.cancelled():
                given_up += 1
            else:
                heard.transport.abort()
                await heard.lost
            del connecting, heard
    gc.collect()
    assert given_up > 3
    assert faults == []


async def test_a_record_that_was_meddled_with_ends_the_connection(tmp_path: Path) -> None:
    files = certificate(tmp_path, "127.0.0.1")
    mask = 0
    async with echo(files, lambda data: [data[:-1] + bytes([data[-1] ^ mask])]) as port:
        heard = Heard()
        write = await tls.connect(heard, ssl.create_default_context(cafile=files[0]), "127.0.0.1", port)
        write(b"sound")
        await until(lambda: heard.all == b"sound")
        mask = 1
        write(b"forged")
        assert isinstance(await heard.lost, ConnectionError)
        assert (heard.all, heard.ended) == (b"sound", False)


async def test_new_keys_are_agreed_upon_in_the_middle_of_a_stream(tmp_path: Path) -> None:
    public, key = certificate(tmp_path, "127.0.0.1")
    server = await asyncio.create_subprocess_exec(
        *("stdbuf", "-oL", "openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", str(public), "-key", str(key), "-naccept", "1"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        async with asyncio.timeout(DEADLINE):
            await server.stdout.readuntil(b"ACCEPT 127.0.0.1:")
            heard = Heard()
            port = int(await server.stdout.readline())
            write = await tls.connect(heard, ssl.create_default_context(cafile=public), "127.0.0.1", port)
            write(b"before\n")
            await server.stdout.readuntil(b"before\n")
            server.stdin.write(b"one\n")
            await until(lambda: heard.all == b"one\n")
            server.stdin.write(b"K\n")  # new keys for both directions
            await server.stdout.readuntil(b"SSL_do_handshake -> 1\n")
            server.stdin.write(b"two\n")
            await until(lambda: heard.all == b"one\ntwo\n")
            write(b"after\n")
            await server.stdout.readuntil(b"after\n")
            heard.transport.abort()
            await heard.lost
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.kill()
        await server.wait()
