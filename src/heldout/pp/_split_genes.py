"""Split of genes, at random or by module of co-expressed genes, written to var."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from heldout._core import keys, store
from heldout._core.arrays import get_matrix, loaded, take, values
from heldout._core.keys import check_key
from heldout._core.partition import digests, read_partition, write_partition
from heldout._core.rng import Rng, generator
from heldout.pp._split import checked_fractions, recorded_seed, recorded_shares
from heldout.splitting._groups import CODE
from heldout.splitting._modules import assign_modules, correlation, draw_shares, find_modules

if TYPE_CHECKING:
    from anndata import AnnData

_TOLERANCE = 0.05
"""Difference between the wanted and the reached share that is told."""

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
    """Put genes into train, val and test, at random or by module so that co-expressed genes stay together.

    Of a random split, a test gene has its co-regulated sisters in train, and a model that copies them scores well
    without knowing anything of unseen genes; the split by module takes that away. Modules are found on train cells
    only: branches of Ward's tree over the Pearson correlation of the genes there. They are assigned to the partitions
    so that the shares of genes are met as well as possible (least squares of the numbers of genes; the exact optimum
    for few modules, else a drawn start improved by moves and swaps until none helps). The result depends neither on
    the order of the genes nor on that of the cells.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars). For ``by="module"`` log-normalised: in raw counts, genes correlate by depth.
    by
        ``"random"`` draws single genes and looks at no expression, ``"module"`` draws whole modules.
    val, test
        Wanted share of the genes, each in [0, 1); the rest is train. 0 leaves a partition out.
    n_modules
        Number of modules of the genes that vary in train cells. None takes the fewest of which none has more genes than
        the smaller of ``val`` and ``test`` asks for, so that the shares can be met; fewer keep more distant relatives
        together, and may miss the shares. Only for ``by="module"``.
    split_key
        The split of the cells, in ``obs``; its train cells are used to find modules. Not read by ``by="random"``.
    layer
        Layer to find modules in instead of ``X``. Only for ``by="module"``.
    rng
        Seed or Generator of the draw.
    key_added
        Name of the new column of ``var``.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData if ``copy=True``. Written are:

    ``var[key_added]``
        Categorical with the values train, val, test (and unused, here empty).
    ``var[key_added + "_module"]``
        With ``by="module"``: number of the gene's module, int64, from the largest. A gene that is constant in the train
        cells is its own module; such genes are drawn apart from the others, in the same shares. With ``by="random"``
        a column left by an earlier split by module is removed.
    ``uns["heldout"]["splits"][key_added]``
        Scheme ``genes``, parameters (with ``by``, and the hash of the cell split as ``split_hash``) and hash.
    ``uns["heldout"]["assignments"]``
        The partition of each gene name, as digests, under the hash.

    Raises
    ------
    ValueError
        If the shares leave a partition without genes; or, with ``by="module"``, there is no split of the cells, it has
        fewer than three train cells, values of train cells are not finite, ``n_modules`` is out of range, or more than
        15,000 genes vary.

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
    fractions = checked_fractions(val=val, test=test)
    wanted = [name for name, share in fractions.items() if share > 0]
    shares, draw = np.array([fractions[name] for name in wanted]), generator(rng)
    store.check_adata(adata)
    if not adata.n_vars:
        msg = "adata has no genes, so there is nothing to split. Look at the filter before."
        raise ValueError(msg)
    _check_module_column(adata, key_added, by=by)
    order = np.argsort(digests(adata.var_names), kind="stable")
    modules: np.ndarray | None = None
    about: dict[str, Any] = {}
    if by == "random":
        codes = draw_shares(adata.n_vars, shares, draw)
    else:
        assert split_key is not None
        modules, n_found, about = _modules(adata, order, shares, n_modules=n_modules, split_key=split_key, layer=layer)
        codes = _codes(modules, n_found, shares, draw)
    _check_shares(codes, fractions, wanted, tell=by == "module")
    inverse = np.argsort(order)
    params = {"by": by, **recorded_shares(fractions), "rng": recorded_seed(rng), **about}
    adata = store.start(adata, copy=copy)
    partitions = np.array([CODE[name] for name in wanted], dtype=np.int8)[codes][inverse]
    _write(adata, partitions, None if modules is None else modules[inverse], key=key_added, params=params)
    return store.finish(adata, copy=copy)


def _check_choices(*, by: str, n_modules: int | None, split_key: str | None, layer: str | None) -> None:
    if by not in ("random", "module"):
        msg = f"by={by!r} must be 'random' or 'module'."
        raise ValueError(msg)
    if by == "module" and split_key is None:
        msg = (
            "split_key=None is for by='random' only: modules found on all cells would know the test cells. Split the cells "
            "first, e.g. with heldout.pp.split_time, and name the column."
        )
        raise ValueError(msg)
    given = {name: value for name, value in (("n_modules", n_modules), ("layer", layer)) if value is not None}
    if by == "random" and given:
        name, value = next(iter(given.items()))
        msg = f"{name}={value!r} is for by='module'; a random split looks at no expression. Leave it out, or set by='module'."
        raise ValueError(msg)


def _modules(
    adata: AnnData, order: np.ndarray, shares: np.ndarray, *, n_modules: int | None, split_key: str, layer: str | None
) -> tuple[np.ndarray, int, dict[str, Any]]:
    """Module of each gene in ``order``, how many of them hold genes that vary, and what to record."""
    X = get_matrix(adata, layer, dask=True)
    partition = read_partition(adata, split_key)
    train = partition.rows("train")
    if len(train) < 3:
        msg = f"by='module' needs at least 3 train cells to correlate genes, but obs[{split_key!r}] has {len(train)}."
        raise ValueError(msg)
    sample = values(loaded(take(X, train[:: max(1, len(train) // 500)], None)))
    if sample.size and sample.max() > 1 and np.array_equal(sample, np.round(sample)):
        where = "adata.X" if layer is None else f"adata.layers[{layer!r}]"
        logger.warning("%s holds raw counts, in which genes correlate by depth; log-normalise for modules", where)
    train = train[np.argsort(digests(adata.obs_names[train]), kind="stable")]
    related, varies = correlation(X, train, order)
    _check_n_modules(n_modules, int(varies.sum()), len(shares))
    found = find_modules(related, n_modules, least=len(shares), largest=shares[1:].min() * varies.sum())
    rank = np.lexsort((np.unique(found, return_index=True)[1], -np.bincount(found)))
    modules = np.empty(adata.n_vars, dtype=np.int64)
    modules[varies] = np.argsort(rank)[found]
    modules[~varies] = len(rank) + np.arange((~varies).sum())
    about = {
        "n_modules": len(rank),
        "n_constant": int((~varies).sum()),
        "split_key": split_key,
        "split_hash": partition.hash,
        "layer": layer,
    }
    return modules, len(rank), about


def _check_n_modules(n_modules: int | None, n_varying: int, n_partitions: int) -> None:
    if n_varying < n_partitions:
        msg = (
            f"Only {n_varying} genes vary in the train cells, fewer than there are partitions ({n_partitions}). Check the "
            "matrix and the split, or use by='random'."
        )
        raise ValueError(msg)
    whole = isinstance(n_modules, int | np.integer) and not isinstance(n_modules, bool)
    if n_modules is not None and not (whole and n_partitions <= n_modules <= n_varying):
        msg = (
            f"n_modules={n_modules!r} must be a whole number from {n_partitions}, the number of partitions, to {n_varying}, "
            "the number of genes that vary in the train cells. None chooses one."
        )
        raise ValueError(msg)


def _codes(modules: np.ndarray, n_found: int, shares: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Number of the wanted partition of each gene: whole modules, then the genes that are constant in train."""
    if n_found < len(shares):
        msg = (
            f"The genes fall into {n_found} modules of identical genes, fewer than there are partitions ({len(shares)}). "
            "Ask for fewer partitions (e.g. val=0), or use by='random'."
        )
        raise ValueError(msg)
    sizes = np.bincount(modules)
    of_module = np.append(
        assign_modules(sizes[:n_found], shares, draw), draw_shares(len(sizes) - n_found, shares, draw)
    )
    return of_module[modules]


def _check_shares(codes: np.ndarray, fractions: dict[str, float], wanted: list[str], *, tell: bool) -> None:
    """Refuse a partition without genes; ``tell`` a share that was missed by much."""
    for name, size in zip(wanted, np.bincount(codes, minlength=len(wanted)), strict=True):
        reached = size / len(codes)
        if not size:
            msg = (
                f"{name}={fractions[name]:g} of {len(codes)} genes rounds to no gene. Ask for a larger share, or for 0 to "
                "leave the partition out."
            )
            raise ValueError(msg)
        if tell and abs(reached - fractions[name]) > _TOLERANCE:
            logger.warning(
                "%s has %.2f of the genes instead of %.2f, as near as whole modules come; a larger n_modules comes nearer",
                name,
                reached,
                fractions[name],
            )


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
    write_partition(adata, codes, key=key, scheme="genes", params=params, axis="var")
    if modules is not None:
        store.commit(adata, var={column: modules})
    elif stale and column in adata.var.columns:
        del adata.var[column]
