"""Whatever happens, the ledger never passes a cap and never says less than the bill; of many that race for the last dollar one gets it.

``LEDGER_RUNS=10000`` lets the machine run that often; a default run is short.
"""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from scaler.actuator import Skipped, SkipReason
from scaler.clock import VirtualClock
from scaler.ledger import NotGranted
from scaler.model import Action, ActionKind, Bounds, Outcome
from scaler.settings import Settings
from tests.ledger.cloud import TICK, Cloud, House
from tests.ledger.conftest import Opening, moment

RUNS = int(os.environ.get("LEDGER_RUNS", "100"))
CALM = 3
"""Ticks between two incidents: the margin of a cap is sized for one at a time."""

LOADS = st.sampled_from([0.0, 0.5, 4.0, 30.0, 200.0])


def tree(caps: dict[str, float], total: dict[str, float], *, kept: bool) -> dict[str, Any]:
    """Two endpoints for the last hours of a day; ``chat`` is never given up if ``kept``."""
    policy = {"cold_start_seconds": 60, "stabilization_seconds": 120}
    may_stop = {"allow_stop": True, "stop_after_minutes": 5}
    return {
        "endpoints": {
            "chat": {"id": "endpoint-chat", "max_replicas": 6, "policy": policy, "budget": caps, "idle": {} if kept else may_stop},
            "batch": {"id": "endpoint-batch", "max_replicas": 4, "policy": policy, "budget": {"expendable": True}, "idle": may_stop},
        },
        "budget": {"cut_seconds": 4 * TICK, "minimum_run_seconds": 5 * TICK, **total},
        "guard": {"max_decision_age_seconds": 600, "max_actions_per_hour": 1000},
        "schedule": {"tick_seconds": TICK},
    }


class Budgets(RuleBasedStateMachine):
    """Load, price changes, restarts, lost replies, and two endpoints that race for the last dollar."""

    @initialize(
        cap=st.none() | st.floats(6, 30),
        total=st.floats(9, 60),
        burn=st.none() | st.floats(30, 80),
        kept=st.booleans(),
        running=st.integers(1, 3),
    )
    def begin(self, cap: float | None, total: float, burn: float | None, kept: bool, running: int) -> None:  # noqa: FBT001 (drawn)
        self.loop = asyncio.new_event_loop()
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.folder = tempfile.TemporaryDirectory(prefix="scaler-ledger-", dir=memory, ignore_cleanup_errors=True)
        clock = VirtualClock(moment("2026-07-06T22:30"))
        self.caps = {"total": total} | ({} if cap is None else {"chat": cap})
        caps = {} if cap is None else {"per_day_dollars": cap}
        config = tree(caps, {"per_day_dollars": total} | ({} if burn is None else {"per_hour_dollars": burn}), kept=kept)
        home = Path(self.folder.name)
        self.cloud = Cloud(clock, {"chat": 3.0, "batch": 3.0})
        self.cloud.add("chat", running)
        self.cloud.add("batch", 0)
        self.house = House(home / "scaler.db", Settings.model_validate(config | {"pause_file": str(home / "paused")}), self.cloud)
        self.cloud.watch = self.start
        self.run(self.house.start())
        self.run(self.house.tick(0))  # what nobody has seen yet is not charged
        self.calm = 0

    def run(self, work: Any) -> None:  # noqa: ANN401 (any coroutine)
        self.loop.run_until_complete(work)

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.run(self.house.kill())
            self.loop.close()
            self.folder.cleanup()

    def start(self, key: str, added: int) -> None:
        """What is left when a start is sent pays for a minimum run of it."""
        spent = self.house.spent()
        run = added * self.cloud.prices[key] * self.house.settings.budget.minimum_run_seconds / 3600
        assert sum(spent.values()) + run <= self.caps["total"] + 1e-6
        assert key not in self.caps or spent[key] + run <= self.caps[key] + 1e-6

    @rule(chat=LOADS, batch=LOADS, count=st.sampled_from([1, 2, 5, 15]))
    def ticks(self, chat: float, batch: float, count: int) -> None:
        self.house.load = {"chat": chat, "batch": batch}
        for _ in range(count):
            self.run(self.house.tick())
            self.calm += 1
            self.holds()

    @rule(key=st.sampled_from(["chat", "batch"]), replicas=st.integers(1, 6))
    def somebody_wants_more_than_the_policy_would(self, key: str, replicas: int) -> None:
        replicas = min(replicas, self.house.settings.endpoints[key].max_replicas)
        self.run(self.house.order(key, replicas))

    @precondition(lambda self: self.calm >= CALM)
    @rule(key=st.sampled_from(["chat", "batch"]), factor=st.sampled_from([0.5, 0.9, 1.2, 1.4]))
    def price_changes(self, key: str, factor: float) -> None:
        if self.cloud.prices[key] * factor > 4.5:  # the floor of chat must go on fitting in every cap
            return
        self.cloud.settle()
        self.cloud.prices[key] *= factor
        self.house.tell_prices()
        self.calm = 0

    @precondition(lambda self: self.calm >= CALM)
    @rule(seconds=st.floats(0, TICK))
    def restart(self, seconds: float) -> None:
        self.run(self.house.kill())
        self.house.clock.advance(seconds)
        self.run(self.house.start())
        self.calm = 0

    @precondition(lambda self: self.calm >= CALM)
    @rule(fate=st.sampled_from(["before", "after"]))
    def next_reply_is_lost(self, fate: str) -> None:
        self.cloud.lose = [fate]
        self.calm = 0

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "house"):
            return
        self.cloud.settle()
        spent = self.house.spent()
        assert spent["chat"] + spent["batch"] <= self.caps["total"] + 1e-6
        assert spent["chat"] <= self.caps.get("chat", float("inf")) + 1e-6
        total = {key: spending.month for key, spending in self.house.ledger.spending().items()}
        for key, billed in self.cloud.bill.items():
            assert total[key] >= billed - 1e-6, "the ledger never says less than the bill"


Budgets.TestCase.settings = settings(
    max_examples=RUNS, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=RUNS <= 300
)
test_the_ledger_never_passes_a_cap = pytest.mark.timeout(0 if RUNS > 300 else 120)(Budgets.TestCase)


async def test_eight_that_race_for_the_dollars_of_one_replica(tmp_path: Path) -> None:
    clock = VirtualClock(moment("2026-07-06T12:00"))
    cloud = Cloud(clock, {f"e{n}": 6.0 for n in range(8)})
    endpoints = {}
    for key in cloud.prices:
        cloud.add(key, 0)
        endpoints[key] = {"id": f"endpoint-{key}", "max_replicas": 2, "idle": {"allow_stop": True}}
    config = {
        "endpoints": endpoints,
        "budget": {"per_day_dollars": 1.5},
        "pause_file": str(tmp_path / "paused"),
    }  # ten minutes cost a dollar
    house = House(tmp_path / "scaler.db", Settings.model_validate(config), cloud)
    await house.start()

    results = await asyncio.gather(*(house.order(key, 1) for key in cloud.prices))
    assert sum(isinstance(result, Outcome) for result in results) == 1
    assert len(cloud.calls) == 1
    refused = [result for result in results if isinstance(result, Skipped)]
    assert {result.reason for result in refused} == {SkipReason.OVER_BUDGET}
    assert "total day: 1 more for 10 min cost $1.00, free are $0.50" in refused[0].detail
    await house.kill()


async def test_a_start_of_just_before_a_crash_is_still_held_after_it(opening: Opening) -> None:
    office = await opening(
        budget={"per_day_dollars": 1.5}, endpoints={"chat": {"id": "e", "max_replicas": 4, "idle": {"allow_stop": True}}}
    )
    office.price(6.0)
    office.look({"chat": 0})
    await office.ledger.save("chat")
    assert not isinstance(office.ledger.reserve("chat", 1), NotGranted)
    await office.store.add_intent(office.clock.now(), "chat", Action(ActionKind.START, "e", Bounds(1, 1), 60), "wake", Bounds(1, 1))
    await office.restart(minutes=1)
    office.look({"chat": 1})
    again = office.ledger.reserve("chat", 2)
    assert isinstance(again, NotGranted)
    assert "$0.10 of $1.50 spent, $0.90 reserved" in again.detail


async def test_prices_and_caps_are_looked_at_again_in_the_instant_of_sending(opening: Opening) -> None:
    office = await opening(
        budget={"per_day_dollars": 1.5}, endpoints={"chat": {"id": "e", "max_replicas": 4, "idle": {"allow_stop": True}}}
    )
    nothing = office.ledger.reserve("chat", 1)
    assert isinstance(nothing, NotGranted)
    assert nothing.price_unknown
    office.price(6.0)
    hold = office.ledger.reserve("chat", 1)
    assert not isinstance(hold, NotGranted)
    assert office.ledger.confirm(hold) is None
    office.price(12.0)
    assert office.ledger.confirm(hold) is not None
    office.price(6.0)
    office.ledger.use(office.settings.model_copy(update={"budget": office.settings.budget.model_copy(update={"per_day_dollars": 0.9})}))
    assert office.ledger.confirm(hold) is not None
    office.ledger.use(office.settings)
    office.ledger.release(hold)
    assert not isinstance(office.ledger.reserve("chat", 1), NotGranted)
