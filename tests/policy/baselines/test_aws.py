from scaler.policy.baselines import Limits, TargetTracking
from tests.policy.baselines.story import Told

LIMITS = Limits(1, 100, 10.0)  # target 7 per replica; scale-in below 6.3


def test_out_after_three_high_minutes() -> None:
    told = Told(TargetTracking(LIMITS), LIMITS, ready=2, step=60.0)
    # 21 / 2 = 10.5 each, above 7. Points end at 60, 120 and 180 s; at the third one ceil(2 x 10.5 / 7) = 3.
    assert told.seconds(240, 21.0) == [2, 2, 2, 3]


def test_within_the_cooldown_only_for_more_than_was_asked() -> None:
    told = Told(TargetTracking(LIMITS), LIMITS, ready=2, step=60.0, boot=600.0)
    told.seconds(240, 21.0)  # at 180 s: 3, one of which boots
    assert told.tick(21.0) == 3  # 240 s: still high, but no more than what was asked
    assert told.tick(42.0) == 6  # 300 s, within the cooldown: ceil(42 / 7) = 6 is more


def test_in_after_fifteen_low_minutes_and_then_only_every_300_seconds() -> None:
    told = Told(TargetTracking(LIMITS), LIMITS, ready=4, step=60.0)
    # 14 / 4 = 3.5 < 6.3. The fifteenth point ends at 900 s: ceil(14 / 7) = 2.
    assert told.seconds(960, 14.0) == [4] * 15 + [2]
    # 7 / 2 = 3.5 is low at once, and so was the whole run; the cooldown lasts from 900 s to 1200 s.
    assert told.seconds(300, 7.0) == [2] * 4 + [1]


def test_the_band_between_is_left_alone() -> None:
    told = Told(TargetTracking(LIMITS), LIMITS, ready=20, step=60.0)
    assert set(told.seconds(7200, 130.0)) == {20}  # 6.5 is neither above 7 nor below 6.3, though ceil(130 / 7) = 19
