"""Read a perturbation name such as ``"A+B"`` as the set of its targets.

``"A+B"`` and ``"B+A"`` are the same set. Different guides of A and B give the same set, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from heldout._core.store import as_names, some, suggest

if TYPE_CHECKING:
    from collections.abc import Sequence

Targets = tuple[str, ...]


@dataclass(frozen=True)
class Parser:
    """Rules that turn a name into its sorted targets. A control has no targets.

    Parameters
    ----------
    control
        Names of controls. As a part of a name (``"A+control"``), a control adds no target.
    separator
        Text between the parts of a name, or None if every name is one target.
    mapping
        Targets of guides and of whole names. The mapping has priority over the separator.
    strict
        Refuse a guide that is neither in ``mapping`` nor one of its targets.
    """

    control: Sequence[str]
    separator: str | None
    mapping: Mapping[str, Targets] = field(default_factory=dict)
    strict: bool = False

    @property
    def known(self) -> set[str]:
        """Names that have a meaning without being divided."""
        return {*self.control, *self.mapping, *(target for targets in self.mapping.values() for target in targets)}

    def parse(self, names: Sequence[str]) -> list[Targets]:
        """Return the targets of each name.

        Raises
        ------
        ValueError
            If a name has an empty part, contains a known name that contains the separator, or is not in the mapping.
        """
        known = self.known
        whole = {name for name in known if self.separator is not None and self.separator in name}
        parts = [self._parts(name, known=known, whole=whole) for name in names]
        if self.strict:
            lacking = sorted({part for of_name in parts for part in of_name if part not in known})
            if lacking:
                msg = (
                    f"targets lacks {len(lacking)} of the names (e.g. {some(lacking)}), so it is unknown if they "
                    "share a target with other names. List each guide with its target, and a target itself as "
                    "{'A': 'A'}."
                )
                raise ValueError(msg)
        return [self._targets(of_name) for of_name in parts]

    def _parts(self, name: str, *, known: set[str], whole: set[str]) -> list[str]:
        separator = self.separator
        if name in known or separator is None:
            return [name]
        parts = [part.strip() for part in name.split(separator)]
        inside = sorted(k for k in whole if f"{separator}{k}{separator}" in f"{separator}{name}{separator}")
        if inside:
            msg = (
                f"The name {name!r} contains {inside[0]!r}, which contains the separator={separator!r}. It is "
                f"unknown where to divide the name. List its targets with targets={{{name!r}: [...]}}, or use "
                "another separator."
            )
            raise ValueError(msg)
        if not all(parts):
            msg = (
                f"The name {name!r} has an empty part between separator={separator!r}. Pass separator=None if names "
                f"are not combinations, or list its targets with targets={{{name!r}: [...]}}."
            )
            raise ValueError(msg)
        return parts

    def _targets(self, parts: Iterable[str]) -> Targets:
        every = {target for part in parts for target in self.mapping.get(part, (part,))}
        return tuple(sorted(every.difference(self.control)))


def read_mapping(targets: Mapping[Any, Any], *, separator: str | None) -> tuple[dict[str, Targets], bool]:
    """Return the targets of the listed names as text, and whether names that are not listed must be refused.

    A mapping of every name to itself only says which names are not divided. Any other mapping renames guides to
    targets, so it must list all guides.

    Raises
    ------
    ValueError
        If a name has no target, or if text that contains the separator may be one target or several.
    """
    mapping: dict[str, Targets] = {}
    for key, value in zip(as_names(list(targets)), targets.values(), strict=True):
        several = isinstance(value, Iterable) and not isinstance(value, str)
        named = as_names(list(value) if several else [value]).tolist()
        if not named or "" in named or "nan" in named or "None" in named:
            msg = (
                f"targets[{key!r}]={value!r} names no target. For a control guide, name the control. Otherwise drop "
                "those cells."
            )
            raise ValueError(msg)
        if not several and separator is not None and separator in named[0] and named[0] != key:
            msg = (
                f"targets[{key!r}]={value!r} may be one target or several, because it contains the "
                f"separator={separator!r}. Write {named} for one target, or {named[0].split(separator)} for several."
            )
            raise ValueError(msg)
        mapping[key] = tuple(named)
    return mapping, any(named != (key,) for key, named in mapping.items())


@dataclass(frozen=True)
class Perturbations:
    """The distinct perturbations of the cells.

    ``names`` are the names, (P,). ``targets`` are the targets of each perturbation. ``target_names`` are the names of
    all targets, (T,). ``members`` says which targets each perturbation has, (P × T) csr of 0 and 1. ``of_cell`` is the
    perturbation number of each cell, (n,), -1 for a control.
    """

    names: list[str]
    targets: list[Targets]
    target_names: np.ndarray
    members: sparse.csr_array
    of_cell: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Number of targets of each perturbation, (P,)."""
        return np.diff(self.members.indptr)

    @classmethod
    def of(cls, parsed: Sequence[Targets], codes: np.ndarray, *, separator: str | None) -> Perturbations:
        """Build from the targets of each name and the name number of each cell.

        Raises
        ------
        ValueError
            If two perturbations have the same name, for example the target ``"A+B"`` and the pair of A and B.
        """
        distinct = sorted(set(parsed) - {()})
        number = {targets: i for i, targets in enumerate(distinct)} | {(): -1}
        names = [(separator or "+").join(targets) for targets in distinct]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            msg = (
                f"{twice!r} is the name of two perturbations with different targets: "
                f"{some(t for t, name in zip(distinct, names, strict=True) if name == twice)}. Rename the target, or "
                "use another separator."
            )
            raise ValueError(msg)
        members, target_names = _incidence(distinct)
        of_name = np.array([number[targets] for targets in parsed], dtype=np.int64)
        return cls(names, distinct, target_names, members, of_name[codes])


def _incidence(perturbations: Sequence[Targets]) -> tuple[sparse.csr_array, np.ndarray]:
    every = sorted({target for targets in perturbations for target in targets})
    number = {target: i for i, target in enumerate(every)}
    columns = [number[target] for targets in perturbations for target in targets]
    starts = np.cumsum([0, *map(len, perturbations)])
    shape = (len(perturbations), len(every))
    members = sparse.csr_array((np.ones(len(columns), dtype=np.int64), columns, starts), shape=shape)
    return members, np.array(every, dtype=object)


def check_controls(control: Sequence[str], names: Sequence[str], parsed: Sequence[Targets]) -> None:
    """Refuse data without a control, or without a perturbed cell."""
    if all(parsed):
        msg = f"control={some(control)} is not a perturbation of any cell. {suggest(control[0], names)}"
        raise ValueError(msg)
    if not any(parsed):
        msg = (
            f"Every cell is a control ({some(control)}), so there is no perturbation to hold out. Check "
            "perturbation_key."
        )
        raise ValueError(msg)


def seen_in_train(members: sparse.csr_array, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how many targets of each perturbation are in train at all, and how many are there alone, both (P,).

    Parameters
    ----------
    members
        Which targets each perturbation has, (P × T).
    train
        Mask (P,) of the perturbations with train cells.
    """
    sizes = np.diff(members.indptr)
    return (
        members @ ((members.T @ train.astype(np.int64)) > 0).astype(np.int64),
        members @ ((members.T @ (train & (sizes == 1)).astype(np.int64)) > 0).astype(np.int64),
    )
