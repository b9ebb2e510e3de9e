"""Turn predicted cells or profiles into counts, as a new AnnData."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from heldout._core import keys, store
from heldout._core.arrays import as_dense, get_matrix, loaded, take, values
from heldout._core.fits import read_header
from heldout._core.rng import Rng, seed_of
from heldout.splitting._screen import as_list, context_codes
from heldout.tasks.perturbation.counts.noise import (
    MOST_GROUPS,
    CountNoise,
    Rates,
    check_consistent,
    learn,
    rounded,
    without_negatives,
)
from heldout.tasks.perturbation.judging.score_predictions import (
    check_predicted_genes,
    finite_part,
    finite_rows,
    values_in_words,
)
from heldout.tasks.perturbation.pairs import Pair
from heldout.tasks.perturbation.predictions import rng_of
from heldout.tasks.perturbation.task import check_logged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from heldout._core.partition import Partition
    from heldout._core.types import Matrix, MatrixOrDask, Sparse

logger = logging.getLogger("heldout")

ROUNDING, NEGATIVE_BINOMIAL = "rounding", "negative_binomial"
NOISE = ("auto", ROUNDING, NEGATIVE_BINOMIAL)

_HIGHEST = 30
"""Highest log-normalised value, because no cell has exp(30) counts."""


@dataclass(frozen=True)
class Columns:
    """Columns of ``obs`` with the perturbation, the covariates and the dose, if the split has one."""

    perturbation_key: str
    covariate_keys: list[str]
    dose_key: str | None = None

    @classmethod
    def of(
        cls,
        partition: Partition,
        perturbation_key: str | None,
        covariate_keys: str | Sequence[str] | None,
        dose_key: str | None = None,
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
        return cls(str(key), list(covariates), recorded.get("dose_key") if dose_key is None else dose_key)

    def check(self, predicted: AnnData) -> None:
        """Refuse predictions without these columns, or with missing names."""
        for key in (self.perturbation_key, *self.covariate_keys, *([] if self.dose_key is None else [self.dose_key])):
            if key not in predicted.obs.columns:
                msg = f"predicted.obs has no column {key!r}. {store.suggest(key, predicted.obs.columns)}"
                raise ValueError(msg)
            missing = int(predicted.obs[key].isna().sum())
            if missing:
                msg = f"predicted.obs[{key!r}] has {missing} missing values. Fill them, or drop these rows."
                raise ValueError(msg)

    def groups(self, adata: AnnData) -> tuple[list[tuple[str, ...]], np.ndarray]:
        """Distinct (perturbation, covariates, dose), and the number of the group of each cell."""
        names, codes = context_codes(adata, [self.perturbation_key, *self.covariate_keys])
        if self.dose_key is None:
            return names, codes
        dose = store.column(adata, self.dose_key, argument="dose_key", allow_missing=True)  # controls may have none
        doses, of_cell = store.factorize(store.as_names(dose))
        distinct, codes = np.unique(codes * len(doses) + of_cell, return_inverse=True)
        return [(*names[joint // len(doses)], doses[joint % len(doses)]) for joint in distinct], codes

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
    columns = columns if columns.dose_key else replace(columns, dose_key=_dose_of_fit(adata, predicted))
    columns.check(predicted)
    X = loaded(get_matrix(predicted, dask=True))
    names, number = columns.groups(predicted)
    is_profile = _are_profiles(predicted, len(names))
    if n_cells is not None and not is_profile:
        msg = f"n_cells={n_cells} is for profiles, but predicted has several cells of a perturbation. Leave it out."
        raise ValueError(msg)
    finite = finite_rows(X)
    _check_values(X, finite)
    model = learnt(adata, partition, columns, genes, counts_layer=counts_layer, layer=layer)
    noise = (NEGATIVE_BINOMIAL if is_profile else ROUNDING) if noise == "auto" else noise
    n_cells = (200 if n_cells is None else n_cells) if is_profile else 1
    groups = [(name, np.flatnonzero((number == i) & finite)) for i, name in enumerate(names)]
    drawn = _drawn(X, [group for group in groups if len(group[1])], model, columns, noise, n_cells, seed_of(rng))
    obs = predicted.obs.iloc[drawn.rows].assign(size_factor=drawn.size)
    if is_profile:
        obs.index = pd.Index([f"{label}|{k % n_cells}" for k, label in enumerate(obs.index)], dtype=object)
    _log(drawn.n_negative, X, int((~finite).sum()))
    about = {
        **predicted.uns.get(keys.UNS, {}),
        "counts": {"noise": noise, "counts_layer": counts_layer, "n_negative": drawn.n_negative},
    }
    return AnnData(drawn.counts, obs=obs, var=predicted.var, uns={keys.UNS: about})


@dataclass(frozen=True)
class _Drawn:
    """Counts, (k × G), with the number of the predicted row and the size factor of each, (k,)."""

    counts: Sparse
    rows: np.ndarray
    size: np.ndarray
    n_negative: int


def _drawn(
    X: Matrix,
    groups: Sequence[tuple[tuple[str, ...], np.ndarray]],
    model: CountNoise,
    columns: Columns,
    noise: str,
    n_cells: int,
    seed: int,
) -> _Drawn:
    """Draw ``n_cells`` cells around each row, group by group, in the order of the rows."""
    highest = max(float(values(take(X, of_group, None)).max(initial=0)) for _, of_group in groups)
    rows, size, parts, n_negative = [], [], [], 0
    tables: dict[tuple[str, ...], Rates] = {}
    for name, of_group in groups:
        block = take(X, of_group, None)
        x = as_dense(block)
        n_negative += int((x < 0).sum())
        x = np.repeat(without_negatives(x), n_cells, axis=0)
        context = columns.context(name)
        draw = rng_of(seed, Pair(name, 0), stream=3)
        s = draw.choice(model.sizes_of(context), len(x))
        if noise == ROUNDING:
            counts = rounded(x, s, draw)
        else:
            if context not in tables:
                tables[context] = Rates.of(model.dispersion, model.sizes_of(context), highest)
            counts = tables[context].drawn(x, s, draw)
        parts.append(sparse.csr_matrix(counts.astype(np.float32)))
        rows.append(np.repeat(of_group, n_cells))
        size.append(s)
    at = np.concatenate(rows)
    order = np.argsort(at, kind="stable")
    return _Drawn(sparse.vstack(parts, format="csr")[order], at[order], np.concatenate(size)[order], n_negative)


def _made_by(predicted: AnnData) -> Mapping[str, str] | None:
    """What the functions of heldout write about a prediction; None for a prediction of another tool."""
    about: Mapping[str, str] | None = predicted.uns.get(keys.UNS, {}).get("predicted")
    return about


def _dose_of_fit(adata: AnnData, predicted: AnnData) -> str | None:
    """Column of the dose of the fit that made the prediction, because a split need not know of doses."""
    key = (_made_by(predicted) or {}).get("key")
    if key is None or key not in store.section(adata, keys.FITS):
        return None
    dose_key: str | None = read_header(adata, key).info["names"].get("dose_key")
    return dose_key


def _are_profiles(predicted: AnnData, n_groups: int) -> bool:
    """Whether rows are profiles. One cell of each perturbation looks like a profile, but has no changes stored."""
    if _made_by(predicted) is not None:
        return "change" in predicted.layers
    return n_groups == predicted.n_obs


def _check_values(X: Matrix, finite: np.ndarray) -> None:
    """Refuse predictions without a finite row, and values that are not log-normalised."""
    if not finite.any():
        msg = (
            "predicted has no rows. Predict at least one perturbation."
            if not len(finite)
            else "predicted has NaN or infinite values in every row. Predict at least one perturbation."
        )
        raise ValueError(msg)
    part = finite_part(X, finite)
    values_in_words(part, "predicted.X")
    highest = float(values(part).max(initial=0))
    if highest > _HIGHEST:
        msg = (
            f"predicted.X has values up to {highest:.3g}, which are not log-normalised (at most {_HIGHEST}). Take "
            "log1p first: scanpy.pp.log1p(predicted)"
        )
        raise ValueError(msg)


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
