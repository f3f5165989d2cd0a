"""Schedules, events and overrides, for those who watch: metrics and status page."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric

from scaler.model import Window

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
    """What is in force, read when asked. The names come from the configuration, so there are no more series than it has windows."""

    def __init__(self, read: Callable[[], Mapping[str, Sequence[Mapping[str, Any]]]]) -> None:
        """``read`` gives the `windows_status` of each endpoint."""
        self._read = read

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
        for key, windows in self._read().items():
            for window in (each for each in windows if each["in_force"]):
                for limit in (name for name in LIMITS if window[name] is not None):
                    limits.add_metric([key, window["kind"], window["name"], limit], window[limit])
                if window["kind"] == "override":
                    ends.add_metric([key], window["ends"])
        yield limits
        yield ends
