from scaler.policy.baselines import Keda, Limits
from tests.policy.baselines.story import Told

LIMITS = Limits(0, 100, 10.0)


def test_wakes_at_the_next_poll_and_then_scales_as_the_hpa_does() -> None:
    told = Told(Keda(LIMITS), LIMITS, ready=0, step=15.0)
    assert told.seconds(15, 0.0) == [0]  # poll at 0 s
    # 140 in flight from 15 s on. The poll of 30 s sees them: 0 -> 1. The HPA takes over at 45 s: 1 -> 5 -> 10 -> ceil(140 / 7) = 20.
    assert told.seconds(75, 140.0) == [0, 1, 5, 10, 20]


def test_sleeps_once_the_last_active_poll_is_more_than_300_seconds_ago() -> None:
    told = Told(Keda(LIMITS), LIMITS, ready=1, step=15.0)
    told.seconds(15, 5.0)  # the poll of 0 s is active
    # Polls of 30 s .. 300 s are inactive, but 300 is not more than 300; that of 330 s is the first one that may.
    assert told.seconds(330, 0.0) == [1] * 21 + [0]


def test_with_a_minimum_it_never_sleeps() -> None:
    limits = Limits(1, 100, 10.0)
    told = Told(Keda(limits), limits, ready=1, step=15.0)
    assert set(told.seconds(3600, 0.0)) == {1}
