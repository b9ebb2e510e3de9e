"""Tables of what is stored; nothing is computed or written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout._core import cells, keys, store
from heldout._core.fits import latest_fit, read_header
from heldout._core.keys import PredictionKeys
from heldout._core.ledger import read_ledger, was_evaluated
from heldout._core.looks import needs_look
from heldout._core.partition import PARTITIONS, read_partition
from heldout._core.tables import prints_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData

    from heldout._core.fits import FitHeader


@prints_whole
def split(
    adata: AnnData | MuData, split_key: str = "split", *, group_key: str | Sequence[str] | None = None
) -> pd.DataFrame:
    """Return the number of cells of each group and partition of a split.

    Parameters
    ----------
    adata
        AnnData with the split, (n_obs × n_vars), or a MuData.
    split_key
        Name of the split.
    group_key
        Column(s) of ``obs`` to list. If None, the group, label, match, time and perturbation columns of the split.

    Returns
    -------
    One row for each group and partition, sorted by partition, then group. Columns: the group columns, ``partition``,
    ``n_cells``.

    Raises
    ------
    ValueError
        If there is no such split or column.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> ho.get.split(adata).query("partition == 'test'")["library"].tolist()
    ['GSM8325052', 'GSM8325057']
    """
    partition = read_partition(adata, split_key)
    if group_key is None:
        others = [partition.params.get(name) for name in ("label_key", "match_key", "time_key", "perturbation_key")]
        columns = [*(partition.group_key or []), *(name for name in others if name)]
    else:
        columns = [group_key] if isinstance(group_key, str) else list(group_key)
    columns = list(dict.fromkeys(columns))
    frame = pd.DataFrame({name: cells.column(adata, name, argument="group_key") for name in columns})
    frame["partition"] = pd.Categorical.from_codes(partition.codes, categories=list(PARTITIONS))
    counted = frame.groupby([*columns, "partition"], observed=True).size().rename("n_cells").reset_index()
    return counted.sort_values(["partition", *columns], ignore_index=True)


@prints_whole
def predictions(adata: AnnData, key: str | None = None) -> pd.DataFrame:
    """Return the predicted class of each cell.

    Parameters
    ----------
    adata
        AnnData with predictions, (n_obs × n_vars).
    key
        Name of the fit. If None, the genotype fit that was stored last.

    Returns
    -------
    One row for each cell, index ``obs_names``. Columns: ``label``, ``prediction``, ``probability``,
    ``log_probability_<class>``, and ``partition`` if ``adata`` has the split. ``label`` is NaN if it is unknown, and
    for test cells until the fit was evaluated on test: comparing labels with predictions is a look, which
    :func:`heldout.tl.evaluate` counts. The same holds for val cells that are test cells of another split.

    Raises
    ------
    ValueError
        If there is no such fit, or it has no predictions in this AnnData.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.lmna_simulated(n_cells=50, n_genes=200)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> ho.tl.genotype(adata, "genotype", method="majority")
    >>> ho.get.predictions(adata)["prediction"].unique().tolist()
    ['control']
    """
    key = latest_fit(adata, ["genotype"], purpose="that predicts classes") if key is None else key
    fit = read_header(adata, key)
    names = PredictionKeys(key)
    if names.log_probability not in adata.obsm:
        msg = f"There are no predictions of the fit {key!r} in this AnnData. Call heldout.tl.predict(adata, {key!r})."
        raise ValueError(msg)
    label_key = fit.info["label_key"]
    frame = pd.DataFrame(index=adata.obs_names)
    frame["label"] = adata.obs[label_key].astype(object) if label_key in adata.obs.columns else np.nan
    frame["prediction"] = adata.obs[names.label]
    frame["probability"] = adata.obs[names.probability]
    log_probability = np.asarray(adata.obsm[names.log_probability])
    for number, name in enumerate(fit.info["classes"]):
        frame[f"log_probability_{name}"] = log_probability[:, number]
    if fit.split_key in adata.obs.columns:
        frame["partition"] = adata.obs[fit.split_key]
        hidden = _without_look(adata, fit)
        if hidden.any():
            frame["label"] = frame["label"].astype(object).mask(hidden)
            store.logger.info("labels of test cells are not shown before heldout.tl.evaluate has counted the look")
    return frame


def _without_look(adata: AnnData, fit: FitHeader) -> np.ndarray:
    """Cells that a split tests, in the test or val partition of the fit, on which it was not evaluated yet, (n,)."""
    values = adata.obs[fit.split_key]
    hidden = (values == "test").to_numpy() & (not was_evaluated(adata, fit.hash))
    try:
        split = read_partition(adata, fit.split_key)
    except ValueError:  # the cells were moved, or the split has no record
        return hidden
    if needs_look(adata, split, "val") and not was_evaluated(adata, fit.hash, "val"):
        hidden |= split.mask("val")
    return np.asarray(hidden)


@prints_whole
def history(adata: AnnData, key: str | None = None) -> pd.DataFrame:
    """Return the training history of a fit.

    Parameters
    ----------
    adata
        AnnData with the fit, (n_obs × n_vars).
    key
        Name of the fit. If None, the fit that was stored last; preparation steps do not count.

    Returns
    -------
    One row for each epoch, or an empty table for a method without training. Columns of a genotype fit: ``epoch``,
    ``train_loss``, ``train_accuracy`` (both with dropout, as in training), and with a val partition ``val_loss``,
    ``val_accuracy``, ``val_auc`` of cells and ``val_group_loss`` of groups; for Model B also ``label_loss``,
    ``auxiliary_loss`` and ``auxiliary_accuracy`` of both. Several networks, of an ensemble or of inner folds over the
    groups of train, have a column ``member``. Val is then what each of them left out. Probabilities were not divided by
    a temperature yet.

    Raises
    ------
    ValueError
        If there is no such fit.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=50, n_genes=200)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> ho.tl.genotype(adata, "genotype", config=ho.model.MLPConfig(max_epochs=2))
    >>> len(ho.get.history(adata))
    2
    """
    key = latest_fit(adata, purpose="with a history") if key is None else key
    return read_header(adata, key).history


@prints_whole
def ledger(adata: AnnData) -> pd.DataFrame:
    """Return every look at test cells so far.

    Parameters
    ----------
    adata
        AnnData, (n_obs × n_vars).

    Returns
    -------
    One row for each evaluation, the oldest first. Columns: ``time`` (UTC), ``key``, ``method``; the hashes ``fit`` and
    ``split``; ``partition``, which is ``test``, or ``val`` if the val cells are test cells of another split; the hashes
    ``test_set`` (cells that were scored) and ``judged`` (units and levels that were scored); and ``look``, the number
    of the look at these cells. Looks at other sets that have some of these cells are included in the number. An
    evaluation of the same fit on the same units, for example with other baselines, has the number of the first one.

    Examples
    --------
    >>> import heldout as ho
    >>> len(ho.get.ledger(ho.datasets.lmna_simulated(n_cells=20, n_genes=100)))
    0
    """
    return read_ledger(adata)


@prints_whole
def fits(adata: AnnData) -> pd.DataFrame:
    """Return a table of all stored fits.

    Parameters
    ----------
    adata
        AnnData, (n_obs × n_vars).

    Returns
    -------
    One row for each fit, index its key, sorted. Columns: ``method``, ``split_key``, ``split_hash``, ``n_genes``,
    ``n_numbers`` (fitted numbers), ``hash``.

    Examples
    --------
    >>> import heldout as ho
    >>> len(ho.get.fits(ho.datasets.lmna_simulated(n_cells=20, n_genes=100)))
    0
    """
    stored = {key: read_header(adata, key) for key in sorted(store.section(adata, keys.FITS))}
    rows = [(f.method, f.split_key, f.split_hash, len(f.genes), f.n_numbers, f.hash) for f in stored.values()]
    columns = ["method", "split_key", "split_hash", "n_genes", "n_numbers", "hash"]
    return pd.DataFrame(rows, columns=columns, index=pd.Index(list(stored), dtype=object))
