"""How declared endpoints stand, for those who watch: metrics, log and status page."""

from collections.abc import Callable, Iterator, Mapping

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric

from scaler.actuator.declare import Finding, Standing

log = structlog.get_logger(__name__)

ALARMING = frozenset({Standing.GONE, Standing.CONFLICT, Standing.REFUSED})
"""What a person has to look at."""


class DeclaredCollector:
    """One gauge for each declared endpoint and standing, read when asked."""

    def __init__(self, read: Callable[[], Mapping[str, Finding]]) -> None:
        """``read`` gives how each declared endpoint stands."""
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """The one family."""
        family = GaugeMetricFamily(
            "scaler_declared_endpoint", "1 for how a declared endpoint stands, 0 for the other ways.", labels=["endpoint", "standing"]
        )
        for key, finding in self._read().items():
            for standing in Standing:
                family.add_metric([key, standing.value], standing is finding.standing)
        yield family


def announce(key: str, finding: Finding) -> None:
    """One log event for each new standing."""
    tell = log.error if finding.standing in ALARMING else log.info
    tell("declared endpoint", endpoint=key, standing=finding.standing.value, detail=finding.detail)


def declared_status(findings: Mapping[str, Finding]) -> dict[str, dict[str, str]]:
    """For the status page."""
    return {key: {"standing": finding.standing.value, "detail": finding.detail} for key, finding in findings.items()}
