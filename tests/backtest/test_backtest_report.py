"""The report: one file that loads nothing, whose figures are the rows' and whose plots are drawn where they belong."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.backtest.demand import Traffic
from scaler.backtest.fluid import Rules
from scaler.backtest.fluid_mode import played
from scaler.backtest.policies import Case, score
from scaler.backtest.report import plot
from scaler.backtest.report.plot import Scale
from scaler.backtest.report.story import Story
from scaler.backtest.rows import Played, changes_of, span_of
from tests.backtest.traces import backtest, rows_of, write_hill

Patch = pytest.MonkeyPatch
QUICK = ("--warm-up", "1h", "--cold-start", "60", "--peak-replicas", "4", "--max-replicas", "8")


class Tags(HTMLParser):
    """What a page consists of; a page with a tag left open or closed twice fails."""

    EMPTY = frozenset({"meta", "br"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_report_is_one_file_that_loads_nothing_and_the_same_again(tmp_path: Path, monkeypatch: Patch) -> None:
    trace = write_hill(tmp_path / "hill & <b>_60s.csv")

    def once(name: str) -> str:
        options = ("--policy", "all", "--html", tmp_path / name, "--json", tmp_path / "rows.json")
        assert backtest(monkeypatch, trace, *QUICK, *options) == 0
        return (tmp_path / name).read_text()

    page = once("a.html")
    assert page == once("b.html")
    found = Tags(page)
    names = {tag for tag, _ in found.tags}
    assert not names & {"script", "link", "img", "iframe", "object"}
    assert not [attributes for _, attributes in found.tags if {"src", "srcset"} & set(attributes)]
    assert all((attributes.get("href") or "#").startswith("#") for _, attributes in found.tags)
    assert not re.search(r"url\(|@import|https?:", page)
    assert "hill &amp; &lt;b&gt;_60s" in page
    for row in rows_of(tmp_path / "rows.json"):
        assert f"<td>${row['cost_dollars']:,.0f}</td>" in page
        assert f"{row['attainment'] * 100:.2f}%" in page
    circles = [attributes for tag, attributes in found.tags if tag == "circle"]
    assert len(circles) == len(rows_of(tmp_path / "rows.json"))


def test_a_policy_that_misses_the_objective_is_told_so(tmp_path: Path, monkeypatch: Patch) -> None:
    trace = write_hill(tmp_path / "hill_60s.csv")
    for objective, told in (("0.999", True), ("0.1", False)):
        options = ("--policy", "together_v2", "--objective", objective, "--html", tmp_path / "a.html")
        assert backtest(monkeypatch, trace, *QUICK, *options) == 0
        assert (f"less than the {float(objective) * 100:g}% that it should be" in (tmp_path / "a.html").read_text()) is told


def test_each_trace_and_cold_start_is_told_by_itself(tmp_path: Path, monkeypatch: Patch) -> None:
    trace = write_hill(tmp_path / "hill_60s.csv")
    assert backtest(monkeypatch, trace, *QUICK, "--cold-start", "60,180", "--html", tmp_path / "a.html") == 0
    page = (tmp_path / "a.html").read_text()
    assert page.count("<section") == 2
    assert "hill_60s, 180 s" in page


def test_an_hour_request_by_request_has_a_report_too(tmp_path: Path, monkeypatch: Patch) -> None:
    trace = write_hill(tmp_path / "hill_60s.csv", hours=1.5, period_hours=1.0)
    options = ("--cold-start", "60", "--max-replicas", "6", "--policy", "scaler,static", "--html", tmp_path / "a.html")
    assert backtest(monkeypatch, trace, "--mode", "requests", *options) == 0
    assert len(Tags((tmp_path / "a.html").read_text()).tags) > 50


def story_of(demand: list[float], *, cold: float = 20.0, policy: str = "static", peak: float = 2.0) -> tuple[Story, Played]:
    steps = np.array(demand)
    case = Case(Traffic(steps, steps, steps, steps), Rules(cold, max_replicas=6, warm_up_seconds=0.0), peak_replicas=peak)
    one = played("story", policy, case, score(policy, case), price=36.0)
    return Story([one], 0.0, 36.0, 0.99), one


def test_where_the_money_goes_by_hand() -> None:
    # Two replicas for 200 steps, the second one starting for two of them. One is busy for the first 100 steps, then nobody comes:
    # that one is held for the 60 steps of ten minutes, and headroom after that.
    story, _ = story_of([1.0] * 100 + [0.0] * 100)
    assert [(share.kind, round(share.cents, 2)) for share in story.money] == [
        ("work", 25.0),
        ("cold", 0.5),
        ("held", 15.0),
        ("idle", 59.5),
    ]


@given(st.lists(st.floats(0, 5), min_size=10, max_size=200))
def test_every_cent_goes_somewhere(demand: list[float]) -> None:
    story, _ = story_of([*demand, 1.0], policy="hpa", peak=4.0)
    cents = [share.cents for share in story.money]
    assert sum(cents) == pytest.approx(100.0)
    assert min(cents) >= -1e-9


def test_what_would_have_been_saved_is_told_against_the_peak_always_on() -> None:
    story, one = story_of([3.0] * 360 + [0.5] * 3240, policy="hpa")
    assert story.peak == 3
    assert story.always_on.cost_dollars == pytest.approx(3 * 10 * 36.0)
    assert story.saved_dollars == pytest.approx(1080.0 - one.result.row.cost_dollars)
    assert story.saved_share == pytest.approx(story.saved_dollars / 1080.0)
    assert story.saved_a_month == pytest.approx(story.saved_dollars / (10 / 24) * 30.4)


def test_a_schedule_comes_back_from_its_changes() -> None:
    schedule = np.array([1, 1, 4, 4, 2])
    assert plot.steps_of(changes_of(schedule), 5).tolist() == schedule.tolist()
    assert plot.steps_of(((0.0, 1), (15.0, 2)), 4).tolist() == [1, 1, 2, 2]


def test_scales_put_figures_where_they_belong() -> None:
    assert [Scale(0, 10, 100, 200).at(value) for value in (-5, 0, 2.5, 10, 99)] == [100, 100, 125, 200, 200]
    assert Scale(1, 100, 0, 10, log=True).at(10) == pytest.approx(5.0)


def test_ticks_of_time_are_round_and_few() -> None:
    x = Scale(0, 7 * 86400, 0, 700)
    assert [tick.text for tick in plot.time_ticks(7 * 86400.0, 7 * 86400.0, x)] == [f"day {day}" for day in range(8, 16)]
    hours = plot.time_ticks(3 * 3600.0, 86400.0 - 3600.0, Scale(0, 10800, 0, 100))
    assert [tick.text for tick in hours][:6] == ["23:00", "23:15", "23:30", "23:45", "day 2", "0:15"]
    assert [tick.text for tick in plot.count_ticks(24.0, Scale(0, 24, 0, 100))] == ["0", "4", "8", "12", "16", "20", "24"]


def test_stairs_and_areas_are_paths() -> None:
    x, y = Scale(0, 4, 0, 40), Scale(0, 2, 20, 0)
    assert plot.stairs(np.array([1.0, 1.0, 2.0, 1.0]), x, y) == "M0.0 10.0H20.0V0.0H30.0V10.0H40.0"
    assert plot.area(np.array([1.0, 2.0]), x, y) == "M0.0 20.0 L0.0 10.0 L40.0 0.0 L40.0 20.0 Z"
    assert plot.binned(np.arange(10.0), plot.peak_of_each, bins=5).tolist() == [1, 3, 5, 7, 9]
    assert plot.binned(np.arange(3.0), plot.mean_of_each, bins=2).tolist() == [0.5, 2.0]


def test_even_a_little_late_work_is_marked() -> None:
    marks = plot.marks(np.array([0.0, 0.01, 0.9]), Scale(0, 3, 0, 3))
    assert [(mark.x, mark.width) for mark in marks] == [(1.0, 1.5), (2.0, 1.5)]
    assert marks[0].dark < marks[1].dark == 1.0


@given(st.lists(st.tuples(st.floats(100, 500), st.floats(50, 300)), min_size=1, max_size=8))
def test_labels_of_a_few_points_cover_each_other_only_where_there_is_no_room(places: list[tuple[float, float]]) -> None:
    points = [(x, y, f"name{number}") for number, (x, y) in enumerate(places)]
    labels = plot.place_labels(points, right=640.0)
    assert len(labels) == len(points)
    assert all(label.x < 640 for label in labels)
    starts = [(label.x, label.y, label.anchor) for label in labels]
    assert len(set(starts)) == len(starts)


def test_endpoints_that_sleep_are_told_one_by_one(tmp_path: Path, monkeypatch: Patch) -> None:
    trace = tmp_path / "few_clients_600s.csv"
    calls = [(client, day * 144 + 60 + 4 * client + k) for client in (3, 7) for day in range(14) for k in (0, 1, 6)]
    trace.write_text("client,window_600s,requests\n" + "".join(f"{client},{window},1\n" for client, window in calls))
    options = ("--policy", "idle_30m,oracle", "--cold-start", "300", "--warm-share", "0.5", "--html", tmp_path / "a.html")
    assert backtest(monkeypatch, trace, *options, "--json", tmp_path / "rows.json") == 0
    page = (tmp_path / "a.html").read_text()
    strips = [attributes for tag, attributes in Tags(page).tags if tag == "path" and attributes.get("class") == "used"]
    assert len(strips) == 2
    # Ten-minute windows 0, 1 and 6 of a day: asleep at the first, still awake at the second, asleep after half an hour at the last.
    assert "33.33% of the windows in use found their endpoint awake" in page
    always = 2 * (rows_of(tmp_path / "rows.json")[0]["days"]) * 24 * 10.8
    assert f"<b>${always:,.0f}</b><span>2 endpoints always on</span>" in page


def test_who_never_scales_is_the_static_baseline_if_it_was_played() -> None:
    story, one = story_of([1.0] * 100, policy="static", peak=4.0)
    assert story.always == "4 replicas always on"
    assert story.always_on == one.result.row
    assert (story.span, span_of(7.0)) == ("0.278 hours", "7 days")


def test_all_means_for_endpoints_that_sleep_who_knows_how_to(tmp_path: Path, monkeypatch: Patch) -> None:
    trace = tmp_path / "few_clients_600s.csv"
    trace.write_text("client,window_600s,requests\n" + "".join(f"3,{144 * day + 60 + k},1\n" for day in range(14) for k in (0, 6)))
    assert backtest(monkeypatch, trace, "--policy", "idle_30m,all", "--cold-start", "300", "--json", tmp_path / "rows.json") == 0
    together = [row["policy"] for row in rows_of(tmp_path / "rows.json") if row["client"] is None]
    assert together == ["idle_30m", "scaler", "static", "idle_10m", "idle_60m", "oracle"]
