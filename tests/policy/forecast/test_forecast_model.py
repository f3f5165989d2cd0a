from dataclasses import replace

import numpy as np
import pytest

from scaler.policy.forecast import Network, Quantiles, Record, forecast, refit, unfitted
from scaler.policy.forecast.columns import features, lg
from scaler.policy.forecast.model import targets
from scaler.policy.forecast.own import Own
from scaler.policy.forecast.predict import NETWORK_SHARE, OWN_BELOW
from scaler.policy.forecast.record import DAY
from scaler.policy.forecast.regression import fit_quantile
from scaler.policy.forecast.windows import Floats
from scaler.pooled import shipped
from tests.policy.forecast.weeks import office

NAMES = features(np.ones(10), np.array([10]), 6).names
OWN_LEVEL = NAMES.index("level")
AIMS = Quantiles(0.9, 0.9)


def flat() -> Network:
    """Says: the window ahead will be like the last ten minutes."""
    count = len(NAMES) + 1
    nothing, ones = np.zeros((count, 6), dtype=np.float32), np.ones(count, dtype=np.float32)
    return Network(NAMES, (0.8, 0.9, 0.98), nothing[:, 0], ones, ((nothing, nothing[0]),), nothing)


def record(values: Floats) -> Record:
    return Record(values, values.size)


def test_a_quantile_fit_leaves_its_share_above() -> None:
    dice = np.random.default_rng(3)
    columns = np.column_stack((np.ones(4000), dice.uniform(-1, 1, 4000)))
    target = columns @ [1.0, 2.0] + dice.exponential(1.0, 4000) * (1.5 + columns[:, 1])
    theta = fit_quantile(columns, target, np.ones(4000), 0.9, steps=40)
    assert np.mean(target > columns @ theta) == pytest.approx(0.1, abs=0.005)
    assert theta == pytest.approx([1 + 1.5 * np.log(10), 2 + np.log(10)], abs=0.3)


def test_a_network_by_hand() -> None:
    first = (np.array([[1.0], [0.0]], dtype=np.float32), np.array([-1.0], dtype=np.float32))  # max(0, column - 1)
    second = (np.array([[10.0, 20.0]], dtype=np.float32), np.array([1.0, 2.0], dtype=np.float32))
    skip = np.array([[0.0, 0.0], [0.0, 100.0]], dtype=np.float32)  # down: 100 x (lg lead - 0) too
    network = Network(("one",), (0.9,), np.zeros(2, dtype=np.float32), np.ones(2, dtype=np.float32), (first, second), skip)
    told = network.look(np.array([[0.5], [3.0]]), 1).outputs
    assert told.tolist() == [[[1.0, 21.0]], [[2.0, 42.0]]]
    assert network.look(np.array([[0.5]]), 10).outputs[1, 0, 0] == pytest.approx(2 + 100 * np.log(10), rel=1e-6)


def test_between_quantiles_and_beyond_a_network_is_read_in_proportion() -> None:
    offsets = np.array([1.0, 2.0, 3.0, 0.0, 0.0, 6.0], dtype=np.float32)
    network = replace(flat(), layers=((flat().skip, offsets),))
    columns = np.zeros((1, len(NAMES)))
    assert network.look(columns, 6).growth((0.9, 0.98)).ravel() == pytest.approx([2.0, 6.0])
    odds = 9**0.5 * 49**0.5  # halfway between 0.9 and 0.98
    assert network.look(columns, 6).growth((odds / (1 + odds), 0.9)).ravel() == pytest.approx([2.5, 0.0])
    odds = 49**2 / 9  # as far again beyond 0.98
    assert network.look(columns, 6).growth((0.9, odds / (1 + odds))).ravel() == pytest.approx([2.0, 12.0])


def test_targets_are_the_peak_one_lead_ahead_and_the_peak_over_two_leads() -> None:
    values = np.ones(400)
    values[150] = 7.0
    at = np.arange(400)
    up, down = targets(values, at, 20) > lg(np.array(2.0))
    assert (np.flatnonzero(up)[0], np.flatnonzero(up)[-1]) == (127, 130)  # 150 in [k + 20, k + 24)
    assert (np.flatnonzero(down)[0], np.flatnonzero(down)[-1]) == (109, 150)  # 150 in [k, k + 42)


def test_on_the_fourth_morning_the_ramp_is_expected_and_an_hour_before_it_is_not() -> None:
    nine = 3 * DAY + 9 * DAY // 24
    values = office(4)[:nine]
    model = refit(record(values), shipped(), 600.0, AIMS)
    early = forecast(record(values[: nine - DAY // 24]), model)
    due = forecast(record(values[: nine - 10]), model)  # five minutes before; nothing has risen yet
    assert early is not None
    assert due is not None
    assert early.up < 2
    assert due.up > 4
    assert early.down <= due.down
    assert due.model == model.id


def test_a_young_endpoint_is_forecast_with_pooled_weights_alone() -> None:
    pooled = flat()
    young = refit(record(office(1)), pooled, 180.0, AIMS)
    assert young.id == unfitted(pooled, 180.0, AIMS).id
    told = forecast(record(np.full(30, 4.0)), young)
    assert told is not None
    assert (told.up, told.down) == pytest.approx((4.0, 4.0))


def test_no_more_is_forecast_than_half_as_much_again_as_the_week_has_seen() -> None:
    bold = replace(flat(), layers=((flat().skip, np.full(6, 2.0, dtype=np.float32)),))  # says: seven times as much
    told = forecast(record(np.concatenate((np.full(100, 6.0), np.full(100, 2.0)))), unfitted(bold, 180.0, AIMS))
    assert told is not None
    assert (told.up, told.down) == pytest.approx((9.0, 9.0))


def test_an_own_fit_that_sees_nothing_of_a_burst_takes_little_away_from_the_network() -> None:
    common = unfitted(flat(), 180.0, AIMS)
    column, always = np.eye(1, 22, OWN_LEVEL), np.eye(1, len(NAMES) + 2, len(NAMES) + 1)
    blind, bold = (replace(common, own=Own(slope * column.repeat(2, 0), slope * always.repeat(2, 0))) for slope in (-1.0, 1.0))
    burst = record(np.concatenate((np.full(100, 0.5), np.full(20, 10.0))))
    plain, least, most = (forecast(burst, model) for model in (common, blind, bold))
    assert plain is not None
    assert least is not None
    assert most is not None
    assert plain.up == pytest.approx(10.0)
    assert (least.up + 0.3) / (plain.up + 0.3) == pytest.approx(np.exp(-OWN_BELOW * (1 - NETWORK_SHARE)))
    assert most.up == pytest.approx(15.0)  # up it may go, as far as any forecast


def test_without_ten_known_minutes_there_is_no_forecast() -> None:
    model = unfitted(flat(), 180.0, AIMS)
    assert forecast(Record.empty(), model) is None
    assert forecast(record(np.concatenate((office(1), np.full(20, np.nan)))), model) is None


def test_same_record_same_bits() -> None:
    values = office(3)
    once, again = (refit(record(values.copy()), flat(), 180.0, AIMS) for _ in range(2))
    assert once.id == again.id
    assert forecast(record(values), once) == forecast(record(values.copy()), again)
    assert refit(record(values[:-10]), flat(), 180.0, AIMS).id != once.id


def test_an_outage_in_the_record_is_left_out_of_the_fit() -> None:
    values = office(4)
    values[2 * DAY : 2 * DAY + 1000] = np.nan
    model = refit(record(values), flat(), 180.0, AIMS)
    assert model.own is not None
    assert np.isfinite(model.own.line).all()
    assert np.isfinite(model.own.correction).all()
