"""Budgets, windows and the ledger as those who watch see them."""

import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from rich.console import Console
from structlog.testing import capture_logs

from scaler.clock import VirtualClock
from scaler.controller import Tick
from scaler.ledger import Ledger
from scaler.model import Bounds, Endpoint, EndpointState, Price, Stage, Window, WindowKind
from scaler.observability.budget import BudgetCollector, budget_status
from scaler.observability.metrics import ControlMetrics
from scaler.observability.report import Reporter
from scaler.observability.windows import WindowCollector, windows_status
from scaler.policy.demand import Load
from scaler.policy.fleet import Fleet
from scaler.policy.learned import Learned
from scaler.settings import EndpointSettings, Settings
from scaler.shadow import Shadows
from scaler.show import status
from scaler.store.sqlite import SqliteStore
from tests.observability.ticks import TickStory


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(1_783_296_000.0)  # a midnight in UTC


@pytest.fixture
def ledger(tmp_path: Path, clock: VirtualClock) -> Ledger:
    chat = {"id": "e", "max_replicas": 4, "idle": {"allow_stop": True}, "budget": {"per_day_dollars": 100}}
    settings = Settings.model_validate({"endpoints": {"chat": chat}, "budget": {"per_hour_dollars": 30}})
    ledger = Ledger(settings, SqliteStore(tmp_path / "not opened"), clock)
    ledger.set_price("chat", Price(10.0))
    ledger.observe("chat", Endpoint("e", "n", "m", "h", EndpointState.STARTED, Bounds(2, 2)), Fleet(2))
    return ledger


def test_each_stage_is_announced_once_and_so_is_the_way_back(ledger: Ledger, clock: VirtualClock) -> None:
    budget = BudgetCollector(ledger)
    with capture_logs() as told:
        for _ in range(24 * 60):
            clock.advance(60)
            budget.announce()
    day = [(event["log_level"], event["stage"]) for event in told if event["period"] == "day"]
    stages = [stage.name.lower() for stage in Stage if stage is not Stage.OPEN]
    assert day == [*[("warning", name) for name in stages[:-1]], ("error", "exhausted"), ("info", "open")]
    first = told[0]
    assert (first["event"], first["budget"], first["limit_dollars"]) == ("budget", "chat", 100.0)
    assert first["spent_dollars"] == pytest.approx(80, abs=0.3)
    assert first["measure"] == "nothing is started ahead of need"
    assert "what may stop is stopped, of the others only min_replicas goes on" in told[4]["measure"]


def test_metrics(ledger: Ledger, clock: VirtualClock) -> None:
    registry = CollectorRegistry()
    registry.register(BudgetCollector(ledger))
    clock.advance(3600)
    day = {"budget": "chat", "period": "day"}
    assert registry.get_sample_value("scaler_budget_limit_dollars", day) == 100
    assert registry.get_sample_value("scaler_budget_spent_dollars", day) == pytest.approx(12)
    assert registry.get_sample_value("scaler_budget_stage", day) == 0
    assert registry.get_sample_value("scaler_budget_spent_dollars", {"budget": "total", "period": "hour"}) == 12
    assert registry.get_sample_value("scaler_spent_dollars", {"endpoint": "chat", "period": "month"}) == pytest.approx(12)
    assert registry.get_sample_value("scaler_ledger_dollars_total", {"endpoint": "chat"}) == pytest.approx(12)
    assert registry.get_sample_value("scaler_burn_rate_dollars_per_hour", {"endpoint": "chat"}) == 12


WINDOWS = (
    Window(WindowKind.SCHEDULE, "office", 0, 100, floor=3),
    Window(WindowKind.OVERRIDE, "", 10, 60, ceiling=4),
    Window(WindowKind.EVENT, "launch", 90, 200, multiplier=3),
)


def test_windows_in_force_are_metrics_and_those_that_come_are_not() -> None:
    registry = CollectorRegistry()
    registry.register(WindowCollector(lambda: {"chat": windows_status(WINDOWS, 50.0)}))
    labels = {"endpoint": "chat", "kind": "schedule", "name": "office", "limit": "floor"}
    assert registry.get_sample_value("scaler_window_limit", labels) == 3
    assert registry.get_sample_value("scaler_window_limit", labels | {"kind": "override", "name": "", "limit": "ceiling"}) == 4
    assert registry.get_sample_value("scaler_window_limit", labels | {"kind": "event", "name": "launch", "limit": "multiplier"}) is None
    assert registry.get_sample_value("scaler_override_expires_timestamp_seconds", {"endpoint": "chat"}) == 60


def test_a_window_is_announced_when_it_begins_and_when_it_ends() -> None:
    windows: list[Window] = []
    now = 50.0
    collector = WindowCollector(lambda: {"chat": windows_status(windows, now)})

    def announced() -> list[dict[str, Any]]:
        with capture_logs() as told:
            collector.announce()
        return [{name: event[name] for name in event if name not in ("log_level", "endpoint")} for event in told]

    assert announced() == []
    windows[:] = WINDOWS
    begun = [
        {"event": "window in force", "window": "override", "ceiling": 4, "until": "1970-01-01T00:01:00+00:00"},
        {"event": "window in force", "window": "schedule 'office'", "floor": 3, "until": "1970-01-01T00:01:40+00:00"},
    ]
    assert announced() == begun, "the launch is yet to come"
    assert announced() == []
    another = Window(WindowKind.OVERRIDE, "", 51, 3600, floor=2)
    windows[1], now = another, 52.0
    assert [(event["event"], event.get("ceiling"), event.get("floor")) for event in announced()] == [
        ("window over", 4, None),
        ("window in force", None, 2),
    ]
    now = 150.0
    assert [(event["event"], event["window"]) for event in announced()] == [
        ("window over", "schedule 'office'"),
        ("window in force", "event 'launch'"),
    ]


def in_a_terminal(ledger: Ledger, endpoints: dict[str, Any], *, store: str | None = None) -> str:
    answer: dict[str, Any] = {
        "now": 50.0,
        "paused": None,
        "dry_run": False,
        "store": store,
        "declared": {},
        "endpoints": endpoints,
        "windows": {"chat": windows_status(WINDOWS, 50.0)},
        "budget": budget_status(ledger),
    }
    console = Console(width=160, record=True)
    console.print(status(answer))
    return console.export_text()


def test_the_status_in_a_terminal(ledger: Ledger, clock: VirtualClock) -> None:
    clock.advance(3600 * 7)
    text = in_a_terminal(ledger, {})
    assert "chat: schedule 'office': floor 3, until 1970-01-01 00:01:40 UTC" in text
    assert "chat: event 'launch': multiplier 3, from 1970-01-01 00:01:30 UTC until 1970-01-01 00:03:20 UTC" in text
    assert "budget chat day: $84.00 of $100.00 [no prewarm]" in text
    assert "budget total hour: $12.00 of $30.00 an hour" in text
    assert "! the store" not in text
    assert "! the store: scaler.db: disk full" in in_a_terminal(ledger, {}, store="scaler.db: disk full")


def reported(ledger: Ledger, *ticks: Tick) -> str:
    """These ticks of an endpoint as `scaler status` tells them."""
    shadows = Shadows()
    shadows.use({"chat": EndpointSettings(id="e", max_replicas=4)})
    reporter = Reporter(ControlMetrics(["chat"]), shadows)
    reporter.set_endpoints(["chat"])
    for tick in ticks:
        reporter(tick)
    return in_a_terminal(ledger, reporter.status())


def test_the_status_tells_what_it_costs_by_the_ledger_and_what_others_would(ledger: Ledger, clock: VirtualClock) -> None:
    clock.advance(3600)
    hour = [Learned(loads=(Load(start, start + 10.0, 0.8, 0.8),)) for start in range(0, 3600, 10)]
    text = reported(ledger, *(TickStory(bounds=Bounds(2, 2), fleet=Fleet(2), learned=learned, price=6.0).tick() for learned in hour))
    assert re.search(r"chat +│ STARTED │ 2 +│ 0 +│ 2\.\.2 +│ 5 +│ \$12\.00 │ \$12\.00", text), text
    assert (
        "chat: in the model, cost and work on time of 1 h of traffic: what ran $12.00 at 100.0%, always on at max_replicas $24.00" in text
    )
    assert "what was decided" not in text, "it is what ran"
    other = reported(ledger, *(TickStory(bounds=Bounds(1, 1), fleet=Fleet(2), learned=learned, price=6.0).tick() for learned in hour))
    assert "what ran $12.00 at 100.0%, what was decided $6.00 at 100.0%, always on" in other, "as in a dry run"


def test_what_is_not_known_is_no_none(ledger: Ledger) -> None:
    text = reported(ledger, TickStory(state=None, fleet=None).tick())
    assert re.search(r"chat +│ unknown │ unknown │ unknown +│ 2\.\.4", text), text
    assert "None" not in text
    assert "in the model" not in text, "without a price nothing can be compared"
    assert "! chat: nobody knows what a replica costs; endpoints.chat.budget.price_dollars_per_hour can say it" in text
