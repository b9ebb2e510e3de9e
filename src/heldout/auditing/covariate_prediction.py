"""Predict the test units from one covariate alone, learnt on the train units."""

from __future__ import annotations

from itertools import combinations
from math import comb
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

from heldout._core.words import first_few
from heldout.auditing._finding import Finding, NotRun
from heldout.auditing._words import not_constant, unit_in_words, units_in_words

if TYPE_CHECKING:
    from heldout.auditing._case import Case

LEVEL, FAR, DECISIVE = 0.05, 0.2, 0.5
_MAX_LABELLINGS = 20_000
_N_CHANCE = 1000


def covariate_prediction(case: Case) -> list[Finding]:
    """Predict each test unit from the class shares of the train units that have its value of the covariate.

    The item fails if most test units have a value that has only one class in train, and most of them are in that class
    or most of them are in another class. A model that learns the covariate is then right, or wrong, for a reason that
    is not the label. With few units of each value this can happen by chance. Unless it is true for every test unit,
    labels that are permuted within train and within test must reach the same in at most 5 % of the draws.
    """
    labels = case.need_labels()
    if not case.covariate_keys:
        msg = "No covariate is known. Pass covariate_keys, e.g. the columns of the day, the batch or the sex."
        raise NotRun(msg)
    train, test = case.units.within("train"), case.units.within("test")
    if len(set(labels[train])) < 2 or len(set(labels[test])) < 2:
        msg = "Train or test has only one class."
        raise NotRun(msg)
    findings = []
    for key in case.covariate_keys:
        values = case.units.values(case.covariate(key))
        if values is None:
            findings.append(Finding("not run", not_constant(case, key), key))
        else:
            findings.append(_covariate(case, key, values, labels, train, test))
    return findings


def _covariate(
    case: Case, key: str, values: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray
) -> Finding:
    score = _scores(values, labels, train, test)
    auc, p = _auc_and_p(score, labels[test], sorted(set(labels)), case.rng(f"covariate {key}"))
    only_class = _only_classes(values, labels, train)
    known = [
        (name, value, label)
        for name, value, label in zip(case.units.names[test], values[test], labels[test], strict=True)
        if value in only_class
    ]
    wrong = [(name, value, label) for name, value, label in known if only_class[value] != label]
    n = int(test.sum())
    units = f"{n} test {units_in_words(case)}"
    found = Finding.about(key, "AUC of the covariate alone", auc, 0.5)
    advice = (
        f"Hold out all cells of a value of {key} that has every class: heldout.pp.split_matched with match_key={key!r}."
    )
    net = 2 * len(wrong) - len(known)
    decisive = abs(net) >= DECISIVE * n
    decisive = decisive and (abs(net) == n or _chance(case, key, values, labels, (train, test), abs(net)) <= LEVEL)
    if decisive and net > 0:
        name, value, label = wrong[0]
        text = (
            f"A model that learns {key} instead of {case.label_key} is wrong on {len(wrong)} of {units} (AUC "
            f"{auc:.2f}). For example, all train {units_in_words(case)} of {key} {value} are {only_class[value]}, but "
            f"test {unit_in_words(case)} {name} of {key} {value} is {label}."
        )
        return found.says("fail", text, advice)
    if decisive:
        right = [(value, label) for _, value, label in known if only_class[value] == label]
        pure = first_few(sorted({f"of {key} {value} are {label}" for value, label in right}))
        text = (
            f"A model that learns {key} instead of {case.label_key} is right on {len(right)} of {units} (AUC "
            f"{auc:.2f}). In train, all {units_in_words(case)} {pure}."
        )
        return found.says("fail", text, advice)
    text = f"A model of {key} alone, learnt on train, has AUC {auc:.2f} on {units} (p = {p:.2g})."
    if p <= LEVEL and abs(auc - 0.5) >= FAR:
        return found.says("warn", text, advice)
    unseen = ~np.isin(values[test], values[train])
    if unseen.any():
        absent = first_few(sorted(set(values[test][unseen])))
        text += f" Train has no {units_in_words(case)} with these values of {key}: {absent}."
    return found.says("pass", text)


def _chance(
    case: Case, key: str, values: np.ndarray, labels: np.ndarray, sides: tuple[np.ndarray, np.ndarray], net: int
) -> float:
    """Share of label permutations, within train and within test, that predict the test units as decisively."""
    train, test = sides
    (_, value), (_, label) = (np.unique(x.astype(str), return_inverse=True) for x in (values, labels))
    n_values, n_classes = value.max() + 1, label.max() + 1
    rng = case.rng(f"chance {key}")
    hits = 0
    for _ in range(_N_CHANCE):
        drawn = rng.permutation(label[train])
        counts = np.bincount(value[train] * n_classes + drawn, minlength=n_values * n_classes)
        counts = counts.reshape(n_values, n_classes)
        predicted = np.where((counts > 0).sum(axis=1) == 1, counts.argmax(axis=1), -1)[value[test]]
        right = (predicted == rng.permutation(label[test]))[predicted >= 0]
        hits += abs(2 * int(right.sum()) - len(right)) >= net
    return (1 + hits) / (1 + _N_CHANCE)


def _only_classes(values: np.ndarray, labels: np.ndarray, train: np.ndarray) -> dict[str, str]:
    """Values of the covariate that have only one class in train, and this class."""
    classes: dict[str, set[str]] = {}
    for value, label in zip(values[train], labels[train], strict=True):
        classes.setdefault(value, set()).add(label)
    return {value: next(iter(found)) for value, found in classes.items() if len(found) == 1}


def _scores(values: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Class shares of the train units with the value, shrunk to those of all train units, (n_test × n_classes)."""
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
    """Mean AUC over the classes of test, and the two-sided permutation p-value of its distance from 0.5."""
    codes = np.array([classes.index(label) for label in labels])
    ranks = rankdata(score, axis=0)
    scored = [1] if len(classes) == 2 else sorted(set(codes.tolist()))

    def mean_auc(assigned: np.ndarray) -> np.ndarray:
        """AUC for each row of class numbers, (B,)."""
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
    """Labellings with these class sizes, (B × n), and whether these are all of them."""
    first, *others = sorted(set(codes.tolist()))
    n, m = len(codes), int((codes != first).sum())
    if len(others) == 1 and comb(n, m) <= _MAX_LABELLINGS:
        result = np.full((comb(n, m), n), first)
        for row, chosen in enumerate(combinations(range(n), m)):
            result[row, list(chosen)] = others[0]
        return result, True
    return rng.permuted(np.tile(codes, (_MAX_LABELLINGS, 1)), axis=1), False
