"""Split whole groups by share, with optional balance over covariates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from heldout._core import cells, store
from heldout._core.checks import check_choice
from heldout._core.keys import check_key
from heldout._core.rng import Rng, generator
from heldout.pp._shares import checked_fractions, recorded_shares
from heldout.pp._split import read_groups, recorded_pairs, recorded_seed, write_groups
from heldout.splitting._group_draws import by_balance, by_fraction, by_hash, check_stable, lasting_names
from heldout.splitting._groups import Groups, check_classes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData

    from heldout.splitting._balance import Balanced


def split_groups(
    adata: AnnData | MuData,
    group_key: str | Sequence[str],
    label_key: str | None = None,
    *,
    val: float = 0.2,
    test: float = 0.2,
    share_of: Literal["groups", "cells"] = "groups",
    covariate_keys: str | Sequence[str] = (),
    stable: bool = False,
    pair_key: str | None = None,
    unused: str | Sequence[str] | None = None,
    rng: Rng = 0,
    key_added: str = "split",
    copy: bool = False,
) -> AnnData | MuData | None:
    r"""Split whole groups (libraries, donors) into train, val and test, stratified by label.

    The shares are shares of groups, or of cells with ``share_of="cells"``. Every partition has every class. The number
    of groups of each class in each partition is the exact optimum, that is, the least squares to the wanted shares. It
    is found by enumeration up to 60 groups. With more groups, each class is rounded separately. Which groups these are
    is drawn at random from ``rng``. The result does not depend on the order of the cells.

    With ``share_of="cells"`` or ``covariate_keys``, groups are chosen to minimize

    .. math:: \sum_{c} \frac{1}{|V_c|} \sum_{v \in V_c} \sum_{p} \left| s_{pv} - f_p \right|

    Here :math:`f_p` is the wanted share of partition :math:`p`, and :math:`s_{pv}` is the share of partition :math:`p`
    among everything with the value :math:`v` of the column :math:`c`. The columns are ``label_key``, each of
    ``covariate_keys``, and a constant column for the total. This is an integer program. Up to 20 groups the optimum is
    proven, within seconds. With more groups, the search ends when the sum is within 1 % (of one plus the sum) of a
    lower bound, or after 2000 nodes, or after 120 s with a warning. ``rng`` then only decides between equal optima.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars), or a MuData whose modalities share cells. For a MuData, a column is looked up
        in the ``obs`` of the MuData first, then in the modalities, which must agree on the cells they share.
        ``"rna:donor"`` takes the column of one modality.
    group_key
        Column(s) of ``obs`` with the independent unit. Several columns are merged: rows that share a value in any of
        them stay together.
    label_key
        Column of ``obs`` to stratify by. Each group must have one label. If None, the split is not stratified.
    val, test
        Wanted share of the groups, each in [0, 1). All other groups are train. 0 leaves a partition out. If both are
        0, all groups are train: a fit then uses all data to predict new groups, and it cannot be scored.
    share_of
        Unit of the shares: ``groups``, or ``cells``. Shares of cells are met as closely as whole groups allow, in total
        and within each class.
    covariate_keys
        Further column(s) of ``obs``, for example day and sex. Each of their values gets the wanted shares too, as
        closely as the groups allow. Values are counted in groups, or in cells if a group has several values.
    stable
        Draw each group independently, from a hash of the seed and the name of the group. Groups that are added later
        then never move earlier groups, but the shares are met only on average. It needs one ``group_key``, or several
        of which exactly one has one distinct value for each group. It does not work with ``share_of="cells"`` or
        ``covariate_keys``.
    pair_key
        Column of ``obs`` with a unit that has several groups with different labels, for example the patient of a
        treated and an untreated sample. All groups of a pair are in one partition, and the shares are shares of pairs.
        Each pair must have every label. :func:`heldout.tl.evaluate` then exchanges labels only within pairs.
    unused
        Values of ``group_key`` (or ``pair_key``) whose cells become ``unused``, for example
        ``["unassigned", "doublet"]``. If None, values that stand for cells without a group are refused. With ``()``
        every value is a group.
    rng
        Seed or Generator of the draw. It must be a seed if ``stable=True``.
    key_added
        Name of the new column.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData (MuData) if ``copy=True``. The function writes the following. For a MuData, it writes
    to the MuData and to each modality, with the same hash.

    ``obs[key_added]``
        Categorical with the values train, val, test and unused.
    ``uns["heldout"]["splits"][key_added]``
        Scheme, parameters and hash. If there was a search, the parameter ``balance`` has the sum above (``deviation``),
        its lower bound (``bound``), and whether the two are equal (``proven``).
    ``uns["heldout"]["assignments"]``
        The partition of each cell name, as digests, under the hash.

    Raises
    ------
    ValueError
        If a column is missing or has missing values, if a group has two labels, if a pair lacks a label, if a value
        stands for cells without a group, or if a class has fewer groups than there are partitions to fill. Also if
        ``stable`` leaves a class out of a partition or does not fit the other arguments.
    TypeError
        If ``adata`` is not an AnnData or a MuData, or if ``stable=True`` and ``rng`` is not an integer.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> ho.pp.split_groups(adata, "library", "genotype", val=0, test=0.25)
    >>> adata.obs.groupby("split", observed=True)["library"].nunique().to_dict()
    {'train': 9, 'test': 3}

    Balance the days too, so that each day with several libraries is in train and in test:

    >>> ho.pp.split_groups(adata, "library", "genotype", val=0, test=0.5, covariate_keys="day")
    >>> sides = adata.obs.groupby("day")["split"].nunique()
    >>> sides[sides == 2].index.tolist()
    [0, 9, 16, 19]

    Keep the samples of each patient together, if each patient has a sample of each condition:

    >>> adata.obs["patient"] = adata.obs["library"].cat.codes.to_numpy() // 2
    >>> adata.obs["condition"] = adata.obs["library"].cat.codes.map(lambda code: ["before", "after"][code % 2])
    >>> ho.pp.split_groups(adata, "library", "condition", pair_key="patient", val=0, test=0.5)
    >>> adata.obs.groupby("split", observed=True)["patient"].nunique().to_dict()
    {'train': 3, 'test': 3}
    """
    check_key("key_added", key_added)
    fractions = checked_fractions(val=val, test=test)
    covariate_list = [covariate_keys] if isinstance(covariate_keys, str) else list(covariate_keys)
    _check(share_of, covariate_list, rng, stable=stable)
    adata = cells.start(adata, copy=copy)
    groups = read_groups(adata, group_key, label_key, pair_key=pair_key, unused=unused)
    balanced = None
    if stable:
        codes = by_hash(_lasting_names(adata, groups, group_key), fractions, int(rng))  # type: ignore[arg-type]
        check_stable(groups, groups.spread(codes), fractions, label_key=label_key, seed=rng)
    elif covariate_list or share_of == "cells":
        covariates = [
            groups.among_kept(store.as_names(cells.column(adata, key, argument="covariate_keys")))
            for key in covariate_list
        ]
        by_cells = share_of == "cells"
        codes, balanced = by_balance(groups.drawn, fractions, generator(rng), covariates=covariates, by_cells=by_cells)
    else:
        codes = by_fraction(groups.drawn, fractions, generator(rng))
    codes = groups.spread(codes)
    if label_key is not None:
        check_classes(groups, codes, label_key=label_key)
    params: dict[str, Any] = {
        "group_key": group_key,
        "label_key": label_key,
        **recorded_shares(fractions),
        "share_of": share_of,
        "covariate_keys": covariate_list,
        "stable": bool(stable),
        **recorded_pairs(groups, pair_key),
        **_recorded(balanced),
        "rng": recorded_seed(rng),
    }
    write_groups(adata, groups, codes, key=key_added, scheme="groups", params=params)
    return store.finish(adata, copy=copy)


def _check(share_of: str, covariate_keys: list[str], rng: Rng, *, stable: bool) -> None:
    check_choice(share_of, "share_of", ("groups", "cells"))
    if not stable:
        return
    if share_of == "cells" or covariate_keys:
        wrong = f"covariate_keys={covariate_keys!r}" if covariate_keys else f"share_of={share_of!r}"
        msg = (
            f"{wrong} and stable=True do not fit together. Balancing uses all groups, but the partition of a stable "
            "group depends only on its name. Leave one of them out."
        )
        raise ValueError(msg)
    if isinstance(rng, bool) or not isinstance(rng, int | np.integer):
        msg = (
            f"rng={rng!r} must be an integer seed if stable=True, got {type(rng).__name__}. The same draw is "
            "repeated when groups are added."
        )
        raise TypeError(msg)


def _lasting_names(adata: AnnData | MuData, groups: Groups, group_key: str | Sequence[str]) -> np.ndarray:
    """Return names of the drawn groups, (G,), that stay the same when groups are added."""
    if groups.pairs is not None:
        return groups.pairs.names
    keys = [group_key] if isinstance(group_key, str) else list(dict.fromkeys(group_key))
    columns = {key: groups.among_kept(store.as_names(cells.column(adata, key, argument="group_key"))) for key in keys}
    return lasting_names(columns, groups)


def _recorded(found: Balanced | None) -> dict[str, Any]:
    if found is None:
        return {}
    return {"balance": {"deviation": round(found.deviation, 9), "bound": round(found.bound, 9), "proven": found.proven}}
