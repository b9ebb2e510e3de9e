"""Describe an estimator as text and values of JSON. Nothing of it can run."""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from heldout._core.types import is_sparse

_LONGEST = 200


def name_of(estimator: Any) -> str:
    """Name for tables: the class, of a pipeline the classes of its steps, and of a search also what it searches."""
    steps = getattr(estimator, "steps", None)
    if isinstance(steps, list) and hasattr(estimator, "named_steps"):
        return " + ".join(name_of(step) for _, step in steps if step is not None and not isinstance(step, str))
    inner = getattr(estimator, "estimator", None)
    kind = type(estimator).__name__
    return f"{kind}({name_of(inner)})" if hasattr(inner, "fit") and not isinstance(inner, type) else kind


def path_of(kind: Any) -> str:
    """Module and name of a class or a function."""
    return f"{kind.__module__}.{kind.__qualname__}"


def parameters_of(estimator: Any) -> dict[str, Any]:
    """Parameters with those of nested estimators, as text and values of JSON."""
    if not hasattr(estimator, "get_params"):
        return {}
    return {str(name): _plain(value) for name, value in sorted(estimator.get_params(deep=True).items())}


def is_complete(estimator: Any) -> bool:
    """Whether class, version and parameters determine what the estimator does.

    They do not if the class belongs to no package with a version, as a class of a notebook, or if a parameter is an
    object of which only the text is known.
    """
    if not hasattr(estimator, "get_params"):
        return False
    objects = [estimator, *(v for v in estimator.get_params(deep=True).values() if hasattr(v, "get_params"))]
    return all(map(_version, objects)) and all(map(_is_known, estimator.get_params(deep=True).values()))


def versions_of(estimator: Any) -> dict[str, str]:
    """Versions of the packages of an estimator and of the estimators in it."""
    objects = [estimator]
    if hasattr(estimator, "get_params"):
        objects += [v for v in estimator.get_params(deep=True).values() if hasattr(v, "get_params")]
    return {_package(each): _version(each) for each in objects}


def _package(thing: Any) -> str:
    return type(thing).__module__.split(".")[0]


def _version(thing: Any) -> str:
    return str(getattr(sys.modules.get(_package(thing)), "__version__", ""))


def _is_known(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_known, value))
    if isinstance(value, Mapping):
        return all(map(_is_known, value.values()))
    plain = value is None or isinstance(value, str | bool | int | float | np.generic | np.ndarray)
    return plain or is_sparse(value) or (hasattr(value, "get_params") and not isinstance(value, type))


def _plain(value: Any) -> Any:
    """A value of JSON: the value, or text that identifies it."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if is_sparse(value):
        value = value.toarray()
    if isinstance(value, np.ndarray):
        content = value.tobytes() if value.dtype != object else repr(value.tolist()).encode()
        return f"array {value.shape} {value.dtype} sha256 {hashlib.sha256(content).hexdigest()[:16]}"
    if isinstance(value, type) or hasattr(value, "__qualname__"):
        return path_of(value)
    return path_of(type(value)) if hasattr(value, "get_params") else repr(value)[:_LONGEST]
