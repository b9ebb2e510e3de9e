"""Check that perturbations of the test cells are not in train under another name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core import store
from heldout._core.words import counted, first_few
from heldout.auditing._finding import Finding, NotRun
from heldout.auditing._relatives import relatives
from heldout.splitting._perturbations import Parser

if TYPE_CHECKING:
    from heldout.auditing._case import Case

_CONTROL = re.compile(
    r"(control|ctrl|non[-_ ]?targeting|ntc?|dmso|pbs|mock|vehicle|untreated|unperturbed|unstimulated)s?([-_ ]?\d+)?",
    re.IGNORECASE,
)
"""Names of controls, also with a number, such as ``non-targeting_00025``."""


def perturbations(case: Case) -> list[Finding]:
    """Compare the perturbations of train and val with those of test as sets of targets in each context.

    The record of the split defines how names are read. Without a record, ``"A+B"`` has the targets A and B, and names
    such as control, ctrl, non-targeting and DMSO are controls. All doses of a perturbation must be on one side, unless
    the split holds out doses; then each dose must be on one side. Test perturbations are also compared with train and
    val by columns such as ``drug`` and ``gene``, and by the stems of their names.
    """
    if case.perturbation_key is None:
        msg = "No perturbation_key is known. Pass perturbation_key if the split holds out perturbations."
        raise NotRun(msg)
    if not case.used.any():
        msg = "No cell is in train, val or test."
        raise NotRun(msg)
    names, of_used = store.factorize(store.as_names(case.adata.obs[case.perturbation_key])[case.used])
    codes = np.zeros(case.adata.n_obs, dtype=np.int64)  # codes of unused cells are never read
    codes[case.used] = of_used
    try:
        targets = targets_of_names(case, names)
    except ValueError as problem:
        raise NotRun(str(problem)) from problem
    contexts = _contexts(case)
    crossing = _crossing(case, names, targets, codes, contexts)
    return [crossing, *relatives(case, names, targets, codes), _controls(case, targets, codes, contexts)]


def targets_of_names(case: Case, names: np.ndarray) -> list[tuple[str, ...]]:
    """Sorted targets of each name. A control has no targets."""
    params = _recorded(case)
    if params:
        found = [*params["perturbations"], []]
        if all(name in params["names"] for name in names):
            return [() if name in case.control else tuple(found[params["names"][name]]) for name in names]
    control = [name for name in names if (name in case.control if case.control else _CONTROL.fullmatch(name))]
    return Parser(control, "+").parse(names.tolist())


def _recorded(case: Case) -> dict[str, Any]:
    made = case.scheme == "perturbations" and case.partition is not None
    return case.partition.params if made and case.partition is not None else {}


def covariate_keys_of(case: Case) -> list[str]:
    """Columns that make up the context of a perturbation: those of the split's record, else the covariates."""
    return list(_recorded(case).get("covariate_keys", case.covariate_keys))


def _contexts(case: Case) -> np.ndarray:
    """Context of each cell as text, (n,)."""
    columns = [store.as_names(case.covariate(key)) for key in covariate_keys_of(case)]
    return np.array(
        [", ".join(values) for values in zip(*columns, strict=True)] if columns else [""] * case.adata.n_obs,
        dtype=object,
    )


def _crossing(
    case: Case, names: np.ndarray, targets: list[tuple[str, ...]], codes: np.ndarray, contexts: np.ndarray
) -> Finding:
    perturbed = np.array([bool(of_name) for of_name in targets])[codes]
    key = case.perturbation_key or ""
    train, test = case.mask("train", "val") & perturbed, case.mask("test") & perturbed
    if not train.any() or not test.any():
        msg = "Train and val, or test, have no perturbed cells."
        raise NotRun(msg)

    doses, dose = _held_out_doses(case)

    def pairs(mask: np.ndarray) -> dict[tuple[tuple[str, ...], str, str], set[str]]:
        found: dict[tuple[tuple[str, ...], str, str], set[str]] = {}
        context_names, context = np.unique(contexts.astype(str), return_inverse=True)
        for code, where, at in np.unique(np.stack([codes[mask], context[mask], dose[mask]]), axis=1).T:
            found.setdefault((targets[code], str(context_names[where]), doses[at]), set()).add(str(names[code]))
        return found

    in_train, in_test = pairs(train), pairs(test)
    both = sorted(set(in_train) & set(in_test))
    found = Finding.about(key, "perturbations on both sides", len(both), 0)
    if both:
        example = ([pair for pair in both if in_train[pair] != in_test[pair]] or both)[0]
        names_in_test, names_in_train = first_few(sorted(in_test[example])), first_few(sorted(in_train[example]))
        text = (
            f"{len(both)} of {len(in_test)} test perturbations {'is' if len(both) == 1 else 'are'} also in train or "
            f"val, e.g. {names_in_test} in test is {names_in_train} in train or val."
        )
        advice = f"Hold out whole perturbations: heldout.pp.split_perturbations(adata, {key!r}, ...)."
        if all(targets):
            advice += f" No name is known as a control; if {names_in_test} is one, pass control={names_in_test!r}."
        return found.says("fail", text, advice)
    elsewhere = {of_pair for of_pair, _, _ in in_train}
    known = sum(of_pair in elsewhere for of_pair, _, _ in in_test)
    members = {target for of_pair in elsewhere for target in of_pair}
    is_dose = doses != [""]
    other = "doses or contexts, because the split holds out doses" if is_dose else "contexts"
    more = f" Train or val has {known} of {len(in_test)} in other {other}." if known else ""
    combined = [of_pair for of_pair, _, _ in in_test if len(of_pair) > 1]
    if combined:
        counts = np.bincount([sum(target in members for target in of_pair) for of_pair in combined])
        seen = [f"{n} with {counted(k, 'target')}" for k, n in enumerate(counts) if n]
        more += f" Test combinations by the number of their targets that are in train or val: {', '.join(seen)}."
    where = " at the same dose" if is_dose else ""
    where += " in the same context" if contexts.any() else ""
    return found.says("pass", f"No test perturbation is in train or val with the same targets{where}.{more}")


def _held_out_doses(case: Case) -> tuple[list[str], np.ndarray]:
    """Doses as text, and the number of the dose of each cell, (n,); a single empty text if doses are not held out."""
    params = _recorded(case)
    if params.get("hold_out") != "dose":
        return [""], np.zeros(case.adata.n_obs, dtype=np.int64)
    if params["dose_key"] not in case.adata.obs:
        msg = f"The split holds out doses, but adata.obs has no column {params['dose_key']!r}. Restore it."
        raise NotRun(msg)
    values, codes = store.factorize(store.as_names(case.adata.obs[params["dose_key"]]))
    return [str(value) for value in values], codes


def _controls(case: Case, targets: list[tuple[str, ...]], codes: np.ndarray, contexts: np.ndarray) -> Finding:
    control = ~np.array([bool(of_name) for of_name in targets])[codes]
    perturbed = set(contexts[case.mask("test") & ~control])
    lacking = sorted(perturbed - set(contexts[case.mask("test") & control]))
    found = Finding.about("control", "contexts without test controls", len(lacking), 0)
    if not (control & case.used).any():
        text = "No cell is a control, so changes against control cannot be scored."
        return found.says(
            "warn", text, "Name the controls: heldout.tl.audit or heldout.pp.split_perturbations with control."
        )
    if lacking:
        where = "" if lacking == [""] else f" in context {' and context '.join(lacking)}"
        if len(lacking) > 3:
            where = f" in {len(lacking)} contexts ({' | '.join(lacking[:3])}, …)"
        text = f"The test set has no control cells{where}. Changes would be scored against controls of train."
        advice = "Put controls into each partition: heldout.pp.split_perturbations does this."
        return found.says("warn", text, advice)
    return found.says("pass", "The test set has control cells in each context that has perturbed cells.")
