"""The pooled weights that ship with the program: one small file beside this module, written by `scaler.backtest.train`."""

from functools import cache
from pathlib import Path

import numpy as np

from scaler.policy.forecast import Pooled

FILE = Path(__file__).parent / "pooled.npz"


@cache
def shipped() -> Pooled:
    """The weights of this version."""
    return read(FILE)


def read(path: Path) -> Pooled:
    """Weights from a file. Raises `OSError`, or `ValueError` for a file that holds none."""
    try:
        with np.load(path, allow_pickle=False) as file:
            leads, taus, names = (tuple(file[key].tolist()) for key in ("leads", "taus", "names"))
            weights = file["weights"].astype(np.float64)
    except (KeyError, EOFError) as error:
        raise ValueError(f"{path}: expected arrays leads, taus, names and weights") from error
    if weights.shape != (len(leads), len(taus), 2, len(names)):
        raise ValueError(f"{path}: expected weights of {len(leads)} leads, {len(taus)} quantiles, 2 and {len(names)}, got {weights.shape}")
    weights.setflags(write=False)
    return Pooled(leads, taus, names, weights)


def write(pooled: Pooled, path: Path) -> None:
    """Half of the digits are kept; they are more than a fit knows."""
    weights = pooled.weights.astype(np.float32)
    with path.open("wb") as file:
        np.savez_compressed(file, leads=pooled.leads, taus=pooled.taus, names=pooled.names, weights=weights)
