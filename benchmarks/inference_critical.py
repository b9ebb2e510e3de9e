"""Error rate and power of the comparison of methods over data sets, beside the test of Nemenyi on mean ranks.

    python benchmarks/inference_critical.py --n 2000

Each study has scores of methods on independent data sets: an effect of the data set, and noise. A study without any
difference is wrong if any pair is called different. With one better method, power is the share of its pairs that are
called different.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy import stats

import heldout as ho


def nemenyi(scores: np.ndarray, level: float) -> np.ndarray:
    """Pairs of methods whose mean ranks differ by more than the critical difference, (K × K)."""
    n, k = scores.shape
    ranks = stats.rankdata(-scores, axis=1).mean(axis=0)
    critical = stats.studentized_range.isf(level, k, np.inf) / np.sqrt(2) * np.sqrt(k * (k + 1) / (6 * n))
    return np.abs(ranks[:, None] - ranks) > critical


def study(rng: np.random.Generator, n: int, k: int, better: float, noise: str) -> np.ndarray:
    """Scores of one study, (n × K); the first method is better by so many standard deviations of the noise."""
    drawn = rng.normal(size=(n, k)) if noise == "normal" else rng.standard_t(2, size=(n, k))
    if noise == "unequal":
        drawn = rng.normal(size=(n, k)) * np.geomspace(0.3, 3, n)[:, None]
    drawn[:, 0] += better
    return drawn + rng.normal(0, 2, (n, 1))


def main() -> None:
    """Print one line for each design."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=2000, help="number of studies of each design")
    parser.add_argument("--level", type=float, default=0.05)
    arguments = parser.parse_args()
    print("| data sets | methods | noise | any error | any error, Nemenyi | power | power, Nemenyi |")
    print("|---|---|---|---|---|---|---|")
    for n, k, noise in [(n, k, noise) for n, k in ((6, 2), (8, 3), (12, 5)) for noise in ("normal", "t2", "unequal")]:
        rng = np.random.default_rng(0)
        found = np.zeros(4)
        for _ in range(arguments.n):
            null, one = study(rng, n, k, 0.0, noise), study(rng, n, k, 1.5, noise)
            tests = [
                (ho.metrics.critical_differences(null).p_adjusted <= arguments.level).any(),
                nemenyi(null, arguments.level).any(),
                (ho.metrics.critical_differences(one).p_adjusted[0, 1:] <= arguments.level).mean(),
                nemenyi(one, arguments.level)[0, 1:].mean(),
            ]
            found += tests
        print(f"| {n} | {k} | {noise} | {' | '.join(f'{x:.1%}' for x in found / arguments.n)} |", flush=True)


if __name__ == "__main__":
    main()
