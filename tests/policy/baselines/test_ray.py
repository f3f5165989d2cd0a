from scaler.policy.baselines import Limits, RayServe
from tests.policy.baselines.story import Told

LIMITS = Limits(1, 100, 10.0)  # target 7 ongoing per replica


def test_up_after_thirty_seconds_above() -> None:
    told = Told(RayServe(LIMITS), LIMITS, step=10.0)
    # 21 wants 3 from 0 s on; 30 s later it has lasted.
    assert told.seconds(50, 21.0) == [1, 1, 1, 3, 3]


def test_the_count_is_that_of_the_mean_of_thirty_seconds() -> None:
    told = Told(RayServe(LIMITS), LIMITS, step=10.0)
    told.seconds(70, 7.0)
    # Above from 70 s on, (7 + 7 + 21) / 3 = 11.7; at 100 s it has lasted, and (42 + 63 + 84) / 3 = 63 wants 9.
    assert [told.tick(load) for load in (21.0, 42.0, 63.0, 84.0)] == [1, 1, 1, 9]


def test_one_look_that_agrees_begins_the_wait_anew() -> None:
    told = Told(RayServe(LIMITS), LIMITS, step=30.0)
    # Looks at 0 s (2 wanted), 30 s (mean 7: 1 wanted, reset), 60 s (2 wanted), 90 s (30 s later: 2).
    assert [told.tick(load) for load in (14.0, 7.0, 14.0, 14.0)] == [1, 1, 1, 2]


def test_down_after_ten_minutes_below() -> None:
    told = Told(RayServe(LIMITS), LIMITS, ready=5, step=10.0)
    assert told.seconds(610, 7.0) == [5] * 60 + [1]


def test_the_last_one_waits_for_itself_and_zero_wakes_at_once() -> None:
    limits = Limits(0, 100, 10.0)
    told = Told(RayServe(limits), limits, ready=2, step=10.0)
    # 2 -> 1 at 600 s, which ends that wait; the next begins at 610 s and is over at 1210 s.
    assert told.seconds(1220, 0.0) == [2] * 60 + [1] * 61 + [0]
    assert told.tick(70.0) == 1
