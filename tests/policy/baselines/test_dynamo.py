import pytest

from scaler.policy.baselines import Dynamo, Limits
from scaler.policy.baselines.dynamo import TtftModel
from tests.policy.baselines.story import Told

LIMITS = Limits(1, 10, 10.0)


def ttft(load: float) -> float:
    """The truth of these stories: 0.1 s and 0.05 s for each request in flight per replica."""
    return 0.1 + 0.05 * load


def taught(ready: int) -> Told:
    """One that has seen six loads of about 6 per replica: too low to add one, too high to take one away."""
    told = Told(Dynamo(LIMITS), LIMITS, ready=ready, step=1.0, boot=60.0)
    for load in (5.9, 6.1, 6.2, 6.3, 6.4, 6.5):
        told.tick(load * ready, ttft=ttft(load))
    return told


def test_the_line_is_found_and_a_falling_one_is_refused() -> None:
    model, wrong = TtftModel(), TtftModel()
    for load in (1.0, 2.0, 3.0, 4.0):
        model.learn(load, ttft(load))
        wrong.learn(load, 1.0 - 0.1 * load)
    assert model.estimate(6.0) is None  # four samples are too few
    model.learn(5.0, ttft(5.0))
    wrong.learn(5.0, 0.5)
    assert model.estimate(6.0) == pytest.approx(0.4)
    assert wrong.estimate(6.0) is None


def test_samples_of_one_load_make_no_line() -> None:
    model = TtftModel()
    for _ in range(9):
        model.learn(2.0, 0.2)
    assert model.estimate(2.0) is None


def test_a_long_calm_does_not_push_out_what_a_rush_taught() -> None:
    model = TtftModel()
    model.learn(20.0, ttft(20.0))
    for count in range(640):
        model.learn(1.0 + count % 2, ttft(1.0 + count % 2))
    assert (20.0, ttft(20.0)) in model._samples
    assert len(model._samples) == 64


def test_one_more_when_the_objective_is_missed_and_none_while_it_starts() -> None:
    told = taught(2)
    # 0.5 s is met until (0.5 - 0.1) / 0.05 = 8 each. 18 / 2 = 9 each: 0.55 s.
    assert told.seconds(5, 18.0, ttft=ttft(9.0))[-1] == 3
    assert told.seconds(59, 18.0, ttft=ttft(9.0)) == [3] * 59


def test_one_fewer_only_if_those_left_can_carry_it() -> None:
    told = taught(4)
    # 0.8 x 0.5 = 0.4 s is met below 6 each. 20 / 4 = 5 is, but 20 / 3 = 6.7 is not: kept. 16 / 4 = 4 and 16 / 3 = 5.3 are.
    assert set(told.seconds(20, 20.0, ttft=ttft(5.0))) == {4}
    assert told.seconds(5, 16.0, ttft=ttft(4.0))[-1] == 3


def test_without_measurements_nothing_changes() -> None:
    told = Told(Dynamo(LIMITS), LIMITS, ready=2, step=5.0)
    assert set(told.seconds(600, 90.0)) == {2}
