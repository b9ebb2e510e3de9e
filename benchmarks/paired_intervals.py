"""Coverage of the intervals of the AUC in paired designs, where two samples of one patient have correlated scores.

    python benchmarks/paired_intervals.py

Each patient has a control and a treated sample with normal scores. The correlation of the two, the ratio of their
standard deviations (treated to control) and the number of patients vary. The true AUC of two patients is 0.75.
``auc`` is the interval over all pairs of samples, ``block_auc`` that within patients.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.stats import norm

import heldout as ho

AUC = 0.75


def coverage(n: int, correlation: float, ratio: float, n_draws: int, seed: int) -> tuple[float, float, float]:
    """Coverage of the intervals of both AUCs, and mean width of the first one."""
    draws = np.random.default_rng([seed, n, int(10 * (correlation + 1)), int(ratio)])
    labels, pairs = np.tile([0, 1], n), np.repeat(np.arange(n), 2)
    shift = norm.ppf(AUC) * np.sqrt(1 + ratio**2)
    within = norm.cdf(shift / np.sqrt(1 + ratio**2 - 2 * correlation * ratio))
    expected = ((n - 1) * AUC + within) / n
    hits, width = np.zeros(2), 0.0
    for _ in range(n_draws):
        first, other = draws.standard_normal((2, n))
        second = correlation * first + np.sqrt(1 - correlation**2) * other
        scores = np.stack([first, shift + ratio * second], axis=1).ravel()
        every = ho.metrics.auc_interval_unequal(labels, scores)
        paired = ho.metrics.auc_interval_unequal(labels, scores, blocks=pairs)
        hits += [every.low <= expected <= every.high, paired.low <= within <= paired.high]
        width += every.high - every.low
    return float(hits[0] / n_draws), float(hits[1] / n_draws), float(width / n_draws)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1000)
    options = parser.parse_args()
    print(
        "| patients | correlation | ratio of spread | `auc` | `block_auc` | width of `auc` |\n|---|---|---|---|---|---|"
    )
    for n in (6, 12):
        for correlation in (-0.5, 0.0, 0.5, 0.9):
            for ratio in (1.0, 2.0):
                of_all, of_pairs, width = coverage(n, correlation, ratio, options.draws, options.seed)
                print(
                    f"| {n} | {correlation:g} | {ratio:g} | {of_all:.3f} | {of_pairs:.3f} | {width:.2f} |", flush=True
                )


if __name__ == "__main__":
    main()
