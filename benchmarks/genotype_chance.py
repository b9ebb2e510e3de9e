"""AUC of labels without any signal: how far the mean over five folds is from 0.5 with 40 donors.

    python benchmarks/genotype_chance.py [--studies 150]

Profiles of donors have three common factors, as batches and cell types give. The same profiles are used in all folds, so
a fold that ranks below chance tends to be among others that do. It takes about half a minute.
"""

from __future__ import annotations

import argparse

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

N_DONORS, N_FOLDS, N_GENES = 40, 5, 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=150, help="number of simulated studies")
    n_studies = parser.parse_args().studies
    rng = np.random.default_rng(0)
    labels = np.arange(N_DONORS) % 2
    fold = (np.arange(N_DONORS) // 2) % N_FOLDS
    found = []
    for _ in range(n_studies):
        X = rng.normal(size=(N_DONORS, 3)) @ rng.normal(size=(3, N_GENES)) + rng.normal(size=(N_DONORS, N_GENES))
        row: list[float] = []
        for C in (1e-4, 1.0):
            score, of_fold = np.zeros(N_DONORS), []
            for k in range(N_FOLDS):
                test = fold == k
                model = LogisticRegression(C=C, class_weight="balanced").fit(X[~test], labels[~test])
                score[test] = model.decision_function(X[test])
                of_fold.append(roc_auc_score(labels[test], score[test]))
            row += [float(np.mean(of_fold)), float(roc_auc_score(labels, score))]
        found.append(row)
    table = np.array(found)
    print("| penalty | AUC | mean | SD | 5 % | 95 % |\n|---|---|---|---|---|---|")
    for column, (penalty, how) in enumerate((p, h) for p in ("strong", "C = 1") for h in ("mean of folds", "pooled")):
        low, high = np.quantile(table[:, column], [0.05, 0.95])
        values = f"{table[:, column].mean():.2f} | {table[:, column].std():.2f} | {low:.2f} | {high:.2f}"
        print(f"| {penalty} | {how} | {values} |")


if __name__ == "__main__":
    main()
