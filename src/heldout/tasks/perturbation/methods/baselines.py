"""Closed forms that every other method has to beat."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from heldout._core.method import Fitted
from heldout._core.options import NoConfig
from heldout.tasks.perturbation.methods.nearest_dose import at_nearest_dose, stored_doses
from heldout.tasks.perturbation.predictions import Controls, Shifted

if TYPE_CHECKING:
    from heldout.splitting._perturbations import Targets
    from heldout.tasks.perturbation.interface import Data, Profiles
    from heldout.tasks.perturbation.pairs import Pairs


class ClosedForm:
    """A method without options or chance that reads pseudobulks."""

    default_config: ClassVar[NoConfig] = NoConfig()
    stochastic: ClassVar[bool] = False
    reads: ClassVar[Literal["profiles", "cells"]] = "profiles"


class NoChange(ClosedForm):
    """Predict that a perturbed cell is like the controls of its context."""

    def fit(self, data: Data, config: NoConfig, *, seed: int, start: Fitted | None = None) -> Fitted:
        """Keep the number of genes."""
        return Fitted({}, {"n_genes": len(data.genes)})

    def predict(self, fitted: Fitted, pairs: Pairs, controls: Controls, *, seed: int) -> Shifted:
        """Predict zero change of each gene."""
        return Shifted.of(pairs, controls, np.zeros((len(pairs), fitted.info["n_genes"])))


class Mean(ClosedForm):
    """Predict the mean change of the train perturbations, which all have the same weight."""

    def fit(self, data: Data, config: NoConfig, *, seed: int, start: Fitted | None = None) -> Fitted:
        """Average over contexts, then over perturbations."""
        return Fitted({"change": over_contexts(data.profiles)[1].mean(axis=0)})

    def predict(self, fitted: Fitted, pairs: Pairs, controls: Controls, *, seed: int) -> Shifted:
        """Predict the mean for each perturbation."""
        return Shifted.of(pairs, controls, np.tile(fitted.arrays["change"], (len(pairs), 1)))


class MeanOfCells(Mean):
    """Predict the mean change of the perturbed train cells. Each perturbation counts by its number of cells."""

    def fit(self, data: Data, config: NoConfig, *, seed: int, start: Fitted | None = None) -> Fitted:
        """Average over cells."""
        return Fitted({"change": np.average(data.profiles.change, axis=0, weights=data.profiles.n_cells)})


class ContextMean(ClosedForm):
    """Predict the mean change of the train perturbations of the same context.

    If train has none in that context, the mean over all contexts is the fallback.
    """

    def fit(self, data: Data, config: NoConfig, *, seed: int, start: Fitted | None = None) -> Fitted:
        """Average over the perturbations of each context, and over all."""
        return Fitted(context_means(data.profiles))

    def predict(self, fitted: Fitted, pairs: Pairs, controls: Controls, *, seed: int) -> Shifted:
        """Predict the mean of the context."""
        return Shifted.of(pairs, controls, *in_context(fitted.arrays, pairs.context))


class Transfer(ClosedForm):
    """Predict the change of the same perturbation in the same context, or its mean over the other contexts.

    With doses, it is the change at the nearest dose that train has of the perturbation. For a perturbation that is
    absent from train, the mean change is the fallback.
    """

    def fit(self, data: Data, config: NoConfig, *, seed: int, start: Fitted | None = None) -> Fitted:
        """Keep the changes of all train perturbations."""
        profiles = data.profiles
        distinct, means = over_contexts(profiles)
        number = {targets: i for i, targets in enumerate(distinct)}
        codes = np.array([number[targets] for targets in profiles.pairs.targets])
        arrays = {"change": profiles.change, "perturbation": codes, "context": profiles.pairs.context, "means": means}
        return Fitted({**arrays, **stored_doses(profiles.pairs)}, {"targets": [list(targets) for targets in distinct]})

    def predict(self, fitted: Fitted, pairs: Pairs, controls: Controls, *, seed: int) -> Shifted:
        """Look up each perturbation."""
        arrays = fitted.arrays
        number = {tuple(targets): i for i, targets in enumerate(fitted.info["targets"])}
        row = {
            at: i for i, at in enumerate(zip(arrays["perturbation"].tolist(), arrays["context"].tolist(), strict=True))
        }
        change = np.empty((len(pairs), arrays["change"].shape[1]))
        fallback = np.zeros(len(pairs), dtype=bool)
        for i, (targets, context, dose) in enumerate(pairs):
            known = number.get(targets)
            if known is None:
                change[i], fallback[i] = arrays["means"].mean(axis=0), True
            elif "dose" in arrays:
                same = np.flatnonzero(arrays["perturbation"] == known)
                here = same[arrays["context"][same] == context]
                rows = at_nearest_dose((here if len(here) else same).tolist(), arrays["dose"], dose)
                change[i] = arrays["change"][rows].mean(axis=0)
            else:
                at = row.get((known, context))
                change[i] = arrays["means"][known] if at is None else arrays["change"][at]
        return Shifted.of(pairs, controls, change, fallback)


class Additive(ClosedForm):
    """Predict the sum of the changes of the single targets in the same context.

    If train has a target alone only in other contexts, the mean over these contexts is the fallback. If train never has
    the target alone, the mean change of the single targets is the fallback. With doses, the changes are those at the
    nearest dose that train has of the target.
    """

    def fit(self, data: Data, config: NoConfig, *, seed: int, start: Fitted | None = None) -> Fitted:
        """Keep the changes of the perturbations with one target."""
        pairs = data.profiles.pairs
        alone = np.array([len(targets) == 1 for targets in pairs.targets], dtype=bool)
        if not alone.any():
            msg = (
                "method='additive' adds up the effects of single targets, but train has no perturbation of a single "
                "target. Use method='latent_additive', which also learns the effects of targets from combinations."
            )
            raise ValueError(msg)
        rows = np.flatnonzero(alone)
        names = sorted({pairs.targets[i][0] for i in rows.tolist()})
        number = {name: i for i, name in enumerate(names)}
        return Fitted(
            {
                "change": data.profiles.change[rows],
                "target": np.array([number[pairs.targets[i][0]] for i in rows.tolist()]),
                "context": pairs.context[rows],
                **stored_doses(pairs, rows),
            },
            {"targets": names},
        )

    def predict(self, fitted: Fitted, pairs: Pairs, controls: Controls, *, seed: int) -> Shifted:
        """Add up the changes of the targets."""
        single = Singles(fitted)
        change = np.zeros((len(pairs), fitted.arrays["change"].shape[1]))
        fallback = np.zeros(len(pairs), dtype=bool)
        for i, (targets, context, dose) in enumerate(pairs):
            for target in targets:
                effect, measured = single.change(target, context, dose)
                change[i] += effect
                fallback[i] |= not measured
        return Shifted.of(pairs, controls, change, fallback)


class Singles:
    """Changes of single targets, looked up by target, context and nearest dose."""

    def __init__(self, fitted: Fitted) -> None:
        self._change = fitted.arrays["change"].astype(np.float64)
        number, context = fitted.arrays["target"], fitted.arrays["context"]
        self._row = {(int(t), int(c)): i for i, (t, c) in enumerate(zip(number, context, strict=True))}
        self._rows: dict[int, list[int]] = defaultdict(list)
        for i, t in enumerate(number):
            self._rows[int(t)].append(i)
        self._number = {name: i for i, name in enumerate(fitted.info["targets"])}
        self._context, self._dose = context, fitted.arrays.get("dose")
        self._mean = np.mean([self._change[rows].mean(axis=0) for rows in self._rows.values()], axis=0)

    def change(self, target: str, context: int, dose: float | None = None) -> tuple[np.ndarray, bool]:
        """The change, and whether it was measured in this context."""
        number = self._number.get(target)
        if number is None:
            return self._mean, False
        if self._dose is not None:
            here = [row for row in self._rows[number] if self._context[row] == context]
            rows = at_nearest_dose(here or self._rows[number], self._dose, dose)
            return self._change[rows].mean(axis=0), bool(here)
        row = self._row.get((number, context))
        if row is None:
            return self._change[self._rows[number]].mean(axis=0), False
        return self._change[row], True


def over_contexts(profiles: Profiles) -> tuple[list[Targets], np.ndarray]:
    """Distinct train perturbations, sorted, and the mean change of each over its contexts, (P × G)."""
    targets = profiles.pairs.targets
    distinct = sorted(set(targets))
    number = {of_row: i for i, of_row in enumerate(distinct)}
    codes = np.array([number[of_row] for of_row in targets])
    sums = np.zeros((len(distinct), profiles.change.shape[1]))
    np.add.at(sums, codes, profiles.change)
    return distinct, sums / np.bincount(codes)[:, None]


def context_means(profiles: Profiles) -> dict[str, np.ndarray]:
    """Mean change over the perturbations of each context, (C × G), NaN where train has none; and over all."""
    means = np.full(profiles.control.shape, np.nan)
    for context in np.unique(profiles.pairs.context):
        means[context] = profiles.change[profiles.pairs.context == context].mean(axis=0)
    return {"by_context": means, "change": over_contexts(profiles)[1].mean(axis=0)}


def in_context(arrays: dict[str, np.ndarray], context: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean change of each requested context, (m × G), and whether the mean over all is used instead, (m,)."""
    means, overall = arrays["by_context"], arrays["change"]
    known = context < len(means)
    change = np.where(known[:, None], means[np.where(known, context, 0)], np.nan)
    lacking = np.asarray(np.isnan(change).any(axis=1))
    change[lacking] = overall
    return change, lacking
