"""What users pass as a method: a name of the registry, or a classifier of scikit-learn."""

from __future__ import annotations

from typing import Any

from heldout.tasks.genotype import METHODS
from heldout.tasks.genotype.estimators.estimator import Estimator


def resolved(method: Any, config: Any = None, *, argument: str = "method") -> tuple[str, Any]:
    """Name in the registry and options of what a user passes as method: a name, an estimator, or one in a wrapper.

    Raises
    ------
    TypeError
        If it is none of these, or an estimator has a config.
    ValueError
        If the name is not that of a method.
    """
    if isinstance(method, str):
        found = METHODS[method]
        if METHODS.is_adapter(method):
            msg = (
                f"{argument}={method!r} stands for an estimator of scikit-learn. Pass the estimator itself, e.g. "
                f"{argument}=RandomForestClassifier(), or heldout.model.Estimator(RandomForestClassifier(), "
                "rows='groups')."
            )
            raise ValueError(msg)
        return method, found.check_config(config)
    wrapped = method if isinstance(method, Estimator) else Estimator(method)
    if config is not None:
        msg = (
            f"config={type(config).__name__}(...) is for methods with a name. Set the options of {wrapped.name} in the "
            "estimator, or with heldout.model.Estimator(estimator, rows=..., balanced=...)."
        )
        raise TypeError(msg)
    if wrapped.name in {each.name for each in METHODS}:
        msg = f"The class {wrapped.name!r} has the name of a method of heldout. Give the class another name."
        raise ValueError(msg)
    return wrapped.method, wrapped
