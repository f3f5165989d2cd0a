"""What a tick means to those who watch: metrics, one wide log event, the status page. What it costs is the ledger's to say."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from scaler.actuator import Skipped
from scaler.controller import Tick
from scaler.model import Decision, Endpoint, Known, Observation, Reason, Sample
from scaler.observability.metrics import ControlMetrics
from scaler.policy.cold_start import PLANNED
from scaler.policy.learned import Learned
from scaler.policy.outlook import Outlook
from scaler.store.base import DecisionRecord

log = structlog.get_logger(__name__)

RECENT = 50


@dataclass(slots=True)
class Watched:
    """What is remembered of one endpoint for the status page."""

    tick: Tick | None = None
    recent: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=RECENT))


class Shadows(Protocol):
    """Other ways of scaling beside the live one."""

    def follow(self, tick: Tick, dollars_per_hour: float) -> None:
        """Hear of a tick."""
        ...

    def status(self, key: str) -> dict[str, Any]:
        """For the status page."""
        ...


class Reporter:
    """Called with each tick; answers the status page. Never raises for what a tick contains."""

    def __init__(self, metrics: ControlMetrics, shadows: Shadows) -> None:
        """Endpoints are told by `set_endpoints`; shadows are told of each tick whose price is known."""
        self._metrics = metrics
        self._shadows = shadows
        self._watched: dict[str, Watched] = {}

    def set_endpoints(self, keys: Iterable[str]) -> None:
        """Watch these, keeping what is known of those that stay."""
        self._watched = {key: self._watched.get(key, Watched()) for key in keys}

    def __call__(self, tick: Tick) -> None:
        """Tell everyone who watches."""
        watched = self._watched[tick.key]
        changed = _is_news(watched.tick, tick)
        if tick.price is not None:
            self._shadows.follow(tick, tick.price)
        watched.tick = tick
        self._metrics.observe(tick)
        (log.info if changed else log.debug)("decision", **wide_event(tick))
        if changed:
            watched.recent.append(wide_event(tick))

    def status(self) -> dict[str, Any]:
        """The status of every endpoint, as JSON-ready values."""
        return {key: self._status_of(key, watched) for key, watched in self._watched.items()}

    def _status_of(self, key: str, watched: Watched) -> dict[str, Any]:
        tick = watched.tick
        if tick is None:
            return {"state": "not looked at yet"}
        return {
            **wide_event(tick),
            "learned": _learned_fields(tick.learned),
            "forecast": _forecast_fields(tick.outlook),
            "shadow": self._shadows.status(key),
            "price_dollars_per_hour": tick.price,
            "recent": list(watched.recent),
        }


def _is_news(before: Tick | None, tick: Tick) -> bool:
    """Whether a person would want to read of it: something was sent, or the argument is another one."""
    if before is None or not isinstance(tick.result, Skipped):
        return True
    return _codes(before.decision.reasons) != _codes(tick.decision.reasons)


def _codes(reasons: Iterable[Reason]) -> tuple[str, ...]:
    return tuple(reason.code for reason in reasons)


def wide_event(tick: Tick) -> dict[str, Any]:
    """One tick in one flat-ish record: what was seen, decided, argued and done."""
    return {
        "endpoint": tick.key,
        **_decision_fields(tick.decision),
        **_inputs_fields(tick.sample, tick.endpoint),
        "ready": tick.fleet.ready if tick.fleet else None,
        "starting": tick.fleet.starting if tick.fleet else None,
        "result": tick.result.reason.value if isinstance(tick.result, Skipped) else tick.result.status.value,
        "result_detail": tick.result.detail,
        "journal_error": tick.journal_error,
        "tick_seconds": round(tick.seconds, 4),
    }


def explanation(record: DecisionRecord) -> dict[str, Any]:
    """A journalled decision with what it was made from."""
    return {
        "seq": record.seq,
        **_decision_fields(record.decision),
        **_inputs_fields(record.inputs.sample, record.inputs.endpoint),
    }


def _decision_fields(decision: Decision) -> dict[str, Any]:
    return {
        "at": round(decision.at, 3),
        "min_replicas": decision.bounds.min_replicas,
        "max_replicas": decision.bounds.max_replicas,
        "inactive_timeout_minutes": decision.inactive_timeout_minutes,
        "power": decision.power.value,
        "hold": decision.hold,
        "reasons": [reason.code.value for reason in decision.reasons],
        "sentence": decision.sentence,
        "numbers": _numbers(decision.reasons),
        "alternatives": [{"replicas": other.replicas, "why_not": other.why_not} for other in decision.alternatives],
        "bound_by": decision.bound_by,
    }


def _numbers(reasons: Iterable[Reason]) -> Mapping[str, float]:
    return {name: round(value, 3) for reason in reasons for name, value in reason.numbers.items()}


def _inputs_fields(sample: Observation[Sample], endpoint: Observation[Endpoint]) -> dict[str, Any]:
    return {
        "sample": _sample_fields(sample.value) if isinstance(sample, Known) else {"unknown": sample.why},
        "provider": _endpoint_fields(endpoint.value) if isinstance(endpoint, Known) else {"unknown": endpoint.why},
    }


def _forecast_fields(outlook: Outlook) -> dict[str, Any] | None:
    if outlook.forecast is None:
        return None
    return {"up": round(outlook.forecast.up, 3), "down": round(outlook.forecast.down, 3), "model": outlook.forecast.model}


def _sample_fields(sample: Sample) -> dict[str, Any]:
    return {
        "arrivals": sample.arrivals,
        "concurrency": round(sample.concurrency, 3),
        "in_flight": sample.in_flight,
        "waiting": sample.waiting,
        "slow": sample.slow,
        "completions": dict(sample.completions),
    }


def _learned_fields(learned: Learned) -> dict[str, Any]:
    """What was learned of an endpoint; None where nothing is known."""
    found, starts, service = learned.estimate, learned.starts, learned.demand.service_seconds
    return {
        "requests_per_replica": round(found.concurrency, 2) if found else None,
        "knee": round(found.knee, 2) if found and found.knee is not None else None,
        "knee_confidence": round(found.confidence, 3) if found else None,
        "capacity": found.sentence if found else None,
        "cold_start_p50_seconds": round(starts.quantile(0.5), 1) if starts else None,
        "cold_start_p90_seconds": round(starts.quantile(PLANNED), 1) if starts else None,
        "cold_starts_known": starts.starts if starts else 0,
        "service_seconds": round(service, 3) if service is not None else None,
        "offered_replicas": round(learned.loads[-1].offered, 3) if learned.loads else None,
        "deploys_noticed": learned.capacity.deploys,
    }


def _endpoint_fields(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "name": endpoint.name,
        "state": endpoint.state.value,
        "hardware": endpoint.hardware,
        "min_replicas": endpoint.bounds.min_replicas,
        "max_replicas": endpoint.bounds.max_replicas,
    }
