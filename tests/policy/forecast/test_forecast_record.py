import math

import numpy as np
import pytest

from scaler.policy.forecast import Record
from scaler.policy.forecast.record import DAY, KEEP_DAYS, ORDINARY, WEEK, utilization


def test_samples_fill_steps_and_a_step_under_way_is_not_told_yet() -> None:
    record = Record.empty()
    for start, replicas in ((0, 1.0), (10, 2.0), (20, 6.0), (30, 5.0)):
        record = record.observe(start, start + 10, replicas)
    assert record.values.tolist() == [3.0]
    assert (record.end, record.measured) == (1, 10.0)


def test_a_sample_across_an_edge_counts_on_either_side() -> None:
    record = Record.empty().observe(0, 20, 1.0).observe(20, 50, 4.0).observe(50, 60, 1.0)
    assert record.values.tolist() == pytest.approx([2.0, 3.0])


def test_what_nobody_measured_is_a_gap_and_never_zero() -> None:
    record = Record.empty(1000.0).observe(1000, 1020, 2.0).observe(1110, 1140, 3.0)
    assert np.array_equal(record.values, [2.0, math.nan, math.nan, math.nan, 3.0], equal_nan=True)  # in steps from 990 s on
    assert record.known_steps == 2  # 20 s of 990..1020, all of 1110..1140


def test_half_a_step_is_enough_to_know_it_and_less_is_not() -> None:
    assert Record.empty().observe(0, 15, 7.0).until(30).values.tolist() == [7.0]
    assert math.isnan(Record.empty().observe(0, 14, 7.0).until(30).values[0])


def test_late_samples_change_nothing_that_is_closed() -> None:
    record = Record.empty().observe(0, 60, 2.0)
    assert record.observe(10, 40, 9.0).values.tolist() == [2.0, 2.0]


def test_a_year_of_silence_and_a_month_of_traffic_are_bounded() -> None:
    record = Record.empty().observe(0, 30, 1.0).until(365 * 86400.0)
    assert record.values.size <= KEEP_DAYS * DAY
    assert record.end == 365 * DAY
    assert Record.empty().until(86400.0).observe(86400.0, 86430.0, 2.0).values[-1] == 2.0


def test_a_record_cannot_be_changed() -> None:
    record = Record.empty().observe(0, 60, 2.0)
    with pytest.raises(ValueError, match="read-only"):
        record.values[0] = 1.0


def test_utilization_is_the_work_over_whole_replicas_of_which_one_at_least_is_up() -> None:
    assert utilization(np.tile([0.5, 1.5, 2.0, 0.0], DAY // 4)) == pytest.approx(4.0 / 6.0)  # 1 + 2 + 2 + 1
    assert utilization(np.zeros(DAY)) == 0.0


def test_utilization_is_ordinary_until_a_day_is_known_and_then_that_of_a_week() -> None:
    assert utilization(np.full(DAY - 1, 0.1)) == ORDINARY
    assert utilization(np.r_[np.full(DAY - 1, 0.1), np.full(DAY, math.nan)]) == ORDINARY
    assert utilization(np.r_[np.full(DAY, 0.1), np.full(DAY, math.nan)]) == pytest.approx(0.1)
    assert utilization(np.r_[np.full(DAY, 0.1), np.full(WEEK, 0.9)]) == pytest.approx(0.9)
