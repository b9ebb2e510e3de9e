"""Predicted profiles of perturbations as an AnnData."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core import keys, store
from heldout._core.arrays import get_matrix
from heldout._core.fits import check_split
from heldout._core.grouped import group_moments
from heldout._core.partition import read_partition
from heldout.splitting._read_screen import ScreenNames
from heldout.splitting._screen import as_list, context_codes
from heldout.tasks.perturbation.judging.calibration import half_widths, seen_targets
from heldout.tasks.perturbation.pairs import Pairs
from heldout.tasks.perturbation.task import check_logged, predict, strata_of, task_of_fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from heldout._core.fits import Fit
    from heldout.splitting._perturbations import Targets

logger = logging.getLogger("heldout")


def predicted_profiles(
    adata: AnnData,
    fit: Fit,
    *,
    key: str,
    perturbations: Sequence[str] | None,
    contexts: Sequence[Any] | None,
    coverage: float,
    reference: AnnData | None,
) -> AnnData:
    """Profile of each perturbation in each context; see :func:`heldout.tl.predict_profiles`."""
    from anndata import AnnData

    names = ScreenNames.from_json(fit.info["names"])
    if reference is None:
        known, start = names.contexts, fit.arrays["control"]
    else:
        known, start = _own_controls(adata, fit, names, key=key)
    if perturbations is None:
        if reference is not None:
            msg = "perturbations is not given: for the cells of another AnnData say what to predict, e.g. perturbations=['A+B']."
            raise ValueError(msg)
        targets, where = _held_out(adata, fit, key=key)
        if contexts is not None:
            keep = np.isin(where, _context_numbers(contexts, known, names))
            targets, where = [t for t, k in zip(targets, keep, strict=True) if k], where[keep]
    else:
        asked = _parsed(perturbations, names)
        _tell_unknown(fit, asked)
        numbers = np.arange(len(known)) if contexts is None else _context_numbers(contexts, known, names)
        numbers = numbers[np.isfinite(start[numbers]).all(axis=1)]
        targets, where = [t for t in asked for _ in numbers], np.tile(numbers, len(asked))
    fitted = {context: i for i, context in enumerate(names.contexts)}
    pairs = Pairs(targets, np.array([fitted.get(known[c], len(names.contexts)) for c in where], dtype=np.int64))
    prediction = predict(fit, pairs)
    _tell(fit, targets, prediction.change, prediction.fallback)
    profile = start[where] + prediction.change
    layers = {"change": prediction.change.astype(np.float32)}
    if "half_widths" in fit.arrays:
        calibration = fit.info["calibration"]
        width = half_widths(
            fit.arrays["half_widths"], calibration, fit.arrays["scale"], strata_of(fit, pairs), coverage
        )
        layers |= {"lower": (profile - width).astype(np.float32), "upper": (profile + width).astype(np.float32)}
    obs = _obs(fit, names, targets, [known[c] for c in where])
    obs["predicted"], obs["fallback"] = np.isfinite(prediction.change).all(axis=1), prediction.fallback
    var = pd.DataFrame(index=pd.Index(fit.genes.astype(str)))
    predicted = AnnData(profile.astype(np.float32), obs=obs, var=var, layers=layers)
    made_by: dict[str, Any] = {"key": key, "method": fit.method, "fit": fit.hash, "split": fit.split_hash}
    if "lower" in layers:
        made_by["coverage"] = coverage
    predicted.uns[keys.UNS] = {"predicted": made_by}
    return predicted


def _held_out(adata: AnnData, fit: Fit, *, key: str) -> tuple[list[Targets], np.ndarray]:
    """Perturbations and contexts of the test cells."""
    partition = read_partition(adata, fit.split_key)
    check_split(adata, fit, partition, key=key)
    partition.require("test", purpose="predict without perturbations=")
    screen = task_of_fit(adata, partition, fit, key=key).screen
    number, context, _ = screen.groups(partition.mask("test"))
    rows = number >= 0
    return [screen.perturbations[i] for i in number[rows]], context[rows]


def _parsed(perturbations: Sequence[str], names: ScreenNames) -> list[Targets]:
    """Targets of what is asked for, each once, in the order given."""
    asked = [perturbations] if isinstance(perturbations, str) else list(perturbations)
    if not asked:
        msg = "perturbations is empty; name what to predict, e.g. ['A+B']."
        raise ValueError(msg)
    parsed = names.parse(store.as_names(asked).tolist())
    if () in parsed:
        msg = f"perturbations has {asked[parsed.index(())]!r}, which is a control: nothing is perturbed. Leave it out."
        raise ValueError(msg)
    return list(dict.fromkeys(parsed))


def _context_numbers(contexts: Sequence[Any], known: list[tuple[str, ...]], names: ScreenNames) -> np.ndarray:
    if not names.covariate_keys:
        msg = f"contexts={contexts!r} is given, but the fit has one context only (no covariate_keys). Leave it out."
        raise ValueError(msg)
    asked = [contexts] if isinstance(contexts, str) or not isinstance(contexts, Iterable) else list(contexts)
    number = {context: i for i, context in enumerate(known)}
    wanted = [tuple(as_list(context)) for context in asked]
    for context in wanted:
        if context not in number:
            shown = [one[0] if len(one) == 1 else one for one in known]
            one = context[0] if len(context) == 1 else context
            msg = f"contexts names {one!r}, which is no context of {names.covariate_keys}. {store.suggest(one, shown)}"
            raise ValueError(msg)
    return np.array([number[context] for context in dict.fromkeys(wanted)], dtype=np.int64)


def _own_controls(
    adata: AnnData, fit: Fit, names: ScreenNames, *, key: str
) -> tuple[list[tuple[str, ...]], np.ndarray]:
    """Contexts of other data, and the mean of their own controls, from which the changes are counted there."""
    layer = fit.info["layer"]
    X = get_matrix(adata, layer, dask=True)
    check_logged(X, layer)
    texts = store.as_names(store.column(adata, names.perturbation_key, argument="perturbation_key"))
    control = np.isin(texts, [*names.control, *(name for name, targets in names.known.items() if not targets)])
    if not control.any():
        msg = (
            f"adata.obs[{names.perturbation_key!r}] has no control cells ({store.some(names.control)}), which predicted changes "
            "are added to. Add some, or name them as in the fit."
        )
        raise ValueError(msg)
    contexts, context = context_codes(adata, names.covariate_keys)
    codes = np.where(control, context, -1)
    moments = group_moments(X, codes, len(contexts), columns=fit.columns(adata.var_names, key=key), var=False)
    return contexts, moments.mean


def _tell(fit: Fit, targets: Sequence[Targets], change: np.ndarray, fallback: np.ndarray) -> None:
    """Say what could not be predicted, and what rests on a stand-in."""
    method, joined = fit.method.removeprefix("perturbation."), ScreenNames.from_json(fit.info["names"]).joined
    lost = np.isnan(change).any(axis=1)
    for mask, what in (
        (lost, "cannot be predicted by {method!r}: their rows are NaN"),
        (fallback & ~lost, "rest on a stand-in, such as the mean effect of a target"),
    ):
        if mask.any():
            distinct = dict.fromkeys(joined(targets[i]) for i in np.flatnonzero(mask).tolist())
            logger.warning(
                "%d of %d perturbations (%s) %s",
                len(distinct),
                len(set(targets)),
                store.some(distinct),
                what.format(method=method),
            )


def _tell_unknown(fit: Fit, targets: Sequence[Targets]) -> None:
    """Say which targets are neither genes nor known from train, when they look like a slip."""
    seen = set(fit.info["seen"])
    unknown = sorted({target for of_row in targets for target in of_row} - seen - {str(gene) for gene in fit.genes})
    close = [hint for name in unknown[:3] if (hint := store.suggest(name, seen)).startswith("Did you mean")]
    if close:
        logger.warning("train has not seen %s, and they are no genes here. %s", store.some(unknown), close[0])


def _obs(fit: Fit, names: ScreenNames, targets: list[Targets], contexts: list[tuple[str, ...]]) -> pd.DataFrame:
    frame = pd.DataFrame({names.perturbation_key: [names.joined(of_row) for of_row in targets]})
    for place, column in enumerate(names.covariate_keys):
        frame[column] = [context[place] for context in contexts]
    frame["n_targets"] = [len(of_row) for of_row in targets]
    frame["n_seen"] = seen_targets(targets, set(fit.info["seen"]))
    text = frame[[names.perturbation_key, *names.covariate_keys]].agg("|".join, axis=1) if len(frame) else []
    frame.index = pd.Index(list(text), dtype=object)
    return frame
