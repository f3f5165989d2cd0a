from scaler.policy.baselines import IdleTimeout, Limits
from tests.policy.baselines.story import Told

LIMITS = Limits(0, 1, 1.0)


def test_off_when_the_idle_time_is_over_and_on_with_the_next_request() -> None:
    told = Told(IdleTimeout(LIMITS, seconds=600.0), LIMITS, ready=0, step=60.0)
    assert told.seconds(60, 0.0) == [0]
    assert told.seconds(60, 0.5) == [1]  # busy at 60 s
    assert told.seconds(600, 0.0) == [1] * 9 + [0]  # idle for 600 s at 660 s
    assert told.seconds(60, 0.0, 0.1) == [1]


def test_what_runs_when_it_is_first_seen_gets_the_whole_time() -> None:
    told = Told(IdleTimeout(LIMITS, seconds=600.0), LIMITS, ready=1, step=60.0)
    assert told.seconds(660, 0.0) == [1] * 10 + [0]
