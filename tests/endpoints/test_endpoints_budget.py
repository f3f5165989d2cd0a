"""Orders by hand under a budget: what the ledger would not grant is not sent unless a person insists. A replica is $10.80 an hour."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from scaler.model import Account, Entry
from scaler.store.sqlite import SqliteStore
from tests.endpoints.served import Platform

Typed = Callable[..., Any]
START = ("start", "endpoint-one")


@pytest.fixture
def configured(resting: Platform, tmp_path: Path) -> Callable[..., str]:
    """Writes a configuration of ``chat``, which is ``endpoint-one`` unless said otherwise; its path."""

    def write(endpoint_id: str = "endpoint-one", **budget: Any) -> str:  # noqa: ANN401 (fields of a budget)
        tree = {
            "provider": {"base_url": f"{resting.url}/v1", "api_key_file": str(tmp_path / "key")},
            "store": {"path": str(tmp_path / "scaler.db")},
            "pause_file": str(tmp_path / "paused"),
            "endpoints": {"chat": {"id": endpoint_id, "max_replicas": 4, "idle": {"allow_stop": True}, "budget": budget}},
        }
        (tmp_path / "key").write_text("tgp_v1_canary0123456789\n")
        (tmp_path / "scaler.yaml").write_text(yaml.safe_dump(tree))
        return str(tmp_path / "scaler.yaml")

    return write


async def state(platform: Platform) -> str:
    (endpoint,) = await platform.endpoints()
    return str(endpoint["state"])


async def test_a_start_that_the_budget_does_not_pay_for_is_not_sent_unless_a_person_insists(
    resting: Platform, typed: Typed, configured: Callable[..., str]
) -> None:
    config = configured(per_day_dollars=1.0)
    refused = await typed(resting, *START, "--config", config)
    assert refused.exit_code == 1
    assert "over budget: chat day: 1 more for 10 min cost $1.80, free are $1.00" in refused.stderr
    assert "--over-budget sends all the same" in refused.stderr
    assert await state(resting) == "STOPPED"
    assert (await typed(resting, *START, "--config", config, "--over-budget", "--wait")).exit_code == 0
    assert await state(resting) == "STARTED"


async def test_what_the_daemon_has_spent_is_counted_while_it_runs(
    resting: Platform, typed: Typed, configured: Callable[..., str], tmp_path: Path
) -> None:
    config = configured(per_month_dollars=100)
    daemon = await SqliteStore.open(tmp_path / "scaler.db", time.time())
    await daemon.book("chat", Account(time.time(), 0, 10.8), [Entry(int(time.time() // 900), dollars=99.0)])
    refused = await typed(resting, *START, "--config", config)
    assert (refused.exit_code, await state(resting)) == (1, "STOPPED")
    assert "$99.00 of $100.00 spent" in refused.stderr
    await daemon.book("chat", Account(time.time(), 0, 10.8), [Entry(int(time.time() // 900), dollars=90.0)])
    assert (await typed(resting, *START, "--config", config)).exit_code == 0
    await daemon.close()


async def test_more_replicas_are_paid_for_fewer_always_granted(resting: Platform, typed: Typed, configured: Callable[..., str]) -> None:
    config = configured(per_hour_dollars=25)
    assert (await typed(resting, *START, "--config", config, "--wait")).exit_code == 0
    more = await typed(resting, "update", "endpoint-one", "--min-replicas", "3", "--max-replicas", "3", "--config", config)
    assert more.exit_code == 1
    assert "chat hour: $32.40 an hour, $25.00 are allowed" in more.stderr
    for count in ("2", "1"):
        bounds = ("--min-replicas", count, "--max-replicas", count)
        assert (await typed(resting, "update", "endpoint-one", *bounds, "--config", config)).exit_code == 0
    assert (await typed(resting, "update", "endpoint-one", "--inactive-timeout", "0", "--config", config)).exit_code == 0


async def test_what_is_under_no_budget_is_started(resting: Platform, typed: Typed, configured: Callable[..., str]) -> None:
    config = configured("endpoint-other", per_day_dollars=0.01)
    assert (await typed(resting, *START, "--config", config)).exit_code == 0


async def test_where_nobody_can_tell_what_is_spent_nothing_is_sent(
    resting: Platform, typed: Typed, configured: Callable[..., str], tmp_path: Path
) -> None:
    config = configured(per_day_dollars=1000)
    (tmp_path / "scaler.db").write_bytes(b"not a database, but a file of some length" * 100)
    refused = await typed(resting, *START, "--config", config)
    assert (refused.exit_code, await state(resting)) == (1, "STOPPED")
    assert "nobody can tell what is spent" in refused.stderr


async def test_without_a_price_nothing_is_started_under_a_budget(resting: Platform, typed: Typed, configured: Callable[..., str]) -> None:
    await resting.break_({"status": 500, "path_prefix": "/v1/hardware"})
    refused = await typed(resting, *START, "--config", configured(per_day_dollars=1000))
    assert refused.exit_code == 1
    assert "the price of a replica is not known" in refused.stderr
