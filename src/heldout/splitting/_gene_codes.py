"""Assign genes to partitions: whole modules, and genes that are constant in train."""

from __future__ import annotations

import logging

import numpy as np

from heldout._core.checks import check_integer
from heldout.splitting._modules import assign_modules, draw_shares

_TOLERANCE = 0.05
"""Smallest difference between the wanted and the actual share that is logged."""

logger = logging.getLogger("heldout")


def check_n_modules(n_modules: int | None, n_varying: int, n_partitions: int) -> None:
    """Refuse a number of modules that is impossible for this number of varying genes and of partitions."""
    if n_varying < n_partitions:
        msg = (
            f"Only {n_varying} genes vary in the train cells, fewer than the number of partitions ({n_partitions}). "
            "Check the matrix and the split, or use by='random'."
        )
        raise ValueError(msg)

    if n_modules is not None:
        limits = f"None. There are {n_partitions} partitions, and {n_varying} genes vary in the train cells"
        check_integer(n_modules, "n_modules", least=n_partitions, most=n_varying, or_else=limits)


def number_modules(found: np.ndarray, varies: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the module number of each gene, (n,), from the largest module, and the number of modules that vary.

    Each gene that is constant in the train cells becomes a module. These modules come last.

    Parameters
    ----------
    found
        Module of each varying gene, (V,).
    varies
        Mask of the varying genes, (n,).
    """
    rank = np.lexsort((np.unique(found, return_index=True)[1], -np.bincount(found)))
    modules = np.empty(len(varies), dtype=np.int64)
    modules[varies] = np.argsort(rank)[found]
    modules[~varies] = len(rank) + np.arange((~varies).sum())
    return modules, len(rank)


def gene_codes(modules: np.ndarray, n_found: int, shares: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Return the partition number of each gene, (n,).

    Whole modules are assigned first, then the genes that are constant in train.
    """
    if n_found < len(shares):
        msg = (
            f"The genes form {n_found} modules of identical genes, fewer than the number of partitions "
            f"({len(shares)}). Ask for fewer partitions (for example val=0), or use by='random'."
        )
        raise ValueError(msg)
    sizes = np.bincount(modules)
    of_module = np.append(
        assign_modules(sizes[:n_found], shares, draw), draw_shares(len(sizes) - n_found, shares, draw)
    )
    return of_module[modules]


def check_shares(codes: np.ndarray, fractions: dict[str, float], wanted: list[str], *, log: bool) -> None:
    """Refuse a partition without genes. With ``log``, log a share that differs much from the wanted share."""
    for name, size in zip(wanted, np.bincount(codes, minlength=len(wanted)), strict=True):
        reached = size / len(codes)
        if not size:
            msg = (
                f"{name}={fractions[name]:g} of {len(codes)} genes rounds to 0 genes. Ask for a larger share, or use "
                "0 to leave the partition out."
            )
            raise ValueError(msg)
        if log and abs(reached - fractions[name]) > _TOLERANCE:
            logger.warning(
                "%s has %.2f of the genes instead of %.2f, because modules stay whole. Use a larger n_modules.",
                name,
                reached,
                fractions[name],
            )
