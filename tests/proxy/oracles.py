"""nginx and HAProxy, given the same bytes: two more opinions on every request of the corpus."""

import asyncio
import contextlib
import os
import re
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from tests.proxy.corpus import LAST
from tests.proxy.wire import BrokenOffError, Client, read_message, until

PATIENCE = 1.0
"""Seconds after which an oracle counts as silent; whatever they pass, they pass at once on loopback."""

NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 256; }}
http {{
    access_log off; server_tokens off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://127.0.0.1:{upstream}; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
}}
"""
HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
frontend front
    bind 127.0.0.1:{port}
    default_backend back
backend back
    server one 127.0.0.1:{upstream}
"""


class Witness(asyncio.Protocol):
    """An upstream that counts requests and answers each; what it cannot read, it closes."""

    def __init__(self, seen: list[bytes]) -> None:
        self._seen = seen
        self._transport: asyncio.Transport
        self._url = b""
        self._parser = HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._transport.close()

    def on_message_begin(self) -> None:
        self._url = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_message_complete(self) -> None:
        self._seen.append(self._url)
        self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")


@dataclass
class Bench:
    """A server before a witness."""

    name: str
    version: str
    port: int
    seen: list[bytes] = field(default_factory=list[bytes])

    async def verdict(self, raw: bytes) -> str:
        """What becomes of a request, in a few words."""
        self.seen.clear()
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        statuses = []
        with contextlib.suppress(EOFError, ConnectionError, TimeoutError, BrokenOffError):
            await client.send(raw + LAST)
            while True:
                answer = await asyncio.wait_for(read_message(client.reader, bodiless=raw.startswith(b"HEAD")), PATIENCE)
                statuses += [answer.status] if answer.status != 100 else []
        client.close()
        passed = len([url for url in self.seen if url != b"/v1/models"])
        if passed > 1:
            return f"{passed} requests"
        return "passed" if passed else f"refused {statuses[0]}" if statuses and statuses[0] >= 400 else "answered" if statuses else "silent"


def installed(name: str) -> str | None:
    """Where a server's program is."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def version_of(program: str) -> str:
    """Such as 1.22.1."""
    said = subprocess.run([program, "-v"], capture_output=True, text=True, check=True)
    found = re.search(r"\d+\.\d+\.\d+", said.stdout + said.stderr)
    assert found is not None
    return found[0]


def free_port() -> int:
    """A port that nobody has at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running(command: list[str]) -> Iterator[None]:
    """A server's process, for as long as it is needed."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


@asynccontextmanager
async def oracle(name: str, folder: Path) -> AsyncIterator[Bench]:
    """nginx or haproxy, accepting connections."""
    program = installed(name)
    assert program is not None
    bench = Bench(name, version_of(program), free_port())
    server = await asyncio.get_running_loop().create_server(lambda: Witness(bench.seen), "127.0.0.1", 0)
    upstream = server.sockets[0].getsockname()[1]
    file = folder / f"{name}.conf"
    file.write_text((NGINX if name == "nginx" else HAPROXY).format(folder=folder, port=bench.port, upstream=upstream))
    with running([program, "-p", str(folder), "-c", str(file)] if name == "nginx" else [program, "-db", "-f", str(file)]):
        await until(lambda: _listens(bench.port))
        yield bench
    server.close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
