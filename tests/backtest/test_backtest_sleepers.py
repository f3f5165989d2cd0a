"""Policies that let endpoints sleep, on clients made by dice."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from scaler.backtest.activity import WINDOW_SECONDS, Activity, read_activity, sparse
from scaler.backtest.fit_returns import fit, rows_of
from scaler.backtest.sleep import SleepRules, judge, judge_all, just_in_time, on_spans, together
from scaler.backtest.sleepers import money
from scaler.policy.returns import DAY, Windows
from tests.backtest.traces import backtest
from tests.backtest.traces import rows_of as read_rows

DAYS = 14


def office(dice: np.random.Generator) -> Windows:
    active = np.zeros(DAYS * DAY, dtype=np.bool_)
    for day in range(DAYS):
        begin = day * DAY + 54 + int(dice.integers(-1, 2))
        active[begin : begin + 36] = dice.random(36) < 0.7
    return active


def at_random(dice: np.random.Generator) -> Windows:
    return dice.random(DAYS * DAY) < 0.04


@pytest.fixture(scope="module")
def town() -> Activity:
    dice = np.random.default_rng(7)
    rows = [office(dice) for _ in range(4)] + [at_random(dice) for _ in range(4)]
    return Activity(tuple(map(str, range(8))), np.array(rows))


RULES = SleepRules()


@pytest.mark.parametrize("share", [0.85, 0.92, 0.96])
def test_the_share_that_was_asked_for_is_met_for_less_than_a_timer_takes(town: Activity, share: float) -> None:
    score = together(judge_all(town, money(town, RULES, share), RULES))
    assert score.warm_share == pytest.approx(share, abs=0.02)


def test_nothing_is_wished_on_account_of_what_comes_later(town: Activity) -> None:
    cut = 10 * DAY + 70
    early = Activity(town.clients, np.concatenate((town.active[:, :cut], np.zeros_like(town.active[:, cut:])), axis=1))
    now = cut * WINDOW_SECONDS
    for active, with_future, without in zip(early.active, money(town, RULES, 0.92), money(early, RULES, 0.92), strict=True):
        known, foreseen = (on_spans(active, np.minimum(wishes, now)) for wishes in (without, with_future))
        assert np.array_equal(known, foreseen)


def test_offices_are_warm_in_the_morning_and_asleep_at_night(town: Activity) -> None:
    wishes = money(town, RULES, 0.92)[0]
    on = on_spans(town.active[0], wishes)
    last_days = on[on[:, 1] > 10 * DAY * WINDOW_SECONDS]
    nights = sum(1 for day in range(10, 14) if not any(a < (day * DAY + 24) * 600 < b for a, b in last_days.tolist()))
    assert nights >= 3
    mornings = [np.flatnonzero(town.active[0, day * DAY : (day + 1) * DAY])[0] + day * DAY for day in range(10, 14)]
    warm = sum(any(start + 300 <= begin * 600 < stop for start, stop in last_days.tolist()) for begin in mornings)
    assert warm >= 2


def test_the_oracle_is_never_cold_and_costs_what_its_formula_says(town: Activity) -> None:
    for active in town.active:
        score = judge(active, just_in_time(active, RULES), RULES)
        assert score.warm == score.active
        assert score.cost_seconds <= score.oracle_seconds
        assert score.cost_seconds == pytest.approx(score.oracle_seconds, abs=600.0)


def test_a_client_who_never_comes_costs_nothing() -> None:
    nobody = Activity(("0",), np.zeros((1, 500), dtype=np.bool_))
    assert money(nobody, RULES, 0.92)[0].shape == (0, 2)


def test_what_is_fitted_tells_returns_apart(town: Activity) -> None:
    x, y = rows_of(town, range(8))
    theta = fit(x, y)
    chance = 1 / (1 + np.exp(-(theta[0] + x @ theta[1:])))
    assert chance.sum() == pytest.approx(y.sum(), rel=0.01)
    assert chance[y == 1].mean() > 2 * chance[y == 0].mean()


def write(path: Path, town: Activity) -> Path:
    lines = [f"{client},{window},3\n" for client, row in zip(town.clients, town.active, strict=True) for window in np.flatnonzero(row)]
    path.write_text("client,window_600s,requests\n" + "".join(lines))
    return path


def test_the_command_gives_a_row_and_a_schedule_of_each_client(
    town: Activity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, rows, schedule = write(tmp_path / "town_clients_600s.csv", town), tmp_path / "rows.json", tmp_path / "schedule.csv"
    options = ("--cold-start", "300", "--warm-share", "0.9", "--json", rows, "--schedule", schedule)
    assert backtest(monkeypatch, file, *options) == 0
    assert "warm" in capsys.readouterr().out
    total, *clients = read_rows(rows)
    assert (total["client"], total["mode"], total["policy"], len(clients)) == (None, "sleep", "scaler", 8)
    assert total["cost_replica_minutes"] == pytest.approx(sum(row["cost_replica_minutes"] for row in clients), abs=1e-3)
    assert total["warm_share"] == pytest.approx(0.9, abs=0.03)
    with schedule.open() as read:
        changes = list(csv.DictReader(read))
    assert list(changes[0]) == ["client", "t_seconds", "desired"]
    assert {change["client"] for change in changes} == set(town.clients)
    mine = [(float(change["t_seconds"]), int(change["desired"])) for change in changes if change["client"] == "3"]
    assert mine[0][0] == 0
    on = np.array([(at, end) for (at, count), (end, _) in zip(mine, [*mine[1:], (town.seconds, 0)], strict=True) if count])
    (row,) = (row for row in clients if row["client"] == "3")
    again = judge(town.active[3], on, RULES)
    assert again.warm_share == pytest.approx(row["warm_share"], abs=1e-5)
    assert again.cost_seconds / 60 == pytest.approx(row["cost_replica_minutes"], abs=24 * 60)  # what is kept beyond the end


def test_policies_that_cannot_sleep_are_refused(
    town: Activity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "town_clients_600s.csv", town)
    assert backtest(monkeypatch, file, "--policy", "hpa") == 2
    assert "for a file of clients" in capsys.readouterr().err


def test_files_without_sparse_clients_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "one_clients_600s.csv"
    file.write_text("client,window_600s,requests\n1,5,2\n")
    assert backtest(monkeypatch, file) == 2
    assert "expected clients that are active seldom" in capsys.readouterr().err


@pytest.mark.skipif("BACKTEST_TRACES" not in os.environ, reason="needs the traces: set BACKTEST_TRACES to their directory")
@pytest.mark.parametrize(("share", "most"), [(0.92, 1.12), (0.95, 1.45)])
def test_the_open_trace_costs_no_more_than_it_may(share: float, most: float) -> None:
    activity = read_activity(Path(os.environ["BACKTEST_TRACES"]) / "servegen_m-mid_clients_600s.csv.gz")
    clients = activity.only(sparse(activity))
    score = together(judge_all(clients, money(clients, RULES, share), RULES))
    assert score.warm_share >= share
    assert score.ratio_to_oracle <= most
