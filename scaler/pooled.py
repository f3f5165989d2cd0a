"""The network that ships with the program: one small file beside this module, written by `scaler.backtest.train`."""

from functools import cache
from pathlib import Path

import numpy as np

from scaler.policy.forecast import Network
from scaler.policy.outlook import Forecaster

FILE = Path(__file__).parent / "pooled.npz"


@cache
def shipped() -> Network:
    """The network of this version."""
    return read(FILE)


def read(path: Path) -> Network:
    """A network from a file. Raises `OSError`, or `ValueError` for a file that holds none."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        names, taus = (tuple(arrays[key].tolist()) for key in ("names", "taus"))
        layers = tuple((arrays[f"weights_{k}"], arrays[f"offsets_{k}"]) for k in range(int(arrays["layers"])))
        return Network(names, taus, arrays["shift"], arrays["scale"], layers, arrays["skip"])
    except (KeyError, EOFError) as error:
        raise ValueError(f"{path}: expected the arrays of a network, got no {error}") from error


def write(network: Network, path: Path) -> None:
    """Same network, same bytes."""
    arrays = {"names": np.array(network.names), "taus": np.array(network.taus), "layers": np.array(len(network.layers))}
    arrays |= {"shift": network.shift, "scale": network.scale, "skip": network.skip}
    for number, (weights, offsets) in enumerate(network.layers):
        arrays |= {f"weights_{number}": weights, f"offsets_{number}": offsets}
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


LIVE = Forecaster(shipped)
"""Forecasts as the daemon makes them; the weights are read when they are first needed."""
