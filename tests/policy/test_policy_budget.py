"""What a budget lets an endpoint do, and what becomes of the decision."""

from dataclasses import replace

import pytest

from scaler.model import Allowance, Bounds, Decision, EndpointState, Known, Power, ReasonCode, Stage, Window, WindowKind
from scaler.policy import Situation, decide
from scaler.policy.budget import Burn, Purse, Share, affordable, allowance, refusal, stage_of
from scaler.policy.forecast import Forecast
from scaler.policy.outlook import Outlook
from scaler.settings import BudgetSettings, EndpointBudgetSettings, EndpointSettings, IdleSettings
from tests.policy.story import Story

SETTINGS = BudgetSettings()
CHAT = Share("chat", 6.0, 1, 1, 8)


def purse(dollars: float, spent: float, hours: float, *shares: Share) -> Purse:
    return Purse("chat month", dollars, spent, hours, shares or (replace(CHAT, kept=False),))


def codes(decision: Decision) -> set[ReasonCode]:
    return {reason.code for reason in decision.reasons}


@pytest.mark.parametrize(
    ("spent", "stage"),
    [
        (0, Stage.OPEN),
        (799, Stage.OPEN),
        (800, Stage.NO_PREWARM),
        (850, Stage.LOWER_MAX),
        (900, Stage.SLOW_UP),
        (950, Stage.STOP_EXPENDABLE),
        (999.89, Stage.STOP_EXPENDABLE),
        (999.91, Stage.EXHAUSTED),  # a minute of one replica costs ten cents
        (1001, Stage.EXHAUSTED),
    ],
)
def test_the_stages_follow_each_other(spent: float, stage: Stage) -> None:
    assert stage_of(purse(1000, spent, 200), "chat", SETTINGS) is stage


def test_a_budget_that_pays_for_every_maximum_until_the_end_restricts_nothing() -> None:
    assert stage_of(purse(1000, 950, 1), "chat", SETTINGS) is Stage.OPEN


def test_floors_that_are_never_given_up_are_set_aside_and_never_cut() -> None:
    kept = purse(1000, 400, 100, CHAT)  # the floor needs 600 until the end
    assert (kept.set_aside, kept.left) == (600, 0)
    assert stage_of(kept, "chat", SETTINGS) is Stage.STOP_EXPENDABLE
    assert stage_of(replace(kept, shares=(replace(CHAT, replicas=2),)), "chat", SETTINGS) is Stage.EXHAUSTED
    assert stage_of(replace(kept, spent=401), "chat", SETTINGS) is Stage.EXHAUSTED, "said from the first moment on"


def test_the_maximum_is_what_lasts_until_the_end_shared_fairly() -> None:
    assert affordable(purse(1000, 880, 10), "chat") == 2
    assert affordable(purse(1000, 880, 2), "chat") == 8
    assert affordable(purse(1000, 990, 10), "chat") == 1
    two = (replace(CHAT, kept=False), Share("code", 12.0, 1, 1, 4, kept=False))
    both = purse(1000, 640, 10, *two)  # $36 an hour: 18 for the floors, a quarter of the $72 above them
    assert (affordable(both, "chat"), affordable(both, "code")) == (2, 1)


def test_only_what_is_expendable_stops_early_and_only_what_may_stop_stops_at_the_cap() -> None:
    expendable, other = replace(CHAT, key="batch", kept=False, expendable=True), replace(CHAT, kept=False)
    tight = purse(1000, 960, 200, expendable, other)
    assert allowance("batch", [tight], [], SETTINGS).stop
    assert not allowance("chat", [tight], [], SETTINGS).stop
    used_up = purse(1000, 1000, 200, replace(CHAT, kept=False))
    assert allowance("chat", [used_up], [], SETTINGS).stop
    kept = allowance("chat", [purse(1000, 1000, 200, CHAT)], [], SETTINGS)
    assert (kept.stop, kept.ceiling, kept.stage) == (False, 1, Stage.EXHAUSTED)


def test_asleep_it_stays_so_if_no_minimum_run_can_be_paid_for() -> None:
    asleep = replace(CHAT, replicas=0, kept=False)
    assert allowance("chat", [purse(1000, 999.5, 200, asleep)], [], SETTINGS).stop  # ten minutes cost a dollar
    assert not allowance("chat", [purse(1000, 998.5, 200, asleep)], [], SETTINGS).stop


@pytest.mark.parametrize(
    ("share", "replicas", "spent", "granted"),
    [
        (replace(CHAT, kept=False), 2, 998.9, True),
        (replace(CHAT, kept=False), 2, 999.1, False),
        (replace(CHAT, kept=False), 3, 998.9, False),
        (replace(CHAT, kept=False, held=0.5), 2, 998.6, False),
        (replace(CHAT, kept=False, replicas=3), 2, 2000, True),  # fewer are always granted
        (replace(CHAT, kept=False, replicas=0), 1, 998.9, True),
        (replace(CHAT, kept=False, replicas=0), 1, 999.1, False),
        (replace(CHAT, replicas=0), 1, 998.9, True),  # a floor that is set aside needs no more than a minimum run
        (replace(CHAT, replicas=0), 1, 999.1, False),
        (replace(CHAT, replicas=0), 2, 0, False),  # nothing is left beside what is set aside
        (replace(CHAT, kept=False, price=None), 2, 0, False),
    ],
)
def test_a_start_is_granted_if_a_minimum_run_can_be_paid_for(share: Share, replicas: int, spent: float, granted: bool) -> None:  # noqa: FBT001 (a row)
    why = refusal("chat", replicas, [purse(1000, spent, 200, share)], [], SETTINGS)
    assert (why is None) is granted, why


def test_the_burn_rate_of_all_together() -> None:
    burn = Burn("total hour", 30.0, (replace(CHAT, replicas=2), Share("code", 6.0, 2, 1, 8)))
    assert refusal("chat", 3, [], [burn], SETTINGS) is None
    assert refusal("chat", 4, [], [burn], SETTINGS) == "total hour: $36.00 an hour, $30.00 are allowed"
    allowed = allowance("chat", [], [burn], SETTINGS)
    assert (allowed.ceiling, allowed.ceiling_by, allowed.stage) == (3, "total hour", Stage.OPEN)
    dear = replace(burn, shares=(replace(CHAT, replicas=2, price=60.0), burn.shares[1]))
    assert allowance("chat", [], [dear], SETTINGS).ceiling == 1, "never below the floor"
    unknown = replace(burn, shares=(replace(CHAT, price=None), burn.shares[1]))
    assert "price" in str(refusal("chat", 2, [], [unknown], SETTINGS))


def tight(story: Story, stage: Stage, *, ceiling: int | None = None, stop: bool = False) -> None:
    story.allowance = lambda _at: Allowance(stage, "chat month", 900.0, 1000.0, ceiling, "chat month" if ceiling else "", stop)


def test_no_prewarm_a_window_is_not_started_before_it_begins(story: Story) -> None:
    window = Window(WindowKind.SCHEDULE, "office", story.now + 600, story.now + 7200, floor=3)
    story.windows = lambda at: (window,) if at < window.ends else ()
    tight(story, Stage.NO_PREWARM)
    before = [story.tick(1.0) for _ in range(58)]
    assert {decision.bounds for decision in before} == {Bounds(1, 1)}
    assert all(ReasonCode.BUDGET_NO_PREWARM in codes(decision) for decision in before)
    assert "$900.00 of $1000.00 are spent; nothing is started ahead of need." in before[-1].sentence
    assert story.minutes(1, 1.0)[-1].bounds == Bounds(3, 3)


def test_a_lower_maximum_wins_over_traffic_and_over_floors_and_says_so(story: Story) -> None:
    story.minutes(10, 2.0)
    window = Window(WindowKind.OVERRIDE, "", story.now, story.now + 7200, floor=5)
    story.windows = lambda _at: (window,)
    tight(story, Stage.LOWER_MAX, ceiling=3)
    decision = story.minutes(2, 60.0)[-1]
    assert decision.bounds == Bounds(3, 3)
    assert {ReasonCode.BUDGET_LOWER_MAX, ReasonCode.CEILING, ReasonCode.CLAMPED} <= codes(decision)
    assert "Override asks for 5, budget 'chat month' pays for 3." in decision.sentence
    assert decision.bound_by == "budget 'chat month'"


def test_slower_up_is_one_replica_at_a_time_and_the_next_when_it_serves(story: Story) -> None:
    story.minutes(10, 2.0)
    tight(story, Stage.SLOW_UP, ceiling=8)
    story.minutes(4, 60.0)
    assert story.replicas == 2
    story.minutes(6, 60.0)
    assert story.replicas == 3
    assert ReasonCode.BUDGET_SLOW_UP in codes(story.decisions[-1])


def allow_stop(story: Story) -> None:
    story.settings = story.settings.model_copy(update={"idle": IdleSettings(allow_stop=True)})


def test_what_has_to_stop_stops_whatever_the_traffic_even_if_nobody_knows_it_and_stays_so(story: Story) -> None:
    allow_stop(story)
    story.minutes(10, 30.0)
    tight(story, Stage.EXHAUSTED, stop=True)
    decision = story.tick(None)
    assert (decision.power, decision.hold) == (Power.STOP, False)
    assert ReasonCode.BUDGET_EXHAUSTED in codes(decision)
    assert story.endpoint.state is EndpointState.STOPPED
    waiting = story.minutes(5, 3.0)
    assert all(decision.hold and ReasonCode.BUDGET_EXHAUSTED in codes(decision) for decision in waiting)
    tight(story, Stage.OPEN)
    assert story.tick(3.0).power is Power.RUN, "a new month"


def test_used_up_means_back_to_the_floor_at_once(story: Story) -> None:
    story.minutes(10, 40.0)
    assert story.replicas == 8
    tight(story, Stage.EXHAUSTED, ceiling=1)
    decision = story.tick(40.0)
    assert (decision.bounds, decision.hold) == (Bounds(1, 1), False)
    assert ReasonCode.BUDGET_EXHAUSTED in codes(decision)
    assert story.minutes(5, 40.0)[-1].bounds == Bounds(1, 1)


def test_an_open_budget_changes_nothing(story: Story) -> None:
    tight(story, Stage.OPEN)
    story.minutes(10, 12.0)
    other = Story(story.settings, replace(story.endpoint, bounds=Bounds(1, 1)))
    other.minutes(10, 12.0)
    assert story.decisions == other.decisions


def test_a_burn_rate_is_named(story: Story) -> None:
    story.minutes(10, 2.0)
    story.allowance = lambda _at: Allowance(ceiling=2, ceiling_by="total hour")
    decision = story.minutes(1, 60.0)[-1]
    assert decision.bounds == Bounds(2, 2)
    assert "Budget 'total hour' pays for at most 2 replicas now." in decision.sentence
    assert ReasonCode.BUDGET_BURN in codes(decision)


@pytest.mark.parametrize("budget", [EndpointBudgetSettings(expendable=True), EndpointBudgetSettings(at_cap="stop")])
def test_stopping_for_a_budget_needs_leave_to_stop(budget: EndpointBudgetSettings) -> None:
    with pytest.raises(ValueError, match=r"budget: expected idle\.allow_stop: true beside"):
        EndpointSettings(id="e", budget=budget)
    allowed = EndpointSettings(id="e", budget=budget, idle=IdleSettings(allow_stop=True))
    assert not allowed.kept_at_cap
    assert EndpointSettings(id="e").kept_at_cap


def test_stages_come_in_order() -> None:
    with pytest.raises(ValueError, match="expected no_prewarm_at <= lower_max_at"):
        BudgetSettings(no_prewarm_at=0.9, lower_max_at=0.8)


def test_a_tight_budget_starts_nothing_for_a_forecast_and_still_follows_the_traffic(story: Story) -> None:
    story.minutes(15, 2.0)
    history, state = story.memory.history, story.memory.state
    outlook = Outlook(forecast=Forecast(up=4.0, down=4.0, model="m"))

    def ask(allowed: Allowance | None) -> Decision:
        known = Known(story.endpoint, "story", story.now)
        situation = Situation("chat", known, history, story.settings, story.now, story.now, allowance=allowed, outlook=outlook)
        return decide(situation, state)[0]

    ahead = ask(Allowance())
    assert ahead.bounds.min_replicas > 1
    assert ReasonCode.FORECAST in codes(ahead)
    tight = ask(Allowance(Stage.NO_PREWARM, "chat month", 800.0, 1000.0))
    assert tight.bounds == Bounds(1, 1)
    assert ReasonCode.BUDGET_NO_PREWARM in codes(tight)
