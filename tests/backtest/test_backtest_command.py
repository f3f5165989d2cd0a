import csv
from pathlib import Path

import pytest

from scaler.backtest.policies import NAMES
from tests.backtest.traces import HEADER, backtest, rows_of, write_hill

Patch = pytest.MonkeyPatch
QUICK = ("--warm-up", "1h", "--cold-start", "60", "--peak-replicas", "4", "--max-replicas", "8")


@pytest.fixture
def hill(tmp_path: Path) -> Path:
    return write_hill(tmp_path / "hill_60s.csv")


def test_one_policy_of_one_trace_gives_a_row_and_a_schedule_that_agree(
    hill: Path, tmp_path: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, schedule = tmp_path / "rows.json", tmp_path / "schedule.csv"
    assert backtest(monkeypatch, hill, *QUICK, "--json", rows, "--schedule", schedule) == 0
    (row,) = rows_of(rows)
    assert (row["trace"], row["client"], row["policy"], row["cold_start_seconds"], row["warm_share"]) == (
        "hill_60s",
        None,
        "scaler",
        60,
        None,
    )
    with schedule.open() as file:
        changes = list(csv.DictReader(file))
    assert list(changes[0]) == ["t_seconds", "desired"]
    assert changes[0]["t_seconds"] == "0"
    ends = [*(int(change["t_seconds"]) for change in changes[1:]), 6 * 3600]
    spans = [(max(3600, int(change["t_seconds"])), end, int(change["desired"])) for change, end in zip(changes, ends, strict=True)]
    billed = sum(max(0, end - start) * count for start, end, count in spans)
    assert row["cost_replica_minutes"] == pytest.approx(billed / 60, abs=1e-5)
    assert row["cost_dollars"] == pytest.approx(row["cost_replica_hours"] * 10.8, abs=1e-5)
    shown = capsys.readouterr().out
    assert "hill_60s, cold start 60 s" in shown
    assert f"{row['attainment']:.2%}" in shown


def test_all_policies_at_two_cold_starts_beside_the_oracle(hill: Path, tmp_path: Path, monkeypatch: Patch) -> None:
    rows, schedule = tmp_path / "rows.json", tmp_path / "schedule.csv"
    assert backtest(monkeypatch, hill, *QUICK, "--cold-start", "60,3m", "--policy", "all", "--json", rows, "--schedule", schedule) == 0
    found = rows_of(rows)
    names = [name for name in NAMES if not name.startswith("idle_")]
    assert [(row["cold_start_seconds"], row["policy"]) for row in found] == [(cold, name) for cold in (60, 180) for name in names]
    best = {row["cold_start_seconds"]: row["cost_replica_minutes"] for row in found if row["policy"] == "oracle"}
    for row in found:
        assert row["ratio_to_oracle"] == pytest.approx(row["cost_replica_minutes"] / best[row["cold_start_seconds"]], abs=1e-5)
        assert 0 <= row["worst_hour"] <= row["attainment"] <= 1
    assert schedule.read_text().splitlines()[0] == "policy,cold_start_seconds,t_seconds,desired"


def test_two_traces_are_told_apart(hill: Path, tmp_path: Path, monkeypatch: Patch) -> None:
    other, schedule = write_hill(tmp_path / "other_60s.csv", period_hours=2.0), tmp_path / "schedule.csv"
    assert backtest(monkeypatch, hill, other, *QUICK, "--policy", "hpa", "--schedule", schedule) == 0
    lines = schedule.read_text().splitlines()
    assert lines[0] == "trace,t_seconds,desired"
    assert {line.split(",")[0] for line in lines[1:]} == {"hill_60s", "other_60s"}


def test_a_tuned_target_attains_the_objective_for_less(hill: Path, tmp_path: Path, monkeypatch: Patch) -> None:
    rows = tmp_path / "rows.json"
    assert backtest(monkeypatch, hill, *QUICK, "--policy", "hpa,static", "--tune", "--objective", "0.95", "--json", rows) == 0
    by_name = {row["policy"]: row for row in rows_of(rows)}
    assert list(by_name) == ["hpa", "hpa_tuned", "static", "static_tuned"]
    assert by_name["hpa"]["attainment"] > 0.95  # the usual target is too careful here
    assert by_name["hpa_tuned"]["attainment"] >= 0.95
    assert by_name["hpa_tuned"]["target_factor"] > 1
    assert by_name["hpa_tuned"]["cost_replica_minutes"] < by_name["hpa"]["cost_replica_minutes"]
    assert by_name["static_tuned"]["attainment"] >= 0.95


def test_the_same_backtest_twice_writes_the_same_bytes(hill: Path, tmp_path: Path, monkeypatch: Patch) -> None:
    def files(turn: str) -> list[bytes]:
        names = [tmp_path / f"{turn}.{kind}" for kind in ("json", "csv")]
        options = ("--policy", "scaler,kpa,oracle", "--native", "v2", "--burst-replicas", "2")
        assert backtest(monkeypatch, hill, *QUICK, *options, "--json", names[0], "--schedule", names[1]) == 0
        return [name.read_bytes() for name in names]

    assert files("once") == files("again")


BAD = {
    "unknown policy": (("--policy", "scaler,hpb"), "--policy: expected names out of all, scaler, static,"),
    "no time": (("--cold-start", "soon"), "--cold-start: expected a time such as 7d"),
    "cold start of zero": (("--cold-start", "0"), "--cold-start: expected different times above 0"),
    "the same cold start twice": (("--cold-start", "60,1m"), "--cold-start: expected different times"),
    "warm-up as long as the trace": (("--warm-up", "6h"), "expected more days than the 0.25 of warm-up, got 0.25; --warm-up can be less"),
    "a share above one": (("--objective", "99"), "--objective: expected a share between 0 and 1, got 99"),
    "no replicas": (("--max-replicas", "0"), "--max-replicas: expected a number from 1 to 59, got 0"),
    "a peak of zero": (("--peak-replicas", "0"), "--peak-replicas: expected a positive number"),
    "a price below nothing": (("--price", "-1"), "--price: expected dollars"),
    "a file in no folder": (("--json", "/nowhere/rows.json"), "/nowhere/rows.json: expected the name of a file in a folder that exists"),
    "a folder for a file": (("--html", "/"), "/: expected the name of a file"),
    "no time at all": (("--warm-up", ""), "--warm-up: expected a time such as 7d"),
    "a share of an endpoint that stays up": (
        ("--warm-share", "0.92"),
        "--warm-share: expected a file of clients (*_clients_600s.csv), got none",
    ),
    "room for nobody": (("--burst-replicas", "2"), "--burst-replicas: expected --native v1 or v2, got --native pinned"),
    "a part of a trace in fluid mode": (("--for", "12h"), "--begin and --for: expected --mode requests, got --mode fluid"),
}


@pytest.mark.parametrize(("options", "message"), BAD.values(), ids=BAD.keys())
def test_bad_usage_ends_with_2_and_says_what_was_expected(
    hill: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert backtest(monkeypatch, hill, *QUICK, *options) == 2
    assert message in capsys.readouterr().err


FILES = {
    "missing": (None, "cannot be read"),
    "no trace": ("a,b\n1,2\n", "expected the columns"),
    "nobody came": (HEADER + "0,0,,\n60,0,,\n", "expected work in more than 0.1 % of the minutes"),
    "before its origin": (HEADER + "-60,1,,\n0,1,,\n", "from second 0"),
}


@pytest.mark.parametrize(("text", "message"), FILES.values(), ids=FILES.keys())
def test_a_file_that_is_no_trace_ends_with_2_and_names_itself(
    tmp_path: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str], text: str | None, message: str
) -> None:
    file = tmp_path / "bad_60s.csv"
    if text is not None:
        file.write_text(text)
    assert backtest(monkeypatch, file, *QUICK) == 2
    error = capsys.readouterr().err
    assert message in error
    assert str(file) in error


def test_what_would_change_nothing_for_endpoints_that_may_sleep_is_refused(
    tmp_path: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "few_clients_600s.csv"
    for options in (("--tune",), ("--mode", "requests"), ("--native", "v2")):
        assert backtest(monkeypatch, file, *options) == 2
        assert "expected traces of an endpoint that stays up, got few_clients_600s.csv" in capsys.readouterr().err


def test_two_files_of_one_name_are_refused(hill: Path, tmp_path: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "deeper").mkdir()
    twin = write_hill(tmp_path / "deeper" / hill.name)
    assert backtest(monkeypatch, hill, twin, *QUICK) == 2
    assert "TRACE: expected files of different names" in capsys.readouterr().err
