"""Baselines beside the live policy: the same traffic, the same judge, and money that can be compared."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.backtest.fluid import Rules
from scaler.shadow.lanes import ACTUAL, SCALER, Beat, Shadow

RULES = Rules(cold_start_seconds=180.0, max_replicas=4)
TICK = 10.0


def live(shadow: Shadow, minutes: float, offered: float, *, start: float = 0.0, actual: int = 2, decided: int = 2) -> float:
    """So many minutes of the same traffic from ``start`` on; where they end."""
    for number in range(round(minutes * 60 / TICK)):
        shadow.follow(Beat(start + number * TICK, start + (number + 1) * TICK, offered, actual, decided, dollars_per_hour=6.0))
    return start + minutes * 60


def test_an_hour_of_steady_traffic_costs_what_runs() -> None:
    shadow = Shadow(RULES)
    live(shadow, 60, 1.4)
    costs = {name: round(standing.dollars, 2) for name, standing in shadow.standings.items()}
    assert costs[ACTUAL] == costs[SCALER] == 12.0
    assert costs["static"] == 24.0
    assert 6.0 < costs["hpa"] <= 18.0
    assert shadow.standings["static"].attainment > shadow.standings["together_v2"].attainment


def test_a_dry_run_shows_what_the_decisions_would_have_been_worth() -> None:
    shadow = Shadow(RULES)
    live(shadow, 60, 0.2, actual=4, decided=1)
    assert shadow.standings[ACTUAL].dollars == pytest.approx(24.0)
    assert shadow.standings[SCALER].dollars == pytest.approx(6.0)
    assert shadow.standings[SCALER].attainment == 1.0


def test_who_is_late_misses_work_until_the_cold_start_is_over() -> None:
    shadow = Shadow(RULES)
    calm = live(shadow, 30, 0.5, actual=1, decided=3)
    live(shadow, 10, 2.5, start=calm, actual=1, decided=3)
    assert shadow.standings[SCALER].attainment == 1.0
    assert shadow.standings[ACTUAL].attainment < 0.6
    assert shadow.standings["hpa"].attainment < 1.0


def test_who_sleeps_costs_nothing_and_serves_nobody_while_others_stay_up() -> None:
    shadow = Shadow(RULES)
    awake = live(shadow, 60, 0.5, actual=1, decided=1)
    asleep = live(shadow, 60, 0.0, start=awake, actual=0, decided=0)
    assert shadow.standings[ACTUAL].dollars == shadow.standings[SCALER].dollars == pytest.approx(6.0)
    assert shadow.standings["hpa"].dollars == pytest.approx(12.0)
    live(shadow, 6, 0.5, start=asleep, actual=1, decided=1)
    assert shadow.standings[ACTUAL].attainment == pytest.approx(63 / 66)  # all but the three minutes of the cold start
    assert shadow.standings["hpa"].attainment == 1.0


def test_a_long_silence_belongs_to_nobody() -> None:
    shadow = Shadow(RULES)
    end = live(shadow, 10, 1.0)
    before = dict(shadow.standings)
    shadow.follow(Beat(end, end + 3600.0, 1.0, 2, 2, 6.0))
    assert dict(shadow.standings) == before


def test_an_unknown_baseline_is_refused() -> None:
    with pytest.raises(KeyError):
        Shadow(RULES, ["nobody"])


@given(st.lists(st.tuples(st.floats(0.0, 9.0), st.integers(0, 9), st.floats(0.1, 60.0)), max_size=60))
def test_every_lane_sees_the_same_work_and_none_serves_more_of_it(beats: list[tuple[float, int, float]]) -> None:
    shadow, now = Shadow(RULES), 0.0
    for offered, decided, seconds in beats:
        shadow.follow(Beat(now, now + seconds, offered, 1, decided, 6.0))
        now += seconds
    standings = list(shadow.standings.values())
    assert len({standing.work for standing in standings}) == 1
    for standing in standings:
        assert 0.0 <= standing.on_time <= standing.work * (1 + 1e-9)
        assert standing.dollars <= RULES.max_replicas * 6.0 * now / 3600 * (1 + 1e-9)
