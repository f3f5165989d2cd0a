"""Traces that no forecast was fitted on, from the public ServeGen collection (alibaba/ServeGen, Apache-2.0; measured at f891d118).

python -m tests.bench.unseen SERVEGEN OUT
scaler backtest OUT/*.csv.gz --policy oracle,scaler,hpa --cold-start 180,600 --json unseen.json
python -m tests.bench.unseen --table unseen.json

SERVEGEN is a checkout. Written are the fleet m-small and its busy clients, and `CLIENTS` of m-large that have work on many days. A client's
own rate per ten minutes is kept; arrivals are drawn anew in steps of 30 s, with the dispersion that the collection states.
"""

import csv
import gzip
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from scaler.backtest.synthetic import PER_WINDOW, WINDOW_SECONDS, busy, rates, seen
from scaler.policy.forecast.windows import Floats

CLIENTS = 24
OPEN_TRACE = 148
"""A client of m-large that the network was trained on."""
TEN_HOURS, AT_MOST = 60, 0.3
"""Windows that hold less than this share of a client's requests, where they are its busiest."""
ATTAINABLE = 0.985
"""A clairvoyant has at least so much on time; what bursts out of nothing says nothing of policies."""
STEP_SECONDS = WINDOW_SECONDS // PER_WINDOW
SEED = 20


def main() -> None:
    """Write the traces, or the table of what became of them."""
    if sys.argv[1] == "--table":
        print_table(Path(sys.argv[2]))
    else:
        write(Path(sys.argv[1]) / "data" / "language", Path(sys.argv[2]))


def write(language: Path, out: Path) -> None:
    """One file each; same checkout, same bytes."""
    out.mkdir(parents=True, exist_ok=True)
    counts, spread = read(language / "m-small")
    every = [redrawn(counts[client], spread[client], client) for client in range(len(counts))]
    save(out / "m-small.csv.gz", np.sum(every, axis=0))
    for client in busy(counts):
        save(out / f"m-small-{client}.csv.gz", every[client])
    counts, spread = read(language / "m-large")
    share = np.sort(counts, axis=1)[:, -TEN_HOURS:].sum(axis=1) / np.maximum(counts.sum(axis=1), 1)
    steady = [client for client in busy(counts).tolist() if share[client] < AT_MOST and client != OPEN_TRACE]
    for client in sorted(np.random.default_rng(SEED).choice(steady, CLIENTS, replace=False)):
        save(out / f"m-large-{client}.csv.gz", redrawn(counts[client], spread[client], client))


def read(family: Path) -> tuple[Floats, Floats]:
    """(clients, windows) requests, and their variance over their mean within the window, at least one."""
    paths = sorted(family.glob("chunk-*-trace.csv"), key=lambda path: int(path.name.split("-")[1]))
    tables = [[row[1:3] for row in csv.reader(path.read_text().splitlines())] for path in paths]
    rate, variation = np.array([[[float(cell or 0) for cell in row] for row in table] for table in tables]).transpose(2, 0, 1)
    known = seen(rate)
    return WINDOW_SECONDS * rate[:, known], np.maximum(variation[:, known] ** 2, 1.0)


def redrawn(counts: Floats, dispersion: Floats, seed: int) -> Floats:
    """Arrivals per step: Poisson, its rate gamma distributed where the dispersion is above one."""
    dice = np.random.default_rng(seed)
    rate = rates(counts)
    excess = dispersion.repeat(PER_WINDOW) - 1
    bursty = (excess > 0.01) & (rate > 0)
    rate[bursty] = dice.gamma(np.maximum(rate[bursty] / excess[bursty], 1e-9), excess[bursty])
    steps: Floats = dice.poisson(rate).astype(np.float64)
    return steps


def save(path: Path, steps: Floats) -> None:
    """As traces are read; steps without a request are left out, but for the last."""
    rows = [f"{step * STEP_SECONDS},{int(steps[step])},,\n" for step in np.union1d(np.flatnonzero(steps), [steps.size - 1])]
    path.write_bytes(gzip.compress(("t_seconds,requests,input_tokens,output_tokens\n" + "".join(rows)).encode(), mtime=0))


def print_table(results: Path) -> None:
    """What the families cost and have on time: geometric mean and mean, of the traces on which hindsight gets `ATTAINABLE`."""
    cells = defaultdict(list)
    rows = json.loads(results.read_text())
    fair = {(row["trace"], row["cold_start_seconds"]) for row in rows if row["policy"] == "oracle" and row["attainment"] >= ATTAINABLE}
    for row in rows:
        if (row["trace"], row["cold_start_seconds"]) not in fair:
            continue
        family = row["trace"].split("-")[1] + ("" if row["trace"].count("-") == 1 else ", clients")
        cells[row["cold_start_seconds"], row["policy"], family].append((row["ratio_to_oracle"], row["attainment"]))
    table = Table("cold start", "policy", "family", "endpoints", "cost / optimum", "on time", "worst")
    for (lead, policy, family), scores in sorted(cells.items()):
        costs, shares = np.array(scores).T
        figures = (f"{np.exp(np.log(costs).mean()):.3f}", f"{shares.mean():.2%}", f"{shares.min():.2%}")
        table.add_row(f"{lead:.0f} s", policy, family, str(len(scores)), *figures)
    Console().print(table)


if __name__ == "__main__":
    main()
