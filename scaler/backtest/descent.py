"""Trains a `Network` by gradient descent on the pinball loss, in plain numpy."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from scaler.policy.forecast.network import Network, Singles

NEAR = 0.02
"""Residuals smaller than this (in logarithms) bend the loss into a parabola."""
LEAST_SCALE = 0.01
FIRST_GUESS = 0.2
"""Where all outputs begin."""
BETAS, EPSILON = (0.9, 0.999), 1e-8


@dataclass(frozen=True, slots=True)
class Schooling:
    """How a network is trained: Adam with decoupled decay, at a rate that falls in a cosine (Loshchilov and Hutter, 2019).

    hidden: units of each hidden layer
    batch:  rows of a step, drawn anew
    decay:  of weights, per unit of rate
    seed:   of all dice
    """

    hidden: tuple[int, ...] = (64, 32)
    steps: int = 7000
    batch: int = 1024
    rate: float = 2e-3
    decay: float = 3e-3
    seed: int = 0


def train(inputs: Singles, growths: Singles, weight: Singles, names: Sequence[str], *, taus: Sequence[float], how: Schooling) -> Network:
    """A network for ``inputs`` (rows, columns + 1), what they should lead to (rows, 2) and a ``weight`` for each row."""
    dice = np.random.default_rng(how.seed)
    shift, scale = inputs.mean(axis=0), inputs.std(axis=0) + np.float32(LEAST_SCALE)
    rows = (inputs - shift) / scale
    quantiles = np.tile(np.array(taus, dtype=np.float32), 2)
    parts = _beginning((rows.shape[1], *how.hidden, quantiles.size), dice)
    goals, share = np.repeat(growths, len(taus), axis=1), (weight / weight.mean())[:, np.newaxis]
    adam = _Adam(parts, how)
    for step in range(how.steps):
        picked = dice.integers(0, len(rows), how.batch)
        slopes = _slopes(parts, rows[picked], goals[picked], share[picked] / how.batch, quantiles)
        adam.step(slopes, how.rate / 2 * (1 + float(np.cos(np.pi * step / how.steps))))
    *inner, skip = parts
    layers = tuple(zip(inner[::2], inner[1::2], strict=True))
    return Network(tuple(names), tuple(taus), shift, scale, layers, skip)


def together(networks: Sequence[Network]) -> Network:
    """One network whose outputs are the mean of those of ``networks``, trained on the same inputs: their layers side by side."""
    stacks = list(zip(*(network.layers for network in networks), strict=True))
    begin = (np.hstack([weights for weights, _ in stacks[0]]), np.hstack([offsets for _, offsets in stacks[0]]))
    inner = [(_diagonal([weights for weights, _ in stack]), np.hstack([offsets for _, offsets in stack])) for stack in stacks[1:-1]]
    shares = np.vstack([weights for weights, _ in stacks[-1]]) / np.float32(len(networks))
    end = (shares.astype(np.float32), _mean([offsets for _, offsets in stacks[-1]]))
    return replace(networks[0], layers=(begin, *inner, end), skip=_mean([network.skip for network in networks]))


def _mean(arrays: Sequence[Singles]) -> Singles:
    return np.asarray(np.mean(arrays, axis=0), dtype=np.float32)


def _diagonal(blocks: Sequence[Singles]) -> Singles:
    """The blocks along the diagonal, nothing elsewhere."""
    ends = np.cumsum([block.shape for block in blocks], axis=0)
    whole = np.zeros(ends[-1], dtype=np.float32)
    for block, (row, column) in zip(blocks, ends, strict=True):
        whole[row - block.shape[0] : row, column - block.shape[1] : column] = block
    return whole


def _beginning(sizes: Sequence[int], dice: np.random.Generator) -> list[Singles]:
    """Weights and offsets of each layer in turn, and the skip: He's variance, a tenth of it at the end."""
    parts: list[Singles] = []
    for fan_in, fan_out in pairwise(sizes):
        deviation = np.sqrt(2 / fan_in) * (0.1 if fan_out == sizes[-1] else 1.0)
        parts += [(dice.standard_normal((fan_in, fan_out)) * deviation).astype(np.float32), np.zeros(fan_out, dtype=np.float32)]
    parts[-1] += np.float32(FIRST_GUESS)
    return [*parts, np.zeros((sizes[0], sizes[-1]), dtype=np.float32)]


def _slopes(parts: Sequence[Singles], rows: Singles, goals: Singles, share: Singles, quantiles: Singles) -> list[Singles]:
    """Of the pinball loss for each part, in their order."""
    *inner, skip = parts
    weights, offsets = inner[::2], inner[1::2]
    seen = [rows]
    for weight, offset in zip(weights[:-1], offsets[:-1], strict=True):
        seen.append(np.maximum(seen[-1] @ weight + offset, 0))
    residual = goals - (seen[-1] @ weights[-1] + offsets[-1] + rows @ skip)
    above = (np.clip(residual / np.float32(NEAR), -1, 1) + 1) / 2
    slope = (1 - quantiles - above) * share  # of tau x positive part + (1 - tau) x negative part
    found = [rows.T @ slope]
    for layer in range(len(weights) - 1, -1, -1):
        found += [slope.sum(axis=0), seen[layer].T @ slope]
        slope = (slope @ weights[layer].T) * (seen[layer] > 0)
    return found[::-1]


class _Adam:
    """Moves parts in place."""

    def __init__(self, parts: Sequence[Singles], how: Schooling) -> None:
        self._parts, self._decay, self._count = parts, how.decay, 0
        self._means = [np.zeros_like(part) for part in parts]
        self._squares = [np.zeros_like(part) for part in parts]

    def step(self, slopes: Sequence[Singles], rate: float) -> None:
        self._count += 1
        (first, second), counted = BETAS, self._count
        for which, slope in enumerate(slopes):
            mean, square, part = self._means[which], self._squares[which], self._parts[which]
            mean += (1 - first) * (slope - mean)
            square += (1 - second) * (slope * slope - square)
            if part.ndim > 1:
                part *= 1 - rate * self._decay
            part -= rate * (mean / (1 - first**counted)) / (np.sqrt(square / (1 - second**counted)) + EPSILON)
