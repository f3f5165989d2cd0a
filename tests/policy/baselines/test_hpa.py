from scaler.policy.baselines import Hpa, Limits
from tests.policy.baselines.story import Told

LIMITS = Limits(1, 100, 10.0)  # target 0.7 x 10 = 7 in flight per replica


def test_a_rush_is_followed_by_doubling_or_four() -> None:
    told = Told(Hpa(LIMITS), LIMITS, step=15.0)
    # 140 in flight: ceil(140 / 7) = 20. From 1: max(1 + 4, 2 x 1) = 5; from 5: max(9, 10) = 10; from 10: max(14, 20) = 20.
    assert told.seconds(60, 140.0) == [5, 10, 20, 20]


def test_within_a_tenth_nothing_changes() -> None:
    told = Told(Hpa(LIMITS), LIMITS, ready=10, step=15.0)
    # 10 replicas are to carry 70. 76 is 1.086 of it: kept, though ceil(76 / 7) = 11. 78 is 1.114: ceil(78 / 7) = 12.
    assert told.seconds(15, 76.0) == [10]
    assert told.seconds(15, 78.0) == [12]


def test_down_only_after_300_seconds_below() -> None:
    told = Told(Hpa(LIMITS), LIMITS, ready=10, step=15.0)
    told.seconds(15, 70.0)  # at 0 s: 10 are right
    # 14 in flight need 2. The 10 of 0 s stands in the window (now - 300, now] until 285 s and has left it at 300 s; then 100 % may go.
    assert told.seconds(285, 14.0) == [10] * 19
    assert told.seconds(15, 14.0) == [2]


def test_one_high_recommendation_holds_the_count_for_its_window() -> None:
    told = Told(Hpa(LIMITS), LIMITS, ready=10, step=15.0)
    told.seconds(150, 14.0)
    told.seconds(15, 56.0)  # at 150 s: 8 are wanted
    counts = told.seconds(300, 14.0)  # from 165 s on
    # The found 10 leaves at 300 s: down to the 8; the 8 of 150 s leaves at 450 s: down to 2.
    assert counts == [10] * 9 + [8] * 10 + [2]


def test_no_replicas_is_disabled_and_outside_of_the_bounds_goes_to_the_bound() -> None:
    assert Told(Hpa(Limits(0, 5, 1.0)), Limits(0, 5, 1.0), ready=0).tick(50.0) == 0
    assert Told(Hpa(Limits(3, 5, 1.0)), Limits(3, 5, 1.0), ready=1).tick(0.0) == 3
