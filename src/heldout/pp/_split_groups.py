"""Split of whole groups by share, with what else is to be balanced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from heldout._core import cells, store
from heldout._core.keys import check_key
from heldout._core.partition import PARTITIONS
from heldout._core.rng import Rng, generator
from heldout.pp._split import checked_fractions, read_groups, recorded_seed, recorded_shares, write_groups
from heldout.splitting._group_draws import by_balance, by_fraction, by_hash
from heldout.splitting._groups import CODE, Groups, check_classes

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
    rng: Rng = 0,
    key_added: str = "split",
    copy: bool = False,
) -> AnnData | MuData | None:
    r"""Put whole groups (libraries, donors) into train, val and test, by share of groups or cells, stratified by label.

    The number of groups of each class in each partition is the exact optimum (least squares to the wanted shares,
    found by enumeration up to 60 groups, rounded class by class beyond), with every class in every partition. Which
    groups they are is drawn at random from ``rng``. The result does not depend on the order of the cells.

    With ``share_of="cells"`` or ``covariate_keys``, groups are chosen so that

    .. math:: \sum_{c} \frac{1}{|V_c|} \sum_{v \in V_c} \sum_{p} \left| s_{pv} - f_p \right|

    is smallest: :math:`f_p` is the wanted share of partition :math:`p`, :math:`s_{pv}` its share of what has the value
    :math:`v` of the column :math:`c`; the columns are one that is the same everywhere, ``label_key`` and each of
    ``covariate_keys``. This is an integer program: up to 20 groups the optimum is proven, in seconds; with more the
    search ends when the sum is within 1 % (of one plus itself) of a lower bound, or after 2000 nodes, or after 120 s
    with a warning. ``rng`` then only decides between equals.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars), or a MuData whose modalities share cells. Of a MuData a column is looked for in
        its own ``obs``, then in the modalities, which must agree on the cells they share; ``"rna:donor"`` takes that of
        one modality.
    group_key
        Column(s) of ``obs`` that name the independent unit. Several columns are merged: whatever shares a value in
        any of them stays together.
    label_key
        Column of ``obs`` to stratify by; each group must have one label. None stratifies by nothing.
    val, test
        Wanted share of the groups, each in [0, 1); the rest is train. 0 leaves a partition out.
    share_of
        What the shares are of: ``groups``, or ``cells``, as closely as whole groups allow, in all and in each class.
    covariate_keys
        More column(s) of ``obs``, e.g. day and sex, each value of which is to be shared out as wanted too, as closely as
        the groups allow. Counted by group, or by cell where a group has several values.
    stable
        Draw each group on its own, from a hash of the seed and its name: groups that are added later never move those
        that were there, but the shares are met on average only. For one ``group_key``, or several of which exactly one
        has a value of its own for each group. Not with ``share_of="cells"`` or ``covariate_keys``.
    rng
        Seed or Generator of the draw; a seed if ``stable``.
    key_added
        Name of the new column.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData (MuData) if ``copy=True``. Written are, for a MuData to itself and to each modality, with the
    same hash:

    ``obs[key_added]``
        Categorical with the values train, val, test (and unused, here empty).
    ``uns["heldout"]["splits"][key_added]``
        Scheme, parameters and hash. Where there was a search, the parameter ``balance`` has the sum above
        (``deviation``), the lower bound of it (``bound``) and whether they are the same (``proven``).
    ``uns["heldout"]["assignments"]``
        The partition of each cell name, as digests, under the hash.

    Raises
    ------
    ValueError
        If a column is missing or has missing values, a group has two labels, or a class has fewer groups than there
        are partitions to fill; if ``stable`` leaves a class out of a partition or does not go with the other arguments.
    TypeError
        If ``adata`` is neither, or ``stable`` and ``rng`` is no integer.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> ho.pp.split_groups(adata, "library", "genotype", val=0, test=0.25)
    >>> adata.obs.groupby("split", observed=True)["library"].nunique().to_dict()
    {'train': 9, 'test': 3}

    Balanced over the days as well, so that each day with several libraries stands on both sides:

    >>> ho.pp.split_groups(adata, "library", "genotype", val=0, test=0.5, covariate_keys="day")
    >>> sides = adata.obs.groupby("day")["split"].nunique()
    >>> sides[sides == 2].index.tolist()
    [0, 9, 16, 19]
    """
    check_key("key_added", key_added)
    fractions = checked_fractions(val=val, test=test)
    more = [covariate_keys] if isinstance(covariate_keys, str) else list(covariate_keys)
    _check(share_of, more, rng, stable=stable)
    adata = cells.start(adata, copy=copy)
    groups = read_groups(adata, group_key, label_key)
    balanced = None
    if stable:
        codes = by_hash(_lasting_names(adata, groups, group_key), fractions, int(rng))  # type: ignore[arg-type]
        _check_stable(groups, codes, fractions, label_key=label_key, seed=rng)
    elif more or share_of == "cells":
        covariates = [store.as_names(cells.column(adata, key, argument="covariate_keys")) for key in more]
        by_cells = share_of == "cells"
        codes, balanced = by_balance(groups, fractions, generator(rng), covariates=covariates, by_cells=by_cells)
    else:
        codes = by_fraction(groups, fractions, generator(rng))
    if label_key is not None:
        check_classes(groups, codes, label_key=label_key)
    params: dict[str, Any] = {
        "group_key": group_key,
        "label_key": label_key,
        **recorded_shares(fractions),
        "share_of": share_of,
        "covariate_keys": more,
        "stable": bool(stable),
        **_recorded(balanced),
        "rng": recorded_seed(rng),
    }
    write_groups(adata, groups, codes, key=key_added, scheme="groups", params=params)
    return store.finish(adata, copy=copy)


def _check(share_of: str, covariate_keys: list[str], rng: Rng, *, stable: bool) -> None:
    if share_of not in ("groups", "cells"):
        msg = f"share_of={share_of!r} must be 'groups' or 'cells'."
        raise ValueError(msg)
    if not stable:
        return
    if share_of == "cells" or covariate_keys:
        wrong = f"covariate_keys={covariate_keys!r}" if covariate_keys else f"share_of={share_of!r}"
        msg = (
            f"{wrong} and stable=True do not go together: balance looks at all groups, but a stable group's partition "
            "may depend on its own name only. Leave one of them out."
        )
        raise ValueError(msg)
    if isinstance(rng, bool) or not isinstance(rng, int | np.integer):
        msg = f"rng must be an integer seed if stable=True, got {type(rng).__name__}: the draw is repeated for new groups."
        raise TypeError(msg)


def _lasting_names(adata: AnnData | MuData, groups: Groups, group_key: str | Sequence[str]) -> np.ndarray:
    """Names of the groups, (G,), that they keep when more are added.

    A component of several columns is named after all its values, so its name changes as it grows. A column that has
    one value for each component gives a lasting one, if no other column could take its place before or after.
    """
    group_keys = [group_key] if isinstance(group_key, str) else list(dict.fromkeys(group_key))
    if len(group_keys) == 1:
        return groups.names
    lasting = {}
    for key in group_keys:
        values, of_cell = store.factorize(store.as_names(cells.column(adata, key, argument="group_key")))
        if len(values) == len(groups.names) == len(np.unique(np.stack([of_cell, groups.of_cell]), axis=1).T):
            names = np.empty(len(values), dtype=object)
            names[groups.of_cell] = values[of_cell]
            lasting[key] = names
    if len(lasting) != 1:
        several = f"{' and '.join(map(repr, lasting))} each have" if lasting else "no column has"
        msg = (
            f"stable=True needs one column of group_key={group_keys!r} with a value of its own for each group, but "
            f"{several} one: a group that grows could change its name, or two that are joined would have two partitions. "
            "Name the one column that will never be joined as group_key (e.g. the donor), or leave stable out."
        )
        raise ValueError(msg)
    return next(iter(lasting.values()))


def _check_stable(
    groups: Groups, codes: np.ndarray, fractions: dict[str, float], *, label_key: str | None, seed: Rng
) -> None:
    """Refuse a draw that left a partition without groups or without a class; it is not repeated in silence."""
    every = groups.classes_in(np.arange(len(groups.names)))
    for partition in (name for name in PARTITIONS if fractions.get(name)):
        numbers = np.flatnonzero(codes == CODE[partition])
        missing = sorted(set(every) - set(groups.classes_in(numbers)))
        if missing or not len(numbers):
            what = f"group with {label_key} {store.some(missing)}" if missing else "group"
            msg = (
                f"stable=True with rng={seed} draws no {what} for {partition} among {len(groups.names)} groups; every "
                "class must stand in every partition that is used. Choose another rng or larger shares before anything "
                "is fitted, or leave stable out."
            )
            raise ValueError(msg)


def _recorded(found: Balanced | None) -> dict[str, Any]:
    if found is None:
        return {}
    return {"balance": {"deviation": round(found.deviation, 9), "bound": round(found.bound, 9), "proven": found.proven}}
