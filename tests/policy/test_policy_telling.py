"""A story that is not true of what was decided is noticed: in its count, its reason, its words, its clock or what came."""

import pytest

from scaler.model import Bounds, Decision, Power, Reason, ReasonCode
from tests.policy.telling import Told, tell


def told(clock: str, replicas: int, code: ReasonCode, *, comes: float | None = 4.0, hold: bool = False) -> Told:
    reason = Reason(code, f"{replicas} replicas, because it is {code}.")
    return Told(clock, comes, Decision("chat", 0.0, Bounds(replicas, replicas), 60, Power.KEEP, hold, (reason,)))


LOG = (
    told("08:00", 1, ReasonCode.STEADY),
    told("08:01", 2, ReasonCode.TRAFFIC_UP),
    told("08:01", 4, ReasonCode.FORECAST),
    told("08:02", 4, ReasonCode.NO_DATA, comes=None, hold=True),
)
TRUE = """
    clock | comes  | decided | why        | in words
    08:00 | 4      | 1       | steady     | 1 replicas, …steady.
    08:01 | 3 .. 5 | 1 => 4  | traffic_up | 2 replicas
          |        |         | forecast   |
    08:02 | ?      | held    | no_data    |
    08:03
"""


def test_what_happened_is_told() -> None:
    tell(TRUE, LOG)
    tell(TRUE.replace("1 => 4", "1 -> 2 -> 4"), LOG)


@pytest.mark.parametrize(
    ("word", "wrong"),
    [
        ("1       |", "2       |"),
        ("1 => 4", "1 -> 4"),
        ("1 => 4", "1 => 3"),
        ("1 => 4", "2 => 4"),
        ("traffic_up | 2", "forecast | 4"),
        ("traffic_up | 2", "traffic_up | 3"),
        ("forecast   |", "forecast   | never"),
        ("forecast   |", "steady     |"),
        ("3 .. 5", "5 .. 6"),
        ("3 .. 5", "?"),
        ("?      | held", "0      | held"),
        ("held", "4"),
        ("08:01", "08:02"),
        ("08:00", "08:01"),
        ("    08:03\n", ""),
    ],
)
def test_what_did_not_happen_is_noticed(word: str, wrong: str) -> None:
    assert word in TRUE
    with pytest.raises(AssertionError):
        tell(TRUE.replace(word, wrong), LOG)


def test_what_goes_up_and_down_again_is_no_way_up() -> None:
    back = (*LOG[:3], told("08:01", 3, ReasonCode.FORECAST), told("08:01", 4, ReasonCode.FORECAST), LOG[3])
    with pytest.raises(AssertionError):
        tell(TRUE, back)
