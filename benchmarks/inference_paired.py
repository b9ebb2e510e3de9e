"""Coverage of the intervals and size of the tests in paired designs, where two samples are of one patient.

    python benchmarks/inference_paired.py [--n 3000] [--seed 2026] [--only size coverage unequal] [--pairs 5 8]

Each patient has a control and a treated sample. The correlation of their scores, the AUC of samples of different
patients, the ratio of the standard deviations (treated to control) and the number of patients vary. Scores are normal,
or have heavy tails (a bivariate t distribution with 3 degrees of freedom). Intervals are those of 95 %, tests are
one-sided at 5 %. The Monte-Carlo error of a share of 95 % is 0.4 points with 3,000 studies. Tables are printed as
Markdown, in the form of docs/inference.md. Tests of 20 pairs use a quarter of the studies, and the interval that
ignores the pairs uses a tenth, because both are slow.
"""

from __future__ import annotations

import argparse
import time
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binom, norm, t

from heldout import metrics
from heldout.metrics.binormal import Paired
from heldout.metrics.paired import log_variances, p_value_of, weights_of

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def coverage(n_studies: int, seed: int, pairs: Sequence[int]) -> None:
    """Share of the intervals that contain the truth. That of ``block_auc`` is exact, because its interval is binomial."""
    for shape, ratio in (("normal", 1.0), ("normal", 2.0), ("heavy tails", 1.0)):
        print(f"\n{shape}, ratio of spread {ratio:g}")
        print(
            "\n| pairs | correlation | `auc`: AUC 0.5 | 0.75 | 0.9 | `block_auc`: 0.5 | 0.75 | 0.9 | sign flips |\n"
            "|---|---|---|---|---|---|---|---|---|"
        )
        for n in pairs:
            for correlation in CORRELATIONS:
                rng = np.random.default_rng([seed, n, round(10 * (correlation + 1)), round(ratio), len(shape)])
                every = [_every(n, correlation, auc, ratio, shape, n_studies, rng) for auc in AUCS]
                inside = [_inside(n, within_of(shift_of(auc, ratio, shape), ratio, correlation, shape)) for auc in AUCS]
                flips = f"{_flips(n, correlation, ratio, shape, n_studies, rng):.1%}" if 6 <= n <= 16 else ""
                cells = [f"{share:.1%}" for share in (*every, *inside)]
                print(f"| {n} | {correlation:g} | " + " | ".join([*cells, flips]) + " |", flush=True)


def _every(
    n: int, correlation: float, auc: float, ratio: float, shape: str, n_studies: int, rng: np.random.Generator
) -> float:
    """Coverage of ``auc_interval_paired``: the truth is inside if its p-value is above 5 %, for all studies at once."""
    shift = shift_of(auc, ratio, shape)
    expected = ((n - 1) * auc + within_of(shift, ratio, correlation, shape)) / n
    score = study(n * n_studies, correlation, auc, ratio, shape, rng).reshape(n_studies, n, 2)
    estimate = (score[:, :, None, 1] > score[:, None, :, 0]).mean(axis=(1, 2))
    centred = score - score.mean(axis=1, keepdims=True)
    both = np.einsum("snk,snl->skl", centred, centred)
    weights = weights_of(both, np.zeros((n_studies, 2)), np.array([0, 0, n - 1]))
    return float((p_value_of(expected, estimate, weights, log_variances((Paired(n, n, n),)), n) >= 0.05).mean())


def _inside(n: int, share: float) -> float:
    """Coverage of ``auc_interval_unequal`` within pairs, over the numbers of pairs that are ranked right."""
    labels, pairs, covered = np.tile([0, 1], n), np.repeat(np.arange(n), 2), 0.0
    for right in range(n + 1):
        score = np.where(labels == 1, np.where(pairs < right, 1.0, -1.0), 0.0)
        found = metrics.auc_interval_unequal(labels, score, blocks=pairs)
        covered += binom.pmf(right, n, share) * (found.low <= share <= found.high)
    return float(covered)


def _flips(n: int, correlation: float, ratio: float, shape: str, n_studies: int, rng: np.random.Generator) -> float:
    """Coverage of ``sign_flip_interval``. It needs 6 pairs; more than 16 pairs are slow."""
    hits = []
    for _ in range(n_studies):
        found = metrics.sign_flip_interval(np.diff(study(n, correlation, 0.75, ratio, shape, rng))[:, 0])
        hits.append(found.low <= shift_of(0.75, ratio, shape) <= found.high)
    return float(np.mean(hits))


def unequal(n_studies: int, seed: int, pairs: Sequence[int]) -> None:
    """Coverage and mean width of the interval that ignores the pairs, beside those of the paired one."""
    print("\n| pairs | correlation | ignoring the pairs: AUC 0.75 | 0.9 | width at 0.75 | paired: width at 0.75 |")
    print("|---|---|---|---|---|---|")
    for n in [n for n in pairs if n > PAIRS[0]]:
        labels, pair_of = np.tile([0, 1], n), np.repeat(np.arange(n), 2)
        for correlation in CORRELATIONS:
            rng, shares, widths = np.random.default_rng([seed, n, round(10 * (correlation + 1))]), [], []
            for auc in (0.75, 0.9):
                expected = ((n - 1) * auc + within_of(shift_of(auc, 1.0, "normal"), 1.0, correlation, "normal")) / n
                hits, width = 0, np.zeros(2)
                for _ in range(n_studies // 10):
                    score = study(n, correlation, auc, 1.0, "normal", rng).ravel()
                    one = metrics.auc_interval_unequal(labels, score)
                    other = metrics.auc_interval_paired(labels, score, pairs=pair_of)
                    hits += one.low <= expected <= one.high
                    width += [one.high - one.low, other.high - other.low]
                shares.append(hits / (n_studies // 10))
                widths.append(width / (n_studies // 10))
            cells = [*(f"{share:.1%}" for share in shares), *(f"{width:.2f}" for width in widths[0])]
            print(f"| {n} | {correlation:g} | " + " | ".join(cells) + " |", flush=True)


def size(n_studies: int, seed: int, pairs: Sequence[int]) -> None:
    """Share of the studies without a difference that are called significant."""
    print(
        "\n| pairs | correlation | `auc`: spread 1 | 2 | heavy tails, 2 | `block_auc`: spread 1 | 2 | heavy tails, 2 | "
        "sign flips: spread 1 | 2 | heavy tails, 2 |\n" + "|---" * 11 + "|"
    )
    for n in pairs:
        for correlation in CORRELATIONS:
            settings = (("normal", 1.0), ("normal", 2.0), ("heavy tails", 2.0))
            found = np.array(
                [_rejected(n, correlation, *how, n_studies // (4 if n == 20 else 1), seed) for how in settings]
            )
            print(
                f"| {n} | {correlation:g} | " + " | ".join(f"{share:.1%}" for share in found.T.ravel()) + " |",
                flush=True,
            )


def _rejected(n: int, correlation: float, shape: str, ratio: float, n_studies: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, 1, n, round(10 * (correlation + 1)), round(ratio), len(shape)])
    labels, pairs, hits = np.tile([0, 1], n), np.repeat(np.arange(n), 2), np.zeros(3)
    for _ in range(n_studies):
        score = study(n, correlation, 0.5, ratio, shape, rng)
        found = [
            metrics.auc_permutation(labels, score.ravel(), blocks=pairs, within=within, statistic="studentised").p_value
            for within in (False, True)
        ]
        hits += np.array([*found, metrics.sign_flip_test(np.diff(score)[:, 0])]) <= 0.05 + 1e-12
    return hits / n_studies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=3000, help="simulated studies for each number")
    parser.add_argument("--seed", type=int, default=2026)
    parts = {"size": size, "coverage": coverage, "unequal": unequal}
    parser.add_argument("--only", nargs="*", choices=parts, default=list(parts), help="parts to run")
    parser.add_argument("--pairs", nargs="*", type=int, choices=PAIRS, default=PAIRS, help="numbers of pairs to run")
    arguments = parser.parse_args()
    start = time.perf_counter()
    for name in arguments.only:
        parts[name](arguments.n, arguments.seed, arguments.pairs)
    print(f"\n{time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
