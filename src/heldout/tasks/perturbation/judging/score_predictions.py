"""Score perturbations that another tool predicted: find its genes, perturbations and cells, and check its scale."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from heldout._core import store
from heldout._core.alignment import NameIndex
from heldout._core.arrays import get_matrix, loaded, take
from heldout._core.fits import Fit
from heldout._core.grouped import group_moments
from heldout.splitting._doses import numeric_doses, shown_dose
from heldout.tasks.perturbation import METHODS
from heldout.tasks.perturbation.judging.cells import Scored
from heldout.tasks.perturbation.judging.judge import Judged, shifted_controls
from heldout.tasks.perturbation.judging.read_predictions import as_anndata
from heldout.tasks.perturbation.pairs import Pair
from heldout.tasks.perturbation.task import Task, check_logged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pandas as pd
    from anndata import AnnData

    from heldout._core.rng import Rng
    from heldout._core.types import Matrix
    from heldout.splitting._perturbations import Targets

logger = logging.getLogger("heldout")

_FEWEST_GENES = 0.5
_SLOPES = (1 / 3, 3)


def judge_predictions(
    task: Task,
    predictions: Mapping[str, object],
    *,
    partition: str,
    baselines: Sequence[str] | None,
    n_bootstrap: int,
    rng: Rng,
) -> tuple[pd.DataFrame, pd.DataFrame, Fit]:
    """Score predictions by name: the table of the evaluation, the scores behind it, and a fit that stands for them."""
    named = {name: as_anndata(name, predicted, task.screen.names) for name, predicted in predictions.items()}
    task, columns = common_genes(task, named)
    judged = Judged.of(task, partition)
    models = [scored_prediction(judged, name, adata, columns[name]) for name, adata in named.items()]
    generative = any(model.cells is not None for model in models)
    scored = [*models, *judged.baselines(baselines, generative=generative)]
    scored += [control for model in models for control in shifted_controls(model)]
    table, rows = judged.table(scored, n_bootstrap=n_bootstrap, rng=rng)
    return table, rows, _as_fit(task, models)


def named_predictions(predicted: object) -> dict[str, object]:
    """Predictions by name. The names of methods of heldout are refused, because they name baselines in the table."""
    if not isinstance(predicted, Mapping):
        return {"predicted": predicted}
    taken = [name for name in predicted if name in METHODS.names()]
    if taken or not predicted:
        what = f"{store.some(taken)} is a method of heldout; choose another name" if taken else "it is empty"
        msg = f"predicted must map names of methods to predictions: {what}, e.g. predicted={{'GEARS': adata_of_gears}}."
        raise ValueError(msg)
    return {str(name): adata for name, adata in predicted.items()}


def check_predicted_genes(name: str, predicted: AnnData) -> None:
    """Refuse anything but an AnnData with unique gene names; names of rows do not matter."""
    from anndata import AnnData

    if not isinstance(predicted, AnnData):
        msg = f"{name!r} must be an AnnData of predicted profiles or cells, got {type(predicted).__name__}."
        raise TypeError(msg)
    if not predicted.var_names.is_unique:
        twice = predicted.var_names[predicted.var_names.duplicated()].unique()
        msg = (
            f"{name!r} has {len(twice)} duplicated genes (e.g. {store.some(twice)}). Keep one column of each, or call "
            "its var_names_make_unique()."
        )
        raise ValueError(msg)


def common_genes(task: Task, named: Mapping[str, AnnData]) -> tuple[Task, dict[str, np.ndarray]]:
    """The task on the genes that all predictions have, and the column of each gene in each prediction."""
    rows = {}
    for name, predicted in named.items():
        check_predicted_genes(name, predicted)
        matches = NameIndex(predicted.var_names.to_numpy()).match(task.genes)
        found = matches.rows >= 0
        if found.mean() < _FEWEST_GENES:
            msg = (
                f"{name!r} has {int(found.sum())} of the {len(found)} genes that are scored. adata has e.g. "
                f"{store.some(task.genes[~found])}, the prediction e.g. {store.some(predicted.var_names)}. Predict the "
                "genes of adata, or choose others with mask_var."
            )
            raise ValueError(msg)
        if matches.folded.any():
            logger.info("%r: %d genes were found regardless of case or version", name, int(matches.folded.sum()))
        rows[name] = matches.rows
    common = np.all([of >= 0 for of in rows.values()], axis=0)
    if not common.any():
        msg = f"The predictions {store.some(named)} share no gene with each other and adata. Score each alone."
        raise ValueError(msg)
    if not common.all():
        logger.warning(
            "%d of %d genes were not predicted; all methods are scored on the other genes",
            int((~common).sum()),
            len(common),
        )
    return replace(task, columns=task.columns[common]), {name: of[common] for name, of in rows.items()}


def scored_prediction(judged: Judged, name: str, predicted: AnnData, columns: np.ndarray) -> Scored:
    """Predicted mean change of each judged perturbation from the train controls, and its cells if there are several."""
    X = get_matrix(predicted, dask=True)
    X = loaded(X)
    number = _judged_rows(judged, name, predicted)
    m = len(judged.truth.pairs)
    moments = group_moments(X, number, m, columns=columns, var=False)
    known = np.isfinite(moments.mean).all(axis=1)
    if not known.any():
        msg = f"{name!r} has NaN in every row of a judged perturbation. Predict at least one of them."
        raise ValueError(msg)
    start = judged.reference.control[judged.truth.pairs.context]
    _check_scale(X, name, moments.mean[known], start[known])
    partly = ~known & ~np.isnan(moments.mean).all(axis=1)
    if partly.any():
        msg = (
            f"{name!r} has NaN in some genes or infinite values in {int(partly.sum())} perturbations. Drop these "
            "genes, or set the whole row to NaN if it was not predicted."
        )
        raise ValueError(msg)
    cells = _cells_of(X, number, columns) if (moments.n > 1).any() else None
    return Scored(name, "model", moments.mean - start, np.zeros(m, dtype=bool), cells)


def _judged_rows(judged: Judged, name: str, predicted: AnnData) -> np.ndarray:
    """Number of the judged perturbation and context of each row, -1 for another."""
    screen = judged.task.screen
    names, pairs = screen.names, judged.truth.pairs
    text, codes = store.factorize(store.as_names(_column(predicted, names.perturbation_key, name)))
    parsed = names.parse(text.tolist())
    context = np.zeros(predicted.n_obs, dtype=np.int64)
    if screen.n_contexts > 1:
        values = [store.as_names(_column(predicted, key, name)) for key in names.covariate_keys]
        number_of = {known: i for i, known in enumerate(names.contexts)}
        context = np.array([number_of.get(tuple(row), -1) for row in zip(*values, strict=True)], dtype=np.int64)
    row, dose = pairs.rows_of(), _doses_of(judged, name, predicted)
    number = np.array(
        [row.get(Pair(parsed[code], int(c), d), -1) for code, c, d in zip(codes, context, dose, strict=True)],
        dtype=np.int64,
    )
    if (number < 0).all():
        asked = [(parsed[code], int(c)) for code, c in zip(codes, context, strict=True)]
        there = [] if screen.n_contexts == 1 else dict.fromkeys(zip(*values, strict=True))
        raise ValueError(_why_none(judged, name, asked, text, there))
    other = len({parsed[code] for code in np.unique(codes[number < 0])} - {()} - set(pairs.targets))
    if other:
        logger.info("%r: %d perturbations are left out, because they are not judged", name, other)
    return number


def _why_none(
    judged: Judged, name: str, asked: Sequence[tuple[Targets, int]], text: np.ndarray, there: Iterable[tuple[str, ...]]
) -> str:
    """Say which of dose, context and name keeps each row from being a judged perturbation."""
    names, pairs = judged.task.screen.names, judged.truth.pairs
    if names.dose_key is not None and {pair[:2] for pair in pairs}.intersection(asked):
        known_doses = store.some(shown_dose(d) for d in sorted({pair.dose or 0.0 for pair in pairs}))
        return (
            f"{name!r} predicts the perturbations of {judged.partition} only at other doses than those judged "
            f"({known_doses}). Predict at these doses, in the unit of obs[{names.dose_key!r}]."
        )
    if there and set(pairs.targets).intersection(targets for targets, _ in asked):
        here = dict.fromkeys(names.contexts[c] for c in pairs.context)
        return (
            f"{name!r} predicts the perturbations of {judged.partition} only in other contexts. "
            f"{names.covariate_keys} are judged in {store.some(here)}, the prediction has {store.some(there)}. Name "
            "the contexts as in adata."
        )
    wanted = [names.joined(targets) for targets in pairs.targets]
    return (
        f"{name!r} predicts none of the {len(pairs)} perturbations of {judged.partition} (e.g. {store.some(wanted)}). "
        f"It has e.g. {store.some(text)}. Check obs[{names.perturbation_key!r}] and the separator."
    )


def _doses_of(judged: Judged, name: str, predicted: AnnData) -> list[float] | list[None]:
    """Dose of each row; None if the screen has no doses. A dose within the precision of float32 is the judged dose."""
    key, judged_doses = judged.task.screen.names.dose_key, judged.truth.pairs.dose
    if key is None or judged_doses is None:
        return [None] * predicted.n_obs
    dose, known = numeric_doses(_column(predicted, key, name), key), np.unique(judged_doses)
    nearest = known[np.argmin(np.abs(np.nan_to_num(dose)[:, None] - known), axis=1)]
    same: list[float] = np.where(np.isclose(dose, nearest, rtol=1e-6, atol=0), nearest, dose).tolist()
    return same


def _column(predicted: AnnData, key: str, name: str) -> pd.Series:
    if key not in predicted.obs.columns:
        hint = store.suggest(key, predicted.obs.columns)
        msg = f"{name!r} has no column obs[{key!r}] with the perturbation, context or dose of each row. {hint}"
        raise ValueError(msg)
    return predicted.obs[key]


def _check_scale(X: Matrix, name: str, mean: np.ndarray, start: np.ndarray) -> None:
    """Refuse counts, changes and other scales: a profile is close to the controls in most genes."""
    state = values_in_words(finite_part(X, finite_rows(X)), repr(name))
    predicted, measured = mean.mean(axis=0), start.mean(axis=0)
    if len(predicted) < 3 or measured.std() == 0:
        return
    slope = float(np.dot(predicted, measured) / np.dot(measured, measured))
    r = float(np.corrcoef(predicted, measured)[0, 1]) if predicted.std() > 0 else 0.0
    if not (_SLOPES[0] <= slope <= _SLOPES[1]) or r < 0.5:
        msg = (
            f"{name!r} does not look like expression on the scale of adata. Over genes, its mean profile is "
            f"{slope:.2g} times that of the train controls, with a correlation of {r:.2g} ({state}). If it holds "
            "changes, add the mean of the controls. If it is normalised to another total, normalise it to the total "
            "of adata."
        )
        raise ValueError(msg)


def finite_rows(X: Matrix) -> np.ndarray:
    """Rows without NaN or infinite values, (n,)."""
    if isinstance(X, np.ndarray):
        return np.asarray(np.isfinite(X).all(axis=1))
    entries = X.tocoo()
    result = np.ones(X.shape[0], dtype=bool)
    result[entries.row[~np.isfinite(entries.data)]] = False
    return result


def finite_part(X: Matrix, finite: np.ndarray) -> Matrix:
    """The rows in ``finite`` (n,); the matrix is not copied if these are all rows."""
    return X if finite.all() else X[finite]


def values_in_words(X: Matrix, name: str) -> str:
    """Describe predicted values. Values below zero are allowed, because networks predict some.

    Raises
    ------
    ValueError
        If they are counts or not logged.
    """
    try:
        return str(check_logged(X, None, name=name))
    except ValueError as problem:
        if "below zero" not in str(problem):
            raise
        return "values below zero"


def _cells_of(X: Matrix, number: np.ndarray, columns: np.ndarray) -> Callable[[int], np.ndarray]:
    """Function from the number of a judged perturbation to its predicted cells, dense, (n × G)."""
    X = X if isinstance(X, np.ndarray) else X.tocsr()
    order = np.argsort(number, kind="stable")

    def cells(i: int) -> np.ndarray:
        first, end = np.searchsorted(number[order], [i, i + 1])
        block = take(take(X, order[first:end], None), None, columns)
        return np.asarray(block if isinstance(block, np.ndarray) else block.toarray(), dtype=np.float64)

    return cells


def _as_fit(task: Task, scored: Sequence[Scored]) -> Fit:
    """A fit with the hash of the predictions, for the ledger."""
    return Fit(
        method="perturbation.elsewhere",
        config={"methods": [model.method for model in scored]},
        split_key=task.partition.key,
        split_hash=task.partition.hash,
        genes=task.genes,
        arrays={f"p{i}": model.change for i, model in enumerate(scored)},
    )
