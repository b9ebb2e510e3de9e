"""Find test perturbations that share a drug, a gene or a stem of their names with perturbations of train."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from heldout._core import store
from heldout._core.placeholders import is_placeholder
from heldout._core.unit_columns import PROPERTY_WORDS, plain
from heldout._core.words import counted, first_few
from heldout.auditing._finding import Finding
from heldout.auditing._spelling import stem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heldout.auditing._case import Case

MOST = 24
"""A value or stem of more perturbations than this is not one drug or gene."""

_COLUMN = re.compile(
    r"(?:^|[^a-z])(agent|chemical|chembl|cid|compound|drug|gene|inchi|inchikey|ligand|molecule|pert|perturbation|"
    r"perturbagen|pubchem|smiles|target|treatment)(?:[^a-z]|$)"
)


def relatives(case: Case, names: np.ndarray, targets: Sequence[tuple[str, ...]], codes: np.ndarray) -> list[Finding]:
    """Compare test perturbations with those of train and val by columns of ``obs`` and by the stems of their names.

    A perturbation that is in train or val itself, in another context or at another dose, is not compared.
    """
    perturbed = np.array([bool(of_name) for of_name in targets])
    in_train = np.bincount(codes[case.mask("train", "val")], minlength=len(names)) > 0
    in_test = np.bincount(codes[case.mask("test")], minlength=len(names)) > 0
    known = {targets[int(i)] for i in np.flatnonzero(in_train & perturbed)}
    new = np.array([of_name not in known for of_name in targets])
    train, test = np.flatnonzero(in_train & perturbed), np.flatnonzero(in_test & perturbed & new)
    findings = _placeholders(names, perturbed & (in_train | in_test))
    if not len(train) or not len(test):
        return findings
    findings += [
        _warning(case, key, f"have the same {key}", shared, names, "the column is a drug, a gene or another identity")
        for key in _columns(case)
        if (shared := _shared(_values(case, key, codes, len(names)), train, test))
    ]
    stems = _stems(targets)
    shared = _shared(stems, train, test)
    if shared:
        how = "share a stem of their name"
        findings.append(_warning(case, "names", how, shared, names, "the stem is a drug or a gene"))
    return findings


def _columns(case: Case) -> list[str]:
    declared = {case.perturbation_key, case.split_key, case.label_key, case.match_key, case.time_key}
    declared |= {*case.group_key, *case.covariate_keys}
    found: list[str] = []
    for key in case.adata.obs.columns:
        words = plain(str(key))
        numeric = case.adata.obs[key].dtype.kind in "fcbmM"
        named = _COLUMN.search(words) and not PROPERTY_WORDS.search(words)
        if isinstance(key, str) and key not in declared and not numeric and named:
            found.append(key)
    return found


def _values(case: Case, key: str, codes: np.ndarray, n_names: int) -> list[str]:
    """Value of a column for each name of a perturbation. Empty if cells of the name have several values or none."""
    column = case.adata.obs[key]
    rows = np.flatnonzero(case.used & column.notna().to_numpy())
    values, of_row = store.factorize(store.as_names(column)[rows])
    pairs = np.unique(np.stack([codes[rows], of_row]), axis=1)
    single = np.bincount(pairs[0], minlength=n_names) == 1
    found = [""] * n_names
    for name, value in pairs.T:
        if single[name] and not is_placeholder(str(values[value])):
            found[name] = str(values[value])
    return found


def _stems(targets: Sequence[tuple[str, ...]]) -> list[str]:
    """Stems of the targets of each perturbation as text. Empty for controls, and if a target has no stem."""
    stems = [tuple(stem(target) for target in of_name) for of_name in targets]
    return ["+".join(sorted(set(of_name))) if of_name and all(of_name) else "" for of_name in stems]


def _shared(values: list[str], train: np.ndarray, test: np.ndarray) -> list[tuple[str, int, int]]:
    """Value, test name and train name of each test perturbation that has the value of a train perturbation."""
    if len({values[i] for i in (*train, *test) if values[i]}) < 2:
        return []  # a value of all perturbations is not one drug or gene
    members: dict[str, list[int]] = {}
    for i in train:
        members.setdefault(values[i], []).append(i)
    found = [(values[i], int(i), members[values[i]][0]) for i in test if values[i] and values[i] in members]
    sizes = {value: sum(other == value for other in values) for value, _, _ in found}
    return [pair for pair in found if sizes[pair[0]] <= MOST]


def _warning(
    case: Case, subject: str, how: str, shared: list[tuple[str, int, int]], names: np.ndarray, meaning: str
) -> Finding:
    values = sorted({value for value, _, _ in shared})
    _, here, there = shared[0]
    key = case.perturbation_key
    found = Finding.about(subject, "test perturbations with a relative in train or val", len(shared), 0)
    text = (
        f"{counted(len(shared), 'test perturbation')} {how} with perturbations of train or val ({first_few(values)}), "
        f"e.g. {names[here]} in test and {names[there]} in train or val."
    )
    if len(shared) == 1:
        text = text.replace(" have ", " has ", 1).replace(" share ", " shares ", 1).replace(" their ", " its ", 1)
    advice = (
        f"If {meaning}, the perturbations are not independent. Hold out all of them together: "
        f"heldout.pp.split_perturbations(adata, {key!r}, targets=...)."
    )
    return found.says("warn", text, advice)


def _placeholders(names: np.ndarray, used: np.ndarray) -> list[Finding]:
    found = [str(name) for name in names[used] if is_placeholder(str(name))]
    if not found:
        return []
    about = Finding.about("names", "placeholder perturbations", len(found), 0)
    text = (
        f"{first_few(map(repr, found))} {'is' if len(found) == 1 else 'are'} no perturbation but cells of an unknown "
        "perturbation, or of several perturbations."
    )
    return [about.says("warn", text, "Remove these cells, or put them into unused.")]
