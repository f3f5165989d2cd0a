"""What was seen lately, and the figures read off it. Samples of ten seconds, told as (start, concurrency)."""

from dataclasses import replace

import pytest

from scaler.model import Known, Unknown
from scaler.policy.history import MAX_SAMPLES, History
from tests.policy.story import sample


def seen(*told: tuple[float, float], keep: float = 1000.0) -> History:
    history = History()
    for start, concurrency in told:
        history = history.add(Known(sample(start, concurrency), "story", start + 10), keep_seconds=keep)
    return history


def test_a_gap_ends_the_evidence_and_the_next_sample_begins_it_anew() -> None:
    before = seen((0, 1.0), (10, 2.0))
    assert before.known_since == 0
    gap = before.add(Unknown("cut off", 30), keep_seconds=1000)
    assert (gap.samples, gap.known_since) == (before.samples, None)
    after = gap.add(Known(sample(30, 3.0), "story", 40), keep_seconds=1000)
    assert after.known_since == 30
    assert [old.concurrency for old in after.samples] == [1.0, 2.0, 3.0]


def test_what_ended_before_the_horizon_is_forgotten() -> None:
    kept = seen((0, 1.0), (10, 2.0), (20, 3.0), (30, 4.0), keep=20)
    assert [old.concurrency for old in kept.samples] == [3.0, 4.0]  # the second ended just 20 s before the last one
    assert kept.known_since == 0


def test_it_is_bounded() -> None:
    many = seen(*((10.0 * number, float(number)) for number in range(MAX_SAMPLES + 5)), keep=1e9)
    assert len(many.samples) == MAX_SAMPLES
    assert many.samples[0].concurrency == 5.0


def test_the_mean_weighs_time_and_cuts_the_sample_that_the_window_begins_in() -> None:
    history = seen((0, 8.0), (10, 2.0), (20, 5.0))
    assert history.mean_concurrency(20) == 5.0
    assert history.mean_concurrency(15) == pytest.approx((2 * 5 + 5 * 10) / 15)
    assert history.mean_concurrency(-100) == pytest.approx(5.0)
    assert history.mean_concurrency(30) == 0.0
    assert History().mean_concurrency(0) == 0.0


def test_the_peak_is_that_of_samples_which_end_in_the_window() -> None:
    history = seen((0, 8.0), (10, 2.0), (20, 5.0))
    assert (history.peak_concurrency(9), history.peak_concurrency(10), history.peak_concurrency(30)) == (8.0, 5.0, 0.0)


def test_slow_answers_are_a_share_of_all_answers() -> None:
    history = History((sample(0, 1.0, slow=4), sample(10, 1.0, slow=1), sample(20, 2.0, slow=2)), 0)
    assert history.slow_share(10) == pytest.approx(3 / 30)
    assert history.slow_share(0) == pytest.approx(7 / 40)
    assert History((sample(0, 0.0),), 0).slow_share(0) == 0.0


def test_a_sample_is_busy_by_arrivals_by_what_is_in_flight_or_by_what_was() -> None:
    still = sample(30, 0.0)
    for busy in (replace(still, arrivals=1), replace(still, in_flight=1), replace(still, concurrency=0.01)):
        assert History((busy, sample(40, 0.0)), 30).last_busy() == 40
    assert History((sample(0, 1.0), sample(10, 1.0), still), 0).last_busy() == 20
    assert History((still,), 30).last_busy() is None


def test_the_last_request_is_remembered_longer_than_its_sample_and_over_gaps() -> None:
    quiet = [(10.0 * number, 0.0) for number in range(1, 20)]
    assert seen((0, 1.0), *quiet, keep=60).last_busy() == 10
    gap = seen((0, 1.0), *quiet, keep=60).add(Unknown("cut off", 210), keep_seconds=60)
    assert gap.last_busy() == 10
    assert gap.add(Known(sample(220, 2.0), "story", 230), keep_seconds=60).last_busy() == 230
    assert seen(*quiet, keep=60).last_busy() is None


def test_a_fast_loop_forgets_samples_but_not_when_the_last_request_was() -> None:
    seconds = ((float(at), 1.0 if at < 10 else 0.0) for at in range(0, 20_000, 10))
    many = seen(*seconds, keep=1e9)
    assert many.samples[0].start > 10
    assert many.last_busy() == 10
