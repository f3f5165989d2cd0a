"""Floors, ceilings and multiples in seconds: from when to when, how many, by whom and in which words. A start takes 300 s."""

import math
from dataclasses import replace

import pytest

from scaler.model import Reason, ReasonCode, Window, WindowKind
from scaler.policy.calendar import Bound, Usual, ceilings, due, floors, take_note

BEGINS, ENDS, LEAD = 10_000.0, 20_000.0, 300.0
OFFICE = Window(WindowKind.SCHEDULE, "office", BEGINS, ENDS, floor=3)
NIGHT = Window(WindowKind.SCHEDULE, "night", BEGINS, ENDS, ceiling=2)
LAUNCH = Window(WindowKind.EVENT, "launch", BEGINS, ENDS, multiplier=2.5)
OVER = replace(OFFICE, name="over", begins=0.0, ends=100.0)


@pytest.mark.parametrize(
    ("at", "lead", "is_due"),
    [
        (9639.0, 300.0, False),
        (9640.0, 300.0, True),  # a cold start and a minute before it begins
        (19_999.0, 300.0, True),
        (20_000.0, 300.0, False),
        (9999.0, 0.0, False),
        (10_000.0, 0.0, True),
        (9939.5, 0.5, True),
    ],
)
def test_capacity_is_due_one_start_and_a_minute_before_and_over_when_it_ends(at: float, lead: float, is_due: bool) -> None:  # noqa: FBT001 (a row)
    assert due(OFFICE, at, lead) is is_due


def note(needed: float, running: int = 4, *, at: float = 9900.0, before: int | None = None) -> int:
    """What is kept as the product of two and a half times the load."""
    usual = () if before is None else (Usual("launch", BEGINS, before),)
    (made,) = take_note(usual, (OVER, OFFICE, LAUNCH), needed, running, at=at, lead=LEAD)
    assert (made.name, made.begins) == ("launch", BEGINS)
    return made.replicas


def test_until_it_begins_the_greatest_multiple_of_the_load_counts() -> None:
    assert note(2.0) == 5
    assert note(2.01) == 6
    assert note(2.0, before=9) == 9
    assert note(4.0, before=9) == 10
    assert note(0.0) == 0


def test_a_load_that_nobody_knows_is_what_runs_until_it_was_known() -> None:
    assert note(math.nan) == 10
    assert note(math.nan, before=7) == 7


def test_once_it_has_begun_the_load_is_the_events_own() -> None:
    assert note(40.0, at=BEGINS, before=7) == 7
    assert note(40.0, at=BEGINS) == 4, "nobody saw the load before: what runs is kept"
    assert note(40.0, at=15_000.0, before=7) == 7


def test_nothing_is_noted_of_what_is_not_due_or_multiplies_nothing() -> None:
    assert take_note((Usual("launch", BEGINS, 7),), (LAUNCH,), 2.0, 4, at=ENDS, lead=LEAD) == ()
    assert take_note((), (OFFICE, NIGHT), 2.0, 4, at=BEGINS, lead=LEAD) == ()
    other = (Usual("launch", 0.0, 7), Usual("other", BEGINS, 7))
    assert take_note(other, (LAUNCH,), 2.0, 4, at=9900.0, lead=LEAD) == (Usual("launch", BEGINS, 5),)


def test_a_floor_says_who_asks_how_many_and_for_how_long() -> None:
    before = Reason(ReasonCode.FLOOR, "Schedule 'office' (begins in 5 min) asks for at least 3 replicas.", {"floor": 3})
    assert floors((OVER, OFFICE), (), at=9700.0, lead=LEAD) == [Bound(3, "schedule 'office'", before)]
    within = Reason(ReasonCode.FLOOR, "Schedule 'office' (2.8 h more) asks for at least 1 replica.", {"floor": 1})
    assert floors((replace(OFFICE, floor=1),), (), at=BEGINS, lead=LEAD) == [Bound(1, "schedule 'office'", within)]


def test_an_event_asks_for_its_product_and_for_its_floor() -> None:
    usual = (Usual("office", BEGINS, 9), Usual("launch", BEGINS, 5))
    product = Reason(
        ReasonCode.EVENT, "Event 'launch' (2.8 h more) asks for at least 5 replicas, 2.5 times the load before it.", {"floor": 5}
    )
    assert floors((LAUNCH,), usual, at=BEGINS, lead=LEAD) == [Bound(5, "event 'launch'", product)]
    both = floors((replace(LAUNCH, floor=2), OFFICE), usual, at=BEGINS, lead=LEAD)
    assert [(bound.replicas, bound.by) for bound in both] == [(2, "event 'launch'"), (5, "event 'launch'"), (3, "schedule 'office'")]
    assert floors((LAUNCH,), (Usual("launch", BEGINS, 0),), at=BEGINS, lead=LEAD) == []
    assert floors((LAUNCH, NIGHT), (), at=BEGINS, lead=LEAD) == []


def test_a_ceiling_holds_from_its_beginning_to_its_end() -> None:
    reason = Reason(ReasonCode.CEILING, "Schedule 'night' (2.8 h more) allows at most 2 replicas.", {"ceiling": 2})
    assert ceilings((OFFICE, NIGHT), at=BEGINS) == [Bound(2, "schedule 'night'", reason)]
    assert ceilings((NIGHT,), at=BEGINS - 1) == []
    assert ceilings((NIGHT,), at=ENDS) == []
    (one,) = ceilings((replace(NIGHT, kind=WindowKind.OVERRIDE, name="", ceiling=1),), at=ENDS - 1)
    assert one.reason is not None
    assert one.reason.sentence == "Override (1 s more) allows at most 1 replica."


@pytest.mark.parametrize(
    ("seconds", "words"), [(1, "1 s"), (89, "89 s"), (90, "2 min"), (1500, "25 min"), (7199, "120 min"), (7200, "2.0 h"), (9000, "2.5 h")]
)
def test_spans_have_two_digits(seconds: float, words: str) -> None:
    (one,) = ceilings((NIGHT,), at=ENDS - seconds)
    assert one.reason is not None
    assert f"({words} more)" in one.reason.sentence
