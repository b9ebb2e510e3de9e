"""Whether what is perturbed in the test cells was perturbed in train, under any name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core import store
from heldout._core.words import first_few
from heldout.auditing._finding import Finding, NotRun
from heldout.splitting._perturbations import Parser

if TYPE_CHECKING:
    from heldout.auditing._case import Case

_CONTROL = re.compile(r"(control|ctrl|non[-_ ]?targeting|ntc?|dmso|vehicle|untreated|unperturbed)", re.IGNORECASE)


def perturbations(case: Case) -> list[Finding]:
    """Compare the perturbations of train and val with those of test, as sets of targets, context by context.

    How names are read is taken from the split's record; without one, ``"A+B"`` has the targets A and B, and what is
    called control, ctrl, non-targeting, DMSO and the like perturbs nothing.
    """
    if case.perturbation_key is None:
        msg = "no perturbation is known; pass perturbation_key if perturbations are held out"
        raise NotRun(msg)
    if not case.used.any():
        msg = "no cell is in train, val or test"
        raise NotRun(msg)
    names, of_used = store.factorize(store.as_names(case.adata.obs[case.perturbation_key])[case.used])
    codes = np.zeros(case.adata.n_obs, dtype=np.int64)  # what is not used is never looked at
    codes[case.used] = of_used
    try:
        targets = _targets(case, names)
    except ValueError as problem:
        raise NotRun(str(problem)) from problem
    contexts = _contexts(case)
    return [_crossing(case, names, targets, codes, contexts), _controls(case, targets, codes, contexts)]


def _targets(case: Case, names: np.ndarray) -> list[tuple[str, ...]]:
    """Sorted targets of each name, none for a control."""
    params = _recorded(case)
    if params:
        found = [*params["perturbations"], []]
        if all(name in params["names"] for name in names):
            return [tuple(found[params["names"][name]]) for name in names]
    control = [name for name in names if _CONTROL.fullmatch(name)]
    return Parser(control, "+").parse(names.tolist())


def _recorded(case: Case) -> dict[str, Any]:
    made = case.scheme == "perturbations" and case.partition is not None
    return case.partition.params if made and case.partition is not None else {}


def _contexts(case: Case) -> np.ndarray:
    """Context of each cell as text, (n,)."""
    keys = _recorded(case).get("covariate_keys", case.covariate_keys)
    columns = [store.as_names(case.covariate(key)) for key in keys]
    return np.array(
        [", ".join(values) for values in zip(*columns, strict=True)] if columns else [""] * case.adata.n_obs,
        dtype=object,
    )


def _crossing(
    case: Case, names: np.ndarray, targets: list[tuple[str, ...]], codes: np.ndarray, contexts: np.ndarray
) -> Finding:
    perturbed = np.array([bool(of_name) for of_name in targets])[codes]
    key = case.perturbation_key or ""
    seen, test = case.mask("train", "val") & perturbed, case.mask("test") & perturbed
    if not seen.any() or not test.any():
        msg = "train or test has no perturbed cells"
        raise NotRun(msg)

    def pairs(mask: np.ndarray) -> dict[tuple[tuple[str, ...], str], set[str]]:
        found: dict[tuple[tuple[str, ...], str], set[str]] = {}
        context_names, context = np.unique(contexts.astype(str), return_inverse=True)
        for code, where in np.unique(np.stack([codes[mask], context[mask]]), axis=1).T:
            found.setdefault((targets[code], str(context_names[where])), set()).add(str(names[code]))
        return found

    before, after = pairs(seen), pairs(test)
    both = sorted(set(before) & set(after))
    found = Finding.about(key, "perturbations on both sides", len(both), 0)
    if both:
        renamed = [pair for pair in both if before[pair] != after[pair]]
        example = f"{first_few(sorted(after[(renamed or both)[0]]))} in test is {first_few(sorted(before[(renamed or both)[0]]))} in train or val"
        text = f"{len(both)} of {len(after)} test perturbations were perturbed in train or val as well ({example})"
        return found.says(
            "fail", text, f"Hold out whole perturbations: heldout.pp.split_perturbations(adata, {key!r}, ...)."
        )
    elsewhere = {of_pair for of_pair, _ in before}
    known = sum(of_pair in elsewhere for of_pair, _ in after)
    members = {target for of_pair in elsewhere for target in of_pair}
    parts = [f"{known} of {len(after)} were seen in other contexts"] if known else []
    combined = [of_pair for of_pair, _ in after if len(of_pair) > 1]
    if combined:
        counts = np.bincount([sum(target in members for target in of_pair) for of_pair in combined])
        parts.append(
            "of the combinations, "
            + ", ".join(f"{n} have {k} members that train knows" for k, n in enumerate(counts) if n)
        )
    beside = f" ({'; '.join(parts)})" if parts else ""
    return found.says("pass", f"no test perturbation was perturbed in train or val, under any name{beside}")


def _controls(case: Case, targets: list[tuple[str, ...]], codes: np.ndarray, contexts: np.ndarray) -> Finding:
    control = ~np.array([bool(of_name) for of_name in targets])[codes]
    perturbed = set(contexts[case.mask("test") & ~control])
    lacking = sorted(perturbed - set(contexts[case.mask("test") & control]))
    found = Finding.about("control", "contexts without test controls", len(lacking), 0)
    if not (control & case.used).any():
        return found.says(
            "warn", "no cell is a control, so a change against control cannot be scored", "Name the controls."
        )
    if lacking:
        where = f" in {first_few(lacking)}" if lacking != [""] else ""
        text = f"test has no control cells of its own{where}: changes would be scored against controls that were trained on"
        return found.says("warn", text, "Give each partition controls: heldout.pp.split_perturbations does.")
    return found.says("pass", "test has control cells of its own wherever it has perturbed ones")
