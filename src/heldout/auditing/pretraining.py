"""Compare what the parents of each fit have seen with the test set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core import keys, store
from heldout._core.fits import read_header
from heldout._core.overlap import overlap
from heldout._core.parents import parents_of
from heldout._core.partition import load_assignment
from heldout.auditing._finding import Finding, NotRun
from heldout.auditing.perturbations import covariate_keys_of, targets_of_names

if TYPE_CHECKING:
    from heldout._core.parents import Parent, Perturbed
    from heldout._core.partition import Assignment
    from heldout.auditing._case import Case

_KEEP = "Audit the AnnData in which the fit was made; it keeps the split of the parent."


def pretraining(case: Case) -> list[Finding]:
    """Check each fit of this split that started from another fit or from a model that others trained.

    A parent that has seen test cells or test perturbations fails. A parent whose training data are not recorded is a
    warning, because nothing can be checked.
    """
    parents: dict[str, list[Parent]] = {}
    for key in store.section(case.adata, keys.FITS):
        header = read_header(case.adata, key)
        if header.split_key == case.split_key and (found := parents_of(header.info)):
            parents[key] = found
    if not parents:
        msg = "No fit of this split started from another fit or from a published model."
        raise NotRun(msg)
    test, train = _perturbed(case, "test"), _perturbed(case, "train", "val")
    return [_finding(case, key, parent, test, train) for key, found in parents.items() for parent in found]


def _finding(case: Case, key: str, parent: Parent, test: set[Perturbed], train: set[Perturbed]) -> Finding:
    result = Finding.about(key, "test perturbations that a parent has seen", np.nan, 1)
    name = f"{parent.name!r} ({parent.method})"
    if not parent.known:
        text = f"The fit uses {name}. The cells and perturbations that this model has seen are not recorded."
        advice = "Check the training data of that model for the test cells and test perturbations, and report it."
        return result.says("warn", text, advice)
    assignment = _assignment(case, parent)
    seen = overlap(parent, test, train, assignment, case.adata.obs_names[case.mask("test")])
    n_pairs = len(seen.same) + len(seen.elsewhere)
    result = Finding.about(key, "test perturbations that a parent has seen", n_pairs, 1)
    if seen:
        what = (
            [f"{n_pairs} test perturbations (e.g. {'+'.join((seen.same + seen.elsewhere)[0][0])})"] if n_pairs else []
        )
        what += [f"{seen.n_cells} test cells"] if seen.n_cells else []
        text = f"The fit started from {name}, which has seen {' and '.join(what)}."
        advice = "Fit it again without this start, or hold out perturbations that the parent has not seen."
        return result.says("fail", text, advice)
    cells = "" if assignment is not None else " Its cells are not recorded here, so they are not compared."
    unseen = "test perturbations" if cells else "the test cells and test perturbations"
    text = f"The fit started from {name}, which has not seen {unseen}.{cells}"
    return result.says("warn" if cells else "pass", text, _KEEP if cells else "")


def _assignment(case: Case, parent: Parent) -> Assignment | None:
    try:
        return load_assignment(case.adata, parent.split)
    except ValueError:
        return None


def _perturbed(case: Case, *partitions: str) -> set[Perturbed]:
    """Perturbations and contexts of the cells in these partitions; empty where no perturbation is known."""
    if case.perturbation_key is None or not (mask := case.mask(*partitions)).any():
        return set()
    names, codes = store.factorize(store.as_names(case.adata.obs[case.perturbation_key])[mask])
    targets = targets_of_names(case, names)
    columns = [store.as_names(case.covariate(key))[mask] for key in covariate_keys_of(case)]
    contexts = list(zip(*columns, strict=True)) if columns else [()] * len(codes)
    pairs = {(targets[code], tuple(map(str, context))) for code, context in zip(codes, contexts, strict=True)}
    return {(of_name, context) for of_name, context in pairs if of_name}
