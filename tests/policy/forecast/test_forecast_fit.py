"""The small fit to an endpoint: on which instants, with which weights, and what becomes of it beside the network."""

from dataclasses import replace

import numpy as np
import pytest

from scaler.policy.forecast.columns import Features
from scaler.policy.forecast.model import (
    Model,
    Quantiles,
    assemble,
    fit,
    fitting,
    steps_of,
    weights,
)
from scaler.policy.forecast.network import Network, with_lead
from scaler.policy.forecast.own import CORRECTION_RIDGE, CORRECTION_STEPS, LEAST_UNIT, Own, fit_own
from scaler.policy.forecast.predict import forecasts
from scaler.policy.forecast.record import DAY, Record
from scaler.policy.forecast.regression import NEAR, RIDGE, fit_quantile
from scaler.policy.forecast.windows import Floats

AIMS = Quantiles(0.9, 0.8)
DICE = np.random.default_rng(11)


def saying(growth: float) -> Network:
    """A network on two columns that says this growth whatever it sees."""
    nothing = np.zeros((3, 4), dtype=np.float32)
    offsets = np.full(4, growth, dtype=np.float32)
    return Network(("a", "b"), (0.5, 0.9), nothing[:, 0], np.ones(3, dtype=np.float32), ((nothing, offsets),), nothing)


def at(level: Floats, *, highest: float = 100.0, columns: Floats | None = None) -> Features:
    """Instants at these levels (lg), with two columns."""
    table = np.ones((level.size, 2)) if columns is None else columns
    return Features(("a", "b"), table, level, np.full(level.size, highest), 2)


def pinball(missed: Floats, tau: float) -> float:
    return float(np.maximum(tau * missed, (tau - 1) * missed).mean())


def lg(replicas: float) -> float:
    return float(np.log(replicas + 0.5))


@pytest.mark.parametrize(("seconds", "steps"), [(0.1, 1), (30.0, 1), (30.1, 2), (59.0, 2), (60.0, 2), (90.0 + 1e-10, 3), (600.0, 20)])
def test_a_lead_is_covered_by_whole_steps(seconds: float, steps: int) -> None:
    assert steps_of(seconds) == steps


def test_an_instant_counts_by_the_root_of_its_level() -> None:
    assert weights(np.log([1.0, 4.0, 9.0])) == pytest.approx([0.5, 1.0, 1.5])


def test_a_fit_looks_at_a_week_of_instants_whose_outcome_is_known() -> None:
    week = fitting(10 * DAY, 6)
    assert (week[0], week[1] - week[0]) == (3 * DAY, 10)
    assert 10 * DAY - 14 - 10 <= week[-1] < 10 * DAY - 14  # a lead, three minutes at least until they would be back, and a minute
    longer = fitting(10 * DAY, 20)
    assert 10 * DAY - 42 - 10 <= longer[-1] < 10 * DAY - 42
    assert fitting(2 * DAY, 6)[0] == DAY // 4, "some past of theirs is known, too"


def test_what_the_endpoint_did_is_fitted_as_growth_over_its_level() -> None:
    columns, level = DICE.normal(size=(40, 2)), DICE.uniform(0, 2, 40)
    goals = np.stack((level + columns @ [1.0, -2.0], level + columns @ [0.5, 3.0]))
    seen = at(level, columns=columns)
    gaps = goals.copy()
    gaps[0, 3] = np.nan
    level_unknown = replace(seen, level=np.where(np.arange(40) == 7, np.nan, level))
    for made, usable in (
        (fit(seen, goals, 6, saying(0.0), AIMS), np.ones(40, dtype=np.bool_)),
        (fit(seen, gaps, 6, saying(0.0), AIMS), np.arange(40) != 3),
        (fit(level_unknown, goals, 6, saying(0.0), AIMS), np.arange(40) != 7),
    ):
        assert made.own is not None
        weight = weights(level[usable])
        up = fit_quantile(columns[usable], (goals[0] - level)[usable], weight, 0.9)
        down = fit_quantile(columns[usable], (goals[1] - level)[usable], weight, 0.8)
        assert made.own.line == pytest.approx(np.stack((up, down)))
        assert made.own.correction.shape == (2, 4), "two columns and the lead are all that this network sees, and ones"
        assert (made.lead, made.aims) == (6, AIMS)


def test_the_network_is_corrected_by_what_it_missed_on_its_own_last_layer() -> None:
    columns, level = DICE.normal(size=(400, 2)), DICE.uniform(0, 2, 400)
    columns[:, 1] *= LEAST_UNIT / 2
    seen, weight, taus = at(level, columns=columns), weights(level), (0.9, 0.8)
    growths = np.stack((0.5 + columns[:, 0], 0.5 - columns[:, 0])) + DICE.normal(size=400) / 10
    own = fit_own(seen, growths, weight, saying(0.5), lead=6, taus=taus)
    spread = np.array([columns[:, 0].std(), LEAST_UNIT, LEAST_UNIT, 1.0])
    units = np.column_stack((columns, np.full(400, np.log(6)), np.ones(400))) / spread
    for head, tau in enumerate(taus):
        theta = fit_quantile(units, growths[head] - 0.5, weight, tau, ridge=CORRECTION_RIDGE, steps=CORRECTION_STEPS)
        assert own.correction[head] == pytest.approx(theta / spread, rel=1e-3)
    line, corrected = own.growths(seen, saying(0.5).look(seen.values, 6), np.full((2, 400), 0.5))
    assert line == pytest.approx(own.line @ columns.T)
    for head, tau in enumerate(taus):
        assert pinball(growths[head] - corrected[head], tau) < pinball(growths[head] - 0.5, tau)


def test_with_fewer_instants_than_columns_the_network_stands_alone() -> None:
    level = np.array([1.0, 2.0])
    seen, goals = at(level), np.stack((level, level))
    lone = fit(replace(seen, own=3, values=np.ones((2, 3))), goals, 6, saying(0.0), AIMS)
    assert (lone.own, lone.id, lone.lead, lone.aims) == (None, assemble(6, AIMS, saying(0.0), None).id, 6, AIMS)
    assert fit(seen, goals, 6, saying(0.0), AIMS).own is not None


def test_a_models_name_tells_all_it_is_made_of() -> None:
    own = Own(np.ones((2, 2)), np.ones((2, 4)))
    plain = assemble(6, AIMS, saying(0.0), None)
    others = [
        assemble(7, AIMS, saying(0.0), None),
        assemble(6, Quantiles(0.9, 0.9), saying(0.0), None),
        assemble(6, AIMS, saying(1.0), None),
        assemble(6, AIMS, replace(saying(0.0), skip=np.ones((3, 4), dtype=np.float32)), None),
        assemble(6, AIMS, saying(0.0), own),
        assemble(6, AIMS, saying(0.0), replace(own, line=2 * own.line)),
        assemble(6, AIMS, saying(0.0), replace(own, correction=2 * own.correction)),
    ]
    ones = np.ones(3, dtype=np.float32)
    parts = ({"shift": ones}, {"scale": 2 * ones}, {"taus": (0.6, 0.9)})
    others += [assemble(6, AIMS, replace(saying(0.0), **part), None) for part in parts]
    assert len({plain.id, *(other.id for other in others)}) == 11
    assert {len(model.id) for model in (plain, *others)} == {12}
    assert assemble(6, AIMS, saying(0.0), None).id == plain.id
    for array in (own.line, own.correction):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 5.0


def made(growth: float, own: Own | None) -> Model:
    return assemble(6, AIMS, saying(growth), own)


def test_the_experts_are_averaged_in_logarithms_and_the_network_counts_for_half() -> None:
    grown = 4.5 * np.e - 0.5
    silent, by_one = np.zeros((2, 4)), np.array([[0.0, 0.0, 0.0, 1.0], [0.0] * 4])  # up: grows by one; down: stays
    line = np.array([[0.5, 0.5], [0.0, 0.0]])
    for own, share in ((Own(line, silent), 1 / 4), (Own(np.zeros((2, 2)), by_one), 1 / 4), (Own(line, by_one), 1 / 2)):
        up, down = forecasts(at(np.array([lg(4.0)])), made(0.0, own))[:, 0]
        assert up == pytest.approx(4.3 ** (1 - share) * (grown + 0.3) ** share - 0.3)
        assert down == pytest.approx(4.0)
    alone = forecasts(at(np.array([lg(4.0)])), made(1.0, None))[:, 0]
    assert alone == pytest.approx([grown, grown])


def test_nothing_below_zero_is_forecast_and_no_wild_growth() -> None:
    assert forecasts(at(np.array([lg(4.0)])), made(-9.0, None))[:, 0] == pytest.approx([0.0, 0.0], abs=1e-6)
    wild = forecasts(at(np.array([lg(1.0)]), highest=1e6), made(9.0, None))[:, 0]
    assert wild == pytest.approx([1.5 * np.exp(4.0) - 0.5] * 2)
    sunk = forecasts(at(np.array([lg(30.0)])), made(-9.0, None))[:, 0]
    assert sunk == pytest.approx([30.5 * np.exp(-3.0) - 0.5] * 2)


def test_the_ceiling_of_a_forecast_is_the_weeks_highest_and_half_of_it_or_the_level() -> None:
    level = np.array([lg(4.0)])
    assert forecasts(at(level, highest=5.0), made(2.0, None))[0, 0] == pytest.approx(7.5)
    assert forecasts(at(level, highest=2.5), made(2.0, None))[0, 0] == pytest.approx(4.0)
    assert forecasts(at(level, highest=np.nan), made(2.0, None))[0, 0] == pytest.approx(4.0)


def test_a_network_scales_its_inputs_adds_its_layers_and_what_skips_them() -> None:
    shift, scale = np.array([1.0, 2.0, 0.5]), np.array([2.0, 4.0, 0.25])
    (first, first_off), (second, second_off) = [(DICE.normal(size=shape), DICE.normal(size=shape[1])) for shape in ((3, 5), (5, 4))]
    skip = DICE.normal(size=(3, 4))
    single = np.float32
    network = Network(
        ("a", "b"),
        (0.5, 0.9),
        shift.astype(single),
        scale.astype(single),
        ((first.astype(single), first_off.astype(single)), (second.astype(single), second_off.astype(single))),
        skip.astype(single),
    )
    columns = DICE.normal(size=(3, 2))
    inputs = (np.column_stack((columns, np.full(3, np.log(6)))) - shift) / scale
    told = np.maximum(inputs @ first + first_off, 0) @ second + second_off + inputs @ skip
    outputs = network.look(columns, 6).outputs
    assert outputs.shape == (2, 2, 3)
    assert outputs.dtype == np.float64
    for head in range(2):
        for tau in range(2):
            assert outputs[head, tau] == pytest.approx(told[:, 2 * head + tau], abs=1e-4)
    assert with_lead(columns, 6).dtype == np.float32, "the same bits on every machine that the network was trained for"


def test_a_quantile_fit_ends_where_the_pull_of_its_residuals_meets_that_of_the_ridge() -> None:
    columns = np.column_stack((np.ones(50), DICE.normal(size=(50, 2))))
    target, weight = DICE.normal(size=50), DICE.uniform(0.5, 2, 50)
    theta = fit_quantile(columns, target, weight, 0.8, steps=400)
    residual = target - columns @ theta
    pull = weight * np.where(residual > 0, 0.8, 0.2) / np.maximum(np.abs(residual), NEAR) * residual
    assert columns.T @ pull == pytest.approx(RIDGE * theta, abs=1e-3)


def test_a_record_begins_with_the_step_under_way() -> None:
    assert (Record.empty(95.0).end, Record.empty(90.0).end, Record.empty().end) == (3, 3, 0)
    assert Record.empty(95.0).values.size == 0
    assert not Record.empty().values.flags.writeable
