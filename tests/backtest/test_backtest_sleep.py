"""The model of scale to zero, worked by hand; one window is 600 s, a start takes 300 s."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.backtest.activity import Activity, is_activity, read_activity, sparse
from scaler.backtest.sleep import SleepRules, SleepScore, always_on, fixed_timeout, judge, judge_all, on_spans, together
from scaler.world.workload import TraceError

RULES = SleepRules(cold_start_seconds=300.0, warm_up_seconds=0.0)
NOTHING = np.empty((0, 2))


def windows(picture: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.array([sign == "x" for sign in picture])


def test_who_never_waits_pays_for_gaps_and_who_never_keeps_warm_pays_for_nothing_else() -> None:
    active = windows("xx...x.")
    asleep = judge(active, NOTHING, RULES)
    # windows 0 and 5 start the endpoint themselves; window 1 begins when it has been on for 600 s
    assert asleep == SleepScore(cost_seconds=1800.0, oracle_seconds=1800.0 + 300.0 + 300.0, warm=1, active=3, starts=2)
    kept = judge(active, fixed_timeout(active, 1800.0), RULES)
    # the gap of 1800 s, and the keep-alive after the last window
    assert kept == SleepScore(cost_seconds=1800.0 + 1800.0 + 1800.0, oracle_seconds=2400.0, warm=2, active=3, starts=1)
    impatient = judge(active, fixed_timeout(active, 1799.0), RULES)
    assert (impatient.warm, impatient.cost_seconds) == (1, 1800.0 + 2 * 1799.0)


def test_a_start_in_time_is_warm_and_one_second_late_is_cold() -> None:
    active = windows("x...x")
    in_time = judge(active, np.array([[2100.0, 2400.0]]), RULES)
    assert (in_time.warm, in_time.cost_seconds) == (1, 1200.0 + 300.0)
    late = judge(active, np.array([[2101.0, 2400.0]]), RULES)
    assert (late.warm, late.cost_seconds) == (0, 1200.0 + 299.0)


def test_the_warm_up_is_history_and_neither_billed_nor_scored() -> None:
    active = windows("x..x..x")
    rules = SleepRules(cold_start_seconds=300.0, warm_up_seconds=1500.0)
    score = judge(active, fixed_timeout(active, 1200.0), rules)
    # billed from 1500 s on: 300 s of the first gap, two windows and two times 1200 s
    assert score == SleepScore(cost_seconds=300.0 + 1200.0 + 2400.0, oracle_seconds=1200.0 + 600.0, warm=2, active=2, starts=0)


def test_who_is_always_on_is_always_warm() -> None:
    active = windows(".x..x")
    score = judge(active, always_on(active), RULES)
    assert score.warm_share == 1.0
    assert score.cost_seconds == 5 * 600.0, "as many windows as are scored, and no day beyond the end"


def test_a_client_that_does_nothing_costs_nothing() -> None:
    score = judge(windows("...."), NOTHING, RULES)
    assert (score.ratio_to_oracle, score.warm_share) == (1.0, 1.0)


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(0, 5000), st.integers(0, 5000))
def test_more_patience_is_never_colder_and_never_cheaper(active: list[bool], patience: int, more: int) -> None:
    one = np.array(active)
    short = judge(one, fixed_timeout(one, float(patience)), RULES)
    long = judge(one, fixed_timeout(one, float(patience + more)), RULES)
    assert long.warm >= short.warm
    assert long.cost_seconds >= short.cost_seconds
    assert (long.active, long.oracle_seconds) == (short.active, short.oracle_seconds)


@given(
    st.lists(st.booleans(), min_size=1, max_size=40),
    st.lists(st.tuples(st.integers(0, 30000), st.integers(0, 6000)), max_size=10),
)
def test_spans_are_merged_without_losing_or_inventing_a_second(active: list[bool], wishes: list[tuple[int, int]]) -> None:
    asked = np.array([[begin, begin + length] for begin, length in wishes], dtype=np.float64).reshape(-1, 2)
    merged = on_spans(np.array(active), asked)
    on = np.zeros(40_000, dtype=np.bool_)
    for index in np.flatnonzero(active):
        on[index * 600 : index * 600 + 600] = True
    for begin, length in wishes:
        on[begin : begin + length] = True
    again = np.zeros_like(on)
    for begin, end in merged.astype(int):
        again[begin:end] = True
    assert np.array_equal(on, again)
    assert (merged[1:, 0] > merged[:-1, 1]).all()


def test_files_of_clients_are_read(tmp_path: Path) -> None:
    path = tmp_path / "few_clients_600s.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write("client,window_600s,requests\n10,3,5\n9,0,1\n9,1,0\n")
    assert is_activity(path)
    activity = read_activity(path)
    assert activity.clients == ("9", "10")
    assert activity.active.tolist() == [[True, False, False, False], [False, False, False, True]]
    assert activity.seconds == 2400.0
    assert activity.only([1]).clients == ("10",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("client,window_600s\n1,2\n", "expected the columns"),
        ("client,window_600s,requests\n1,-2,3\n", ":2: expected whole numbers"),
        ("client,window_600s,requests\n1,2,x\n", ":2: expected whole numbers"),
        ("client,window_600s,requests\n1,2\n", ":2: expected whole numbers"),
        ("client,window_600s,requests\n1,99999999999,1\n", ":2: expected whole numbers"),
        ("client,window_600s,requests\n", "at least one row"),
        (f"client,window_600s,requests\n{'x' * 200_000},1,1\n", "bad_clients_600s.csv: cannot be read: field larger"),
    ],
)
def test_files_that_are_none_are_refused_with_the_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "bad_clients_600s.csv"
    path.write_text(text)
    with pytest.raises(TraceError, match=expected):
        read_activity(path)


def test_the_filter_wants_sparse_clients_with_history() -> None:
    days = np.zeros((4, 14 * 144), dtype=np.bool_)
    days[0, 60::144] = True  # one window a day: too few
    days[1, 60::144] = days[1, 61::144] = True  # two: enough
    days[2] = True  # always: nothing to win
    days[3, : 5 * 144 : 10] = True  # five days only
    assert sparse(Activity(("a", "b", "c", "d"), days)) == [1]


@pytest.mark.skipif("BACKTEST_TRACES" not in os.environ, reason="needs the traces: set BACKTEST_TRACES to their directory")
def test_the_studys_rows_come_out() -> None:
    activity = read_activity(Path(os.environ["BACKTEST_TRACES"]) / "servegen_m-mid_clients_600s.csv.gz")
    clients = activity.only(sparse(activity))
    assert len(clients.clients) == 30
    rows = {
        minutes: together(judge_all(clients, [fixed_timeout(active, minutes * 60) for active in clients.active], SleepRules()))
        for minutes in (30, 60, 120)
    }
    assert [f"{row.ratio_to_oracle:.2f} @ {row.warm_share:.1%}" for row in rows.values()] == [
        "1.23 @ 92.8%",
        "1.42 @ 94.3%",
        "1.71 @ 95.9%",
    ]
