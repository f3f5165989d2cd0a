"""Budgets from the first warning to the last dollar, told by the calendar: what was decided, and why."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scaler.clock import VirtualClock
from scaler.controller import Tick
from scaler.model import Account, Bounds, EndpointState, Entry, ReasonCode
from scaler.settings import Settings
from scaler.spending import roll_up, statement
from scaler.store.beside import read_entries
from tests.ledger.cloud import AtOnce, Cloud, House
from tests.ledger.conftest import moment
from tests.policy.telling import Told, tell

BUSY = 11.0
"""Requests in flight for which two replicas are planned."""


async def build(folder: Path, at: str, tree: dict[str, Any], prices: dict[str, float], *, spent: float = 0.0, tick: float = 600.0) -> House:
    """A house whose ledger says that ``chat`` has spent so much this month."""
    clock = VirtualClock(moment(at))
    store = await AtOnce.open(folder / "scaler.db", clock.now())
    await store.book("chat", Account(clock.now()), [Entry(int(moment(at[:7] + "-01T00:00") // 900), dollars=spent)])
    await store.close()
    cloud = Cloud(clock, prices)
    for key in prices:
        cloud.add(key, 1)
    guard = {"max_decision_age_seconds": 3600}
    house = House(
        folder / "scaler.db",
        Settings.model_validate(tree | {"guard": guard, "pause_file": str(folder / "paused")}),
        cloud,
        tick_seconds=tick,
    )
    await house.start()
    await house.tick(0)
    return house


def at(tick: Tick) -> str:
    return f"{datetime.fromtimestamp(tick.decision.at, UTC):%d %H:%M}"


def as_log(house: House) -> list[Told]:
    """What was decided about ``chat``; its traffic is what it was in the end all the while."""
    return [Told(at(tick), house.load["chat"], tick.decision) for tick in house.ticks]


def first(house: House, code: ReasonCode) -> str:
    """When this reason was first given."""
    return next(at(tick) for tick in house.ticks if code in {reason.code for reason in tick.decision.reasons})


def endpoint(**settings: Any) -> dict[str, Any]:  # noqa: ANN401 (settings of any type)
    return {"id": "endpoint-chat", "max_replicas": 4, "idle": {"allow_stop": True, "stop_after_minutes": 10_000}, **settings}


async def test_a_budget_that_runs_out_on_the_20th(tmp_path: Path) -> None:
    tree = {
        "endpoints": {"chat": endpoint(budget={"per_month_dollars": 2000})},
        "budget": {"cut_seconds": 1200, "minimum_run_seconds": 1200},
    }
    house = await build(tmp_path, "2026-07-16T00:00", tree, {"chat": 6.0}, spent=1140.0)
    house.load["chat"] = BUSY
    for _ in range(6 * 24 * 6):
        await house.tick()
    tell(
        """
        clock    | comes | decided | why                             | in words
        16 00:00 | 11    | 1 -> 2  | burst                           | 11.0 requests in flight in a burst need 2 replicas; serving: 1
                 |       |         | steady                          | there:
        16 00:20 | 11    | 2       | steady                          | there: 2
        17 14:30 | 11    | 2       | steady+budget_no_prewarm        | $16…of $2000.00 are spent; nothing is started ahead of need.
        17 22:50 | 11    | 2 -> 1  | ceiling+budget_lower_max        | Budget 'chat month' pays for at most 1 replica now. …$1701.00 of
        17 23:00 | 11    | 1       | steady+ceiling+budget_lower_max | there: 1. Budget 'chat month' pays for at most 1 replica now. …
        18 15:10 | 11    | 1       | steady+ceiling+budget_slow_up   | $18… of $2000.00 are spent; one replica is added after the other.
        19 07:50 | 11    | 1       | steady+ceiling+budget_stop_expendable | $19… of $2000.00 are spent; what is expendable is stopped.
        20 00:20 | 11    | 1 -> stop -> held | budget_exhausted      | $1999.00 of $2000.00 are spent; it is stopped, whatever the traffic,
                 |       |         | budget_exhausted                | $2000.00 of $2000.00 are spent; it is stopped, … until there is money
        22 00:10
        """,
        as_log(house),
    )
    assert (await house.cloud.get("endpoint-chat")).state is EndpointState.STOPPED
    assert 1980 < house.ledger.spending()["chat"].month <= 2000

    await house.kill()  # nobody has to be there on the first of the month
    house.clock.advance(moment("2026-08-01T00:00") - house.clock.now())
    await house.start()
    await house.tick()
    assert (await house.cloud.get("endpoint-chat")).state is EndpointState.STARTED
    await house.kill()


async def test_a_floor_that_is_never_given_up_goes_on_and_was_announced_on_the_first_day(tmp_path: Path) -> None:
    tree = {"endpoints": {"chat": endpoint(idle={}, budget={"per_month_dollars": 2000})}}
    house = await build(tmp_path, "2026-07-02T00:00", tree, {"chat": 6.0})
    house.load["chat"] = 4 * BUSY
    for _ in range(10):
        await house.tick()
    assert {tick.decision.bounds for tick in house.ticks} == {Bounds(1, 1)}
    assert first(house, ReasonCode.BUDGET_EXHAUSTED) == "02 00:00"
    (cap,) = house.ledger.caps()
    assert cap.set_aside > cap.dollars, "min_replicas alone cost more than the budget"
    await house.kill()


async def test_a_price_that_doubles_lowers_the_maximum_by_name_until_it_falls_again(tmp_path: Path) -> None:
    tree = {"endpoints": {"chat": endpoint(budget={"per_day_dollars": 200, "per_hour_dollars": 18})}}
    house = await build(tmp_path, "2026-07-02T06:00", tree, {"chat": 6.0}, tick=60.0)
    house.load["chat"] = 3 * BUSY / 2
    for _ in range(30):
        await house.tick()
    spent = house.spent()["chat"]
    house.cloud.settle()
    house.cloud.prices["chat"] = 12.0
    house.tell_prices()
    for _ in range(30):
        await house.tick()
    assert (await house.cloud.get("endpoint-chat")).bounds == Bounds(1, 1)
    assert house.spent()["chat"] - spent >= 0.5 * 12
    house.cloud.settle()
    assert abs(house.cloud.bill["chat"] - house.spent()["chat"]) < 0.7, "a tick of the two replicas that were added"
    house.cloud.prices["chat"] = 6.0
    house.tell_prices()
    for _ in range(15):
        await house.tick()
    tell(
        """
        clock    | comes | decided | why                | in words
        02 06:00 | 16.5  | 1       | steady             | 0.0 requests in flight need 0 replicas; there: 1.
        02 06:01 | 16.5  | 1 -> 3  | burst              | 16.5 requests in flight in a burst need 3 replicas; serving: 1, starting: 0.
        02 06:02 | 16.5  | 3       | steady             | 16.5 requests in flight need 3 replicas; there: 3.
        02 06:31 | 16.5  | 3 -> 1  | budget_burn        | Budget 'chat hour' pays for at most 1 replica now.
        02 06:32 | 16.5  | 1       | steady+budget_burn | 16.5 requests in flight need 3 replicas; there: 1. Budget 'chat hour' pays for
                 |       |         | steady+budget_burn | To be expected: a peak of … replicas' worth …; there: 1. Budget 'chat hour'
        02 07:01 | 16.5  | 1 -> 3  | traffic_up         | replicas busy, more than was foreseen; serving: 1
                 |       |         | steady             |
        02 07:16
        """,
        as_log(house),
    )
    assert (await house.cloud.get("endpoint-chat")).bounds == Bounds(3, 3)
    await house.kill()


async def test_what_is_expendable_stops_first_and_the_other_goes_on(tmp_path: Path) -> None:
    tree = {
        "endpoints": {"chat": endpoint(), "batch": endpoint(id="endpoint-batch", budget={"expendable": True})},
        "budget": {"per_day_dollars": 50},
    }
    house = await build(tmp_path, "2026-07-02T00:00", tree, {"chat": 6.0, "batch": 6.0}, tick=60.0)
    house.load |= {"chat": 4.0, "batch": 4.0}
    stopped: dict[str, float] = {}
    for _ in range(7 * 60):
        await house.tick()
        for key in house.load:
            if (await house.cloud.get(f"endpoint-{key}")).state is EndpointState.STOPPED:
                stopped.setdefault(key, sum(house.spent().values()))
    assert 47.5 <= stopped["batch"] < 48
    assert 49 < stopped["chat"] <= 50 + 1e-6
    await house.kill()


async def test_the_statement_by_the_day_and_by_the_hour(tmp_path: Path) -> None:
    tree = {"endpoints": {"chat": endpoint()}, "calendar": {"timezone": "Europe/Berlin"}, "store": {"path": str(tmp_path / "scaler.db")}}
    house = await build(tmp_path, "2026-07-05T12:00", tree, {"chat": 6.0}, tick=600.0)
    house.load["chat"] = 4.0
    for _ in range(36 * 6):
        await house.tick()
    entries = read_entries(tmp_path / "scaler.db", int(moment("2026-07-05T00:00") // 900))
    days = roll_up(entries, "Europe/Berlin", hourly=False)
    assert [(line.when, line.endpoint, round(line.dollars, 2)) for line in days] == [
        ("2026-07-05", "chat", 60.0),
        ("2026-07-06", "chat", 144.0),
        ("2026-07-07", "chat", 12.0),
    ]
    hours = roll_up(entries, "Europe/Berlin", hourly=True)
    assert len(hours) == 36
    assert hours[0].when == "2026-07-05 14:00 +0200"
    assert {round(line.dollars, 2) for line in hours} == {6.0}
    assert statement(house.settings, 1, hourly=False) == [], "that was long ago"
    await house.kill()
