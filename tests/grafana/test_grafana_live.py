"""Every query of the dashboard, asked of a real Prometheus that scrapes a real daemon under traffic, must have an answer."""

import asyncio
import contextlib
import math
from pathlib import Path
from typing import Any

import pytest

from tests.grafana.dashboard import Dashboard
from tests.grafana.live import Prometheus, find_prometheus, live_target, prometheus

DEADLINE_SECONDS = 60.0
SUBSTITUTES = {"$__rate_interval": "10s", "$job": "scaler", "$endpoint": ".*"}


def concrete(expression: str) -> str:
    """The expression as Grafana would send it."""
    for variable, value in SUBSTITUTES.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression
    return expression


async def has_answer(server: Prometheus, expression: str) -> bool:
    """At least one series with a number; NaN is how a series says that it knows nothing."""
    return not all(map(math.isnan, await server.query(expression)))


async def unanswered(server: Prometheus, queries: dict[str, str]) -> dict[str, str]:
    """Ask again and again until every query has had its answer once; what is left at the deadline."""
    left = dict(queries)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DEADLINE_SECONDS):
            while left:
                left = {name: query for name, query in left.items() if not await has_answer(server, query)}
                await asyncio.sleep(0.5)
    return left


LATER = {"Demand and forecast B", "Requests a replica serves well B"}
"""What a daemon of a minute does not know yet: forecasts begin after an hour, the knee is known after a day."""
ELSEWHERE = {"Requests of clients with keys A", "Their requests in flight A"}
"""What this daemon has not: on loopback it asks for no keys."""


async def test_every_query_of_the_dashboard_has_an_answer(dashboard: Dashboard, scrape_example: dict[str, Any], tmp_path: Path) -> None:
    binary = find_prometheus()
    if binary is None:
        pytest.skip("prometheus is not installed (tests/setup.sh)")
    async with live_target(tmp_path, company=True) as target, prometheus(binary, scrape_example, target, tmp_path) as server:
        assert await unanswered(server, {"before": 'sum(scaler_endpoint_min_replicas{job="scaler",endpoint="chat"}) == 1'}) == {}
        target.surge()
        queries = {name: concrete(expression) for name, expression in dashboard.queries().items()}
        assert len(queries) >= len(dashboard.panels)
        assert await unanswered(server, {name: query for name, query in queries.items() if name not in LATER | ELSEWHERE}) == {}
        for name in LATER | ELSEWHERE:
            await server.query(queries[name])
        values = {
            name: await server.label_values(concrete(selector), label) for name, (selector, label) in dashboard.label_queries().items()
        }
        assert values == {"job": {"scaler"}, "endpoint": {"chat", "asleep", "declared"}}
        assert await server.query('up{job="scaler"}') == [1.0]
