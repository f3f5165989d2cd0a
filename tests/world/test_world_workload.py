"""Traces and the arrivals drawn from them."""

import gzip
from collections import Counter
from pathlib import Path
from statistics import mean

import pytest

from scaler.world.workload import OFFICE_DAY, Bucket, Trace, TraceError, arrivals, read_trace

HEAD = "t_seconds,requests,input_tokens,output_tokens\n"


def written(path: Path, text: str) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["load_30s.csv", "load_30s.csv.gz"])
def test_a_trace_is_read_plain_or_compressed(tmp_path: Path, name: str) -> None:
    trace = read_trace(written(tmp_path / name, HEAD + "0,2,1000,40\n90,1,7,\n"))
    assert trace == Trace(30.0, (Bucket(0.0, 2, 500.0, 20.0), Bucket(90.0, 1, 7.0, 128.0)))


def test_without_a_name_the_smallest_gap_is_the_bucket(tmp_path: Path) -> None:
    assert read_trace(written(tmp_path / "load.csv", HEAD + "0,1,,\n60,1,,\n180,1,,\n")).bucket_seconds == 60.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r":1: expected the columns"),
        ("time,count\n", r":1: expected the columns"),
        (HEAD, r"expected at least one row"),
        (HEAD + "0,1,2\n", r":2: expected four numbers"),
        (HEAD + "0,1,2,3\n30,x,2,3\n", r":3: expected four numbers"),
        (HEAD + "0,-1,2,3\n", r":2: expected finite numbers"),
        (HEAD + "nan,1,2,3\n", r":2: expected finite numbers"),
        (HEAD + "0,1,inf,3\n", r":2: expected finite numbers"),
        (HEAD + "30,1,2,3\n30,1,2,3\n", r":3: expected t_seconds above 30"),
        (HEAD + "0,1,2,3\n10,1,2,3\n", r"rows 10 s apart overlap in buckets of 30 s"),
    ],
)
def test_what_is_no_trace_is_named_with_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path / "bad_30s.csv", text)
    with pytest.raises(TraceError, match=message) as caught:
        read_trace(path)
    assert str(path) in str(caught.value)


def test_one_row_without_a_name_has_no_width(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="bucket width"):
        read_trace(written(tmp_path / "load.csv", HEAD + "0,1,,\n"))


def test_what_a_spreadsheet_saves_is_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "saved_30s.csv"
    path.write_bytes(b"\xef\xbb\xbf" + (HEAD + "0,1,2,3\n30,4,5,6\n").replace("\n", "\r\n").encode())
    assert [bucket.requests for bucket in read_trace(path).buckets] == [1, 4]


def test_files_that_cannot_be_read_are_trace_errors(tmp_path: Path) -> None:
    torn = tmp_path / "torn_30s.csv.gz"
    torn.write_bytes(OFFICE_DAY.read_bytes()[:500])
    for path in (tmp_path / "absent_30s.csv", torn):
        with pytest.raises(TraceError, match="cannot be read"):
            read_trace(path)


def test_arrivals_keep_the_shape_of_the_day() -> None:
    trace = read_trace(OFFICE_DAY)
    kept = arrivals(trace, seconds=86400, requests=25_000, seed=1)
    assert len(kept) == pytest.approx(25_000, rel=0.02)
    times = [arrival.at for arrival in kept]
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] < 86400
    hours = Counter(int(at // 3600) for at in times)
    total = sum(bucket.requests for bucket in trace.buckets)
    for hour in range(24):
        share = sum(bucket.requests for bucket in trace.buckets if hour * 3600 <= bucket.at < (hour + 1) * 3600) / total
        assert hours[hour] == pytest.approx(share * len(kept), abs=5 * (share * len(kept)) ** 0.5)
    assert mean(arrival.input_tokens for arrival in kept) == pytest.approx(1914, rel=0.05)
    assert mean(arrival.output_tokens for arrival in kept) == pytest.approx(317, rel=0.05)
    assert mean(arrival.streamed for arrival in kept) == pytest.approx(0.5, abs=0.02)


def test_the_same_seed_draws_the_same_arrivals() -> None:
    trace = read_trace(OFFICE_DAY)
    assert arrivals(trace, seconds=7200, requests=500, seed=3) == arrivals(trace, seconds=7200, requests=500, seed=3)
    assert arrivals(trace, seconds=7200, requests=500, seed=3) != arrivals(trace, seconds=7200, requests=500, seed=4)


def test_a_window_is_cut_out_and_counted_from_its_start() -> None:
    trace = Trace(30.0, tuple(Bucket(30.0 * index, index, 10.0, 10.0) for index in range(10)))
    kept = arrivals(trace, start=60.0, seconds=60.0, requests=1000, seed=1)
    assert Counter(int(arrival.at // 30) for arrival in kept) == {0: 2, 1: 3}


def test_nothing_wanted_or_nothing_there_is_nothing() -> None:
    trace = Trace(30.0, (Bucket(0.0, 5, 10.0, 10.0),))
    assert arrivals(trace, seconds=30.0, requests=0, seed=1) == []
    assert arrivals(trace, start=300.0, seconds=30.0, requests=10, seed=1) == []


def test_thinning_is_binomial_in_each_bucket() -> None:
    trace = Trace(1.0, tuple(Bucket(float(index), 40, 10.0, 10.0) for index in range(5000)))
    counts = Counter(int(arrival.at) for arrival in arrivals(trace, seconds=5000, requests=50_000, seed=7))
    numbers = [counts[index] for index in range(5000)]
    average = mean(numbers)
    variance = mean((number - average) ** 2 for number in numbers)
    assert average == pytest.approx(10.0, rel=0.02)
    assert variance == pytest.approx(40 * 0.25 * 0.75, rel=0.1)
