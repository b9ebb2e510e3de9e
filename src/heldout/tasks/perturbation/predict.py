"""Predicted profiles and predicted cells of perturbations, each as a new AnnData."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core import keys, store
from heldout._core.arrays import get_matrix
from heldout._core.checks import check_integer, check_number
from heldout._core.fits import check_split
from heldout._core.grouped import group_moments
from heldout._core.partition import digests, read_partition
from heldout._core.rng import Rng, seed_of
from heldout.splitting._doses import shown_dose
from heldout.splitting._read_screen import ScreenNames
from heldout.splitting._screen import as_list, context_codes
from heldout.tasks.perturbation import METHODS
from heldout.tasks.perturbation.judging.calibration import (
    CALIBRATED,
    NOT_PREDICTED,
    TOO_FEW,
    fewest,
    half_widths,
    lacking_intervals,
    n_calibrating,
    seen_targets,
)
from heldout.tasks.perturbation.pairs import Pairs
from heldout.tasks.perturbation.predictions import Controls, Prediction, rng_of
from heldout.tasks.perturbation.task import DOSES, Task, check_logged, predict, strata_of, task_of_fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from heldout._core.fits import Fit
    from heldout.splitting._perturbations import Targets

logger = logging.getLogger("heldout")

ABOUT_ROWS = ("n_targets", "n_seen", "predicted", "fallback", "coverage", "interval", "n_val")
"""Columns of ``obs`` of predicted profiles that are not the perturbation, a covariate or the dose."""


@dataclass(frozen=True)
class _Request:
    """Perturbations in contexts, the values of the covariates in each context, and the controls to start from.

    Contexts have the numbers of the fit; contexts that the fit does not know have the numbers after these.
    """

    fit: Fit
    names: ScreenNames
    pairs: Pairs
    contexts: list[tuple[str, ...]]
    controls: Controls

    @classmethod
    def of(
        cls,
        adata: AnnData,
        fit: Fit,
        *,
        key: str,
        perturbations: Sequence[str] | None,
        contexts: Sequence[Any] | None,
        reference: AnnData | None,
        doses: float | Sequence[float] | None = None,
    ) -> _Request:
        """Read what the user asks for; without ``perturbations``, those of the test cells in their contexts."""
        names = ScreenNames.from_json(fit.info["names"])
        at = _asked_doses(doses, fit, names)
        if reference is None:
            known, controls = names.contexts, _train_controls(adata, fit, key=key)
        else:
            known, controls = _controls_of(adata, fit, names, key=key)
        wanted = None if contexts is None else _context_numbers(contexts, known, controls, names)
        if perturbations is None:
            if reference is not None:
                msg = (
                    "perturbations=None needs the test cells of the fit, but reference= was passed. Name the "
                    "perturbations to predict, e.g. perturbations=['A+B']."
                )
                raise ValueError(msg)
            held_out = _held_out(adata, fit, key=key)
            keep = np.ones(len(held_out), dtype=bool) if wanted is None else np.isin(held_out.context, wanted)
            pairs = held_out.only(keep)
            pairs = pairs if doses is None or at is None else pairs.at_doses(at)
        else:
            asked = _parsed(perturbations, names)
            _warn_of_unknown(fit, asked)
            wanted = np.arange(len(known)) if wanted is None else wanted
            wanted = wanted[np.isfinite(controls.mean[wanted]).all(axis=1)]
            pairs = Pairs([t for t in asked for _ in wanted], np.tile(wanted, len(asked)))
            pairs = pairs if at is None else pairs.at_doses(at)
        return cls(fit, names, pairs, known, controls)

    def predict(self) -> Prediction:
        """Predict, and warn of what cannot be predicted and of fallbacks."""
        prediction = predict(self.fit, self.pairs, self.controls)
        _warn_of_fallbacks(self.fit, self.pairs.targets, prediction)
        return prediction

    def obs(self) -> pd.DataFrame:
        """One row for each perturbation and context."""
        targets, names = list(self.pairs.targets), self.names
        frame = pd.DataFrame({names.perturbation_key: [names.joined(of_row) for of_row in targets]})
        for place, column in enumerate(names.covariate_keys):
            frame[column] = [self.contexts[context][place] for context in self.pairs.context]
        frame["n_targets"] = [len(of_row) for of_row in targets]
        frame["n_seen"] = seen_targets(targets, set(self.fit.info["seen"]))
        shown = frame[[names.perturbation_key, *names.covariate_keys]]
        if names.dose_key is not None and self.pairs.dose is not None:
            frame.insert(1 + len(names.covariate_keys), names.dose_key, self.pairs.dose)
            shown = shown.assign(dose=[shown_dose(dose) for dose in self.pairs.dose])
        text = shown.agg("|".join, axis=1) if len(frame) else []
        frame.index = pd.Index(list(text), dtype=object)
        return frame

    def made_by(self, key: str) -> dict[str, Any]:
        """Where predictions come from."""
        fit = self.fit
        return {"key": key, "method": fit.method, "fit": fit.hash, "split": fit.split_hash}


def predicted_profiles(
    adata: AnnData,
    fit: Fit,
    *,
    key: str,
    perturbations: Sequence[str] | None,
    contexts: Sequence[Any] | None,
    coverage: float,
    reference: AnnData | None,
    doses: float | Sequence[float] | None = None,
) -> AnnData:
    """Profile of each perturbation in each context; see :func:`heldout.tl.predict_profiles`."""
    from anndata import AnnData

    request = _Request.of(
        adata, fit, key=key, perturbations=perturbations, contexts=contexts, doses=doses, reference=reference
    )
    pairs, prediction = request.pairs, request.predict()
    profile = request.controls.mean[pairs.context] + prediction.change
    layers, made_by = {"change": prediction.change.astype(np.float32)}, request.made_by(key)
    if "half_widths" in fit.arrays:
        stored = (fit.arrays["half_widths"], fit.info["calibration"], fit.arrays["scale"])
        width = half_widths(*stored, strata_of(fit, pairs), coverage)
        layers |= {"lower": (profile - width).astype(np.float32), "upper": (profile + width).astype(np.float32)}
        made_by["coverage"] = coverage
    obs = request.obs()
    obs["predicted"], obs["fallback"] = np.isfinite(prediction.change).all(axis=1), prediction.fallback
    obs = obs.assign(**_interval_columns(fit, pairs, obs["predicted"].to_numpy(), coverage))
    var = pd.DataFrame(index=pd.Index(fit.genes.astype(str)))
    return AnnData(profile.astype(np.float32), obs=obs, var=var, layers=layers, uns={keys.UNS: {"predicted": made_by}})


def predicted_cells(
    adata: AnnData,
    fit: Fit,
    *,
    key: str,
    perturbations: Sequence[str] | None = None,
    contexts: Sequence[Any] | None = None,
    n_cells: int = 200,
    reference: AnnData | None = None,
    doses: float | Sequence[float] | None = None,
    rng: Rng = 0,
) -> AnnData:
    """Cells of each perturbation in each context; see :func:`heldout.tl.predict_cells`.

    A method that predicts means moves random control cells by the change; a generative method draws cells.
    Perturbations that the method cannot predict have no cells. The cells of a perturbation depend on the seed, not on
    what else is predicted in the same call.

    Returns
    -------
    A new AnnData, ``n_cells`` rows for each perturbation and context: log-normalised expression in ``X`` (float32), in
    ``obs`` the perturbation, the context, ``n_targets``, ``n_seen`` and ``fallback``, in ``uns`` the hash of the fit.
    """
    from anndata import AnnData

    check_integer(n_cells, "n_cells", least=1)
    request = _Request.of(
        adata, fit, key=key, perturbations=perturbations, contexts=contexts, doses=doses, reference=reference
    )
    prediction, seed = request.predict(), seed_of(rng)
    parts, rows = [], []
    for i, pair in enumerate(request.pairs):
        cells = prediction.cells(i, n_cells, rng_of(seed, pair, stream=2)).astype(np.float32)
        if np.isfinite(cells).all():
            parts.append(cells)
            rows.append(i)
    if not parts:
        msg = f"Fit {key!r} cannot predict any of these perturbations. Ask for others with perturbations=."
        raise ValueError(msg)
    obs = request.obs().assign(fallback=prediction.fallback).iloc[np.repeat(rows, n_cells)]
    obs.index = pd.Index([f"{name}|{k % n_cells}" for k, name in enumerate(obs.index)], dtype=object)
    var = pd.DataFrame(index=pd.Index(fit.genes.astype(str)))
    return AnnData(np.concatenate(parts), obs=obs, var=var, uns={keys.UNS: {"predicted": request.made_by(key)}})


def _interval_columns(fit: Fit, pairs: Pairs, predicted: np.ndarray, coverage: float) -> dict[str, np.ndarray]:
    """The nominal coverage, the status and the basis of the interval of each row, (m,) each; logs what is missing."""
    strata = strata_of(fit, pairs)
    n_val = n_calibrating(fit.info.get("calibration", {}), strata)
    calibrated = predicted & (n_val >= fewest(coverage))
    if "half_widths" in fit.arrays:
        for sentence in lacking_intervals(n_val[predicted], strata[predicted], coverage):
            logger.warning("%s", sentence)
    else:
        logger.info("The fit has no intervals, because val has no perturbations. Make the split with val=0.2 or more.")
    status = np.where(calibrated, CALIBRATED, np.where(predicted, TOO_FEW, NOT_PREDICTED)).astype(object)
    return {"coverage": np.where(calibrated, coverage, np.nan), "interval": status, "n_val": n_val}


def _held_out(adata: AnnData, fit: Fit, *, key: str) -> Pairs:
    """Perturbations and contexts of the test cells."""
    partition = read_partition(adata, fit.split_key)
    check_split(adata, fit, partition, key=key)
    if not partition.has_test:
        msg = (
            f"{partition.axis}[{partition.key!r}] has no test cells whose perturbations could be predicted. Name the "
            "perturbations to predict, e.g. perturbations=['A+B']."
        )
        raise ValueError(msg)
    partition.require("test", purpose="predict without perturbations=")
    screen = task_of_fit(adata, partition, fit, key=key).screen
    number, context, dose, _ = screen.groups_by_dose(partition.mask("test"))
    rows = number >= 0
    of_pairs = None if dose is None else dose[rows]
    return Pairs([screen.perturbations[i] for i in number[rows]], context[rows], of_pairs)


def _asked_doses(doses: float | Sequence[float] | None, fit: Fit, names: ScreenNames) -> np.ndarray | None:
    """Doses to predict, each once, in the given order; by default those of train, None if the fit has no doses."""
    if names.dose_key is None:
        if doses is not None:
            msg = f"doses={doses!r} is given, but the fit has no doses. Leave it out, or fit again with dose_key."
            raise ValueError(msg)
        return None
    if doses is None:
        return np.array(fit.info[DOSES], dtype=np.float64)
    asked = [doses] if isinstance(doses, int | float | np.number) else list(doses)
    if not asked:
        msg = "doses is empty. Name the doses to predict, e.g. doses=[1, 10]."
        raise ValueError(msg)
    return np.array(list(dict.fromkeys(check_number(dose, "doses", above=0) for dose in asked)), dtype=np.float64)


def _parsed(perturbations: Sequence[str], names: ScreenNames) -> list[Targets]:
    """Targets of the requested perturbations, each once, in the given order."""
    asked = as_list(perturbations)
    if not asked:
        msg = "perturbations is empty. Name the perturbations to predict, e.g. ['A+B']."
        raise ValueError(msg)
    parsed = names.parse(asked)
    if () in parsed:
        msg = f"perturbations has {asked[parsed.index(())]!r}, which is a control. Leave it out."
        raise ValueError(msg)
    return list(dict.fromkeys(parsed))


def _context_numbers(
    contexts: Sequence[Any], known: list[tuple[str, ...]], controls: Controls, names: ScreenNames
) -> np.ndarray:
    """Numbers of the contexts that the user asks for; they must have controls."""
    if not names.covariate_keys:
        msg = f"contexts={contexts!r} is given, but the fit has one context (no covariate_keys). Leave it out."
        raise ValueError(msg)
    asked = [contexts] if isinstance(contexts, str) or not isinstance(contexts, Iterable) else list(contexts)
    there = np.isfinite(controls.mean).any(axis=1)
    number = {context: i for i, context in enumerate(known) if there[i]}
    wanted = [tuple(as_list(context)) for context in asked]
    for context in wanted:
        if context not in number:
            shown = [values[0] if len(values) == 1 else values for values in number]
            name = context[0] if len(context) == 1 else context
            msg = (
                f"contexts has {name!r}, which is not a context of {names.covariate_keys}. {store.suggest(name, shown)}"
            )
            raise ValueError(msg)
    return np.array([number[context] for context in dict.fromkeys(wanted)], dtype=np.int64)


def _train_controls(adata: AnnData, fit: Fit, *, key: str) -> Controls:
    """The controls of the fit. Their cells are the train cells of ``adata``, which are read when they are needed."""
    mean = fit.arrays["control"]

    @cache
    def task() -> Task:
        partition = read_partition(adata, fit.split_key)
        check_split(adata, fit, partition, key=key)
        return task_of_fit(adata, partition, fit, key=key)

    return Controls(mean, lambda context: task().controls(mean).pool(context))


def _controls_of(adata: AnnData, fit: Fit, names: ScreenNames, *, key: str) -> tuple[list[tuple[str, ...]], Controls]:
    """Contexts of the fit and of other data, and the controls of the other data, to which changes are added there."""
    layer = fit.info["layer"]
    X = get_matrix(adata, layer, dask=True)
    check_logged(X, layer)
    texts = store.as_names(store.column(adata, names.perturbation_key, argument="perturbation_key"))
    control = np.isin(texts, [*names.control, *(name for name, targets in names.known.items() if not targets)])
    if not control.any():
        msg = (
            f"adata.obs[{names.perturbation_key!r}] has no control cells ({store.some(names.control)}), to which "
            "predicted changes are added. Add some, or name them as in the fit."
        )
        raise ValueError(msg)
    found, context = context_codes(adata, names.covariate_keys)
    known = [*names.contexts, *(values for values in found if values not in names.contexts)]
    number = np.array([known.index(values) for values in found])[context]
    codes, columns = np.where(control, number, -1), fit.columns(adata.var_names, key=key)
    mean = group_moments(X, codes, len(known), columns=columns, var=False).mean

    def rows_of(context: int) -> np.ndarray:
        rows = np.flatnonzero(codes == context)
        by_name = np.argsort(digests(adata.obs_names[rows]), kind="stable")  # so the order of the cells does not matter
        return rows[by_name]

    return known, Controls.of(X, columns, mean, rows_of)


def _warn_of_fallbacks(fit: Fit, targets: Sequence[Targets], prediction: Prediction) -> None:
    """Warn of perturbations that cannot be predicted, and of fallbacks."""
    method, joined = METHODS.method_of(fit).name, ScreenNames.from_json(fit.info["names"]).joined
    lost = np.isnan(prediction.change).any(axis=1)
    for mask, what in (
        (lost, f"cannot be predicted by {method!r}; their rows are NaN"),
        (prediction.fallback & ~lost, "use a fallback, such as the mean effect of a target"),
    ):
        if mask.any():
            distinct = dict.fromkeys(joined(targets[i]) for i in np.flatnonzero(mask).tolist())
            logger.warning(
                "%d of %d perturbations (%s) %s", len(distinct), len(set(targets)), store.some(distinct), what
            )


def _warn_of_unknown(fit: Fit, targets: Sequence[Targets]) -> None:
    """Warn of targets that are neither genes nor in train. Name similar targets, because of typing errors."""
    seen = set(fit.info["seen"])
    unknown = sorted({target for of_row in targets for target in of_row} - seen - {str(gene) for gene in fit.genes})
    if not unknown:
        return
    close = [hint for name in unknown[:3] if (hint := store.suggest(name, seen)).startswith("Did you mean")]
    logger.warning(
        "%s %s never perturbed in train and %s of the fit. %s",
        store.some(unknown),
        "was" if len(unknown) == 1 else "were",
        "is not a gene" if len(unknown) == 1 else "are not genes",
        close[0] if close else "Check the name, because a method may predict any name in the same way.",
    )
