"""Find libraries, donors and lanes that have cells on both sides of the split."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from heldout._core import store
from heldout._core.leaks import makes_invalid
from heldout._core.partition import PARTITIONS
from heldout._core.unit_columns import is_unit
from heldout._core.words import counted, first_few
from heldout.auditing._finding import Finding
from heldout.auditing._words import many
from heldout.splitting._components import components

if TYPE_CHECKING:
    from heldout.auditing._case import Case


def group_overlap(case: Case) -> list[Finding]:
    """Fail if a group of ``group_key`` is on both sides. Warn or fail if another column that looks like a unit is.

    It fails for an undeclared donor or sample where the evaluation of a classifier gives the verdict ``leaks``.
    """
    case.need_sides()
    findings = [_declared(case, key) for key in case.group_key]
    if len(case.group_key) > 1:
        linked = len(set(case.units.groups[case.crossing]))
        if linked and all(finding.status == "pass" for finding in findings):
            findings.append(_linked(case, linked))
    held = case.perturbation_key or case.time_key
    if not case.group_key and held:
        findings.append(Finding("not run", f"No group_key is known. The split holds out values of {held}."))
    elif not case.group_key:
        text = "No group_key is known, so the audit cannot check which cells belong together."
        advice = "Pass group_key, the obs column of the independent unit, e.g. the library or the donor."
        findings.append(Finding("warn", text, advice=advice))
    findings += [finding for key in _undeclared(case) if (finding := _judged(case, key)) is not None]
    return findings


def _declared(case: Case, key: str) -> Finding:
    crossing = _crossing(case, key)
    both, seen = crossing.names[crossing.both], crossing.names[crossing.train_and_val]
    found = Finding.about(key, "values on both sides", len(both), 0)
    advice = f"Make a new split by {key}: heldout.pp.split_groups(adata, {key!r}, ...)."
    if len(both):
        text = (
            f"{len(both)} of {len(crossing.names)} values of {key} {'has' if len(both) == 1 else 'have'} cells in test "
            f"and also in train or val (e.g. {first_few(both)}). The {key} of {counted(crossing.n_test, 'test cell')} "
            "is also in train or val."
        )
        return found.says("fail", text, advice)
    if len(seen):
        text = (
            f"{counted(len(seen), 'value')} of {key} {'is' if len(seen) == 1 else 'are'} in train and in val (e.g. "
            f"{first_few(seen)}). Scores on val can be "
            "higher than scores on test."
        )
        return found.says("warn", text, advice)
    return found.says(
        "pass", f"Each of the {len(crossing.names)} values of {key} is in only one of train, val and test."
    )


def _linked(case: Case, n: int) -> Finding:
    found = Finding.about(case.unit, "groups on both sides", n, 0)
    text = (
        f"{counted(n, 'set')} of cells that {'is' if n == 1 else 'are'} linked through {' and '.join(case.group_key)} "
        f"{'has' if n == 1 else 'have'} cells in test and also in train or val."
    )
    return found.says("fail", text, f"Make a new split with group_key={case.group_key}.")


def _judged(case: Case, key: str) -> Finding | None:
    crossing = _crossing(case, key)
    both = crossing.names[crossing.both]
    if not len(both):
        return None
    text = (
        f"The column {key} looks like an independent unit, but it is not in group_key. {len(both)} of its "
        f"{len(crossing.names)} values {'has' if len(both) == 1 else 'have'} cells in test and also in train or val "
        f"(e.g. {first_few(both)}). This concerns {counted(crossing.n_test, 'test cell')}."
    )
    new = f"group_key={[*case.group_key, key]}"
    if len(case.group_key) == 1 and _has_several_labels(case, key):
        new = f"group_key={case.group_key[0]!r}, label_key={case.label_key!r} and pair_key={key!r}"
    advice = f"If cells with the same {key} are not independent, make a new split with {new}."
    found = Finding.about(key, "values on both sides", len(both), 0)
    if not _makes_invalid(case, key, both):
        return found.says("warn", text, advice)
    text += " heldout.tl.evaluate gives such a split no verdict."
    advice += (
        f" If the claim is only about new {many(case.unit)} of the same {many(key)}, evaluate with claim_keys={[key]}."
    )
    return found.says("fail", text, advice)


def _makes_invalid(case: Case, key: str, both: np.ndarray) -> bool:
    """Whether the evaluation of a classifier of the declared units has no verdict because of this column."""
    if case.label_key is None or not case.group_key:
        return False
    obs = case.adata.obs
    labelled = obs[case.label_key].notna().to_numpy()
    units = components(*(store.as_names(obs[name])[labelled] for name in case.group_key))
    rows = case.used & labelled & obs[key].notna().to_numpy()
    _, labels = store.factorize(store.as_names(obs[case.label_key])[rows])
    return makes_invalid(key, store.as_names(obs[key])[rows], labels, both, len(set(units)))


def _has_several_labels(case: Case, key: str) -> bool:
    """Whether a value of a column has cells of several labels, e.g. a patient before and after treatment."""
    if case.label_key is None:
        return False
    labels = case.adata.obs[case.label_key][case.used]
    return bool((labels.groupby(case.adata.obs[key][case.used], observed=True).nunique() > 1).any())


class _Crossing(NamedTuple):
    """Values of a column and the partitions that they are in.

    ``both`` marks values in test and in train or val, and ``n_test`` counts their test cells. ``train_and_val`` marks
    values in train and in val.
    """

    names: np.ndarray
    both: np.ndarray
    train_and_val: np.ndarray
    n_test: int


def _crossing(case: Case, key: str) -> _Crossing:
    values = case.adata.obs[key]
    known = case.used & values.notna().to_numpy()
    names, codes = store.factorize(store.as_names(values)[known])
    counts = np.zeros((len(names), len(PARTITIONS)), dtype=np.int64)
    np.add.at(counts, (codes, case.codes[known]), 1)
    train, val, test = (counts[:, :3] > 0).T
    both = (train | val) & test
    return _Crossing(names, both, train & val, int(counts[both, 2].sum()))


def _undeclared(case: Case) -> list[str]:
    known = {
        *case.group_key,
        *case.covariate_keys,
        case.label_key,
        case.match_key,
        case.time_key,
        case.perturbation_key,
        case.split_key,
    }
    columns = [key for key in case.adata.obs.columns if isinstance(key, str)]
    return [key for key in columns if key not in known and is_unit(case.adata.obs[key], key)]
