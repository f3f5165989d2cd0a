"""Budgets and the ledger, for those who watch: metrics, log and status page."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from scaler.ledger import Cap, Ledger
from scaler.model import Stage
from scaler.policy.limits import MEASURES

log = structlog.get_logger(__name__)

FIGURES = {
    "dollars": ("limit", "What may be spent."),
    "spent": ("spent", "What is spent, by scaler's own ledger."),
    "held": ("reserved", "Reserved for starts and not yet spent."),
    "set_aside": ("set_aside", "What floors that are never given up will cost until the period ends."),
}


class BudgetCollector:
    """Every budget and account, read when asked; and the log, told of each change of a stage."""

    def __init__(self, ledger: Ledger) -> None:
        """It only gets read."""
        self._ledger = ledger
        self._stages: dict[tuple[str, str], Stage] = {}

    def collect(self) -> Iterator[Metric]:
        """All families of one reading."""
        caps = self._ledger.caps()
        for name, (suffix, help_text) in FIGURES.items():
            family = GaugeMetricFamily(
                f"scaler_budget_{suffix}_dollars", f"{help_text} Period hour: dollars an hour.", labels=["budget", "period"]
            )
            for cap in caps:
                family.add_metric([cap.budget, cap.period], getattr(cap, name))
            yield family
        stage = GaugeMetricFamily(
            "scaler_budget_stage",
            f"How tight it is: {', '.join(f'{s.value} {s.name.lower()}' for s in Stage)}.",
            labels=["budget", "period"],
        )
        for cap in caps:
            stage.add_metric([cap.budget, cap.period], cap.stage)
        yield stage
        yield from self._accounts()

    def _accounts(self) -> Iterator[Metric]:
        spent = GaugeMetricFamily("scaler_spent_dollars", "Spent in this day and month, by the ledger.", labels=["endpoint", "period"])
        total = CounterMetricFamily("scaler_ledger_dollars", "Charged since the process began.", labels=["endpoint"])
        rate = GaugeMetricFamily("scaler_burn_rate_dollars_per_hour", "What is charged for at this moment.", labels=["endpoint"])
        for key, spending in self._ledger.spending().items():
            spent.add_metric([key, "day"], spending.day)
            spent.add_metric([key, "month"], spending.month)
            total.add_metric([key], spending.total)
            rate.add_metric([key], spending.hourly)
        return iter((spent, total, rate))

    def announce(self) -> None:
        """One log event for each stage that is new."""
        for cap in self._ledger.caps():
            before = self._stages.get((cap.budget, cap.period), Stage.OPEN)
            self._stages[cap.budget, cap.period] = cap.stage
            if cap.stage is not before:
                tell = log.error if cap.stage is Stage.EXHAUSTED else log.warning if cap.stage > before else log.info
                tell("budget", budget=cap.budget, period=cap.period, **_figures(cap), measure=_measure(cap.stage))


def _measure(stage: Stage) -> str:
    """What follows for all endpoints in a budget."""
    if stage is Stage.EXHAUSTED:
        return "what may stop is stopped, of the others only min_replicas goes on, whatever the traffic"
    return MEASURES[stage][1] if stage in MEASURES else "nothing is restricted"


def _figures(cap: Cap) -> dict[str, Any]:
    return {
        "stage": cap.stage.name.lower(),
        **{f"{suffix}_dollars": round(getattr(cap, name), 2) for name, (suffix, _) in FIGURES.items()},
    }


def budget_status(ledger: Ledger) -> dict[str, Any]:
    """For the status page, as JSON-ready values; ``begins`` and ``ends`` are Unix seconds."""
    return {
        "budgets": [{"budget": c.budget, "period": c.period, **_figures(c), "begins": c.begins, "ends": c.ends} for c in ledger.caps()],
        "endpoints": {key: {name: round(value, 4) for name, value in asdict(each).items()} for key, each in ledger.spending().items()},
    }
