"""Find columns that are the label under another name, or that separate its classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout._core import keys
from heldout._core.partition import PARTITIONS
from heldout._core.store import as_names, section
from heldout._core.words import counted
from heldout.auditing._columns import UnitColumn, association, of_units
from heldout.auditing._exchange import blocks_of, p_value
from heldout.auditing._finding import Finding, NotRun
from heldout.auditing._neighbour_averages import average_findings
from heldout.auditing._neighbour_labels import is_share, neighbour_finding
from heldout.auditing._words import unit_in_words, units_in_words
from heldout.metrics.labellings import labellings, observed_row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heldout.auditing._case import Case

LEVEL = 0.01
"""Level for all columns together."""
_N_LABELLINGS = 10_000
_ALWAYS = 0.9999
_MEASURE = "association with the label over units"
_ADVICE = (
    "If the column is the label or a consequence of it, keep it out of the features. If not, name it in covariate_keys."
)


def disguised_label(case: Case) -> list[Finding]:
    """Find columns of ``obs`` and ``obsm`` that are the label under another name, or that separate its classes.

    Columns with one value in each unit are tested as numbers, dates or categories. Null hypothesis: the labels of the
    units can be exchanged. The item warns if p is at most 0.01 divided by the number of columns, and fails if the
    column also determines the class of each unit. It fails for a column that varies within units if its values
    determine the class of each cell, or if it is an average of the labels of neighbours of each cell, weighted or not,
    and the labels of test units were used. Other columns that vary within units can be biology, and are not judged.
    """
    codes = np.unique(case.need_labels().astype(str), return_inverse=True)[1]
    n_classes = int(codes.max()) + 1
    whole: dict[str, UnitColumn] = {}
    varying: dict[str, np.ndarray] = {}
    numbers: set[str] = set()
    findings: list[Finding] = []
    n_read = 0
    for subject, column in _columns(case):
        n_read += 1
        of_unit = of_units(column, case.units)
        if of_unit is not None:
            if of_unit.n_values > 1:
                whole[subject] = of_unit
        elif pd.api.types.is_numeric_dtype(column.dtype):
            numbers.add(subject)
            varying[subject] = column.to_numpy(dtype=float)
        else:
            varying[subject] = pd.factorize(as_names(column), sort=True)[0].astype(float)
    if not n_read:
        msg = "adata has no columns but the split, the label, the groups and the covariates."
        raise NotRun(msg)
    drawn, _ = labellings(codes, blocks_of(case.units), case.rng("disguise"), limit=_N_LABELLINGS)
    at = observed_row(drawn, codes)
    level = LEVEL / max(len(whole), 1)
    for subject, unit_column in whole.items():
        strength = association(unit_column, drawn, n_classes)
        p = p_value(strength[at], strength)
        if p <= level:
            findings.append(_of_units(case, subject, unit_column, codes, strength[at], p))
    findings += [found for subject, values in varying.items() if (found := _of_cells(case, subject, values))]
    findings += _neighbours(case, {subject: varying[subject] for subject in varying if subject in numbers})
    if findings:
        return findings
    read = f"{counted(n_read, 'column')} of obs and obsm"
    text = f"No class of {case.label_key} is separated over {units_in_words(case)} by any of {read}."
    if varying:
        text = (
            f"No class of {case.label_key} is determined by any of {read}. Columns that vary within a "
            f"{unit_in_words(case)} can still predict it."
        )
    return [Finding("pass", text, measure=_MEASURE, threshold=level)]


def _columns(case: Case) -> Iterator[tuple[str, pd.Series]]:
    """Name and values of each column of ``obs`` and ``obsm`` that the user did not name and heldout did not make."""
    adata = case.adata
    named = {case.split_key, case.label_key, case.match_key, case.time_key, case.perturbation_key}
    named |= {*case.group_key, *case.covariate_keys}
    made_here: set[str] = set()
    for fit in section(adata, keys.FITS):
        slots = keys.PredictionKeys(fit)
        made_here |= {fit, slots.label, slots.probability, slots.log_probability}
    for key in adata.obs.columns:
        column = adata.obs[key]
        if key in named or key in made_here or set(as_names(column)) <= {*PARTITIONS, "nan"}:
            continue
        yield f"obs[{key!r}]", column
    for key in sorted(map(str, adata.obsm)):
        block = adata.obsm[key]
        block = block.to_numpy() if isinstance(block, pd.DataFrame) else block
        if key in made_here or not isinstance(block, np.ndarray) or block.ndim != 2 or block.dtype.kind not in "fiub":
            continue
        for j in range(block.shape[1]):
            yield f"obsm[{key!r}][:, {j}]", pd.Series(block[:, j], index=adata.obs_names)


def _of_units(case: Case, subject: str, column: UnitColumn, codes: np.ndarray, strength: float, p: float) -> Finding:
    """A column with one value in each unit that is associated with the label."""
    found = Finding.about(subject, _MEASURE, strength, 1.0)
    what = {"number": "a number", "date": "a date", "category": f"a category with {column.n_values} values"}
    start = f"{subject} is {what[column.kind]} that each {unit_in_words(case)} has once"
    pairs = len({*zip(column.values.tolist(), codes.tolist(), strict=True)})
    if pairs == column.n_values == codes.max() + 1:
        return found.says("fail", f"{start}. It is obs[{case.label_key!r}] under another name (p = {p:.2g}).", _ADVICE)
    if strength >= _ALWAYS and (column.kind != "category" or 2 * column.n_values <= len(codes)):
        text = f"{start}. It determines the {case.label_key} of every {unit_in_words(case)} (p = {p:.2g})."
        return found.says("fail", text, _ADVICE)
    text = (
        f"{start}. It separates the classes of {case.label_key} more than permuted labels allow (association "
        f"{strength:.2f}, p = {p:.2g})."
    )
    return found.says("warn", text, _ADVICE)


def _of_cells(case: Case, subject: str, values: np.ndarray) -> Finding | None:
    """A column that varies within units and determines the label of each cell."""
    used = case.used
    _, code = np.unique(case.need_labels().astype(str)[case.units.of_cell[used]], return_inverse=True)
    order = np.argsort(np.nan_to_num(values[used], nan=-np.inf), kind="stable")
    value, code = np.nan_to_num(values[used], nan=-np.inf)[order], code[order]
    tied = np.flatnonzero(np.diff(code))
    if len(tied) != code.max() or (value[tied] == value[tied + 1]).any():
        return None
    text = f"{subject} determines the {case.label_key} of each cell: the classes have separate ranges of its values."
    return Finding("fail", text, subject=subject, measure=_MEASURE, value=1.0, threshold=1.0, advice=_ADVICE)


def _neighbours(case: Case, varying: dict[str, np.ndarray]) -> list[Finding]:
    """Findings on columns that are shares of a class among a few neighbours, or other averages of their labels.

    Shares are also compared as they are, because units that form islands have little variation within them.
    """
    averages = {finding.subject: finding for finding in average_findings(case, varying)}
    for subject, values in varying.items():
        k = is_share(values[case.used])
        found = None if k is None else neighbour_finding(case, subject, values, k)
        known = averages.get(subject)
        if found is not None and (known is None or (known.status != "fail" and found.status == "fail")):
            averages[subject] = found
    return list(averages.values())
