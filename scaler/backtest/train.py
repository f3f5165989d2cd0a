"""Fits the pooled weights that ship with the program: ``python -m scaler.backtest.train TRACE... [--clients FILE] [--out FILE]``.

Every trace is an endpoint, scaled as backtests scale it. A ``*_clients_600s`` file adds many more: each client with enough traffic, and
mixtures of them drawn from a seed, with arrivals redrawn inside the ten minutes. They weigh less, as they are one family. Same files, same
bytes.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scaler.backtest.demand import demand_series
from scaler.backtest.planned import record_of
from scaler.backtest.synthetic import endpoints
from scaler.policy.forecast import Pooled
from scaler.policy.forecast.columns import features
from scaler.policy.forecast.model import fitting, steps_of, targets
from scaler.policy.forecast.record import DAY
from scaler.policy.forecast.regression import fit_quantile
from scaler.policy.forecast.windows import Floats, Instants
from scaler.pooled import FILE, write
from scaler.world.workload import read_trace

LEADS = (30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 1200.0)
"""Seconds."""
TAUS = (0.8, 0.9, 0.95, 0.98)
ROWS = 1250
"""Instants of each endpoint, evenly spaced from its second day on."""
RIDGE = 3.0
STEPS = 20
WEIGHT = 1000.0
"""Total weight of a trace, against `RIDGE`."""
SYNTHETIC_WEIGHT = 0.1
"""Weight of a synthetic endpoint against a trace."""


@dataclass(frozen=True, slots=True)
class Example:
    """An endpoint to learn from: a record's values, and how much it counts."""

    name: str
    values: Floats
    weight: float = 1.0


def main(argv: Sequence[str] | None = None) -> int:
    """Fit and write."""
    options = argparse.ArgumentParser(prog="python -m scaler.backtest.train", description=__doc__)
    options.add_argument("traces", nargs="+", type=Path, metavar="TRACE")
    options.add_argument("--clients", type=Path, metavar="FILE", help="counts of many clients per 600 s")
    options.add_argument("--out", type=Path, default=FILE, metavar="FILE")
    chosen = options.parse_args(argv)
    examples = [*_traces(chosen.traces), *(_synthetic(chosen.clients) if chosen.clients else ())]
    write(pooled(examples), chosen.out)
    sys.stdout.write(f"{chosen.out}: fitted to {len(examples)} endpoints\n")
    return 0


def pooled(examples: Sequence[Example], leads: Sequence[float] = LEADS, taus: Sequence[float] = TAUS) -> Pooled:
    """Weights over all examples, for each lead and quantile."""
    fitted = [_fit(examples, steps_of(lead), taus) for lead in leads]
    return Pooled(tuple(leads), tuple(taus), fitted[0][0], np.stack([weights for _, weights in fitted]))


def _traces(paths: Iterable[Path]) -> Iterator[Example]:
    for path in paths:
        yield Example(path.name, record_of(demand_series(read_trace(path))))


def _synthetic(path: Path) -> Iterator[Example]:
    for name, values in endpoints(path):
        yield Example(name, values, SYNTHETIC_WEIGHT)


def _fit(examples: Sequence[Example], lead: int, taus: Sequence[float]) -> tuple[tuple[str, ...], Floats]:
    """Names of the columns, and (taus, 2, columns)."""
    names: tuple[str, ...] = ()
    tables, growths, weights = [], [], []
    for example in examples:
        at = _instants(example.values, lead)
        seen = features(example.values, at, lead)
        names = seen.names
        tables.append(seen.values)
        growths.append(targets(example.values, at, lead) - seen.level)
        weight = np.exp(seen.level / 2)
        weights.append(weight / weight.sum() * WEIGHT * example.weight)
    table, growth, weight = np.concatenate(tables), np.concatenate(growths, axis=1), np.concatenate(weights)
    nothing = np.zeros(len(names))

    def quantile(head: int, tau: float) -> Floats:
        return fit_quantile(table, growth[head], weight, tau, prior=nothing, ridge=RIDGE, steps=STEPS)

    return names, np.stack([np.stack([quantile(head, tau) for head in (0, 1)]) for tau in taus])


def _instants(values: Floats, lead: int) -> Instants:
    return np.linspace(DAY, fitting(values.size, lead)[-1], ROWS).astype(np.int64)


if __name__ == "__main__":
    sys.exit(main())
