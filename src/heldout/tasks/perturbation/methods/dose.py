"""Dose responses in closed form: linear in the logarithm of the dose, and monotone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from heldout._core.method import Fitted
from heldout.tasks.perturbation.config import DoseIsotonicConfig, DoseLinearConfig
from heldout.tasks.perturbation.methods.latent_additive import change_components, variance_of_cells
from heldout.tasks.perturbation.predictions import Controls, Shifted

if TYPE_CHECKING:
    from heldout.splitting._perturbations import Targets
    from heldout.tasks.perturbation.interface import Data, Profiles
    from heldout.tasks.perturbation.pairs import Pair, Pairs

_N_SCALES = 49
"""Dose scales that are compared."""

_LEAST = 1e-3


@dataclass(frozen=True)
class Series:
    """Dose series of a screen: each perturbation in each context, with the doses that train has of it.

    Parameters
    ----------
    keys
        Targets and context of each series, (S,).
    of_row
        Number of the series of each row, (m,).
    """

    keys: list[tuple[Targets, int]]
    of_row: np.ndarray

    @classmethod
    def of(cls, pairs: Pairs) -> Series:
        """Number the perturbations and contexts in the order of the rows."""
        number: dict[tuple[Targets, int], int] = {}
        of_row = [number.setdefault((pair.targets, pair.context), len(number)) for pair in pairs]
        return cls(list(number), np.array(of_row, dtype=np.int64))

    @property
    def n_targets(self) -> np.ndarray:
        """Number of targets of each series, (S,)."""
        return np.array([len(targets) for targets, _ in self.keys], dtype=np.float64)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sum of the rows of each series, (S, …)."""
        result = np.zeros((len(self.keys), *values.shape[1:]))
        np.add.at(result, self.of_row, values)
        return result

    def to_json(self) -> list[list[Any]]:
        """JSON values."""
        return [[list(targets), context] for targets, context in self.keys]


class Responses(ABC):
    """Stored dose responses, looked up by perturbation and context."""

    def __init__(self, fitted: Fitted) -> None:
        self.arrays, self.info = fitted.arrays, fitted.info
        self.series_of: dict[Targets, list[int]] = {}
        self.context = np.array([context for _, context in fitted.info["series"]], dtype=np.int64)
        for number, (targets, _) in enumerate(fitted.info["series"]):
            self.series_of.setdefault(tuple(targets), []).append(number)

    @abstractmethod
    def at(self, series: list[int], dose: float) -> np.ndarray:
        """Mean change of some series at a dose, (G,)."""

    @cached_property
    def every(self) -> list[int]:
        """Series whose mean is the change of an unknown target: those of single targets, or else all."""
        alone = [number for targets, found in self.series_of.items() if len(targets) == 1 for number in found]
        return alone or list(range(len(self.context)))

    def change(self, pair: Pair) -> tuple[np.ndarray, bool]:
        """Change of a perturbation, (G,), and whether it uses the mean response for a target without a series."""
        assert pair.dose is not None
        parts = [pair.targets] if pair.targets in self.series_of else [(target,) for target in pair.targets]
        change, fallback = np.zeros(int(self.info["n_genes"])), False
        for part in parts:
            series = self.series_of.get(part, [])
            here = [number for number in series if self.context[number] == pair.context]
            change += self.at(here or series or self.every, pair.dose)
            fallback |= not series
        return change, fallback


class _DoseResponse:
    """The parts that both dose responses share."""

    stochastic: ClassVar[bool] = False
    reads: ClassVar[Literal["profiles", "cells"]] = "profiles"
    responses: ClassVar[type[Responses]]

    def predict(self, fitted: Fitted, pairs: Pairs, controls: Controls, *, seed: int) -> Shifted:
        """Evaluate the response of each perturbation at its dose."""
        responses = self.responses(fitted)
        found = [responses.change(pair) for pair in pairs]
        change = np.stack([change for change, _ in found]) if found else np.empty((0, int(fitted.info["n_genes"])))
        return Shifted.of(pairs, controls, change, np.array([fallback for _, fallback in found], dtype=bool))


class LinearResponses(Responses):
    """Slopes in components."""

    def at(self, series: list[int], dose: float) -> np.ndarray:
        """Mean slope times the logarithm of the scaled dose."""
        slope = self.arrays["slopes"][series].mean(axis=0)
        return np.asarray(np.log1p(dose / self.info["scale"]) * (slope @ self.arrays["basis"]))


class DoseLinear(_DoseResponse):
    """Predict changes that are linear in log1p(dose / scale), so that they are 0 at dose 0.

    Each perturbation in each context has a slope for each component of the train changes. Slopes are estimated by
    weighted least squares and shrunk towards the mean slope, by empirical Bayes: the noise of a slope is the variance
    of a cell, or the misfit of the line if that is larger. The scale is the same for all perturbations. It is chosen on
    train as the scale with the smallest squared error. A large scale makes changes linear in the dose, and a small one
    makes them almost the same at all doses.

    A combination without a series has the sum of the changes of its targets at the same dose. A perturbation without a
    series in the context has the mean over the other contexts. A target without a series has the mean slope as a
    fallback.
    """

    default_config: ClassVar[DoseLinearConfig] = DoseLinearConfig()
    responses: ClassVar[type[Responses]] = LinearResponses

    def fit(self, data: Data, config: DoseLinearConfig, *, seed: int, start: Fitted | None = None) -> Fitted:
        """Choose the scale, then estimate and shrink the slopes."""
        profiles = data.profiles
        dose, series = _doses_of(profiles, "dose_linear"), Series.of(profiles.pairs)
        basis = change_components(profiles, config.n_comps)
        Y, weights = profiles.change @ basis.T, profiles.n_cells.astype(np.float64)
        scale = _best_scale(Y, dose, weights, series) if config.dose_scale is None else float(config.dose_scale)
        x = np.log1p(dose / scale)
        slopes, misfit = _slopes(Y, x, weights, series)
        noise = _noise(misfit, len(Y) - len(slopes), variance_of_cells(basis, profiles))
        shrunk = _shrunk(slopes, noise / series.sums(weights * x**2)[:, None], series.n_targets)
        arrays = {"basis": basis, "slopes": shrunk}
        return Fitted(arrays, {"series": series.to_json(), "scale": scale, "n_genes": basis.shape[1]})


class IsotonicResponses(Responses):
    """Fitted values at the doses of train, which are interpolated."""

    def __init__(self, fitted: Fitted) -> None:
        super().__init__(fitted)
        self.rows = np.split(np.arange(len(self.arrays["dose"])), np.cumsum(self.arrays["n_doses"])[:-1])

    def at(self, series: list[int], dose: float) -> np.ndarray:
        """Mean of the interpolated series."""
        return np.asarray(np.mean([self._interpolated(number, dose) for number in series], axis=0))

    def _interpolated(self, series: int, dose: float) -> np.ndarray:
        rows = self.rows[series]
        doses, values = self.arrays["dose"][rows], self.arrays["values"][rows]
        if dose <= doses[0]:
            return np.asarray(values[0] * dose / doses[0])
        upper = int(np.searchsorted(doses, dose))
        if upper == len(doses):
            return np.asarray(values[-1])
        share = np.log(dose / doses[upper - 1]) / np.log(doses[upper] / doses[upper - 1])
        return np.asarray((1 - share) * values[upper - 1] + share * values[upper])


class DoseIsotonic(_DoseResponse):
    """Predict changes that only rise or only fall with the dose, from 0 at dose 0, in each perturbation and gene.

    The fit is isotonic regression on the measured changes, weighted by their cells, with values that are never on the
    other side of 0. Before, each change is shrunk in the components of the train changes by its noise (empirical
    Bayes), because a monotone fit of noise alone is not 0. The rising or the falling fit is used, whichever has the
    smaller error. Between measured doses the change is linear in the logarithm of the dose, below the lowest dose it is
    proportional to the dose, and beyond the highest dose it is constant. Combinations, contexts and unknown targets are
    treated as in :class:`DoseLinear`; the fallback is the mean response.
    """

    default_config: ClassVar[DoseIsotonicConfig] = DoseIsotonicConfig()
    responses: ClassVar[type[Responses]] = IsotonicResponses

    def fit(self, data: Data, config: DoseIsotonicConfig, *, seed: int, start: Fitted | None = None) -> Fitted:
        """Fit each series."""
        profiles = data.profiles
        dose, series = _doses_of(profiles, "dose_isotonic"), Series.of(profiles.pairs)
        order = np.lexsort((dose, series.of_row))
        parts = np.split(order, np.cumsum(np.bincount(series.of_row))[:-1])
        weights = profiles.n_cells.astype(np.float64)
        change = _without_noise(profiles) if config.shrink else profiles.change
        values = np.concatenate([monotone(change[rows], weights[rows]) for rows in parts])
        arrays = {
            "values": values,
            "dose": dose[order],
            "n_doses": np.array([len(rows) for rows in parts]),
        }
        return Fitted(arrays, {"series": series.to_json(), "n_genes": values.shape[1]})


def monotone(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted least-squares fit of each column, (K × G), that rises and is >= 0, or falls and is <= 0."""
    rising, falling = np.maximum(isotonic(values, weights), 0), -np.maximum(isotonic(-values, weights), 0)
    errors = [weights @ (values - fit) ** 2 for fit in (rising, falling)]
    return np.where(errors[0] <= errors[1], rising, falling)


def isotonic(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted isotonic (rising) regression of each column, (K × G), by the largest of the smallest interval means."""
    sums, total = np.cumsum(values * weights[:, None], axis=0), np.cumsum(weights)
    result = np.full(values.shape, -np.inf)
    for first in range(len(values)):
        before = (sums[first - 1], total[first - 1]) if first else (0.0, 0.0)
        means = (sums[first:] - before[0]) / (total[first:] - before[1])[:, None]
        smallest = np.minimum.accumulate(means[::-1], axis=0)[::-1]
        result[first:] = np.maximum(result[first:], smallest)
    return result


def _without_noise(profiles: Profiles) -> np.ndarray:
    """Train changes, (m × G), each component multiplied by its share of signal, which is larger for more cells."""
    basis = change_components(profiles, None)
    of_cells = variance_of_cells(basis, profiles)
    if of_cells is None:
        return profiles.change
    Y, noise = profiles.change @ basis.T, of_cells / profiles.n_cells[:, None]
    total = (Y**2).mean(axis=0)
    signal = np.maximum(total - noise.mean(axis=0), _LEAST * np.maximum(total, np.finfo(np.float64).tiny))
    return np.asarray((Y * signal / (signal + noise)) @ basis)


def _doses_of(profiles: Profiles, method: str) -> np.ndarray:
    if profiles.pairs.dose is None:
        msg = f"method={method!r} needs doses, but the screen has none. Pass dose_key, or use another method."
        raise ValueError(msg)
    return profiles.pairs.dose


def _slopes(Y: np.ndarray, x: np.ndarray, weights: np.ndarray, series: Series) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares slope of each series through 0, (S × K), and the weighted squared error of each component, (K,)."""
    slopes = series.sums((weights * x)[:, None] * Y) / series.sums(weights * x**2)[:, None]
    return slopes, weights @ (Y - x[:, None] * slopes[series.of_row]) ** 2


def _best_scale(Y: np.ndarray, dose: np.ndarray, weights: np.ndarray, series: Series) -> float:
    """Dose scale with the smallest squared error; the median dose if all scales fit equally well."""
    scales = np.geomspace(dose.min() / 100, dose.max() * 100, _N_SCALES)
    errors = np.array([_slopes(Y, np.log1p(dose / scale), weights, series)[1].sum() for scale in scales])
    size = float(weights @ (Y**2).sum(axis=1))
    return float(np.median(dose)) if np.ptp(errors) <= 1e-9 * size else float(scales[np.argmin(errors)])


def _noise(misfit: np.ndarray, n_free: int, of_cells: np.ndarray | None) -> np.ndarray:
    """Variance of a cell in each component, (K,), or that of the misfit if it is larger."""
    of_line = misfit / n_free if n_free > 0 else np.zeros_like(misfit)
    return of_line if of_cells is None else np.maximum(of_line, of_cells)


def _shrunk(slopes: np.ndarray, variance: np.ndarray, n_targets: np.ndarray) -> np.ndarray:
    """Slopes shrunk towards the mean slope of a target, (S × K); ``variance`` is the noise of each slope."""
    mean = n_targets @ slopes / (n_targets @ n_targets)
    rest = slopes - n_targets[:, None] * mean
    total = (rest**2).sum(axis=0) / n_targets.sum()
    least = _LEAST * np.maximum(total, np.finfo(np.float64).tiny)
    spread = n_targets[:, None] * np.maximum(total - variance.sum(axis=0) / n_targets.sum(), least)
    return n_targets[:, None] * mean + rest * spread / (spread + variance)
