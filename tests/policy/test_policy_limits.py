"""Bounds of a moment: the endpoint's own, the calendar's, the budget's. Two to eight replicas may be; a start takes 300 s."""

from dataclasses import replace

import pytest

from scaler.model import Allowance, Alternative, Bounds, Decision, Power, Reason, ReasonCode, Stage, Window, WindowKind
from scaler.policy.calendar import Bound, Usual
from scaler.policy.fleet import Fleet
from scaler.policy.limits import MAX_AWAKE_MINUTES, Limits, afford, limit, own_limits, stage_reason
from scaler.settings import EndpointSettings, IdleSettings

SETTINGS = EndpointSettings(
    id="endpoint-1", min_replicas=2, max_replicas=8, idle=IdleSettings(allow_stop=True, inactive_timeout_minutes=60)
)
OWN = Limits(Bound(2, "min_replicas"), Bound(8, "max_replicas"))
HOUR = 3600.0
OFFICE = Window(WindowKind.SCHEDULE, "office", 10 * HOUR, 12 * HOUR, floor=4)
NIGHT = Window(WindowKind.SCHEDULE, "night", 10 * HOUR, 12 * HOUR, ceiling=3)
LAUNCH = Window(WindowKind.EVENT, "launch", 10 * HOUR, 14 * HOUR, multiplier=3.0)
ALLOWED = Allowance(Stage.SLOW_UP, "chat month", spent=90.0, cap=100.0, hours=20)


def at(hour: float, *windows: Window, usual: tuple[Usual, ...] = ()) -> Limits:
    return limit(SETTINGS, windows, usual, at=hour * HOUR, lead=300)


def test_without_windows_the_bounds_are_the_endpoints_own() -> None:
    assert own_limits(SETTINGS) == OWN
    assert at(11) == replace(OWN, awake_minutes=5)
    assert at(13, OFFICE, NIGHT) == replace(OWN, awake_minutes=5)


def test_a_floor_calls_for_replicas_until_its_window_ends_and_keeps_the_platform_from_stopping_them() -> None:
    limits = at(11, OFFICE)
    assert (limits.floor.replicas, limits.floor.by) == (4, "schedule 'office'")
    assert limits.ceiling == OWN.ceiling
    assert (limits.called_until, limits.awake_minutes) == (12 * HOUR, 125)
    assert limits.clamps == ()


def test_of_several_floors_the_highest_wins_and_the_last_to_end_is_waited_for() -> None:
    limits = at(11, replace(OFFICE, floor=3), LAUNCH, usual=(Usual("launch", 10 * HOUR, 6),))
    assert (limits.floor.replicas, limits.floor.by, limits.called_until) == (6, "event 'launch'", 14 * HOUR)
    assert limits.awake_minutes == 4 * 60 + 5
    assert at(11, LAUNCH).called_until == 14 * HOUR
    assert at(11, replace(OFFICE, floor=1)).floor == OWN.floor


def test_the_idle_timer_is_never_longer_than_providers_take() -> None:
    assert at(11, replace(OFFICE, ends=99 * HOUR)).awake_minutes == MAX_AWAKE_MINUTES


def test_a_ceiling_calls_for_nothing() -> None:
    limits = at(11, NIGHT)
    assert (limits.ceiling.replicas, limits.ceiling.by, limits.called_until) == (3, "schedule 'night'", None)
    assert at(9.95, NIGHT).ceiling == OWN.ceiling, "it does not begin early"
    assert at(11, replace(NIGHT, ceiling=9)).ceiling == OWN.ceiling


def test_max_replicas_wins_over_a_floor_and_says_so() -> None:
    limits = at(11, replace(OFFICE, floor=9))
    assert (limits.floor.replicas, limits.ceiling.replicas) == (8, 8)
    assert limits.clamps == (Reason(ReasonCode.CLAMPED, "Schedule 'office' asks for 9, max_replicas allows 8."),)
    assert at(11, replace(OFFICE, floor=8)).clamps == ()


def test_a_floor_wins_over_a_ceiling_and_says_so() -> None:
    limits = at(11, OFFICE, NIGHT)
    assert limits.floor.replicas == 4
    assert limits.ceiling == Bound(4, "schedule 'night'", Reason(ReasonCode.CEILING, "At most 4 replicas for now.", {"ceiling": 4}))
    assert limits.clamps == (Reason(ReasonCode.CLAMPED, "Schedule 'night' allows 3, but the floor of 4 (schedule 'office') wins."),)
    both = at(11, replace(OFFICE, floor=9), NIGHT)
    assert [reason.sentence for reason in both.clamps] == [
        "Schedule 'office' asks for 9, max_replicas allows 8.",
        "Schedule 'night' allows 3, but the floor of 8 (schedule 'office') wins.",
    ]
    assert at(11, replace(OFFICE, floor=3), NIGHT).clamps == ()


def test_settings_carry_the_bounds_and_do_not_stop_what_is_called_for() -> None:
    plain = replace(OWN, floor=Bound(3, "a"), ceiling=Bound(5, "b")).within(SETTINGS)
    assert (plain.min_replicas, plain.max_replicas, plain.idle) == (3, 5, SETTINGS.idle)
    called = replace(OWN, called_until=1.0, awake_minutes=125)
    assert (called.within(SETTINGS).idle.allow_stop, called.within(SETTINGS).idle.timeout_minutes) == (False, 125)
    assert replace(called, awake_minutes=30).within(SETTINGS).idle.timeout_minutes == 60
    never = SETTINGS.model_copy(update={"idle": IdleSettings(inactive_timeout_minutes=0)})
    assert called.within(never).idle.timeout_minutes == 0, "never is longer than any"


FLOOR = Reason(ReasonCode.FLOOR, "Schedule asks.")
CEILING = Reason(ReasonCode.CEILING, "Night allows.")
CLAMP = Reason(ReasonCode.CLAMPED, "Cut off.")
BOUNDED = Reason(ReasonCode.BOUNDED, "max_replicas allows 6 of them now.", {"allowed": 6})
LIFTED = Reason(ReasonCode.BOUNDED, "min_replicas asks for at least 3 replicas.", {"floor": 3})
STEADY = Reason(ReasonCode.STEADY, "Steady.")
NARROW = Limits(Bound(3, "schedule 'a'", FLOOR), Bound(6, "schedule 'b'", CEILING))


def decided(*reasons: Reason, power: Power = Power.KEEP, lost: str = "", bound_by: str | None = None) -> Decision:
    others = (Alternative(9, "something else"), Alternative(8, lost))
    return Decision("chat", 0.0, Bounds(3, 3), 60, power, False, reasons, others, bound_by)


def told(limits: Limits, needed: int, running: int, decision: Decision | None = None) -> list[ReasonCode]:
    return [reason.code for reason in limits.explain(decision or decided(STEADY), needed, running).reasons]


def test_a_floor_is_named_where_it_lifts_and_a_ceiling_where_it_lowers() -> None:
    assert told(NARROW, 3, 3) == [ReasonCode.STEADY]
    assert told(NARROW, 2, 3) == [ReasonCode.STEADY, ReasonCode.FLOOR]
    assert told(NARROW, 6, 6) == [ReasonCode.STEADY]
    assert told(NARROW, 7, 3) == [ReasonCode.STEADY, ReasonCode.CEILING]
    assert told(NARROW, 3, 7) == [ReasonCode.STEADY, ReasonCode.CEILING], "more runs than it allows"
    assert told(NARROW, 0, 0, decided(STEADY, power=Power.STOP)) == [ReasonCode.STEADY]
    assert told(OWN, 0, 99) == [ReasonCode.STEADY], "the endpoint's own bounds have no reason to give"


def test_what_was_cut_off_is_said_in_every_case_and_last() -> None:
    assert told(replace(NARROW, clamps=(CLAMP,)), 2, 7) == [ReasonCode.STEADY, ReasonCode.FLOOR, ReasonCode.CEILING, ReasonCode.CLAMPED]
    assert told(replace(NARROW, clamps=(CLAMP,)), 3, 3) == [ReasonCode.STEADY, ReasonCode.CLAMPED]


def test_nothing_is_said_twice_and_a_bounds_own_reason_takes_the_place_of_the_general_one() -> None:
    assert told(NARROW, 7, 3, decided(STEADY, BOUNDED)) == [ReasonCode.STEADY, ReasonCode.CEILING]
    assert told(NARROW, 3, 3, decided(STEADY, BOUNDED)) == [ReasonCode.STEADY, ReasonCode.BOUNDED]
    assert told(NARROW, 2, 3, decided(STEADY, LIFTED)) == [ReasonCode.STEADY, ReasonCode.FLOOR]
    assert told(NARROW, 3, 3, decided(STEADY, LIFTED)) == [ReasonCode.STEADY, ReasonCode.BOUNDED]
    assert told(NARROW, 2, 3, decided(STEADY, BOUNDED)) == [ReasonCode.STEADY, ReasonCode.BOUNDED, ReasonCode.FLOOR]
    assert told(NARROW, 2, 7, decided(BOUNDED, LIFTED)) == [ReasonCode.FLOOR, ReasonCode.CEILING]
    assert told(NARROW, 2, 3, decided(FLOOR)) == [ReasonCode.FLOOR]


@pytest.mark.parametrize(
    ("name", "by"), [("min_replicas", "schedule 'a'"), ("max_replicas", "schedule 'b'"), ("max_step_up", "max_step_up")]
)
def test_what_binds_is_called_by_its_name(name: str, by: str) -> None:
    explained = NARROW.explain(decided(STEADY, lost=f"limited by {name}", bound_by=name), 3, 3)
    assert explained.bound_by == by
    assert explained.alternatives == (Alternative(9, "something else"), Alternative(8, f"limited by {by}"))
    assert NARROW.explain(decided(STEADY), 3, 3).bound_by is None


def test_an_open_budget_narrows_nothing() -> None:
    assert afford(OWN, Allowance(), Fleet(4), SETTINGS) == OWN


def test_a_stage_is_said_even_where_it_changes_no_bound() -> None:
    tight = replace(ALLOWED, stage=Stage.NO_PREWARM)
    limits = afford(replace(OWN, clamps=(CLAMP,)), tight, Fleet(4), SETTINGS)
    assert limits == replace(OWN, clamps=(CLAMP, stage_reason(tight)))


def test_what_is_paid_for_is_the_ceiling_and_named_after_its_budget() -> None:
    limits = afford(OWN, Allowance(ceiling=3, ceiling_by="total hour"), Fleet(4), SETTINGS)
    reason = Reason(ReasonCode.BUDGET_BURN, "Budget 'total hour' pays for at most 3 replicas now.", {"ceiling": 3})
    assert limits == replace(OWN, ceiling=Bound(3, "budget 'total hour'", reason))
    assert afford(OWN, Allowance(ceiling=8, ceiling_by="total hour"), Fleet(4), SETTINGS) == OWN
    assert afford(OWN, Allowance(ceiling=1, ceiling_by="total hour"), Fleet(4), SETTINGS).ceiling.replicas == 2, "min_replicas is kept"


def test_slower_up_is_one_more_than_runs_and_none_while_one_starts() -> None:
    slow = afford(OWN, ALLOWED, Fleet(4), SETTINGS)
    reason = Reason(ReasonCode.CEILING, "Budget 'chat month' pays for at most 5 replicas now.", {"ceiling": 5})
    assert (slow.ceiling, slow.clamps) == (Bound(5, "budget 'chat month'", reason), (stage_reason(ALLOWED),))
    assert afford(OWN, ALLOWED, Fleet(4, (9.0,)), SETTINGS).ceiling.replicas == 5
    assert afford(OWN, replace(ALLOWED, stage=Stage.LOWER_MAX), Fleet(4), SETTINGS).ceiling == OWN.ceiling
    assert afford(OWN, replace(ALLOWED, ceiling=3, ceiling_by="total day"), Fleet(4), SETTINGS).ceiling.by == "budget 'total day'"


def test_a_budget_wins_over_every_floor_but_the_endpoints_own() -> None:
    office = replace(OWN, floor=Bound(4, "schedule 'office'", FLOOR), clamps=(CLAMP,))
    limits = afford(office, Allowance(ceiling=3, ceiling_by="total hour"), Fleet(4), SETTINGS)
    clamp = Reason(ReasonCode.CLAMPED, "Schedule 'office' asks for 4, budget 'total hour' pays for 3.")
    assert (limits.floor, limits.clamps) == (Bound(3, "schedule 'office'", FLOOR), (clamp, CLAMP))
    assert afford(office, Allowance(ceiling=4, ceiling_by="total hour"), Fleet(4), SETTINGS).floor == office.floor


def test_each_stage_says_what_follows() -> None:
    said = {stage: stage_reason(replace(ALLOWED, stage=stage)) for stage in Stage if stage is not Stage.OPEN}
    assert said[Stage.NO_PREWARM] == Reason(
        ReasonCode.BUDGET_NO_PREWARM,
        "Budget 'chat month' (20.0 h more): $90.00 of $100.00 are spent; nothing is started ahead of need.",
        {"spent_dollars": 90.0, "budget_dollars": 100.0},
    )
    spent = replace(ALLOWED, stage=Stage.EXHAUSTED)
    assert stage_reason(spent).sentence.endswith("are spent; only min_replicas goes on, whatever the traffic.")
    assert stage_reason(replace(spent, stop=True)).sentence.endswith(
        "are spent; it is stopped, whatever the traffic, until there is money again."
    )
    claimed = stage_reason(replace(ALLOWED, spent=0.0, set_aside=237.5, stage=Stage.EXHAUSTED))
    assert "$0.00 of $100.00 are spent and $237.50 set aside for floors; only min_replicas" in claimed.sentence
    assert claimed.numbers == {"spent_dollars": 0.0, "budget_dollars": 100.0, "set_aside_dollars": 237.5}
    assert {reason.code for reason in said.values()} == {code for code in ReasonCode if code.startswith("budget_")} - {
        ReasonCode.BUDGET_BURN
    }
