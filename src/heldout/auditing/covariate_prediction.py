"""What a covariate alone, learnt on the train groups, says of the test groups."""

from __future__ import annotations

from itertools import combinations
from math import comb
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

from heldout._core.words import first_few
from heldout.auditing._finding import Finding, NotRun

if TYPE_CHECKING:
    from heldout.auditing._case import Case

LEVEL, FAR, DECISIVE = 0.05, 0.2, 0.5
_MAX_LABELLINGS = 20_000
_N_CHANCE = 1000


def covariate_prediction(case: Case) -> list[Finding]:
    """Predict each test unit by the share of its class among the train units with its value of the covariate.

    It fails where most test units have a value that train knows from one class only, and are of that class, or most
    are of another: a model that learnt the covariate then is right, or wrong, for a reason that has nothing to do with
    the label. With few units of each value that comes about by chance, so unless it is so for every test unit, labels
    exchanged within train and within test must do as much in at most 5 % of the draws.
    """
    labels = case.need_labels()
    if not case.covariate_keys:
        msg = "no covariate is known; pass covariate_keys, e.g. day, batch, sex"
        raise NotRun(msg)
    train, test = case.units.within("train"), case.units.within("test")
    if len(set(labels[train])) < 2 or len(set(labels[test])) < 2:
        msg = "train or test has one class only"
        raise NotRun(msg)
    findings = []
    for key in case.covariate_keys:
        values = case.units.values(case.covariate(key))
        if values is None:
            findings.append(Finding("not run", f"{key} varies within a {case.unit}, or has missing values", key))
        else:
            findings.append(_one(case, key, values, labels, train, test))
    return findings


def _one(case: Case, key: str, values: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray) -> Finding:
    score = _scores(values, labels, train, test)
    auc, p = _auc_and_p(score, labels[test], sorted(set(labels)), case.rng(f"covariate {key}"))
    told = _told(values, labels, train)
    known = [
        (name, value, label)
        for name, value, label in zip(case.units.names[test], values[test], labels[test], strict=True)
        if value in told
    ]
    wrong = [(name, value, label) for name, value, label in known if told[value] != label]
    n = int(test.sum())
    found = Finding.about(key, "AUC of the covariate alone", auc, 0.5)
    advice = f"Hold out whole values of {key} with every class: heldout.pp.split_matched with match_key={key!r}."
    net = 2 * len(wrong) - len(known)
    decisive = abs(net) >= DECISIVE * n
    decisive = decisive and (abs(net) == n or _chance(case, key, values, labels, (train, test), abs(net)) <= LEVEL)
    if decisive and net > 0:
        name, value, label = wrong[0]
        text = (
            f"a model that learns {key} instead of {case.label_key} is wrong on {len(wrong)} of {n} test units and ranks them "
            f"with AUC {auc:.2f}: {key} {value} was only {told[value]} in train, but {name} is {label}"
        )
        return found.says("fail", text, advice)
    if decisive:
        right = [(value, label) for _, value, label in known if told[value] == label]
        text = (
            f"a model that learns {key} instead of {case.label_key} is right on {len(right)} of {n} test units (AUC {auc:.2f}): "
            f"in train, {key} {first_few(sorted({f'{value} is only {label}' for value, label in right}))}"
        )
        return found.says("fail", text, advice)
    if p <= LEVEL and abs(auc - 0.5) >= FAR:
        text = f"{key} alone, learnt on train, ranks the test units with AUC {auc:.2f} (p {p:.2g})"
        return found.says("warn", text, advice)
    unseen = ~np.isin(values[test], values[train])
    new = f"; {first_few(sorted(set(values[test][unseen])))} was never seen in train" if unseen.any() else ""
    return found.says("pass", f"{key} alone, learnt on train, says little of the test units (AUC {auc:.2f}){new}")


def _chance(
    case: Case, key: str, values: np.ndarray, labels: np.ndarray, sides: tuple[np.ndarray, np.ndarray], net: int
) -> float:
    """Share of the exchanges of labels, within train and within test, that tell as much of the test units."""
    train, test = sides
    (_, value), (_, label) = (np.unique(x.astype(str), return_inverse=True) for x in (values, labels))
    n_values, n_classes = value.max() + 1, label.max() + 1
    rng = case.rng(f"chance {key}")
    hits = 0
    for _ in range(_N_CHANCE):
        drawn = rng.permutation(label[train])
        counts = np.bincount(value[train] * n_classes + drawn, minlength=n_values * n_classes)
        counts = counts.reshape(n_values, n_classes)
        told = np.where((counts > 0).sum(axis=1) == 1, counts.argmax(axis=1), -1)[value[test]]
        right = (told == rng.permutation(label[test]))[told >= 0]
        hits += abs(2 * int(right.sum()) - len(right)) >= net
    return (1 + hits) / (1 + _N_CHANCE)


def _told(values: np.ndarray, labels: np.ndarray, train: np.ndarray) -> dict[str, str]:
    """Values of the covariate that train knows from one class only, and that class."""
    classes: dict[str, set[str]] = {}
    for value, label in zip(values[train], labels[train], strict=True):
        classes.setdefault(value, set()).add(label)
    return {value: next(iter(found)) for value, found in classes.items() if len(found) == 1}


def _scores(values: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Share of each class among the train units with the value, drawn towards that among all, (n_test × n_classes)."""
    classes = sorted(set(labels))
    overall = np.array([(labels[train] == name).mean() for name in classes])
    of_value = {}
    for value in set(values[test]):
        same = labels[train & (values == value)]
        counts = np.array([(same == name).sum() for name in classes])
        of_value[value] = (counts + overall) / (len(same) + 1)
    return np.array([of_value[value] for value in values[test]])


def _auc_and_p(
    score: np.ndarray, labels: np.ndarray, classes: list[str], rng: np.random.Generator
) -> tuple[float, float]:
    """Mean AUC of the classes that test has, and the two-sided permutation p of its distance from 0.5."""
    codes = np.array([classes.index(label) for label in labels])
    ranks = rankdata(score, axis=0)
    scored = [1] if len(classes) == 2 else sorted(set(codes.tolist()))

    def mean_auc(assigned: np.ndarray) -> np.ndarray:
        """AUC of each row of class numbers, (B,)."""
        aucs = []
        for number in scored:
            mask = assigned == number
            n = mask.sum(axis=1)
            aucs.append(((mask * ranks[:, number]).sum(axis=1) - n * (n + 1) / 2) / (n * (mask.shape[1] - n)))
        return np.mean(aucs, axis=0)

    observed = float(mean_auc(codes[None])[0])
    labellings, exact = _labellings(codes, rng)
    hits = int((np.abs(mean_auc(labellings) - 0.5) >= abs(observed - 0.5) - 1e-12).sum())
    return observed, hits / len(labellings) if exact else (hits + 1) / (len(labellings) + 1)


def _labellings(codes: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, bool]:
    """All labellings with these class sizes if two classes have few, else random ones, (B × n); whether it is all."""
    first, *others = sorted(set(codes.tolist()))
    n, m = len(codes), int((codes != first).sum())
    if len(others) == 1 and comb(n, m) <= _MAX_LABELLINGS:
        result = np.full((comb(n, m), n), first)
        for row, chosen in enumerate(combinations(range(n), m)):
            result[row, list(chosen)] = others[0]
        return result, True
    return rng.permuted(np.tile(codes, (_MAX_LABELLINGS, 1)), axis=1), False
