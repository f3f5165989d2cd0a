"""Where a decision steers: up, along, or nowhere for want of hardware. Eight replicas may be, four at once."""

import pytest

from scaler.model import Alternative, Reason, ReasonCode
from scaler.policy.course import Course, cut, enough, in_words, more, same, short, span
from scaler.policy.fleet import Fleet
from scaler.settings import EndpointSettings

SETTINGS = EndpointSettings(id="endpoint-1", min_replicas=2, max_replicas=8)
WHY = Reason(ReasonCode.TRAFFIC_UP, "Because.")


def test_what_the_steps_allow_is_had_at_once() -> None:
    assert more(6, WHY, Fleet(2), SETTINGS) == Course(6, (WHY,))
    assert more(8, WHY, Fleet(3, (9.0,)), SETTINGS) == Course(8, (WHY,))


def test_four_at_once_or_twice_as_many_and_the_rest_is_said() -> None:
    limit = Reason(ReasonCode.BOUNDED, "max_step_up allows 6 of them now.", {"allowed": 6})
    assert more(7, WHY, Fleet(2), SETTINGS) == Course(6, (WHY, limit), (Alternative(7, "limited by max_step_up"),), "max_step_up")
    roomy = SETTINGS.model_copy(update={"max_replicas": 99})
    assert more(50, WHY, Fleet(10), roomy).replicas == 20


def test_never_above_the_ceiling_whatever_the_steps_allow() -> None:
    limit = Reason(ReasonCode.BOUNDED, "max_replicas allows 8 of them now.", {"allowed": 8})
    assert more(9, WHY, Fleet(6), SETTINGS) == Course(8, (WHY, limit), (Alternative(9, "limited by max_replicas"),), "max_replicas")


def test_up_to_the_floor_and_the_need_is_named_only_where_it_asks_for_more() -> None:
    high = SETTINGS.model_copy(update={"min_replicas": 7})
    floor = Reason(ReasonCode.BOUNDED, "min_replicas asks for at least 7 replicas.", {"floor": 7})
    assert more(4, WHY, Fleet(4), high) == Course(7, (floor,), bound_by="min_replicas")
    assert more(5, WHY, Fleet(4), high) == Course(7, (WHY, floor), bound_by="min_replicas")
    step = Reason(ReasonCode.BOUNDED, "max_step_up allows 5 of them now.", {"allowed": 5})
    assert more(1, WHY, Fleet(1), high) == Course(5, (floor, step), (Alternative(7, "limited by max_step_up"),), "max_step_up")


def test_down_to_the_ceiling_and_what_there_would_be_without_it() -> None:
    limit = Reason(ReasonCode.BOUNDED, "max_replicas allows 8 replicas; without it there would be 9.", {"allowed": 8})
    assert cut(9, SETTINGS) == Course(8, (limit,), (Alternative(9, "limited by max_replicas"),), "max_replicas")


def test_what_runs_is_enough_or_as_near_as_the_bounds_allow() -> None:
    assert same(4, WHY, Fleet(4), SETTINGS) == Course(4, (WHY,))
    assert same(8, WHY, Fleet(8), SETTINGS) == Course(8, (WHY,))
    assert same(2, WHY, Fleet(2), SETTINGS) == Course(2, (WHY,))
    assert same(1, WHY, Fleet(2), SETTINGS) == Course(2, (WHY,), bound_by="min_replicas")
    limit = Reason(ReasonCode.BOUNDED, "max_replicas allows 8.", {"allowed": 8})
    assert same(9, WHY, Fleet(8), SETTINGS) == Course(8, (WHY, limit), (Alternative(9, "limited by max_replicas"),), "max_replicas")


def test_without_hardware_nothing_more_is_asked_for_and_what_was_wanted_is_said() -> None:
    fleet = Fleet(2, (9.0,), 3)
    why = "3 of 6 replicas asked for have no hardware yet; nothing more is asked for until they come."
    reason = Reason(ReasonCode.SHORTAGE, why, {"load": 1.5, "missing": 3})
    lost = Alternative(7, "replicas asked for before have no hardware yet")
    assert short(7, {"load": 1.5}, fleet) == Course(6, (reason,), (lost,), "shortage")
    assert short(6, {"load": 1.5}, fleet) == Course(6, (reason,))


@pytest.mark.parametrize(("count", "words"), [(0, "0 replicas"), (1, "1 replica"), (2, "2 replicas")])
def test_counts_in_words(count: int, words: str) -> None:
    assert in_words(count) == words
    assert enough(count) == f"{words} {'is' if count == 1 else 'are'} enough"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(45, "45 s"), (89.4, "89 s"), (90, "2 min"), (7199, "120 min"), (7200, "2.0 h"), (12_700, "3.5 h"), (259_200, "3.0 days")],
)
def test_times_in_two_digits(seconds: float, words: str) -> None:
    assert span(seconds) == words
