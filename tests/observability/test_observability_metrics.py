import math
import shutil
import subprocess
from itertools import pairwise

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from scaler.actuator import Skipped, SkipReason
from scaler.clock import VirtualClock
from scaler.model import Bounds, OutcomeStatus, Power, ReasonCode
from scaler.observability.metrics import ControlMetrics, MeterCollector, TickCollector
from scaler.policy.capacity import Estimate
from scaler.policy.cold_start import Distribution
from scaler.policy.demand import Load
from scaler.policy.learned import Learned
from scaler.proxy.meter import LATENCY_BOUNDS, Meter
from scaler.proxy.routes import Objective
from tests.observability.ticks import CONFIRMED, StillProxy, TickStory


@pytest.fixture
def metrics() -> ControlMetrics:
    return ControlMetrics(["chat", "code"])


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


def series(registry: CollectorRegistry) -> list[tuple[str, dict[str, str], float]]:
    return [(sample.name, sample.labels, sample.value) for family in registry.collect() for sample in family.samples]


def test_before_the_first_tick_counters_are_zero_and_gauges_not_known(metrics: ControlMetrics) -> None:
    registry = metrics.registry
    for key in ("chat", "code"):
        for reason in ReasonCode:
            assert value(registry, "scaler_decisions_total", endpoint=key, reason=reason.value) == 0
        for why in SkipReason:
            assert value(registry, "scaler_actions_skipped_total", endpoint=key, why=why.value) == 0
        assert value(registry, "scaler_actions_total", endpoint=key, kind="start", outcome="unknown") == 0
        for name in ("scaler_endpoint_min_replicas", "scaler_endpoint_concurrency", "scaler_price_dollars_per_hour"):
            assert math.isnan(value(registry, name, endpoint=key) or 0)
        assert value(registry, "scaler_endpoint_state", endpoint=key, state="unknown") == 1


def test_a_tick_shows_what_was_seen_and_decided(metrics: ControlMetrics) -> None:
    metrics.observe(TickStory().tick())
    registry = metrics.registry
    assert value(registry, "scaler_endpoint_min_replicas", endpoint="chat") == 2
    assert value(registry, "scaler_endpoint_max_replicas", endpoint="chat") == 4
    assert value(registry, "scaler_endpoint_replicas", endpoint="chat", state="ready") == 2
    assert value(registry, "scaler_endpoint_replicas", endpoint="chat", state="starting") == 1
    assert value(registry, "scaler_endpoint_concurrency", endpoint="chat") == 5.5
    assert value(registry, "scaler_endpoint_state", endpoint="chat", state="started") == 1
    assert value(registry, "scaler_tick_duration_seconds_count") == 1
    assert sum(number for name, labels, number in series(registry) if name == "scaler_endpoint_state" and labels["endpoint"] == "chat") == 1


def test_what_was_learned_is_shown_and_what_is_not_known_is_no_number(metrics: ControlMetrics) -> None:
    registry = metrics.registry
    known = Learned(
        estimate=Estimate(7.6, 7.7, 0.9, None, 7.6, "Known."),
        starts=Distribution(((60.0, 1.0), (90.0, 1.0)), 2, 300.0),
        loads=(Load(0.0, 10.0, 1.5, 2.5),),
    )
    assert math.isnan(value(registry, "scaler_capacity_requests_in_flight", endpoint="chat") or 0)
    metrics.observe(TickStory(learned=known).tick())
    assert value(registry, "scaler_capacity_requests_in_flight", endpoint="chat") == 7.6
    assert value(registry, "scaler_capacity_knee_requests_in_flight", endpoint="chat") == 7.7
    assert value(registry, "scaler_capacity_confidence", endpoint="chat") == 0.9
    assert value(registry, "scaler_cold_start_seconds", endpoint="chat", share="0.5") == 60.0
    assert value(registry, "scaler_cold_start_seconds", endpoint="chat", share="0.9") == 90.0
    assert value(registry, "scaler_cold_starts_known", endpoint="chat") == 2
    assert value(registry, "scaler_demand_replicas", endpoint="chat", kind="offered") == 1.5
    assert value(registry, "scaler_demand_replicas", endpoint="chat", kind="in_flight") == 2.5
    assert math.isnan(value(registry, "scaler_service_seconds", endpoint="chat") or 0)


def test_what_is_no_longer_known_is_not_shown_as_it_was(metrics: ControlMetrics) -> None:
    metrics.observe(TickStory().tick())
    metrics.observe(TickStory(concurrency=None, state=None, fleet=None).tick())
    registry = metrics.registry
    assert math.isnan(value(registry, "scaler_endpoint_concurrency", endpoint="chat") or 0)
    assert math.isnan(value(registry, "scaler_endpoint_replicas", endpoint="chat", state="ready") or 0)
    assert value(registry, "scaler_endpoint_state", endpoint="chat", state="unknown") == 1
    assert value(registry, "scaler_endpoint_state", endpoint="chat", state="started") == 0


def test_each_reason_of_an_argument_counts_once(metrics: ControlMetrics) -> None:
    metrics.observe(TickStory(reasons=(ReasonCode.BURST, ReasonCode.BOUNDED, ReasonCode.BOUNDED), hold=True).tick())
    registry = metrics.registry
    assert value(registry, "scaler_decisions_total", endpoint="chat", reason="burst") == 1
    assert value(registry, "scaler_decisions_total", endpoint="chat", reason="bounded") == 1
    assert value(registry, "scaler_decision_holds_total", endpoint="chat") == 1


@pytest.mark.parametrize(("power", "kind"), [(Power.RUN, "start"), (Power.KEEP, "update"), (Power.STOP, "stop")])
def test_what_was_sent_counts_by_kind_and_outcome(metrics: ControlMetrics, power: Power, kind: str) -> None:
    metrics.observe(TickStory(power=power, result=CONFIRMED).tick())
    registry = metrics.registry
    assert value(registry, "scaler_actions_total", endpoint="chat", kind=kind, outcome=OutcomeStatus.CONFIRMED.value) == 1
    assert sum(number for name, _, number in series(registry) if name in {"scaler_actions_total", "scaler_actions_skipped_total"}) == 1


def test_what_was_not_sent_counts_by_why(metrics: ControlMetrics) -> None:
    metrics.observe(TickStory(result=Skipped(SkipReason.PAUSED, "the file exists"), journal_error="disk full").tick())
    assert value(metrics.registry, "scaler_actions_skipped_total", endpoint="chat", why="paused") == 1
    assert value(metrics.registry, "scaler_journal_errors_total", endpoint="chat") == 1


def test_money_and_switches(metrics: ControlMetrics) -> None:
    metrics.observe(TickStory(price=6.6).tick())
    metrics.set_switches(paused=True, dry_run=False)
    registry = metrics.registry
    assert value(registry, "scaler_price_dollars_per_hour", endpoint="chat") == 6.6
    assert (value(registry, "scaler_paused"), value(registry, "scaler_dry_run")) == (1, 0)


def test_a_refused_reload_is_seen_and_does_not_pass_for_a_fresh_one(metrics: ControlMetrics) -> None:
    registry, stamp = metrics.registry, "scaler_config_last_reload_success_timestamp_seconds"
    assert value(registry, "scaler_config_last_reload_successful") == 1
    started = value(registry, stamp)
    metrics.reloaded(ok=False)
    assert (value(registry, "scaler_config_last_reload_successful"), value(registry, stamp)) == (0, started)
    metrics.reloaded(ok=True)
    assert value(registry, "scaler_config_last_reload_successful") == 1
    assert (value(registry, stamp) or 0) > (started or 0)


def test_endpoints_come_and_go_with_the_configuration(metrics: ControlMetrics) -> None:
    metrics.observe(TickStory().tick())
    metrics.set_endpoints(["chat", "vision"])
    metrics.observe(TickStory(key="code").tick())
    metrics.observe(TickStory(key="vision", bounds=Bounds(1, 1)).tick())
    named = {labels["endpoint"] for _, labels, _ in series(metrics.registry) if "endpoint" in labels}
    assert named == {"chat", "vision"}
    assert value(metrics.registry, "scaler_endpoint_min_replicas", endpoint="chat") == 2


def test_the_meter_is_read_at_the_moment_of_the_scrape() -> None:
    clock = VirtualClock()
    meter = Meter(clock.monotonic)
    registry = CollectorRegistry()
    registry.register(MeterCollector(meter, StillProxy()))
    route = meter.route("chat")
    request = route.enter(
        Objective(ttft_seconds=0.2),
    )
    assert value(registry, "scaler_requests_in_flight", endpoint="chat") == 1
    assert value(registry, "scaler_requests_waiting", endpoint="chat") == 1
    request.sent()
    request.head(200, streamed=True, readable=True)
    clock.advance(0.3)
    request.body(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n')
    clock.advance(0.4)
    request.body(b'data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":5}}\n\ndata: [DONE]\n\n')
    request.finish("2xx")
    route.enter(Objective()).finish("aborted")
    expected = {
        ("scaler_request_arrivals_total", ()): 2,
        ("scaler_requests_total", (("outcome", "2xx"),)): 1,
        ("scaler_requests_total", (("outcome", "aborted"),)): 1,
        ("scaler_requests_total", (("outcome", "failed"),)): 0,
        ("scaler_requests_in_flight", ()): 0,
        ("scaler_requests_waiting", ()): 0,
        ("scaler_requests_slow_total", ()): 1,
        ("scaler_tokens_total", (("direction", "input"),)): 11,
        ("scaler_tokens_total", (("direction", "output"),)): 5,
        ("scaler_request_duration_seconds_sum", ()): pytest.approx(0.7),
        ("scaler_time_to_first_token_seconds_sum", ()): pytest.approx(0.3),
        ("scaler_time_per_output_token_seconds_sum", ()): pytest.approx(0.1),
    }
    for (name, labels), number in expected.items():
        assert (name, labels, value(registry, name, endpoint="chat", **dict(labels))) == (name, labels, number)
    assert value(registry, "scaler_request_arrivals_total", endpoint="other") == 0
    assert value(registry, "scaler_proxy_connections") == 3
    assert value(registry, "scaler_proxy_limits_hit_total", limit="body") == 2


@pytest.mark.parametrize("seconds", [0.0, LATENCY_BOUNDS[0], LATENCY_BOUNDS[3], LATENCY_BOUNDS[3] + 1e-9, LATENCY_BOUNDS[-1], 1e6])
def test_histograms_are_cumulative_and_their_bounds_inclusive(seconds: float) -> None:
    meter = Meter(VirtualClock().monotonic)
    meter.route("chat").served(seconds, None, slow=False)
    registry = CollectorRegistry()
    registry.register(MeterCollector(meter, StillProxy()))
    buckets = {
        float(labels["le"]): number
        for name, labels, number in series(registry)
        if name == "scaler_request_duration_seconds_bucket" and labels["endpoint"] == "chat"
    }
    assert list(buckets) == [*LATENCY_BOUNDS, math.inf]
    assert all(before <= after for before, after in pairwise(buckets.values()))
    assert {bound for bound, number in buckets.items() if number} == {bound for bound in buckets if seconds <= bound}
    assert value(registry, "scaler_request_duration_seconds_count", endpoint="chat") == 1


def test_the_names_pass_promtool(metrics: ControlMetrics) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (tests/setup.sh)")
    meter = Meter(VirtualClock().monotonic)
    meter.route("chat").served(1.0, 0.1, slow=True)
    metrics.registry.register(MeterCollector(meter, StillProxy()))
    metrics.registry.register(TickCollector(lambda: {"completed": 4, "late": 0}))
    metrics.observe(TickStory(result=CONFIRMED).tick())
    page = generate_latest(metrics.registry)
    result = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, timeout=30, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
    assert b'scaler_ticks_total{outcome="completed"} 4.0' in page


def test_names_that_clients_send_make_no_series(metrics: ControlMetrics) -> None:
    """What has no route is metered as ``other``; so the number of series depends on the configuration alone."""
    meter = Meter(VirtualClock().monotonic)
    metrics.registry.register(MeterCollector(meter, StillProxy()))
    for key in ("chat", "code"):
        meter.route(key)
    before = len(series(metrics.registry))
    for _ in range(10_000):
        meter.other.answered(404)
    assert len(series(metrics.registry)) == before
    assert before < 450
