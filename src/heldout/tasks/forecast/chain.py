"""A Markov chain between states in continuous time, with growth, from flows between states at irregular times."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import expm

if TYPE_CHECKING:
    from collections.abc import Sequence

_STEPS = 200
_TOLERANCE = 1e-4
_LEAST = 1e-12

STILLNESS = 0.02
"""Time without a switch that is added for each state, as a share of the time that was watched. It shrinks the rates."""


def rates_of(flows: Sequence[np.ndarray], steps: Sequence[float], growth: np.ndarray) -> np.ndarray:
    """Rates of switching that make the flows most likely, (K × K), 0 on the diagonal.

    The states of a cell are known only at the ends of each step. Switches in between are found by expectation
    maximisation :cite:p:`bladt2005`: the expected time in each state and the expected number of switches, given both
    ends, follow from the matrix exponential, and their ratio is the next guess of a rate. Steps can differ. A state
    that grows has more descendants, which is not a switch into it, so the rates are those of single cells.

    Parameters
    ----------
    flows
        For each step, how many cells went from state j to state k, (K × K).
    steps
        Length of each step.
    growth
        Growth rate of each state, (K,), up to a constant.
    """
    k, even = len(growth), np.ptp(growth) == 0
    here = [flow.sum(axis=1) for flow in flows]
    still = STILLNESS * sum(n * step for n, step in zip(here, steps, strict=True)) + _LEAST
    rates = (1 - np.eye(k)) * sum(map(np.sum, flows)) / sum(f.sum() * s for f, s in zip(flows, steps, strict=True)) / k
    for _ in range(_STEPS):
        seen, free = np.zeros((k, k)), np.zeros((k, k))
        for flow, step, n in zip(flows, steps, here, strict=True):
            mean = descendants(rates, growth, step)
            seen += _crossed(rates, growth, step, flow / mean.clip(_LEAST))
            if not even:
                starts = np.repeat((n / mean.sum(axis=1).clip(_LEAST))[:, None], k, axis=1)
                free += _crossed(rates, growth, step, starts)
        # with equal growth, all entries of a row of `free` are the time in the state, and this is the usual step
        excess = free - np.diag(free)[:, None]
        waited = np.diag(seen)[:, None] + still[:, None] + excess.clip(0)
        new = rates * (seen - excess.clip(None, 0)) / waited
        new[np.diag_indices(k)] = 0
        change = np.abs(new - rates).sum()
        rates = new
        if change <= _TOLERANCE * max(rates.sum(), _LEAST):
            break
    return np.asarray(rates)


def growth_of(flows: Sequence[np.ndarray], before: Sequence[np.ndarray], steps: Sequence[float]) -> np.ndarray:
    """Growth rate of each state, (K,), with a mean of 0 over the cells, from the descendants of the cells of a state.

    The number of descendants after a step is the exponential of the growth along the way. A line of descent is
    taken to be one half of the step in its first state and the other half in its last state. Ridge regression
    shrinks the rates of states with few cells to 0.

    Parameters
    ----------
    flows
        Descendants in state k of the cells in state j, for each step, (K × K). Their sum is 1.
    before
        Share of the cells in each state at the start of each step, (K,).
    steps
        Length of each step.
    """
    k = len(before[0])
    left, right = 1e-3 * np.eye(k), np.zeros(k)
    for flow, share, step in zip(flows, before, steps, strict=True):
        n = flow.sum(axis=1)
        known = (n > _LEAST) & (share > _LEAST)
        spent = step * (np.eye(k) + flow / n.clip(_LEAST)[:, None]) / 2
        logs = np.log(n.clip(_LEAST) / share.clip(_LEAST))
        logs -= share[known] @ logs[known] / share[known].sum()
        spent = spent - share[known] @ spent[known] / share[known].sum()
        left += (spent[known].T * share[known]) @ spent[known]
        right += (spent[known].T * share[known]) @ logs[known]
    found = np.linalg.solve(left, right)
    return np.asarray(found - np.mean(before, axis=0) @ found)


def composition_after(composition: np.ndarray, rates: np.ndarray, growth: np.ndarray, step: float) -> np.ndarray:
    """Share of the cells in each state after a step, (K,)."""
    found = composition @ descendants(rates, growth, step)
    return np.asarray(found / found.sum())


def descendants(rates: np.ndarray, growth: np.ndarray, step: float) -> np.ndarray:
    """Mean number of descendants in state k of a cell in state j after a step, (K × K), up to a factor."""
    return np.asarray(expm(_generator(rates, growth) * step))


def _generator(rates: np.ndarray, growth: np.ndarray) -> np.ndarray:
    return np.asarray(rates - np.diag(rates.sum(axis=1)) + np.diag(growth - growth.max()))


def _crossed(rates: np.ndarray, growth: np.ndarray, step: float, weights: np.ndarray) -> np.ndarray:
    """Expected time in each state (diagonal) and expected number of switches (others), (K × K).

    ``weights`` are the pairs of first and last states, divided by their mean number. One matrix exponential of twice
    the size has the integral over the moment of the switch :cite:p:`vanloan1978`.
    """
    k = len(growth)
    back = _generator(rates, growth).T
    block = np.block([[back, weights], [np.zeros((k, k)), back]])
    return np.asarray(expm(block * step)[:k, k:])
