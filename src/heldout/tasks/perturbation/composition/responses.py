"""How strongly each cell responds: the distribution of the response within the cells of one perturbation.

The response of a cell is 0 if it is like a control, and 1 if it has the mean change of its perturbation. A screen in
which half of the cells respond has responses 0 and 2.
"""

from __future__ import annotations

import numpy as np

GRID = np.round(np.linspace(-0.5, 6.0, 66), 1)
"""Responses that are possible."""

FULL = np.eye(len(GRID))[int(np.flatnonzero(GRID == 1)[0])]
"""Weights of :data:`GRID` if each cell has the mean change."""

_LEAST_T = 4.0
"""Least t score of the mean response; below it, the spread of the responses cannot be told from noise."""

_RIDGE = 0.1
_N_STEPS = 200
_N_HALVINGS = 2
_N_PLACES = 200


def response_weights(cells: np.ndarray, controls: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Weights of the responses of :data:`GRID`, (K,), whose mean is 1.

    Cells are projected on the direction that separates perturbed cells from controls; one half of the cells gives the
    direction, and the other half is projected. The distribution of the responses is then the mixture of shifted
    controls of highest likelihood. It is used if it predicts the other half of the cells better than a common shift
    does. Otherwise each cell has the mean change.

    Parameters
    ----------
    cells
        Cells of a perturbation, (n × G).
    controls
        Controls of the same context, (k × G).
    rng
        Generator of the halves.
    """
    if min(len(cells), len(controls)) < 8:
        return FULL
    gains, weights = [], []
    for _ in range(_N_HALVINGS):
        halves = _projected_halves(cells, controls, rng)
        if halves is None:
            return FULL
        likelihoods = [_likelihoods(*half) for half in halves]
        fitted = [_mixture(likelihood) for likelihood in likelihoods]
        for likelihood, other in zip(likelihoods, fitted[::-1], strict=True):
            gains.append(np.log(likelihood @ other) - np.log(likelihood @ FULL))
        weights.append(_mixture(np.concatenate(likelihoods)))
    gain = np.concatenate(gains)
    if gain.mean() <= 2 * gain.std() / np.sqrt(len(cells)):
        return FULL
    return with_mean_one(np.mean(weights, axis=0))


def with_mean_one(weights: np.ndarray) -> np.ndarray:
    """Mix a distribution of responses with its upper or its lower half, so that its mean is 1."""
    mean = float(weights @ GRID)
    part = np.where(GRID > 1 if mean < 1 else GRID < 1, weights, 0)
    if part.sum() <= 0:
        return FULL
    part = part / part.sum()
    share = (1 - mean) / (float(part @ GRID) - mean)
    return (1 - share) * weights + share * part


def drawn_responses(weights: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Random responses of n cells, (n,), spread evenly over the distribution, with mean 1."""
    places = (rng.permutation(n) + rng.random()) / n
    drawn = GRID[np.minimum(np.searchsorted(np.cumsum(weights), places), len(GRID) - 1)]
    mean = float(drawn.mean())
    return drawn / mean if mean > 0.5 else drawn + (1 - mean)


def _projected_halves(
    cells: np.ndarray, controls: np.ndarray, rng: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """Responses with noise of the cells and of the controls of each half, on the direction of the other half.

    The mean of the controls is 0 and that of the cells is 1. None if the mean change is too small for that.
    """
    first, first_controls = rng.permutation(len(cells)) % 2 == 0, rng.permutation(len(controls)) % 2 == 0
    halves = []
    for a, c in ((first, first_controls), (~first, ~first_controls)):
        direction = _direction(cells[a], controls[c])
        v, u = cells[~a] @ direction, controls[~c] @ direction
        length = float(v.mean() - u.mean())
        if not length > _LEAST_T * np.sqrt(v.var() / len(v) + u.var() / len(u)) or u.std() == 0:
            return None
        halves.append(((v - u.mean()) / length, (u - u.mean()) / length))
    return halves


def _direction(cells: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """Difference of the means, divided by the variances, without the part that noise explains, (G,)."""
    change = cells.mean(axis=0) - controls.mean(axis=0)
    of_cells, of_controls = cells.var(axis=0), controls.var(axis=0)
    variance = (of_cells + of_controls) / 2
    noise = of_cells / len(cells) + of_controls / len(controls)
    kept = 1 - 4 * np.divide(noise, change**2, out=np.ones_like(change), where=change != 0)
    direction = change * np.maximum(kept, 0) / (variance + _RIDGE * variance.mean() + np.finfo(np.float64).tiny)
    return direction if direction.any() else change


def _likelihoods(v: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Density of each projected cell at each response of the grid, (n × K): controls, shifted and smoothed."""
    width = 1.06 * u.std() * len(u) ** -0.2
    places = np.linspace(u.min() - 4 * width, u.max() + 4 * width, _N_PLACES)
    density = np.exp(-0.5 * ((places[:, None] - u) / width) ** 2).mean(axis=1) / width
    return np.interp((v[:, None] - GRID).ravel(), places, density, left=0, right=0).reshape(len(v), -1) + 1e-12


def _mixture(likelihoods: np.ndarray) -> np.ndarray:
    """Weights of the grid of highest likelihood, (K,), by expectation and maximisation."""
    weights = np.full(likelihoods.shape[1], 1 / likelihoods.shape[1])
    for _ in range(_N_STEPS):
        weights = weights * ((1 / (likelihoods @ weights)) @ likelihoods) / len(likelihoods)
    return weights / weights.sum()
