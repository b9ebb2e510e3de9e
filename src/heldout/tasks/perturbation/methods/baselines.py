"""Closed forms that every other method has to beat."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from heldout.tasks.perturbation.config import NoPerturbationConfig
from heldout.tasks.perturbation.interface import Data, Fitted, Pairs, Prediction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heldout.splitting._perturbations import Targets


class NoChange:
    """A perturbed cell is as the controls of its context."""

    default_config: ClassVar[Any] = NoPerturbationConfig()

    def fit(self, data: Data, config: NoPerturbationConfig, *, seed: int) -> Fitted:
        """Only the number of genes is kept."""
        return Fitted({}, {"n_genes": data.change.shape[1]})

    def predict(self, fitted: Fitted, pairs: Pairs) -> Prediction:
        """Zero for each gene."""
        return Prediction.sure(np.zeros((len(pairs), fitted.info["n_genes"])))


class Mean:
    """The mean change of the train perturbations: each counts once, whatever its cells and contexts."""

    default_config: ClassVar[Any] = NoPerturbationConfig()

    def fit(self, data: Data, config: NoPerturbationConfig, *, seed: int) -> Fitted:
        """Mean over contexts, then over perturbations."""
        return Fitted({"change": over_contexts(data.pairs.targets, data.change)[1].mean(axis=0)})

    def predict(self, fitted: Fitted, pairs: Pairs) -> Prediction:
        """Repeat the mean."""
        return Prediction.sure(np.tile(fitted.arrays["change"], (len(pairs), 1)))


class MeanOfCells(Mean):
    """The mean change of the perturbed train cells: a perturbation counts by its cells."""

    def fit(self, data: Data, config: NoPerturbationConfig, *, seed: int) -> Fitted:
        """Mean over cells."""
        return Fitted({"change": np.average(data.change, axis=0, weights=data.n_cells)})


class ContextMean:
    """The mean change of the train perturbations in the context asked for.

    Where train has none there, the mean over all contexts stands in.
    """

    default_config: ClassVar[Any] = NoPerturbationConfig()

    def fit(self, data: Data, config: NoPerturbationConfig, *, seed: int) -> Fitted:
        """Mean in each context, and over perturbations."""
        return Fitted(context_means(data))

    def predict(self, fitted: Fitted, pairs: Pairs) -> Prediction:
        """The mean of the context of each."""
        return Prediction(*in_context(fitted.arrays, pairs.context))


class Transfer:
    """The change that the same perturbation makes in the same context, or else its mean over the other contexts.

    Of a perturbation that train has nowhere the mean change stands in.
    """

    default_config: ClassVar[Any] = NoPerturbationConfig()

    def fit(self, data: Data, config: NoPerturbationConfig, *, seed: int) -> Fitted:
        """Keep the changes of all train perturbations."""
        distinct, means = over_contexts(data.pairs.targets, data.change)
        number = {targets: i for i, targets in enumerate(distinct)}
        codes = np.array([number[targets] for targets in data.pairs.targets])
        arrays = {"change": data.change, "perturbation": codes, "context": data.pairs.context, "means": means}
        return Fitted(arrays, {"targets": [list(targets) for targets in distinct]})

    def predict(self, fitted: Fitted, pairs: Pairs) -> Prediction:
        """Look each up."""
        arrays = fitted.arrays
        number = {tuple(targets): i for i, targets in enumerate(fitted.info["targets"])}
        row = {
            at: i for i, at in enumerate(zip(arrays["perturbation"].tolist(), arrays["context"].tolist(), strict=True))
        }
        change = np.empty((len(pairs), arrays["change"].shape[1]))
        fallback = np.zeros(len(pairs), dtype=bool)
        for i, (targets, context) in enumerate(zip(pairs.targets, pairs.context.tolist(), strict=True)):
            known = number.get(targets)
            if known is None:
                change[i], fallback[i] = arrays["means"].mean(axis=0), True
            else:
                at = row.get((known, context))
                change[i] = arrays["means"][known] if at is None else arrays["change"][at]
        return Prediction(change, fallback)


class Additive:
    """The sum of the changes that the targets make alone, in the same context.

    A target that train has alone only in other contexts has the mean over these; one that train never has alone has the
    mean change of the single targets. Both are stand-ins, and counted.
    """

    default_config: ClassVar[Any] = NoPerturbationConfig()

    def fit(self, data: Data, config: NoPerturbationConfig, *, seed: int) -> Fitted:
        """Keep the changes of the perturbations with one target."""
        alone = np.array([len(targets) == 1 for targets in data.pairs.targets], dtype=bool)
        if not alone.any():
            msg = (
                "method='additive' adds up what targets do alone, but train has no perturbation of a single target. Take "
                "method='latent_additive', which reads the effects of targets from combinations too."
            )
            raise ValueError(msg)
        rows = np.flatnonzero(alone)
        names = sorted({data.pairs.targets[i][0] for i in rows.tolist()})
        number = {name: i for i, name in enumerate(names)}
        return Fitted(
            {
                "change": data.change[rows],
                "target": np.array([number[data.pairs.targets[i][0]] for i in rows.tolist()]),
                "context": data.pairs.context[rows],
            },
            {"targets": names},
        )

    def predict(self, fitted: Fitted, pairs: Pairs) -> Prediction:
        """Sum over the targets."""
        single = Singles(fitted)
        change = np.zeros((len(pairs), fitted.arrays["change"].shape[1]))
        fallback = np.zeros(len(pairs), dtype=bool)
        for i, (targets, context) in enumerate(zip(pairs.targets, pairs.context, strict=True)):
            for target in targets:
                own, sure = single.change(target, int(context))
                change[i] += own
                fallback[i] |= not sure
        return Prediction(change, fallback)


class Singles:
    """Changes of single targets, looked up by target and context."""

    def __init__(self, fitted: Fitted) -> None:
        self._change = fitted.arrays["change"].astype(np.float64)
        number, context = fitted.arrays["target"], fitted.arrays["context"]
        self._row = {(int(t), int(c)): i for i, (t, c) in enumerate(zip(number, context, strict=True))}
        self._rows: dict[int, list[int]] = defaultdict(list)
        for i, t in enumerate(number):
            self._rows[int(t)].append(i)
        self._number = {name: i for i, name in enumerate(fitted.info["targets"])}
        self._mean = np.mean([self._change[rows].mean(axis=0) for rows in self._rows.values()], axis=0)

    def change(self, target: str, context: int) -> tuple[np.ndarray, bool]:
        """The change, and whether it was measured in this context."""
        number = self._number.get(target)
        if number is None:
            return self._mean, False
        row = self._row.get((number, context))
        if row is None:
            return self._change[self._rows[number]].mean(axis=0), False
        return self._change[row], True


def over_contexts(targets: Sequence[Targets], values: np.ndarray) -> tuple[list[Targets], np.ndarray]:
    """Distinct perturbations, sorted, and the mean of each over its rows, (P × G)."""
    distinct = sorted(set(targets))
    number = {of_row: i for i, of_row in enumerate(distinct)}
    codes = np.array([number[of_row] for of_row in targets])
    sums = np.zeros((len(distinct), values.shape[1]))
    np.add.at(sums, codes, values)
    return distinct, sums / np.bincount(codes)[:, None]


def context_means(data: Data) -> dict[str, np.ndarray]:
    """Mean change over the perturbations of each context, (C × G), NaN where train has none; and over all."""
    means = np.full(data.control.shape, np.nan)
    for context in np.unique(data.pairs.context):
        means[context] = data.change[data.pairs.context == context].mean(axis=0)
    return {"by_context": means, "change": over_contexts(data.pairs.targets, data.change)[1].mean(axis=0)}


def in_context(arrays: dict[str, np.ndarray], context: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean change of each context asked for, (m × G), and where the mean over all stands in, (m,)."""
    means, overall = arrays["by_context"], arrays["change"]
    known = context < len(means)
    change = np.where(known[:, None], means[np.where(known, context, 0)], np.nan)
    lacking = np.asarray(np.isnan(change).any(axis=1))
    change[lacking] = overall
    return change, lacking
