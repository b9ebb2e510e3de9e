"""Check that everything that is fitted was fitted on train cells only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core import keys
from heldout._core.chain import steps
from heldout._core.fits import read_fit
from heldout._core.partition import PARTITIONS, load_assignment
from heldout._core.store import section
from heldout._core.words import counted, first_few
from heldout.auditing._coordinates import coordinates, numbered_columns
from heldout.auditing._finding import Finding
from heldout.auditing._lineages import lineage_findings
from heldout.auditing._trace_clusters import of_clusters
from heldout.auditing._trace_dropped import of_dropped
from heldout.auditing._trace_factors import of_factors
from heldout.auditing._trace_genes import COLUMN, genes_finding
from heldout.auditing._trace_ranges import of_quantiles, of_range
from heldout.auditing._traces import Verdict, looks_scaled, of_coordinates, of_scaled, parts, sums_by_part

if TYPE_CHECKING:
    from heldout._core.fits import Fit
    from heldout.auditing._case import Case

_AGAIN = "Fit again on the train cells, starting from the matrix before preparation"
_WITH_HELDOUT = f"{_AGAIN}, for example with heldout.pp.scale or heldout.pp.pca."
_FROM_TRAIN = "Cluster the train cells, and give each other cell the cluster whose mean over train cells is nearest."
_OBS = ("leiden", "louvain", "dpt_pseudotime", "velocity_pseudotime", "palantir_pseudotime", "latent_time")
_STEMS = tuple(f"obs['{stem}" for stem in ("pc", "umap", "tsne", "t-sne", "nmf", "factor", "latent", "x_", "dim"))
_NOT_FITTED = ("spatial",)
_FEW_GENES = 5000


def provenance(case: Case) -> list[Finding]:
    """Check fits by their record, and everything without a record by the moments that fitting leaves behind."""
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
        elif key not in fits and not _is_prediction(case, key):
            unknown.append(f"obsm[{key!r}]")
    for where, table in numbered_columns(case).items():
        identified = of_coordinates(table, case.codes) or of_factors(case, table) or of_dropped(table, case.codes)
        if identified is not None:
            findings.append(_proved(where, f"{where} were fitted on", *identified))
        elif where.lower().startswith(_STEMS):
            unknown.append(where)
    clusters = [
        _proved(key, f"{key} was clustered on", verdict, proof, how=_FROM_TRAIN)
        for key, verdict, proof in of_clusters(case)
    ]
    findings += clusters
    proved = {f.subject for f in clusters}
    unknown += [column for column in _named_clusters(case) if column not in proved]
    if unknown:
        text = (
            f"{first_few(unknown, 8)}: there is no record, and the values do not show which cells they were computed "
            "on. They leak if test cells were used and a model reads them."
        )
        findings.append(Finding("not run", text, subject="no record"))
    nothing = "No fit, no scaled matrix, no chosen genes and no embedding was found, so there is nothing to check."
    if case.adata.n_vars <= _FEW_GENES and (case.adata.raw is None or case.adata.raw.n_vars <= case.adata.n_vars):
        nothing += (
            " If the genes were chosen earlier and the others were removed, the item cannot see on which cells. "
            "Compare with the object that has all genes."
        )
    return findings or [Finding("not run", nothing)]


def _recorded(case: Case) -> tuple[list[Finding], dict[str, Fit]]:
    """One finding for each fit of heldout that concerns this split, and all fits."""
    findings: list[Finding] = []
    fits: dict[str, Fit] = {}
    elsewhere: dict[str, str] = {}
    splits, chain = section(case.adata, keys.SPLITS), steps(case.adata)
    for key in section(case.adata, keys.FITS):
        try:
            fit = fits[key] = read_fit(case.adata, key)
            before = load_assignment(case.adata, fit.split_hash)
        except ValueError as problem:
            findings.append(Finding("fail", str(problem), subject=key, advice=f"{_AGAIN}."))
            continue
        if fit.method == "pp.lineages" and fit.split_key == case.split_key:
            continue  # judged cell by cell
        record = splits.get(fit.split_key)
        of_genes = isinstance(record, Mapping) and record.get("axis") == "var"
        # A step that shaped the matrix concerns every split. A model of another split is not used under this one.
        if of_genes or (fit.split_key != case.split_key and key not in chain):
            elsewhere[key] = fit.split_key
        else:
            findings.append(_fit(case, key, fit, before.lookup(case.adata.obs_names)))
    if elsewhere:
        named = [f"{key} ({split})" for key, split in elsewhere.items()]
        other = sorted(set(elsewhere.values()))[0]
        text = f"{counted(len(elsewhere), 'fit')} of other splits: {first_few(named)}."
        advice = f"Audit these fits with split_key={other!r}."
        findings.append(Finding("not run", text, subject="fits of other splits", advice=advice))
    return findings, fits


def _fit(case: Case, key: str, fit: Fit, before: np.ndarray) -> Finding:
    n = case.adata.n_obs
    measure: dict[str, Any] = {"subject": key, "measure": "test cells that the fit saw", "threshold": 1.0}
    same = case.partition is not None and fit.split_hash == case.partition.hash
    if same or np.array_equal(before, case.codes):
        return Finding("pass", f"{fit.method} was fitted on the train cells of this split.", value=0.0, **measure)
    was = np.isin(before, [PARTITIONS.index("train"), PARTITIONS.index("val")])
    seen = int((was & case.mask("test")).sum())
    moved = int((was & (before == PARTITIONS.index("train")) & case.mask("val")).sum())
    split = f"{fit.method} was fitted on another split ({fit.split_hash[:12]}… of obs[{fit.split_key!r}])."
    if seen:
        n_test = int(case.mask("test").sum())
        text = f"{split} It saw {seen} of the {n_test} test cells of this split."
        advice = f"{_AGAIN}, or audit and evaluate on the split that it was fitted on."
        return Finding("fail", text, value=float(seen), advice=advice, **measure)
    differ = int((before != case.codes).sum())
    text = f"{split} {differ} of {n} cells have another partition there, but the fit saw no test cell."
    if moved:
        text += f" {moved} of its train cells are now val cells."
        return Finding("warn", text, value=0.0, advice=f"{_AGAIN}, or do not choose models by val.", **measure)
    return Finding("pass", text, value=0.0, **measure)


def _altered_genes(case: Case, fits: dict[str, Fit]) -> Finding | None:
    """A finding if the highly variable genes are no longer those of the record."""
    if "highly_variable_genes" not in fits or COLUMN not in case.adata.var.columns:
        return None
    fit, var = fits["highly_variable_genes"], case.adata.var
    mask = var[COLUMN].isin([True]).to_numpy()
    recorded = case.adata.var_names.isin(fit.genes[fit.arrays["highly_variable"]])
    differ = int((mask != recorded).sum())
    if not differ:
        return None
    subject = f"var[{COLUMN!r}]"
    text = (
        f"{subject} differs in {differ} genes from the choice of heldout.pp.highly_variable_genes on the train cells."
    )
    result = Finding.about(subject, "genes that differ", float(differ), 1.0)
    now = genes_finding(case)
    if now is not None and now.status != "not run":
        text += f" {now.finding}"
        if now.status == "pass":
            return result.says("warn", text)
    advice = "Choose again with heldout.pp.highly_variable_genes, or store other genes in another column."
    return result.says("fail", text, advice)


def _scaled(case: Case, fits: dict[str, Fit], clean: set[str]) -> Finding | None:
    """The most serious finding on scaled values in ``X`` or a layer that heldout did not scale."""
    by_us = {f.config["layer"] for key, f in fits.items() if f.method == "pp.scale" and key in clean}
    found = []
    names = list(parts(case.codes))
    for layer, where, X, state in case.matrices():
        if state.kind not in {"centred", "other"} or layer in by_us:
            continue
        sums = sums_by_part(X, case.codes)
        centred = state.kind == "centred"
        verdict = of_scaled(sums, names, centred=centred)
        if verdict is not None:
            how = "mean 0 and standard deviation 1" if centred else "standard deviation 1"
            found.append(_proved(where, f"{where} was scaled on", verdict, f"Genes have {how} over these cells"))
        elif (ranged := of_range(X, case.codes, centred=centred) or of_quantiles(X, case.codes)) is not None:
            found.append(_proved(where, f"{where} was scaled on", *ranged))
        elif centred or looks_scaled(sums[tuple(names)]):
            text = (
                f"{where} looks centred or scaled, but genes do not have mean 0 and standard deviation 1 over any "
                "combination of partitions. It was computed in another way, or cells were dropped afterwards."
            )
            advice = "Scale with heldout.pp.scale, which records the cells."
            found.append(Finding("not run", text, subject=where, advice=advice))
    order = ("fail", "warn", "pass", "not run")
    return min(found, key=lambda f: order.index(f.status)) if found else None


def _embedding(case: Case, key: str, *, recorded: bool) -> Finding | None:
    """A finding if coordinates are principal components of an identifiable set of cells. Else None."""
    Y = coordinates(case.adata.obsm[key])
    if Y is None or key in _NOT_FITTED or _is_prediction(case, key):
        return None
    identified = of_coordinates(Y, case.codes) or of_factors(case, Y) or of_dropped(Y, case.codes)
    where = f"obsm[{key!r}]"
    if identified is None:
        if key == "X_pca" and not recorded:
            text = (
                f"{where} does not have mean 0 over any combination of partitions. It was fitted on other cells, or "
                "cells were dropped afterwards."
            )
            advice = "Fit it with heldout.pp.pca, which records the cells."
            return Finding("not run", text, subject=where, advice=advice)
        return None
    verdict, proof = identified
    if recorded and verdict.status == "pass":
        return None
    changed = f"{where} was overwritten after heldout.pp.pca. " if recorded else ""
    return _proved(where, f"{changed}{where} was fitted on", verdict, proof)


def _named_clusters(case: Case) -> list[str]:
    """Columns that are named like clusters or pseudotimes, or whose clustering scanpy recorded under their name."""
    columns = []
    for key in map(str, case.adata.obs.columns):
        record = case.adata.uns.get(key)
        params = record.get("params") if isinstance(record, Mapping) else None
        if key.startswith(_OBS) or (isinstance(params, Mapping) and "resolution" in params):
            columns.append(f"obs[{key!r}]")
    return columns


def _proved(subject: str, what: str, verdict: Verdict, proof: str, *, how: str = _WITH_HELDOUT) -> Finding:
    errors = (
        f" (error {verdict.error:.1g}, against {verdict.rival_error:.1g} over {verdict.rival})" if verdict.rival else ""
    )
    advice = "" if verdict.status == "pass" else how
    text = f"{what} {verdict.cells}. {proof}{errors}."
    return Finding.about(subject, "error over the fitted cells", verdict.error).says(verdict.status, text, advice)


def _is_prediction(case: Case, key: str) -> bool:
    """Whether the coordinates are predictions of a fit, which has a record."""
    return any(key == keys.PredictionKeys(fit).log_probability for fit in section(case.adata, keys.FITS)) or (
        key in _NOT_FITTED
    )
