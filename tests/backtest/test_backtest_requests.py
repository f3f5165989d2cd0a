"""Request mode: what becomes of each request, and that the live loop is what decides."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scaler.backtest.clerk import Clerk
from scaler.backtest.crowd import Crowd
from scaler.backtest.fluid import Rules
from scaler.backtest.request_mode import row_of
from scaler.backtest.stage import ID, Hours, Stage, demand_of, play, work_of
from scaler.model import Action, ActionKind, Bounds, EndpointState, EndpointWish
from scaler.providers.base import NotFound, Refused
from scaler.proxy.routes import Objective
from scaler.settings import ColdStartSettings, WorldEndpointSettings, WorldSettings
from scaler.world.platform import Platform
from scaler.world.workload import Arrival
from tests.backtest.traces import backtest, rows_of, write_hill

Patch = pytest.MonkeyPatch
RULES = Rules(cold_start_seconds=60.0, max_replicas=6, warm_up_seconds=0.0)
ONE = WorldEndpointSettings(id=ID, model="mistralai/Mixtral-8x7B-Instruct-v0.1", hardware="2x_nvidia_h100_80gb_sxm", max_replicas=4)


def every(seconds: float, until: float, *, start: float = 0.0, output: int = 200) -> list[Arrival]:
    """Requests of 0.4 + 4 s at regular intervals."""
    return [Arrival(start + seconds * k, 0, output, streamed=k % 2 == 0) for k in range(int((until - start) / seconds))]


def hours(arrivals: Sequence[Arrival], seconds: float, rules: Rules = RULES) -> Hours:
    return Hours(arrivals, seconds, rules, peak_replicas=4.0)


def platform() -> Platform:
    return Platform(WorldSettings(endpoints=(ONE,), cold_start=ColdStartSettings(median_seconds=60.0, sigma=0.0)))


def test_who_is_not_begun_with_after_two_minutes_leaves_then_and_counts_as_aborted() -> None:
    # Eight slots; an answer of 10,000 tokens takes 320 s on a full replica. The ninth waits, and leaves after 120 s.
    world = platform()
    crowd = Crowd(world, ID, Objective(2.0))
    for k in range(9):
        crowd.arrive(Arrival(float(k), 0, 10_000, streamed=True))
    crowd.lose_patience(127.9)
    assert crowd.meter.in_flight == 9
    crowd.lose_patience(500.0)
    world.advance(500.0)
    assert [fate.on_time for fate in crowd.fates] == [True] * 8 + [False]
    job = crowd.fates[-1].job
    assert job is not None
    assert job.finished_at == 128.0
    reading = crowd.meter.read()
    assert (reading.completions["2xx"], reading.completions["aborted"], reading.in_flight) == (8, 1, 0)
    assert (reading.ttft.count, reading.latency.count, reading.output_tokens) == (8, 8, 80_000)


def test_who_is_taken_up_after_two_seconds_is_late() -> None:
    world = platform()
    crowd = Crowd(world, ID, Objective(2.0))
    for k in range(9):
        crowd.arrive(Arrival(0.01 * k, 0, 100, streamed=False))  # 0.4 + 2 s, full: 3.84 s
    world.advance(60.0)
    assert [fate.on_time for fate in crowd.fates] == [True] * 8 + [False]
    assert crowd.meter.read().completions["2xx"] == 9


def test_who_is_refused_is_counted_and_late() -> None:
    world = Platform(WorldSettings(endpoints=(ONE,), max_queued=0))
    crowd = Crowd(world, ID, Objective(2.0))
    for _ in range(9):
        crowd.arrive(Arrival(0.0, 0, 100, streamed=False))
    assert crowd.fates[-1].job is None
    assert not crowd.fates[-1].on_time
    assert crowd.meter.read().completions["5xx"] == 1


async def test_the_clerk_says_and_does_what_the_update_api_would() -> None:
    world = platform()
    v1, v2 = (Clerk(world, lambda: 10.0, tells=tells) for tells in (False, True))
    assert (await v1.get(ID)).ready_replicas is None
    told = await v2.apply(Action(ActionKind.UPDATE, ID, Bounds(3, 4), 0))
    assert (told.state, told.bounds, told.ready_replicas, told.desired_replicas) == (EndpointState.STARTED, Bounds(3, 4), 1, 3)
    world.advance(75.0)
    after = await Clerk(world, lambda: 75.0, tells=True).get(ID)
    assert (after.ready_replicas, after.inactive_timeout_minutes) == (3, 0)
    stopped = await Clerk(world, lambda: 80.0, tells=True).apply(Action(ActionKind.STOP, ID, Bounds(3, 4), 0))
    assert stopped.state is EndpointState.STOPPING
    assert [one.id for one in await v2.list()] == [ID]
    assert {one.id for one in await v2.hardware()} >= {ONE.hardware}
    assert await v2.zones()


async def test_what_a_backtest_has_no_use_for_is_refused() -> None:
    clerk = Clerk(platform(), lambda: 0.0, tells=True)
    with pytest.raises(NotFound):
        await clerk.get("endpoint-other")
    with pytest.raises(Refused, match="Invalid autoscaling"):
        await clerk.apply(Action(ActionKind.UPDATE, ID, Bounds(4, 3), 0))
    with pytest.raises(Refused, match="creates nothing"):
        await clerk.create(EndpointWish("a", ONE.model, ONE.hardware, Bounds(1, 1), 0))
    with pytest.raises(Refused, match="deletes nothing"):
        await clerk.delete(ID)


def test_a_fixed_count_costs_its_time_and_serves_what_it_can() -> None:
    # One request a second of 4.4 s alone keeps five slots busy: one replica is enough, and two are ordered.
    story = hours(every(1.0, 1200.0), 1200.0)
    went = play("static", replace(story, peak_replicas=2.0), lambda _: None)
    assert went.changes == ((0.0, 2),)
    assert went.replica_seconds == pytest.approx(2 * 1200.0)
    row = row_of("story", "static", story, went, price=3.6)
    assert row.cost_dollars == pytest.approx(2 * 1200 / 1000)
    assert (row.attainment, row.worst_hour, row.actions_per_day, row.cold_hit_requests) == (1.0, 1.0, 0.0, 0)


def test_the_live_loop_adds_what_a_rush_needs_and_those_who_came_meanwhile_are_late() -> None:
    rush = [*every(2.0, 600.0), *every(0.2, 1500.0, start=600.0), *every(2.0, 3000.0, start=1500.0)]
    story = hours(rush, 3000.0)
    stage = Stage("scaler", story)
    assert stage.endpoint.desired == 1
    went = play("scaler", story, lambda _: None)
    first = next(at for at, count in went.changes if count > 1)
    assert 600 < first <= 660
    assert max(count for _, count in went.changes) >= 4
    assert went.changes[-1][1] < 4  # given back
    late = [fate for fate in went.fates if not fate.on_time]
    assert late
    assert all(600 < fate.arrived_at < 900 for fate in late)
    row = row_of("story", "scaler", story, went, price=1.0)
    assert row.cold_hit_requests == sum(fate.starting for fate in late) > 0
    assert row.attainment == pytest.approx(1 - len(late) / len(rush))


def test_a_rush_at_the_first_start_is_not_taken_for_what_a_replica_is_worth() -> None:
    """Two requests a second, in flight for seven: more than one replica serves while others start. Eight are served well by each."""
    dice = np.random.default_rng(1)
    times, tokens = np.cumsum(dice.exponential(0.5, 6000)), dice.integers(50, 500, 6000)
    arrivals = [
        Arrival(at, 0, output, streamed=k % 2 == 0) for k, (at, output) in enumerate(zip(times.tolist(), tokens.tolist(), strict=True))
    ]
    story = hours([one for one in arrivals if one.at < 3000], 3000.0, Rules(cold_start_seconds=180.0, max_replicas=12, warm_up_seconds=0.0))
    went = play("scaler", story, lambda _: None)
    assert max(count for _, count in went.changes) > 6, "a rush it was"
    needed = demand_of(story)[60:].mean() / 0.7
    assert needed <= went.changes[-1][1] < needed + 2


def test_the_warm_up_is_played_and_not_scored() -> None:
    story = hours(every(1.0, 1200.0), 1200.0, replace(RULES, warm_up_seconds=600.0))
    went = play("static", replace(story, peak_replicas=1.0), lambda _: None)
    assert went.replica_seconds == pytest.approx(600.0)
    assert len(went.fates) == 600


def test_the_platform_alone_is_a_policy_and_floats_above_scalers_bound() -> None:
    story = hours([*every(1.0, 900.0), *every(0.25, 2400.0, start=900.0)], 2400.0)
    alone = play("together_v2", story, lambda _: None)
    assert max(count for _, count in alone.changes) >= 2
    pinned, floating = (play("scaler", replace(story, native="v2", burst_replicas=burst), lambda _: None) for burst in (0, 4))
    assert floating.changes != pinned.changes


def test_the_clairvoyant_know_the_work_that_will_come() -> None:
    story = hours(every(1.0, 600.0), 600.0)
    assert demand_of(story) == pytest.approx([work_of(0, 200)] * 60)
    assert work_of(0, 200) == pytest.approx(1.6 * 4.4 / 8)


def test_the_command_plays_an_hour_of_a_trace_and_the_same_again(tmp_path: Path, monkeypatch: Patch) -> None:
    trace = write_hill(tmp_path / "hill_60s.csv", hours=2.0, period_hours=1.0)

    def once(turn: str) -> tuple[bytes, bytes]:
        rows, schedule = tmp_path / f"{turn}.json", tmp_path / f"{turn}.csv"
        options = ("--cold-start", "60", "--max-replicas", "6", "--begin", "30m", "--for", "1h", "--policy", "scaler,hpa,oracle")
        assert backtest(monkeypatch, trace, "--mode", "requests", *options, "--json", rows, "--schedule", schedule) == 0
        return rows.read_bytes(), schedule.read_bytes()

    first = once("first")
    assert first == once("second")
    rows = rows_of(tmp_path / "first.json")
    assert [(row["policy"], row["mode"]) for row in rows] == [(name, "requests") for name in ("scaler", "hpa", "oracle")]
    assert rows[-1]["ratio_to_oracle"] == 1
    assert rows[0]["days"] == pytest.approx(0.75 / 24, abs=1e-6)
    assert (tmp_path / "first.csv").read_text().startswith("policy,t_seconds,desired\nscaler,0,1\n")


BAD = {
    "after the end": (("--begin", "3h"), "expected more than the warm-up of 900 s, got 0 s"),
    "nothing but warm-up": (("--for", "15m"), "expected more than the warm-up of 900 s, got 900 s"),
    "tuning": (("--tune",), "--tune: expected --mode fluid, got --mode requests"),
}


@pytest.mark.parametrize(("options", "message"), BAD.values(), ids=BAD.keys())
def test_bad_usage_ends_with_2(
    tmp_path: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    trace = write_hill(tmp_path / "hill_60s.csv", hours=2.0)
    assert backtest(monkeypatch, trace, "--mode", "requests", *options) == 2
    assert message in capsys.readouterr().err
