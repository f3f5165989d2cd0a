"""What is charged: our own clock times our own prices, over restarts, price changes and days of every length."""

import pytest

from scaler.clock import VirtualClock
from scaler.ledger import QUARTER, quarters
from scaler.model import Action, ActionKind, Bounds, Endpoint, EndpointState, Outcome, OutcomeStatus
from scaler.policy.fleet import Fleet
from tests.ledger.conftest import Opening, moment, running


async def test_two_replicas_for_an_hour_and_a_half(opening: Opening) -> None:
    office = await opening()
    office.price(6.0)
    await office.pass_time(90, {"chat": 2})
    assert office.spent() == pytest.approx(2 * 1.5 * 6)
    assert office.ledger.spending()["chat"].hourly == 12
    entries = [entry for _, entry in await office.store.entries(0)]
    assert [entry.quarter * QUARTER for entry in entries] == [moment("2026-07-06T12:00") + quarter * 900 for quarter in range(6)]
    assert sum(entry.replica_seconds for entry in entries) == pytest.approx(3 * 3600)


async def test_a_new_price_counts_from_its_moment_on(opening: Opening) -> None:
    office = await opening()
    office.price(6.0)
    await office.pass_time(10, {"chat": 1})
    office.clock.advance(5)
    office.price(12.0)
    office.clock.advance(5)
    office.ledger.accrue("chat")
    assert office.spent() == pytest.approx(1.0 + 6 * 5 / 3600 + 12 * 5 / 3600)


async def test_what_ran_before_there_was_a_price_is_charged_when_there_is_one_also_after_a_restart(opening: Opening) -> None:
    office = await opening()
    await office.pass_time(30, {"chat": 2})
    assert office.spent() == 0
    await office.restart()
    office.price(6.0)
    assert office.spent() == pytest.approx(6.0)
    await office.ledger.save("chat")
    await office.restart()
    assert office.spent() == pytest.approx(6.0)


async def test_the_time_while_the_daemon_is_down_is_charged_by_what_ran_last(opening: Opening) -> None:
    office = await opening()
    office.price(6.0)
    await office.pass_time(10, {"chat": 3})
    await office.restart(minutes=50)
    assert office.spent() == pytest.approx(18.0)
    await office.restart(minutes=0)
    assert office.spent() == pytest.approx(18.0)


async def test_a_start_that_was_sent_and_never_seen_is_charged_while_the_daemon_is_down(opening: Opening) -> None:
    office = await opening()
    office.price(6.0)
    await office.pass_time(10, {"chat": 1})
    await office.store.add_intent(office.clock.now(), "chat", Action(ActionKind.UPDATE, "e", Bounds(4, 4), 60), "more", Bounds(1, 1))
    refused = await office.store.add_intent(
        office.clock.now(), "chat", Action(ActionKind.UPDATE, "e", Bounds(8, 8), 60), "more", Bounds(1, 1)
    )
    await office.store.add_outcome(Outcome(refused.id, office.clock.now(), OutcomeStatus.REFUSED, "no"))
    await office.restart(minutes=30)
    assert office.spent() == pytest.approx(1.0 + 4 * 0.5 * 6)
    office.look({"chat": 1})
    office.clock.advance(600)
    office.ledger.accrue("chat")
    assert office.spent() == pytest.approx(1.0 + 12.0 + 1.0)


async def test_an_unknown_endpoint_goes_on_being_charged_and_a_stopped_one_is_not(opening: Opening) -> None:
    office = await opening()
    office.price(6.0)
    office.look({"chat": 2})
    office.clock.advance(1800)
    for state in (EndpointState.UNKNOWN, EndpointState.STOPPING):
        office.ledger.observe("chat", Endpoint("e", "n", "m", "h", state, Bounds(2, 2)), Fleet())
    office.clock.advance(1800)
    office.ledger.accrue("chat")
    assert office.spent() == pytest.approx(12.0)
    office.look({"chat": 0})
    office.clock.advance(1800)
    office.ledger.accrue("chat")
    assert office.spent() == pytest.approx(12.0)


@pytest.mark.parametrize(("rule", "dollars"), [("start", 3 * 6.0), ("ready", 6.0)])
async def test_cold_starts_are_charged_by_the_providers_rule(opening: Opening, rule: str, dollars: float) -> None:
    office = await opening(budget={"billed_from": rule})
    office.price(6.0)
    office.ledger.observe("chat", running(3), Fleet(1, (office.clock.now() + 7200.0,) * 2))
    office.clock.advance(3600)
    office.ledger.accrue("chat")
    assert office.spent() == pytest.approx(dollars)


async def test_where_nobody_tells_how_many_run_between_the_bounds_it_is_the_upper_one(opening: Opening) -> None:
    office = await opening()
    office.price(6.0)
    office.ledger.observe("chat", Endpoint("e", "n", "m", "h", EndpointState.STARTED, Bounds(1, 4)), Fleet(1))
    office.clock.advance(3600)
    office.ledger.accrue("chat")
    assert office.spent() == pytest.approx(24.0)


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-07-06", 24)])
async def test_days_of_23_and_25_hours_begin_and_end_by_the_local_clock(opening: Opening, day: str, hours: int) -> None:
    office = await opening(f"{day}T00:00", "Europe/Berlin")
    office.price(6.0)
    office.look({"chat": 1})
    for _ in range(hours * 4):
        assert office.spent("day") == pytest.approx((office.clock.now() - moment(f"{day}T00:00", "Europe/Berlin")) / 600)
        office.clock.advance(900)
        office.ledger.accrue("chat")
    assert office.spent("day") == 0
    assert office.spent("month") == pytest.approx(hours * 6)


async def test_a_day_that_begins_at_a_quarter_past_in_utc(opening: Opening) -> None:
    office = await opening("2026-07-06T23:30", "Asia/Kathmandu")
    office.price(6.0)
    await office.pass_time(60, {"chat": 1})
    assert office.spent("day") == pytest.approx(3.0)
    await office.restart()
    assert office.spent("day") == pytest.approx(3.0)


class JumpingClock(VirtualClock):
    """A wall clock that somebody sets; the monotonic one is not his to set."""

    offset = 0.0

    def now(self) -> float:
        return super().now() + self.offset


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 86_400.0, -86_400.0])
async def test_a_wall_clock_that_jumps_charges_nothing_twice_and_nothing_negative(opening: Opening, jump: float) -> None:
    office = await opening()
    clock = JumpingClock(office.clock.now())
    office.clock = clock
    await office.restart()
    office.price(6.0)
    await office.pass_time(30, {"chat": 1})
    clock.offset = jump
    await office.pass_time(30, {"chat": 1})
    clock.offset = 0.0
    await office.pass_time(30, {"chat": 1})
    assert office.ledger.spending()["chat"].total == pytest.approx(9.0)
    assert office.spent("month") == pytest.approx(9.0)
    assert all(entry.dollars >= 0 for _, entry in await office.store.entries(0))


async def test_a_restart_with_the_clock_set_back_charges_nothing_negative(opening: Opening) -> None:
    office = await opening()
    office.price(6.0)
    await office.pass_time(60, {"chat": 1})
    office.clock = VirtualClock(office.clock.now() - 1800)
    await office.restart()
    assert office.spent() == pytest.approx(6.0)


async def test_a_price_of_the_configurations_own_wins(opening: Opening) -> None:
    office = await opening(endpoints={"chat": {"id": "e", "budget": {"price_dollars_per_hour": 3.0}}})
    office.price(6.0)
    assert office.ledger.price("chat") == 3.0


async def test_pruning_takes_what_is_old_and_nothing_that_counts(opening: Opening) -> None:
    office = await opening()
    office.price(6.0)
    await office.pass_time(60, {"chat": 1})
    office.look({"chat": 0})
    office.clock.advance(401 * 86_400)
    await office.pass_time(60, {"chat": 1})
    await office.ledger.prune()
    assert sum(entry.dollars for _, entry in await office.store.entries(0)) == pytest.approx(6.0)
    assert office.spent() == pytest.approx(6.0)


def test_quarters_of_an_hour() -> None:
    assert list(quarters(890.0, 1810.0)) == [(0, 10.0), (1, 900.0), (2, 10.0)]
    assert list(quarters(900.0, 900.0)) == []
    assert sum(seconds for _, seconds in quarters(123.4, 98_765.4)) == pytest.approx(98_642.0)
