"""What the daemon has recorded, replayed."""

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scaler.backtest.fluid import Rules
from scaler.backtest.journal import Span, lay_out, read_store
from scaler.backtest.live import KEY, Live, settings_of
from scaler.backtest.policies import Case, score
from scaler.backtest.stage import Hours, Stage, demand_of
from scaler.model import Bounds, Decision, Inputs, Known, Power, Sample, Unknown
from scaler.policy import Memory
from scaler.policy.capacity import Estimate
from scaler.policy.learned import Learned
from scaler.replay import checkpoint
from scaler.settings import EndpointSettings
from scaler.store.base import Checkpoint
from scaler.store.sqlite import SqliteStore
from scaler.world.workload import Arrival
from tests.backtest.traces import backtest, rows_of

Patch = pytest.MonkeyPatch
RULES = Rules(cold_start_seconds=60.0, max_replicas=6, warm_up_seconds=0.0)
NOON = 1_700_000_000.0


def sample(start: float, concurrency: float, *, seconds: float = 10.0, arrivals: int = 10) -> Sample:
    return Sample(start, start + seconds, arrivals, {}, concurrency, 0, 0, 0, 0.0, 0, 0.0, 0, 100 * arrivals, 10 * arrivals)


def spans(*given: Sample) -> list[Span]:
    return [Span(NOON + each.start, NOON + each.end, each) for each in given]


async def write(path: Path, figures: list[float | None], *, key: str = "chat", boot: float = 5.0, kept: Checkpoint | None = None) -> None:
    """A store with a decision every ten seconds; None: the meter was silent. ``kept``: checkpoint with the first one."""
    store = await SqliteStore.open(path, NOON)
    for number, concurrency in enumerate(figures):
        now = boot + 10.0 * (number + 1)
        seen = Unknown("silent", now) if concurrency is None else Known(sample(now - 10, concurrency), "meter", now)
        decision = Decision(key, NOON + now, Bounds(1, 1), 0, Power.KEEP, hold=True, reasons=())
        await store.record_decision(decision, Inputs(seen, Unknown("story", now), now, NOON + now), kept if number == 0 else None)
    await store.close()


def test_samples_become_replicas_step_by_step_and_gaps_stay_gaps() -> None:
    traffic = lay_out(spans(sample(0, 8), sample(10, 16), sample(40, 4)), per_replica=8.0)
    assert traffic.demand.tolist() == [1.0, 2.0, 0.0, 0.0, 0.5]
    assert traffic.known is not None
    assert traffic.known.tolist() == [True, True, False, False, True]
    assert traffic.requests.tolist() == [10, 10, 0, 0, 10]
    assert traffic.origin == NOON


def test_ticks_that_are_not_ten_seconds_apart_are_cut_into_steps_that_are() -> None:
    traffic = lay_out(spans(sample(0, 8, seconds=15), sample(15, 16, seconds=15)), per_replica=8.0)
    assert traffic.demand == pytest.approx([1.0, 1.5, 2.0])
    assert traffic.requests == pytest.approx([20 / 3] * 3)


def test_a_step_that_is_hardly_covered_is_not_known() -> None:
    traffic = lay_out(spans(sample(0, 8), sample(13, 8), sample(23, 8, seconds=7)), per_replica=8.0)
    assert traffic.known is not None
    assert traffic.known.tolist() == [True, False, True]


async def test_a_wall_clock_that_was_set_back_tells_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "scaler.db"
    await write(path, [8.0] * 6)
    await write(path, [16.0] * 9)  # the same seconds again, and thirty more
    traffic = read_store(path)["chat"]
    assert traffic.demand.size == 9
    assert traffic.demand[6:].tolist() == [2.0] * 3


@pytest.mark.parametrize(("concurrency", "replicas"), [("auto", 0.75), (4.0, 3.0)])
async def test_what_the_daemon_has_learned_of_a_replica_counts_where_nothing_is_configured(
    tmp_path: Path, concurrency: object, replicas: float
) -> None:
    path = tmp_path / "scaler.db"
    settings = EndpointSettings.model_validate({"id": "e", "policy": {"target_concurrency": concurrency}})
    learned = Learned(estimate=Estimate(16.0, 16.0, 0.9, None, 16.0, "Known."))
    await write(path, [12.0] * 6, kept=checkpoint(settings, Memory(learned=learned)))
    assert read_store(path)["chat"].demand.tolist() == pytest.approx([replicas] * 6)


async def test_a_checkpoint_of_another_version_is_said(tmp_path: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "scaler.db"
    await write(path, [12.0] * 6, kept=Checkpoint('{"id": "e"}', '{"history": "as it was"}'))
    assert backtest(monkeypatch, path, "--from-store") == 2
    assert "a checkpoint is not one of this version (1 faults)" in capsys.readouterr().err


async def test_in_a_gap_nobody_sees_anything_and_nothing_counts(tmp_path: Path) -> None:
    path = tmp_path / "scaler.db"
    await write(path, [*[12.0] * 60, *[None] * 30, *[12.0] * 60])
    traffic = read_store(path)["chat"]
    case = Case(traffic, RULES, peak_replicas=2.0)
    assert traffic.known_days(0.0) == pytest.approx(1200 / 86400)
    hpa = score("hpa", case)
    assert set(hpa.schedule[60:90].tolist()) == {hpa.schedule[59]}  # it keeps what it has
    assert hpa.cost_replica_minutes == pytest.approx((hpa.schedule[:60].sum() + hpa.schedule[90:].sum()) / 6)
    ours = Live(traffic, settings_of(RULES))
    kept = case.judge(ours).schedule
    assert set(kept[60:90].tolist()) == {kept[60]}
    assert score("scaler", case).attainment == pytest.approx(case.judge(kept).attainment)


def test_what_a_real_controller_wrote_is_the_demand_that_there_was(tmp_path: Path, monkeypatch: Patch) -> None:
    rush = [Arrival(0.5 * k, 0, 200, streamed=True) for k in range(4800)]
    quiet = [Arrival(2400 + 2.0 * k, 0, 200, streamed=False) for k in range(600)]
    hours = Hours([*rush, *quiet], 3600.0, RULES)
    asyncio.run(Stage("scaler", hours, folder=tmp_path).play(lambda _: None))
    traffic = read_store(tmp_path / "scaler.db")[KEY]
    assert traffic.demand.size == pytest.approx(359, abs=1)
    assert traffic.known is not None
    assert traffic.known.all()
    assert traffic.requests.sum() == pytest.approx(5400, abs=30)
    truth = demand_of(hours)
    assert np.median(traffic.demand[100:200]) == pytest.approx(np.median(truth[100:200]), rel=0.4)
    assert np.median(traffic.demand[300:]) < np.median(traffic.demand[100:200]) / 2

    rows = tmp_path / "rows.json"
    options = ("--from-store", "--warm-up", "10m", "--cold-start", "60", "--max-replicas", "6", "--policy", "scaler,static,oracle")
    assert backtest(monkeypatch, tmp_path / "scaler.db", *options, "--json", rows) == 0
    found = rows_of(rows)
    assert [(row["trace"], row["policy"]) for row in found] == [(f"scaler.db:{KEY}", name) for name in ("scaler", "static", "oracle")]
    assert all(row["attainment"] > 0.9 for row in found)


async def test_each_endpoint_of_a_store_is_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "scaler.db"
    await write(path, [8.0] * 6, key="chat")
    await write(path, [4.0] * 6, key="code")
    assert {key: traffic.demand[0] for key, traffic in read_store(path).items()} == {"chat": 1.0, "code": 0.5}


async def test_an_endpoint_that_nobody_asked_has_a_row_all_the_same(tmp_path: Path, monkeypatch: Patch) -> None:
    await write(tmp_path / "scaler.db", [0.0] * 60)
    (traffic,) = read_store(tmp_path / "scaler.db").values()
    assert score("hpa", Case(traffic, RULES, peak_replicas=1.0)).attainment == 1.0


async def _empty(path: Path) -> None:
    await write(path, [None] * 3)


NO_STORE = {
    "missing": (None, "no such file"),
    "something else": ("no database", "not a database"),
    "empty": ("", "there is no store in this file"),
    "a meter that was always silent": ("silent", "expected decisions made from known samples"),
}


@pytest.mark.parametrize(("text", "message"), NO_STORE.values(), ids=NO_STORE.keys())
def test_what_is_no_store_ends_with_2(
    tmp_path: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str], text: str | None, message: str
) -> None:
    path = tmp_path / "scaler.db"
    if text == "silent":
        asyncio.run(_empty(path))
    elif text is not None:
        path.write_text(text * 100)
    assert backtest(monkeypatch, path, "--from-store") == 2
    assert message in capsys.readouterr().err


def test_a_store_with_less_than_the_warm_up_says_how_to_go_on(
    tmp_path: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scaler.db"
    asyncio.run(write(path, [8.0] * 20))
    assert backtest(monkeypatch, path, "--from-store") == 2
    assert "--warm-up can be less" in capsys.readouterr().err
    assert replace(RULES, warm_up_seconds=1.0).warm_up_steps == 1
