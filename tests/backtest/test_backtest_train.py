import gzip
from pathlib import Path

import numpy as np
import pytest

from scaler.backtest import synthetic
from scaler.backtest.train import Example, pooled
from scaler.policy.forecast.columns import features
from scaler.pooled import read, shipped, write
from tests.policy.forecast.weeks import office


def test_the_weights_that_ship_fit_the_columns_of_this_version() -> None:
    ours = shipped()
    assert ours.names == features(np.ones(10), np.array([10]), 6).names
    assert np.isfinite(ours.weights).all()


def test_training_is_the_same_every_time_and_survives_the_file(tmp_path: Path) -> None:
    examples = [Example("a", office(3)), Example("b", office(3, seed=1, noise=0.3), 0.1)]
    once, again = (pooled(examples, leads=(180.0,), taus=(0.9,)) for _ in range(2))
    for number, weights in enumerate((once, again)):
        write(weights, tmp_path / f"{number}.npz")
    assert (tmp_path / "0.npz").read_bytes() == (tmp_path / "1.npz").read_bytes()
    back = read(tmp_path / "0.npz")
    assert (back.leads, back.taus, back.names) == (once.leads, once.taus, once.names)
    assert back.weights == pytest.approx(once.weights, rel=1e-6, abs=1e-9)


def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "x.npz").open("wb") as file:
        np.savez(file, leads=[1.0])
    with pytest.raises(ValueError, match="expected arrays"):
        read(tmp_path / "x.npz")


def test_clients_become_endpoints_and_holes_are_filled_from_the_week_beside(tmp_path: Path) -> None:
    path = tmp_path / "two_clients_600s.csv.gz"
    rows = [f"{client},{window},{40 + client * window % 7}" for client in (0, 1) for window in range(2016) if window != 1500]
    path.write_bytes(gzip.compress("\n".join(["client,window_600s,requests", *rows, ""]).encode()))
    counts = synthetic.read_clients(path)
    assert counts[:, 1500].tolist() == counts[:, 1500 - 1008].tolist()
    made = dict(synthetic.endpoints(path))
    assert list(made)[:3] == ["client 0", "client 1", "mixture 0"]
    assert all(np.percentile(values.reshape(-1, 2).mean(axis=1), 99.9) == pytest.approx(12.0) for values in made.values())
    again = dict(synthetic.endpoints(path))
    assert all(np.array_equal(made[name], again[name]) for name in made)
