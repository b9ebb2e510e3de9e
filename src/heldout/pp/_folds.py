"""Cross-validation: numbered split columns, each a whole split that the other functions take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from heldout._core import cells, store
from heldout._core.keys import check_key
from heldout._core.partition import PARTITIONS, Assignment, NewSplit, write_partitions
from heldout._core.rng import Rng, generator
from heldout.pp._split import read_groups, recorded_seed
from heldout.splitting import _folds
from heldout.splitting._folds import FoldUnits
from heldout.splitting._group_draws import by_fraction
from heldout.splitting._groups import CODE, Groups, check_classes

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
    rng: Rng = 0,
    key_added: str = "fold",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Hold out every group in turn: one split column for each fold of a cross-validation.

    Groups (libraries, donors) stay whole, and train always has every class. With ``scheme="kfold"`` every class stands
    in every fold, and the number of groups of each class and of all groups differs by at most one between folds;
    within that, cells are evened out. Folds do not depend on the order of the cells.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars), or a MuData, see :func:`split_groups`.
    group_key
        Column(s) of ``obs`` that name the independent unit. Several columns are merged: whatever shares a value in
        any of them stays together.
    label_key
        Column of ``obs`` that is predicted; each group must have one label. None stratifies by nothing.
    n_folds
        Number of folds of ``"kfold"``; the other schemes take theirs from the data.
    scheme
        ``kfold``; ``leave_one_group_out``, where a test set has one class, so pool the predictions before scoring;
        ``leave_one_pair_out``, one group of each class; ``leave_one_match_out``, all groups of one day (batch, site),
        for those values of ``match_key`` that have every class, while groups of the others stay in train.
    match_key
        Column of ``obs`` to match on, one value a group; for ``leave_one_match_out``, which needs it.
    pairs
        For ``leave_one_pair_out``. ``each``: as many folds as the largest class has groups, each of its groups is test
        once, those of a smaller class take turns. ``all``: every combination.
    val
        Which of the groups that are not test go to val. ``next``: the test groups of the next fold, or in
        ``leave_one_group_out`` and ``leave_one_pair_out`` one group of each class. A number in (0, 1): that share of
        them, drawn at random with every class. 0: no val.
    n_inner
        Nested cross-validation: cut the groups that are not test into so many folds again, each of which is val once.
        Columns then are ``f"{key_added}_{fold}_{inner}"``; leave ``val`` alone.
    rng
        Seed or Generator of the draws.
    key_added
        Name of the new columns, before the number.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData (MuData) if ``copy=True``. Written are, for each fold from 0:

    ``obs[f"{key_added}_{fold}"]``
        Categorical with the values train, val, test (and unused, here empty).
    ``uns["heldout"]["splits"][f"{key_added}_{fold}"]``
        Scheme, parameters (among them ``folds``, the names of all columns) and hash.
    ``uns["heldout"]["assignments"]``
        The partition of each cell name, as digests, under the hash.

    Raises
    ------
    ValueError
        If a column is missing or has missing values, a group has two labels or match values, or some fold is not
        possible, e.g. because a class has fewer groups than there are folds. Then nothing is written.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> ho.pp.folds(adata, "library", "genotype", n_folds=4)
    >>> adata.obs.groupby("fold_0", observed=True)["library"].nunique().to_dict()
    {'train': 6, 'val': 3, 'test': 3}
    """
    check_key("key_added", key_added)
    _check(scheme, match_key, val, n_inner)
    adata = cells.start(adata, copy=copy)
    groups = read_groups(adata, group_key, label_key)
    labels = None if groups.labels is None else groups.labels[groups.of_cell]
    units = FoldUnits.of(groups.names[groups.of_cell], labels)
    draws = generator(rng)
    match = None if match_key is None else _match(adata, groups, match_key)
    tests, own = _tests(units, scheme, draws, n_folds=n_folds, match=match, pairs=pairs)
    columns = _codes(groups, units, tests, draws, scheme=scheme, val=val, n_inner=n_inner)
    for codes in columns.values():
        _check_codes(groups, codes, scheme=scheme, label_key=label_key, val=val)
    params = {
        "group_key": group_key if isinstance(group_key, str) else list(group_key),
        "label_key": label_key,
        "n_folds": len(tests),
        **({} if match_key is None else {"match_key": match_key}),
        **({"val": val if val == "next" else float(val)} if n_inner is None else {"n_inner": int(n_inner)}),
        **own,
        "rng": recorded_seed(rng),
    }
    _write(adata, groups, {f"{key_added}_{name}": codes for name, codes in columns.items()}, scheme, params)
    return store.finish(adata, copy=copy)


def _check(scheme: str, match_key: str | None, val: Any, n_inner: int | None) -> None:
    if scheme not in SCHEMES:
        msg = f"scheme={scheme!r} must be one of {', '.join(SCHEMES)}."
        raise ValueError(msg)
    if (match_key is not None) != (scheme == "leave_one_match_out"):
        msg = (
            f"match_key={match_key!r} and scheme={scheme!r} do not go together: leave_one_match_out needs a match_key, "
            "the other schemes take none. Change one of the two."
        )
        raise ValueError(msg)
    number = isinstance(val, int | float | np.number) and not isinstance(val, bool)
    if val != "next" and not (number and 0 <= val < 1):
        msg = f"val={val!r} must be 'next', a share in (0, 1), or 0 for no val."
        raise ValueError(msg)
    if n_inner is not None and val != "next":
        msg = f"val={val!r} and n_inner={n_inner} both say what val is. Leave one of them out."
        raise ValueError(msg)


def _match(adata: AnnData | MuData, groups: Groups, match_key: str) -> np.ndarray:
    values = store.as_names(cells.column(adata, match_key, argument="match_key"))
    match = Groups.of(groups.names[groups.of_cell], values, argument=f"match_key={match_key!r}").labels
    assert match is not None
    return match


def _tests(
    units: FoldUnits, scheme: str, rng: np.random.Generator, *, n_folds: int, match: np.ndarray | None, pairs: str
) -> tuple[np.ndarray, dict[str, Any]]:
    """Mask of the test groups of each fold, (n_folds × G), and what the record says of this scheme only."""
    if scheme == "kfold":
        return _folds.kfold(units, n_folds, rng) == np.arange(n_folds)[:, None], {}
    if scheme == "leave_one_group_out":
        return _folds.leave_one_group_out(units), {}
    if scheme == "leave_one_pair_out":
        return _folds.leave_one_pair_out(units, rng, pairs=pairs), {"pairs": pairs}
    assert match is not None
    tests, values, never = _folds.leave_one_match_out(units, match)
    if never:
        store.logger.warning("Without every class, and so in train in each fold: %s.", ", ".join(never))
    return tests, {"values": values, "never_test": never}


def _codes(
    groups: Groups,
    units: FoldUnits,
    tests: np.ndarray,
    rng: np.random.Generator,
    *,
    scheme: str,
    val: Literal["next"] | float,
    n_inner: int | None,
) -> dict[str, np.ndarray]:
    """Partition codes of the groups, (G,), under the number of the fold."""
    if n_inner is not None:
        inner = [_folds.inner_folds(units, test, n_inner, rng) for test in tests]
        return {
            f"{fold}_{number}": _coded(tests[fold], folds == number)
            for fold, folds in enumerate(inner)
            for number in range(n_inner)
        }
    if val != "next":
        return {str(fold): _with_share(groups, test, float(val), rng) for fold, test in enumerate(tests)}
    by_fold = scheme in ("kfold", "leave_one_match_out")
    vals = np.roll(tests, -1, axis=0) if by_fold else _folds.next_groups(units, tests)
    return {str(fold): _coded(*pair) for fold, pair in enumerate(zip(tests, vals, strict=True))}


def _coded(test: np.ndarray, val: np.ndarray) -> np.ndarray:
    return np.select([test, val], [CODE["test"], CODE["val"]], CODE["train"]).astype(np.int8)


def _with_share(groups: Groups, test: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    codes = _coded(test, np.zeros_like(test))
    if share:
        labels = None if groups.labels is None else groups.labels[~test]
        rest = Groups(groups.names[~test], np.empty(0, dtype=int), labels)
        codes[~test] = by_fraction(rest, {"train": 1 - share, "val": share}, rng)
    return codes


def _check_codes(groups: Groups, codes: np.ndarray, *, scheme: str, label_key: str | None, val: Any) -> None:
    """Refuse a fold without train, val (when asked for) or one of the classes."""
    for partition in ("train", "val") if val else ("train",):
        if not (codes == CODE[partition]).any():
            msg = (
                f"val={val!r} leaves no group for {partition}: test is {store.some(groups.names[codes == CODE['test']])} "
                f"of {len(groups.names)} groups. Ask for more folds, or for no val (val=0)."
            )
            raise ValueError(msg)
    if label_key is not None:
        one_class = scheme == "leave_one_group_out"
        seen = np.where(codes == CODE["test"], CODE["unused"], codes) if one_class else codes
        check_classes(groups, seen, label_key=label_key)


def _write(
    adata: AnnData | MuData, groups: Groups, columns: Mapping[str, np.ndarray], scheme: str, params: Mapping[str, Any]
) -> None:
    splits = {}
    for fold, (key, codes) in enumerate(columns.items()):
        lists = {name: groups.names[codes == CODE[name]].tolist() for name in PARTITIONS}
        record = {**params, "fold": fold, "folds": list(columns), "groups": lists}
        of_cell = codes[groups.of_cell]
        splits[key] = NewSplit(of_cell, Assignment.of(adata.obs_names, of_cell), record)
    write_partitions(adata, splits, scheme=scheme)
