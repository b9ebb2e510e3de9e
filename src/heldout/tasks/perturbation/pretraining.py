"""Read an earlier fit to start from, and refuse it if it has seen what is held out now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core import store
from heldout._core.fits import read_fit
from heldout._core.method import Fitted
from heldout._core.overlap import overlap
from heldout._core.parents import Parent, parents_of, unique_parents
from heldout._core.partition import load_assignment
from heldout.tasks.perturbation import METHODS
from heldout.tasks.perturbation.start import SEEN, Start, seen_pairs

if TYPE_CHECKING:
    from anndata import AnnData

    from heldout._core.fits import Fit
    from heldout._core.partition import Assignment
    from heldout.tasks.perturbation.task import Task


def start_of(source: AnnData, key: str, task: Task, method: str) -> Start:
    """Read an earlier fit, and refuse it if it cannot be used or has seen what is held out now.

    Raises
    ------
    ValueError
        If ``source`` has no such fit, it is a fit of another method, the method cannot start from a fit, genes are
        missing, or the fit or one of its parents has seen test cells or test perturbations.
    """
    axes = getattr(METHODS[method].load(), "gene_axes", None)
    if axes is None:
        able = [m.name for m in METHODS if hasattr(m.load(), "gene_axes")]
        msg = f"start={key!r}: method={method!r} cannot start from another fit. Methods that can: {', '.join(able)}."
        raise ValueError(msg)
    fit = read_fit(source, key)
    if fit.method != f"perturbation.{method}":
        msg = (
            f"start={key!r} is a {fit.method!r} fit, but method={method!r} can only start from a fit of the same "
            "method. Pass the method of that fit, or leave start out."
        )
        raise ValueError(msg)
    parents = unique_parents([_parent(key, fit), *parents_of(fit.info)])
    assignments = {parent.fit: _assignment(source, parent) for parent in parents}
    for parent in parents:
        _check_unseen(parent, task, assignments[parent.fit])
    known = [assignment for assignment in assignments.values() if assignment is not None]
    return Start(_with_genes(fit, task.genes, axes, key=key), parents, known)


def _parent(key: str, fit: Fit) -> Parent:
    stored = fit.info.get(SEEN)
    seen = None if stored is None else frozenset((tuple(targets), tuple(context)) for targets, context in stored)
    return Parent(key, fit.method, fit.hash, fit.split_hash, seen)


def _assignment(source: AnnData, parent: Parent) -> Assignment | None:
    try:
        return load_assignment(source, parent.split) if parent.split else None
    except ValueError:
        return None


def _check_unseen(parent: Parent, task: Task, assignment: Assignment | None) -> None:
    in_test = task.partition.mask("test")
    test, train = seen_pairs(task.screen, in_test), seen_pairs(task.screen, task.partition.mask("train", "val"))
    names = task.adata.obs_names[in_test]
    found = overlap(parent, test, train, assignment, names)
    if not found:
        return
    what = []
    if pairs := [*found.same, *found.elsewhere]:
        shown = [task.screen.names.joined(targets) for targets, _ in pairs]
        what.append(f"{len(pairs)} of {len(test)} test perturbations (e.g. {store.some(shown)})")
    if found.n_cells:
        what.append(f"{found.n_cells} of {len(names)} test cells, by their names")
    msg = (
        f"start={parent.name!r} has seen {' and '.join(what)} in train or val, so a score on test would not be valid. "
        "Fit the start without them, or hold out perturbations and cells that it has not seen."
    )
    raise ValueError(msg)


def _with_genes(fit: Fit, genes: np.ndarray, axes: dict[str, int], *, key: str) -> Fitted:
    """The result of the fit with the genes in the order of the new fit."""
    row = {str(gene): i for i, gene in enumerate(fit.genes)}
    missing = [gene for gene in genes if str(gene) not in row]
    if missing:
        msg = (
            f"start={key!r} was fitted on {len(fit.genes)} genes; {len(missing)} of the {len(genes)} genes of this fit "
            f"are not among them (e.g. {store.some(missing)}). Use mask_var to choose genes that both have."
        )
        raise ValueError(msg)
    columns = np.array([row[str(gene)] for gene in genes])
    fitted = Fitted.of(fit)
    arrays = {
        name: np.take(array, columns, axis=axes[name]) if name in axes else array
        for name, array in fitted.arrays.items()
    }
    return Fitted(arrays, fitted.info)
