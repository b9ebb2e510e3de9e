"""Cross-validation. Each fold is written as a numbered split column that other functions accept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from heldout._core import cells, store
from heldout._core.checks import check_choice
from heldout._core.keys import check_key
from heldout._core.partition import Assignment, NewSplit, write_partitions
from heldout._core.rng import Rng, generator
from heldout.pp._split import read_groups, recorded_pairs, recorded_seed
from heldout.splitting._fold_codes import check_fold, fold_codes, fold_masks
from heldout.splitting._folds import FoldUnits
from heldout.splitting._groups import Groups

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from mudata import MuData

Scheme = Literal["kfold", "leave_one_group_out", "leave_one_pair_out", "leave_one_match_out"]
SCHEMES = ("kfold", "leave_one_group_out", "leave_one_pair_out", "leave_one_match_out")


def folds(
    adata: AnnData | MuData,
    group_key: str | Sequence[str],
    label_key: str | None = None,
    *,
    n_folds: int = 5,
    scheme: Scheme = "kfold",
    match_key: str | None = None,
    pairs: Literal["each", "all"] = "each",
    val: Literal["next"] | float = "next",
    n_inner: int | None = None,
    pair_key: str | None = None,
    unused: str | Sequence[str] | None = None,
    rng: Rng = 0,
    key_added: str = "fold",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Hold out every group in turn, with one split column for each fold of a cross-validation.

    Groups (libraries, donors) stay whole, and train always has every class. With ``scheme="kfold"`` every fold has
    every class, and the number of groups of each class, and of all groups, differs by at most one between folds. Within
    these counts, cells are balanced. The folds do not depend on the order of the cells.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars), or a MuData, see :func:`split_groups`.
    group_key
        Column(s) of ``obs`` with the independent unit. Several columns are merged: rows that share a value in any of
        them stay together.
    label_key
        Column of ``obs`` with the class to predict. Each group must have one label. If None, folds are not stratified.
    n_folds
        Number of folds of ``"kfold"``, an integer >= 2. The other schemes take the number of folds from the data.
    scheme
        How test groups are chosen.

        - ``kfold``: groups are divided into ``n_folds`` test sets.
        - ``leave_one_group_out``: each group is a test set. A test set has one class, so pool the predictions before
          scoring.
        - ``leave_one_pair_out``: one group of each class is a test set.
        - ``leave_one_match_out``: all groups of one day (batch, site, patient with both conditions) are a test set, for
          each value of ``match_key`` that has every class. Groups with another value stay in train.
    match_key
        Column of ``obs`` to match on, with one value per group. Required by ``leave_one_match_out``, not used
        otherwise.
    pairs
        Pairs of ``leave_one_pair_out``. ``each``: as many folds as the largest class has groups. Each of its groups is
        test once, and the groups of a smaller class take turns. ``all``: every combination.
    val
        Which groups outside test are val. ``next``: the test groups of the next fold; for ``leave_one_group_out`` and
        ``leave_one_pair_out``, one group of each class. A number in (0, 1): this share of the groups, drawn at random
        with every class. 0: no val.
    n_inner
        Nested cross-validation. The groups outside test are divided into this number of inner folds, and each inner
        fold is val once. The columns are then named ``f"{key_added}_{fold}_{inner}"``. Do not set ``val`` with it.
    pair_key, unused
        Unit that has groups of several labels and stays whole, and values of the groups that are left out, see
        :func:`split_groups`. With a ``pair_key``, folds are made of pairs, and each pair has every class.
    rng
        Seed or Generator of the draws.
    key_added
        Name of the new columns, without the number.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData (MuData) if ``copy=True``. For each fold, counted from 0, the function writes:

    ``obs[f"{key_added}_{fold}"]``
        Categorical with the values train, val, test (and unused).
    ``uns["heldout"]["splits"][f"{key_added}_{fold}"]``
        Scheme, parameters and hash. The parameter ``folds`` has the names of all columns.
    ``uns["heldout"]["assignments"]``
        The partition of each cell name, as digests, under the hash.

    Raises
    ------
    ValueError
        If a column is missing or has missing values, if a group has two labels or two match values, or if a fold is not
        possible, for example because a class has fewer groups than there are folds. Nothing is written in this case.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> ho.pp.folds(adata, "library", "genotype", n_folds=4)
    >>> adata.obs.groupby("fold_0", observed=True)["library"].nunique().to_dict()
    {'train': 6, 'val': 3, 'test': 3}
    """
    check_key("key_added", key_added)
    _check(scheme, match_key, val, n_inner, pair_key)
    adata = cells.start(adata, copy=copy)
    groups = read_groups(adata, group_key, label_key, pair_key=pair_key, unused=unused)
    drawn = groups.drawn
    labels = None if groups.labels is None else groups.labels[groups.of_cell]
    units = FoldUnits.of(drawn.names[drawn.of_cell], labels)
    draws = generator(rng)
    match = None if match_key is None else _match(adata, groups, match_key)
    tests, of_scheme = fold_masks(units, scheme, draws, n_folds=n_folds, match=match, pairs=pairs)
    columns = fold_codes(drawn, units, tests, draws, scheme=scheme, val=val, n_inner=n_inner)
    columns = {name: groups.spread(codes) for name, codes in columns.items()}
    for codes in columns.values():
        check_fold(groups, codes, scheme=scheme, label_key=label_key, val=val)
    params = {
        "group_key": group_key if isinstance(group_key, str) else list(group_key),
        "label_key": label_key,
        "n_folds": len(tests),
        **({} if match_key is None else {"match_key": match_key}),
        **({"val": val if val == "next" else float(val)} if n_inner is None else {"n_inner": int(n_inner)}),
        **of_scheme,
        **recorded_pairs(groups, pair_key),
        "rng": recorded_seed(rng),
    }
    _write(adata, groups, {f"{key_added}_{name}": codes for name, codes in columns.items()}, scheme, params)
    return store.finish(adata, copy=copy)


def _check(scheme: str, match_key: str | None, val: Any, n_inner: int | None, pair_key: str | None) -> None:
    check_choice(scheme, "scheme", SCHEMES)
    if (match_key is not None) != (scheme == "leave_one_match_out"):
        msg = (
            f"match_key={match_key!r} and scheme={scheme!r} do not fit together. Scheme 'leave_one_match_out' needs "
            "a match_key, the other schemes take none. Change one of the two."
        )
        raise ValueError(msg)
    if pair_key is not None and scheme == "leave_one_pair_out":
        msg = (
            f"pair_key={pair_key!r} and scheme='leave_one_pair_out' do not fit together, because that scheme makes its "
            "own pairs of groups. Use scheme='leave_one_group_out', which holds out one value of pair_key at a time."
        )
        raise ValueError(msg)
    number = isinstance(val, int | float | np.number) and not isinstance(val, bool)
    if val != "next" and not (number and 0 <= val < 1):
        msg = f"val={val!r} must be 'next', a number in (0, 1), or 0 for no val."
        raise ValueError(msg)
    if n_inner is not None and val != "next":
        msg = f"val={val!r} and n_inner={n_inner} both define val. Leave one of them out."
        raise ValueError(msg)


def _match(adata: AnnData | MuData, groups: Groups, match_key: str) -> np.ndarray:
    values = groups.among_kept(store.as_names(cells.column(adata, match_key, argument="match_key")))
    match = Groups.of(groups.drawn.names[groups.drawn.of_cell], values, argument=f"match_key={match_key!r}").labels
    assert match is not None
    return match


def _write(
    adata: AnnData | MuData, groups: Groups, columns: Mapping[str, np.ndarray], scheme: str, params: Mapping[str, Any]
) -> None:
    splits = {}
    for fold, (key, codes) in enumerate(columns.items()):
        record = {**params, "fold": fold, "folds": list(columns), "groups": groups.listed(codes)}
        of_cell = groups.codes_of_cells(codes)
        splits[key] = NewSplit(of_cell, Assignment.of(adata.obs_names, of_cell), record)
    write_partitions(adata, splits, scheme=scheme)
