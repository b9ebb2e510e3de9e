"""The closed list of methods: a stored fit names one of these, never an import path."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from heldout._core.store import suggest

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Method:
    """One method of a wing; its class is imported when it is first used."""

    name: str
    role: Literal["baseline", "model"]
    summary: str
    path: str

    def load(self) -> Any:
        """Import and return the class behind the name."""
        module, _, attribute = self.path.partition(":")
        return getattr(import_module(module), attribute)


class Registry:
    """The methods of one wing by name."""

    def __init__(self, wing: str, *methods: Method) -> None:
        self.wing = wing
        self._methods = {method.name: method for method in methods}

    def __iter__(self) -> Iterator[Method]:
        return iter(self._methods.values())

    def names(self, role: str | None = None) -> list[str]:
        """Names of all methods, or of those with a role."""
        return [m.name for m in self if role is None or m.role == role]

    def __getitem__(self, name: str) -> Method:
        if name not in self._methods:
            msg = f"method={name!r} is not a {self.wing} method. {suggest(name, self._methods)}"
            raise ValueError(msg)
        return self._methods[name]
