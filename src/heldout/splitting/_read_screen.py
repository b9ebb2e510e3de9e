"""Which cell is perturbed how, in which context: read from the split's record, or from the columns of ``obs``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core import cells, store
from heldout.splitting._perturbations import Parser, Targets
from heldout.splitting._screen import as_list, context_codes, read_perturbations

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from heldout._core.partition import Partition

CONTROL = -1
"""Number of the perturbation of a control cell."""

UNKNOWN = -2
"""Number of a cell whose perturbation or context the split has not seen; it must be unused."""


@dataclass(frozen=True)
class ScreenNames:
    """How names are read: what :class:`Screen` keeps in a fit, as JSON values.

    Parameters
    ----------
    perturbation_key, covariate_keys
        Columns of ``obs``.
    control
        Names of controls.
    separator
        Text between the targets of a combination.
    known
        Targets of the names (guides) that do not speak for themselves.
    contexts
        Values of the covariates in each context.
    """

    perturbation_key: str
    covariate_keys: list[str]
    control: list[str]
    separator: str | None
    known: dict[str, Targets]
    contexts: list[tuple[str, ...]]

    def parse(self, names: Sequence[str]) -> list[Targets]:
        """Targets of each name, none for a control; ``"B+A"`` has those of ``"A+B"``."""
        return Parser(self.control, self.separator, self.known).parse(names)

    def joined(self, targets: Targets) -> str:
        """Name of a perturbation: its targets, sorted."""
        return (self.separator or "+").join(targets)

    def shown(self, context: int) -> str:
        """Name of a context for a message."""
        values = zip(self.covariate_keys, self.contexts[context], strict=True)
        return ", ".join(f"{key}={value!r}" for key, value in values) or "adata"

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {**vars(self), "known": {name: list(targets) for name, targets in self.known.items()}}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ScreenNames:
        """Inverse of :meth:`to_json`."""
        known = {name: tuple(targets) for name, targets in stored["known"].items()}
        return cls(**{**stored, "known": known, "contexts": [tuple(context) for context in stored["contexts"]]})


@dataclass(frozen=True)
class Screen:
    """The perturbations and contexts of the cells at hand; names are sorted, so nothing depends on the order of rows.

    Parameters
    ----------
    names
        How names are read.
    perturbations
        Targets of each perturbation, (P,), sorted.
    of_cell
        Number of the perturbation of each cell, (n,), -1 for a control, -2 for a cell that the split has not seen.
    context
        Number of the context of each cell, (n,).
    """

    names: ScreenNames
    perturbations: list[Targets]
    of_cell: np.ndarray
    context: np.ndarray

    @property
    def n_contexts(self) -> int:
        """Number of contexts."""
        return len(self.names.contexts)

    def groups(self, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Perturbation (-1: control) and context of each group of the cells in ``mask``, and each cell's group (-1: none).

        Controls come first, then perturbations by number; of one perturbation by context.
        """
        inside = mask & (self.of_cell > UNKNOWN)
        joint = (self.of_cell[inside] + 1) * self.n_contexts + self.context[inside]
        distinct, number = np.unique(joint, return_inverse=True)
        codes = np.full(len(self.of_cell), -1, dtype=np.int64)
        codes[inside] = number
        return distinct // self.n_contexts - 1, distinct % self.n_contexts, codes


def screen_of(
    adata: AnnData,
    partition: Partition,
    perturbation_key: str | None = None,
    *,
    control: str | Sequence[str] | None = None,
    targets: str | Mapping[str, str | Sequence[str]] | None = None,
    separator: str | None = "+",
    covariate_keys: str | Sequence[str] | None = None,
) -> Screen:
    """Read the screen as its split was made; what the split does not say, from the arguments.

    Raises
    ------
    ValueError
        If an argument contradicts the split, or a column or control is missing.
    """
    if partition.scheme == "perturbations":
        given = {"control": control, "covariate_keys": covariate_keys}
        return _recorded(adata, partition, perturbation_key, given)
    if perturbation_key is None:
        msg = f"obs[{partition.key!r}] is a split of scheme {partition.scheme!r}, which names no perturbation_key. Pass it."
        raise ValueError(msg)
    return read_screen(
        adata,
        perturbation_key,
        control="control" if control is None else control,
        targets=targets,
        separator=separator,
        covariate_keys=() if covariate_keys is None else covariate_keys,
    )


def read_screen(
    adata: AnnData,
    perturbation_key: str,
    *,
    control: str | Sequence[str],
    targets: str | Mapping[str, str | Sequence[str]] | None,
    separator: str | None,
    covariate_keys: str | Sequence[str],
) -> Screen:
    """Read the screen from columns of ``obs``, whether or not it is split."""
    controls, keys = as_list(control), as_list(covariate_keys)
    texts, parsed, found = read_perturbations(adata, perturbation_key, controls, targets, separator)
    contexts, context = context_codes(adata, keys)
    plain = Parser(controls, separator)
    known = _spoken_for(plain, texts.tolist(), parsed)
    names = ScreenNames(perturbation_key, keys, controls, separator, known, contexts)
    return Screen(names, found.targets, found.of_cell, context)


def _spoken_for(plain: Parser, texts: Sequence[str], parsed: Sequence[Targets]) -> dict[str, Targets]:
    """Targets of the names that could not be read from the name alone; a control has none and is known as such."""
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
    """The screen of a split by :func:`heldout.pp.split_perturbations`."""
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
            f"{int((new & partition.mask('train', 'val', 'test')).sum())} cells have values of {where} that the split did not "
            f"have when it was made (e.g. {store.some(dict.fromkeys(texts[new]))}). Restore these columns, or make the split again."
        )
        raise ValueError(msg)
    perturbations = [tuple(targets) for targets in params["perturbations"]]
    of_name = [perturbations[i] if i >= 0 else () for i in params["names"].values()]
    plain = Parser(params["control"], params["separator"])
    known = _spoken_for(plain, list(params["names"]), of_name)
    names = ScreenNames(key, params["covariate_keys"], params["control"], params["separator"], known, contexts)
    of_cell = np.where(new, UNKNOWN, np.nan_to_num(number, nan=UNKNOWN)).astype(np.int64)
    return Screen(names, perturbations, of_cell, np.maximum(context, 0))


def _context_numbers(adata: AnnData, keys: Sequence[str], contexts: Sequence[tuple[str, ...]]) -> np.ndarray:
    """Number of each cell's context among known ones, -1 for another."""
    if not keys:
        return np.zeros(adata.n_obs, dtype=np.int64)
    found, of_cell = context_codes(adata, keys)
    number = {context: i for i, context in enumerate(contexts)}
    return np.array([number.get(context, -1) for context in found], dtype=np.int64)[of_cell]


def reread_screen(adata: AnnData, partition: Partition, names: ScreenNames) -> Screen:
    """Read the screen of a stored fit again: names as they were read then, contexts by the numbers they had then.

    Cells may have been dropped since, and with them perturbations and whole contexts.

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
            f"{int(lost.sum())} cells have values of covariate_keys={names.covariate_keys} that the fit did not have. Restore these "
            "columns, or fit again."
        )
        raise ValueError(msg)
    return Screen(names, perturbations, np.where(context < 0, UNKNOWN, of_cell), np.maximum(context, 0))


def _contradicts(name: str, value: Any, recorded: Any, split_key: str) -> None:
    msg = (
        f"{name}={value!r} is not what the split {split_key!r} was made with ({recorded!r}). Leave it out, or make the split "
        "again."
    )
    raise ValueError(msg)
