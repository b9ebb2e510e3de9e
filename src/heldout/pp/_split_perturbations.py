"""Split a perturbation screen: hold out targets, combinations, or perturbations in some contexts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from heldout._core import cells, store
from heldout._core.checks import check_choice, check_integer, check_number
from heldout._core.keys import check_key
from heldout._core.partition import PARTITIONS, write_partition
from heldout._core.rng import Rng, generator
from heldout.pp._shares import checked_fractions, recorded_shares
from heldout.pp._split import recorded_seed
from heldout.splitting._context_pairs import Caps, ContextPairs, allowed_contexts, control_codes, pair_codes
from heldout.splitting._doses import HeldOutDoses, dose_codes, read_doses
from heldout.splitting._groups import CODE
from heldout.splitting._screen import as_list, read_perturbations
from heldout.splitting._unseen import draw_combinations, draw_seen, draw_singles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from mudata import MuData

    from heldout.splitting._perturbations import Perturbations

HoldOut = Literal["single", "combination", "context", "dose"]


def split_perturbations(
    adata: AnnData | MuData,
    perturbation_key: str,
    *,
    control: str | Sequence[str] = "control",
    hold_out: HoldOut = "single",
    targets: str | Mapping[str, str | Sequence[str]] | None = None,
    separator: str | None = "+",
    covariate_keys: str | Sequence[str] = (),
    dose_key: str | None = None,
    group_key: str | Sequence[str] | None = None,
    val: float = 0.2,
    test: float = 0.2,
    n_seen: int | None = None,
    contexts: Sequence[Any] | None = None,
    held_out_doses: HeldOutDoses = "inner",
    max_contexts: int | None = None,
    max_fraction: float | None = None,
    max_perturbations: int | None = None,
    min_train_contexts: int = 1,
    control_share: float = 0.25,
    rng: Rng = 0,
    key_added: str = "split",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Hold out perturbations: single targets, combinations, or known perturbations in some contexts or at some doses.

    A perturbation is the set of its targets. ``"A+B"`` is ``"B+A"``, ``"A+control"`` and ``"A+A"`` are ``"A"``, and all
    guides of a gene are one target. Control cells are divided too. In every context, train, val and test have separate
    pools of control cells; val and test have a pool only in contexts where they have perturbed cells. The result
    depends neither on the order of the cells nor on the names of the guides.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars), or a MuData whose modalities share cells, see :func:`split_groups`.
    perturbation_key
        Column of ``obs`` with the name of the perturbation (or guide).
    control
        Name(s) of the controls, in that column or among ``targets``.
    hold_out
        What to hold out.

        - ``"single"``: a share of the targets that are perturbed alone. Train has no cell with a held-out target. A
          combination with a test target is test, any other combination with a val target is val, and the rest is train.
        - ``"combination"``: a share of the combinations. All perturbations of a single target are train.
        - ``"context"``: a share of the perturbations × contexts. Train has the same perturbations in other contexts.
        - ``"dose"``: a share of the doses, see ``held_out_doses``. Train has the same perturbations at other doses.
    targets
        Targets of each name: a column of ``obs``, or a mapping from guides or whole names to one target (text) or
        several targets (list). The mapping has priority over ``separator``, and a name in the mapping is never divided.
        Use it to keep a target such as ``"HLA+1"`` whole: ``{"HLA+1": "HLA+1"}``. A mapping that renames any name must
        list all guides.
    separator
        Text between the targets of a combination. If None, each name is one target.
    covariate_keys
        Column(s) of ``obs`` that define the context (cell line, treatment). Without them, there is one context.
    dose_key
        Numeric column of ``obs`` with the dose, in one unit and not logged: > 0 for perturbed cells, and 0 or missing
        for controls. A cell of a combination has one dose. All doses of a perturbation are in one partition, except
        with ``hold_out="dose"``. If None, the screen has no doses.
    group_key
        Column(s) of ``obs`` with the independent unit (library, donor) of the control cells. All control cells of a
        group are in one pool. If None, control cells are divided one by one. Perturbed cells are not kept together by
        this column.
    val, test
        Wanted share of what is held out: targets, combinations, perturbations × contexts, or doses that may be held
        out. Numbers are rounded to the nearest integer, at least one each. 0 leaves a partition out. With
        ``"combination"`` the shares may sum to 1. If both are 0, all perturbations are train: a fit then uses all data
        to predict new perturbations, and it cannot be scored.
    n_seen
        For ``"combination"``: hold out only combinations with exactly this number of targets in train. With 2, these
        are pairs whose targets both stay in train. With 0 and 1, targets leave train, and any other perturbation with
        such a target is ``unused``. A target of a test combination that is not in train is not in val either. If None,
        any combination may be held out.
    contexts
        For ``"context"`` and ``"dose"``: the contexts in which to hold out, as values of the covariate, or as tuples of
        several covariates. If None, all contexts.
    held_out_doses
        For ``"dose"``: which doses of a perturbation may be held out. A dose is held out in all ``contexts`` at once.

        - ``"inner"``: doses between two others in each context where they occur (interpolation). Train keeps the lowest
          and the highest dose.
        - ``"highest"`` or ``"lowest"``: the highest or the lowest dose (extrapolation). Train keeps the others.
    max_contexts
        For ``"context"``: largest number of contexts in which a perturbation is held out, an integer >= 1. None sets no
        limit.
    max_fraction, max_perturbations
        For ``"context"``: largest share, in (0, 1], and largest number, an integer >= 1, of the perturbations of a
        context that are held out. None sets no limit.
    min_train_contexts
        For ``"context"``: smallest number of contexts in which train keeps each held-out perturbation, an integer >= 1.
    control_share
        Share of the control cells (or groups) of a context for val, and for test, in (0, 0.5). The rest is train.
    rng
        Seed or Generator of the draws.
    key_added
        Name of the new column.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData (MuData) if ``copy=True``. The function writes the following. For a MuData, it writes
    to the MuData and to each modality.

    ``obs[key_added]``
        Categorical with the values train, val, test and unused.
    ``uns["heldout"]["splits"][key_added]``
        Scheme ``perturbations``, parameters and hash. The parameters have the targets of each name and the partition of
        each perturbation × context (× dose). The argument ``group_key`` is stored there as ``control_group_key``. Read
        the record with :func:`heldout.get.perturbations`.
    ``uns["heldout"]["assignments"]``
        The partition of each cell name, as digests, under the hash.

    Raises
    ------
    ValueError
        If a column is missing or has missing values, or if a name cannot be divided into targets without guessing. If
        doses are not numbers, controls have a dose, or perturbed cells have none. If there are too few perturbations
        for the shares, or if ``n_seen`` or the limits cannot be met. If a context has too few control cells (or groups)
        for its partitions.
    TypeError
        If ``targets`` is not a column, a mapping or None.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> adata.obs["guide"] = (["control", "A", "B", "C", "A+B"] * 48)[: adata.n_obs]
    >>> ho.pp.split_perturbations(adata, "guide", hold_out="combination", val=0, test=1)
    >>> sorted(adata.obs.loc[adata.obs["split"] == "test", "guide"].unique())
    ['A+B', 'control']
    """
    check_key("key_added", key_added)
    cells.check(adata)
    keys = as_list(covariate_keys)
    caps = Caps(contexts, max_contexts, max_fraction, max_perturbations, min_train_contexts)
    _check_options(hold_out, perturbation_key, keys, n_seen, caps)
    _check_dose_options(hold_out, dose_key, held_out_doses, [perturbation_key, *keys])
    check_number(control_share, "control_share", above=0, below=0.5)
    fractions = _fractions(hold_out, val=val, test=test)
    controls = as_list(control)
    names, parsed, found = read_perturbations(adata, perturbation_key, controls, targets, separator)
    plain = ContextPairs.of(adata, keys, found.of_cell)
    pairs = plain if dose_key is None else plain.with_doses(read_doses(adata, dose_key, found.of_cell < 0))
    draws = generator(rng)
    if not fractions["val"] and not fractions["test"]:
        of_pair = np.full(len(pairs.perturbation), CODE["train"], dtype=np.int8)
    elif hold_out == "dose":
        of_pair = dose_codes(pairs, fractions, held_out_doses, allowed_contexts(pairs, contexts), draws)
    elif hold_out == "context":
        of_pair = pairs.of_each_dose(pair_codes(plain, fractions, caps, draws), plain)
    else:
        of_pair = _unseen(found, hold_out, fractions, n_seen, draws)[pairs.perturbation]
    _check_train(of_pair, val=val, test=test)
    codes = np.empty(adata.n_obs, dtype=np.int8)
    perturbed = found.of_cell >= 0
    codes[perturbed] = of_pair[pairs.pair_of_cell[perturbed]]
    codes[~perturbed], groups = control_codes(adata, pairs, of_pair, group_key, control_share, draws)
    _log_unused(found, pairs, of_pair, int((codes[~perturbed] == CODE["unused"]).sum()))
    options = {
        "perturbation_key": perturbation_key,
        "control": controls,
        "hold_out": hold_out,
        "targets": targets if isinstance(targets, str) or targets is None else "mapping",
        "separator": separator,
        "covariate_keys": keys,
        "control_group_key": group_key if group_key is None or isinstance(group_key, str) else list(group_key),
        **recorded_shares(fractions),
        **({"n_seen": None if n_seen is None else int(n_seen)} if hold_out == "combination" else {}),
        **(caps.recorded() if hold_out == "context" else {}),
        **({} if dose_key is None else {"dose_key": dose_key}),
        **({"held_out_doses": held_out_doses, **caps.recorded_contexts()} if hold_out == "dose" else {}),
        "control_share": float(control_share),
        "rng": recorded_seed(rng),
    }
    derived = {
        **_recorded(names, parsed, found, pairs, of_pair),
        **({} if groups is None else {"control_groups": groups}),
    }
    params = {"group_key": None, **options, **derived}
    adata = cells.start(adata, copy=copy)
    write_partition(adata, codes, key=key_added, scheme="perturbations", params=params)
    return store.finish(adata, copy=copy)


def _check_options(hold_out: str, perturbation_key: str, keys: Sequence[str], n_seen: int | None, caps: Caps) -> None:
    check_choice(hold_out, "hold_out", get_args(HoldOut))
    if perturbation_key in keys:
        msg = (
            f"perturbation_key={perturbation_key!r} is also one of covariate_keys. A context cannot be defined by "
            "the perturbation. Remove it from covariate_keys."
        )
        raise ValueError(msg)
    if hold_out == "context" and not keys:
        msg = (
            "hold_out='context' needs covariate_keys, the obs column(s) that define the context, for example the "
            "cell line."
        )
        raise ValueError(msg)

    if n_seen is not None:
        if hold_out != "combination":
            msg = f"n_seen={n_seen!r} works only with hold_out='combination', but hold_out={hold_out!r}. Leave it out."
            raise ValueError(msg)
        check_integer(n_seen, "n_seen", least=0, or_else="None")
    given = caps.given()
    if hold_out == "dose":
        given.pop("contexts", None)
    if given and hold_out != "context":
        name, value = next(iter(given.items()))
        msg = f"{name}={value!r} works only with hold_out='context', not {hold_out!r}. Leave it out."
        raise ValueError(msg)
    caps.check()


def _check_dose_options(hold_out: str, dose_key: str | None, held_out_doses: str, others: Sequence[str]) -> None:
    check_choice(held_out_doses, "held_out_doses", get_args(HeldOutDoses))
    if hold_out == "dose" and dose_key is None:
        msg = "hold_out='dose' needs dose_key, the numeric obs column with the dose of each cell."
        raise ValueError(msg)
    if held_out_doses != "inner" and hold_out != "dose":
        msg = f"held_out_doses={held_out_doses!r} works only with hold_out='dose', not {hold_out!r}. Leave it out."
        raise ValueError(msg)
    if dose_key is not None and dose_key in others:
        msg = f"dose_key={dose_key!r} is also perturbation_key or one of covariate_keys. Remove it there."
        raise ValueError(msg)


def _fractions(hold_out: str, *, val: float, test: float) -> dict[str, float]:
    """Return the shares of the partitions. All combinations may be held out, because single perturbations are train."""
    numbers = all(isinstance(share, int | float | np.number) and 0 <= share <= 1 for share in (val, test))
    if hold_out == "combination" and numbers and abs(val + test - 1) < 1e-9:
        return {"train": 0.0, "val": float(val), "test": float(test)}
    return checked_fractions(val=val, test=test)


def _unseen(
    found: Perturbations, hold_out: str, fractions: Mapping[str, float], n_seen: int | None, rng: np.random.Generator
) -> np.ndarray:
    if hold_out == "single":
        return draw_singles(found.members, fractions, rng)
    if n_seen is None:
        return draw_combinations(found.members, fractions, rng)
    return draw_seen(found.members, fractions, n_seen, rng)


def _recorded(
    names: np.ndarray,
    parsed: Sequence[tuple[str, ...]],
    found: Perturbations,
    pairs: ContextPairs,
    of_pair: np.ndarray,
) -> dict[str, Any]:
    """Return the perturbation of each name and the partition of each pair, for the record of the split."""
    number = {of_name: i for i, of_name in enumerate(found.targets)}
    return {
        "perturbations": [list(of_name) for of_name in found.targets],
        "names": {str(name): number.get(of_name, -1) for name, of_name in zip(names, parsed, strict=True)},
        "contexts": [list(context) for context in pairs.names],
        "pairs": {
            "perturbation": pairs.perturbation.tolist(),
            "context": pairs.context.tolist(),
            "partition": of_pair.tolist(),
            **({} if pairs.dose is None else {"dose": pairs.dose.tolist()}),
        },
        **({} if pairs.doses is None else {"doses": pairs.doses.tolist()}),
    }


def _check_train(of_pair: np.ndarray, *, val: float, test: float) -> None:
    if not (of_pair == CODE["train"]).any():
        msg = f"val={val!r} and test={test!r} leave no perturbation for train. Ask for smaller shares."
        raise ValueError(msg)


def _log_unused(found: Perturbations, pairs: ContextPairs, of_pair: np.ndarray, n_controls: int) -> None:
    unused = np.unique(pairs.perturbation[of_pair == CODE["unused"]])
    if len(unused):
        store.logger.warning(
            "%d of %d perturbations are %s, so that held-out combinations have n_seen targets in train: %s.",
            len(unused),
            len(found.names),
            PARTITIONS[CODE["unused"]],
            store.some([found.names[p] for p in unused], 8),
        )
    if n_controls:
        store.logger.warning(
            "%d control cells are unused. Their group is in a partition that has no perturbed cells in their context.",
            n_controls,
        )
