"""CPU that the proxy takes per request and per chunk of a stream, beside nginx doing the same.

Run as a script. An upstream stub, each server and the load client are processes of their own; the servers take turns over several
rounds, and the table shows medians. Processor time is read from ``/proc``, so other work on the machine disturbs little; requests per
second are a by-product. Nothing here fails on a figure.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import uvloop
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from scaler.proxy.meter import Meter
from scaler.proxy.routes import Route, RouteTable
from scaler.proxy.server import Proxy
from scaler.settings import ProxySettings

CONNECTIONS = 32
STREAMS = 64
CHUNKS_PER_SECOND = 50
STREAM_SECONDS = 3.0
REQUEST_SECONDS = 2.5
START_SECONDS = 10.0

PROMPT = "Say something about the weather of the day. " * 20
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "acme/llama-abc123",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": PROMPT}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 200, "completion_tokens": 200, "total_tokens": 400},
    }
).encode()
EVENT = (
    b"data: %b\n\n"
    % json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1700000000,
            "model": "acme/llama-abc123",
            "choices": [{"index": 0, "delta": {"content": " weather"}, "finish_reason": None}],
        }
    ).encode()
)
COMMON = b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\nx-request-id: 0123456789abcdef\r\nx-ratelimit-limit: 3000\r\nserver: stub\r\n"


def request(*, stream: bool) -> bytes:
    """A chat request of about 1 KB with the header fields of a usual client."""
    body = json.dumps({"model": "acme/llama-abc123", "messages": [{"role": "user", "content": PROMPT}], "stream": stream}).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: proxy\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n"
        b"Accept: application/json\r\nContent-Type: application/json\r\nUser-Agent: OpenAI/Python 2.0.0\r\nX-Stainless-Lang: python\r\n"
        b"X-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\nX-Stainless-Runtime: CPython\r\nAuthorization: Bearer sk-client\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )


class Stub(asyncio.Protocol):
    """An upstream that does as little as possible: knows its client's requests, and answers at once or in paced chunks."""

    def __init__(self) -> None:
        """One connection."""
        self._transport: asyncio.Transport
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer each complete request."""
        self._seen += data
        head, separator, body = self._seen.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self._seen = body[length:]
        if b'"stream": true' in body:
            self._transport.write(b"HTTP/1.1 200 OK\r\n%bcontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n" % COMMON)
            self._stream(int(STREAM_SECONDS * CHUNKS_PER_SECOND))
        else:
            start = b"HTTP/1.1 200 OK\r\n%bcontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            self._transport.write(start % (COMMON, len(ANSWER)) + ANSWER)

    def _stream(self, left: int) -> None:
        if self._transport.is_closing():
            return
        if left == 0:
            self._transport.write(b"0\r\n\r\n")
            return
        self._transport.write(b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
        asyncio.get_running_loop().call_later(1 / CHUNKS_PER_SECOND, self._stream, left - 1)


async def serve_stub() -> None:
    """The upstream's process; prints its port."""
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 (tells the parent)
    await server.serve_forever()


async def serve_proxy(upstream: int) -> None:
    """The proxy's process: the request path alone, without a daemon around it; prints its port."""
    proxy = Proxy(ProxySettings(listen="127.0.0.1:0"), f"http://127.0.0.1:{upstream}/v1", SecretStr("sk-upstream"), Meter(time.monotonic))
    proxy.set_routes(RouteTable.of([Route("llama", "acme/llama-abc123", frozenset())]))
    await proxy.start()
    print(proxy.addresses[0][1], flush=True)  # noqa: T201 (tells the parent)
    await asyncio.Event().wait()


class Caller(asyncio.Protocol):
    """One connection of the load: sends the same request again as soon as the answer is complete."""

    def __init__(self, request: bytes, ends: Callable[[bytes], bool]) -> None:
        """``ends``: whether the bytes of an answer so far are all of it."""
        self._request = request
        self._ends = ends
        self._seen = b""
        self._transport: asyncio.Transport
        self.answers = 0
        self.received = 0
        self.done = asyncio.get_running_loop().create_future()
        self.again = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Count, and ask again."""
        self.received += data.count(b"data: {")
        self._seen = self._seen[-4096:] + data
        if not self._ends(self._seen):
            return
        self._seen = b""
        self.answers += 1
        if self.again:
            self._transport.write(self._request)
        else:
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Too early, unless it was done."""
        if not self.done.done():
            self.done.set_exception(exc or ConnectionResetError("the server closed the connection"))


async def call(port: int, *, stream: bool) -> None:
    """The load's process: prints how many requests were answered, or events received, and in how many seconds."""
    loop = asyncio.get_running_loop()
    ends = (lambda seen: seen.endswith(b"\r\n0\r\n\r\n")) if stream else (lambda seen: seen.endswith(ANSWER[-64:]))
    callers = []
    began = loop.time()
    for index in range(STREAMS if stream else CONNECTIONS):
        _, caller = await loop.create_connection(lambda: Caller(request(stream=stream), ends), "127.0.0.1", port)
        caller.again = not stream
        callers.append(caller)
        if stream:
            await asyncio.sleep(max(0.0, began + (index + 1) / STREAMS / CHUNKS_PER_SECOND - loop.time()))
    if not stream:
        await asyncio.sleep(REQUEST_SECONDS)
        for caller in callers:
            caller.again = False
    await asyncio.wait_for(asyncio.gather(*(caller.done for caller in callers)), START_SECONDS + STREAM_SECONDS)
    count = sum(caller.received for caller in callers) if stream else sum(caller.answers for caller in callers)
    print(json.dumps({"count": count, "seconds": loop.time() - began}), flush=True)  # noqa: T201 (tells the parent)


NGINX = """
daemon off; worker_processes 1; error_log {folder}/error.log; pid {folder}/pid;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  keepalive_requests 100000000;
  upstream stub {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port};
    client_max_body_size 16m; client_body_buffer_size 64k;
    location /v1/ {{
      proxy_pass http://stub; proxy_http_version 1.1; proxy_buffering off;
      proxy_set_header Connection ""; proxy_set_header Host stub; proxy_set_header Authorization "Bearer sk-upstream";
    }}
  }}
}}
"""


@dataclass(frozen=True)
class Server:
    """A server under test."""

    name: str
    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """Processor time of the process and its children so far."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return sum(_cpu_seconds(pid) for pid in (self.pid, *map(int, children)))


def _cpu_seconds(pid: int) -> float:
    """The process's CPU clock, to the nanosecond; its id is what clock_getcpuclockid(3) makes of the pid on Linux."""
    return time.clock_gettime(~pid << 3 | 2)


@contextlib.contextmanager
def process(*command: str) -> Iterator[subprocess.Popen[str]]:
    """A process that ends with the block."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def role(name: str, port: int = 0) -> tuple[str, ...]:
    """This script, in another role."""
    return (sys.executable, __file__, "--role", name, "--port", str(port))


def first_line(child: subprocess.Popen[str]) -> str:
    """What a child says when it is ready."""
    assert child.stdout is not None
    return child.stdout.readline()


def free_port() -> int:
    """A port that was free a moment ago, for a server that cannot choose."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return cast("int", listener.getsockname()[1])


def wait_until_open(port: int) -> None:
    """Until somebody listens."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


@dataclass(frozen=True)
class Measured:
    """One load on one server."""

    cpu_seconds: float
    count: int
    seconds: float


def measure(server: Server, load: str) -> Measured:
    """Run a load against a server."""
    before = server.cpu_seconds()
    done = subprocess.run(role(load, server.port), stdout=subprocess.PIPE, check=True, text=True, timeout=START_SECONDS * 3)
    figures = json.loads(done.stdout)
    return Measured(server.cpu_seconds() - before, figures["count"], figures["seconds"])


@contextlib.contextmanager
def servers(folder: Path, nginx: str | None) -> Iterator[list[Server]]:
    """The stub behind, and the servers under test."""
    with contextlib.ExitStack() as stack:
        upstream = int(first_line(stack.enter_context(process(*role("stub")))))
        running = []
        if nginx:
            port = free_port()
            config = folder / "nginx.conf"
            config.write_text(NGINX.format(folder=folder, upstream=upstream, port=port))
            child = stack.enter_context(process(nginx, "-p", str(folder), "-c", str(config)))
            wait_until_open(port)
            running.append(Server("nginx", port, child.pid))
        child = stack.enter_context(process(*role("proxy", upstream)))
        running.append(Server("scaler", int(first_line(child)), child.pid))
        yield running


def report(console: Console, results: dict[str, dict[str, list[Measured]]]) -> None:
    """Medians of all rounds."""
    table = Table("server", "CPU-s / 1,000 requests", "requests/s", "CPU µs / paced SSE chunk")
    medians: dict[str, tuple[float, float]] = {}
    for name, loads in results.items():
        per_request = statistics.median(1000 * run.cpu_seconds / run.count for run in loads["requests"])
        per_chunk = statistics.median(1e6 * run.cpu_seconds / run.count for run in loads["streams"])
        rate = statistics.median(run.count / run.seconds for run in loads["requests"])
        medians[name] = (per_request, per_chunk)
        table.add_row(name, f"{per_request:.4f}", f"{rate:,.0f}", f"{per_chunk:.1f}")
    if len(medians) > 1:
        ours, theirs = medians["scaler"], medians["nginx"]
        table.add_row("scaler / nginx", f"{ours[0] / theirs[0]:.2f}", "", f"{ours[1] / theirs[1]:.2f}")
    console.print(table)


def main(rounds: int) -> None:
    """Measure and report."""
    console = Console()
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if nginx is None:
        console.print("nginx is not installed: scaler is measured alone.")
    with tempfile.TemporaryDirectory() as folder, servers(Path(folder), nginx) as running:
        results: dict[str, dict[str, list[Measured]]] = {server.name: {"requests": [], "streams": []} for server in running}
        for _ in range(rounds):
            for load in ("requests", "streams"):
                for server in running:
                    results[server.name][load].append(measure(server, load))
    report(console, results)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--role", choices=["stub", "proxy", "requests", "streams"], help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    match options.role:
        case "stub":
            uvloop.run(serve_stub())
        case "proxy":
            uvloop.run(serve_proxy(options.port))
        case "requests" | "streams":
            uvloop.run(call(options.port, stream=options.role == "streams"))
        case _:
            main(options.rounds)
