"""Schedules, events and overrides, for those who watch: metrics, log and status page."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric

from scaler.model import Window

log = structlog.get_logger(__name__)

LIMITS = ("floor", "ceiling", "multiplier")


def windows_status(windows: Iterable[Window], now: float) -> list[dict[str, Any]]:
    """For the status page, as JSON-ready values; ``begins`` and ``ends`` are Unix seconds."""
    return [
        {
            "who": str(window),
            "kind": window.kind.value,
            "name": window.name,
            "begins": window.begins,
            "ends": window.ends,
            "in_force": window.begins <= now < window.ends,
            **{limit: getattr(window, limit) for limit in LIMITS},
        }
        for window in windows
    ]


class WindowCollector:
    """What is in force, read when asked; and the log, told of each beginning and end.

    The names come from the configuration, so there are no more series than it has windows.
    """

    def __init__(self, read: Callable[[], Mapping[str, Sequence[Mapping[str, Any]]]]) -> None:
        """``read`` gives the `windows_status` of each endpoint."""
        self._read = read
        self._told: dict[tuple[str, str, float], Mapping[str, Any]] = {}

    def collect(self) -> Iterator[Metric]:
        """Limits in force, and when the overrides end."""
        limits = GaugeMetricFamily(
            "scaler_window_limit", "Floor, ceiling and multiplier that are in force.", labels=["endpoint", "kind", "name", "limit"]
        )
        ends = GaugeMetricFamily(
            "scaler_override_expires_timestamp_seconds",
            "When the override of an endpoint ends, on the daemon's clock.",
            labels=["endpoint"],
        )
        for (key, _, _), window in self._in_force():
            for limit in (name for name in LIMITS if window[name] is not None):
                limits.add_metric([key, window["kind"], window["name"], limit], window[limit])
            if window["kind"] == "override":
                ends.add_metric([key], window["ends"])
        yield limits
        yield ends

    def announce(self) -> None:
        """One log event for each window that is in force and was not before, and for each that no longer is."""
        before, self._told = self._told, dict(self._in_force())
        for mark in sorted(before.keys() - self._told.keys()):
            log.info("window over", endpoint=mark[0], window=mark[1], **_fields(before[mark]))
        for mark in sorted(self._told.keys() - before.keys()):
            log.info("window in force", endpoint=mark[0], window=mark[1], **_fields(self._told[mark]))

    def _in_force(self) -> Iterator[tuple[tuple[str, str, float], Mapping[str, Any]]]:
        """Windows by what tells them apart: whose they are, what they are called, when they began."""
        for key, windows in self._read().items():
            yield from (((key, window["who"], window["begins"]), window) for window in windows if window["in_force"])


def _fields(window: Mapping[str, Any]) -> dict[str, Any]:
    limits = {name: window[name] for name in LIMITS if window[name] is not None}
    return {**limits, "until": datetime.fromtimestamp(window["ends"], UTC).isoformat(timespec="seconds")}
