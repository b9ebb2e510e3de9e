"""Table of a perturbation split: the partition of each perturbation, and how many of its targets train has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core import cells, store
from heldout._core.partition import PARTITIONS, Partition, read_partition
from heldout._core.tables import prints_whole
from heldout.splitting._doses import read_doses
from heldout.splitting._perturbations import Perturbations, seen_in_train

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

_COLUMNS = ("perturbation", "targets", "partition", "n_cells", "n_targets", "n_seen", "n_seen_alone", "control")
_TRAIN = PARTITIONS.index("train")


@prints_whole
def perturbations(adata: AnnData | MuData, split_key: str = "split") -> pd.DataFrame:
    """Return the perturbations of a split that holds out perturbations, with their partitions.

    Perturbations, partitions and seen targets are those of the split. Cells are counted in ``adata`` as it is now, so a
    row may have none.

    Parameters
    ----------
    adata
        AnnData or MuData with the split, (n_obs × n_vars).
    split_key
        The split.

    Returns
    -------
    One row per perturbation and context (and dose), and one row per context and pool of control cells, sorted by
    partition, context and name, controls last. Columns:

    ``perturbation``, ``targets``
        Name, which joins the sorted targets, and the tuple of targets, which is empty for a control.
    one column for each of ``covariate_keys``
        The context as text, with the name of the column of ``obs`` (with the prefix ``covariate_`` if the table already
        has a column of this name).
    a column for ``dose_key``
        The dose, 0 for a control, if the split has a ``dose_key``. The name follows the same rule, with the prefix
        ``dose_``.
    ``partition``, ``n_cells``
        Partition, and number of its cells in ``adata``.
    ``n_targets``, ``n_seen``, ``n_seen_alone``
        Number of targets, of targets that train has in any perturbation and context, and of targets that train has
        alone.
    ``control``
        Whether the row is of control cells.

    Raises
    ------
    ValueError
        If there is no such split, it has another scheme, or one of its columns is missing or was changed.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> adata.obs["guide"] = (["control", "A", "B", "C", "A+B"] * 48)[: adata.n_obs]
    >>> ho.pp.split_perturbations(adata, "guide", hold_out="combination", val=0, test=1)
    >>> ho.get.perturbations(adata).query("partition == 'test'")[["perturbation", "n_cells", "n_seen"]].values.tolist()
    [['A+B', 48, 2], ['control', 12, 0]]
    """
    cells.check(adata)
    partition = read_partition(adata, split_key)
    if partition.scheme != "perturbations":
        msg = (
            f"obs[{split_key!r}] is a split of scheme {partition.scheme!r}, but this table is for splits of "
            "heldout.pp.split_perturbations. Use heldout.get.split for other splits."
        )
        raise ValueError(msg)
    params = partition.params
    found = Perturbations.of(
        [tuple(t) for t in params["perturbations"]], np.empty(0, int), separator=params["separator"]
    )
    counted = _counted(adata, partition)
    rows = _rows(counted, params)
    train = np.zeros(len(found.names) + 1, dtype=bool)  # the last one is the control, whose number is -1
    train[rows.loc[rows["code"] == _TRAIN, "number"]] = True
    n_seen, n_alone = seen_in_train(found.members, train[:-1])
    for name, numbers in (("n_targets", found.sizes), ("n_seen", n_seen), ("n_seen_alone", n_alone)):
        rows[name] = np.append(numbers, 0)[rows["number"]]
    table = _named(rows, found, params)
    n_keys = len(params["covariate_keys"])
    order = ["partition", "control", *table.columns[2 : 2 + n_keys], "perturbation"]
    order += [table.columns[2 + n_keys]] if "dose_key" in params else []
    return table.sort_values(order, ignore_index=True)


def _counted(adata: AnnData | MuData, partition: Partition) -> pd.DataFrame:
    """Number of cells of each perturbation (-1 for a control), context and partition."""
    params = partition.params
    names = store.as_names(cells.column(adata, params["perturbation_key"], argument="perturbation_key"))
    number = pd.Series(names).map(params["names"])
    columns = [cells.column(adata, key, argument="covariate_keys") for key in params["covariate_keys"]]
    frame = pd.DataFrame({"number": number, "context": _contexts(columns, params["contexts"], adata.n_obs)})
    if "dose_key" in params:
        frame["dose"] = _doses(adata, params, (number < 0).to_numpy())
    frame["code"] = partition.codes.astype(np.int64)
    new = frame.isna().any(axis=1).to_numpy()
    if new.any():
        where = f"perturbation_key={params['perturbation_key']!r} or covariate_keys={params['covariate_keys']}"
        where += f" or dose_key={params['dose_key']!r}" if "dose_key" in params else ""
        if (partition.codes[new] != PARTITIONS.index("unused")).any():
            msg = (
                f"{int(new.sum())} cells have values of {where} that the split did not have when it was made (e.g. "
                f"{store.some(dict.fromkeys(names[new]))}). Restore these columns, or make the split again."
            )
            raise ValueError(msg)
        store.logger.warning("%d unused cells are not counted: the split has not seen their %s.", new.sum(), where)
    return frame[~new].astype(np.int64).value_counts().rename("n_cells").reset_index()


def _contexts(columns: list[pd.Series], contexts: list[list[str]], n_obs: int) -> np.ndarray:
    """Number of the context of each cell, NaN for a context that is not in the split."""
    if not columns:
        return np.zeros(n_obs)
    known = pd.MultiIndex.from_tuples([tuple(context) for context in contexts])
    at = known.get_indexer(pd.MultiIndex.from_arrays([store.as_names(column) for column in columns]))
    return np.where(at < 0, np.nan, at)


def _doses(adata: AnnData | MuData, params: dict[str, Any], control: np.ndarray) -> np.ndarray:
    """Number of the dose of each cell, -1 for a control, NaN for a dose that is not in the split."""
    dose = read_doses(adata, params["dose_key"], control, used=np.zeros(adata.n_obs, dtype=bool))
    at = pd.Index(params["doses"]).get_indexer(dose)
    return np.where(control, -1, np.where(at < 0, np.nan, at))


def _rows(counted: pd.DataFrame, params: dict[str, Any]) -> pd.DataFrame:
    """Pairs of the split with their cells, pools of controls, and unused cells that were added later."""
    pairs, doses = params["pairs"], ["dose"] if "dose_key" in params else []
    by = ["number", "context", *doses, "code"]
    recorded = ("perturbation", "context", *doses, "partition")
    made = pd.DataFrame(dict(zip(by, (pairs[name] for name in recorded), strict=True)))
    rows = made.merge(counted, on=by, how="outer", indicator="from").sort_values(by, ignore_index=True)
    moved = (rows["from"] == "right_only") & (rows["number"] >= 0) & (rows["code"] != PARTITIONS.index("unused"))
    if moved.any():
        dosed = f"or dose_key={params['dose_key']!r} " if doses else ""
        msg = (
            f"{int(rows.loc[moved, 'n_cells'].sum())} cells are in another partition than their perturbation, so the "
            f"column perturbation_key={params['perturbation_key']!r} or one of "
            f"covariate_keys={params['covariate_keys']} {dosed}was changed since the split was made. Restore it, or "
            "make the split again."
        )
        raise ValueError(msg)
    return rows.drop(columns="from")


def _named(rows: pd.DataFrame, found: Perturbations, params: dict[str, Any]) -> pd.DataFrame:
    """Replace numbers by names, in the columns of the table."""
    control = (rows["number"] < 0).to_numpy()
    names, targets = [*found.names, params["control"][0]], [*found.targets, ()]  # the last one is that of number -1
    table = {"perturbation": [names[i] for i in rows["number"]], "targets": [targets[i] for i in rows["number"]]}
    for place, key in enumerate(params["covariate_keys"]):
        called = f"covariate_{key}" if key in _COLUMNS else key
        table[called] = [params["contexts"][context][place] for context in rows["context"]]
    if "dose_key" in params:
        key = params["dose_key"]
        table[f"dose_{key}" if key in (*_COLUMNS, *table) else key] = np.append(params["doses"], 0.0)[rows["dose"]]
    return pd.DataFrame(
        {
            **table,
            "partition": pd.Categorical.from_codes(rows["code"], categories=list(PARTITIONS)),
            "n_cells": rows["n_cells"].fillna(0).astype(np.int64),
            **{name: rows[name] for name in ("n_targets", "n_seen", "n_seen_alone")},
            "control": control,
        }
    )
