"""Read the dose of each cell, and draw the doses that are held out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from heldout._core import cells, store
from heldout.splitting._groups import CODE
from heldout.splitting._unseen import shared_out

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from mudata import MuData

    from heldout.splitting._context_pairs import ContextPairs

HeldOutDoses = Literal["inner", "highest", "lowest"]

_LEAST = {"inner": 3, "highest": 2, "lowest": 2}
"""Number of doses of a perturbation in a context from which one can be held out."""


def read_doses(
    adata: AnnData | MuData, dose_key: str, is_control: np.ndarray, used: np.ndarray | None = None
) -> np.ndarray:
    """Return the dose of each cell, float64, (n,); 0 for a control.

    Only cells in the mask ``used`` (n,) are checked. By default all cells are checked.

    Raises
    ------
    ValueError
        If the column is missing or has text, if a control has a dose > 0, or if a perturbed cell has none.
    """
    dose = numeric_doses(cells.column(adata, dose_key, argument="dose_key", allow_missing=True), dose_key)
    used = np.ones(len(dose), dtype=bool) if used is None else used
    wrong = used & is_control & (np.nan_to_num(dose, nan=0.0) != 0)
    if wrong.any():
        msg = (
            f"dose_key={dose_key!r} is not 0 for {int(wrong.sum())} control cells (e.g. {dose[wrong][0]:g}). Controls "
            "must have dose 0 or a missing dose. Set their dose to 0, or check the control names."
        )
        raise ValueError(msg)
    wrong = used & ~is_control & ~(np.isfinite(dose) & (dose > 0))
    if wrong.any():
        msg = (
            f"dose_key={dose_key!r} must be a finite number > 0 for each perturbed cell, but {int(wrong.sum())} "
            f"perturbed cells have another dose (e.g. {dose[wrong][0]:g}). Name cells without treatment as controls "
            "in perturbation_key, undo a logarithm of the doses, or drop those cells."
        )
        raise ValueError(msg)
    return np.where(is_control, 0.0, dose)


def numeric_doses(values: pd.Series, dose_key: str) -> np.ndarray:
    """Return a column of doses as float64, (n,), NaN where it is missing. Refuse text such as ``"10 uM"``."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    values = values.infer_objects() if values.dtype == object else values
    if pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype):
        return np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan))
    if values.isna().all():
        return np.full(len(values), np.nan)
    example = str(values.dropna().iloc[0])
    msg = (
        f"dose_key={dose_key!r} holds {store.some(dict.fromkeys(store.as_names(values.dropna())))}, but doses must be "
        f"numbers in one unit. Make a numeric column with the number of each value, e.g. adata.obs['dose_value'] = "
        f"adata.obs[{dose_key!r}].map({{{example!r}: ...}}).astype(float)."
    )
    raise ValueError(msg)


def shown_dose(dose: float) -> str:
    """Return a dose as text for a name: ``0.1``, ``10``."""
    return np.format_float_positional(dose, trim="-")


def dose_codes(
    pairs: ContextPairs,
    fractions: Mapping[str, float],
    which: HeldOutDoses,
    allowed: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the partition code of each perturbation, context and dose, (m,).

    A dose of a perturbation is held out in all contexts in the mask ``allowed`` (C,). With ``"inner"``, train keeps a
    lower and a higher dose of the perturbation in each of these contexts. With ``"highest"`` (``"lowest"``), train
    keeps only lower (higher) doses there. ``fractions`` are shares of the doses that may be held out.
    """
    assert pairs.dose is not None
    number = pairs.dose
    here = allowed[pairs.context]
    place = pairs.perturbation * len(pairs.names) + pairs.context
    low, high = _limits(place, number)
    if which == "inner":
        fits = (low < number) & (number < high)
    else:
        least, most = _limits(pairs.perturbation, np.where(here, number, -1))
        if which == "lowest":
            least, _ = _limits(pairs.perturbation, np.where(here, number, number.max() + 1))
        fits = (low < number) & (number == most) if which == "highest" else (number < high) & (number == least)
    unit = pairs.perturbation * (int(number.max()) + 1) + number
    may = np.setdiff1d(unit[here & fits], unit[here & ~fits])
    if not len(may):
        msg = (
            f"hold_out='dose' with held_out_doses={which!r} needs a perturbation with at least {_LEAST[which]} doses "
            "in each of its contexts, and there is none. If the names in perturbation_key have the dose, pass targets "
            "with the perturbation of each name without the dose."
        )
        raise ValueError(msg)
    counts = shared_out(len(may), fractions, what=f"doses that may be held out with held_out_doses={which!r}")
    drawn = np.repeat([CODE[name] for name in counts], list(counts.values())).astype(np.int8)
    of_unit = dict(zip(may.tolist(), rng.permutation(drawn).tolist(), strict=True))
    return np.array(
        [of_unit.get(u, CODE["train"]) if h else CODE["train"] for u, h in zip(unit.tolist(), here, strict=True)],
        dtype=np.int8,
    )


def _limits(group: np.ndarray, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the smallest and the largest number in the group of each row, (m,) each."""
    low, high = np.full(group.max() + 1, np.iinfo(np.int64).max), np.full(group.max() + 1, -1)
    np.minimum.at(low, group, number)
    np.maximum.at(high, group, number)
    return low[group], high[group]
