"""``adata.ho``: the functions of heldout as methods that can be chained."""

from __future__ import annotations

import inspect
from functools import cache, wraps
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any

from anndata import AnnData, register_anndata_namespace

if TYPE_CHECKING:
    from collections.abc import Callable

NEW = frozenset({"predict_cells", "predict_profiles", "to_convention", "to_counts"})
"""Functions of ``tl`` that return a new AnnData; a chain does not go on with ``adata`` after them."""

_SPACES = {
    "pp": "Split and prepare, fitted on train cells only; each call returns the AnnData.",
    "tl": "Audit, fit, predict and evaluate; each call returns the AnnData, or new predicted cells or profiles.",
    "get": "Tables; each call returns a DataFrame.",
    "pl": "Plots; each call returns Axes.",
}
"""What each namespace has."""


class _Namespace:
    """The public functions of one module, bound to an AnnData. The module is imported at the first use."""

    def __init__(self, adata: AnnData, name: str, *, chain: bool) -> None:
        self._adata, self._name, self._chain = adata, name, chain

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._bound()]

    def __getattr__(self, name: str) -> Any:
        functions = {} if name.startswith("_") else _functions(self._name)
        if name not in functions:
            msg = f"adata.ho.{self._name} has no function {name!r}"
            raise AttributeError(msg, name=name, obj=self)
        return _bind(functions[name], self._adata, chain=self._chain and name not in NEW)

    def __repr__(self) -> str:
        title = f"adata.ho.{self._name}: {_first_line(import_module(f'heldout.{self._name}'))}"
        return "\n".join([title, *_listed(self._bound())])

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"

    def _bound(self) -> dict[str, Callable[..., Any]]:
        return _functions(self._name)


@cache
def _functions(name: str) -> dict[str, Callable[..., Any]]:
    """The functions of a module that take an AnnData."""
    module = import_module(f"heldout.{name}")
    found = {name: getattr(module, name) for name in module.__all__}
    return {name: function for name, function in found.items() if "adata" in inspect.signature(function).parameters}


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

    pp: _Namespace
    tl: _Namespace
    get: _Namespace
    pl: _Namespace

    def __init__(self, adata: AnnData) -> None:
        self._adata = adata
        for name in _SPACES:  # attributes, because notebooks complete no names behind a property
            setattr(self, name, _Namespace(adata, name, chain=name in {"pp", "tl"}))

    def __repr__(self) -> str:
        lines = [f"adata.ho: {_first_line(Heldout)}", ""]
        for name, what in _SPACES.items():
            lines += [f"{name}  {what}", *_wrapped(list(_functions(name))), ""]
        lines += [f"report  {_first_line(self.report)}", ""]
        return "\n".join([*lines, "Print adata.ho.tl to see what each function does."])

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"

    @property
    def report(self) -> Callable[..., Any]:
        """Write what is stored as one HTML page; see :func:`heldout.report`."""
        return _bind(import_module("heldout._report").report, self._adata, chain=False)


def _wrapped(names: list[str]) -> list[str]:
    import textwrap

    return textwrap.wrap(", ".join(names), 96, initial_indent="    ", subsequent_indent="    ")
