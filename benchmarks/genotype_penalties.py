"""How to choose the penalty of ridge-logistic regression with few groups: rules against each other on simulations.

    python benchmarks/genotype_penalties.py [--seeds 3]

A simulation has one row of 100 genes for each train group, and 200 new groups. Classes differ in all genes, in five
genes, in all genes beside strong common factors, or along the strongest factor. With every third seed pairs of groups
are left out together, and with another third classes are unbalanced if there are more than 8 groups. Each rule sees the
same inner folds over the train groups. The tables show the mean log-loss and the mean AUC of new groups. With three
seeds it takes about a minute.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd

from heldout.metrics import log_loss, roc_auc
from heldout.tasks.genotype.linear import linear_log_probability
from heldout.tasks.genotype.penalty import Rows, balanced_weights, inner_folds, weigh_penalties
from heldout.tasks.genotype.ridge import ridge
from heldout.tasks.genotype.temperature import temperature

CS = np.array([0.01, 0.1, 1.0, 10.0, 100.0, 1000.0])
GROUPS, SIZES = (4, 6, 8, 12, 20, 40), (0.0, 1.0, 2.0, 4.0, 10.0)
KINDS = ("all genes", "five genes", "factors", "first factor")
N_GENES, N_NEW = 100, 200


def simulated(kind: str, n: int, size: float, seed: int) -> tuple[np.ndarray, Rows, np.ndarray, np.ndarray]:
    """Profiles of the train groups, what is known of them, and profiles and classes of new groups."""
    rng = np.random.default_rng([seed, n, KINDS.index(kind)])
    n_sick = round(n * 0.3) if seed % 3 == 1 and n > 8 else n // 2
    labels = np.r_[np.ones(n_sick, int), np.zeros(n - n_sick, int)]
    new = np.arange(N_NEW) % 2
    signs = 2 * np.r_[labels, new] - 1
    X = rng.normal(size=(n + N_NEW, N_GENES))
    direction = rng.normal(size=N_GENES) / np.sqrt(N_GENES)
    if kind == "five genes":
        direction = np.where(np.arange(N_GENES) < 5, 1 / np.sqrt(5), 0.0)
    if kind == "factors":
        X = 0.5 * X + 2 * rng.normal(size=(len(X), 4)) @ rng.normal(size=(4, N_GENES))
    if kind == "first factor":
        X += 3 * rng.normal(size=(len(X), 1)) * direction
    units = np.arange(n)
    if seed % 3 == 2:
        units = np.r_[np.arange(n_sick), np.arange(n - n_sick)]
        pairs = np.r_[units, n + np.arange(N_NEW) // 2]
        X += 1.5 * rng.normal(size=(n + N_NEW, N_GENES))[pairs]
    X += size * signs[:, None] * direction
    return X[:n], Rows(labels, np.arange(n), units), X[n:], new


def predictions(X: np.ndarray, rows: Rows, new: np.ndarray) -> dict[str, np.ndarray]:
    """Log-odds of the new groups by each rule."""

    def fitted(train: np.ndarray, wanted: np.ndarray) -> list[np.ndarray]:
        centre = X[train].mean(axis=0)
        fit = ridge(X[train] - centre, rows.taken(train))
        return [linear_log_probability(fit(float(C)).arrays, wanted - centre) for C in CS]

    everything = np.arange(len(X))
    of_new = np.stack([np.diff(each, axis=1)[:, 0] for each in fitted(everything, new)])
    log_p = np.full((len(CS), len(X), 2), np.nan)
    for held_out in inner_folds(rows):
        log_p[:, held_out] = fitted(np.setdiff1d(everything, held_out), X[held_out])
    known = np.flatnonzero(np.isfinite(log_p[0, :, 0]))
    labels = rows.labels[known]
    weights = balanced_weights(labels, rows.groups[known])
    losses = -log_p[:, known, labels] * weights
    best = int(losses.mean(axis=1).argmin())
    worse = losses - losses[best]
    good = worse.mean(axis=1) <= worse.std(axis=1, ddof=1) / np.sqrt(len(known))
    chosen = {f"C = {C:g}": i for i, C in enumerate(CS) if C in (1, 10, 100)}
    chosen["strongest within one standard error"] = int(good.argmax())
    chosen["nearest to C = 10 within one standard error"] = int(
        np.where(good, np.abs(np.log(CS / 10)), np.inf).argmin()
    )
    chosen["lowest loss"] = best
    found = {}
    for rule, i in chosen.items():
        found[rule] = of_new[i] / temperature(log_p[i, known], labels, weights)
    found["C = 1, no temperature"] = of_new[2]
    table = dict(zip(CS, log_p, strict=True))
    average = weigh_penalties(lambda _, test: lambda C: table[C][test], rows, CS)
    found["average over penalties"] = (average.weights / average.temperatures) @ of_new
    return found


def main() -> None:
    """Print the mean log-loss and AUC of each rule, by the number of train groups, and by the size of the signal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="simulations of each design")
    found = []
    for seed in range(parser.parse_args().seeds):
        for n in GROUPS:
            for kind in KINDS:
                for size in SIZES:
                    X, rows, new, truth = simulated(kind, n, size, seed)
                    for rule, odds in predictions(X, rows, new).items():
                        log_p = -np.logaddexp(0, np.stack([odds, -odds], axis=1))
                        row = {"rule": rule, "groups": n, "size": size, "loss": log_loss(truth, log_p)}
                        found.append(row | {"AUC": roc_auc(truth, log_p)})
    table = pd.DataFrame(found)
    for metric in ("loss", "AUC"):
        for by in ("groups", "size"):
            wide = table.pivot_table(index="rule", columns=by, values=metric)
            wide["average"] = table.groupby("rule")[metric].mean()
            names = [f"{name:g} groups" if by == "groups" else f"size {name:g}" for name in wide.columns[:-1]]
            print(f"\n{metric}\n| rule | {' | '.join(names)} | average |\n|---|{'---|' * wide.shape[1]}")
            for rule, values in wide.sort_values("average", ascending=metric == "loss").iterrows():
                print(f"| {rule} | {' | '.join(f'{value:.3f}' for value in values)} |")


if __name__ == "__main__":
    main()
