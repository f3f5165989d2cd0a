from scaler.policy.baselines import Limits, TogetherV1, TogetherV2
from tests.policy.baselines.story import Told

LIMITS = Limits(1, 20, 10.0)


def test_v2_adds_after_its_up_window_to_the_lowest_of_it() -> None:
    told = Told(TogetherV2(LIMITS), LIMITS, step=15.0)
    told.seconds(315, 8.0)  # 8 in flight are one replica's
    # 40 wants 5, 24 wants 3. From 315 s to 375 s everything wants at least 3; the last look that wanted 1, of 300 s, is out at 375 s.
    assert told.seconds(75, 40.0) == [1, 1, 1, 1, 5]
    told = Told(TogetherV2(LIMITS), LIMITS, step=15.0)
    told.seconds(315, 8.0)
    assert [told.tick(load) for load in (40.0, 24.0, 40.0, 40.0, 40.0)] == [1, 1, 1, 1, 3]


def test_v2_waits_sixty_seconds_for_one_replica_per_eight_in_flight() -> None:
    told = Told(TogetherV2(LIMITS, period=1.0), LIMITS, step=1.0)
    told.seconds(100, 8.0)
    # ceil(33 / 8) = 5. The look of 99 s still wants 1; it is more than 60 s old at 160 s.
    assert told.seconds(61, 33.0) == [1] * 60 + [5]


def test_v2_takes_away_after_300_seconds_to_the_highest_of_them() -> None:
    told = Told(TogetherV2(LIMITS), LIMITS, ready=5, step=15.0)
    told.seconds(15, 40.0)  # at 0 s: 5
    # The look of 0 s is in the window until 300 s; at 315 s the highest is ceil(16 / 8) = 2.
    assert told.seconds(315, 16.0) == [5] * 20 + [2]


def test_v2_never_stops() -> None:
    limits = Limits(0, 20, 10.0)
    told = Told(TogetherV2(limits), limits, ready=1, step=15.0)
    assert set(told.seconds(7200, 0.0)) == {1}


def test_v1_stops_after_an_idle_hour_and_does_not_wake() -> None:
    limits = Limits(0, 20, 10.0)
    told = Told(TogetherV1(limits), limits, ready=1, step=60.0)
    told.seconds(60, 5.0)  # busy at 0 s
    assert told.seconds(3600, 0.0) == [1] * 59 + [0]
    assert set(told.seconds(600, 50.0, 5.0)) == {0}


def test_v1_goes_by_what_a_replica_is_good_for_and_by_given_windows() -> None:
    told = Told(TogetherV1(LIMITS, up_window=15.0), LIMITS, step=15.0)
    told.seconds(30, 10.0)
    assert told.seconds(30, 40.0) == [1, 4]  # ceil(40 / 10), once both looks of 15 s want it
