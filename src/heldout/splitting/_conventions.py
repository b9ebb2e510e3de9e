"""How other tools name perturbations, contexts and doses, and how their labels are divided into targets."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from heldout._core.store import suggest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from heldout.splitting._perturbations import Targets


@dataclass(frozen=True)
class Convention:
    """Column names and labels of one tool or collection.

    Parameters
    ----------
    perturbation_key
        Column of ``obs`` with the perturbation.
    control
        Label of controls.
    separator
        Text between the targets of a combination. If None, each label is one target.
    single
        Text that follows the target of a single perturbation.
    other_controls
        Further labels that are read as controls.
    context_key, dose_key, number_key
        Columns of ``obs`` with the context, the dose and the number of targets; None if there is none.
    gene_key
        Column of ``var`` with gene names; None if they are the names of ``var``.
    values
        What ``X`` must hold: ``counts``, ``log`` (log-normalised expression) or ``any``.
    with_controls
        Whether control cells belong to the data.
    """

    perturbation_key: str
    control: str
    separator: str | None = None
    single: str = ""
    other_controls: tuple[str, ...] = ()
    context_key: str | None = None
    dose_key: str | None = None
    number_key: str | None = None
    gene_key: str | None = None
    values: str = "any"
    with_controls: bool = True

    @property
    def controls(self) -> tuple[str, ...]:
        """All labels that are read as controls."""
        return (self.control, *self.other_controls)

    def label(self, targets: Targets) -> str:
        """The label of a perturbation; of a control, if there are no targets.

        Raises
        ------
        ValueError
            If the label could not be divided into the same targets again.
        """
        if not targets:
            return self.control
        divides = self.separator is not None and (len(targets) > 1 or self.number_key is None)
        bad = [target for target in targets if divides and str(self.separator) in target]
        control = [target for target in targets if self._has_control(target)]
        if bad or control:
            what = f"contains {self.separator!r}, which separates targets" if bad else "has the label of controls"
            msg = f"The target {(bad or control)[0]!r} {what} in this convention. Rename the target."
            raise ValueError(msg)
        return (self.separator or "+").join(targets) + (self.single if len(targets) == 1 else "")

    def _has_control(self, target: str) -> bool:
        """Whether a target is the label of controls, or is this label and another target."""
        if target in self.controls:
            return True
        ends = [] if self.separator is None else [(c + self.separator, self.separator + c) for c in self.controls]
        return any(target.startswith(first) or target.endswith(last) for first, last in ends)

    def targets(self, label: str, *, known: Collection[str], n: int | None = None) -> Targets:
        """The sorted targets of a label; none of a control.

        Parameters
        ----------
        label
            The label.
        known
            Names of genes and of single targets, by which a label is divided if its division is not clear.
        n
            Number of targets, if it is known.

        Raises
        ------
        ValueError
            If it is not clear where to divide the label.
        """
        if label in self.controls:
            return ()
        separator = self.separator
        if separator is None:
            return (label,)
        for control in self.controls:
            rest = label.removesuffix(separator + control).removeprefix(control + separator)
            if rest != label:
                return (rest,) if self.single else self.targets(rest, known=known, n=n)
        return tuple(sorted(set(divided(label, separator, known=known, n=n, always=bool(self.single)))))


def divided(
    label: str, separator: str, *, known: Collection[str], n: int | None = None, always: bool = False
) -> tuple[str, ...]:
    """Divide a label at some of its separators. With ``always`` a label with one separator has two targets.

    Raises
    ------
    ValueError
        If several divisions are possible, or none.
    """
    pieces = label.split(separator)
    if n == 1 or len(pieces) == 1:
        return (label,)
    if n == len(pieces) or (always and n is None and len(pieces) == 2):
        return tuple(pieces)
    able = [parts for parts in _divisions(pieces, separator) if n in (None, len(parts)) and known_all(parts, known)]
    if len(able) == 1:
        return able[0]
    why = f"{len(able)} ways to divide it are possible" if able else "its parts are not names of genes or of singles"
    msg = (
        f"The label {label!r} contains {separator!r}, and {why}. Say which targets it has: "
        f"targets={{{label!r}: [...]}}, with one name for a single target."
    )
    raise ValueError(msg)


def known_all(parts: Sequence[str], known: Collection[str]) -> bool:
    """Whether all parts are known names, each once."""
    return len(set(parts)) == len(parts) and all(part in known for part in parts)


def _divisions(pieces: list[str], separator: str) -> Iterator[tuple[str, ...]]:
    """All ways to join neighbouring pieces."""
    for k in range(len(pieces)):
        for cuts in combinations(range(1, len(pieces)), k):
            edges = [0, *cuts, len(pieces)]
            yield tuple(separator.join(pieces[a:b]) for a, b in zip(edges[:-1], edges[1:], strict=True))


_SCPERTURB = Convention(
    "perturbation",
    "control",
    separator="_",
    context_key="cell_line",
    dose_key="dose_value",
    number_key="nperts",
)

CONVENTIONS: dict[str, Convention] = {
    "vcc": Convention("target_gene", "non-targeting", context_key="context", values="counts", with_controls=False),
    "cell-eval": Convention("target_gene", "non-targeting"),
    "scperteval": Convention("perturbation", "control", separator="+", values="log"),
    "gears": Convention(
        "condition",
        "ctrl",
        separator="+",
        single="+ctrl",
        other_controls=("ctrl+ctrl",),
        context_key="cell_type",
        gene_key="gene_name",
        values="log",
    ),
    "scperturb": _SCPERTURB,
    "pertpy": _SCPERTURB,
}
"""Conventions by name."""


def convention_of(name: str) -> Convention:
    """Return a convention by name.

    Raises
    ------
    ValueError
        If there is no such convention.
    """
    if name not in CONVENTIONS:
        msg = f"convention={name!r} is not known. {suggest(name, CONVENTIONS)}"
        raise ValueError(msg)
    return CONVENTIONS[name]
