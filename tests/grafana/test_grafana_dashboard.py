"""The dashboard against the rules of its kind, and against the metrics that the code really has."""

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.registry import Collector

from scaler.actuator.declare import Finding, Standing
from scaler.clock import VirtualClock
from scaler.ledger import Ledger
from scaler.model import Window, WindowKind
from scaler.observability.budget import BudgetCollector
from scaler.observability.declared import DeclaredCollector
from scaler.observability.gates import GateCollector
from scaler.observability.metrics import ControlMetrics, MeterCollector, StoreCollector, TickCollector
from scaler.observability.windows import WindowCollector, windows_status
from scaler.policy.demand import Load
from scaler.policy.learned import Learned
from scaler.proxy.gate import Gate
from scaler.proxy.keys import Account
from scaler.proxy.meter import Meter
from scaler.proxy.routes import Route
from scaler.proxy_settings import ClientKeySettings
from scaler.settings import Settings
from scaler.shadow import Shadows
from scaler.store.base import StoreFault
from scaler.store.sqlite import SqliteStore
from tests.grafana.dashboard import Dashboard, metrics_in
from tests.observability.ticks import StillProxy, TickStory


@dataclass(frozen=True)
class Series:
    """What a series name belongs to, and which labels it has."""

    family: str
    labels: frozenset[str]


def control_side(folder: Path) -> Iterator[Collector]:
    """What the control loop has to tell beside its own metrics."""
    yield TickCollector(lambda: {"completed": 1})
    yield StoreCollector(lambda: {StoreFault.FULL: 1})
    yield DeclaredCollector(lambda: {"chat": Finding(Standing.SETTLED, "")})
    window = Window(WindowKind.OVERRIDE, "", begins=0.0, ends=10.0, floor=2)
    yield WindowCollector(lambda: {"chat": windows_status([window], now=5.0)})
    settings = Settings.model_validate({"endpoints": {"chat": {"id": "endpoint-1", "budget": {"per_day_dollars": 100}}}})
    yield BudgetCollector(Ledger(settings, SqliteStore(folder / "not opened"), VirtualClock()))
    shadows = Shadows()
    shadows.use(settings.endpoints)
    shadows.follow(TickStory(learned=Learned(loads=(Load(0.0, 10.0, 1.0, 1.0),))).tick(), dollars_per_hour=6.0)
    yield shadows


def request_path() -> Iterator[Collector]:
    """What the request path has to tell."""
    meter = Meter(VirtualClock().monotonic)
    yield MeterCollector(meter, StillProxy(clients={"anna": Account(ClientKeySettings(sha256="0" * 64))}))
    gate = Gate(Route("chat", "me/model", frozenset()), meter.route("chat"), print, print, lambda _: True)
    yield GateCollector(lambda: {"chat": gate.read()}, lambda: 0.0)


@pytest.fixture
def exported(tmp_path: Path) -> dict[str, Series]:
    """Every series name that the daemon exports."""
    metrics = ControlMetrics(["chat"])
    for collector in (*control_side(tmp_path), *request_path()):
        metrics.registry.register(collector)
    families = metrics.registry.collect()
    return {sample.name: Series(family.name, frozenset(sample.labels)) for family in families for sample in family.samples}


def test_identity_is_fixed_and_editing_is_off(dashboard: Dashboard) -> None:
    model = dashboard.model
    assert (model["uid"], model["editable"], model["schemaVersion"] >= 36) == ("scaler", False, True)
    assert "id" not in model
    assert model["title"]
    assert model["refresh"]


def test_panels_say_what_they_show_and_in_which_unit(dashboard: Dashboard) -> None:
    for panel in dashboard.panels:
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        named = metrics_in(panel["description"])
        used = {re.sub("_bucket$", "", name) for target in panel["targets"] for name in metrics_in(target["expr"])}
        assert used == named, panel["title"]


def test_titles_and_ids_are_unique(dashboard: Dashboard) -> None:
    panels = dashboard.model["panels"]
    for key in ("id", "title"):
        assert [value for value, count in Counter(panel[key] for panel in panels).items() if count > 1] == []
    for panel in dashboard.panels:
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_panels_fit_the_grid_and_do_not_overlap(dashboard: Dashboard) -> None:
    cells = [panel["gridPos"] for panel in dashboard.model["panels"]]
    assert all(cell["x"] >= 0 and cell["w"] > 0 and cell["x"] + cell["w"] <= 24 and cell["h"] > 0 for cell in cells)
    for one, other in combinations(cells, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)
    bottom = {cell["y"] + cell["h"] for cell in cells}
    assert all(cell["y"] == 0 or cell["y"] in bottom for cell in cells), "a gap between rows"


def test_every_query_goes_through_the_data_source_variable(dashboard: Dashboard) -> None:
    queries = [query for panel in dashboard.panels for query in (panel, *panel["targets"])]
    queries += [*dashboard.annotations, *(variable for variable in dashboard.variables.values() if variable["type"] == "query")]
    assert {(query["datasource"]["type"], query["datasource"]["uid"]) for query in queries} == {("prometheus", "${datasource}")}
    assert dashboard.variables["datasource"]["type"] == "datasource"


def test_every_selector_filters_by_job_and_where_there_is_one_by_endpoint(dashboard: Dashboard, exported: dict[str, Series]) -> None:
    for title, expression in dashboard.queries().items():
        for name, selector in re.findall(r"\b(scaler_\w+)(\{[^}]*\})?", expression):
            assert 'job=~"$job"' in selector, (title, name)
            assert ('endpoint=~"$endpoint"' in selector) == ("endpoint" in exported[name].labels), (title, name)


def test_rates_span_the_rate_interval(dashboard: Dashboard) -> None:
    """Any other window would be empty at one scrape interval or another; annotations look back a minute at each step of one."""
    for title, expression in dashboard.queries().items():
        window = "1m" if title.startswith("annotation") else "$__rate_interval"
        assert set(re.findall(r"\[(.*?)\]", expression)) <= {window}, title
        assert len(re.findall(r"\b(?:rate|increase)\(", expression)) == expression.count("["), title


def test_counters_are_never_shown_bare_but_for_the_bill(dashboard: Dashboard) -> None:
    for title, expression in dashboard.queries().items():
        for name in re.findall(r"(scaler_\w+_(?:total|bucket))\{[^}]*\}(?!\[)", expression):
            assert name == "scaler_ledger_dollars_total", title


def test_the_metrics_that_it_names_exist(dashboard: Dashboard, exported: dict[str, Series]) -> None:
    assert dashboard.metrics() - set(exported) == set()


def test_the_metrics_that_exist_are_shown(dashboard: Dashboard, exported: dict[str, Series]) -> None:
    shown = {exported[name].family for panel in dashboard.panels for target in panel["targets"] for name in metrics_in(target["expr"])}
    assert {series.family for series in exported.values()} - shown == set()


def load(path: Path) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load(path.read_text())
    return tree


def test_provisioning_finds_the_dashboard_and_a_data_source(grafana: Path, scrape_example: dict[str, Any]) -> None:
    [source] = load(grafana / "provisioning/datasources/prometheus.yaml")["datasources"]
    assert (source["type"], source["access"], source["isDefault"]) == ("prometheus", "proxy", True)
    assert source["jsonData"]["timeInterval"] == scrape_example["global"]["scrape_interval"]
    [provider] = load(grafana / "provisioning/dashboards/scaler.yaml")["providers"]
    assert (provider["type"], provider["allowUiUpdates"]) == ("file", False)
    assert sorted(path.name for path in (grafana / "dashboards").iterdir()) == ["scaler.json"]


def test_the_scrape_example_is_valid_and_asks_where_scaler_answers(grafana: Path, scrape_example: dict[str, Any]) -> None:
    [job] = scrape_example["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["127.0.0.1:9090"]}]
    assert job["honor_labels"] is True
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (tests/setup.sh)")
    result = subprocess.run([promtool, "check", "config", grafana / "prometheus.yml"], capture_output=True, timeout=30, check=False)
    assert result.returncode == 0, result.stderr
