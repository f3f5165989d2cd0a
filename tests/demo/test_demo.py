"""The demo as a newcomer runs it: its figures, its promises, and what is left of chance."""

import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scaler.demo.conduct import DemoOptions, planned
from scaler.demo.processes import answers, process
from scaler.demo.stage import free_ports
from scaler.observability.client import NoAnswer, get_json

pytestmark = pytest.mark.alone


def demo(tmp_path: Path, *arguments: str, timeout: float = 240) -> tuple[dict[str, Any], str]:
    """Run ``scaler demo`` and return its figures and what it printed."""
    figures = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "scaler", "demo", "--json", str(figures), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(figures.read_text())
    return result, done.stdout


def test_fewer_hours_are_the_beginning_of_the_same_day_and_no_denser() -> None:
    day, morning = (planned(DemoOptions(hours, 600.0, None, 24_000, 1, None, keep=False)) for hours in (24, 10))
    assert len(day) == pytest.approx(24_000, rel=0.02)
    assert morning == [arrival for arrival in day if arrival.at < 36_000]
    assert 0 < len(morning) < len(day) / 2
    assert len(planned(DemoOptions(48, 600.0, None, 24_000, 1, None, keep=False))) >= len(day)


def test_each_part_gets_the_port_that_it_wants_or_one_of_its_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        [free] = free_ports([0])
        found = free_ports([taken, free, free, 0])
    assert found[1] == free
    assert taken not in found
    assert len(set(found)) == 4


async def test_a_part_that_ends_before_it_answers_is_told_at_once(tmp_path: Path) -> None:
    [port] = free_ports([0])
    async with process(tmp_path, "run", "--config", str(tmp_path / "missing.yaml")) as child:
        with pytest.raises(NoAnswer, match=rf"at 127\.0\.0\.1:{port} has ended with 2$"):
            await answers(f"127.0.0.1:{port}", "/readyz", child)
    assert "missing.yaml" in (tmp_path / "run.log").read_text()


@pytest.mark.parametrize("hours", ["0", "-1"])
def test_a_day_without_a_request_is_none(hours: str) -> None:
    done = subprocess.run([sys.executable, "-m", "scaler", "demo", "--for", hours], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(rf"scaler: --for: no request of .* comes within {hours} hours\n", done.stderr)


@pytest.mark.timeout(260)
def test_a_day_of_real_traffic(tmp_path: Path) -> None:
    result, printed = demo(tmp_path)
    assert result["requests"] >= 20_000
    assert 0.4 < result["streamed"] / result["requests"] < 0.6
    assert result["proxy_failures"] == 0
    assert result["attainment"] >= 0.95
    for bill in (result["cost_dollars"], result["replica_hours"]):
        assert set(bill) == {"scaler", "always_on_peak", "native"}
        assert 0 < bill["scaler"] < bill["always_on_peak"]
    for times in (result["latency_seconds"], result["ttft_seconds"]):
        assert 0 < times["p50"] <= times["p95"] <= times["p99"]
    bounds = [(decision["min_replicas"], decision["max_replicas"]) for decision in result["decisions"]]
    assert max(bounds) > (4, 4)
    assert min(bounds) == (1, 1)
    assert all(decision["reasons"] and decision["sentence"] and decision["time"] for decision in result["decisions"])
    assert result["metrics"] in printed
    assert "failed because of the proxy" in printed


def test_two_runs_of_one_seed_decide_the_same_up_to_timing_noise(tmp_path: Path) -> None:
    """Forty minutes: a quiet start, then steady traffic for four replicas."""
    trace = tmp_path / "ramp_60s.csv"
    rows = [(60 * minute, 6 if minute < 8 else 33) for minute in range(40)]
    lines = [f"{at},{requests},{requests * 100},{requests * 300}" for at, requests in rows]
    trace.write_text("t_seconds,requests,input_tokens,output_tokens\n" + "\n".join(lines) + "\n")
    options = ("--trace", str(trace), "--for", "0.6666667", "--speed", "150", "--requests", "1000000", "--seed", "7")
    runs = [demo(tmp_path, *options)[0] for _ in range(2)]
    first, second = runs
    assert first["requests"] == second["requests"]
    assert first["cost_dollars"]["native"] == second["cost_dollars"]["native"]
    assert first["cost_dollars"]["always_on_peak"] == second["cost_dollars"]["always_on_peak"]
    assert first["replica_hours"]["scaler"] == pytest.approx(second["replica_hours"]["scaler"], rel=0.1)
    assert abs(first["decisions"][-1]["min_replicas"] - second["decisions"][-1]["min_replicas"]) <= 1
    ups = [next(decision["seconds"] for decision in run["decisions"] if decision["min_replicas"] >= 3) for run in runs]
    assert abs(ups[0] - ups[1]) <= 60


@pytest.mark.parametrize(
    ("content", "message"),
    [("nonsense\n", "expected the columns"), ("t_seconds,requests,input_tokens,output_tokens\n0,x,,\n", "expected four numbers")],
)
def test_a_bad_trace_is_refused_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    trace = tmp_path / "bad_60s.csv"
    trace.write_text(content)
    done = subprocess.run(
        [sys.executable, "-m", "scaler", "demo", "--trace", str(trace)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_keep_stays_up_at_normal_speed_until_it_is_interrupted(tmp_path: Path) -> None:
    options = ("--for", "0.05", "--speed", "120", "--keep")
    with subprocess.Popen([sys.executable, "-m", "scaler", "demo", *options], stdout=subprocess.PIPE, text=True) as kept:
        assert kept.stdout is not None
        printed = ""
        while "staying up at normal speed" not in printed:
            line = kept.stdout.readline()
            assert line, printed
            printed += line
        (admin,) = re.findall(r"staying up .* http://(\S+)/metrics", printed)
        assert get_json(admin, "/livez")["live"]
        assert kept.poll() is None
        kept.send_signal(signal.SIGINT)
        kept.stdout.read()
        assert kept.wait(timeout=30) == 0
    with pytest.raises(NoAnswer):
        get_json(admin, "/livez")
