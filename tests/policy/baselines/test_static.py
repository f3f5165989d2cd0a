from scaler.policy.baselines import Limits, Seen, Static

LIMITS = Limits(1, 12, 1.0)


def test_the_same_count_in_a_rush_and_in_a_calm() -> None:
    scaler = Static(LIMITS)
    assert [scaler.desired(Seen(now, load, load, 12, 0)) for now, load in ((0.0, 0.0), (60.0, 99.0), (120.0, 0.0))] == [12, 12, 12]


def test_the_known_peak() -> None:
    assert Static(LIMITS, 7).desired(Seen(0.0, 1.0, 1.0, 1, 0)) == 7
