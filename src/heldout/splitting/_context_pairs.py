"""Perturbation screens with contexts: pairs of perturbation and context, held-out pairs, and control pools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core import cells, store
from heldout._core.checks import check_integer, check_number
from heldout._core.partition import digests
from heldout.splitting._components import components
from heldout.splitting._draw_contexts import control_counts, divide_pairs, draw_pairs, pools_of_cells, pools_of_groups
from heldout.splitting._groups import CODE
from heldout.splitting._screen import context_codes
from heldout.splitting._unseen import shared_out

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

_POOLS = ("train", "val", "test")
_INTEGER_CAPS = ("max_contexts", "max_perturbations", "min_train_contexts")
_DEFAULT = ("min_train_contexts", 1)


@dataclass(frozen=True)
class ContextPairs:
    """The contexts of a screen, and the pairs of perturbation and context that have cells.

    ``names`` has one tuple of covariate values for each context. ``perturbation`` and ``context``, (m,) each, are the
    numbers that make up the pairs. ``context_of_cell``, (n,), is the context of each cell. ``pair_of_cell``, (n,), is
    the pair of each cell, -1 for a control. In a screen with doses a pair has one dose: ``dose``, (m,), is its number
    in the sorted ``doses``.
    """

    keys: list[str]
    names: list[tuple[str, ...]]
    perturbation: np.ndarray
    context: np.ndarray
    context_of_cell: np.ndarray
    pair_of_cell: np.ndarray
    dose: np.ndarray | None = None
    doses: np.ndarray | None = None

    @classmethod
    def of(cls, adata: AnnData | MuData, keys: list[str], perturbation_of_cell: np.ndarray) -> ContextPairs:
        """Read the covariates. Without covariates, all cells are in one context."""
        names, of_cell = context_codes(adata, keys)
        perturbed = perturbation_of_cell >= 0
        joint = perturbation_of_cell[perturbed] * len(names) + of_cell[perturbed]
        distinct, pair = np.unique(joint, return_inverse=True)
        pair_of_cell = np.full(adata.n_obs, -1, dtype=np.int64)
        pair_of_cell[perturbed] = pair
        return cls(keys, names, distinct // len(names), distinct % len(names), of_cell, pair_of_cell)

    def with_doses(self, dose_of_cell: np.ndarray) -> ContextPairs:
        """Divide each pair by the dose of its cells."""
        perturbed = self.pair_of_cell >= 0
        doses, number = np.unique(dose_of_cell[perturbed], return_inverse=True)
        distinct, pair = np.unique(self.pair_of_cell[perturbed] * len(doses) + number, return_inverse=True)
        pair_of_cell = np.full(len(self.pair_of_cell), -1, dtype=np.int64)
        pair_of_cell[perturbed] = pair
        plain, dose = distinct // len(doses), distinct % len(doses)
        return replace(
            self,
            perturbation=self.perturbation[plain],
            context=self.context[plain],
            pair_of_cell=pair_of_cell,
            dose=dose,
            doses=doses,
        )

    def of_each_dose(self, codes: np.ndarray, plain: ContextPairs) -> np.ndarray:
        """Return for each pair of this screen the code of its pair without dose in ``plain``."""
        if self.dose is None:
            return codes
        joint, among = ((p.perturbation * len(self.names) + p.context) for p in (self, plain))
        return np.asarray(codes[np.searchsorted(among, joint)])

    def shown(self, context: int) -> str:
        """Return the name of a context for a message."""
        values = zip(self.keys, self.names[context], strict=True)
        return f"the context {', '.join(f'{k}={v!r}' for k, v in values)}" if self.keys else "adata"


@dataclass(frozen=True)
class Caps:
    """Limits on how much is held out of each perturbation and of each context."""

    contexts: Sequence[Any] | None
    max_contexts: int | None
    max_fraction: float | None
    max_perturbations: int | None
    min_train_contexts: int

    def given(self) -> dict[str, Any]:
        """Return the limits that differ from their defaults."""
        return {name: value for name, value in vars(self).items() if value is not None and (name, value) != _DEFAULT}

    def check(self) -> None:
        """Refuse limits that are not numbers in range."""
        for name in _INTEGER_CAPS:
            value = getattr(self, name)
            if value is not None or name == "min_train_contexts":
                check_integer(value, name, least=1, or_else="" if name == "min_train_contexts" else "None")
        if self.max_fraction is not None:
            check_number(self.max_fraction, "max_fraction", above=0, most=1, or_else="None")

    def recorded(self) -> dict[str, Any]:
        """Return all limits as JSON values."""
        numbers = {name: None if (value := getattr(self, name)) is None else int(value) for name in _INTEGER_CAPS}
        share = None if self.max_fraction is None else float(self.max_fraction)
        return {**self.recorded_contexts(), "max_fraction": share, **numbers}

    def recorded_contexts(self) -> dict[str, Any]:
        """Return the contexts in which to hold out as JSON values."""
        named = None if self.contexts is None else [list(_as_tuple(context)) for context in self.contexts]
        return {"held_out_contexts": named}


def _as_tuple(context: Any) -> tuple[str, ...]:
    several = isinstance(context, Iterable) and not isinstance(context, str)
    return tuple(store.as_names(list(context) if several else [context]))


def pair_codes(pairs: ContextPairs, fractions: Mapping[str, float], caps: Caps, rng: np.random.Generator) -> np.ndarray:
    """Return the partition code of each pair, (m,).

    ``fractions`` are shares of the pairs that may be held out.
    """
    if len(pairs.names) < 2:
        msg = (
            f"hold_out='context' needs at least 2 contexts, but there is only {pairs.shown(0)}. Name other "
            "covariate_keys."
        )
        raise ValueError(msg)
    allowed = allowed_contexts(pairs, caps.contexts)
    n_contexts = np.bincount(pairs.perturbation)
    n_perturbations = np.bincount(pairs.context, minlength=len(pairs.names))
    may = np.flatnonzero(allowed[pairs.context] & (n_contexts[pairs.perturbation] > caps.min_train_contexts))
    what = f"perturbations × contexts that may be held out with min_train_contexts={caps.min_train_contexts}"
    counts = shared_out(len(may), fractions, what=what)
    held = {name: counts.get(name, 0) for name in ("val", "test")}
    n, most = sum(held.values()), len(pairs.perturbation)
    of_perturbation = np.minimum(n_contexts - caps.min_train_contexts, caps.max_contexts or most).clip(min=0)
    share = 1.0 if caps.max_fraction is None else caps.max_fraction
    of_context = np.minimum(np.floor(share * n_perturbations + 1e-9).astype(np.int64), caps.max_perturbations or most)
    p, c = pairs.perturbation[may], pairs.context[may]
    taken = draw_pairs(p, c, perturbation_cap=of_perturbation, context_cap=of_context, n=n, rng=rng)
    if taken.sum() < n:
        _refuse_caps(caps, p, c, of_perturbation, of_context, n=n, reached=int(taken.sum()), fractions=fractions)
    codes = np.full(len(pairs.perturbation), CODE["train"], dtype=np.int8)
    codes[may[taken]] = divide_pairs(c[taken], held, rng)
    return codes


def allowed_contexts(pairs: ContextPairs, contexts: Sequence[Any] | None) -> np.ndarray:
    """Return which contexts the user names, (C,); all of them if ``contexts`` is None."""
    if contexts is None:
        return np.ones(len(pairs.names), dtype=bool)
    known = {name: number for number, name in enumerate(pairs.names)}
    asked = [_as_tuple(context) for context in ([contexts] if isinstance(contexts, str) else contexts)]
    for context in asked:
        if context not in known:
            shown = [name[0] if len(name) == 1 else name for name in known]
            msg = (
                f"contexts={context if len(context) != 1 else context[0]!r} is not a context of "
                f"covariate_keys={pairs.keys}. {store.suggest(context if len(context) != 1 else context[0], shown)}"
            )
            raise ValueError(msg)
    allowed = np.zeros(len(pairs.names), dtype=bool)
    allowed[[known[context] for context in asked]] = True
    return allowed


def _refuse_caps(
    caps: Caps,
    p: np.ndarray,
    c: np.ndarray,
    of_perturbation: np.ndarray,
    of_context: np.ndarray,
    *,
    n: int,
    reached: int,
    fractions: Mapping[str, float],
) -> None:
    """Raise an error that names the limits that are too strict."""
    by_perturbation = np.minimum(np.bincount(p, minlength=len(of_perturbation)), of_perturbation).sum()
    by_context = np.minimum(np.bincount(c, minlength=len(of_context)), of_context).sum()
    perturbation_limits = {name: getattr(caps, name) for name in ("max_contexts", "min_train_contexts")}
    context_limits = {name: getattr(caps, name) for name in ("max_fraction", "max_perturbations")}
    blamed = perturbation_limits if by_perturbation < n else {} if by_context < n else perturbation_limits
    blamed = blamed | (context_limits if by_context < n or by_perturbation >= n else {})
    named = ", ".join(f"{name}={value}" for name, value in blamed.items() if value is not None)
    msg = (
        f"val={fractions['val']:g} and test={fractions['test']:g} ask for {n} of the {len(p)} perturbations × "
        f"contexts that may be held out, but {named} allow at most {reached}. Ask for smaller shares, or relax these "
        "limits."
    )
    raise ValueError(msg)


def control_codes(
    adata: AnnData | MuData,
    pairs: ContextPairs,
    of_pair: np.ndarray,
    group_key: str | Sequence[str] | None,
    share: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, dict[str, list[str]] | None]:
    """Return the partition code of each control cell, in row order, and the groups of each pool.

    The groups are None if ``group_key`` is None. Then cells are divided one by one.
    """
    rows = np.flatnonzero(pairs.pair_of_cell < 0)
    context = pairs.context_of_cell[rows]
    needed = np.zeros((len(pairs.names), len(_POOLS)), dtype=bool)
    needed[:, 0] = True
    for pool in (1, 2):
        needed[pairs.context[of_pair == CODE[_POOLS[pool]]], pool] = True
    if group_key is None:
        order = np.argsort(digests(adata.obs_names[rows]), kind="stable")
        counts = _counts(pairs, np.bincount(context, minlength=len(pairs.names)), needed, share, what="control cells")
        codes = np.empty(len(rows), dtype=np.int8)
        codes[order] = pools_of_cells(context[order], counts, rng)
        return codes, None
    names, group = store.factorize(_groups(adata, group_key, rows))
    inside = np.zeros((len(names), len(pairs.names)), dtype=bool)
    inside[group, context] = True
    what = f"values of group_key={group_key!r} among its control cells"
    counts = _counts(pairs, inside.sum(axis=0), needed, share, what=what)
    of_group, short = pools_of_groups(inside, counts, rng)
    if short:
        msg = (
            f"The control cells of {pairs.shown(short[0])} ({len(short)} contexts in total) do not give a pool to "
            f"each of their partitions. Values of group_key={group_key!r} are in several contexts and stay whole. "
            "Name a finer group_key, hold out in fewer contexts, or leave val out (val=0)."
        )
        raise ValueError(msg)
    codes = np.where(needed[context, of_group[group]], of_group[group], CODE["unused"]).astype(np.int8)
    return codes, {pool: names[of_group == CODE[pool]].tolist() for pool in _POOLS}


def _counts(pairs: ContextPairs, sizes: np.ndarray, needed: np.ndarray, share: float, *, what: str) -> np.ndarray:
    """Return the number for each pool of each context, (C × 3). Refuse a context that has too few."""
    result = np.zeros(needed.shape, dtype=np.int64)
    perturbed = np.bincount(pairs.context, minlength=len(sizes)) > 0
    for context in range(len(sizes)):
        counts = control_counts(int(sizes[context]), needed[context], share)
        if counts is not None:
            result[context] = counts
        elif perturbed[context]:
            pools = ", ".join(pool for pool, asked in zip(_POOLS, needed[context], strict=True) if asked)
            msg = (
                f"{pairs.shown(context)} has {sizes[context]} {what}, but its partitions {pools} need at least one "
                "each. Drop that context, hold out nothing there, or ask for fewer partitions (for example val=0)."
            )
            raise ValueError(msg[0].upper() + msg[1:])
    return result


def _groups(adata: AnnData | MuData, group_key: str | Sequence[str], rows: np.ndarray) -> np.ndarray:
    """Return the group of each control cell as text."""
    columns = []
    for key in [group_key] if isinstance(group_key, str) else list(group_key):
        values = cells.column(adata, key, argument="group_key", allow_missing=True).iloc[rows]
        if values.isna().any():
            msg = (
                f"adata.obs[{key!r}] (group_key) has {int(values.isna().sum())} missing values in {len(rows)} "
                "control cells. Fill the values, or drop those cells."
            )
            raise ValueError(msg)
        columns.append(store.as_names(values))
    if not columns:
        msg = "group_key is empty. Name the obs column(s) of the independent unit, or pass None."
        raise ValueError(msg)
    return components(*columns)
