"""What the gates tell those who watch."""

import math

from prometheus_client import CollectorRegistry, generate_latest

from scaler.observability.gates import GateCollector, gate_status
from scaler.proxy.gate import SHEDS, Gate
from scaler.proxy.meter import RouteMeter
from scaler.proxy.routes import Readiness, Route, Standing
from scaler.settings import WakeSettings


def gate_at(now: float, standing: Standing | None, **wake: object) -> Gate:
    readiness = None if standing is None else Readiness(standing, now, 8.0)
    route = Route("chat", "me/model", frozenset(), wake=WakeSettings.model_validate(wake), readiness=readiness)
    return Gate(route, RouteMeter(lambda: now), lambda _: None, lambda _: None, lambda _: True)


def series(gate: Gate, now: float) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(GateCollector(lambda: {"chat": gate.read()}, lambda: now))
    lines = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    return {name.replace('endpoint="chat"', "").replace("{}", "").replace("{,", "{"): float(value) for name, _, value in map(split, lines)}


def split(line: str) -> tuple[str, str, str]:
    return line.rpartition(" ")


def test_everything_begins_at_zero_and_nothing_is_pending() -> None:
    read = series(gate_at(100.0, None), 100.0)
    assert {read[f'scaler_sheds_total{{reason="{reason}"}}'] for reason in SHEDS} == {0}
    for name in ("requests_held_total", "wakes_total", "fallbacks_total", "spills_total", "requests_held_now", "hold_seconds_count"):
        assert read[f"scaler_{name}"] == 0
    assert read["scaler_gate_open"] == 1
    assert math.isnan(read["scaler_wake_pending_seconds"])
    assert len(read) < 40


def test_a_call_is_shown_with_its_age_until_it_is_answered() -> None:
    gate = gate_at(100.0, Standing.ASLEEP, mode="fail")
    for _ in range(3):
        gate.admit("", 10, streamed=False)
    read = series(gate, 130.0)
    assert (read["scaler_wake_pending_seconds"], read["scaler_wakes_total"], read["scaler_gate_open"]) == (30, 1, 0)
    assert read['scaler_sheds_total{reason="endpoint_waking"}'] == 3
    shown = gate_status({"chat": gate.read()}, 130.0)["chat"]
    assert shown["called"] == {"seconds_ago": 30.0, "requests": 3}
    assert (shown["standing"], shown["open"], shown["capacity"]) == ("asleep", False, 8.0)
    assert shown["sheds"]["endpoint_waking"] == 3


def test_what_is_not_known_is_said_so() -> None:
    shown = gate_status({"chat": gate_at(0.0, None).read()}, 1.0)["chat"]
    assert (shown["standing"], shown["open"], shown["capacity"], shown["called"]) == ("unknown", True, None, None)
