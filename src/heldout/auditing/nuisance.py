"""Predict the label from sequencing depth and quality alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from heldout._core import keys, store
from heldout._core.arrays import loaded, take
from heldout._core.evaluations import stored_table
from heldout.auditing._case import TARGET
from heldout.auditing._exchange import blocks_of, p_value, smallest_of
from heldout.auditing._finding import Finding, NotRun
from heldout.auditing._linear import logistic
from heldout.auditing._sums import blocks_of_rows, gene_symbols
from heldout.auditing._words import unit_in_words, units_in_words
from heldout.metrics.classification import group_log_probability, one_vs_rest, roc_auc
from heldout.metrics.labellings import labellings
from heldout.metrics.several_classes import class_aucs

if TYPE_CHECKING:
    from heldout.auditing._case import Case

ALPHA = 0.05
FAR = 0.2
NEAR = 0.05
_OF_OBS = ("total_counts", "n_genes_by_counts", "pct_counts_mt")


def nuisance(case: Case) -> list[Finding]:
    """Predict the label from the depth, the number of genes and the mitochondrial share only.

    The model is fitted on train cells and scored by the mean log-odds of the test units. For the p-value, labels are
    permuted between test units. If the test set has too few units for a p-value of 0.05, each train unit is predicted
    from the other train units instead, and the model is refitted for every permutation.
    """
    labels = case.need_labels()
    features, named = _features(case)
    classes, codes = store.factorize(labels)
    found = _on_test(case, features, codes, len(classes)) or _within_train(case, features, codes, len(classes))
    auc, p, reachable, how, cell_auc = found
    over_cells = f" and {cell_auc:.2f} over cells" if np.isfinite(cell_auc) else ""
    text = f"A model of {named} alone {how} with AUC {auc:.2f} over {units_in_words(case)}{over_cells}"
    result = Finding.about("", "AUC over units", auc, 0.5 + FAR)
    if reachable > ALPHA:
        few = f"With so few {units_in_words(case)}, p cannot be below {reachable:.2g}."
        return [result.says("unidentifiable", f"{text}. {few}")]
    text += f" (p = {p:.2g})."
    if p > ALPHA or abs(auc - 0.5) < FAR:
        return [result.says("pass", text)]
    text += "".join(f" Fit {key!r} has AUC {value:.2f}." for key, value in _models(case) if auc >= value - NEAR)
    advice = (
        "The classes differ in depth or quality of their cells. Downsample the counts to equal depth, and report the "
        f"score of this model together with that of a model of {case.label_key}."
    )
    return [result.says("warn", text, advice)]


def _on_test(
    case: Case, features: np.ndarray, codes: np.ndarray, n_classes: int
) -> tuple[float, float, float, str, float] | None:
    """AUC over test units, p-value, smallest possible p-value, words, and AUC over cells. None with too few units."""
    of_cell = case.units.of_cell
    train, test = case.mask("train"), case.mask("test")
    units = np.flatnonzero(case.units.within("test"))
    if case.crossing.any() or not train.any() or len(np.unique(codes[units])) < n_classes:
        return None  # a model that saw the test units is better than chance
    if len(np.unique(codes[of_cell[train]])) < n_classes:
        return None
    blocks = blocks_of(case.units)[units]
    permuted, _ = labellings(codes[units], blocks, case.rng("nuisance"))
    if 2 / len(permuted) > ALPHA:  # the test is two-sided
        return None
    log_p = logistic(features[train], codes[of_cell[train]], features[test], n_classes)
    pooled = one_vs_rest(group_log_probability(log_p, np.searchsorted(units, of_cell[test]))).T
    auc = float(class_aucs(pooled, codes[units][None], n_classes)[0])
    null = np.abs(class_aucs(pooled, permuted, n_classes) - 0.5)
    p = p_value(abs(auc - 0.5), null)
    return auc, p, smallest_of(null), "predicts the test set", roc_auc(codes[of_cell[test]], log_p)


def _within_train(
    case: Case, features: np.ndarray, codes: np.ndarray, n_classes: int
) -> tuple[float, float, float, str, float]:
    """Predict each train unit from the others by ridge regression on unit means, for all permutations at once."""
    units = np.flatnonzero(case.units.within("train"))
    y = codes[units]
    if len(np.unique(y)) < n_classes or np.bincount(y, minlength=n_classes).min() < 2:
        msg = f"Train has fewer than two {units_in_words(case)} of a class of {case.label_key}."
        raise NotRun(msg)
    inside = case.mask("train")
    row = np.searchsorted(units, case.units.of_cell[inside])
    means = np.stack([np.bincount(row, column) for column in features[inside].T], axis=1) / np.bincount(row)[:, None]
    blocks = blocks_of(case.units)[units]
    permuted, _ = labellings(y, blocks, case.rng("nuisance"))
    if case.units.paired:  # a label that varies within donors is compared within donors
        for block in np.unique(blocks):
            means[blocks == block] -= means[blocks == block].mean(axis=0)
    means = (means - means.mean(axis=0)) / np.maximum(means.std(axis=0), 1e-9)
    design = np.column_stack([np.ones(len(units)), means])
    hat = design @ np.linalg.solve(design.T @ design + np.diag([0.0] + [1.0] * means.shape[1]), design.T)
    leverage = np.diag(hat)

    def left_out(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """AUC, and minus the squared error, which has fewer ties than the AUC of a few units."""
        targets = np.stack([rows == number for number in range(n_classes)]).astype(float)
        scores = (targets @ hat - leverage * targets) / (1 - leverage)
        return class_aucs(np.round(scores, 10), rows, n_classes), -np.round(
            ((scores - targets) ** 2).sum(axis=(0, 2)), 9
        )

    auc, error = left_out(y[None])
    null = left_out(permuted)[1]
    how = f"predicts each train {unit_in_words(case)} from the others"
    return float(auc[0]), p_value(float(error[0]), null), smallest_of(null), how, np.nan


def _features(case: Case) -> tuple[np.ndarray, str]:
    """Measures of depth and quality of each cell, (n × k), and their names."""
    X, state = case.matrix
    if state.kind == "counts":
        values = _measured(case)
    else:
        columns = [key for key in _OF_OBS if key in case.adata.obs.columns]
        values = {key: case.adata.obs[key].to_numpy(dtype=float) for key in columns} or _recovered(case)
    table = {
        "the depth": np.log1p(values["total_counts"]) if "total_counts" in values else None,
        "the number of genes": np.log1p(values["n_genes_by_counts"]) if "n_genes_by_counts" in values else None,
        "the mitochondrial share": values.get("pct_counts_mt"),
    }
    kept = {name: np.nan_to_num(found) for name, found in table.items() if found is not None and np.ptp(found) > 0}
    if not kept:
        msg = "Depth and quality are the same in all cells."
        raise NotRun(msg)
    return np.stack(list(kept.values()), axis=1), " and ".join(
        filter(None, [", ".join(list(kept)[:-1]), list(kept)[-1]])
    )


def _measured(case: Case) -> dict[str, np.ndarray]:
    X, _ = case.matrix
    is_mt = np.char.startswith(np.char.upper(gene_symbols(case).astype(str)), "MT-")
    total, n_genes, of_mt = (np.zeros(X.shape[0]) for _ in range(3))
    for rows in blocks_of_rows(X):
        block = loaded(take(X, rows, None))
        total[rows] = np.asarray(block.sum(axis=1)).ravel()
        n_genes[rows] = np.asarray((block != 0).sum(axis=1)).ravel()
        of_mt[rows] = np.asarray(block @ is_mt.astype(float)).ravel()
    found = {"total_counts": total, "n_genes_by_counts": n_genes}
    if is_mt.any():
        found["pct_counts_mt"] = 100 * of_mt / np.maximum(total, 1)
    return found


def _recovered(case: Case) -> dict[str, np.ndarray]:
    """Number of genes and depth of log-normalised cells. The smallest value of a cell is that of a single molecule.

    Normalisation to the same sum therefore leaves the depth in the values, up to a factor.
    """
    X, _ = case.matrix
    total, n_genes = np.zeros(X.shape[0]), np.zeros(X.shape[0])
    for rows in blocks_of_rows(X):
        block = case.lognormalised(rows)
        block = sparse.csr_array(block)
        block.eliminate_zeros()
        n_genes[rows] = np.diff(block.indptr)
        full = np.flatnonzero(np.diff(block.indptr))
        smallest = np.full(block.shape[0], np.inf)
        smallest[full] = np.minimum.reduceat(block.data, block.indptr[full]) if len(full) else np.inf
        total[rows] = 1 / np.expm1(np.clip(smallest, 1e-6, 50))
    return {"total_counts": total * TARGET, "n_genes_by_counts": n_genes}


def _models(case: Case) -> list[tuple[str, float]]:
    """AUC over groups of each fit that was evaluated on the test set."""
    found = []
    for key, entry in store.section(case.adata, keys.EVALUATIONS).items():
        table = stored_table(entry)
        if not {"role", "level", "metric", "estimate", "partition"} <= set(table.columns):
            continue
        rows = table[(table["role"] == "model") & (table["level"] != "cell") & (table["metric"] == "auc")]
        found += [(key, float(value)) for value in rows.loc[rows["partition"] == "test", "estimate"].head(1)]
    return found
