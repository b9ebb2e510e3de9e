"""Logistic regression on the scores of gene sets in the mean profile of each group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy import sparse

from heldout._core.method import Fitted
from heldout.tasks.genotype.config import PathwayConfig
from heldout.tasks.genotype.gene_sets import measured_sets
from heldout.tasks.genotype.group_rows import row_means, rows_of_train
from heldout.tasks.genotype.linear import linear_log_probability
from heldout.tasks.genotype.ridge import fit_averaged

if TYPE_CHECKING:
    from collections.abc import Callable

    from heldout._core.types import Matrix
    from heldout.tasks.genotype.interface import Data

_METHOD = "pathway_logistic"


class PathwayLogistic:
    """Logistic regression on scores of gene sets.

    Genes of the mean profiles are standardised over the train groups. The score of a set is the mean of its genes, or
    their first principal component over the train groups. Sets whose genes vary together have scores with a larger
    spread, and ridge regression shrinks these less. The fit is an average over penalties. The model
    is linear in the genes, so it can predict cells: the mean logit of the cells of a group is the logit of its mean.

    ``info["sets"]`` has the names of the sets, and ``set_coef`` their coefficients, (1 × n_sets), or one row for each
    of three or more classes.
    """

    features: ClassVar[Any] = "genes"
    by_group: ClassVar[bool] = False
    stochastic: ClassVar[bool] = False
    default_config: ClassVar[Any] = PathwayConfig()

    def fit(self, data: Data, config: PathwayConfig, *, seed: int) -> Fitted:
        """Find the genes of the sets, fit on scores of sets, and fold the scores into coefficients of genes."""
        if config.gene_sets is None:
            msg = (
                "pathway_logistic needs gene sets. Pass config=heldout.model.PathwayConfig(gene_sets=...) with a "
                "mapping from names to genes, a DataFrame, or the path of a GMT file."
            )
            raise ValueError(msg)
        rows, row_of = rows_of_train(data, _METHOD, balanced=config.balanced)
        assert data.genes is not None
        names, columns = measured_sets(config.gene_sets, data.genes, least=config.min_genes)
        means = np.asarray(row_means(data, row_of, len(rows.labels)), dtype=np.float64)

        def represent(known: np.ndarray) -> tuple[dict[str, np.ndarray], Callable[[np.ndarray], np.ndarray]]:
            mean, sd = means[known].mean(axis=0), means[known].std(axis=0, ddof=1)
            inverse = np.divide(1.0, sd, out=np.zeros_like(sd), where=sd > 0)
            z = (means[known] - mean) * inverse
            weights = [_loadings(z[:, at], config.score) for at in columns]
            table = _table(weights, columns, len(mean))
            arrays = {"mean": mean, "inverse": inverse, "loadings": np.concatenate(weights)}
            return arrays, lambda wanted: np.asarray(((means[wanted] - mean) * inverse) @ table)

        found = fit_averaged(represent, rows, config.Cs, max_iter=config.max_iter, calibrated=config.calibrated)
        a = found.arrays
        table = _table(np.split(a["loadings"], np.cumsum([len(at) for at in columns])[:-1]), columns, len(a["mean"]))
        coef = np.asarray((table @ a["coef"].T).T) * a["inverse"]
        arrays = {"coef": coef, "intercept": a["intercept"] - coef @ a["mean"], "set_coef": a["coef"]}
        left_out = [name for name in config.gene_sets if name not in set(names)]
        return Fitted(arrays, {**found.info, "sets": names, "sets_left_out": left_out})

    def predict(self, fitted: Fitted, X: Matrix) -> np.ndarray:
        """Log-probabilities of the linear model."""
        return linear_log_probability(fitted.arrays, X)


def _loadings(z: np.ndarray, score: str) -> np.ndarray:
    """Weight of each gene of a set, so that equal weights give the mean."""
    if score == "mean" or not z.any():
        return np.full(z.shape[1], 1 / z.shape[1])
    axis = np.linalg.svd(z, full_matrices=False)[2][0]
    return np.asarray(axis * (1.0 if axis.sum() >= 0 else -1.0) / np.sqrt(z.shape[1]))


def _table(weights: list[np.ndarray], columns: list[np.ndarray], n_genes: int) -> sparse.csc_array:
    """Weights of genes (rows) in sets (columns)."""
    ends = np.r_[0, np.cumsum([len(at) for at in columns])]
    return sparse.csc_array((np.concatenate(weights), np.concatenate(columns), ends), shape=(n_genes, len(columns)))
