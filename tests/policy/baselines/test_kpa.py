from scaler.policy.baselines import Kpa, Limits
from tests.policy.baselines.story import Told

LIMITS = Limits(1, 100, 10.0)  # target 0.7 x 10 = 7 in flight per replica


def test_twice_what_is_ready_within_six_seconds_is_a_panic() -> None:
    told = Told(Kpa(LIMITS), LIMITS, step=2.0)
    told.seconds(62, 6.0)
    # 2 s of 12: the minute's mean is (58 x 6 + 2 x 12) / 60 = 6.2 and wants 1, that of 6 s is (4 x 6 + 2 x 12) / 6 = 8 and wants 2.
    assert told.seconds(2, 12.0) == [2]


def test_the_stable_window_alone() -> None:
    told = Told(Kpa(LIMITS), LIMITS, ready=4, step=2.0)
    told.seconds(122, 28.0)  # panic of the start is over: 28 / 7 = 4
    # 42 wants 6, less than twice 4: no panic. After 2 s the mean is (58 x 28 + 2 x 42) / 60 = 28.47 -> ceil(4.07) = 5.
    # It passes 5 x 7 = 35 after more than 30 s of 42: at 32 s, (28 x 28 + 32 x 42) / 60 = 35.47 -> 6.
    assert told.seconds(30, 42.0) == [5] * 15
    assert told.seconds(2, 42.0) == [6]


def test_panic_never_takes_away_for_a_minute_after_the_last_burst() -> None:
    told = Told(Kpa(LIMITS), LIMITS, step=2.0)
    told.seconds(62, 6.0)
    assert max(told.seconds(6, 140.0)) == 20  # ceil(140 / 7)
    # 62 s: (4 x 6 + 2 x 140) / 6 = 50.7 wants 8, of the 1 that is ready. 64 s: 95.3 wants 14 of 8, 66 s: 20 of 14: not twice as many.
    # So it ends once 62 + 60 < now: at 124 s. Steps from 68 s to 122 s are 28.
    assert told.seconds(56, 6.0) == [20] * 28
    # The minute before 124 s still has 2 s of the rush: (58 x 6 + 2 x 140) / 60 = 10.5 wants 2, but no turn goes below half.
    assert told.seconds(8, 6.0) == [10, 5, 2, 1]


def test_more_than_one_at_the_start_is_kept_for_a_minute() -> None:
    told = Told(Kpa(LIMITS), LIMITS, ready=8, step=2.0)
    assert told.seconds(62, 7.0) == [8] * 31  # 60 s is not yet more than a minute
    assert told.seconds(8, 7.0) == [4, 2, 1, 1]


def test_zero_takes_the_window_and_the_grace() -> None:
    limits = Limits(0, 100, 10.0)
    told = Told(Kpa(limits), limits, step=2.0)
    told.seconds(2, 7.0)
    told.seconds(2, 7.0)  # 7 in flight until 2 s
    # The minute's mean is 0 from 62 s on, plus 30 s: at 92 s. Steps from 4 s to 90 s are 44.
    assert told.seconds(90, 0.0) == [1] * 44 + [0]
    assert told.seconds(2, 1.0) == [1]  # and any request wakes it at the next turn
