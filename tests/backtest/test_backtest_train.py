import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scaler.backtest import synthetic
from scaler.backtest.descent import Schooling, train
from scaler.backtest.train import Example, pooled
from scaler.policy.forecast.columns import features
from scaler.pooled import read, shipped, write
from tests.policy.forecast.weeks import office


def test_the_network_that_ships_fits_the_columns_of_this_version() -> None:
    ours = shipped()
    assert ours.names == features(np.ones(10), np.array([10]), 6).names
    told = ours.look(np.zeros((3, len(ours.names))), 6).outputs
    assert told.shape == (2, len(ours.taus), 3)
    assert np.isfinite(told).all()


def test_training_is_the_same_every_time_and_survives_the_file(tmp_path: Path) -> None:
    examples = [Example("a", office(3), 300), Example("b", office(3, seed=1, noise=0.3), 300, 0.1)]
    how = Schooling(hidden=(8,), steps=20, batch=64)
    for number in range(2):
        write(pooled(examples, leads=(180.0,), how=how), tmp_path / f"{number}.npz")
    assert (tmp_path / "0.npz").read_bytes() == (tmp_path / "1.npz").read_bytes()
    made, back = pooled(examples, leads=(180.0,), how=how), read(tmp_path / "0.npz")
    columns = np.random.default_rng(0).normal(size=(5, len(made.names)))
    assert np.array_equal(made.look(columns, 6).outputs, back.look(columns, 6).outputs)
    assert (made.names, made.taus) == (back.names, back.taus)


def test_networks_taken_together_say_what_they_say_on_average() -> None:
    examples = [Example("a", office(3), 100)]
    how = Schooling(hidden=(8, 5), steps=20, batch=64)
    one, other = (pooled(examples, leads=(180.0,), how=replace(how, seed=seed), count=1) for seed in (0, 1))
    both = pooled(examples, leads=(180.0,), how=how, count=2)
    columns = np.random.default_rng(0).normal(size=(5, len(one.names)))
    mean = (one.look(columns, 6).outputs + other.look(columns, 6).outputs) / 2
    assert both.look(columns, 6).outputs == pytest.approx(mean, abs=1e-5)
    assert not np.allclose(one.look(columns, 6).outputs, other.look(columns, 6).outputs)


def test_descent_finds_quantiles_that_bend() -> None:
    dice = np.random.default_rng(1)
    x = dice.uniform(-1, 1, 20_000).astype(np.float32)
    growth = (np.abs(x) + np.where(dice.random(x.size) < 0.15, 0.5, 0.0)).astype(np.float32)
    inputs = np.column_stack((x, np.zeros_like(x)))
    how = Schooling(hidden=(16,), steps=1500, batch=256, rate=1e-2)
    network = train(inputs, np.stack((growth, -growth), axis=1), np.ones_like(x), ("x",), taus=(0.5, 0.95), how=how)
    up, down = network.look(np.array([[-0.8], [0.0], [0.8]]), 1).outputs
    assert up[0] == pytest.approx([0.8, 0.0, 0.8], abs=0.1)
    assert up[1] == pytest.approx([1.3, 0.5, 1.3], abs=0.1)
    assert down[1] == pytest.approx([-0.8, 0.0, -0.8], abs=0.1)


def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "x.npz").open("wb") as file:
        np.savez(file, leads=[1.0])
    with pytest.raises(ValueError, match="expected the arrays"):
        read(tmp_path / "x.npz")


def test_clients_become_endpoints_and_holes_are_filled_from_the_week_beside(tmp_path: Path) -> None:
    path = tmp_path / "two_clients_600s.csv.gz"
    rows = [f"{client},{window},{40 + client * window % 7}" for client in (0, 1) for window in range(2016) if window != 1500]
    path.write_bytes(gzip.compress("\n".join(["client,window_600s,requests", *rows, ""]).encode()))
    counts = synthetic.read_clients(path)
    assert counts[:, 1500].tolist() == counts[:, 1500 - 1008].tolist()
    made, again = (list(synthetic.endpoints(path)) for _ in range(2))
    assert [one.name for one in made[:3]] == ["client 0", "client 1", "mixture 0"]
    assert made[2].clients == {0, 1}
    peaks = [float(np.percentile(one.values.reshape(-1, 2).mean(axis=1), 99.9)) for one in made]
    assert peaks[:2] == pytest.approx([12.0, 12.0])
    assert all(3 <= peak <= 24 for peak in peaks)
    assert all(np.array_equal(one.values, other.values) for one, other in zip(made, again, strict=True))
