"""What a name such as ``"A+B"`` perturbs: its set of targets, the same for ``"B+A"`` and for other guides of A and B."""

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
    """Rules that turn a name into its sorted targets; none for a control.

    Parameters
    ----------
    control
        Names of controls; as a part of a name (``"A+control"``) they perturb nothing.
    separator
        Text between the parts of a name, or None if every name is one target.
    listed
        Targets of guides and whole names, which stand above the separator.
    strict
        Refuse a guide that ``listed`` does not list and that is none of its targets.
    """

    control: Sequence[str]
    separator: str | None
    listed: Mapping[str, Targets] = field(default_factory=dict)
    strict: bool = False

    @property
    def known(self) -> set[str]:
        """Names that have a meaning of their own."""
        return {*self.control, *self.listed, *(target for targets in self.listed.values() for target in targets)}

    def parse(self, names: Sequence[str]) -> list[Targets]:
        """Targets of each name.

        Raises
        ------
        ValueError
            If a name has an empty part, holds a known name that itself has the separator, or is not listed.
        """
        known = self.known
        whole = {name for name in known if self.separator is not None and self.separator in name}
        parts = [self._parts(name, known=known, whole=whole) for name in names]
        if self.strict:
            lacking = sorted({part for of_name in parts for part in of_name if part not in known})
            if lacking:
                msg = (
                    f"targets does not list {len(lacking)} of the names (e.g. {some(lacking)}), so it is not known whether "
                    "they share a target with others. List each guide with its target, a target itself as "
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
                f"The name {name!r} holds {inside[0]!r}, which has the separator={separator!r} itself, so where to cut it is "
                f"not known. List its targets: targets={{{name!r}: [...]}}, or take another separator."
            )
            raise ValueError(msg)
        if not all(parts):
            msg = (
                f"The name {name!r} has an empty part between separator={separator!r}. Pass separator=None if names are not "
                f"combinations, or list its targets: targets={{{name!r}: [...]}}."
            )
            raise ValueError(msg)
        return parts

    def _targets(self, parts: Iterable[str]) -> Targets:
        every = {target for part in parts for target in self.listed.get(part, (part,))}
        return tuple(sorted(every.difference(self.control)))


def read_listed(targets: Mapping[Any, Any], *, separator: str | None) -> tuple[dict[str, Targets], bool]:
    """Targets of the listed names as text, and whether names that are not listed must be refused.

    A list that maps every name to itself only says which names are not to be cut; any other maps guides to targets.

    Raises
    ------
    ValueError
        If a name has no target, or text with the separator may be one target or several.
    """
    listed: dict[str, Targets] = {}
    for key, value in zip(as_names(list(targets)), targets.values(), strict=True):
        several = isinstance(value, Iterable) and not isinstance(value, str)
        named = as_names(list(value) if several else [value]).tolist()
        if not named or "" in named or "nan" in named or "None" in named:
            msg = f"targets[{key!r}]={value!r} names no target. For a control guide name the control, else drop those cells."
            raise ValueError(msg)
        if not several and separator is not None and separator in named[0] and named[0] != key:
            msg = (
                f"targets[{key!r}]={value!r} may be one target or several, because it has the separator={separator!r}. "
                f"Write {named} for one target, or {named[0].split(separator)} for several."
            )
            raise ValueError(msg)
        listed[key] = tuple(named)
    return listed, any(named != (key,) for key, named in listed.items())


@dataclass(frozen=True)
class Perturbations:
    """The distinct perturbations: names (P,), their targets, and which targets each has, (P × T) csr of 0 and 1.

    ``of_cell`` is the number of the perturbation of each cell, (n,), -1 for a control.
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
            If two perturbations would have one name, as the target ``"A+B"`` and the pair of A and B.
        """
        distinct = sorted(set(parsed) - {()})
        number = {targets: i for i, targets in enumerate(distinct)} | {(): -1}
        names = [(separator or "+").join(targets) for targets in distinct]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            msg = (
                f"{twice!r} is the name of two perturbations with other targets: "
                f"{some(t for t, name in zip(distinct, names, strict=True) if name == twice)}. Rename the target, or take "
                "another separator."
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
    """Refuse when no name is a control, or no cell is perturbed."""
    if all(parsed):
        msg = f"control={some(control)} is no perturbation of any cell. {suggest(control[0], names)}"
        raise ValueError(msg)
    if not any(parsed):
        msg = (
            f"Every cell is a control ({some(control)}); there is no perturbation to hold out. Check perturbation_key."
        )
        raise ValueError(msg)


def seen_in_train(members: sparse.csr_array, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of targets of each perturbation that train has in any perturbation, and alone, both (P,).

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
