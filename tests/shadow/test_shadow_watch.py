"""What others would have cost, as figures to scrape and on the status page."""

from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from scaler.model import Bounds, EndpointState, Power
from scaler.policy.demand import Load
from scaler.policy.fleet import Fleet
from scaler.policy.learned import Learned
from scaler.settings import EndpointSettings
from scaler.shadow import Shadows
from tests.observability.ticks import TickStory

SETTINGS = {"chat": EndpointSettings(id="endpoint-1", max_replicas=4)}

TWO_RUN = TickStory(bounds=Bounds(1, 1), fleet=Fleet(2))
"""Two replicas run and one is decided on."""


def follow(shadows: Shadows, ticks: int, offered: float, story: TickStory = TWO_RUN) -> None:
    """So many ticks with this demand."""
    for number in range(ticks):
        load = Load(number * 10.0, number * 10.0 + 10.0, offered, offered)
        tick = replace(story.tick(), learned=Learned(loads=(load,)))
        shadows.follow(tick, 6.0)


def figures(shadows: Shadows) -> dict[tuple[str, str], float]:
    registry = CollectorRegistry()
    registry.register(shadows)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {(sample.name, sample.labels["lane"]): sample.value for family in families for sample in family.samples}


def test_an_hour_in_all_lanes() -> None:
    shadows = Shadows()
    shadows.use(SETTINGS)
    follow(shadows, 360, 0.8)
    seen = figures(shadows)
    assert seen["scaler_shadow_dollars_total", "actual"] == pytest.approx(12.0)
    assert seen["scaler_shadow_dollars_total", "scaler"] == pytest.approx(6.0)
    assert seen["scaler_shadow_dollars_total", "static"] == pytest.approx(24.0)
    assert seen["scaler_shadow_work_replica_seconds_total", "hpa"] == pytest.approx(2880.0)
    assert set(shadows.status("chat")) == {"actual", "scaler", "static", "together_v2", "hpa"}
    assert shadows.status("chat")["scaler"] == {"dollars": 6.0, "attainment": 1.0, "replicas": 1, "hours": 1.0}


@pytest.mark.parametrize(
    ("story", "actual", "scaler"),
    [
        pytest.param(replace(TWO_RUN, power=Power.STOP), 12.0, 0.0, id="a stop that nobody sends"),
        pytest.param(replace(TWO_RUN, fleet=Fleet(), state=EndpointState.STOPPED, hold=True), 0.0, 0.0, id="asleep, and may be"),
    ],
)
def test_sleep_is_worth_what_it_saves(story: TickStory, actual: float, scaler: float) -> None:
    shadows = Shadows()
    shadows.use(SETTINGS)
    follow(shadows, 360, 0.0, story)
    seen = figures(shadows)
    assert seen["scaler_shadow_dollars_total", "actual"] == pytest.approx(actual)
    assert seen["scaler_shadow_dollars_total", "scaler"] == pytest.approx(scaler)
    assert seen["scaler_shadow_dollars_total", "hpa"] == pytest.approx(6.0)


def test_new_bounds_begin_a_new_comparison_and_unknown_traffic_adds_nothing() -> None:
    shadows = Shadows()
    shadows.use(SETTINGS)
    follow(shadows, 6, 0.8)
    before = figures(shadows)
    shadows.follow(TickStory(concurrency=None).tick(), 6.0)
    shadows.follow(TickStory().tick(), 6.0)
    assert figures(shadows) == before
    shadows.use({"chat": SETTINGS["chat"].model_copy(update={"max_replicas": 6})})
    follow(shadows, 6, 0.8)
    assert shadows.status("chat")["static"]["replicas"] == 6
    assert shadows.status("other") == {}
    shadows.use({})
    assert figures(shadows) == {}
