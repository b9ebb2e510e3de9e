"""An estimator of scikit-learn as a user passes it, and how it is fitted to cells or groups."""

from __future__ import annotations

import inspect
import uuid
from typing import TYPE_CHECKING, Any, Literal, Self

from heldout._core.checks import check_choice
from heldout.tasks.genotype.estimators.describe import is_complete, name_of, parameters_of, path_of, versions_of

if TYPE_CHECKING:
    from collections.abc import Mapping

ROWS = ("cells", "groups")


class Estimator:
    """Wrap a classifier of scikit-learn, to say how :func:`heldout.tl.genotype` fits it.

    The functions of ``heldout`` also take the classifier itself, which is then fitted on cells. They fit a clone, so
    the classifier that is passed never changes.

    Parameters
    ----------
    estimator
        Instance with ``fit``, and ``predict_proba`` or ``decision_function``: a classifier of scikit-learn, a Pipeline,
        a search, or a class of another package with these methods, such as those of XGBoost. It sees classes as
        integers from 0, in the order of the classes.
    rows
        What a row of its ``X`` is. ``"cells"``: a train cell; the prediction for a group is the mean logit of its
        cells. ``"groups"``: the mean of the train cells of one group and class. It then predicts the mean of the cells
        of a group, and the prediction is repeated for them.
    balanced
        Pass weights of rows to ``fit``: classes have the same sum, and within a class each group counts once.

    Attributes
    ----------
    fitted_
        The clone that the last call of :func:`heldout.tl.genotype`, or the chosen one of :func:`heldout.tl.sweep`,
        fitted. It is not stored in the AnnData, because that needs a pickle. Keep it to predict new cells.

    Raises
    ------
    TypeError
        If ``estimator`` is a class and not an instance, or lacks one of the methods.
    ValueError
        If an option has another value, or ``balanced`` is set and ``fit`` takes no ``sample_weight``.

    Notes
    -----
    Every ``random_state`` that is None gets the seed. Those that are set stay, and the estimator then counts as not
    random: :func:`heldout.tl.compare` fits it once and not for each seed. Values of ``decision_function`` are taken as
    log-odds, which are not calibrated. Probabilities are limited to [1e-6, 1 - 1e-6]. A search (``GridSearchCV``) whose
    ``cv`` splits by groups gets the groups of train.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> from sklearn.svm import LinearSVC
    >>> adata = ho.datasets.lmna_simulated(n_cells=50, n_genes=200)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> svm = ho.model.Estimator(LinearSVC(C=0.01), rows="groups")
    >>> ho.tl.genotype(adata, "genotype", method=svm)
    >>> svm.fitted_.coef_.shape
    (1, 200)
    """

    def __init__(self, estimator: Any, *, rows: Literal["cells", "groups"] = "cells", balanced: bool = False) -> None:
        _check(estimator)
        check_choice(rows, "rows", ROWS)
        check_choice(str(balanced), "balanced", ("True", "False"))
        self.estimator = estimator
        self.rows = rows
        self.balanced = bool(balanced)
        self.fitted_: Any = None
        self._changed: dict[str, Any] = {}
        self._token = "" if is_complete(estimator) else uuid.uuid4().hex
        if balanced:
            self.weight_argument()

    def __repr__(self) -> str:
        return f"Estimator({self.estimator!r}, rows={self.rows!r}, balanced={self.balanced})"

    @property
    def name(self) -> str:
        """Name for tables."""
        return name_of(self.estimator)

    @property
    def method(self) -> str:
        """Name of the adapter that fits it."""
        return "estimator" if self.rows == "cells" else "pseudobulk_estimator"

    @property
    def stochastic(self) -> bool:
        """Whether it gets a seed."""
        return bool(self._seedless())

    def _seedless(self) -> list[str]:
        """Names of the parameters that get the seed."""
        if not hasattr(self.estimator, "get_params"):
            return []
        found = self.estimator.get_params(deep=True)
        return sorted(n for n, v in found.items() if n.split("__")[-1] == "random_state" and v is None)

    def seeded(self, seed: int) -> Any:
        """A clone that is not fitted, with the seed."""
        from sklearn.base import clone

        made = clone(self.estimator, safe=False)
        if names := self._seedless():
            made.set_params(**dict.fromkeys(names, seed))
        return made

    def weight_argument(self) -> str:
        """Name of the argument of ``fit`` that takes the weights of rows.

        Raises
        ------
        ValueError
            If there is none.
        """
        steps = getattr(self.estimator, "steps", None)
        last, prefix = (steps[-1][1], f"{steps[-1][0]}__") if isinstance(steps, list) else (self.estimator, "")
        if "sample_weight" in inspect.signature(last.fit).parameters:
            return f"{prefix}sample_weight"
        msg = (
            f"balanced=True passes weights of rows, but {name_of(last)}.fit has no argument sample_weight. Leave "
            "balanced out, or use class_weight='balanced' of the estimator if it has that."
        )
        raise ValueError(msg)

    def options(self) -> list[str]:
        """Names of the options that :func:`heldout.tl.sweep` can change: parameters, ``rows`` and ``balanced``."""
        return [*(parameters_of(self.estimator)), "rows", "balanced"]

    def changed(self, **options: Any) -> Self:
        """Another wrapper, of a clone with other parameters."""
        how = {"rows": self.rows, "balanced": self.balanced}
        known = parameters_of(self.estimator)
        inside = {name: value for name, value in options.items() if name in known}
        made = self._with(inside)
        found = type(self)(made, **{**how, **{n: v for n, v in options.items() if n not in known}})
        found._changed = {**self._changed, **options}
        return found

    def _with(self, parameters: Mapping[str, Any]) -> Any:
        from sklearn.base import clone

        made = clone(self.estimator, safe=False)
        try:
            return made.set_params(**{name: clone(value, safe=False) for name, value in parameters.items()})
        except Exception as problem:
            msg = f"{self.name}.set_params({dict(parameters)}) failed: {type(problem).__name__}: {problem}"
            raise ValueError(msg) from problem

    def stored(self) -> dict[str, Any]:
        """Describe it as values of JSON; the estimator itself is not stored."""
        return {
            "name": self.name,
            "class": path_of(type(self.estimator)),
            "parameters": parameters_of(self.estimator),
            "rows": self.rows,
            "balanced": self.balanced,
            "versions": versions_of(self.estimator),
            **({"token": self._token} if self._token else {}),
        }

    def shown(self) -> dict[str, Any]:
        """Options that a sweep changed, for its table."""
        plain = self.changed_values()
        return {name: value for name, value in plain.items() if isinstance(value, int | float | str | bool)}

    def changed_values(self) -> dict[str, Any]:
        """Values of the changed options; estimators by their names."""
        return {n: name_of(v) if hasattr(v, "get_params") else v for n, v in self._changed.items()}


def _check(estimator: Any) -> None:
    if isinstance(estimator, Estimator) or not hasattr(estimator, "fit"):
        msg = (
            f"method={estimator!r} must be the name of a method, or a classifier of scikit-learn: an object with fit, "
            "and predict_proba or decision_function."
        )
        raise TypeError(msg)
    if isinstance(estimator, type):
        msg = f"method={estimator.__name__} is a class. Pass an instance: method={estimator.__name__}()."
        raise TypeError(msg)
    answers = ("predict_proba", "decision_function")
    if not any(hasattr(estimator, name) or hasattr(type(estimator), name) for name in answers):
        raise TypeError(without_scores(estimator))


def without_scores(estimator: Any) -> str:
    """Say that an estimator gives no probabilities."""
    return (
        f"{name_of(estimator)} has neither predict_proba nor decision_function, so its predictions cannot be averaged "
        "over the cells of a group. Use a classifier that has one of them, or put it into "
        "sklearn.calibration.CalibratedClassifierCV."
    )
