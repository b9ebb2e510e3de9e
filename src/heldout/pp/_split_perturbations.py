"""Split of a perturbation screen: hold out targets, combinations, or perturbations in some contexts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from heldout._core import cells, store
from heldout._core.keys import check_key
from heldout._core.partition import PARTITIONS, write_partition
from heldout._core.rng import Rng, generator
from heldout.pp._split import checked_fractions, recorded_seed, recorded_shares
from heldout.splitting._context_pairs import Caps, Contexts, control_codes, pair_codes
from heldout.splitting._groups import CODE
from heldout.splitting._screen import as_list, read_perturbations
from heldout.splitting._unseen import draw_combinations, draw_seen, draw_singles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from mudata import MuData

    from heldout.splitting._perturbations import Perturbations

HoldOut = Literal["single", "combination", "context"]


def split_perturbations(
    adata: AnnData | MuData,
    perturbation_key: str,
    *,
    control: str | Sequence[str] = "control",
    hold_out: HoldOut = "single",
    targets: str | Mapping[str, str | Sequence[str]] | None = None,
    separator: str | None = "+",
    covariate_keys: str | Sequence[str] = (),
    group_key: str | Sequence[str] | None = None,
    val: float = 0.2,
    test: float = 0.2,
    n_seen: int | None = None,
    contexts: Sequence[Any] | None = None,
    max_contexts: int | None = None,
    max_fraction: float | None = None,
    max_perturbations: int | None = None,
    min_train_contexts: int = 1,
    control_share: float = 0.25,
    rng: Rng = 0,
    key_added: str = "split",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Hold out perturbations: single targets, combinations, or known perturbations in some contexts.

    A perturbation is the set of its targets: ``"A+B"`` is ``"B+A"``, ``"A+control"`` and ``"A+A"`` are ``"A"``, and all
    guides of a gene are one target. Control cells are divided too: in every context train, val and test have pools of
    their own, val and test only where they have perturbed cells. The result does not depend on the order of the cells,
    nor on how guides are called.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars), or a MuData whose modalities share cells, see :func:`split_groups`.
    perturbation_key
        Column of ``obs`` with the name of the perturbation (or guide).
    control
        Name(s) of the controls, in that column or among ``targets``.
    hold_out
        ``"single"``: a share of the targets that are perturbed alone is seen nowhere in train. A combination with a
        test target is test, another one with a val target is val; the remaining ones are train.
        ``"combination"``: a share of the combinations; everything single is train.
        ``"context"``: a share of the perturbations × contexts, of perturbations that train has in other contexts.
    targets
        What each name perturbs: a column of ``obs``, or a mapping from guides, or whole names, to one target (text) or
        several (list). The mapping stands above ``separator``: a name that it lists is never cut, which is the way to
        keep a target such as ``"HLA+1"`` whole: ``{"HLA+1": "HLA+1"}``. Once it renames anything it must list all guides.
    separator
        Text between the targets of a combination. None: a name is one target, whatever it contains.
    covariate_keys
        Column(s) of ``obs`` that make up the context (cell line, treatment). Without any there is one context.
    group_key
        Column(s) of ``obs`` with the independent unit (library, donor) of the control cells: each unit's control cells
        are in one pool. None divides them cell by cell. Perturbed cells are not held together by it.
    val, test
        Wanted share of what is held out: targets, combinations, or perturbations × contexts that may be held out.
        Rounded to the nearest numbers, at least one each; 0 leaves a partition out. With ``"combination"`` they may
        sum to 1.
    n_seen
        For ``"combination"``: hold out only those with exactly so many members in train. For 2, those are pairs whose
        members both stay in train; for 0 and 1, targets leave train, and whatever else has one of them is ``unused``.
        An unseen member of a test combination is not in val either. None holds out any.
    contexts
        For ``"context"``: the contexts in which to hold out, values of the covariate, or tuples of several. None: all.
    max_contexts
        For ``"context"``: hold out a perturbation in at most so many contexts.
    max_fraction, max_perturbations
        For ``"context"``: hold out at most this share, and this number, of the perturbations of a context.
    min_train_contexts
        For ``"context"``: contexts in which train keeps each held-out perturbation, at least.
    control_share
        Share of the control cells (or units) of a context for each of val and test, in (0, 0.5); train has the rest.
    rng
        Seed or Generator of the draws.
    key_added
        Name of the new column.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData (MuData) if ``copy=True``. Written are, for a MuData to itself and to each modality:

    ``obs[key_added]``
        Categorical with the values train, val, test and unused.
    ``uns["heldout"]["splits"][key_added]``
        Scheme ``perturbations``, parameters (with the targets of each name and the partition of each perturbation ×
        context) and hash. No ``group_key``: it is ``control_group_key`` there. Read it with
        :func:`heldout.get.perturbations`.
    ``uns["heldout"]["assignments"]``
        The partition of each cell name, as digests, under the hash.

    Raises
    ------
    ValueError
        If a column is missing or has missing values, a name cannot be cut into targets without guessing, there are too
        few perturbations for the shares, ``n_seen`` or the caps cannot be met, or a context has too few control cells
        (or units) for its partitions.

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
    _check_share(control_share)
    fractions = _fractions(hold_out, val=val, test=test)
    controls = as_list(control)
    names, parsed, found = read_perturbations(adata, perturbation_key, controls, targets, separator)
    where = Contexts.of(adata, keys, found.of_cell)
    draws = generator(rng)
    if hold_out == "context":
        of_pair = pair_codes(where, found.names, fractions, caps, draws)
    else:
        of_pair = _unseen(found, hold_out, fractions, n_seen, draws)[where.perturbation]
    _check_train(of_pair, val=val, test=test)
    codes = np.empty(adata.n_obs, dtype=np.int8)
    perturbed = found.of_cell >= 0
    codes[perturbed] = of_pair[where.pair_of_cell[perturbed]]
    codes[~perturbed], groups = control_codes(adata, where, of_pair, group_key, control_share, draws)
    _tell_unused(found, where, of_pair, int((codes[~perturbed] == CODE["unused"]).sum()))
    asked = {
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
        "control_share": float(control_share),
        "rng": recorded_seed(rng),
    }
    found_out = {
        **_recorded(names, parsed, found, where, of_pair),
        **({} if groups is None else {"control_groups": groups}),
    }
    params = {"group_key": None, **asked, **found_out}
    adata = cells.start(adata, copy=copy)
    write_partition(adata, codes, key=key_added, scheme="perturbations", params=params)
    return store.finish(adata, copy=copy)


def _check_options(hold_out: str, perturbation_key: str, keys: Sequence[str], n_seen: int | None, caps: Caps) -> None:
    if hold_out not in ("single", "combination", "context"):
        msg = f"hold_out={hold_out!r} must be 'single', 'combination' or 'context'."
        raise ValueError(msg)
    if perturbation_key in keys:
        msg = f"perturbation_key={perturbation_key!r} is one of covariate_keys, too. A context is what the perturbation is in: take it out."
        raise ValueError(msg)
    if hold_out == "context" and not keys:
        msg = "hold_out='context' needs covariate_keys, the obs column(s) that make up the context, e.g. the cell line."
        raise ValueError(msg)
    whole = isinstance(n_seen, int | np.integer) and not isinstance(n_seen, bool) and n_seen >= 0
    if n_seen is not None and not (whole and hold_out == "combination"):
        msg = f"n_seen={n_seen!r} must be None or, with hold_out='combination', a number of members from 0; hold_out={hold_out!r}."
        raise ValueError(msg)
    given = caps.given()
    if given and hold_out != "context":
        name, value = next(iter(given.items()))
        msg = f"{name}={value!r} is for hold_out='context', not {hold_out!r}. Leave it out."
        raise ValueError(msg)
    caps.check()


def _check_share(control_share: float) -> None:
    plain = isinstance(control_share, int | float | np.number) and not isinstance(control_share, bool)
    if not (plain and 0 < control_share < 0.5):
        msg = (
            f"control_share={control_share!r} must be a share in (0, 0.5): each of val and test has it, train the rest."
        )
        raise ValueError(msg)


def _fractions(hold_out: str, *, val: float, test: float) -> dict[str, float]:
    """Shares of the partitions; of combinations all may be held out, as train has the single perturbations."""
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
    where: Contexts,
    of_pair: np.ndarray,
) -> dict[str, Any]:
    """What the table of the split needs: each name's perturbation, and each pair's partition."""
    number = {of_name: i for i, of_name in enumerate(found.targets)}
    return {
        "perturbations": [list(of_name) for of_name in found.targets],
        "names": {str(name): number.get(of_name, -1) for name, of_name in zip(names, parsed, strict=True)},
        "contexts": [list(context) for context in where.names],
        "pairs": {
            "perturbation": where.perturbation.tolist(),
            "context": where.context.tolist(),
            "partition": of_pair.tolist(),
        },
    }


def _check_train(of_pair: np.ndarray, *, val: float, test: float) -> None:
    if not (of_pair == CODE["train"]).any():
        msg = f"val={val!r} and test={test!r} leave no perturbation for train. Ask for smaller shares."
        raise ValueError(msg)


def _tell_unused(found: Perturbations, where: Contexts, of_pair: np.ndarray, n_controls: int) -> None:
    unused = np.unique(where.perturbation[of_pair == CODE["unused"]])
    if len(unused):
        store.logger.warning(
            "%d of %d perturbations are %s, so that the held-out combinations have the number of seen members: %s.",
            len(unused),
            len(found.names),
            PARTITIONS[CODE["unused"]],
            store.some([found.names[p] for p in unused], 8),
        )
    if n_controls:
        store.logger.warning(
            "%d control cells are unused: their unit is in a partition without perturbed cells in their context.",
            n_controls,
        )
