"""Turn predicted cells or profiles into counts, as a new AnnData."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from heldout._core import keys, store
from heldout._core.arrays import get_matrix, loaded, take
from heldout._core.rng import Rng, seed_of
from heldout._core.types import is_sparse
from heldout.splitting._screen import as_list, context_codes
from heldout.tasks.perturbation.count_noise import (
    MOST_GROUPS,
    CountNoise,
    Rates,
    check_consistent,
    learn,
    rounded,
    without_negatives,
)
from heldout.tasks.perturbation.judging.score_predictions import check_predicted_genes, finite_rows, values_in_words
from heldout.tasks.perturbation.pairs import Pair
from heldout.tasks.perturbation.predictions import rng_of
from heldout.tasks.perturbation.task import check_logged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from heldout._core.partition import Partition
    from heldout._core.types import Matrix, MatrixOrDask

logger = logging.getLogger("heldout")

ROUNDING, NEGATIVE_BINOMIAL = "rounding", "negative_binomial"
NOISE = ("auto", ROUNDING, NEGATIVE_BINOMIAL)


@dataclass(frozen=True)
class Columns:
    """Columns of ``obs`` with the perturbation, the covariates and the dose, if the split has one."""

    perturbation_key: str
    covariate_keys: list[str]
    dose_keys: list[str]

    @classmethod
    def of(
        cls, partition: Partition, perturbation_key: str | None, covariate_keys: str | Sequence[str] | None
    ) -> Columns:
        """Take them from the split, or from the arguments."""
        recorded = partition.params if partition.scheme == "perturbations" else {}
        key = recorded.get("perturbation_key") if perturbation_key is None else perturbation_key
        if key is None:
            msg = (
                f"perturbation_key=None, and obs[{partition.key!r}] is a split of scheme {partition.scheme!r}, which "
                "has none. Pass the column of obs with the perturbation."
            )
            raise ValueError(msg)
        covariates = recorded.get("covariate_keys", []) if covariate_keys is None else as_list(covariate_keys)
        dose = recorded.get("dose_key")
        return cls(str(key), list(covariates), [] if dose is None else [str(dose)])

    def groups(self, adata: AnnData) -> tuple[list[tuple[str, ...]], np.ndarray]:
        """Distinct (perturbation, covariates, dose), and the number of the group of each cell."""
        return context_codes(adata, [self.perturbation_key, *self.covariate_keys, *self.dose_keys])

    def context(self, group: tuple[str, ...]) -> tuple[str, ...]:
        """The covariates of a group."""
        return group[1 : 1 + len(self.covariate_keys)]


def learnt(
    adata: AnnData, partition: Partition, columns: Columns, genes: np.ndarray, *, counts_layer: str, layer: str | None
) -> CountNoise:
    """Learn size factors and dispersions on the train cells of ``adata``; ``genes`` are columns (G,)."""
    counts, logged = counts_of(adata, counts_layer), get_matrix(adata, layer, dask=True)
    check_logged(logged, layer)
    rows = partition.rows("train")
    sample = rows[:: max(1, len(rows) // 200)]
    names = (f"adata.layers[{counts_layer!r}]", "adata.X" if layer is None else f"adata.layers[{layer!r}]")
    check_consistent(loaded(counts[sample]), loaded(logged[sample]), names)
    number = columns.groups(adata)[1][rows]
    n = np.bincount(number)
    largest = np.argsort(-n, kind="stable")[:MOST_GROUPS]
    place = np.full(len(n), -1)
    place[largest] = np.arange(len(largest))
    contexts, context = context_codes(adata, columns.covariate_keys)
    return learn(counts, logged, rows, genes, place[number], contexts, context[rows])


def counts_of(adata: AnnData, counts_layer: str) -> MatrixOrDask:
    """The layer with counts, or an error that says how to keep them."""
    if counts_layer not in adata.layers:
        msg = (
            f"counts_layer={counts_layer!r} is not in adata.layers, but size factors and dispersions are learnt on "
            "counts. Keep the counts before you normalise: adata.layers['counts'] = adata.X.copy()"
        )
        raise ValueError(msg)
    return get_matrix(adata, counts_layer, dask=True)


def predicted_counts(
    adata: AnnData,
    predicted: AnnData,
    partition: Partition,
    columns: Columns,
    *,
    counts_layer: str,
    layer: str | None,
    noise: str,
    n_cells: int | None,
    rng: Rng,
) -> AnnData:
    """Counts of predicted cells, or of cells around predicted profiles; see :func:`heldout.tl.to_counts`."""
    from anndata import AnnData

    counts_of(adata, counts_layer)
    genes = _genes(adata, predicted)
    X = loaded(get_matrix(predicted, dask=True))
    names, number = columns.groups(predicted)
    is_profile = len(names) == predicted.n_obs
    if n_cells is not None and not is_profile:
        msg = f"n_cells={n_cells} is for profiles, but predicted has several cells of a perturbation. Leave it out."
        raise ValueError(msg)
    finite = finite_rows(X)
    if not finite.any():
        msg = "predicted has NaN in every row. Predict at least one perturbation."
        raise ValueError(msg)
    values_in_words(X[finite], "predicted.X")
    model = learnt(adata, partition, columns, genes, counts_layer=counts_layer, layer=layer)
    noise = (NEGATIVE_BINOMIAL if is_profile else ROUNDING) if noise == "auto" else noise
    n_cells = 200 if n_cells is None else n_cells
    seed, highest = seed_of(rng), float(np.nanmax(X.max() if is_sparse(X) else X))
    rows, size, parts, n_negative, tables = [], [], [], 0, {}
    for group, name in enumerate(names):
        of_group = np.flatnonzero((number == group) & finite)
        if not len(of_group):
            continue
        of_group = np.repeat(of_group, n_cells) if is_profile else of_group
        block = take(X, of_group, None)
        x = np.asarray(block.toarray() if is_sparse(block) else block, dtype=np.float64)
        n_negative += int((x < 0).sum())
        context = columns.context(name)
        draw = rng_of(seed, Pair(name, 0), stream=3)
        s = draw.choice(model.sizes_of(context), len(of_group))
        x = without_negatives(x)
        if noise == ROUNDING:
            counts = rounded(x, s, draw)
        else:
            if context not in tables:
                tables[context] = Rates.of(model.dispersion, model.sizes_of(context), highest)
            counts = tables[context].drawn(x, s, draw)
        parts.append(sparse.csr_matrix(counts.astype(np.float32)))
        rows.append(of_group)
        size.append(s)
    at = np.concatenate(rows)
    order = np.argsort(at, kind="stable")  # in the order of predicted
    obs = predicted.obs.iloc[at[order]].assign(size_factor=np.concatenate(size)[order])
    if is_profile:
        obs.index = pd.Index([f"{label}|{k % n_cells}" for k, label in enumerate(obs.index)], dtype=object)
    _log(n_negative, X, int((~finite).sum()))
    about = {
        **predicted.uns.get(keys.UNS, {}),
        "counts": {"noise": noise, "counts_layer": counts_layer, "n_negative": n_negative},
    }
    return AnnData(sparse.vstack(parts, format="csr")[order], obs=obs, var=predicted.var, uns={keys.UNS: about})


def _genes(adata: AnnData, predicted: AnnData) -> np.ndarray:
    """Column of ``adata`` of each predicted gene, (G,)."""
    check_predicted_genes("predicted", predicted)
    genes = adata.var_names.get_indexer(predicted.var_names)
    if (genes < 0).any():
        lacking = predicted.var_names[genes < 0]
        msg = (
            f"predicted has {len(lacking)} genes that adata lacks (e.g. {store.some(lacking)}), so their counts are "
            "unknown. Predict the genes of adata, or rename them as in adata."
        )
        raise ValueError(msg)
    return np.asarray(genes)


def _log(n_negative: int, X: Matrix, n_lost: int) -> None:
    if n_negative:
        share = n_negative / (X.shape[0] * X.shape[1])
        logger.info(
            "%d predicted values (%.1f %%) are below 0. They are 0 counts, and the other cells of the gene are lowered "
            "so that the mean of the gene stays",
            n_negative,
            100 * share,
        )
    if n_lost:
        logger.warning("%d predicted rows are NaN and have no counts", n_lost)
