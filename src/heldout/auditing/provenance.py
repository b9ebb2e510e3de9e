"""Item: was everything that is fitted fitted on train cells only?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core import keys
from heldout._core.arrays import describe, get_matrix
from heldout._core.chain import steps
from heldout._core.fits import read_fit
from heldout._core.partition import PARTITIONS, load_assignment
from heldout._core.store import section
from heldout._core.words import first_few
from heldout.auditing._finding import Finding
from heldout.auditing._lineages import lineage_findings
from heldout.auditing._trace_genes import COLUMN, genes_finding
from heldout.auditing._traces import Verdict, looks_scaled, of_coordinates, of_scaled, parts, sums_by_part

if TYPE_CHECKING:
    from heldout._core.fits import Fit
    from heldout.auditing._case import Case

_AGAIN = "fit again on the train cells, from the matrix as it was before preparation"
_OBS = ("leiden", "louvain", "dpt_pseudotime", "velocity_pseudotime", "palantir_pseudotime", "latent_time")
_NOT_FITTED = ("spatial",)


def provenance(case: Case) -> list[Finding]:
    """Fits by their record; what has no record by the moments it leaves behind; what cannot be told by name."""
    findings, fits = _recorded(case)
    clean = {f.subject for f in findings if f.status == "pass"}
    unknown = []
    findings += lineage_findings(case)
    findings += [f for f in (_altered_genes(case, fits), _scaled(case, fits, clean)) if f is not None]
    if "highly_variable_genes" not in fits and (genes := genes_finding(case)) is not None:
        findings.append(genes)
    for key in sorted(map(str, case.adata.obsm)):
        finding = _embedding(case, key, recorded=key in fits)
        if finding is not None:
            findings.append(finding)
        elif key not in fits and not _is_ours(case, key):
            unknown.append(f"obsm[{key!r}]")
    unknown += [f"obs[{key!r}]" for key in case.adata.obs.columns if str(key).startswith(_OBS)]
    if unknown:
        text = (
            f"{first_few(unknown, 8)} carry no record, and numbers do not tell which cells they were computed on; if test "
            "cells were among them and a model reads them, they leak"
        )
        findings.append(Finding("not run", text, subject="no record"))
    return findings or [Finding("pass", "nothing is fitted yet")]


def _recorded(case: Case) -> tuple[list[Finding], dict[str, Fit]]:
    """One finding for each fit of heldout that concerns this split."""
    findings: list[Finding] = []
    fits: dict[str, Fit] = {}
    elsewhere: dict[str, str] = {}
    splits, chain = section(case.adata, keys.SPLITS), steps(case.adata)
    for key in section(case.adata, keys.FITS):
        try:
            fit = fits[key] = read_fit(case.adata, key)
            before = load_assignment(case.adata, fit.split_hash)
        except ValueError as problem:
            findings.append(Finding("fail", str(problem), subject=key, advice=_AGAIN))
            continue
        if fit.method == "pp.lineages" and fit.split_key == case.split_key:
            continue  # judged cell by cell
        of_genes = splits.get(fit.split_key, {}).get("axis") == "var"
        # What shaped the matrix concerns every split; a model of another split is not used under this one.
        if of_genes or (fit.split_key != case.split_key and key not in chain):
            elsewhere[key] = fit.split_key
        else:
            findings.append(_fit(case, key, fit, before.lookup(case.adata.obs_names)))
    if elsewhere:
        named = [f"{key} ({split})" for key, split in elsewhere.items()]
        other = sorted(set(elsewhere.values()))[0]
        text = f"{len(elsewhere)} fits belong to other splits and say nothing of this one: {first_few(named)}"
        findings.append(
            Finding("not run", text, subject="fits of other splits", advice=f"audit those with split_key={other!r}")
        )
    return findings, fits


def _fit(case: Case, key: str, fit: Fit, before: np.ndarray) -> Finding:
    n = case.adata.n_obs
    measure: dict[str, Any] = {"subject": key, "measure": "test cells that the fit has seen", "threshold": 1.0}
    same = case.partition is not None and fit.split_hash == case.partition.hash
    if same or np.array_equal(before, case.codes):
        return Finding("pass", f"{fit.method} was fitted on the train cells of this split", value=0.0, **measure)
    was = np.isin(before, [PARTITIONS.index("train"), PARTITIONS.index("val")])
    seen = int((was & case.mask("test")).sum())
    moved = int((was & (before == PARTITIONS.index("train")) & case.mask("val")).sum())
    split = f"{fit.method} was fitted on another split ({fit.split_hash[:12]}… of obs[{fit.split_key!r}])"
    if seen:
        n_test = int(case.mask("test").sum())
        text = f"{split}: {seen} of {n_test} test cells are among the cells that it has seen"
        advice = f"{_AGAIN}, or audit and evaluate on the split that it was fitted on"
        return Finding("fail", text, value=float(seen), advice=advice, **measure)
    differ = int((before != case.codes).sum())
    text = f"{split}: {differ} of {n} cells differ, but it has seen none of the test cells"
    if moved:
        text += f"; {moved} of its train cells are now val cells"
        return Finding("warn", text, value=0.0, advice=f"{_AGAIN}, or do not choose models by val", **measure)
    return Finding("pass", text, value=0.0, **measure)


def _altered_genes(case: Case, fits: dict[str, Fit]) -> Finding | None:
    """The choice at hand is no longer the recorded one."""
    if "highly_variable_genes" not in fits or COLUMN not in case.adata.var.columns:
        return None
    fit, var = fits["highly_variable_genes"], case.adata.var
    mask = var[COLUMN].isin([True]).to_numpy()
    recorded = case.adata.var_names.isin(fit.genes[fit.arrays["highly_variable"]])
    differ = int((mask != recorded).sum())
    if not differ:
        return None
    text = f"it is not what heldout.pp.highly_variable_genes chose on the train cells: {differ} genes differ"
    now = genes_finding(case)
    if now is not None and now.status != "not run":
        text += f". Now {now.finding}"
        if now.status == "pass":
            return Finding(
                "warn", text, subject=now.subject, measure="genes that differ", value=float(differ), threshold=1.0
            )
    advice = "choose again with heldout.pp.highly_variable_genes, or put your own genes into another column"
    return Finding(
        "fail", text, f"var[{COLUMN!r}]", measure="genes that differ", value=float(differ), threshold=1.0, advice=advice
    )


def _scaled(case: Case, fits: dict[str, Fit], clean: set[str]) -> Finding | None:
    """Scaled values in ``X`` or a layer; the first that was not scaled by heldout, and the gravest."""
    by_us = {f.config["layer"] for key, f in fits.items() if f.method == "pp.scale" and key in clean}
    found = []
    names = list(parts(case.codes))
    # anndata 0.13 counts X among the layers, as None.
    for layer in [None, *sorted(layer for layer in case.adata.layers if layer is not None)]:
        try:
            X = get_matrix(case.adata, layer, dask=True)
            state = describe(X)
        except (TypeError, ValueError):
            continue
        if state.kind not in {"centred", "other"} or layer in by_us:
            continue
        where = "X" if layer is None else f"layers[{layer!r}]"
        sums = sums_by_part(X, case.codes)
        centred = state.kind == "centred"
        verdict = of_scaled(sums, names, centred=centred)
        if verdict is not None:
            how = "mean 0 and standard deviation 1" if centred else "standard deviation 1"
            found.append(_proved(where, f"{where} was scaled on", f"genes have {how} over these cells", verdict))
        elif centred or looks_scaled(sums[tuple(names)]):
            text = (
                f"{where} looks centred or scaled, but its genes have mean 0 and standard deviation 1 over neither all cells "
                "nor the train cells; it was made otherwise, or cells were dropped since"
            )
            found.append(
                Finding("not run", text, subject=where, advice="scale with heldout.pp.scale, which records the cells")
            )
    grave = ("fail", "warn", "pass", "not run")
    return min(found, key=lambda f: grave.index(f.status)) if found else None


def _embedding(case: Case, key: str, *, recorded: bool) -> Finding | None:
    """Coordinates that are principal components of cells that can be named; None for any others."""
    Y = _coordinates(case.adata.obsm[key])
    if Y is None or key in _NOT_FITTED or _is_ours(case, key):
        return None
    told = of_coordinates(Y, case.codes)
    where = f"obsm[{key!r}]"
    if told is None:
        if key == "X_pca" and not recorded:
            text = (
                f"{where} has mean 0 over neither all cells nor the train cells; it was fitted on something else, or cells "
                "were dropped since"
            )
            return Finding("not run", text, subject=where, advice="fit it with heldout.pp.pca, which records the cells")
        return None
    verdict, proof = told
    if recorded and verdict.status == "pass":
        return None
    since = " (not what heldout.pp.pca wrote; it was overwritten)" if recorded else ""
    return _proved(where, f"{where}{since} was fitted on", proof, verdict)


def _proved(subject: str, what: str, proof: str, verdict: Verdict) -> Finding:
    against = f" (error {verdict.error:.1g}; over {verdict.rival} {verdict.rival_error:.1g})" if verdict.rival else ""
    status, cells = verdict.status, verdict.cells
    advice = "" if status == "pass" else f"{_AGAIN}, with heldout.pp.scale or heldout.pp.pca"
    return Finding(
        status,
        f"{what} {cells}: {proof}{against}",
        subject=subject,
        measure="error over the cells that were fitted on",
        value=verdict.error,
        advice=advice,
    )


def _coordinates(values: Any) -> np.ndarray | None:
    if isinstance(values, pd.DataFrame):
        values = values.to_numpy()
    ok = isinstance(values, np.ndarray) and values.ndim == 2 and np.issubdtype(values.dtype, np.floating)
    return values if ok and values.shape[1] >= 2 else None


def _is_ours(case: Case, key: str) -> bool:
    """Predictions of a fit, whose record says enough."""
    return any(key == keys.PredictionKeys(fit).log_probability for fit in section(case.adata, keys.FITS)) or (
        key in _NOT_FITTED
    )
