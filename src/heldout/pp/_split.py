"""Splits of cells by independent units, written to obs with a record of the parameters."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core import cells, store
from heldout._core.keys import check_key
from heldout._core.leaks import leak_of_codes
from heldout._core.partition import write_partition
from heldout._core.rng import Rng, generator
from heldout.pp._shares import checked_fractions, recorded_shares, warn_all_train
from heldout.splitting._adopted import check_classes_of_cells, names_partitions
from heldout.splitting._components import components
from heldout.splitting._group_draws import draw_cells
from heldout.splitting._groups import CODE, Groups, by_list, by_match, check_classes, name_list
from heldout.splitting._pairs import kept_cells, left_out, pairs_of, several_labels_advice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData

logger = logging.getLogger("heldout")


def split_matched(
    adata: AnnData | MuData,
    group_key: str | Sequence[str],
    match_key: str,
    *,
    label_key: str,
    test: Any,
    val: Any = (),
    unused: Any = None,
    key_added: str = "split",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Hold out all groups of one day (batch, site, patient with both conditions), so that classes are compared in it.

    A classifier that learned the day instead of the label gains nothing on such a test set. If each patient gave a
    sample of each condition, name the sample in ``group_key`` and the patient in ``match_key``.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars), or a MuData, see :func:`split_groups`.
    group_key
        Column(s) of ``obs`` with the independent unit.
    match_key
        Column of ``obs`` to match on, for example the day, or the patient with both conditions. Each group must have
        one value.
    label_key
        Column of ``obs`` with the class to predict. Every class must be in train, in val and in test.
    test, val
        Value(s) of ``match_key`` whose groups go to test and to val. All other groups are train. If ``val`` is empty,
        there is no val.
    unused
        Values of ``group_key`` whose cells become ``unused``, see :func:`split_groups`.
    key_added
        Name of the new column.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData (MuData) if ``copy=True``. The function writes ``obs[key_added]``, its record
    ``uns["heldout"]["splits"][key_added]`` and ``uns["heldout"]["assignments"]``, see :func:`split_groups`.

    Raises
    ------
    ValueError
        If a value does not occur, is named twice, or leaves a partition without one of the classes.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> sorted(adata.obs.loc[adata.obs["split"] == "test", "library"].unique())
    ['GSM8325052', 'GSM8325057']
    """
    check_key("key_added", key_added)
    adata = cells.start(adata, copy=copy)
    groups = read_groups(adata, group_key, label_key, unused=unused)
    match = groups.among_kept(store.as_names(cells.column(adata, match_key, argument="match_key")))
    by_group = Groups.of(groups.names[groups.of_cell], match, argument=f"match_key={match_key!r}")
    chosen = {"val": name_list(val), "test": name_list(test)}
    if not chosen["test"]:
        msg = f"test is empty. Name the value(s) of match_key={match_key!r} to hold out."
        raise ValueError(msg)
    assert by_group.labels is not None
    codes = by_match(groups, by_group.labels, chosen)
    if not (codes == CODE["train"]).any():
        msg = (
            f"test={chosen['test']} and val={chosen['val']} hold out every group and leave none for train. Hold out "
            f"fewer values of match_key={match_key!r}."
        )
        raise ValueError(msg)
    check_classes(groups, codes, label_key=label_key)
    params = {"group_key": group_key, "label_key": label_key, "match_key": match_key, **chosen}
    params |= recorded_pairs(groups, None)
    write_groups(adata, groups, codes, key=key_added, scheme="matched", params=params)
    return store.finish(adata, copy=copy)


def split_assigned(
    adata: AnnData | MuData,
    group_key: str,
    *,
    train: Sequence[Any],
    test: Sequence[Any] = (),
    val: Sequence[Any] = (),
    label_key: str | None = None,
    unit_key: str | Sequence[str] | None = None,
    unused: Any = None,
    key_added: str = "split",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Assign groups to partitions by explicit lists, for example the lists of a publication.

    It also adopts a column of partitions that was made elsewhere, for example ``"set"`` with the values ``"tr"`` and
    ``"te"``. Such a column does not say which cells belong together, so name the independent unit with ``unit_key``.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars), or a MuData, see :func:`split_groups`.
    group_key
        Column of ``obs`` with the names that the lists use.
    train, val, test
        Groups of each partition. Groups in no list become ``unused``.
    label_key
        Column of ``obs`` with the class to predict. If given, every class must be in every partition that is used.
    unit_key
        Column(s) of ``obs`` with the independent unit, if ``group_key`` has names of partitions. If None, the unit is
        ``group_key``, or it is not known if the values of ``group_key`` are names of partitions. A unit on both sides
        is a leak: the function warns, and an evaluation of this split has no verdict.
    unused
        Values of ``group_key`` (or ``unit_key``) whose cells become ``unused``, for example
        ``["unassigned", "doublet"]``. If None, values that stand for cells without a group are refused in the lists,
        and as units of listed cells. With ``()`` every value is a group.
    key_added
        Name of the new column.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData (MuData) if ``copy=True``. The function writes ``obs[key_added]``, its record
    ``uns["heldout"]["splits"][key_added]`` and ``uns["heldout"]["assignments"]``, see :func:`split_groups`.

    Raises
    ------
    ValueError
        If a listed group or a column does not exist, a group is listed twice, train is empty, a partition lacks a
        class, or a value stands for cells without a group.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> ho.pp.split_assigned(
    ...     adata,
    ...     "library",
    ...     train=[f"GSM83250{n}" for n in (46, 47, 48, 50, 51, 53, 55, 57)],
    ...     val=["GSM8325049", "GSM8325054"],
    ...     test=["GSM8325052", "GSM8325056"],
    ...     label_key="genotype",
    ... )
    """
    check_key("key_added", key_added)
    adata = cells.start(adata, copy=copy)
    lists = {"train": name_list(train), "val": name_list(val), "test": name_list(test)}
    if not lists["train"]:
        msg = "train is empty. List the groups to fit on."
        raise ValueError(msg)
    if unit_key is not None or (isinstance(group_key, str) and names_partitions(group_key, lists)):
        _adopt(adata, group_key, lists, label_key=label_key, unit_key=unit_key, unused=unused, key=key_added)
        return store.finish(adata, copy=copy)
    values = store.as_names(cells.column(adata, group_key, argument="group_key"))
    groups = read_groups(adata, group_key, label_key, unused=left_out(group_key, values, lists, unused))
    codes = by_list(groups, lists)
    if label_key is not None:
        check_classes(groups, codes, label_key=label_key)
    if not lists["val"] and not lists["test"]:
        warn_all_train("val and test are empty")
    params = {"group_key": group_key, "label_key": label_key, **lists, **recorded_pairs(groups, None)}
    write_groups(adata, groups, codes, key=key_added, scheme="assigned", params=params)
    return store.finish(adata, copy=copy)


def _adopt(
    adata: AnnData | MuData,
    list_key: str,
    lists: dict[str, list[str]],
    *,
    label_key: str | None,
    unit_key: str | Sequence[str] | None,
    unused: Any,
    key: str,
) -> None:
    """Write the partitions that the values of ``list_key`` name, with the independent unit ``unit_key`` if known."""
    values = read_groups(adata, list_key, None)
    codes = by_list(values, lists)[values.of_cell]
    units = None if unit_key is None else _read_units(adata, unit_key, codes != CODE["unused"], unused)
    codes = codes if units is None else units.without_left_out(codes)
    if label_key is not None:
        labels = store.as_names(cells.column(adata, label_key, argument="label_key"))
        check_classes_of_cells(labels, codes, label_key=label_key)
    params = {"group_key": None, "list_key": list_key, "label_key": label_key, **lists}
    if unit_key is None:
        logger.warning(
            "group_key=%r has names of partitions, so the independent unit is not known. Pass unit_key, the column of "
            "the unit, e.g. the donor or the library",
            list_key,
        )
    else:
        assert units is not None
        crossing = leak_of_codes(units.among_kept(codes), units.names[units.of_cell], name=str(unit_key))
        if crossing:
            logger.warning("the split leaks: %s", crossing)
        params |= {"group_key": unit_key if isinstance(unit_key, str) else list(unit_key)}
        params |= recorded_pairs(units, None)
    write_partition(adata, codes, key=key, scheme="assigned", params=params)


def _read_units(adata: AnnData | MuData, unit_key: str | Sequence[str], listed: np.ndarray, unused: Any) -> Groups:
    """Return the units; errors name the argument ``unit_key``. Refuse placeholders among the listed cells, (n,)."""
    for name in [unit_key] if isinstance(unit_key, str) else unit_key:
        values = store.as_names(cells.column(adata, name, argument="unit_key"))
        if unused is None:
            kept_cells({name: values[listed]}, None)
    return read_groups(adata, unit_key, None, unused=() if unused is None else unused)


def split_cells(
    adata: AnnData | MuData,
    *,
    val: float = 0.2,
    test: float = 0.2,
    rng: Rng = 0,
    key_added: str = "split",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Split cells at random, across libraries and donors. Such a split leaks; use it to measure the leak.

    Cells of one library share depth, ambient RNA and batch. A model therefore recognises the library of a test cell
    from the train cells of the same library. Compare the result with :func:`split_groups` on the same data.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars), or a MuData, see :func:`split_groups`.
    val, test
        Share of the cells, each in [0, 1). All other cells are train. If both are 0, no fit can be scored.
    rng
        Seed or Generator of the draw.
    key_added
        Name of the new column.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData (MuData) if ``copy=True``. The function writes ``obs[key_added]``, its record
    ``uns["heldout"]["splits"][key_added]`` and ``uns["heldout"]["assignments"]``, see :func:`split_groups`.

    Raises
    ------
    ValueError
        If the shares leave no cells for train, or if a share rounds to no cell.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> ho.pp.split_cells(adata, test=0.5, val=0)
    """
    check_key("key_added", key_added)
    fractions = checked_fractions(val=val, test=test)
    adata = cells.start(adata, copy=copy)
    codes = draw_cells(adata.obs_names, fractions, generator(rng))
    params = {"group_key": None, **recorded_shares(fractions), "rng": recorded_seed(rng)}
    write_partition(adata, codes, key=key_added, scheme="cells", params=params)
    return store.finish(adata, copy=copy)


def read_groups(
    adata: AnnData | MuData,
    group_key: str | Sequence[str],
    label_key: str | None,
    *,
    pair_key: str | None = None,
    unused: Any = (),
) -> Groups:
    """Return the groups, their labels and their pairs from the columns. The columns are checked.

    ``unused`` are values of the group columns whose cells are left out. If it is None, placeholders are refused.
    """
    group_keys = [group_key] if isinstance(group_key, str) else list(group_key)
    if not group_keys:
        msg = "group_key is empty. Name the obs column(s) of the independent unit. For single cells, use split_cells."
        raise ValueError(msg)
    if pair_key is not None and (label_key is None or pair_key in group_keys):
        what = "needs label_key" if label_key is None else "is also in group_key"
        msg = (
            f"pair_key={pair_key!r} {what}. A pair has several groups, such as the samples of a patient, which differ "
            "in their label. Name the sample in group_key and its label in label_key."
        )
        raise ValueError(msg)
    columns = {key: store.as_names(cells.column(adata, key, argument="group_key")) for key in group_keys}
    if pair_key is not None:
        columns[pair_key] = store.as_names(cells.column(adata, pair_key, argument="pair_key"))
    if not adata.n_obs:
        msg = "adata has no cells, so there is nothing to split. Check the filter that was used before."
        raise ValueError(msg)
    labels = None
    if label_key is not None:
        labels = store.as_names(cells.column(adata, label_key, argument="label_key"))
    left_out = None if unused is None else name_list(unused)
    kept = kept_cells(columns, left_out)
    rows = slice(None) if kept is None else kept
    names = components(*(columns[key][rows] for key in group_keys))
    if labels is not None:
        labels = labels[rows]

    def advice() -> str:
        obs = None if cells.is_mudata(adata) else adata.obs[rows]
        assert labels is not None
        among = {key: columns[key][rows] for key in group_keys}
        return several_labels_advice(among, labels, label_key=str(label_key), obs=obs)

    groups = Groups.of(names, labels, argument=f"label_key={label_key!r}", advice=advice)
    if pair_key is None or label_key is None:
        return replace(groups, kept=kept, left_out=tuple(left_out or ()))
    pairs = pairs_of(groups, columns[pair_key][rows], pair_key=pair_key, label_key=label_key)
    return replace(groups, pairs=pairs, kept=kept, left_out=tuple(left_out or ()))


def recorded_pairs(groups: Groups, pair_key: str | None) -> dict[str, Any]:
    """Return the parameters that are recorded only where they are used: the pairs, and the names left out."""
    return {
        **({} if pair_key is None else {"pair_key": pair_key}),
        **({"left_out": list(groups.left_out)} if groups.left_out else {}),
    }


def write_groups(
    adata: AnnData | MuData, groups: Groups, codes: np.ndarray, *, key: str, scheme: str, params: dict[str, Any]
) -> None:
    """Write the split of the groups to their cells. The record lists the groups of each partition."""
    group_key = params["group_key"]
    group_key = group_key if isinstance(group_key, str) else list(group_key)
    params = {**params, "group_key": group_key, "groups": groups.listed(codes)}
    write_partition(adata, groups.codes_of_cells(codes), key=key, scheme=scheme, params=params)


def recorded_seed(rng: Rng) -> int | None:
    """Return the seed to record. It is None for a Generator, because its state is not stored."""
    return int(rng) if isinstance(rng, int | np.integer) else None
