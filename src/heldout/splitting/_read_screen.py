"""Read the perturbation and the context of each cell, from the record of a split or from the columns of ``obs``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core import cells, store
from heldout.splitting._doses import read_doses
from heldout.splitting._perturbations import Parser, Targets
from heldout.splitting._screen import as_list, context_codes, read_perturbations

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from heldout._core.partition import Partition

CONTROL = -1
"""Perturbation number of a control cell."""

UNKNOWN = -2
"""Perturbation number of a cell whose perturbation or context is not in the split. Such a cell must be unused."""


@dataclass(frozen=True)
class ScreenNames:
    """The rules for reading names, which a fit stores as JSON values together with its :class:`Screen`.

    Parameters
    ----------
    perturbation_key, covariate_keys
        Columns of ``obs``.
    control
        Names of controls.
    separator
        Text between the targets of a combination.
    known
        Targets of the names (guides) that cannot be read from the name alone.
    contexts
        Values of the covariates in each context.
    dose_key
        Column of ``obs`` with the dose, or None.
    """

    perturbation_key: str
    covariate_keys: list[str]
    control: list[str]
    separator: str | None
    known: dict[str, Targets]
    contexts: list[tuple[str, ...]]
    dose_key: str | None = None

    def parse(self, names: Sequence[str]) -> list[Targets]:
        """Return the targets of each name. A control has none. ``"B+A"`` has the targets of ``"A+B"``."""
        return Parser(self.control, self.separator, self.known).parse(names)

    def joined(self, targets: Targets) -> str:
        """Return the name of a perturbation, which joins its sorted targets."""
        return (self.separator or "+").join(targets)

    def shown(self, context: int) -> str:
        """Return the name of a context for a message."""
        values = zip(self.covariate_keys, self.contexts[context], strict=True)
        return ", ".join(f"{key}={value!r}" for key, value in values) or "adata"

    def to_json(self) -> dict[str, Any]:
        """Return the rules as JSON values."""
        rules = {name: value for name, value in vars(self).items() if name != "dose_key" or value is not None}
        return {**rules, "known": {name: list(targets) for name, targets in self.known.items()}}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ScreenNames:
        """Build the rules from the result of :meth:`to_json`."""
        known = {name: tuple(targets) for name, targets in stored["known"].items()}
        return cls(**{**stored, "known": known, "contexts": [tuple(context) for context in stored["contexts"]]})


@dataclass(frozen=True)
class Screen:
    """The perturbations and contexts of the cells of an AnnData.

    The names are sorted, so nothing depends on the order of the rows.

    Parameters
    ----------
    names
        The rules for reading names.
    perturbations
        Targets of each perturbation, (P,), sorted.
    of_cell
        Perturbation number of each cell, (n,): -1 for a control, -2 for a cell that is not in the split.
    context
        Context number of each cell, (n,).
    dose
        Dose of each cell, (n,), 0 for a control; None if the screen has no doses.
    """

    names: ScreenNames
    perturbations: list[Targets]
    of_cell: np.ndarray
    context: np.ndarray
    dose: np.ndarray | None = None

    @property
    def n_contexts(self) -> int:
        """Number of contexts."""
        return len(self.names.contexts)

    def groups(self, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the perturbation and the context of each group of cells, and the group of each cell.

        A group has one perturbation (-1: control) in one context. Only cells in ``mask`` are used; the group of other
        cells is -1. Controls come first, then perturbations by number, then contexts by number.
        """
        inside = mask & (self.of_cell > UNKNOWN)
        joint = (self.of_cell[inside] + 1) * self.n_contexts + self.context[inside]
        distinct, number = np.unique(joint, return_inverse=True)
        codes = np.full(len(self.of_cell), -1, dtype=np.int64)
        codes[inside] = number
        return distinct // self.n_contexts - 1, distinct % self.n_contexts, codes

    def groups_by_dose(self, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray]:
        """Return the same as :meth:`groups`, with a group for each dose, and its dose in the third place.

        Doses of a perturbation in a context are sorted. Without doses the third value is None.
        """
        number, context, codes = self.groups(mask)
        if self.dose is None:
            return number, context, None, codes
        inside = codes >= 0
        doses, of_cell = np.unique(self.dose[inside], return_inverse=True)
        distinct, codes[inside] = np.unique(codes[inside] * len(doses) + of_cell, return_inverse=True)
        plain, dose = distinct // max(len(doses), 1), doses[distinct % max(len(doses), 1)]
        return number[plain], context[plain], dose, codes


def screen_of(
    adata: AnnData,
    partition: Partition,
    perturbation_key: str | None = None,
    *,
    control: str | Sequence[str] | None = None,
    targets: str | Mapping[str, str | Sequence[str]] | None = None,
    separator: str | None = "+",
    covariate_keys: str | Sequence[str] | None = None,
    dose_key: str | None = None,
) -> Screen:
    """Read the screen from the record of its split, or from the arguments if the split has no such record.

    Raises
    ------
    ValueError
        If an argument contradicts the split, or if a column or a control is missing.
    """
    if partition.scheme == "perturbations":
        given = {"control": control, "covariate_keys": covariate_keys}
        screen = _recorded(adata, partition, perturbation_key, given)
        return _with_recorded_doses(adata, partition, screen, dose_key)
    if perturbation_key is None:
        msg = (
            f"obs[{partition.key!r}] is a split of scheme {partition.scheme!r}, which has no perturbation_key. Pass "
            "perturbation_key."
        )
        raise ValueError(msg)
    screen = read_screen(
        adata,
        perturbation_key,
        control="control" if control is None else control,
        targets=targets,
        separator=separator,
        covariate_keys=() if covariate_keys is None else covariate_keys,
    )
    return with_doses(adata, screen, dose_key, partition.mask("train", "val", "test"))


def read_screen(
    adata: AnnData,
    perturbation_key: str,
    *,
    control: str | Sequence[str],
    targets: str | Mapping[str, str | Sequence[str]] | None,
    separator: str | None,
    covariate_keys: str | Sequence[str],
) -> Screen:
    """Read the screen from columns of ``obs``. A split is not needed."""
    controls, keys = as_list(control), as_list(covariate_keys)
    texts, parsed, found = read_perturbations(adata, perturbation_key, controls, targets, separator)
    contexts, context = context_codes(adata, keys)
    plain = Parser(controls, separator)
    known = _unreadable_names(plain, texts.tolist(), parsed)
    names = ScreenNames(perturbation_key, keys, controls, separator, known, contexts)
    return Screen(names, found.targets, found.of_cell, context)


def _unreadable_names(plain: Parser, texts: Sequence[str], parsed: Sequence[Targets]) -> dict[str, Targets]:
    """Return the targets of the names whose targets cannot be read from the name alone. A control has none."""
    known = {}
    for text, of_name in zip(texts, parsed, strict=True):
        try:
            alone = plain.parse([text])[0]
        except ValueError:
            alone = None
        if alone != of_name:
            known[text] = of_name
    return known


def _recorded(adata: AnnData, partition: Partition, key: str | None, given: Mapping[str, Any]) -> Screen:
    """Return the screen of a split by :func:`heldout.pp.split_perturbations`."""
    params = partition.params
    if key is not None and key != params["perturbation_key"]:
        _contradicts("perturbation_key", key, params["perturbation_key"], partition.key)
    for name, value in given.items():
        if value is not None and as_list(value) != params[name]:
            _contradicts(name, value, params[name], partition.key)
    key = params["perturbation_key"]
    texts = store.as_names(cells.column(adata, key, argument="perturbation_key"))
    number = pd.Series(texts).map(params["names"]).to_numpy(dtype=np.float64, na_value=np.nan)
    contexts = [tuple(context) for context in params["contexts"]]
    context = _context_numbers(adata, params["covariate_keys"], contexts)
    new = np.isnan(number) | (context < 0)
    if (new & partition.mask("train", "val", "test")).any():
        where = f"perturbation_key={key!r} or covariate_keys={params['covariate_keys']}"
        msg = (
            f"{int((new & partition.mask('train', 'val', 'test')).sum())} cells have values of {where} that the "
            f"split did not have when it was made (e.g. {store.some(dict.fromkeys(texts[new]))}). Restore these "
            "columns, or make the split again."
        )
        raise ValueError(msg)
    perturbations = [tuple(targets) for targets in params["perturbations"]]
    of_name = [perturbations[i] if i >= 0 else () for i in params["names"].values()]
    plain = Parser(params["control"], params["separator"])
    known = _unreadable_names(plain, list(params["names"]), of_name)
    names = ScreenNames(key, params["covariate_keys"], params["control"], params["separator"], known, contexts)
    of_cell = np.where(new, UNKNOWN, np.nan_to_num(number, nan=UNKNOWN)).astype(np.int64)
    return Screen(names, perturbations, of_cell, np.maximum(context, 0))


def _context_numbers(adata: AnnData, keys: Sequence[str], contexts: Sequence[tuple[str, ...]]) -> np.ndarray:
    """Return the number of the context of each cell among the known contexts, -1 for any other context."""
    if not keys:
        return np.zeros(adata.n_obs, dtype=np.int64)
    found, of_cell = context_codes(adata, keys)
    number = {context: i for i, context in enumerate(contexts)}
    return np.array([number.get(context, -1) for context in found], dtype=np.int64)[of_cell]


def reread_screen(adata: AnnData, partition: Partition, names: ScreenNames) -> Screen:
    """Read the screen of a stored fit again, with its rules for names and its numbers of contexts.

    Cells may have been dropped since the fit, and with them perturbations and whole contexts.

    Raises
    ------
    ValueError
        If a cell of the split has a context that the fit did not have.
    """
    texts, codes = store.factorize(
        store.as_names(cells.column(adata, names.perturbation_key, argument="perturbation_key"))
    )
    parsed = names.parse(texts.tolist())
    perturbations = sorted(set(parsed) - {()})
    number = {targets: i for i, targets in enumerate(perturbations)} | {(): CONTROL}
    of_cell = np.array([number[targets] for targets in parsed], dtype=np.int64)[codes]
    context = _context_numbers(adata, names.covariate_keys, names.contexts)
    lost = (context < 0) & partition.mask("train", "val", "test")
    if lost.any():
        msg = (
            f"{int(lost.sum())} cells have values of covariate_keys={names.covariate_keys} that the fit did not "
            "have. Restore these columns, or fit again."
        )
        raise ValueError(msg)
    screen = Screen(names, perturbations, np.where(context < 0, UNKNOWN, of_cell), np.maximum(context, 0))
    return with_doses(adata, screen, names.dose_key, partition.mask("train", "val", "test"))


def with_doses(adata: AnnData, screen: Screen, dose_key: str | None, used: np.ndarray) -> Screen:
    """Add the dose of each cell to a screen. Cells outside ``used`` (n,) without a valid dose become unknown."""
    if dose_key is None:
        return screen
    if dose_key in (screen.names.perturbation_key, *screen.names.covariate_keys):
        msg = f"dose_key={dose_key!r} is also perturbation_key or one of covariate_keys. Remove it there."
        raise ValueError(msg)
    dose = read_doses(adata, dose_key, screen.of_cell == CONTROL, used & (screen.of_cell > UNKNOWN))
    without = (screen.of_cell >= 0) & ~(np.isfinite(dose) & (dose > 0))
    names = replace(screen.names, dose_key=dose_key)
    return replace(screen, names=names, of_cell=np.where(without, UNKNOWN, screen.of_cell), dose=np.nan_to_num(dose))


def _with_recorded_doses(adata: AnnData, partition: Partition, screen: Screen, dose_key: str | None) -> Screen:
    """Add doses to the screen of a split by :func:`heldout.pp.split_perturbations`, which may have a ``dose_key``."""
    recorded = partition.params.get("dose_key")
    if dose_key is not None and recorded is not None and dose_key != recorded:
        _contradicts("dose_key", dose_key, recorded, partition.key)
    used = partition.mask("train", "val", "test")
    screen = with_doses(adata, screen, recorded or dose_key, used)
    if recorded is None or screen.dose is None:
        return screen
    new = (screen.of_cell >= 0) & ~np.isin(screen.dose, partition.params["doses"])
    if (new & used).any():
        msg = (
            f"{int((new & used).sum())} cells have a dose in dose_key={recorded!r} that the split did not have when it "
            f"was made (e.g. {screen.dose[new & used][0]:g}). Restore this column, or make the split again."
        )
        raise ValueError(msg)
    return replace(screen, of_cell=np.where(new, UNKNOWN, screen.of_cell))


def _contradicts(name: str, value: Any, recorded: Any, split_key: str) -> None:
    msg = (
        f"{name}={value!r} differs from the value {recorded!r} in the split {split_key!r}. Leave the argument out, "
        "or make the split again."
    )
    raise ValueError(msg)
