"""P-values of probabilities that were made elsewhere: fits cannot be repeated, and folds share train groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from heldout.metrics.classification import one_vs_rest
from heldout.metrics.permutation import auc_permutation
from heldout.metrics.several_classes import class_auc_permutation

if TYPE_CHECKING:
    from heldout.metrics.permutation import Permutation
    from heldout.tasks.genotype.pooled import Pooled

KIND_ONE = "exact, conditional on the fit"
KIND_FOLDS = "twice the mean of the exact p of the folds"
KIND_NONE = "none: no fold has a test"


class FoldsTest(NamedTuple):
    """Test of the AUC over folds.

    Parameters
    ----------
    p_value
        Valid p-value: the exact p of one fold, or twice the mean of those of several. NaN if no fold has a test.
    p_smallest
        The smallest ``p_value`` that any result could have.
    p_kind
        What the p-value is.
    n_tests
        Number of folds with a test.
    p_conditional
        P-value of the pooled AUC, as if fits had not used the labels of other folds.
    """

    p_value: float
    p_smallest: float
    p_kind: str
    n_tests: int
    p_conditional: float


def folds_test(pooled: Pooled, log_p: np.ndarray) -> FoldsTest:
    """Test the AUC of held-out groups whose fits cannot be repeated.

    In each fold, labels of the held-out groups are exchanged within the blocks. This test is exact, because the fit of
    the fold did not use them. Tests of several folds depend on each other, because folds share train groups. Twice the
    mean of their p-values is valid for every dependence :cite:p:`vovk2020`.

    Parameters
    ----------
    pooled
        The held-out groups.
    log_p
        Log-probabilities of the groups, (G × n_classes).
    """
    odds = one_vs_rest(log_p)
    tests = []
    for fold in np.unique(pooled.folds):
        rows = np.flatnonzero(pooled.folds == fold)
        if len(np.unique(pooled.labels[rows])) == pooled.n_classes:
            found = _test(pooled.labels[rows], odds[rows], pooled.blocks[rows], within=False)
            if np.isfinite(found.p_value):
                tests.append(found)
    if not tests:
        return FoldsTest(np.nan, 1.0, KIND_NONE, 0, _conditional(pooled, odds))
    several = len(np.unique(pooled.folds)) > 1
    factor = 2.0 if len(tests) > 1 else 1.0
    p = min(1.0, factor * float(np.mean([test.p_value for test in tests])))
    least = min(1.0, factor * float(np.mean([test.smallest for test in tests])))
    kind = KIND_FOLDS if len(tests) > 1 else KIND_ONE
    return FoldsTest(p, least, kind, len(tests), _conditional(pooled, odds) if several else p)


def _conditional(pooled: Pooled, odds: np.ndarray) -> float:
    """P-value of all groups together, with labels exchanged within folds if each fold has every class."""
    return float(_test(pooled.labels, odds, pooled.exchange, within=pooled.within).p_value)


def _test(labels: np.ndarray, odds: np.ndarray, blocks: np.ndarray, *, within: bool) -> Permutation:
    if odds.shape[1] > 2:
        return class_auc_permutation(labels, odds, blocks=blocks)
    several = blocks if len(np.unique(blocks)) > 1 else None
    return auc_permutation(labels, odds[:, 1], blocks=several, within=within and several is not None)
