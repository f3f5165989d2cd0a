"""Baselines beside the live policy, for those who watch: what each would have cost and served so far."""

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from scaler.backtest.fluid import Rules
from scaler.controller import Tick
from scaler.model import Decision, Known, Power
from scaler.policy.fleet import Fleet
from scaler.settings import EndpointSettings
from scaler.shadow.lanes import ACTUAL, OTHERS, SCALER, Beat, Shadow, Standing

LARGEST = 59
"""Times the minimum: the fluid model keeps to less than sixty."""


class Shadows:
    """One shadow for each endpoint, begun anew when its bounds change; `follow` must not raise for what a tick contains."""

    def __init__(self) -> None:
        """Endpoints are told by `use`."""
        self._settings: Mapping[str, EndpointSettings] = {}
        self._shadows: dict[str, tuple[Rules, Shadow]] = {}

    def use(self, endpoints: Mapping[str, EndpointSettings]) -> None:
        """Follow these from now on."""
        self._settings = endpoints
        self._shadows = {key: shadow for key, shadow in self._shadows.items() if key in endpoints}

    def follow(self, tick: Tick, dollars_per_hour: float) -> None:
        """Let the lanes serve what this tick has seen; without traffic, fleet or load there is nothing to compare."""
        settings = self._settings.get(tick.key)
        if settings is None or not isinstance(tick.sample, Known) or tick.fleet is None or not tick.learned.loads:
            return
        load = tick.learned.loads[-1]
        actual, decided = tick.fleet.total, _decided(tick.decision, tick.fleet)
        self._shadow(tick, settings).follow(Beat(load.start, load.end, load.offered, actual, decided, dollars_per_hour))

    def _shadow(self, tick: Tick, settings: EndpointSettings) -> Shadow:
        """The endpoint's shadow under its present bounds; the cold start is that of the moment it began."""
        bounds = (settings.min_replicas, min(settings.max_replicas, LARGEST * settings.min_replicas))
        if (known := self._shadows.get(tick.key)) is not None and (known[0].min_replicas, known[0].max_replicas) == bounds:
            return known[1]
        rules = Rules(tick.learned.lead(settings).quantile(0.5), *bounds)
        self._shadows[tick.key] = (rules, Shadow(rules))
        return self._shadows[tick.key][1]

    def status(self, key: str) -> dict[str, Any]:
        """For the status page: dollars, share of work on time, replicas and hours followed by lane; empty before the first tick."""
        return {
            name: {
                "dollars": round(lane.dollars, 2),
                "attainment": round(lane.attainment, 4),
                "replicas": lane.replicas,
                "hours": round(lane.seconds / 3600, 2),
            }
            for name, lane in (self._standings(key).items() if key in self._shadows else ())
        }

    def _standings(self, key: str) -> Mapping[str, Standing]:
        """Where the lanes stand; at the start before the first tick, so that their series are there from the beginning."""
        known = self._shadows.get(key)
        return known[1].standings if known else dict.fromkeys((ACTUAL, SCALER, *OTHERS), Standing(self._settings[key].min_replicas))

    def collect(self) -> Iterator[Metric]:
        """Families of one reading; ratios of work on time to work are the lanes' attainment."""
        labels = ["endpoint", "lane"]
        dollars = CounterMetricFamily("scaler_shadow_dollars", "What this way of scaling would have cost since the start.", labels=labels)
        work = CounterMetricFamily("scaler_shadow_work_replica_seconds", "Work that came.", labels=labels)
        on_time = CounterMetricFamily("scaler_shadow_on_time_replica_seconds", "Of it, what would have been served on time.", labels=labels)
        replicas = GaugeMetricFamily("scaler_shadow_replicas", "Replicas it would have now, ready and starting.", labels=labels)
        for key in self._settings:
            for name, lane in self._standings(key).items():
                dollars.add_metric([key, name], lane.dollars)
                work.add_metric([key, name], lane.work)
                on_time.add_metric([key, name], lane.on_time)
                replicas.add_metric([key, name], lane.replicas)
        yield from (dollars, work, on_time, replicas)


def _decided(decision: Decision, fleet: Fleet) -> int:
    """The replicas that a decision wants, running and starting."""
    if decision.hold:
        return fleet.total
    return 0 if decision.power is Power.STOP else decision.bounds.min_replicas
