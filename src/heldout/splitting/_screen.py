"""Read the perturbation and the context of each cell from the columns of an AnnData."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core import cells, store
from heldout.splitting._groups import name_list
from heldout.splitting._labels import check_missing, warn_of_guides
from heldout.splitting._perturbations import Parser, Perturbations, check_controls, read_mapping

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData


def as_list(values: Any) -> list[str]:
    """Return one name or several names as a list of distinct text."""
    return list(dict.fromkeys(name_list(values)))


def read_perturbations(
    adata: AnnData | MuData, key: str, control: Sequence[str], targets: Any, separator: str | None
) -> tuple[np.ndarray, list[tuple[str, ...]], Perturbations]:
    """Return the distinct names of the column, the targets of each name, and the perturbations of the cells.

    Raises
    ------
    ValueError
        If there are no cells or no controls, or if a name cannot be divided into targets without guessing.
    TypeError
        If ``targets`` is not a column, a mapping or None.
    """
    if separator is not None and not (isinstance(separator, str) and separator.strip()):
        msg = (
            f"separator={separator!r} must be text with a character other than a space, or None if each name is one "
            "target."
        )
        raise ValueError(msg)
    column = cells.column(adata, key, argument="perturbation_key")
    if not adata.n_obs:
        msg = "adata has no cells, so there is nothing to split. Check the filter that was used before."
        raise ValueError(msg)
    if not control:
        msg = "control is empty. Name the control(s) of perturbation_key."
        raise ValueError(msg)
    names, codes = store.factorize(store.as_names(column))
    check_missing(names.tolist(), key, known=[*control, *(targets if isinstance(targets, Mapping) else ())])
    if isinstance(targets, Mapping):
        whole, strict = read_mapping(targets, separator=separator)
        parsed = Parser(control, separator, whole, strict).parse(names.tolist())
    elif isinstance(targets, str):
        of_name = _column_targets(adata, targets, names, codes, control)
        check_missing([text for text, name in zip(of_name, names, strict=True) if name not in control], targets)
        parsed = Parser(control, separator).parse(of_name)
    elif targets is None:
        warn_of_guides(names.tolist(), key)
        parsed = Parser(control, separator).parse(names.tolist())
    else:
        msg = (
            f"targets must be a column of obs, a mapping from guides to targets, or None, got {type(targets).__name__}."
        )
        raise TypeError(msg)
    check_controls(control, names.tolist(), parsed)
    return names, parsed, Perturbations.of(parsed, codes, separator=separator)


def _column_targets(
    adata: AnnData | MuData, key: str, names: np.ndarray, codes: np.ndarray, control: Sequence[str]
) -> list[str]:
    """Return the text of the targets column for each name. Controls may lack a value there."""
    values = cells.column(adata, key, argument="targets", allow_missing=True)
    is_control = np.isin(names, list(control))[codes]
    missing = values.isna().to_numpy() & ~is_control
    if missing.any():
        lacking = names[np.unique(codes[missing])]
        msg = (
            f"adata.obs[{key!r}] (targets) is missing for {int(missing.sum())} cells that are not controls (e.g. "
            f"cells of {store.some(lacking)}). Fill the values, or drop those cells."
        )
        raise ValueError(msg)
    text, text_codes = store.factorize(store.as_names(values))
    pairs = np.unique(np.stack([codes[~is_control], text_codes[~is_control]]), axis=1)
    owner, times = np.unique(pairs[0], return_counts=True)
    if (times > 1).any():
        first = owner[times > 1][0]
        msg = (
            f"{int((times > 1).sum())} names have cells with different values of targets={key!r}. For example, "
            f"{names[first]!r} has {store.some(text[pairs[1][pairs[0] == first]])}. A guide has one target or one "
            "set of targets. Check the column."
        )
        raise ValueError(msg)
    result = names.tolist()
    for name, value in pairs.T:
        result[name] = text[value]
    return result


def context_codes(adata: AnnData | MuData, keys: Sequence[str]) -> tuple[list[tuple[str, ...]], np.ndarray]:
    """Return the sorted distinct tuples of values of the columns, and the number of the tuple of each cell, (n,)."""
    names: list[tuple[str, ...]] = [()]
    of_cell = np.zeros(adata.n_obs, dtype=np.int64)
    for key in keys:
        values, codes = store.factorize(store.as_names(cells.column(adata, key, argument="covariate_keys")))
        distinct, of_cell = np.unique(of_cell * len(values) + codes, return_inverse=True)
        names = [(*names[joint // len(values)], str(values[joint % len(values)])) for joint in distinct]
    return names, of_cell
