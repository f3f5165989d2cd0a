"""The request path beside its peers: ``make bench-proxy``.

All servers run at the same time and take turns at every load of every round, so that whatever else this machine does hits them alike; the
tables show medians of the rounds. Processor time is read from the servers' own clocks, so a busy machine disturbs it little; latencies it
does disturb. Nothing here fails on a figure.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.proxy import peers
from tests.bench.proxy.peers import Server, Site

Start = Callable[..., AbstractContextManager[Server]]
"""Takes a `Site`."""
SERVERS: dict[str, Start] = {
    "nginx": peers.nginx,
    "HAProxy": peers.haproxy,
    "Envoy": peers.envoy,
    "Envoy, equal telemetry": partial(peers.envoy, telemetry=True),
    "vllm-router": peers.vllm_router,
    "LiteLLM": peers.litellm,
    "scaler, not compiled": partial(peers.scaler, compiled=False),
    "scaler": peers.scaler,
}
"""All of them take ``tls``, too."""
WORKERS: dict[str, Start] = {"scaler": peers.scaler, "scaler, 2 workers": partial(peers.scaler, workers=2)}
CONNECTIONS = (1, 32, 128)
HELD_STREAMS = 200
OURS = "scaler"

Figures = dict[str, float]
"""Of one server in one round, by the column's name."""
Take = Callable[[Server], Figures]
ByRound = dict[int, float]
Found = dict[str, dict[str, ByRound]]
"""By server and column."""
DIRECT = "no proxy"
ASLEEP = ", cores asleep"


@dataclass(frozen=True)
class Load:
    """One load and what it cost."""

    cpu_seconds: float
    count: int
    seconds: float
    p50: float
    p99: float


def drive(server: Server, load: str, count: int) -> Load:
    """Run a load against a server."""
    before = server.cpu_seconds()
    command = (sys.executable, "-m", "tests.bench.proxy.traffic", load, str(server.port), str(count))
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, timeout=120, cwd=peers.ROOT)
    told = json.loads(done.stdout)
    return Load(server.cpu_seconds() - before, told["count"], told["seconds"], *told["latencies"])


def requests(connections: int, server: Server) -> Figures:
    """One request after the other on so many connections.

    Those to the stub are opened before, and all that will be needed: what is measured is requests, and no handshakes.
    """
    drive(server, "once", max(CONNECTIONS))
    load = drive(server, "requests", connections)
    return {
        f"CPU-s / 1k, c = {connections}": 1000 * load.cpu_seconds / load.count,
        f"requests/s, c = {connections}": load.count / load.seconds,
    }


def on_one_core(stub: Server, take: Take, server: Server) -> Figures:
    """A load that leaves cores idle, with the server and both ends on one of them.

    On several, each message wakes a core that has gone to sleep, which in a virtual machine costs more processor time than the message.
    """
    everywhere = os.sched_getaffinity(0)
    try:
        for part in (stub, server):
            part.run_on({min(everywhere)})
        os.sched_setaffinity(0, {min(everywhere)})  # clients are children
        return take(server)
    finally:
        os.sched_setaffinity(0, everywhere)
        for part in (stub, server):
            part.run_on(everywhere)


def latency(server: Server) -> Figures:
    """One connection, with all cores; they sleep between messages, and what waking them takes is told."""
    drive(server, "once", 1)
    load = drive(server, "requests", 1)
    return {"p50 ms": load.p50, "p99 ms": load.p99, f"CPU-s / 1k, c = 1{ASLEEP}": 1000 * load.cpu_seconds / load.count}


def paced(server: Server) -> Figures:
    """Streams of fifty chunks a second."""
    drive(server, "once", server.streams)
    load = drive(server, "paced", server.streams)
    return {"µs / paced chunk": 1e6 * load.cpu_seconds / load.count}


def paced_asleep(server: Server) -> Figures:
    """The same with all cores, most of the time asleep."""
    return {f"{column}{ASLEEP}": value for column, value in paced(server).items()}


def first(server: Server) -> Figures:
    """Short streams, one after the other."""
    return {"TTFT p50 ms": drive(server, "first", 1).p50}


def burst(server: Server) -> Figures:
    """Streams as fast as they go."""
    load = drive(server, "burst", min(8, server.streams))
    return {"µs / chunk in bursts": 1e6 * load.cpu_seconds / load.count}


def dearer_with_tls(stub: Server) -> list[Take]:
    """What costs more where the stub is behind TLS."""
    many = [partial(requests, connections) for connections in CONNECTIONS[1:]]
    return [partial(on_one_core, stub, partial(requests, 1)), *many, partial(on_one_core, stub, paced), latency, paced_asleep]


def measure_workers(server: Server) -> Figures:
    """How much passes, and how much of two cores that takes; of long requests, which cost both ends far less than what is between them."""
    drive(server, "once", 32)
    load = drive(server, "long", 32)
    return {"requests/s": load.count / load.seconds, "cores": load.cpu_seconds / load.seconds}


def measure_streams(server: Server) -> Figures:
    """The server's memory for each stream in flight."""
    before = server.memory_mb()
    with peers.process(sys.executable, "-m", "tests.bench.proxy.traffic", "hold", str(server.port), str(HELD_STREAMS)) as clients:
        line = peers.first_line(clients)
        if not line:
            raise ConnectionError("it takes no streams")
        return {"KiB / stream": 1024 * (server.memory_mb() - before) / max(1, json.loads(line)["streams"])}


def begin(stack: ExitStack, starts: dict[str, Start], site: Site, console: Console) -> list[Server]:
    """Those that can be had."""
    running = []
    for name, start in starts.items():
        try:
            running.append(stack.enter_context(start(site)))
        except (LookupError, RuntimeError) as error:
            console.print(f"Without {name}: {error}.")
    return running


def rounds(servers: list[Server], count: int, takes: Sequence[Take], console: Console) -> Found:
    """Each load for each server; the servers take turns at it, and every second round they do so backwards."""
    found: Found = {server.name: defaultdict(dict) for server in servers}
    for number in range(count):
        for take in takes:
            for server in servers if number % 2 == 0 else reversed(servers):
                try:
                    figures = take(server)
                except (subprocess.SubprocessError, OSError) as error:
                    console.print(f"{server.name} failed in round {number + 1}: {error}")
                    continue
                for column, value in figures.items():
                    found[server.name][column][number] = value
    return {name: columns for name, columns in found.items() if columns}


def table(title: str, found: Found, columns: list[str], digits: dict[str, int]) -> Table:
    """The medians, and below them scaler's in relation to each of the others', which is the median of what it was in each round."""
    grid = Table("", *columns, title=title)
    for name, taken in found.items():
        grid.add_row(name, *(f"{statistics.median(taken[c].values()):.{digits.get(c, 2)}f}" if c in taken else "" for c in columns))
    grid.add_section()
    for name, taken in found.items():
        if name not in (OURS, DIRECT):
            grid.add_row(
                f"{OURS} / {name}", *("" if "added" in c else ratio(found.get(OURS, {}).get(c, {}), taken.get(c, {})) for c in columns)
            )
    return grid


def ratio(ours: ByRound, theirs: ByRound) -> str:
    """Of the rounds that both have: turns in a round are seconds apart, so that a machine that slows down says little in it."""
    ratios = [value / theirs[number] for number, value in ours.items() if theirs.get(number, 0) > 0]
    return f"{statistics.median(ratios):.4g}" if ratios else ""


def added(found: Found) -> None:
    """What a server adds to the latencies of the way without it."""
    direct = found[DIRECT]
    for name, taken in found.items():
        for column in ("p50 ms", "p99 ms", "TTFT p50 ms"):
            if name != DIRECT and column in taken:
                taken[f"added {column}"] = {n: value - direct[column][n] for n, value in taken[column].items() if n in direct[column]}


@contextlib.contextmanager
def site() -> Iterator[tuple[Site, Server]]:
    """A folder, a certificate, and the stub."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certificate, key = folder / "stub.pem", folder / "stub.key"
        subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
        made = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
        subprocess.run((*made, *subject, "-out", str(certificate), "-keyout", str(key)), check=True, capture_output=True)
        with peers.process(sys.executable, "-m", "tests.bench.proxy.traffic", "stub", str(certificate), str(key)) as child:
            http, https = map(int, peers.first_line(child).split())
            yield Site(folder, http, https, certificate), Server(DIRECT, http, child.pid)


def machine() -> str:
    """What the figures belong to."""
    models = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    processor = f"{len(models)} x {models[0] if models else platform.machine()}"
    return f"{datetime.now(UTC):%Y-%m-%d}, {processor}; {python_of(peers.COMPILED)}; not compiled: {python_of(Path(sys.executable))}"


def python_of(program: Path) -> str:
    """Which build it is."""
    if not program.exists():
        return "none"
    asks = "import platform, sys; print('Python', platform.python_version(), 'of', sys.base_prefix)"
    return subprocess.check_output((str(program), "-c", asks), text=True).strip()


def main(count: int, only: list[str]) -> None:
    """Measure and report."""
    console = Console(width=200 if not sys.stdout.isatty() else None)
    chosen: dict[str, Start] = {name: start for name, start in SERVERS.items() if not only or name in only}
    tls: dict[str, Start] = {name: partial(start, tls=True) for name, start in chosen.items()}
    with site() as (here, stub):
        with ExitStack() as stack:
            servers = begin(stack, chosen, here, console)
            at_rest = {server.name: server.memory_mb() for server in servers}
            found = rounds([stub, *servers], count, [*dearer_with_tls(stub), first, burst], console)
            added(found)
            for name, taken in rounds(servers, 1, [measure_streams], console).items():
                found.setdefault(name, {}).update(taken | {"MB at rest": {0: at_rest[name]}})
        for column in [column for column in found[DIRECT] if column.startswith(("CPU", "µs"))]:
            del found[DIRECT][column]
        with ExitStack() as stack:
            over_tls = rounds(begin(stack, tls, here, console), count, dearer_with_tls(stub), console)
        with ExitStack() as stack:
            spread = rounds(begin(stack, WORKERS, here, console), count, [measure_workers], console)
    console.print(f"{machine()}; medians of {count} rounds")
    cost = [*(f"CPU-s / 1k, c = {c}" for c in CONNECTIONS), "µs / paced chunk", "µs / chunk in bursts", "MB at rest", "KiB / stream"]
    asleep = [f"{cost[0]}{ASLEEP}", f"{cost[3]}{ASLEEP}"]
    digits = {column: 4 for column in (*cost, *asleep) if "CPU" in column} | {"requests/s, c = 32": 0, "requests/s, c = 128": 0}
    console.print(table("What it costs", found, cost, digits))
    speed = ["added p50 ms", "added p99 ms", "added TTFT p50 ms", *asleep, "requests/s, c = 32", "requests/s, c = 128"]
    console.print(table("What it adds (c = 1), and how much passes", found, speed, digits))
    console.print(table("With upstream TLS", over_tls, [*cost[:4], *asleep], digits))
    console.print(table("Workers and requests of 0.9 MB, on cores that both ends share", spread, ["requests/s", "cores"], digits))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench-proxy", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[], choices=list(SERVERS), help="these servers alone")
    options = parser.parse_args()
    main(options.rounds, options.only)
