import numpy as np
import pytest

from scaler.backtest.demand import demand_series
from scaler.backtest.windows import window_max
from scaler.world.workload import OFFICE_DAY, Bucket, Trace, read_trace


def test_a_minute_of_work_splits_evenly_and_missing_buckets_are_zero() -> None:
    trace = Trace(60.0, (Bucket(60.0, 6, 1000.0, 30.0), Bucket(180.0, 12, 1000.0, 30.0)))
    # 0.2 + 30 x 0.02 + 1000 x 0.0001 = 0.9 s per request; the percentile of [0, 0.09, 0, 0.18] lies 0.3 % below the largest
    series = demand_series(trace, peak_replicas=1.0)
    assert series.size == 24
    assert series[6:12] == pytest.approx(series[18] / 2)
    assert series[18:] == pytest.approx(0.18 / (0.18 - 0.003 * 0.09))
    assert not series[:6].any()
    assert not series[12:18].any()


def test_tokens_weigh_as_the_model_says() -> None:
    trace = Trace(60.0, (Bucket(0.0, 1, 0.0, 0.0), Bucket(60.0, 1, 1000.0, 0.0), Bucket(120.0, 1, 0.0, 10.0)))
    series = demand_series(trace)
    assert series[6] / series[0] == pytest.approx((0.2 + 0.1) / 0.2)
    assert series[12] / series[0] == pytest.approx((0.2 + 0.2) / 0.2)


def test_without_tokens_every_request_weighs_alike() -> None:
    trace = Trace(10.0, (Bucket(0.0, 1, 512.0, 128.0), Bucket(10.0, 3, 512.0, 128.0)))
    series = demand_series(trace, peak_replicas=4.0)
    assert series == pytest.approx([2.0, 6.0])


def test_buckets_shorter_than_a_step_are_summed() -> None:
    trace = Trace(5.0, tuple(Bucket(5.0 * k, requests, 0.0, 0.0) for k, requests in enumerate([1, 3, 2, 2])))
    series = demand_series(trace, peak_replicas=1.0)
    assert series == pytest.approx([1.0, 1.0])


def test_the_peak_of_a_real_day_is_where_it_was_asked_for() -> None:
    series = demand_series(read_trace(OFFICE_DAY), peak_replicas=12.0)
    minutes = series[: series.size // 6 * 6].reshape(-1, 6).mean(axis=1)
    assert np.percentile(minutes, 99.9) == pytest.approx(12.0)
    assert series.min() >= 0.0


@pytest.mark.parametrize("bucket", [Bucket(-10.0, 1, 1.0, 1.0), Bucket(1e12, 1, 1.0, 1.0), Bucket(0.0, 0, 1.0, 1.0)])
def test_what_is_no_demand_is_refused(bucket: Bucket) -> None:
    with pytest.raises(ValueError, match="expected"):
        demand_series(Trace(10.0, (bucket,)))


@pytest.mark.parametrize("width", [1, 2, 3, 7, 20])
def test_window_max_agrees_with_looking(width: int) -> None:
    values = np.random.default_rng(1).random(20)
    assert window_max(values, width).tolist() == [values[k : k + width].max() for k in range(21 - width)]
