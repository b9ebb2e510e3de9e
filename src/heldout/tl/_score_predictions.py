"""Score perturbations that were predicted elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from heldout._core import keys, store
from heldout._core.alignment import NameIndex
from heldout._core.arrays import get_matrix, loaded, take
from heldout._core.evaluations import write_evaluation
from heldout._core.fits import Fit
from heldout._core.genes import DEFAULT
from heldout._core.grouped import group_moments
from heldout._core.keys import check_key
from heldout._core.partition import read_partition
from heldout.tasks.perturbation import METHODS
from heldout.tasks.perturbation.judging.cells import Scored
from heldout.tasks.perturbation.judging.judge import Judged, check_how
from heldout.tasks.perturbation.task import Task, check_logged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Literal

    import pandas as pd
    from anndata import AnnData

    from heldout._core.rng import Rng
    from heldout._core.types import Matrix

logger = logging.getLogger("heldout")

_FEWEST_GENES = 0.5
_SLOPES = (1 / 3, 3)


def score_predictions(
    adata: AnnData,
    predicted: AnnData | Mapping[str, AnnData],
    perturbation_key: str | None = None,
    *,
    control: str | Sequence[str] | None = None,
    targets: str | Mapping[str, str | Sequence[str]] | None = None,
    separator: str | None = "+",
    covariate_keys: str | Sequence[str] | None = None,
    split_key: str = "split",
    partition: Literal["test", "val", "train"] = "test",
    mask_var: str | None = DEFAULT,
    layer: str | None = None,
    baselines: Sequence[str] | None = None,
    n_bootstrap: int = 2000,
    rng: Rng = 0,
    key_added: str = "predictions",
) -> pd.DataFrame:
    """Score predictions of any other tool as :func:`evaluate` scores a fit: beside baselines, ceiling and verdict.

    Predictions of GEARS, CPA, CellFlow, State, scGPT or a colleague are the rows of an AnnData: predicted cells, or one
    mean profile for each perturbation, on the log-normalised scale of ``adata``. Changes are counted from the real train
    controls, never from predicted ones, so that nothing can be gained by predicting other controls.

    Parameters
    ----------
    adata
        The screen with its split, (n_obs × n_vars), log-normalised.
    predicted
        AnnData with the perturbation (and the covariates, if there are several contexts) of each row in ``obs``, in columns
        called as in ``adata``; or several by name of the method. ``"B+A"`` is ``"A+B"``. Rows of controls and of perturbations
        that are not judged are left out, rows of NaN count as not predicted.
    perturbation_key
        Column of ``obs`` with the perturbation. A split of perturbations knows it, and the four that follow.
    control, targets, separator, covariate_keys
        How names are read, see :func:`perturbation`.
    split_key
        The split.
    partition
        Cells to score. Each look at ``test`` is written to the ledger.
    mask_var
        Bool column of ``var`` with the genes to score on. The default is used if it is there; None uses all genes.
    layer
        Layer of ``adata`` to use instead of ``X``.
    baselines
        Baselines to fit on train, as in :func:`evaluate`.
    n_bootstrap
        Number of bootstrap draws.
    rng
        Seed or Generator of the bootstrap.
    key_added
        Name of the evaluation.

    Returns
    -------
    The table of :func:`evaluate`. It is also stored, with what stands behind it:

    ``uns["heldout"]["evaluations"][key_added]``
        The table.
    ``uns["heldout"]["scores"][key_added]``
        The scores of each perturbation and context by each method.
    ``uns["heldout"]["ledger"]``
        One more row, if ``partition="test"``.

    Raises
    ------
    ValueError
        If a column is missing, under half of the genes are there, the values are raw counts, not on the scale of ``adata`` or
        changes instead of profiles, or no judged perturbation was predicted.

    Notes
    -----
    Genes are found by name, else regardless of case and of the version of an Ensembl id. If some are missing, all methods
    are scored on those that are there.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.perturbations_simulated(n_singles=12, n_doubles=8, n_genes=100, n_cells=20)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0, test=0.5)
    >>> ho.tl.perturbation(adata, method="additive")
    >>> elsewhere = ho.tl.predict_profiles(adata, "perturbation")  # stands for the AnnData of another tool
    >>> table = ho.tl.score_predictions(adata, {"other tool": elsewhere}, baselines=["no_change", "mean"])
    >>> table["method"].unique().tolist()
    ['other tool', 'no_change', 'mean']
    """
    check_key("key_added", key_added)
    store.check_adata(adata)
    check_how(partition, baselines, n_bootstrap)
    if key_added in store.section(adata, keys.FITS):
        msg = f"key_added={key_added!r} is the name of a fit, whose evaluation would be lost. Choose another name."
        raise ValueError(msg)
    named = _named(predicted)
    split = read_partition(adata, split_key)
    task = Task.of(
        adata,
        split,
        perturbation_key,
        control=control,
        targets=targets,
        separator=separator,
        covariate_keys=covariate_keys,
        mask_var=mask_var,
        layer=layer,
    )
    task, columns = _common_genes(task, named)
    judged = Judged.of(task, partition)
    scored = [_scored(judged, name, one, columns[name]) for name, one in named.items()]
    scored += judged.baselines(baselines)
    table, rows = judged.table(scored, n_bootstrap=n_bootstrap, rng=rng)
    look = _as_fit(task, scored[: len(named)])
    return write_evaluation(adata, key_added, look, split, table, rows, partition=partition)


def _named(predicted: AnnData | Mapping[str, AnnData]) -> dict[str, AnnData]:
    """Predictions by name; names of methods of our own stand for these in the table."""
    if not isinstance(predicted, Mapping):
        return {"predicted": predicted}
    taken = [name for name in predicted if name in METHODS.names()]
    if taken or not predicted:
        what = f"{store.some(taken)} is a method of heldout; choose another name" if taken else "there is none"
        msg = f"predicted must be AnnData by name of the method: {what}, e.g. predicted={{'GEARS': adata_of_gears}}."
        raise ValueError(msg)
    return {str(name): one for name, one in predicted.items()}


def _check_genes(name: str, predicted: AnnData) -> None:
    """Refuse anything but an AnnData with unique gene names; rows are told apart by columns, so their names do not matter."""
    from anndata import AnnData

    if not isinstance(predicted, AnnData):
        msg = f"{name!r} must be an AnnData of predicted profiles or cells, got {type(predicted).__name__}."
        raise TypeError(msg)
    if not predicted.var_names.is_unique:
        twice = predicted.var_names[predicted.var_names.duplicated()].unique()
        msg = f"{name!r} has {len(twice)} genes twice (e.g. {store.some(twice)}). Keep one of each, or call its var_names_make_unique()."
        raise ValueError(msg)


def _common_genes(task: Task, named: Mapping[str, AnnData]) -> tuple[Task, dict[str, np.ndarray]]:
    """The task on the genes that all predictions have, and the column of each gene in each prediction."""
    rows = {}
    for name, predicted in named.items():
        _check_genes(name, predicted)
        matches = NameIndex(predicted.var_names.to_numpy()).match(task.genes)
        found = matches.rows >= 0
        if found.mean() < _FEWEST_GENES:
            msg = (
                f"{name!r} has {int(found.sum())} of the {len(found)} genes that are scored: adata has e.g. {store.some(task.genes[~found])}, "
                f"the prediction e.g. {store.some(predicted.var_names)}. Predict the genes of adata, or choose others with mask_var."
            )
            raise ValueError(msg)
        if matches.folded.any():
            logger.info("%r: %d genes were found regardless of case or version", name, int(matches.folded.sum()))
        rows[name] = matches.rows
    common = np.all([of >= 0 for of in rows.values()], axis=0)
    if not common.any():
        msg = f"The predictions {store.some(named)} have no gene in common with each other and adata. Score them one by one."
        raise ValueError(msg)
    if not common.all():
        logger.warning(
            "%d of %d genes were not predicted; all methods are scored on the others", int((~common).sum()), len(common)
        )
    return replace(task, columns=task.columns[common]), {name: of[common] for name, of in rows.items()}


def _scored(judged: Judged, name: str, predicted: AnnData, columns: np.ndarray) -> Scored:
    """Mean profile of each judged perturbation in a prediction, as a change from the train controls."""
    X = get_matrix(predicted, dask=True)
    X = loaded(X)
    number = _judged_rows(judged, name, predicted)
    m = len(judged.truth.pairs)
    moments = group_moments(X, number, m, columns=columns, var=False)
    known = np.isfinite(moments.mean).all(axis=1)
    if not known.any():
        msg = f"{name!r}: every row of a judged perturbation has NaN, so nothing was predicted."
        raise ValueError(msg)
    start = judged.reference.control[judged.truth.pairs.context]
    _check_scale(X, name, moments.mean[known], start[known])
    partly = np.isnan(moments.mean).any(axis=1) & ~np.isnan(moments.mean).all(axis=1)
    if partly.any():
        msg = f"{name!r} has NaN in some genes of {int(partly.sum())} perturbations. Drop these genes, or make the whole row NaN if it was not predicted."
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
        of = {one: i for i, one in enumerate(names.contexts)}
        context = np.array([of.get(tuple(row), -1) for row in zip(*values, strict=True)], dtype=np.int64)
    row = pairs.rows_of()
    number = np.array(
        [row.get((parsed[code], int(c)), -1) for code, c in zip(codes, context, strict=True)], dtype=np.int64
    )
    if (number < 0).all():
        if set(pairs.targets).intersection(parsed):
            there = dict.fromkeys(zip(*values, strict=True))
            here = dict.fromkeys(names.contexts[c] for c in pairs.context)
            msg = (
                f"{name!r} predicts perturbations of {judged.partition} in other contexts only: {names.covariate_keys} are judged in "
                f"{store.some(here)}, it has {store.some(there)}. Name the contexts as adata does."
            )
            raise ValueError(msg)
        wanted = [names.joined(targets) for targets in pairs.targets]
        msg = (
            f"{name!r} predicts none of the {len(pairs)} perturbations of {judged.partition} (e.g. {store.some(wanted)}); it has e.g. "
            f"{store.some(text)}. Check obs[{names.perturbation_key!r}] and the separator."
        )
        raise ValueError(msg)
    other = len({parsed[code] for code in np.unique(codes[number < 0])} - {()} - set(pairs.targets))
    if other:
        logger.info("%r: %d perturbations that are not judged are left out", name, other)
    return number


def _column(predicted: AnnData, key: str, name: str) -> pd.Series:
    if key not in predicted.obs.columns:
        msg = f"{name!r} has no column obs[{key!r}], which says what each row is a prediction of. {store.suggest(key, predicted.obs.columns)}"
        raise ValueError(msg)
    return predicted.obs[key]


def _check_scale(X: Matrix, name: str, mean: np.ndarray, start: np.ndarray) -> None:
    """Refuse counts, changes, and other scales: a profile is near the controls in most genes."""
    state = _values_of(X[_finite(X)], name)
    said, real = mean.mean(axis=0), start.mean(axis=0)
    if len(said) < 3 or real.std() == 0:
        return
    slope = float(np.dot(said, real) / np.dot(real, real))
    r = float(np.corrcoef(said, real)[0, 1]) if said.std() > 0 else 0.0
    if not (_SLOPES[0] <= slope <= _SLOPES[1]) or r < 0.5:
        msg = (
            f"{name!r} does not look like expression on the scale of adata: over genes its mean profile is {slope:.2g} times that of the "
            f"train controls, with a correlation of {r:.2g} ({state}). If it holds changes, add the mean of the controls; if it is "
            "normalised to another total, bring it to that of adata."
        )
        raise ValueError(msg)


def _finite(X: Matrix) -> np.ndarray:
    """Rows without NaN or infinite values, (n,)."""
    if isinstance(X, np.ndarray):
        return np.asarray(np.isfinite(X).all(axis=1))
    entries = X.tocoo()
    result = np.ones(X.shape[0], dtype=bool)
    result[entries.row[~np.isfinite(entries.data)]] = False
    return result


def _values_of(X: Matrix, name: str) -> str:
    """Say what the values are; values below zero are let through, as a network may predict some."""
    try:
        return str(check_logged(X, None, name=repr(name)))
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
    """What stands in the ledger: the hash of the predictions."""
    return Fit(
        method="perturbation.elsewhere",
        config={"methods": [one.method for one in scored]},
        split_key=task.partition.key,
        split_hash=task.partition.hash,
        genes=task.genes,
        arrays={f"p{i}": one.change for i, one in enumerate(scored)},
    )
