"""The native autoscaler's rules for the size of steps."""

import pytest

from scaler.world.autoscaler import NativeAutoscaler, Policy, Rules, Scaling

LOOK = 15.0


def sizes(scaling: Scaling, loads: list[float], desired: int = 1) -> list[int]:
    """Looks every 15 s, each at one of ``loads``, and goes where the autoscaler says."""
    autoscaler = NativeAutoscaler(scaling, 0.0)
    found = []
    for number, load in enumerate(loads, start=1):
        desired = autoscaler.look(load, desired, number * LOOK)
        found.append(desired)
    return found


def pods(value: int, seconds: float = LOOK) -> Policy:
    return Policy("PODS", value, seconds)


def percent(value: int, seconds: float = LOOK) -> Policy:
    return Policy("PERCENT", value, seconds)


def test_without_rules_it_goes_the_whole_way() -> None:
    assert sizes(Scaling(10, 0, 0), [100, 100, 10]) == [10, 10, 1]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (Rules((pods(2),)), [3, 5, 7, 9]),
        (Rules((percent(100),)), [2, 4, 8, 10]),
        (Rules((pods(4), percent(100))), [5, 10, 10, 10]),
        (Rules((pods(4), percent(100)), "MIN"), [2, 4, 8, 10]),
        (Rules((pods(1, 45),)), [2, 2, 2, 3]),
        (Rules((), "DISABLED"), [1, 1, 1, 1]),
        (Rules((pods(4),), "DISABLED"), [1, 1, 1, 1]),
    ],
)
def test_a_step_up_is_as_large_as_its_rules_allow_within_their_period(rules: Rules, expected: list[int]) -> None:
    assert sizes(Scaling(10, 0, 0, up=rules), [100] * 4) == expected


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (Rules((pods(3),)), [7, 4, 1, 0]),
        (Rules((percent(50),)), [5, 2, 1, 0]),
        (Rules((pods(1), percent(50)), "MIN"), [9, 8, 7, 6]),
        (Rules((), "DISABLED"), [10, 10, 10, 10]),
        (Rules((percent(100),)), [0, 0, 0, 0]),
    ],
)
def test_so_is_a_step_down(rules: Rules, expected: list[int]) -> None:
    assert sizes(Scaling(10, 0, 0, down=rules), [0] * 4, desired=10) == expected


def test_rules_never_turn_a_step_around() -> None:
    """Ten replicas came within the period of a policy that allows one: nothing more, but none is taken back."""
    autoscaler = NativeAutoscaler(Scaling(10, 0, 0, up=Rules((pods(1, 60),))), 0.0)
    autoscaler.look(10, 1, 15.0)
    assert autoscaler.look(200, 10, 30.0) == 10


def test_windows_can_be_changed_while_it_watches() -> None:
    autoscaler = NativeAutoscaler(Scaling(10, 300, 300), 0.0)
    assert [autoscaler.look(50, 1, at) for at in (15.0, 30.0, 45.0)] == [1, 1, 1]
    autoscaler.scaling = Scaling(10, 30, 300)
    assert autoscaler.look(50, 1, 60.0) == 5
