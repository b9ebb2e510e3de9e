"""Find groups that have two spellings, and groups that are placeholders for an unknown group."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heldout._core import store
from heldout._core.placeholders import is_placeholder
from heldout._core.words import counted, first_few
from heldout.auditing._finding import Finding, NotRun
from heldout.auditing._spelling import same_spelling, without_suffix
from heldout.auditing._words import many, singular

if TYPE_CHECKING:
    from collections.abc import Callable

    from heldout.auditing._case import Case


def aliases(case: Case) -> list[Finding]:
    """Compare the names of the groups in test with those in train and val, and look for placeholders.

    The item fails if a name in test and a name in train or val differ only in spaces, case, punctuation, zeros at the
    start of a number, or ``.0`` at the end. It warns if they differ only in a suffix such as ``_rep2`` or ``b``, and if
    a group is a placeholder such as ``unassigned`` or ``doublet``. It reads names only, so it cannot find a group whose
    second name is different.
    """
    if not case.group_key:
        msg = "No group_key is known. Pass group_key, the obs column of the independent unit."
        raise NotRun(msg)
    if not case.used.any():
        msg = "No cell is in train, val or test."
        raise NotRun(msg)
    return [finding for key in case.group_key for finding in _of_column(case, key)]


def _of_column(case: Case, key: str) -> list[Finding]:
    test, train = _names(case, key, "test"), _names(case, key, "train", "val")
    findings = []
    respelled = _pairs(test, train, same_spelling)
    suffixed = [pair for pair in _pairs(test, train, without_suffix) if pair not in respelled]
    for pairs, status, how in (
        (respelled, "fail", "only in spelling (spaces, case, punctuation, zeros, .0)"),
        (suffixed, "warn", "only in a suffix"),
    ):
        if pairs:
            found = Finding.about(key, f"{many(key)} in test with an alias in train or val", len(pairs), 0)
            examples = first_few([f"{here!r} in test and {there!r}" for here, there in pairs])
            text = (
                f"{counted(len(pairs), 'pair')} of names of {key} in test and in train or val "
                f"{'differs' if len(pairs) == 1 else 'differ'} {how}, e.g. {examples}."
            )
            advice = f"If both names are one {singular(key)}, give them one name in obs[{key!r}] and make a new split."
            findings.append(found.says("fail" if status == "fail" else "warn", text, advice))
    findings += _placeholders(case, key, test, train)
    if not findings:
        found = Finding.about(key, f"{many(key)} in test with an alias in train or val", 0, 0)
        text = (
            f"No name of {key} in test differs from a name in train or val only in spelling or in a usual suffix, and "
            f"no name is a placeholder."
        )
        if not test or not train:
            text = f"No name of {key} is a placeholder. There are no names of two sides to compare."
        findings.append(found.says("pass", text))
    return findings


def _names(case: Case, key: str, *partitions: str) -> list[str]:
    return sorted(set(store.as_names(case.adata.obs[key])[case.mask(*partitions)]))


def _pairs(test: list[str], train: list[str], form: Callable[[str], str]) -> list[tuple[str, str]]:
    """Pairs of different names in test and train with the same form."""
    of_form: dict[str, list[str]] = {}
    for name in train:
        of_form.setdefault(form(name), []).append(name)
    return [(here, there) for here in test for there in of_form.get(form(here), []) if there != here]


def _placeholders(case: Case, key: str, test: list[str], train: list[str]) -> list[Finding]:
    names = sorted({name for name in (*test, *train) if is_placeholder(name)})
    if not names:
        return []
    values = store.as_names(case.adata.obs[key])
    n = sum(int((case.used & (values == name)).sum()) for name in names)
    where = [part for part in ("train", "val", "test") if set(names) & set(_names(case, key, part))]
    text = (
        f"{first_few(repr(name) for name in names)} {'is' if len(names) == 1 else 'are'} no {singular(key)} but "
        f"{counted(n, 'cell')} of unknown or several {many(key)}, in {' and '.join(where)}. Their cells can come from "
        f"{many(key)} on the other side of the split."
    )
    found = Finding.about(key, "cells in placeholder groups", n, 0)
    return [found.says("warn", text, "Remove these cells, or put them into unused, and make a new split.")]
