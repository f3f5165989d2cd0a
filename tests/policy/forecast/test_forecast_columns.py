import numpy as np
import pytest

from scaler.policy.forecast.columns import CLIP, features, lg
from scaler.policy.forecast.record import DAY
from tests.policy.forecast.weeks import office

LEAD = 6


def test_one_instant_live_sees_what_a_batch_sees() -> None:
    values = office(9)
    values[5000:5100] = np.nan
    at = np.array([8 * DAY + 17, 8 * DAY + 900, 8 * DAY + 901, 8 * DAY + 1500, 8 * DAY + 2000])
    batch = features(values, at, LEAD)
    for row, now in enumerate(at.tolist()):
        live = features(values[now - 8 * DAY : now], np.array([8 * DAY]), LEAD)
        assert live.names == batch.names
        assert live.values[0] == pytest.approx(batch.values[row], abs=1e-9)
        assert live.level[0] == pytest.approx(batch.level[row])


def test_what_is_yet_to_come_is_not_looked_at() -> None:
    values, at = office(9), np.arange(8 * DAY, 8 * DAY + 500, 50)
    changed = values.copy()
    changed[at[-1] :] = 1000.0
    for lead in (1, LEAD, 40):
        assert np.array_equal(features(values, at, lead).values, features(changed, at, lead).values)


def test_gaps_and_young_records_give_finite_columns() -> None:
    values = office(1)
    values[::3] = np.nan
    seen = features(values, np.arange(0, values.size + 1, 7), LEAD)
    assert np.isfinite(seen.values).all()
    assert np.abs(seen.values).max() <= CLIP
    assert np.isnan(seen.level[0])


def test_a_steady_load_has_nothing_to_say_but_its_level() -> None:
    seen = features(np.full(8 * DAY, 3.0), np.array([8 * DAY]), LEAD)
    told = {name: value for name, value in zip(seen.names, seen.values[0].tolist(), strict=True) if abs(value) > 1e-9}
    assert told == pytest.approx({"one": 1.0, "level": float(lg(np.array(3.0))), "level_or_usual": float(lg(np.array(3.0)))})


def test_yesterdays_jump_is_seen_one_lead_ahead() -> None:
    values = np.full(2 * DAY, 1.0)
    values[1000 : 1000 + 200] = 5.0  # yesterday, 8:20
    before, at_the_edge = features(values, np.array([DAY + 1000 - 60, DAY + 1000 - LEAD]), LEAD).values[:, :]
    growth = features(values, np.array([DAY]), LEAD).names.index("growth_1d")
    assert before[growth] == 0
    assert at_the_edge[growth] > 0.4  # smoothed over 11 minutes
