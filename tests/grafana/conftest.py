import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.grafana.dashboard import Dashboard

GRAFANA = Path(__file__).parents[2] / "grafana"


@pytest.fixture
def grafana() -> Path:
    return GRAFANA


@pytest.fixture
def dashboard() -> Dashboard:
    return Dashboard(json.loads((GRAFANA / "dashboards" / "scaler.json").read_text()))


@pytest.fixture
def scrape_example() -> dict[str, Any]:
    """grafana/prometheus.yml, read."""
    tree: dict[str, Any] = yaml.safe_load((GRAFANA / "prometheus.yml").read_text())
    return tree
