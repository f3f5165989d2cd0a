"""What Prometheus reads: traffic from the proxy's meter at scrape time, and what the control loop saw, decided and did.

A gauge whose value is not known is NaN, never zero; a counter begins at zero for every label set, so that its first step is seen.
Labels come from the configuration and from enumerations, so clients cannot make series. Durations are clock seconds; the two
timestamps are real Unix seconds, for comparison with ``time()`` in PromQL.
"""

import math
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import accumulate, product
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from scaler import __version__
from scaler.actuator import Skipped, SkipReason
from scaler.controller import Tick
from scaler.model import ActionKind, EndpointState, Known, OutcomeStatus, Power, ReasonCode
from scaler.proxy.readings import HistogramReading, Reading
from scaler.store.base import StoreFault

SHARES = (0.5, 0.9)
"""Of cold starts. ``quantile`` as a label belongs to summaries."""
TICK_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_KINDS = {Power.RUN: ActionKind.START, Power.STOP: ActionKind.STOP, Power.KEEP: ActionKind.UPDATE}

disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series beside each counter, which nobody reads


class ControlMetrics:
    """What the control loop has to tell. ``registry`` is what `/metrics` shows; collectors of other parts join it."""

    def __init__(self, endpoints: Iterable[str]) -> None:
        """``endpoints`` are the configuration's keys."""
        self.registry = CollectorRegistry()
        self._shape = _Shape(self.registry)
        self._insight = _Insight(self.registry)
        self._steps = _Steps(self.registry)
        self._process = _Process(self.registry)
        self._endpoints: frozenset[str] = frozenset()
        self.set_endpoints(endpoints)

    def set_endpoints(self, endpoints: Iterable[str]) -> None:
        """The configuration names these endpoints now: new ones begin at zero, others disappear."""
        wanted = frozenset(endpoints)
        for key in self._endpoints - wanted:
            self._shape.remove(key)
            self._insight.remove(key)
            self._steps.remove(key)
        for key in wanted - self._endpoints:
            self._shape.begin(key)
            self._insight.begin(key)
            self._steps.begin(key)
        self._endpoints = wanted

    def observe(self, tick: Tick) -> None:
        """Take over everything a tick says. Ticks of endpoints that the configuration no longer names are left out."""
        if tick.key in self._endpoints:
            self._shape.show(tick)
            self._insight.show(tick)
            self._steps.count(tick)
            self._process.duration.observe(tick.seconds)
            self._process.last_tick.set_to_current_time()

    def set_switches(self, *, paused: bool, dry_run: bool) -> None:
        """Whether anything may be sent at all."""
        self._process.paused.set(paused)
        self._process.dry_run.set(dry_run)

    def reloaded(self, *, ok: bool) -> None:
        """The configuration was read again: taken over, or refused and the old one kept."""
        self._process.reload_ok.set(ok)
        if ok:
            self._process.reload_time.set_to_current_time()


class _Shape:
    """Gauges: how each endpoint is and should be."""

    def __init__(self, registry: CollectorRegistry) -> None:
        gauge = partial(Gauge, registry=registry)
        self._min = gauge("scaler_endpoint_min_replicas", "Lower bound that was decided.", ["endpoint"])
        self._max = gauge("scaler_endpoint_max_replicas", "Upper bound that was decided.", ["endpoint"])
        self._replicas = gauge("scaler_endpoint_replicas", "Replicas by state, estimated where not told.", ["endpoint", "state"])
        self._state = gauge("scaler_endpoint_state", "1 for the state that the provider reports, 0 for others.", ["endpoint", "state"])
        self._concurrency = gauge("scaler_endpoint_concurrency", "Mean requests in flight between the last two ticks.", ["endpoint"])
        self._price = gauge("scaler_price_dollars_per_hour", "Price of one replica.", ["endpoint"])

    def begin(self, key: str) -> None:
        """Nothing is known yet."""
        for gauge in (self._min, self._max, self._concurrency, self._price):
            gauge.labels(key).set(math.nan)
        self._show_replicas(key, math.nan, math.nan)
        self._show_state(key, EndpointState.UNKNOWN)

    def remove(self, key: str) -> None:
        """The endpoint is no longer ours."""
        for gauge in (self._min, self._max, self._replicas, self._state, self._concurrency, self._price):
            gauge.remove_by_labels({"endpoint": key})

    def show(self, tick: Tick) -> None:
        """Bounds as decided, the rest as seen."""
        key, bounds = tick.key, tick.decision.bounds
        self._min.labels(key).set(bounds.min_replicas)
        self._max.labels(key).set(bounds.max_replicas)
        self._price.labels(key).set(math.nan if tick.price is None else tick.price)
        self._concurrency.labels(key).set(tick.sample.value.concurrency if isinstance(tick.sample, Known) else math.nan)
        self._show_state(key, tick.endpoint.value.state if isinstance(tick.endpoint, Known) else EndpointState.UNKNOWN)
        if tick.fleet is None:
            self._show_replicas(key, math.nan, math.nan)
        else:
            self._show_replicas(key, tick.fleet.ready, tick.fleet.starting)

    def _show_replicas(self, key: str, ready: float, starting: float) -> None:
        self._replicas.labels(key, "ready").set(ready)
        self._replicas.labels(key, "starting").set(starting)

    def _show_state(self, key: str, current: EndpointState) -> None:
        for state in EndpointState:
            self._state.labels(key, state.lower()).set(state is current)


class _Insight:
    """Gauges: what was learned of each endpoint."""

    def __init__(self, registry: CollectorRegistry) -> None:
        gauge = partial(Gauge, registry=registry)
        self._capacity = gauge("scaler_capacity_requests_in_flight", "Requests in flight that one replica serves well.", ["endpoint"])
        self._knee = gauge("scaler_capacity_knee_requests_in_flight", "Requests in flight at which a replica queues.", ["endpoint"])
        self._confidence = gauge("scaler_capacity_confidence", "How sure the knee is: 0 unknown, towards 1 with evidence.", ["endpoint"])
        self._cold_start = gauge(
            "scaler_cold_start_seconds", "Time in which this share of cold starts is done, as learned.", ["endpoint", "share"]
        )
        self._starts = gauge("scaler_cold_starts_known", "Cold starts that they were learned from.", ["endpoint"])
        self._service = gauge("scaler_service_seconds", "What a request of this moment takes on a replica that is not full.", ["endpoint"])
        self._demand = gauge("scaler_demand_replicas", "Replicas kept busy by what arrives (offered), is in flight.", ["endpoint", "kind"])
        self._forecast = gauge("scaler_forecast_replicas", "Peaks expected: to be ready for, to keep for.", ["endpoint", "kind"])
        self._all = (
            self._forecast,
            self._capacity,
            self._knee,
            self._confidence,
            self._cold_start,
            self._starts,
            self._service,
            self._demand,
        )

    def begin(self, key: str) -> None:
        """Nothing is known yet."""
        for one in (self._capacity, self._knee, self._confidence, self._starts, self._service):
            one.labels(key).set(math.nan)
        for share in SHARES:
            self._cold_start.labels(key, f"{share:g}").set(math.nan)
        for kind in ("ahead", "hold"):
            self._forecast.labels(key, kind).set(math.nan)
        for kind in ("offered", "in_flight"):
            self._demand.labels(key, kind).set(math.nan)

    def remove(self, key: str) -> None:
        """The endpoint is no longer ours."""
        for one in self._all:
            one.remove_by_labels({"endpoint": key})

    def show(self, tick: Tick) -> None:
        """As the policy has it."""
        key, learned = tick.key, tick.learned
        found, starts, service = learned.estimate, learned.starts, learned.demand.service_seconds
        if found is not None:
            self._capacity.labels(key).set(found.concurrency)
            self._knee.labels(key).set(math.nan if found.knee is None else found.knee)
            self._confidence.labels(key).set(found.confidence)
        if starts is not None:
            self._starts.labels(key).set(starts.starts)
            for share in SHARES:
                self._cold_start.labels(key, f"{share:g}").set(starts.quantile(share))
        self._service.labels(key).set(math.nan if service is None else service)
        load = learned.loads[-1] if learned.loads and isinstance(tick.sample, Known) else None
        self._demand.labels(key, "offered").set(load.offered if load else math.nan)
        self._demand.labels(key, "in_flight").set(load.concurrency if load else math.nan)
        ahead = tick.outlook.forecast
        self._forecast.labels(key, "ahead").set(ahead.up if ahead else math.nan)
        self._forecast.labels(key, "hold").set(ahead.down if ahead else math.nan)


class _Steps:
    """Counters: what each endpoint's ticks have decided and done."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, registry=registry)
        self._decisions = counter(
            "scaler_decisions", "Decisions by each reason in their argument; one decision may have several.", ["endpoint", "reason"]
        )
        self._holds = counter("scaler_decision_holds", "Decisions to keep whatever runs, because something is not known.", ["endpoint"])
        self._actions = counter("scaler_actions", "Calls to the update API by how they ended.", ["endpoint", "kind", "outcome"])
        self._skipped = counter("scaler_actions_skipped", "Ticks in which nothing was sent, by why.", ["endpoint", "why"])
        self._journal_errors = counter("scaler_journal_errors", "Decisions that the store did not take.", ["endpoint"])

    def begin(self, key: str) -> None:
        """Everything at zero."""
        for reason in ReasonCode:
            self._decisions.labels(key, reason.value)
        for kind, outcome in product(ActionKind, OutcomeStatus):
            self._actions.labels(key, kind.value, outcome.value)
        for why in SkipReason:
            self._skipped.labels(key, why.value)
        for counter in (self._holds, self._journal_errors):
            counter.labels(key)

    def remove(self, key: str) -> None:
        """The endpoint is no longer ours."""
        for counter in (self._decisions, self._holds, self._actions, self._skipped, self._journal_errors):
            counter.remove_by_labels({"endpoint": key})

    def count(self, tick: Tick) -> None:
        """One tick more."""
        key, decision = tick.key, tick.decision
        for code in {reason.code for reason in decision.reasons}:
            self._decisions.labels(key, code.value).inc()
        self._holds.labels(key).inc(decision.hold)
        self._journal_errors.labels(key).inc(tick.journal_error is not None)
        if isinstance(tick.result, Skipped):
            self._skipped.labels(key, tick.result.reason.value).inc()
        else:
            self._actions.labels(key, _KINDS[decision.power].value, tick.result.status.value).inc()


class _Process:
    """What belongs to no endpoint."""

    def __init__(self, registry: CollectorRegistry) -> None:
        gauge = partial(Gauge, registry=registry)
        self.duration = Histogram(
            "scaler_tick_duration_seconds", "Duration of one tick of one endpoint.", buckets=TICK_BUCKETS, registry=registry
        )
        self.last_tick = gauge("scaler_last_tick_timestamp_seconds", "When the last tick of any endpoint ended.")
        self.paused = gauge("scaler_paused", "1 while nothing is sent because of the pause file.")
        self.dry_run = gauge("scaler_dry_run", "1 while nothing is sent because of dry_run.")
        self.reload_ok = gauge("scaler_config_last_reload_successful", "Whether the configuration was valid when last read.")
        self.reload_time = gauge("scaler_config_last_reload_success_timestamp_seconds", "When the configuration in use was read.")
        self.reload_ok.set(1)
        self.reload_time.set_to_current_time()
        Info("scaler_build", "What is running.", registry=registry).info({"version": __version__, "python": platform.python_version()})


class TickCollector:
    """How the scheduler's runs went, read when asked."""

    def __init__(self, read: Callable[[], Mapping[str, int]]) -> None:
        """``read`` gives the cumulative count of runs by outcome."""
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """The one family."""
        yield _counts("scaler_ticks", "Runs of the control loop by how they went.", "outcome", self._read())


class StoreCollector:
    """What the store could not do, read when asked."""

    def __init__(self, read: Callable[[], Mapping[StoreFault, int]]) -> None:
        """``read`` gives the cumulative count of faults."""
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """The one family."""
        faults = {fault.value: count for fault, count in self._read().items()}
        yield _counts("scaler_store_faults", "Calls that the store did not carry out, and files that it wrote anew.", "fault", faults)


class ClientFigures(Protocol):
    """What is known of a client that has a key."""

    @property
    def in_flight(self) -> int:
        """Its requests between arrival and end."""

    @property
    def outcomes(self) -> Mapping[str, int]:
        """Its requests, by whether they passed."""


class ProxyFigures(Protocol):
    """What a proxy can say of itself besides its meter."""

    @property
    def connections(self) -> int:
        """Client connections open now."""

    @property
    def limits_hit(self) -> Mapping[str, int]:
        """How often each limit was hit, cumulative."""

    @property
    def clients(self) -> Mapping[str, ClientFigures]:
        """Clients that have keys, by name."""


class MeterFigures(Protocol):
    """What a meter can say, of one proxy or of several."""

    def read_all(self) -> dict[str, Reading]:
        """Every route's figures."""

    @property
    def tap_errors(self) -> int:
        """Answers that could not be looked into."""


class MeterCollector:
    """The request path's figures, read when asked: a scrape sees this moment, and the traffic pays nothing for metrics."""

    def __init__(self, meter: MeterFigures, proxy: ProxyFigures) -> None:
        """Both only get read."""
        self._meter = meter
        self._proxy = proxy

    def collect(self) -> Iterator[Metric]:
        """All families of one reading."""
        readings = self._meter.read_all()
        yield from _request_counts(readings)
        yield from _request_gauges(readings)
        yield from _request_durations(readings)
        yield from _client_counts(self._proxy.clients)
        yield _counts("scaler_proxy_limits_hit", "Requests and connections that ran into a limit.", "limit", self._proxy.limits_hit)
        yield GaugeMetricFamily("scaler_proxy_connections", "Client connections open.", self._proxy.connections)
        yield CounterMetricFamily(
            "scaler_usage_read_errors", "Answers whose token usage could not be read because of a fault of ours.", self._meter.tap_errors
        )


def _counts(name: str, help_text: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, help_text, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family


def _request_counts(readings: Mapping[str, Reading]) -> Iterator[Metric]:
    arrivals = CounterMetricFamily("scaler_request_arrivals", "Requests that came in.", labels=["endpoint"])
    outcomes = CounterMetricFamily("scaler_requests", "Requests that ended, by status class or fault.", labels=["endpoint", "outcome"])
    slow = CounterMetricFamily("scaler_requests_slow", "Good answers that missed the endpoint's objective.", labels=["endpoint"])
    failures = CounterMetricFamily("scaler_request_failures", "The outcome failed, by its reason.", labels=["endpoint", "reason"])
    retries = CounterMetricFamily("scaler_request_retries", "Requests sent upstream once more.", labels=["endpoint"])
    tokens = CounterMetricFamily("scaler_tokens", "Tokens that the upstream counted.", labels=["endpoint", "direction"])
    for key, reading in readings.items():
        arrivals.add_metric([key], reading.arrivals)
        slow.add_metric([key], reading.slow)
        tokens.add_metric([key, "input"], reading.input_tokens)
        tokens.add_metric([key, "output"], reading.output_tokens)
        for outcome, count in reading.completions.items():
            outcomes.add_metric([key, outcome], count)
        for reason, count in reading.failures.items():
            failures.add_metric([key, reason], count)
        retries.add_metric([key], reading.retries)
    return iter((arrivals, outcomes, failures, retries, slow, tokens))


def _client_counts(clients: Mapping[str, ClientFigures]) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "scaler_client_requests", "Requests of each client with a key: admitted, or refused by which limit.", labels=["client", "outcome"]
    )
    in_flight = GaugeMetricFamily("scaler_client_requests_in_flight", "Its requests between arrival and end.", labels=["client"])
    for name, account in clients.items():
        in_flight.add_metric([name], account.in_flight)
        for outcome, count in account.outcomes.items():
            requests.add_metric([name, outcome], count)
    return iter((requests, in_flight))


def _request_gauges(readings: Mapping[str, Reading]) -> Iterator[Metric]:
    in_flight = GaugeMetricFamily("scaler_requests_in_flight", "Requests between arrival and end.", labels=["endpoint"])
    waiting = GaugeMetricFamily("scaler_requests_waiting", "Of those, not yet sent upstream.", labels=["endpoint"])
    for key, reading in readings.items():
        in_flight.add_metric([key], reading.in_flight)
        waiting.add_metric([key], reading.waiting)
    return iter((in_flight, waiting))


def _request_durations(readings: Mapping[str, Reading]) -> Iterator[Metric]:
    histogram = partial(HistogramMetricFamily, labels=["endpoint"])
    latency = histogram("scaler_request_duration_seconds", "From a request's last byte to its good answer's last.")
    ttft = histogram("scaler_time_to_first_token_seconds", "From a request's last byte to the first of its good, streamed answer.")
    tpot = histogram("scaler_time_per_output_token_seconds", "Mean over one good, streamed answer, after its first token.")
    for key, reading in readings.items():
        latency.add_metric([key], *_buckets(reading.latency))
        ttft.add_metric([key], *_buckets(reading.ttft))
        tpot.add_metric([key], *_buckets(reading.tpot))
    return iter((latency, ttft, tpot))


def _buckets(histogram: HistogramReading) -> tuple[list[tuple[str, float]], float]:
    """Cumulative counts by upper bound, as Prometheus wants them, and the sum."""
    bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True)), histogram.sum
