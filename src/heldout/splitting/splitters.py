"""Splitters of whole groups with the scikit-learn interface, for ``cross_validate`` and ``GridSearchCV``."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.model_selection import BaseCrossValidator

from heldout._core.rng import Rng, generator
from heldout.splitting._folds import (
    FoldUnits,
    check_n_folds,
    check_pairs,
    kfold,
    leave_one_match_out,
    leave_one_pair_out,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class _GroupSplitter(BaseCrossValidator):
    """Turn the masks over groups that a subclass computes into row numbers, as scikit-learn needs them."""

    __metadata_request__split: ClassVar = {"groups": True}

    @abstractmethod
    def _tests(self, units: FoldUnits) -> np.ndarray:
        """Return the mask of the test groups of each fold, (n_folds × G)."""

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the row numbers of train and test of each fold.

        Parameters
        ----------
        X
            Anything with one row per cell. Its values are not used.
        y
            Class of each row.
        groups
            Group of each row.

        Yields
        ------
        Two arrays of int: the rows of train, and the rows of test.

        Raises
        ------
        ValueError
            If ``groups`` is missing, if lengths differ, or if the folds are not possible.
        """
        units = _units(X, y, groups)
        for test in self._tests(units):
            in_test = test[units.of_row]
            yield np.flatnonzero(~in_test), np.flatnonzero(in_test)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds for these data."""
        return len(self._tests(_units(X, y, groups)))


def _units(X: Any, y: Any, groups: Any) -> FoldUnits:
    columns = {"groups": groups, "y": y}
    n = len(groups) if X is None and groups is not None else _length(X)
    for name, values in columns.items():
        if values is None and name == "y":
            continue
        if values is None or np.ndim(values) != 1 or len(values) != n:
            found = "None" if values is None else f"of shape {np.shape(values)}"
            msg = f"{name} is {found}, but it must have one value for each of the {n} rows. Pass {name}=."
            raise ValueError(msg)
        if _missing(values):
            msg = f"{name} has missing values. Fill them, or drop those rows."
            raise ValueError(msg)
    return FoldUnits.of(groups, y)


def _length(X: Any) -> int:
    return int(X.shape[0]) if hasattr(X, "shape") else len(X) if X is not None else 0


def _missing(values: Any) -> bool:
    import pandas as pd

    return bool(pd.isna(pd.Series(values)).any())


class GroupStratifiedKFold(_GroupSplitter):
    """Split whole groups into K folds, with every class in every fold.

    If each group has one class, the number of groups of each class, and of all groups, differs by at most one between
    folds. Groups with rows of several classes are divided by their set of classes. Within those counts, the rows of
    each class are balanced over the folds. Impossible folds raise an error: no fold is ever empty or lacks a class. The
    folds do not depend on the order of the rows.

    Parameters
    ----------
    n_folds
        Number of folds, an integer >= 2.
    rng
        Seed or Generator. A Generator gives other folds at each call of ``split``.

    Raises
    ------
    ValueError
        If ``n_folds`` is not an integer >= 2.

    Examples
    --------
    >>> import numpy as np
    >>> from heldout.splitting import GroupStratifiedKFold
    >>> donors = np.repeat(["d1", "d2", "d3", "d4"], 2)
    >>> y = np.repeat([0, 0, 1, 1], 2)
    >>> [y[test].tolist() for _, test in GroupStratifiedKFold(n_folds=2).split(y, y, donors)]
    [[0, 0, 1, 1], [0, 0, 1, 1]]
    """

    def __init__(self, n_folds: int = 5, *, rng: Rng = 0) -> None:
        check_n_folds(n_folds)
        self.n_folds = n_folds
        self.rng = rng

    def _tests(self, units: FoldUnits) -> np.ndarray:
        return kfold(units, self.n_folds, generator(self.rng)) == np.arange(self.n_folds)[:, None]

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds. The data are not needed."""
        return self.n_folds


class LeaveOnePairOut(_GroupSplitter):
    """Hold out one group of each class in each fold.

    Parameters
    ----------
    pairs
        ``"each"`` makes as many folds as the largest class has groups. Each of its groups is test once, and the groups
        of a smaller class take turns. ``"all"`` makes a fold of every combination, as in leave-pair-out estimates of
        the AUC.
    rng
        Seed or Generator of the draw of the pairs. It is not used with ``"all"``.

    Raises
    ------
    ValueError
        If ``pairs`` is not one of ``"each"``, ``"all"``.

    Examples
    --------
    >>> from heldout.splitting import LeaveOnePairOut
    >>> donors, y = ["d1", "d2", "d3", "d4", "d5"], [0, 0, 1, 1, 1]
    >>> LeaveOnePairOut().get_n_splits(y, y, donors), LeaveOnePairOut(pairs="all").get_n_splits(y, y, donors)
    (3, 6)
    """

    def __init__(self, *, pairs: str = "each", rng: Rng = 0) -> None:
        check_pairs(pairs)
        self.pairs = pairs
        self.rng = rng

    def _tests(self, units: FoldUnits) -> np.ndarray:
        return leave_one_pair_out(units, generator(self.rng), pairs=self.pairs)


class LeaveOneMatchOut(_GroupSplitter):
    """Hold out one value of a matching variable in each fold, for example one day. Pass that variable as ``groups``.

    Only a value with every class is a fold. Rows with another value are always train. A donor with cells on several
    days is then in train and in test. :func:`heldout.pp.folds` refuses such data, so use it in this case.

    Examples
    --------
    >>> from heldout.splitting import LeaveOneMatchOut
    >>> days, y = [0, 0, 2, 9, 9], [0, 1, 0, 0, 1]
    >>> [test.tolist() for _, test in LeaveOneMatchOut().split(y, y, days)]
    [[0, 1], [3, 4]]
    """

    def _tests(self, units: FoldUnits) -> np.ndarray:
        return leave_one_match_out(units, units.names)[0]
