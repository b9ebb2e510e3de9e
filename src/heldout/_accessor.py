"""``adata.ho``: the functions of heldout as methods that can be chained."""

from __future__ import annotations

import inspect
from functools import wraps
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any

from anndata import AnnData, register_anndata_namespace

if TYPE_CHECKING:
    from collections.abc import Callable

NEW = frozenset({"predict_cells", "predict_profiles", "to_convention", "to_counts"})
"""Functions of ``tl`` that return a new AnnData; a chain does not go on with ``adata`` after them."""


class _Namespace:
    """The public functions of one module, bound to an AnnData."""

    def __init__(self, adata: AnnData, name: str, *, chain: bool) -> None:
        self._module = module = import_module(f"heldout.{name}")
        self._name = name
        self._names = [
            name for name in module.__all__ if "adata" in inspect.signature(getattr(module, name)).parameters
        ]
        for name in self._names:
            setattr(self, name, _bind(getattr(module, name), adata, chain=chain and name not in NEW))

    def __repr__(self) -> str:
        title = f"adata.ho.{self._name}: {_first_line(self._module)}"
        return "\n".join([title, *_listed({name: getattr(self, name) for name in self._names})])

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"


def _listed(entries: dict[str, Any]) -> list[str]:
    """One line for each entry: its name, and the first line of its docstring."""
    width = max(map(len, entries), default=0)
    return [f"  {name:<{width}}  {_first_line(entry)}" for name, entry in entries.items()]


def _first_line(documented: Any) -> str:
    return (inspect.getdoc(documented) or "").split("\n")[0]


def _bind(function: Callable[..., Any], adata: AnnData, *, chain: bool) -> Callable[..., Any]:
    @wraps(function)
    def bound(*args: Any, **kwargs: Any) -> Any:
        result = function(adata, *args, **kwargs)
        if chain:
            return result if isinstance(result, AnnData) else adata
        return result

    signature = inspect.signature(function)
    without_adata = signature.replace(parameters=list(signature.parameters.values())[1:])
    bound.__signature__ = without_adata  # type: ignore[attr-defined]
    return bound


@register_anndata_namespace("ho")
class Heldout:
    """Call the functions of heldout as methods of an AnnData, one after the other.

    For example ``adata.ho.pp.split_groups(...).ho.tl.genotype(...)``. Each call of ``pp`` and ``tl`` returns ``adata``
    (or the changed copy, with ``copy=True``), so that the next call can follow. Only ``tl.predict_cells``,
    ``tl.predict_profiles``, ``tl.to_counts`` and ``tl.to_convention`` return a new AnnData. ``get`` returns tables,
    ``pl`` returns axes, and ``report`` writes a page. Print ``adata.ho`` or ``adata.ho.tl`` to list the functions.
    """

    def __init__(self, adata: AnnData) -> None:
        self._adata = adata

    def __repr__(self) -> str:
        spaces = {name: getattr(self, name) for name in ("pp", "tl", "get", "pl")}
        lines = [f"adata.ho: {_first_line(Heldout)}", ""]
        for name, space in spaces.items():
            lines += [f"{name}  {_first_line(getattr(Heldout, name))}", *_wrapped(space._names), ""]
        lines += [f"report  {_first_line(self.report)}", ""]
        return "\n".join([*lines, "Print adata.ho.tl to see what each function does."])

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"

    @property
    def pp(self) -> _Namespace:
        """Split and prepare, fitted on train cells only; each call returns the AnnData."""
        return _Namespace(self._adata, "pp", chain=True)

    @property
    def tl(self) -> _Namespace:
        """Audit, fit, predict and evaluate; each call returns the AnnData, or new predicted cells or profiles."""
        return _Namespace(self._adata, "tl", chain=True)

    @property
    def pl(self) -> _Namespace:
        """Plots; each call returns Axes."""
        return _Namespace(self._adata, "pl", chain=False)

    @property
    def get(self) -> _Namespace:
        """Tables; each call returns a DataFrame."""
        return _Namespace(self._adata, "get", chain=False)

    @property
    def report(self) -> Callable[..., Any]:
        """Write what is stored as one HTML page; see :func:`heldout.report`."""
        return _bind(import_module("heldout._report").report, self._adata, chain=False)


def _wrapped(names: list[str]) -> list[str]:
    import textwrap

    return textwrap.wrap(", ".join(names), 96, initial_indent="    ", subsequent_indent="    ")
