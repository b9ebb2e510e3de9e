"""Size and power of the two p-values of ``tl.score_probabilities``, for nearest centroids over folds.

    python benchmarks/inference_folds.py [--n 300]

A study has groups of two classes with five features; the means of the classes differ by an effect in the first feature,
in standard deviations between groups. The centroids of the other folds predict a fold. A share of 5 % of 300 studies
has a standard error of 1.3 points.
"""

from __future__ import annotations

import argparse

import numpy as np

from heldout.tasks.genotype.fold_tests import folds_test
from heldout.tasks.genotype.pooled import Pooled

DESIGNS = {
    "2 folds of 6 v 6": (2, 6),
    "3 folds of 5 v 5": (3, 5),
    "5 folds of 4 v 4": (5, 4),
    "5 folds of 2 v 2": (5, 2),
}
EFFECTS = (0.0, 1.0, 2.0)


def study(rng: np.random.Generator, n_folds: int, n: int, effect: float) -> tuple[float, float]:
    """Both p-values of one study."""
    size = 2 * n * n_folds
    labels, folds = np.tile([0, 1], n * n_folds), np.repeat(np.arange(n_folds), 2 * n)
    X, odds = rng.normal(size=(size, 5)), np.zeros(size)
    X[:, 0] += effect * labels
    for fold in range(n_folds):
        train, test = folds != fold, folds == fold
        means = [X[train & (labels == c)].mean(axis=0) for c in (0, 1)]
        odds[test] = X[test] @ (means[1] - means[0]) - (means[1] @ means[1] - means[0] @ means[0]) / 2
    pooled = Pooled(np.arange(size).astype(object), labels, folds, np.zeros(size, dtype=int), 2)
    found = folds_test(pooled, np.stack([-np.logaddexp(0, odds), -np.logaddexp(0, -odds)], axis=1))
    return found.p_value, found.p_conditional


def main() -> None:
    """Print the share of studies with p <= 0.05."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=300)
    n_studies = parser.parse_args().n
    print("| design | " + " | ".join(f"{name}, effect {e:g}" for e in EFFECTS for name in ("p", "conditional")) + " |")
    for design, (n_folds, n) in DESIGNS.items():
        cells = []
        for effect in EFFECTS:
            rng = np.random.default_rng(0)
            p = np.array([study(rng, n_folds, n, effect) for _ in range(n_studies)])
            cells += [f"{share:.1%}" for share in (p <= 0.05).mean(axis=0)]
        print(f"| {design} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
