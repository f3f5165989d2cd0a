"""Budgets by the dollar: what is charged, what lasts, what is refused and in which words. A replica of chat costs six dollars an hour."""

from dataclasses import replace

import pytest

from scaler.model import Allowance, Bounds, Endpoint, EndpointState, Stage
from scaler.policy.budget import Burn, Purse, Share, affordable, allowance, billed, free_of_floor, refusal, room, stage_of
from scaler.policy.fleet import Fleet
from scaler.settings import BudgetSettings

SETTINGS = BudgetSettings()  # a start runs ten minutes at least
CHAT = Share("chat", 6.0, 1, 1, 8, kept=False)
CODE = Share("code", 12.0, 1, 1, 4, kept=False)
HELD = Share("held", None, 2, 1, 4, kept=False)
"""An endpoint whose price nobody knows."""


def purse(spent: float, *shares: Share, dollars: float = 1000.0, hours: float = 200.0, name: str = "chat month") -> Purse:
    return Purse(name, dollars, spent, hours, shares or (CHAT,))


@pytest.mark.parametrize(
    ("state", "ready", "rule", "replicas"),
    [
        (EndpointState.STOPPED, None, "ready", 0),
        (EndpointState.ERROR, None, "start", 0),
        (EndpointState.STOPPING, None, "start", None),
        (EndpointState.UNKNOWN, None, "start", None),
        (EndpointState.STARTED, 2, "ready", 2),
        (EndpointState.STARTED, 2, "start", 3),
        (EndpointState.STARTED, None, "ready", 4),  # nobody tells how many run between the bounds
        (EndpointState.STARTED, None, "start", 5),
        (EndpointState.STARTING, None, "start", 5),
        (EndpointState.PENDING, None, "start", 5),
    ],
)
def test_replicas_are_charged_for_as_the_provider_does(state: EndpointState, ready: int | None, rule: str, replicas: int | None) -> None:
    endpoint = Endpoint("e", "n", "m", "gpu", state, Bounds(3, 5), ready_replicas=ready)
    assert billed(endpoint, Fleet(2, (9.0,), 4), rule) == replicas


def test_what_is_set_aside_and_held_is_not_left() -> None:
    kept = replace(CHAT, kept=True, floor=2, held=3.0)
    both = purse(100, kept, replace(CODE, held=4.0), HELD, hours=10)
    assert (both.set_aside, both.held, both.left) == (120, 7, 773)
    assert both.used == pytest.approx(100 / 880)
    assert purse(500, kept, dollars=120, hours=10).used == pytest.approx(500 / 120)
    assert purse(5, kept, dollars=120, hours=10).used == 1.0


def test_only_known_prices_can_be_covered_until_the_end() -> None:
    assert purse(900, hours=2).covers_all
    assert purse(904, hours=2).covers_all
    assert not purse(905, hours=2).covers_all
    assert not purse(0, CHAT, HELD, hours=2).covers_all


def test_used_up_is_said_a_minute_before_what_can_be_taken_away_has_spent_it() -> None:
    busy = replace(CHAT, replicas=3)  # thirty cents a minute
    assert stage_of(purse(999.7, busy), "chat", SETTINGS) is Stage.STOP_EXPENDABLE
    assert stage_of(purse(999.71, busy), "chat", SETTINGS) is Stage.EXHAUSTED
    assert stage_of(purse(999.8, replace(busy, kept=True), hours=0), "chat", SETTINGS) is Stage.OPEN
    assert stage_of(purse(999.97, busy, hours=0.001), "chat", SETTINGS) is Stage.STOP_EXPENDABLE, "the period ends before"
    assert stage_of(purse(999.9, HELD), "held", SETTINGS) is Stage.STOP_EXPENDABLE
    assert stage_of(purse(999.9, replace(HELD, replicas=0)), "held", SETTINGS) is Stage.STOP_EXPENDABLE


def test_what_lasts_is_shared_by_all_between_floor_and_ceiling() -> None:
    assert affordable(purse(0, hours=0), "chat") == 8
    assert affordable(purse(991, hours=0.5), "chat") == 3
    assert affordable(purse(0, replace(CHAT, floor=8)), "chat") == 8, "there is nothing between"
    assert affordable(purse(0, HELD), "held") == 4
    beside = purse(640, CHAT, HELD, hours=10)  # the price that nobody knows takes no part
    assert affordable(beside, "chat") == affordable(purse(640, CHAT, hours=10), "chat") == 6
    assert affordable(purse(990, replace(CHAT, floor=2, ceiling=3)), "chat") == 2


def test_the_tightest_budget_and_the_lowest_ceiling_are_named() -> None:
    day = purse(86, name="chat day", dollars=100, hours=10)
    month = purse(890, name="chat month", hours=100)
    other = purse(960, CODE, replace(CHAT, replicas=2), name="total month")
    assert allowance("chat", [day, month], [], SETTINGS) == Allowance(Stage.LOWER_MAX, "chat month", 890, 1000, 1, "chat day", hours=100)
    assert allowance("chat", [month, day], [], SETTINGS).by == "chat month"
    ending = purse(86, name="chat day", dollars=100, hours=0.5)  # pays for four until midnight
    assert allowance("chat", [ending, month], [], SETTINGS).ceiling_by == "chat month"
    tight = allowance("chat", [day, month, other], [], SETTINGS)
    assert (tight.stage, tight.by, tight.spent, tight.cap) == (Stage.STOP_EXPENDABLE, "total month", 960, 1000)
    burn = Burn("total hour", 18.0, (replace(CHAT, replicas=1), CODE))
    roomy = purse(0, name="chat month")
    assert allowance("chat", [roomy], [burn], SETTINGS) == Allowance(ceiling=1, ceiling_by="total hour")
    early = purse(810, name="chat month", hours=100)
    assert allowance("chat", [early], [burn], SETTINGS) == Allowance(Stage.NO_PREWARM, "chat month", 810, 1000, 1, "total hour", hours=100)
    assert allowance("chat", [early], [], SETTINGS) == Allowance(Stage.NO_PREWARM, "chat month", 810, 1000, hours=100)
    kept = allowance("chat", [purse(0, replace(CHAT, kept=True), dollars=500, hours=100)], [], SETTINGS)
    assert (kept.stage, kept.set_aside, kept.hours) == (Stage.EXHAUSTED, 600, 100), "nothing is spent, and it is not enough"
    assert allowance("chat", [roomy], [], SETTINGS) == Allowance()
    assert allowance("chat", [], [], SETTINGS) == Allowance()


@pytest.mark.parametrize(
    ("spent", "ceiling"),
    [(849, None), (850, 2), (999.95, 1)],
)
def test_the_ceiling_follows_the_stage(spent: float, ceiling: int | None) -> None:
    assert allowance("chat", [purse(spent, replace(CHAT, ceiling=16), hours=10)], [], SETTINGS).ceiling == ceiling


def test_room_is_what_the_others_leave() -> None:
    burn = Burn("total hour", 36.0, (replace(CHAT, replicas=2), CODE))
    assert (room(burn, "chat"), room(burn, "code")) == (4, 2)
    assert room(replace(burn, shares=(HELD,)), "held") is None


def test_refusals_are_sentences_with_dollars() -> None:
    floor = replace(CHAT, kept=True, replicas=0)
    assert refusal("chat", 1, [purse(999.1, floor)], [], SETTINGS) == (
        "chat month: $999.10 of $1000.00 are spent; the rest does not pay for a start"
    )
    assert refusal("chat", 1, [purse(998, replace(floor, held=1.5))], [], SETTINGS) is not None
    assert refusal("chat", 1, [purse(999, floor)], [], SETTINGS) is None, "to the cent"
    held = replace(CHAT, held=0.25)
    assert refusal("chat", 3, [purse(998.5, held, replace(CODE, kept=True), hours=0.01)], [], SETTINGS) == (
        "chat month: 2 more for 10 min cost $2.00, free are $1.13 ($998.50 of $1000.00 spent, $0.25 reserved, $0.12 set aside for floors)"
    )
    assert str(refusal("chat", 2, [purse(1001)], [], SETTINGS)).startswith("chat month: 1 more for 10 min cost $1.00, free are $0.00 (")
    assert refusal("chat", 2, [purse(999)], [], SETTINGS) is None, "to the cent"
    assert refusal("chat", 1, [purse(2000)], [], SETTINGS) is None, "as many as run are granted"
    assert refusal("held", 3, [purse(0, HELD)], [], SETTINGS) == "the price of a replica is not known; chat month has a budget"


def test_a_floor_that_may_be_given_up_has_no_claim_of_its_own() -> None:
    asleep = replace(CHAT, replicas=0, floor=2)
    assert refusal("chat", 2, [purse(997.9, asleep)], [], SETTINGS) is None
    assert str(refusal("chat", 2, [purse(998.1, asleep)], [], SETTINGS)).startswith("chat month: 2 more for 10 min")


def test_burn_rates_count_what_all_would_cost() -> None:
    burn = Burn("total hour", 24.0, (CHAT, CODE))
    assert refusal("chat", 2, [], [burn], SETTINGS) is None, "just as much as is allowed"
    assert refusal("chat", 3, [], [burn], SETTINGS) == "total hour: $30.00 an hour, $24.00 are allowed"
    assert refusal("chat", 1, [], [replace(burn, dollars_per_hour=1.0)], SETTINGS) is None, "as many as run are granted"
    assert refusal("held", 3, [], [Burn("total hour", 1.0, (HELD,))], SETTINGS) == (
        "the price of a replica is not known; total hour has a budget"
    )


def test_what_is_set_aside_pays_for_a_floor_and_for_no_more() -> None:
    assert [free_of_floor(replace(CHAT, kept=True, floor=2, replicas=0), replicas) for replicas in (1, 2, 4)] == [0, 0, 2]
    assert [free_of_floor(replace(CHAT, floor=2, replicas=1), replicas) for replicas in (1, 2, 4)] == [0, 1, 3]
