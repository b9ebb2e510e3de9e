"""What users pass: methods and baselines by name or as classifiers of scikit-learn, and the column of the label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heldout.tasks.genotype import METHODS
from heldout.tasks.genotype.config import AttentionConfig, MLPConfig
from heldout.tasks.genotype.estimators.estimator import Estimator

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from anndata import AnnData

    from heldout._core.partition import Partition


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


def default_method(config: Any, auxiliary_key: str | None) -> str:
    """The method if the user names none: the network that the options or ``auxiliary_key`` ask for, else ``auto``."""
    if isinstance(config, AttentionConfig):
        return "attention"
    return "mlp" if isinstance(config, MLPConfig) or auxiliary_key is not None else "auto"


def resolved_baselines(asked: Sequence[Any] | None, *, known: Collection[str] = ()) -> dict[str, tuple[str, Any]]:
    """Name in the registry and options of each baseline, by its name in tables.

    Parameters
    ----------
    asked
        Names of methods and estimators, see :func:`resolved`. An estimator is named after its class. None for the
        default baselines.
    known
        What is known, for default baselines that require something.

    Raises
    ------
    TypeError
        If an object is not a classifier.
    ValueError
        If it is not a list, a name is not that of a method, or two estimators have the same class.
    """
    if asked is None or isinstance(asked, str):
        return {name: resolved(name, argument="baselines") for name in METHODS.baselines(asked, known=known)}
    if hasattr(asked, "fit") or isinstance(asked, Estimator):
        msg = f"baselines={asked!r} must be a list of methods and estimators. Pass [{asked!r}]."
        raise TypeError(msg)
    found: dict[str, tuple[str, Any]] = {}
    for each in asked:
        method, config = resolved(each, argument="baselines")
        name = method if isinstance(each, str) else config.name
        if name in found and not isinstance(each, str):
            msg = (
                f"baselines has several estimators named {name!r}, so their rows could not be told apart. Evaluate "
                "with one of them at a time, or compare both with heldout.tl.compare(methods={name: estimator})."
            )
            raise ValueError(msg)
        found[name] = (method, config)
    return found


def label_of(adata: AnnData, partition: Partition, label_key: str | None) -> str:
    """Column of the label: the given one, else that of the split, else ``genotype``.

    Raises
    ------
    ValueError
        If no name is given, the split has no label, and ``obs`` has no column ``genotype``.
    """
    if label_key is not None:
        return label_key
    recorded = partition.params.get("label_key")
    if isinstance(recorded, str):
        return recorded
    if "genotype" in adata.obs:
        return "genotype"
    msg = (
        f"label_key is not given, and the split {partition.key!r} names no label. Pass label_key, the column of obs "
        "that is predicted."
    )
    raise ValueError(msg)
