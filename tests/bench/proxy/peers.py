"""How each server under test is started. All of them pass the same requests to the same stub, in one process with one thread of work.

A server that is not installed is left out, with a sentence.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

START_SECONDS = 150.0
ROOT = Path(__file__).parents[3]
PEERS = ROOT / ".venv-peers"
COMPILED = PEERS / "scaler" / "bin" / "python"
OURS = Path(__file__).with_name("ours.py")
MODEL = "acme/llama-abc123"
SBIN = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"

NGINX = """
daemon off; worker_processes 1; error_log {folder}/error.log; pid {folder}/pid;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi; keepalive_requests 100000000;
  upstream stub {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port}; client_max_body_size 16m; client_body_buffer_size 64k;
    location /v1/ {{
      proxy_pass {scheme}://stub; proxy_http_version 1.1; proxy_buffering off;
      proxy_ssl_trusted_certificate {ca}; proxy_ssl_verify on; proxy_ssl_name 127.0.0.1; proxy_ssl_session_reuse on;
      proxy_set_header Connection ""; proxy_set_header Host stub; proxy_set_header Authorization "Bearer sk-upstream";
    }}
  }}
}}
"""

HAPROXY = """
global
  nbthread 1
defaults
  mode http
  option http-no-delay
  http-reuse always
  timeout connect 10s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 75s
frontend in
  bind 127.0.0.1:{port}
  maxconn 8000
  http-request set-header Authorization "Bearer sk-upstream"
  default_backend stub
backend stub
  server stub 127.0.0.1:{upstream} maxconn 8000 pool-max-conn 1000 {tls}
"""


@dataclass(frozen=True)
class Site:
    """What a server needs to know."""

    folder: Path
    http: int
    https: int
    certificate: Path

    def upstream(self, *, tls: bool) -> int:
        """The stub's port."""
        return self.https if tls else self.http


@dataclass(frozen=True)
class Server:
    """A server under test."""

    name: str
    port: int
    pid: int
    streams: int = 64
    """Streams at once that it can keep up with."""

    def processes(self) -> list[int]:
        """The process and all below it."""
        found = [self.pid]
        for pid in found:
            try:
                tasks = list(Path(f"/proc/{pid}/task").iterdir())
                found += [int(child) for task in tasks for child in (task / "children").read_text().split()]
            except (FileNotFoundError, ProcessLookupError):
                continue  # a thread or a process that has ended
        return found

    def cpu_seconds(self) -> float:
        """Processor time so far. A process's CPU clock has the id that clock_getcpuclockid(3) makes of its pid on Linux."""
        return sum(time.clock_gettime(~pid << 3 | 2) for pid in self.processes())

    def run_on(self, cores: set[int]) -> None:
        """Have all its threads on these cores."""
        for pid in self.processes():
            for thread in Path(f"/proc/{pid}/task").iterdir():
                with suppress(ProcessLookupError):  # it has ended
                    os.sched_setaffinity(int(thread.name), cores)

    def memory_mb(self) -> float:
        """Resident memory."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.processes())
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def process(*command: str, env: Mapping[str, str] | None = None, log: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process that ends with the block; its output is read, or goes to the log."""
    output = log.open("w") if log else subprocess.PIPE
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output if log else None, text=True, cwd=ROOT, env=env)
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def first_line(child: subprocess.Popen[str]) -> str:
    """What a child says when it is ready."""
    assert child.stdout is not None
    return child.stdout.readline()


def free_port() -> int:
    """A port that was free a moment ago, for a server that cannot choose."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return cast("int", listener.getsockname()[1])


def wait_until_serving(port: int, child: subprocess.Popen[str]) -> None:
    """Until a GET is answered by anything but an error of the server's."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as connection:
                connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                connection.settimeout(5)
                if connection.recv(12)[9:10] in (b"2", b"4"):
                    return
        except OSError:
            pass
        if time.monotonic() > deadline or child.poll() is not None:
            raise RuntimeError(f"{child.args!r} does not serve")
        time.sleep(0.1)


@contextmanager
def nginx(site: Site, *, tls: bool = False) -> Iterator[Server]:
    """Unbuffered, with kept connections on both sides."""
    folder, port = site.folder / f"nginx{tls:d}", free_port()
    folder.mkdir()
    config = folder / "nginx.conf"
    scheme = "https" if tls else "http"
    config.write_text(NGINX.format(folder=folder, port=port, upstream=site.upstream(tls=tls), scheme=scheme, ca=site.certificate))
    with process(found("nginx"), "-p", str(folder), "-c", str(config), log=folder / "log") as child:
        wait_until_serving(port, child)
        yield Server("nginx", port, child.pid)


@contextmanager
def haproxy(site: Site, *, tls: bool = False) -> Iterator[Server]:
    """One thread; chunks are not held back."""
    folder, port = site.folder / f"haproxy{tls:d}", free_port()
    folder.mkdir()
    config = folder / "haproxy.cfg"
    verified = f"ssl verify required ca-file {site.certificate}" if tls else ""
    config.write_text(HAPROXY.format(port=port, upstream=site.upstream(tls=tls), tls=verified))
    with process(found("haproxy"), "-db", "-f", str(config), log=folder / "log") as child:
        wait_until_serving(port, child)
        yield Server("HAProxy", port, child.pid)


@contextmanager
def envoy(site: Site, *, tls: bool = False, telemetry: bool = False) -> Iterator[Server]:
    """One worker thread. ``telemetry``: the model and the tokens are read from the bodies, and all goes to a log of JSON lines."""
    folder, port = site.folder / f"envoy{tls:d}{telemetry:d}", free_port()
    folder.mkdir()
    config = folder / "envoy.json"
    config.write_text(json.dumps(_envoy_config(port, site, tls=tls, telemetry=telemetry)))
    command = (peer("envoy", "envoy"), "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "warning")
    with process(*command, log=folder / "log") as child:
        wait_until_serving(port, child)
        yield Server("Envoy, equal telemetry" if telemetry else "Envoy", port, child.pid)


def _envoy_config(port: int, site: Site, *, tls: bool, telemetry: bool) -> object:
    def typed(kind: str, **fields: object) -> dict[str, object]:
        return {"@type": f"type.googleapis.com/{kind}", **fields}

    def address(number: int) -> object:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    def rule(path: list[str]) -> object:
        return {"selectors": [{"key": key} for key in path], "on_present": {"metadata_namespace": "llm", "key": path[-1]}}

    http = "envoy.extensions.filters.http"
    filters: list[object] = [{"name": "router", "typed_config": typed(f"{http}.router.v3.Router", suppress_envoy_headers=True)}]
    logs: list[object] = []
    if telemetry:
        read = typed(
            f"{http}.json_to_metadata.v3.JsonToMetadata",
            request_rules={"rules": [rule(["model"])]},
            response_rules={"rules": [rule(["usage", "prompt_tokens"]), rule(["usage", "completion_tokens"])]},
        )
        filters.insert(0, {"name": "envoy.filters.http.json_to_metadata", "typed_config": read})
        names = ("model", "prompt_tokens", "completion_tokens")
        fields = {name: f"%DYNAMIC_METADATA(llm:{name})%" for name in names}
        fields |= {"status": "%RESPONSE_CODE%", "flags": "%RESPONSE_FLAGS%", "path": "%REQ(:PATH)%", "ms": "%DURATION%"}
        fields |= {"ttft_ms": "%RESPONSE_DURATION%", "in": "%BYTES_RECEIVED%", "out": "%BYTES_SENT%", "at": "%START_TIME%"}
        kind = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
        logs = [{"name": "file", "typed_config": typed(kind, path=str(site.folder / "envoy.log"), log_format={"json_format": fields})}]
    route = {"match": {"prefix": "/"}, "route": {"cluster": "stub", "timeout": "0s"}}
    credential = {"header": {"key": "authorization", "value": "Bearer sk-upstream"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    hosts = [{"name": "all", "domains": ["*"], "routes": [route], "request_headers_to_add": [credential]}]
    manager = typed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="in",
        http_filters=filters,
        access_log=logs,
        generate_request_id=False,
        route_config={"virtual_hosts": hosts},
    )
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    endpoint = {"endpoint": {"address": address(site.upstream(tls=tls))}}
    limits = {"max_connections": 8000, "max_pending_requests": 8000, "max_requests": 8000}
    cluster: dict[str, object] = {
        "name": "stub",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "stub", "endpoints": [{"lb_endpoints": [endpoint]}]},
        "circuit_breakers": {"thresholds": [limits]},
    }
    if tls:
        trust = {"trusted_ca": {"filename": str(site.certificate)}}
        kind = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
        cluster["transport_socket"] = {"name": "tls", "typed_config": typed(kind, common_tls_context={"validation_context": trust})}
    return {"static_resources": {"listeners": [{"name": "in", "address": address(port), "filter_chains": [chain]}], "clusters": [cluster]}}


@contextmanager
def vllm_router(site: Site, *, tls: bool = False) -> Iterator[Server]:
    """One worker behind it."""
    port = free_port()
    where = ("--host", "127.0.0.1", "--port", str(port), "--prometheus-port", str(free_port()))
    worker = f"{'https' if tls else 'http'}://127.0.0.1:{site.upstream(tls=tls)}"
    options = ("--worker-urls", worker, "--policy", "round_robin", "--log-level", "error")
    env = os.environ | {"SSL_CERT_FILE": str(site.certificate)}
    with process(peer("vllm", "vllm-router"), *where, *options, env=env, log=site.folder / f"vllm{tls:d}.log") as child:
        wait_until_serving(port, child)
        yield Server("vllm-router", port, child.pid)


@contextmanager
def litellm(site: Site, *, tls: bool = False) -> Iterator[Server]:
    """One worker, no database, no callbacks. It cannot keep up with the streams of the others."""
    port = free_port()
    config = site.folder / f"litellm{tls:d}.yaml"
    base = f"{'https' if tls else 'http'}://127.0.0.1:{site.upstream(tls=tls)}/v1"
    to = {"model": f"openai/{MODEL}", "api_base": base, "api_key": "sk-upstream"}
    config.write_text(json.dumps({"model_list": [{"model_name": MODEL, "litellm_params": to}]}))
    quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "NO_DOCS": "True"}
    env = os.environ | quiet | {"LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true", "SSL_CERT_FILE": str(site.certificate)}
    where = ("--host", "127.0.0.1", "--port", str(port), "--config", str(config))
    with process(peer("litellm", "litellm"), *where, env=env, log=site.folder / f"litellm{tls:d}.log") as child:
        wait_until_serving(port, child)
        yield Server("LiteLLM", port, child.pid, streams=8)


@contextmanager
def scaler(site: Site, *, tls: bool = False, workers: int = 1, compiled: bool = True) -> Iterator[Server]:
    """Routing by model, authorization and full metering on, as always. ``compiled``: as in the image; otherwise as it is written."""
    name = "scaler" if compiled else "scaler, not compiled"
    url = f"{'https' if tls else 'http'}://127.0.0.1:{site.upstream(tls=tls)}/v1"
    python = COMPILED if compiled else Path(sys.executable)
    if not python.exists():
        raise LookupError("it is not compiled")
    with process(str(python), "-I", str(OURS), url, str(site.certificate), str(workers)) as child:
        yield Server(name if workers == 1 else f"{name}, {workers} workers", int(first_line(child)), child.pid)


def found(name: str) -> str:
    """A program of the system's; LookupError where there is none."""
    path = shutil.which(name, path=SBIN)
    if path is None:
        raise LookupError(f"{name} is not installed")
    return path


def peer(environment: str, name: str) -> str:
    """A program of an environment under `PEERS`; LookupError where there is none."""
    path = PEERS / environment / "bin" / name
    if not path.exists():
        raise LookupError(f"{name} is not installed")
    return str(path)
