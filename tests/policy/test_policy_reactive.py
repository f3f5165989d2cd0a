"""The need of the moment, by hand: a replica serves 8 at once, 5.6 are planned; windows of 60 and 20 s."""

import pytest

from scaler.policy.fleet import Fleet
from scaler.policy.history import History
from scaler.policy.reactive import Need, measure, refuse_consolidation, replicas_for
from scaler.settings import EndpointSettings, ObjectiveSettings, PolicySettings
from tests.policy.story import sample

POLICY = PolicySettings()
NOW = 1000.0


def seen(*concurrencies: float, slow: int = 0) -> History:
    """Samples of ten seconds up to now."""
    first = NOW - 10 * len(concurrencies)
    return History(tuple(sample(first + 10 * number, load, slow=slow) for number, load in enumerate(concurrencies)), first)


@pytest.mark.parametrize(("concurrency", "replicas"), [(0.0, 0), (0.1, 1), (5.6, 1), (5.7, 2), (11.2, 2), (16.8, 3)])
def test_replicas_are_rounded_up_and_rounding_errors_forgiven(concurrency: float, replicas: int) -> None:
    assert replicas_for(concurrency, POLICY) == replicas


def test_the_stable_window_says_what_is_needed() -> None:
    history = seen(90.0, *[12.0] * 6)  # what is older than a minute does not count
    assert measure(history, Fleet(2), POLICY, NOW) == Need(12.0, 12.0, 2, burst=False, per_replica=8.0)  # within a tenth of what is planned
    assert measure(history, Fleet(1), POLICY, NOW).replicas == 3
    assert measure(history, Fleet(4), POLICY, NOW).replicas == 3


@pytest.mark.parametrize(("load", "replicas"), [(60.4, 11), (60.5, 12), (73.9, 12), (74.0, 14)])
def test_within_a_tenth_of_what_is_planned_with_all_that_is_there_nothing_changes(load: float, replicas: int) -> None:
    assert measure(seen(*[load] * 6), Fleet(10, (NOW + 60,), 1), POLICY, NOW).replicas == replicas  # 67.2 are planned with


def test_a_burst_is_twice_what_is_ready_within_the_panic_window() -> None:
    history = seen(*[2.0] * 4, 11.3, 11.3)
    need = measure(history, Fleet(1), POLICY, NOW)
    assert (need.burst, need.replicas) == (True, 3)
    assert (need.panic, need.stable) == pytest.approx((11.3, (8 + 22.6) / 6))
    assert not measure(history, Fleet(2), POLICY, NOW).burst
    assert measure(history, Fleet(0), POLICY, NOW).burst  # nobody serves: one is what a burst is measured by
    exactly = measure(seen(*[2.0] * 4, 11.2, 11.2), Fleet(1), POLICY, NOW)
    assert exactly.burst
    assert not measure(seen(*[2.0] * 6), Fleet(0), POLICY, NOW).burst


def test_after_a_burst_the_minute_may_need_more_than_the_last_seconds() -> None:
    need = measure(seen(*[40.0] * 4, 20.0, 20.0), Fleet(1), POLICY, NOW)
    assert need.burst
    assert need.replicas == replicas_for(200 / 6, POLICY) == 6


SETTINGS = EndpointSettings(id="endpoint-1", objective=ObjectiveSettings(share=0.75))


def test_a_peak_must_fit_all_that_a_replica_serves() -> None:
    history = seen(90.0, 16.0, 17.0, 3.0)
    assert refuse_consolidation(history, 3, SETTINGS, NOW, 30) is None
    why = "the last 30 s saw 17.0 requests in flight, 8.5 for each of 2"
    assert refuse_consolidation(history, 2, SETTINGS, NOW, 30) == why
    assert refuse_consolidation(seen(16.0), 2, SETTINGS, NOW, 30) is None


def test_who_misses_the_objective_today_does_not_meet_it_with_fewer() -> None:
    assert refuse_consolidation(seen(2.0, 2.0, slow=5), 2, SETTINGS, NOW, 30) is None  # just as many as may
    why = "30.0% of answers miss the objective already, 25.0% may"
    assert refuse_consolidation(seen(2.0, 2.0, slow=6), 2, SETTINGS, NOW, 30) == why


@pytest.mark.parametrize("share", [0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95])
def test_just_as_many_slow_answers_as_may_be_are_no_miss_however_the_share_is_rounded(share: float) -> None:
    settings = EndpointSettings(id="endpoint-1", objective=ObjectiveSettings(share=share))
    allowed = round(20 * (1 - share))
    assert refuse_consolidation(seen(2.0, 2.0, slow=allowed), 2, settings, NOW, 30) is None
    assert refuse_consolidation(seen(2.0, 2.0, slow=allowed + 1), 2, settings, NOW, 30) is not None
