import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.policy.forecast.windows import FEW, Windows

VALUES = st.lists(st.one_of(st.just(math.nan), st.floats(0, 100)), min_size=1, max_size=60)


@given(VALUES, st.lists(st.integers(0, 60), min_size=1, max_size=2 * FEW), st.integers(-70, 10), st.integers(0, 70))
def test_windows_say_what_a_plain_scan_says(values: list[float], at: list[int], start: int, width: int) -> None:
    series, instants = np.array(values), np.array(at)
    windows = Windows(series, instants)
    cut = [[x for x in values[max(0, k + start) : max(0, k + start + width)] if not math.isnan(x)] for k in at]
    assert windows.mean(start, start + width).tolist() == pytest.approx([sum(c) / len(c) if c else math.nan for c in cut], nan_ok=True)
    assert np.array_equal(windows.highest(start, start + width), [max(c, default=math.nan) for c in cut], equal_nan=True)
    assert np.array_equal(windows.lowest(start, start + width), [min(c, default=math.nan) for c in cut], equal_nan=True)
