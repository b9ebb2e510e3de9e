"""Interactions of a screen: deviations of combinations from the sum of their members, and their significance."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.grouped import group_moments
from heldout._core.store import some
from heldout.metrics.empirical_null import EmpiricalNull, empirical_null
from heldout.metrics.interaction_curve import is_interaction
from heldout.metrics.interactions import class_codes
from heldout.metrics.profiles import top_genes as highest
from heldout.splitting._read_screen import ScreenNames

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heldout._core.types import MatrixOrDask
    from heldout.splitting._perturbations import Targets
    from heldout.splitting._read_screen import Screen

FEWEST_VALUES = 200
_NULL_ARRAYS = ("centres", "counts", "density", "fdr")
_NULL_NUMBERS = ("delta", "sigma", "p0", "n", "misfit")


@dataclass(frozen=True)
class Combinations:
    """Combinations with cells of all members and of a control in the same context, and incomplete combinations.

    Parameters
    ----------
    targets, context
        Sorted targets of each combination and the number of its context, (P,) each.
    of_double, of_control
        Group number of its cells, and of the control cells of its context, (P,).
    of_member
        Group number of the cells of each member, (P × most members), -1 after the last member.
    codes
        Group number of each cell, -1 for cells that are not used, (n,).
    n_groups
        Number of groups.
    incomplete
        Name of each combination that is left out, and the cells that it lacks.
    """

    targets: list[Targets]
    context: np.ndarray
    of_double: np.ndarray
    of_control: np.ndarray
    of_member: np.ndarray
    codes: np.ndarray
    n_groups: int
    incomplete: dict[str, str]


def find_combinations(screen: Screen, doubles: np.ndarray, others: np.ndarray, *, min_cells: int = 1) -> Combinations:
    """Find combinations with cells in ``doubles`` whose members and controls have cells in ``others``; both masks (n,).

    The combination, each member and the control must have at least ``min_cells`` cells.
    """
    sizes = np.array([len(targets) for targets in screen.perturbations])
    combined = np.append(sizes > 1, False)[np.maximum(screen.of_cell, -1)]
    number, context, codes = screen.groups((combined & doubles) | (~combined & others))
    at = {
        (screen.perturbations[n] if n >= 0 else (), int(c)): g
        for g, (n, c) in enumerate(zip(number, context, strict=True))
    }
    n_cells = np.bincount(codes[codes >= 0], minlength=len(number))
    rows: list[tuple[Targets, int, list[int]]] = []
    incomplete: dict[str, str] = {}
    for targets, where in at:
        if len(targets) < 2:
            continue
        needed = {screen.names.joined(targets): targets, **{t: (t,) for t in targets}, "control": ()}
        counted = {
            name: int(n_cells[at[of_name, where]]) if (of_name, where) in at else 0 for name, of_name in needed.items()
        }
        if min(counted.values()) < min_cells:
            incomplete[_name(screen.names, targets, where)] = _lacking(counted, min_cells)
        else:
            rows.append((targets, where, [at[(t,), where] for t in targets]))
    width = max((len(members) for _, _, members in rows), default=2)
    return Combinations(
        targets=[targets for targets, _, _ in rows],
        context=np.array([where for _, where, _ in rows], dtype=np.int64),
        of_double=np.array([at[targets, where] for targets, where, _ in rows], dtype=np.int64),
        of_control=np.array([at[(), where] for _, where, _ in rows], dtype=np.int64),
        of_member=np.array([m + [-1] * (width - len(m)) for _, _, m in rows], dtype=np.int64).reshape(len(rows), width),
        codes=codes,
        n_groups=len(number),
        incomplete=incomplete,
    )


def _lacking(n_cells: Mapping[str, int], min_cells: int) -> str:
    few = {name: n for name, n in n_cells.items() if n < min_cells}
    return ", ".join(f"{name}: {n} cell{'' if n == 1 else 's'}" for name, n in few.items())


def _name(names: ScreenNames, targets: Targets, context: int) -> str:
    joined = names.joined(targets)
    return f"{joined} ({names.shown(context)})" if names.covariate_keys else joined


@dataclass(frozen=True)
class Interactions:
    """Measured combinations on the selected genes.

    Parameters
    ----------
    names
        Rules for reading names of perturbations.
    genes
        Names of the genes, (G,).
    targets, context
        Sorted targets of each combination and the number of its context, (P,) each.
    profiles, n_cells
        Mean expression and number of cells of each group (combinations, members, controls), (k × G) and (k,).
    of_double, of_control, of_member
        Rows of ``profiles``: (P,), (P,), (P × most members), -1 after the last member.
    se
        Standard error of each deviation, from the variance between cells, (P × G); NaN where a group has one cell.
    null
        The empirical null of the deviations.
    fdr
        Local false discovery rate of the calls.
    scale
        ``"none"`` if the null is of deviations, ``"se"`` if it is of deviations over their standard errors.
    info
        Further values, JSON only.
    """

    names: ScreenNames
    genes: np.ndarray
    targets: list[Targets]
    context: np.ndarray
    profiles: np.ndarray
    n_cells: np.ndarray
    of_double: np.ndarray
    of_control: np.ndarray
    of_member: np.ndarray
    se: np.ndarray
    null: EmpiricalNull
    fdr: float
    scale: str
    info: dict[str, Any]

    @property
    def observed(self) -> np.ndarray:
        """Mean expression of each combination, (P × G)."""
        return self.profiles[self.of_double]

    @property
    def control(self) -> np.ndarray:
        """Mean expression of the controls of its context, (P × G)."""
        return self.profiles[self.of_control]

    @cached_property
    def additive(self) -> np.ndarray:
        """Mean expression if the effects of the members add up, (P × G)."""
        return _additive(self.profiles, self.of_member, self.of_control)

    @cached_property
    def deviation(self) -> np.ndarray:
        """Observed minus additive expression, (P × G)."""
        return self.observed - self.additive

    @cached_property
    def statistic(self) -> np.ndarray:
        """The statistic of the null: deviations, or deviations over their standard errors, (P × G)."""
        return _scaled(self.deviation, self.se, self.scale)

    @cached_property
    def cutoffs(self) -> tuple[float, float]:
        """Lower and upper statistic beyond which the local false discovery rate is at most ``fdr``."""
        return self.null.cutoffs(self.fdr)

    @cached_property
    def called(self) -> np.ndarray:
        """Mask of the interactions, (P × G)."""
        return is_interaction(self.statistic, self.cutoffs)

    def limits(self, rows: np.ndarray) -> tuple[Any, Any]:
        """Return the deviations beyond which combinations are called: two numbers, or two arrays (m × G)."""
        low, high = self.cutoffs
        if self.scale == "none":
            return low, high
        unit = np.where(self.se[rows] > 0, self.se[rows], np.inf)
        return low * unit, high * unit

    @property
    def doubtful(self) -> np.ndarray:
        """Mask of the calls within 1.96 standard errors of the centre of the null, (P × G)."""
        centre = self.null.delta if self.scale == "none" else 0.0
        return self.called & (np.abs(self.deviation - centre) < 1.96 * self.se)

    @cached_property
    def classes(self) -> np.ndarray:
        """Number of the class of each value, (P × G) int8."""
        codes = np.empty(self.deviation.shape, dtype=np.int8)
        sizes = self.sizes
        for k in np.unique(sizes):
            rows = sizes == k
            control = self.control[rows]
            singles = np.stack([self.profiles[self.of_member[rows, i]] - control for i in range(k)])
            codes[rows] = class_codes(singles, self.observed[rows] - control, self.called[rows])
        return codes

    @property
    def sizes(self) -> np.ndarray:
        """Number of members of each combination, (P,)."""
        return (self.of_member >= 0).sum(axis=1)

    @property
    def labels(self) -> list[str]:
        """Name of each combination, its targets sorted."""
        return [self.names.joined(targets) for targets in self.targets]

    def stored(self) -> dict[str, Any]:
        """Return arrays and one JSON text for ``uns``."""
        arrays = ("context", "profiles", "n_cells", "of_double", "of_control", "of_member", "se")
        text = {
            "names": self.names.to_json(),
            "genes": [str(gene) for gene in self.genes],
            "targets": [list(targets) for targets in self.targets],
            "fdr": self.fdr,
            "scale": self.scale,
            "null": {name: getattr(self.null, name) for name in _NULL_NUMBERS},
            "info": self.info,
        }
        return {
            "json": json.dumps(text, sort_keys=True),
            **{name: getattr(self, name) for name in arrays},
            **{f"null_{name}": getattr(self.null, name) for name in _NULL_ARRAYS},
        }

    @classmethod
    def load(cls, stored: Mapping[str, Any]) -> Interactions:
        """Read what :meth:`stored` returned."""
        text = json.loads(str(stored["json"]))
        fitted: dict[str, Any] = {name: np.asarray(stored[f"null_{name}"]) for name in _NULL_ARRAYS}
        null = EmpiricalNull(**text["null"], **fitted)
        arrays = ("context", "profiles", "n_cells", "of_double", "of_control", "of_member", "se")
        return cls(
            names=ScreenNames.from_json(text["names"]),
            genes=np.array(text["genes"], dtype=object),
            targets=[tuple(targets) for targets in text["targets"]],
            null=null,
            fdr=text["fdr"] if "fdr" in text else text["level"],  # its name in the first version
            scale=text["scale"],
            info=text["info"],
            **{name: np.asarray(stored[name]) for name in arrays},
        )


def _additive(profiles: np.ndarray, of_member: np.ndarray, of_control: np.ndarray) -> np.ndarray:
    """Add up k members minus (k - 1) controls, like :func:`heldout.metrics.additive_expectation` for any k per row."""
    padded = np.vstack([profiles, np.zeros(profiles.shape[1])])  # the last row is for missing members
    n_members = (of_member >= 0).sum(axis=1, keepdims=True)
    return padded[of_member].sum(axis=1) - (n_members - 1) * profiles[of_control]


def _scaled(deviation: np.ndarray, se: np.ndarray, scale: str) -> np.ndarray:
    """Return deviations, or deviations over their standard errors (0 where the standard error is 0)."""
    if scale == "none":
        return deviation
    return np.divide(deviation, se, out=np.zeros_like(deviation), where=se > 0)


def control_genes(X: MatrixOrDask, found: Combinations, n: int | None) -> np.ndarray:
    """Return the ``n`` genes with the highest mean over the controls of all contexts; all genes for None."""
    if n is None or n >= X.shape[1]:
        return np.arange(X.shape[1])
    controls = np.unique(found.of_control)
    renumbered = np.full(found.n_groups + 1, -1)  # the last entry is for cells without a group
    renumbered[controls] = np.arange(len(controls))
    mean = group_moments(X, renumbered[found.codes], len(controls), var=False).mean.mean(axis=0)
    return np.sort(highest(mean, n))


def measure(
    X: MatrixOrDask,
    found: Combinations,
    columns: np.ndarray,
    *,
    names: ScreenNames,
    genes: np.ndarray,
    fdr: float,
    scale: str,
    df: int,
) -> Interactions:
    """Measure profiles, deviations and standard errors of combinations, and the null of all deviations.

    The variance of a deviation is the sum of the variances of its means; that of the control counts (k - 1)² times.
    """
    kept = np.unique(np.concatenate([found.of_double, found.of_control, found.of_member.ravel()]))
    kept = kept[kept >= 0]
    row = np.full(found.n_groups + 1, -1)
    row[kept] = np.arange(len(kept))
    moments = group_moments(X, row[found.codes], len(kept), columns=columns)
    _check_finite(moments.mean, genes)
    of_double, of_control, of_member = (row[at] for at in (found.of_double, found.of_control, found.of_member))
    assert moments.var is not None
    of_mean = np.vstack([moments.var / moments.n[:, None], np.zeros(len(columns))])
    times = (of_member >= 0).sum(axis=1, keepdims=True) - 1
    variance = of_mean[of_double] + of_mean[of_member].sum(axis=1) + times**2 * of_mean[of_control]
    se = np.sqrt(variance)
    deviation = moments.mean[of_double] - _additive(moments.mean, of_member, of_control)
    null = empirical_null(_scaled(deviation, se, scale), df=df)
    return Interactions(
        names=names,
        genes=genes,
        targets=found.targets,
        context=found.context,
        profiles=moments.mean,
        n_cells=moments.n,
        of_double=of_double,
        of_control=of_control,
        of_member=of_member,
        se=se,
        null=null,
        fdr=fdr,
        scale=scale,
        info={"incomplete": found.incomplete},
    )


def _check_finite(mean: np.ndarray, genes: np.ndarray) -> None:
    broken = ~np.isfinite(mean).all(axis=0)
    if broken.any():
        msg = (
            f"{int(broken.sum())} genes (e.g. {some(genes[broken])}) have NaN or infinite values. Drop or repair those "
            "cells or genes."
        )
        raise ValueError(msg)
