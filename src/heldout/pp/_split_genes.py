"""Split genes at random or by module of co-expressed genes, and write the split to var."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from heldout._core import keys, store
from heldout._core.arrays import get_matrix, loaded, take, values
from heldout._core.checks import check_choice
from heldout._core.keys import check_key
from heldout._core.partition import digests, read_partition, write_partition
from heldout._core.rng import Rng, generator
from heldout.pp._shares import checked_fractions, recorded_shares
from heldout.pp._split import recorded_seed
from heldout.splitting._gene_codes import check_n_modules, check_shares, gene_codes, number_modules
from heldout.splitting._groups import CODE
from heldout.splitting._modules import correlation, draw_shares, find_modules

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger("heldout")


def split_genes(
    adata: AnnData,
    *,
    by: Literal["random", "module"] = "random",
    val: float = 0.15,
    test: float = 0.15,
    n_modules: int | None = None,
    split_key: str | None = "split",
    layer: str | None = None,
    rng: Rng = 0,
    key_added: str = "gene_split",
    copy: bool = False,
) -> AnnData | None:
    """Split genes into train, val and test, at random or by module so that co-expressed genes stay together.

    In a random split, a test gene has co-regulated genes in train. A model that copies them scores well without any
    knowledge of unseen genes. A split by module removes this advantage. Modules are found on train cells only, as
    branches of Ward's tree over the Pearson correlation of the genes. They are assigned to the partitions so that the
    shares of genes are met as closely as possible, by least squares of the numbers of genes. For few modules this is
    the exact optimum. Otherwise a random start is improved by moves and swaps until none helps. The result depends
    neither on the order of the genes nor on the order of the cells.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars). For ``by="module"`` the values must be log-normalised, because genes correlate
        by depth in raw counts.
    by
        ``"random"`` draws single genes and uses no expression values. ``"module"`` draws whole modules.
    val, test
        Wanted share of the genes, each in [0, 1). All other genes are train. 0 leaves a partition out.
    n_modules
        Number of modules among the genes that vary in train cells. If None, the smallest number for which no module has
        more genes than the smaller of ``val`` and ``test`` asks for, so that the shares can be met. A smaller number
        keeps more distant genes together and may miss the shares. Used only for ``by="module"``.
    split_key
        Column of ``obs`` with the split of the cells. Modules are found on its train cells. Not used for
        ``by="random"``.
    layer
        Layer to find modules in. If None, ``X`` is used. Used only for ``by="module"``.
    rng
        Seed or Generator of the draw.
    key_added
        Name of the new column of ``var``.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData if ``copy=True``. The function writes:

    ``var[key_added]``
        Categorical with the values train, val, test (and unused, which is empty here).
    ``var[key_added + "_module"]``
        With ``by="module"``: number of the module of each gene, int64, from the largest module. A gene that is constant
        in the train cells is a module. Such genes are drawn separately from the others, with the same shares. With
        ``by="random"``, a column of an earlier split by module is removed.
    ``uns["heldout"]["splits"][key_added]``
        Scheme ``genes``, parameters and hash. The parameters have ``by``, and the hash of the cell split as
        ``split_hash``.
    ``uns["heldout"]["assignments"]``
        The partition of each gene name, as digests, under the hash.

    Raises
    ------
    ValueError
        If the shares leave a partition without genes. With ``by="module"``, also if there is no split of the cells, if
        it has fewer than three train cells, if values of train cells are not finite, if ``n_modules`` is out of range,
        or if more than 15,000 genes vary.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.lmna_simulated(n_cells=50, n_genes=200)
    >>> ho.pp.split_time(adata, "day", test=30, val=19)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.split_genes(adata, by="module")
    >>> int(adata.var.groupby("gene_split_module")["gene_split"].nunique().max())
    1
    """
    check_key("key_added", key_added)
    _check_choices(by=by, n_modules=n_modules, split_key=split_key, layer=layer)
    fractions = checked_fractions(val=val, test=test, all_train=False)
    wanted = [name for name, share in fractions.items() if share > 0]
    shares, draw = np.array([fractions[name] for name in wanted]), generator(rng)
    store.check_adata(adata)
    if not adata.n_vars:
        msg = "adata has no genes, so there is nothing to split. Check the filter that was used before."
        raise ValueError(msg)
    _check_module_column(adata, key_added, by=by)
    order = np.argsort(digests(adata.var_names), kind="stable")
    modules: np.ndarray | None = None
    recorded: dict[str, Any] = {}
    if by == "random":
        codes = draw_shares(adata.n_vars, shares, draw)
    else:
        assert split_key is not None
        modules, n_found, recorded = _modules(
            adata, order, shares, n_modules=n_modules, split_key=split_key, layer=layer
        )
        codes = gene_codes(modules, n_found, shares, draw)
    check_shares(codes, fractions, wanted, log=by == "module")
    inverse = np.argsort(order)
    params = {"by": by, **recorded_shares(fractions), "rng": recorded_seed(rng), **recorded}
    adata = store.start(adata, copy=copy)
    partitions = np.array([CODE[name] for name in wanted], dtype=np.int8)[codes][inverse]
    _write(adata, partitions, None if modules is None else modules[inverse], key=key_added, params=params)
    return store.finish(adata, copy=copy)


def _check_choices(*, by: str, n_modules: int | None, split_key: str | None, layer: str | None) -> None:
    check_choice(by, "by", ("random", "module"))
    if by == "module" and split_key is None:
        msg = (
            "split_key=None works only with by='random'. Modules of all cells would use the test cells. Split the "
            "cells first, for example with heldout.pp.split_time, and name the column."
        )
        raise ValueError(msg)
    given = {name: value for name, value in (("n_modules", n_modules), ("layer", layer)) if value is not None}
    if by == "random" and given:
        name, value = next(iter(given.items()))
        msg = (
            f"{name}={value!r} works only with by='module'. A random split uses no expression values. Leave the "
            "argument out, or set by='module'."
        )
        raise ValueError(msg)


def _modules(
    adata: AnnData, order: np.ndarray, shares: np.ndarray, *, n_modules: int | None, split_key: str, layer: str | None
) -> tuple[np.ndarray, int, dict[str, Any]]:
    """Return the module of each gene in ``order``, the number of modules of varying genes, and what to record."""
    X = get_matrix(adata, layer, dask=True)
    partition = read_partition(adata, split_key)
    train = partition.rows("train")
    if len(train) < 3:
        msg = (
            f"by='module' needs at least 3 train cells to correlate genes, but obs[{split_key!r}] has {len(train)}. "
            "Use a split with more train cells."
        )
        raise ValueError(msg)
    sample = values(loaded(take(X, train[:: max(1, len(train) // 500)], None)))
    if sample.size and sample.max() > 1 and np.array_equal(sample, np.round(sample)):
        where = "adata.X" if layer is None else f"adata.layers[{layer!r}]"
        logger.warning(
            "%s has raw counts, in which genes correlate by depth. Log-normalise them to find modules.", where
        )
    train = train[np.argsort(digests(adata.obs_names[train]), kind="stable")]
    related, varies = correlation(X, train, order)
    check_n_modules(n_modules, int(varies.sum()), len(shares))
    found = find_modules(related, n_modules, least=len(shares), largest=shares[1:].min() * varies.sum())
    modules, n_found = number_modules(found, varies)
    recorded = {
        "n_modules": n_found,
        "n_constant": int((~varies).sum()),
        "split_key": split_key,
        "split_hash": partition.hash,
        "layer": layer,
    }
    return modules, n_found, recorded


def _check_module_column(adata: AnnData, key_added: str, *, by: str) -> None:
    column = f"{key_added}_module"
    if by == "module" and column in adata.var.columns and not _has_modules(adata, key_added):
        msg = f"key_added={key_added!r} would overwrite the column {column!r} of adata.var. Choose another name."
        raise ValueError(msg)


def _has_modules(adata: AnnData, key: str) -> bool:
    record = store.section(adata, keys.SPLITS).get(key)
    return record is not None and record["axis"] == "var" and '"by": "module"' in record["params"]


def _write(adata: AnnData, codes: np.ndarray, modules: np.ndarray | None, *, key: str, params: dict[str, Any]) -> None:
    column, stale = f"{key}_module", modules is None and _has_modules(adata, key)
    store.actual(adata)
    with store.undone_on_error(adata):
        write_partition(adata, codes, key=key, scheme="genes", params=params, axis="var")
        if modules is not None:
            store.commit(adata, var={column: modules})
        elif stale and column in adata.var.columns:
            del adata.var[column]
