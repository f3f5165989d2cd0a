from scaler.policy.baselines import Limits, SkyServe
from tests.policy.baselines.story import Told

LIMITS = Limits(1, 100, 10.0, rate_per_replica=2.0)  # target 0.7 x 2 = 1.4 arrivals per second


def test_fifteen_decisions_in_a_row_add() -> None:
    told = Told(SkyServe(LIMITS), LIMITS, step=20.0)
    # 4.2 / s wants 3. The first step has no span, at 20 s a third of the minute is there: 84 / 60 / 1.4 = 1, at 40 s 2.
    # So 40 s is the first decision that wants more, and 320 s the fifteenth: by then 252 / 60 / 1.4 = 3.
    assert told.seconds(340, 0.0, 4.2) == [1] * 16 + [3]


def test_sixty_decisions_in_a_row_take_away() -> None:
    told = Told(SkyServe(LIMITS), LIMITS, ready=4, step=20.0)
    # Fewer from the decision of 0 s on; the sixtieth is that of 1180 s.
    assert told.seconds(1200, 0.0, 1.0) == [4] * 59 + [1]


def test_from_zero_at_once() -> None:
    limits = Limits(0, 100, 10.0, rate_per_replica=2.0)
    told = Told(SkyServe(limits), limits, ready=0, step=5.0)
    assert told.scaler.period == 20.0
    assert told.tick(0.0, 0.0) == 0
    assert told.scaler.period == 5.0
    assert told.tick(0.0, 20.0) == 2  # 5 s x 20 / s = 100 in the minute: 100 / 60 / 1.4 = 1.19
    assert told.scaler.period == 20.0
