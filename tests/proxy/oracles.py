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
from typing import cast

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

    def __init__(self, seen: list[bytes], transports: list[asyncio.Transport]) -> None:
        self._seen = seen
        self._transports = transports
        self._transport: asyncio.Transport
        self._url = b""
        self._parser = HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transports.append(self._transport)

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
    transports: list[asyncio.Transport] = field(default_factory=list[asyncio.Transport])

    @asynccontextmanager
    async def witness(self) -> AsyncIterator[int]:
        """Listens on a port of loopback."""
        server = await asyncio.get_running_loop().create_server(lambda: Witness(self.seen, self.transports), "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for transport in self.transports:
                transport.abort()
            await asyncio.sleep(0.01)

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
        client.abort()
        passed = len([url for url in self.seen if url != b"/v1/models"])
        if passed > 1:
            return f"{passed} requests"
        if passed:
            return "passed"
        if not statuses:
            return "silent"
        if statuses[0] < 400:
            return "answered"
        return f"refused {statuses[0]}" if self.name == "scaler" else "refused"  # HAProxy's status depends on who is faster


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
    async with bench.witness() as upstream:
        file = folder / f"{name}.conf"
        file.write_text((NGINX if name == "nginx" else HAPROXY).format(folder=folder, port=bench.port, upstream=upstream))
        with running([program, "-p", str(folder), "-c", str(file)] if name == "nginx" else [program, "-db", "-f", str(file)]):
            await until(lambda: _listens(bench.port))
            yield bench


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# The page

PAGE = """# What scaler refuses, and nginx or HAProxy does not

Each of the {count} requests of `tests/proxy/corpus.py` is sent to scaler, to nginx {nginx} and to HAProxy {haproxy}, as Debian
ships them and with no configuration but a listener and an upstream that counts requests. Below are those on which they do not agree,
and why. *passed*: the upstream saw exactly one request. *refused*: it saw none, and the client got an error. *silent*: no answer in
HTTP/1.1 came. The rest, {same} requests, they all pass or all refuse. Written by `make corpus-table`; the tests compare every run with
it.

| request | scaler | nginx | HAProxy | why |
| --- | --- | --- | --- | --- |
"""

ROUTES = "scaler knows its paths and methods; the others pass what they are asked for"
_UNFOLD = "RFC 9112 5.2 lets a server refuse folded fields or unfold them; whoever does not see the fold reads something else"
_HOST = "scaler holds Host to the grammar of RFC 9110 7.2; the others look at less of it"
_LINE_FEED = "RFC 9112 2.2 lets a recipient take a line feed alone for a line's end; whoever does not reads something else"
_CARRIAGE_RETURN = "nginx forgives a carriage return before a line's end"
_NAME = "nginx drops a line that is no field; scaler refuses the request"
_EXTENSION = "the others skip chunk extensions unread"
_TRAILER = "nginx skips trailers unread, HAProxy passes them on; scaler reads and drops them"
_EXPECT = "RFC 9110 10.1.1: whoever cannot meet an expectation may say 417; to ignore it is to lie to the client"
_VERSION = "RFC 9110 2.5 lets a later version be read as HTTP/1.1; scaler speaks 1.1 and 1.0"
_SPACE = "RFC 9112 3 lets other white space than one space part the first line; whoever does not reads another target"
_COMMA = "RFC 9112 6.3 lets equal lengths count as one; scaler wants one"
_BOTH = "RFC 9112 6.1 lets the length be dropped where there is a coding, too; it is how requests are smuggled"
_ABSOLUTE = "RFC 9112 3.2.2 has servers take a whole URL; it could contradict Host, no client of this API sends it, scaler refuses it"

WHY = {
    **dict.fromkeys(("length, then coding", "coding, then length", "coding, length 0, hidden request"), _BOTH),
    **dict.fromkeys(("the same length twice", "a list of lengths", "length twice, in other letters"), _COMMA),
    **dict.fromkeys(("coding folded", "field folded", "length folded", "host folded"), _UNFOLD),
    **dict.fromkeys(("space before the name of coding", "a line of one space"), _UNFOLD),
    **dict.fromkeys(("line feeds alone", "one line feed alone", "line feed ends the head", "line feed after a chunk size"), _LINE_FEED),
    **dict.fromkeys(("line feed after chunk data", "line feed after the last chunk", "trailer that ends in a line feed"), _LINE_FEED),
    "chunk shorter than its size": _LINE_FEED,
    **dict.fromkeys(("carriage return before the end", "length with carriage return", "coding with carriage return"), _CARRIAGE_RETURN),
    **dict.fromkeys(("no colon", "name beyond ASCII", "brackets in a name", "slash in a name", "quotes in a name"), _NAME),
    **dict.fromkeys(("at-sign in a name", "comma in a name"), _NAME),
    **dict.fromkeys(("no host", "no host in HTTP/1.0"), "RFC 9112 3.2 demands a Host in HTTP/1.1; scaler does in HTTP/1.0, too"),
    "the same host twice": "RFC 9112 3.2 demands one",
    **dict.fromkeys(
        ("host with path", "host with user", "host with two ports", "host of commas", "empty host", "host with a space"), _HOST
    ),
    **dict.fromkeys(("host with a tab", "host with a backslash", "host beyond ASCII", "host with a fragment"), _HOST),
    **dict.fromkeys(("host with a port of letters", "host with a port of six digits", "host with an open bracket"), _HOST),
    **dict.fromkeys(("host of letters in brackets", "host with a scheme"), _HOST),
    **dict.fromkeys(("absolute target", "absolute target elsewhere", "target of a file"), _ABSOLUTE),
    "asterisk target": ROUTES,
    "target with a fragment": "nginx cuts fragments off; no request may have one",
    "target with line feed": "nginx takes it for HTTP/0.9 and answers with a body alone",
    "HTTP/0.9": "nginx still speaks it",
    **dict.fromkeys(("HTTP/1.2", "HTTP/2.0", "HTTP/1.10"), _VERSION),
    "preface of HTTP/2": "HAProxy speaks HTTP/2 in clear text",
    "coding in HTTP/1.0": "HTTP/1.0 knows no chunks; RFC 9112 6.1 has such framing treated as faulty",
    "chunk size before space": "RFC 9112 7.1.1 allows space before an extension; here there is none",
    **dict.fromkeys(("chunk extension in an open quote", "chunk extension with NUL"), _EXTENSION),
    **dict.fromkeys(("length in a trailer", "coding in a trailer", "trailer with space before its colon", "trailer folded"), _TRAILER),
    **dict.fromkeys(("trailer without colon", "trailer with NUL"), _TRAILER),
    "last chunk without its empty line": "nginx takes the next request for trailers",
    **dict.fromkeys(("expectation nobody knows", "two expectations", "expectation with a list", "expectation of nothing"), _EXPECT),
    **dict.fromkeys(("two spaces before the target", "two spaces before the version"), _SPACE),
    **dict.fromkeys(("tab before the target", "space after the version"), _SPACE),
    "length with spaces around": "nginx knows no tab there; RFC 9110 5.5 does",
}
"""Why servers differ on a case; those that only concern routes need no entry."""


def page(verdicts: dict[str, tuple[str, str, str]], nginx: str, haproxy: str) -> str:
    """What is written down: every case on which the three do not agree. KeyError: a difference nobody has explained."""
    rows = []
    for case, words in verdicts.items():
        if len({word.partition(" ")[0] for word in words}) > 1:
            why = ROUTES if words[0] in ("refused 404", "refused 405") and case not in WHY else WHY[case]
            rows.append(f"| {case} | {' | '.join(words)} | {why} |")
    return PAGE.format(count=len(verdicts), nginx=nginx, haproxy=haproxy, same=len(verdicts) - len(rows)) + "\n".join([*rows, ""])
