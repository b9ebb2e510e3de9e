"""Coverage of the intervals and size of the tests in paired designs, where two samples are of one patient.

    python benchmarks/inference_paired.py [--n 800] [--seed 2026] [--only size coverage unequal]

Each patient has a control and a treated sample. The correlation of their scores, the AUC of samples of different
patients, the ratio of the standard deviations (treated to control) and the number of patients vary. Scores are normal,
or have heavy tails (a bivariate t distribution with 3 degrees of freedom). Intervals are those of 95 %, tests are
one-sided at 5 %. The Monte-Carlo error of a share of 95 % is 0.8 points with 800 studies. Tables are printed as
Markdown, in the form of docs/inference.md. Tests of 20 pairs and the interval that ignores the pairs, which are slow,
use half of the studies.
"""

from __future__ import annotations

import argparse
import time
from functools import lru_cache

import numpy as np
from scipy.stats import norm, t

from heldout import metrics

PAIRS = (5, 8, 12, 20)
CORRELATIONS = (-0.5, 0.0, 0.5, 0.9)
AUCS = (0.5, 0.75, 0.9)
SHAPES = ("normal", "heavy tails")


def noise(n: int, correlation: float, shape: str, rng: np.random.Generator) -> np.ndarray:
    """Scores of a control and a treated sample of each patient, without a difference, (n × 2)."""
    first, other = rng.standard_normal((2, n))
    both = np.stack([first, correlation * first + np.sqrt(1 - correlation**2) * other], axis=1)
    return both if shape == "normal" else both / np.sqrt(rng.chisquare(3, (n, 1)) / 3)


@lru_cache(maxsize=100)
def shift_of(auc: float, ratio: float, shape: str) -> float:
    """Shift of the treated samples with this AUC of samples of different patients."""
    if shape == "normal":
        return float(norm.ppf(auc) * np.sqrt(1 + ratio**2))
    rng = np.random.default_rng(0)
    control, treated = (noise(1_000_000, 0.0, shape, rng)[:, 0] for _ in range(2))
    return float(np.quantile(control - ratio * treated, auc))


def within_of(shift: float, ratio: float, correlation: float, shape: str) -> float:
    """Probability that the treated sample of a patient is above the control sample of the same patient."""
    scaled = shift / np.sqrt(1 + ratio**2 - 2 * correlation * ratio)
    return float(norm.cdf(scaled) if shape == "normal" else t.cdf(scaled, 3))


def study(n: int, correlation: float, auc: float, ratio: float, shape: str, rng: np.random.Generator) -> np.ndarray:
    """Scores of the samples of one study, (n × 2)."""
    return noise(n, correlation, shape, rng) * [1, ratio] + [0, shift_of(auc, ratio, shape)]


def coverage(n_studies: int, seed: int) -> None:
    """Share of the intervals that contain the truth."""
    for shape, ratio in (("normal", 1.0), ("normal", 2.0), ("heavy tails", 1.0)):
        print(f"\n{shape}, ratio of spread {ratio:g}")
        print(
            "\n| pairs | correlation | `auc`: AUC 0.5 | 0.75 | 0.9 | `block_auc`: 0.5 | 0.75 | 0.9 | sign flips |\n"
            "|---|---|---|---|---|---|---|---|---|"
        )
        for n in PAIRS:
            for correlation in CORRELATIONS:
                found = np.array([_covered(n, correlation, auc, ratio, shape, n_studies, seed) for auc in AUCS])
                cells = [*found[:, 0], *found[:, 1], found[:, 2].mean()]
                shares = ["" if np.isnan(share) else f"{share:.1%}" for share in cells]
                print(f"| {n} | {correlation:g} | " + " | ".join(shares) + " |", flush=True)


def _covered(n: int, correlation: float, auc: float, ratio: float, shape: str, n_studies: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, n, round(10 * (correlation + 1)), round(100 * auc), round(ratio)])
    labels, pairs = np.tile([0, 1], n), np.repeat(np.arange(n), 2)
    shift = shift_of(auc, ratio, shape)
    within = within_of(shift, ratio, correlation, shape)
    expected = ((n - 1) * auc + within) / n
    hits = np.zeros(3)
    for _ in range(n_studies):
        score = study(n, correlation, auc, ratio, shape, rng)
        every = metrics.auc_interval_paired(labels, score.ravel(), pairs=pairs)
        inside = metrics.auc_interval_unequal(labels, score.ravel(), blocks=pairs)
        mean = metrics.sign_flip_interval(np.diff(score)[:, 0])
        found = ((every, expected), (inside, within), (mean, shift))
        hits += [i.low <= truth <= i.high if np.isfinite(i.low) else np.nan for i, truth in found]
    return hits / n_studies


def unequal(n_studies: int, seed: int) -> None:
    """Coverage and mean width of the interval that ignores the pairs, beside those of the paired one."""
    print("\n| pairs | correlation | ignoring the pairs: AUC 0.75 | 0.9 | width at 0.75 | paired: width at 0.75 |")
    print("|---|---|---|---|---|---|")
    for n in PAIRS:
        labels, pairs = np.tile([0, 1], n), np.repeat(np.arange(n), 2)
        for correlation in CORRELATIONS:
            rng, shares, widths = np.random.default_rng([seed, n, round(10 * (correlation + 1))]), [], []
            for auc in (0.75, 0.9):
                expected = ((n - 1) * auc + within_of(shift_of(auc, 1.0, "normal"), 1.0, correlation, "normal")) / n
                hits, width = 0, np.zeros(2)
                for _ in range(n_studies // 2):
                    score = study(n, correlation, auc, 1.0, "normal", rng).ravel()
                    one = metrics.auc_interval_unequal(labels, score)
                    other = metrics.auc_interval_paired(labels, score, pairs=pairs)
                    hits += one.low <= expected <= one.high
                    width += [one.high - one.low, other.high - other.low]
                shares.append(hits / (n_studies // 2))
                widths.append(width / (n_studies // 2))
            cells = [*(f"{share:.1%}" for share in shares), *(f"{width:.2f}" for width in widths[0])]
            print(f"| {n} | {correlation:g} | " + " | ".join(cells) + " |", flush=True)


def size(n_studies: int, seed: int) -> None:
    """Share of the studies without a difference that are called significant."""
    print(
        "\n| pairs | correlation | `auc`: spread 1 | 2 | heavy tails, 2 | `block_auc`: spread 1 | 2 | heavy tails, 2 | "
        "sign flips: spread 1 | 2 | heavy tails, 2 |\n" + "|---" * 11 + "|"
    )
    for n in PAIRS:
        for correlation in CORRELATIONS:
            settings = (("normal", 1.0), ("normal", 2.0), ("heavy tails", 2.0))
            found = np.array([_rejected(n, correlation, *how, n_studies // (1 + (n == 20)), seed) for how in settings])
            print(f"| {n} | {correlation:g} | " + " | ".join(f"{share:.1%}" for share in found.T.ravel()) + " |")


def _rejected(n: int, correlation: float, shape: str, ratio: float, n_studies: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, 1, n, round(10 * (correlation + 1)), round(ratio), len(shape)])
    labels, pairs, hits = np.tile([0, 1], n), np.repeat(np.arange(n), 2), np.zeros(3)
    for _ in range(n_studies):
        score = study(n, correlation, 0.5, ratio, shape, rng)
        found = [
            metrics.auc_permutation(
                labels, score.ravel(), blocks=pairs, within=within, statistic="studentised"
            ).p_value
            for within in (False, True)
        ]
        hits += np.array([*found, metrics.sign_flip_test(np.diff(score)[:, 0])]) <= 0.05 + 1e-12
    return hits / n_studies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=800, help="simulated studies for each number")
    parser.add_argument("--seed", type=int, default=2026)
    parts = {"size": size, "coverage": coverage, "unequal": unequal}
    parser.add_argument("--only", nargs="*", choices=parts, default=list(parts), help="parts to run")
    arguments = parser.parse_args()
    start = time.perf_counter()
    for name in arguments.only:
        parts[name](arguments.n, arguments.seed)
    print(f"\n{time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
