"""``adata.ho``: the functions of heldout as methods that can be chained."""

from __future__ import annotations

import inspect
from functools import wraps
from importlib import import_module
from typing import TYPE_CHECKING, Any

from anndata import AnnData, register_anndata_namespace

if TYPE_CHECKING:
    from collections.abc import Callable


class _Namespace:
    """The public functions of one module, bound to an AnnData."""

    def __init__(self, adata: AnnData, name: str, *, chain: bool) -> None:
        self._module = module = import_module(f"heldout.{name}")
        self._names = [
            name for name in module.__all__ if "adata" in inspect.signature(getattr(module, name)).parameters
        ]
        for name in self._names:
            setattr(self, name, _bind(getattr(module, name), adata, chain=chain))

    def __repr__(self) -> str:
        return f"{self._module.__name__}: {', '.join(self._names)}"


def _bind(function: Callable[..., Any], adata: AnnData, *, chain: bool) -> Callable[..., Any]:
    @wraps(function)
    def bound(*args: Any, **kwargs: Any) -> Any:
        result = function(adata, *args, **kwargs)
        if chain:
            return result if isinstance(result, AnnData) else adata
        return result

    signature = inspect.signature(function)
    bound.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])  # type: ignore[attr-defined]
    return bound


@register_anndata_namespace("ho")
class Heldout:
    """Chain calls on an AnnData: ``adata.ho.pp.split_groups(...).ho.tl.genotype(...)``.

    Each call of ``pp`` and ``tl`` returns the AnnData (the copy for ``copy=True``), so that the next can follow; tables
    are in ``adata.ho.get``. ``pl`` returns axes, ``get`` returns tables.
    """

    def __init__(self, adata: AnnData) -> None:
        self._adata = adata

    @property
    def pp(self) -> _Namespace:
        """Splitting and train-only preparation; each call returns the AnnData."""
        return _Namespace(self._adata, "pp", chain=True)

    @property
    def tl(self) -> _Namespace:
        """Fitting, predicting, evaluating; each call returns the AnnData."""
        return _Namespace(self._adata, "tl", chain=True)

    @property
    def pl(self) -> _Namespace:
        """Plots; each call returns Axes."""
        return _Namespace(self._adata, "pl", chain=False)

    @property
    def get(self) -> _Namespace:
        """Tables; each call returns a DataFrame."""
        return _Namespace(self._adata, "get", chain=False)
