"""Curves through noisy means, against numpy's own fits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.policy.curve import Floats, bend_of, first_above, isotonic, slope_of

X = np.array([1.0, 2.0, 3.0, 5.0, 6.0, 8.0, 9.0])
WEIGHT = np.array([1.0, 2.0, 1.0, 3.0, 1.0, 2.0, 1.0])
NOISE = np.array([0.1, -0.2, 0.1, 0.05, -0.1, 0.2, -0.1])

means = st.lists(st.tuples(st.floats(-100, 100), st.floats(0.1, 10)), min_size=1, max_size=30)


def test_neighbours_that_fall_are_pooled_by_their_weights() -> None:
    assert isotonic(np.array([1.0, 4.0, 2.0, 9.0]), np.array([1.0, 1.0, 3.0, 1.0])).tolist() == [1.0, 2.5, 2.5, 9.0]
    assert isotonic(np.array([3.0, 4.0, 1.0, 0.0]), np.array([1.0, 1.0, 1.0, 1.0])).tolist() == [2.0] * 4
    assert isotonic(np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])).tolist() == [1.0, 1.0, 2.0]


@given(means)
def test_the_pooled_curve_never_falls_and_weighs_the_same(points: list[tuple[float, float]]) -> None:
    y, weight = np.array(points).T
    curve = isotonic(y, weight)
    assert (np.diff(curve) >= 0).all()
    assert curve @ weight == pytest.approx(y @ weight, abs=1e-6)
    assert isotonic(curve, weight) == pytest.approx(curve)


@pytest.mark.parametrize(("limit", "where"), [(-1.0, 1.0), (0.5, 1.5), (1.0, 2.0), (2.0, 3.0), (2.9, 3.9), (3.0, None), (4.0, None)])
def test_a_limit_is_crossed_in_proportion_between_two_points(limit: float, where: float | None) -> None:
    crossed = first_above(np.array([1.0, 2.0, 4.0]), np.array([0.0, 1.0, 3.0]), limit)
    assert crossed == (where if where is None else pytest.approx(where))


def test_a_slope_and_its_error_are_those_of_weighted_least_squares() -> None:
    y = 3.0 - 0.5 * X + NOISE
    (wanted, _), covariance = np.polyfit(X, y, 1, w=np.sqrt(WEIGHT), cov=True)
    assert slope_of(X, y, WEIGHT) == pytest.approx((wanted, np.sqrt(covariance[0, 0])))


def test_two_points_have_no_slope_to_speak_of() -> None:
    assert slope_of(X[:2], X[:2], WEIGHT[:2]) == (0.0, np.inf)
    slope, error = slope_of(X[:3], 2 * X[:3], WEIGHT[:3])
    assert (slope, error) == pytest.approx((2.0, 0.0))


def squares_of(columns: list[Floats], y: Floats) -> tuple[Floats, float]:
    """Coefficients and weighted squares left, by numpy."""
    table, root = np.column_stack(columns), np.sqrt(WEIGHT)
    found = np.linalg.lstsq(table * root[:, np.newaxis], y * root, rcond=None)[0]
    return found, float(WEIGHT @ (table @ found - y) ** 2)


def test_a_bend_is_the_best_of_all_lines_that_bend_at_an_inner_point() -> None:
    y = 1 + 0.5 * X + 3 * np.maximum(0, X - 5) + NOISE
    one = np.ones_like(X)
    fits = {at: squares_of([one, X, np.maximum(0, X - at)], y) for at in X[1:-2].tolist()}
    at = min(fits, key=lambda place: fits[place][1])
    (level, slope, rise), left = fits[at]
    straight = squares_of([one, X], y)[1]
    bend = bend_of(X, y, WEIGHT)
    assert bend is not None
    assert at == 5
    assert (bend.at, bend.level, bend.slope, bend.bend) == pytest.approx((at, level, slope, rise))
    assert bend.gain == pytest.approx((straight - left) / 2 / (left / (X.size - 4)))
    assert bend.before(3.0) == pytest.approx(level + 3 * slope)
    assert bend.before(8.0) == pytest.approx(level + 5 * slope)


def test_a_line_that_falls_before_it_bends_counts_as_level() -> None:
    y = 4 - 0.5 * np.minimum(X, 5) + 2 * np.maximum(0, X - 5) + NOISE
    bend = bend_of(X, y, WEIGHT)
    assert bend is not None
    (level, rise), left = squares_of([np.ones_like(X), np.maximum(0, X - bend.at)], y)
    straight = squares_of([np.ones_like(X), X], y)[1]
    assert bend.gain == pytest.approx((straight - left) / 2 / (left / (X.size - 4)))
    assert (bend.level, bend.slope, bend.bend) == pytest.approx((level, 0.0, rise))
    assert bend.before(3.0) == bend.level


def test_an_exact_bend_is_as_sure_as_can_be() -> None:
    bend = bend_of(X, np.maximum(0, X - 3), WEIGHT)
    assert bend is not None
    assert (bend.at, bend.level, bend.slope, bend.bend) == pytest.approx((3, 0, 0, 1), abs=1e-6)
    assert 1e6 < bend.gain < np.inf


@pytest.mark.parametrize("at", X[1:-2].tolist())
def test_it_may_bend_at_every_inner_point_but_the_last(at: float) -> None:
    bend = bend_of(X, 1 + 0.1 * X + np.maximum(0, X - at), WEIGHT)
    assert bend is not None
    assert bend.at == at


def test_what_bends_down_or_has_too_few_points_has_no_bend() -> None:
    assert bend_of(X, -np.maximum(0, X - 5), WEIGHT) is None
    assert bend_of(X[:4], X[:4] ** 2, WEIGHT[:4]) is None
    shortest = bend_of(X[:5], X[:5] ** 2, WEIGHT[:5])
    assert shortest is not None
    assert shortest.at in X[1:3]
