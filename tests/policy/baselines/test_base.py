import pytest

from scaler.policy.baselines.base import Periodic, Seen, Window


class Counting(Periodic):
    """Answers how often it has decided."""

    def __init__(self, period: float) -> None:
        super().__init__(period)
        self.decided = 0

    def decide(self, seen: Seen) -> int:
        self.decided += 1
        return self.decided


def answers(period: float, instants: list[float]) -> list[int | None]:
    scaler = Counting(period)
    return [scaler.desired(Seen(now, 0.0, 0.0, 1, 0)) for now in instants]


def test_decisions_keep_their_grid_when_steps_do_not_fit_it() -> None:
    # Due at 0, 15, 30, 45 and 60 s; told every 10 s, it decides at the first step that is not before.
    assert answers(15.0, [0, 10, 20, 30, 40, 50, 60]) == [1, None, 2, 3, None, 4, 5]


def test_steps_longer_than_the_period_get_one_decision_each() -> None:
    assert answers(2.0, [0, 10, 20]) == [1, 2, 3]


def test_a_window_weighs_by_time_and_cuts_what_reaches_out_of_it() -> None:
    window = Window(60.0)
    assert window.mean() == 0.0
    window.add(0.0, 0.0, 5.0)
    assert window.mean() == 5.0
    window.add(50.0, 50.0, 1.0)
    assert window.mean() == 1.0
    window.add(80.0, 30.0, 4.0)
    # (20, 50] at 1 and (50, 80] at 4: 30 x 1 + 30 x 4 = 150, over 60 s 2.5.
    assert window.total() == pytest.approx(150.0)
    assert window.mean() == pytest.approx(2.5)
