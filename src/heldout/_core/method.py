"""What a method is: its entry in the closed list of a wing, the result of its fit, and how that is stored and read.

A stored fit names a method of a closed list, never an import path.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from heldout._core.fits import Fit
from heldout._core.store import suggest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    import numpy as np

    from heldout._core.options import Config
    from heldout._core.partition import Partition

FITTED = "fitted."
"""Prefix of the arrays of a method in a stored fit; other arrays belong to the wing."""


@dataclass(frozen=True)
class Fitted:
    """Result of a fit: arrays, JSON values, and a table with one row for each epoch."""

    arrays: dict[str, np.ndarray]
    info: dict[str, Any] = field(default_factory=dict)
    history: pd.DataFrame = field(default_factory=pd.DataFrame)

    @classmethod
    def of(cls, fit: Fit) -> Fitted:
        """Read the result of a method from a stored fit.

        Older fits of two wings have arrays without the prefix; then all arrays are those of the method.
        """
        prefixed = any(name.startswith(FITTED) for name in fit.arrays)
        arrays = without_prefix(fit.arrays, FITTED) if prefixed else dict(fit.arrays)
        return cls(arrays, fit.info["fitted"], fit.history)


@dataclass(frozen=True)
class Method:
    """One method of a wing. Its class is imported when it is first used.

    The class has ``default_config`` (an instance of its options), ``stochastic`` (whether another seed gives another
    fit), and the two verbs of its wing, ``fit`` and ``predict``.

    Parameters
    ----------
    name
        Name that users pass as ``method``.
    role
        ``baseline`` for a simple method, else ``model``.
    summary
        What it does, one line.
    path
        ``module:Class``.
    kinds
        Kinds of questions it can answer, in a wing that has several (forecast: ``forecast``, ``interpolation``).
    default_baseline
        Whether it is scored with a fit when the user names no baselines.
    requires
        What must be known for that, a word that the wing defines (genotype: ``covariates``, ``cell_types``).
    """

    name: str
    role: Literal["baseline", "model"]
    summary: str
    path: str
    kinds: frozenset[str] = frozenset()
    default_baseline: bool = False
    requires: str = ""

    def load(self) -> Any:
        """Import and return the class behind the name."""
        module, _, attribute = self.path.partition(":")
        return getattr(import_module(module), attribute)

    def check_config(self, config: Any) -> Any:
        """Return the default options, or those given if they are of the class of this method.

        Raises
        ------
        TypeError
            If the options are of another class.
        """
        default: Config = self.load().default_config
        if config is None:
            return default
        if type(config) is not type(default):
            msg = (
                f"config must be a {type(default).__name__} for method={self.name!r}, got {type(config).__name__}. "
                "Leave it out to use the default options, or pass the method of these options."
            )
            raise TypeError(msg)
        return config


class Registry:
    """The methods of one wing by name, and how their fits are stored and read.

    Parameters
    ----------
    wing
        Name of the wing.
    *methods
        Methods that users name.
    adapters
        Methods for objects that users pass. Their names are in stored fits, but a user cannot pass such a name alone,
        so they are left out of every list.
    """

    def __init__(self, wing: str, *methods: Method, adapters: Sequence[Method] = ()) -> None:
        self.wing = wing
        self._methods = {method.name: method for method in methods}
        self._adapters = {method.name: method for method in adapters}

    def __iter__(self) -> Iterator[Method]:
        return iter(self._methods.values())

    def __getitem__(self, name: str) -> Method:
        found = self._methods.get(name) or self._adapters.get(name)
        if found is None:
            raise ValueError(self._unknown(name))
        return found

    def _unknown(self, name: Any) -> str:
        return f"method={name!r} is not a {self.wing} method. {suggest(name, self._methods)}"

    def is_adapter(self, name: str) -> bool:
        """Whether the name stands for objects that users pass."""
        return name in self._adapters

    def names(self, role: str | None = None, *, kinds: Collection[str] = ()) -> list[str]:
        """Names of the methods; only those with a role, or those that can answer all ``kinds``, if given."""
        return [m.name for m in self if (role is None or m.role == role) and m.kinds.issuperset(kinds)]

    def baselines(
        self, asked: Sequence[str] | None, *, known: Collection[str] = (), kinds: Collection[str] = ()
    ) -> list[str]:
        """Names of the baselines that were asked for, or the default ones.

        Parameters
        ----------
        asked
            Names from the user; None for the default baselines.
        known
            What is known, for default baselines that require something.
        kinds
            Kinds of questions that default baselines must be able to answer.

        Raises
        ------
        ValueError
            If ``asked`` is a string, or has a name that is not a method.
        """
        if asked is None:
            return [
                m.name
                for m in self
                if m.default_baseline and (not m.requires or m.requires in known) and m.kinds.issuperset(kinds)
            ]
        if isinstance(asked, str):
            msg = f"baselines={asked!r} must be a list of methods, e.g. [{asked!r}], or None for the default ones."
            raise ValueError(msg)
        if unknown := [name for name in asked if not isinstance(name, str) or name not in self._methods]:
            raise ValueError(self._unknown(unknown[0]))
        return list(asked)

    def method_of(self, fit: Fit) -> Method:
        """Method of a stored fit of this wing."""
        return self[fit.method.removeprefix(f"{self.wing}.")]

    def implementation(self, name: str) -> Any:
        """New instance of the class of a method. A class that combines methods has ``registry``, which is set here."""
        made = self[name].load()()
        if hasattr(made, "registry"):
            made.registry = self
        return made

    def implementation_of(self, fit: Fit) -> Any:
        """New instance of the class that made a stored fit."""
        return self.implementation(self.method_of(fit).name)

    def config_of(self, fit: Fit) -> Any:
        """Options of a stored fit, as an instance of its option class."""
        return type(self.method_of(fit).load().default_config).from_stored(fit.config)

    def to_fit(
        self,
        method: str,
        config: Config,
        fitted: Fitted,
        partition: Partition,
        *,
        seed: int,
        genes: np.ndarray,
        info: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray] | None = None,
    ) -> Fit:
        """Turn the result of a method into a fit that can be stored.

        Parameters
        ----------
        method, config, fitted, partition, seed
            What was fitted, with which options, on which split, from which seed.
        genes
            Names of the genes that the fit reads.
        info, arrays
            What the wing needs to use the fit, in addition to the result of the method.
        """
        return Fit(
            method=f"{self.wing}.{method}",
            config={**config.stored(), "seed": seed},
            split_key=partition.key,
            split_hash=partition.hash,
            genes=genes,
            arrays={**(arrays or {}), **with_prefix(fitted.arrays, FITTED)},
            info={**info, "fitted": fitted.info},
            history=fitted.history,
        )


def with_prefix(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Arrays under names that begin with the prefix."""
    return {f"{prefix}{name}": array for name, array in arrays.items()}


def without_prefix(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose names begin with the prefix, by the rest of the name."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
