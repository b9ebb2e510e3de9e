"""Size of the tests and coverage of the intervals of an AUC, if patients vary more than controls.

    python benchmarks/inference_unequal.py [--n 2000] [--seed 2026] [--only size coverage shapes power]
        [--designs "3 v 9" "5 v 15"]

A study has patients and controls, each with one score. Scores are normal. The standard deviation of patients is 1, 2 or
3 times that of controls. For the size, the AUC is 0.5, so each rejection is a false one. The tests are one-sided at
5 %. For the coverage, the AUC is 0.5, 0.75 or 0.9, and the intervals are those of 95 %. The Monte-Carlo error of a
share of 5 % is 0.5 points with 2,000 studies. Tables are printed as Markdown, in the form of docs/inference.md.
"""

from __future__ import annotations

import argparse
import time
from math import sqrt

import numpy as np
from scipy.stats import norm

from heldout import metrics

SPREADS = (1.0, 2.0, 3.0)
AUCS = (0.5, 0.75, 0.9)


class Design:
    """Patients (1) and controls (0), their blocks, and the variance that few cells add to the score of each."""

    def __init__(self, n_patients: int, n_controls: int, *, per_block: int = 1, cells: str = "equal"):
        order = np.repeat([1, 0], [n_patients, n_controls])
        self.labels = np.tile(order, per_block)
        self.blocks = None if per_block == 1 else np.repeat(np.arange(per_block), len(order))
        self.cells = cells
        self.skipped = False

    def scores(self, auc: float, spread: float, rng: np.random.Generator, shape: str = "normal") -> np.ndarray:
        """Draw one score for each person. Persons of a block share a shift."""
        positive, n = self.labels == 1, len(self.labels)
        noise = _noise(shape, n, rng) * np.where(positive, spread, 1.0) + _shift(shape, auc, spread) * positive
        if self.blocks is not None:
            noise = noise + 2 * rng.normal(size=self.blocks.max() + 1)[self.blocks]
        if self.cells == "unequal":  # 20 to 2,000 cells, whose noise has a variance of 50 divided by their number
            noise = noise + rng.normal(size=n) * np.sqrt(50 / np.exp(rng.uniform(np.log(20), np.log(2000), n)))
        if self.cells == "one":  # one patient has 80 % of the cells, so the scores of all others are noisier
            noise = noise + rng.normal(size=n) * np.where(np.arange(n) == 0, 0.05, 0.5)
        return noise


DESIGNS = {
    "3 v 9": Design(3, 9),
    "4 v 16": Design(4, 16),
    "5 v 15": Design(5, 15),
    "5 v 45": Design(5, 45),
    "9 v 3": Design(9, 3),
    "5 v 5": Design(5, 5),
    "10 v 10": Design(10, 10),
    "20 v 20": Design(20, 20),
    "8 pairs": Design(1, 1, per_block=8),
    "15 pairs": Design(1, 1, per_block=15),
    "4 days of 2 v 4": Design(2, 4, per_block=4),
    "6 v 18, 20 to 2000 cells": Design(6, 18, cells="unequal"),
    "6 v 12, one has 80 % of the cells": Design(6, 12, cells="one"),
}


def _noise(shape: str, n: int, rng: np.random.Generator) -> np.ndarray:
    if shape == "heavy tails":
        return rng.standard_t(3, n)
    return rng.normal(size=n) if shape == "normal" else rng.exponential(size=n)


def _shift(shape: str, auc: float, spread: float, known: dict = {}) -> float:  # noqa: B006 : kept between calls
    """Find the shift of patients that gives this AUC."""
    if shape == "normal":
        return norm.ppf(auc) * sqrt(1 + spread**2)
    if (shape, auc, spread) not in known:
        rng = np.random.default_rng(0)
        gap = _noise(shape, 1_000_000, rng) * spread - _noise(shape, 1_000_000, rng)
        known[shape, auc, spread] = -float(np.quantile(gap, 1 - auc))
    return known[shape, auc, spread]


def _estimate(design: Design, score: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """AUC, or the mean of the AUCs within blocks, with the numbers of persons of each class."""
    blocks = np.zeros(len(score), dtype=int) if design.blocks is None else design.blocks
    found, counts = [], []
    for block in np.unique(blocks):
        inside, positive = score[blocks == block], design.labels[blocks == block] == 1
        found.append((inside[positive][:, None] > inside[~positive]).mean())
        counts.append([positive.sum(), (~positive).sum()])
    m, n = np.array(counts).T
    return float(np.mean(found)), m, n


def size(n: int, seed: int) -> None:
    """Share of the studies without a difference that are called significant."""
    print(
        "\n| design | test of the AUC: spread 1 | 2 | 3 | studentised: spread 1 | 2 | 3 |\n|---|---|---|---|---|---|---|"
    )
    for number, (name, design) in enumerate(DESIGNS.items()):
        if design.skipped:
            continue
        shares = [_rejected(design, 0.5, spread, n, [seed, number, i]) for i, spread in enumerate(SPREADS)]
        plain, studentised = np.array(shares).T
        print(f"| {name} | " + " | ".join(f"{share:.1%}" for share in [*plain, *studentised]) + " |", flush=True)


def power(n: int, seed: int) -> None:
    """Share of the studies with a difference that are found."""
    print("\n| design | AUC | test of the AUC: spread 1 | 3 | studentised: spread 1 | 3 |\n|---|---|---|---|---|---|")
    for number, name in enumerate(["4 v 16", "5 v 45", "10 v 10", "15 pairs"]):
        for auc in (0.75, 0.9):
            shares = [
                _rejected(DESIGNS[name], auc, spread, n, [seed, 100 + number, i]) for i, spread in enumerate((1.0, 3.0))
            ]
            plain, studentised = np.array(shares).T
            print(f"| {name} | {auc} | " + " | ".join(f"{v:.0%}" for v in [*plain, *studentised]) + " |", flush=True)


def _rejected(design: Design, auc: float, spread: float, n: int, seed: list[int]) -> np.ndarray:
    rng, within, found = np.random.default_rng(seed), design.blocks is not None, []
    for _ in range(n):
        score = design.scores(auc, spread, rng)
        tests = [
            metrics.auc_permutation(design.labels, score, blocks=design.blocks, within=within, statistic=statistic)
            for statistic in ("auc", "studentised")
        ]
        found.append([test.p_value <= 0.05 + 1e-12 for test in tests])
    return np.mean(found, axis=0)


def coverage(n: int, seed: int) -> None:
    """Share of the 95 % intervals that contain the true AUC."""
    print("\n| design | AUC | `auc_interval`: spread 1 | 2 | 3 | `auc_interval_unequal`: spread 1 | 2 | 3 | width |")
    print("|---|---|---|---|---|---|---|---|---|")
    for number, (name, design) in enumerate(DESIGNS.items()):
        for auc in AUCS:
            if design.skipped or (
                design.cells != "equal" and auc != 0.5
            ):  # the noise of few cells changes every AUC but 0.5
                continue
            found = [_covered(design, auc, spread, n, [seed, 200 + number, i]) for i, spread in enumerate(SPREADS)]
            plain, unequal, _, widths = np.array(found).T
            cells = " | ".join(f"{share:.1%}" for share in [*plain, *unequal])
            print(f"| {name} | {auc} | {cells} | {widths[0]:.2f} |", flush=True)


def shapes(n: int, seed: int) -> None:
    """Coverage of ``auc_interval_unequal`` for scores that are not normal."""
    print(
        "\n| design | AUC | heavy tails: spread 1 | 2 | 3 | skewed: spread 1 | 2 | 3 |\n|---|---|---|---|---|---|---|---|"
    )
    for number, name in enumerate(["4 v 16", "5 v 45", "10 v 10"]):
        for auc in AUCS:
            found = [
                _covered(DESIGNS[name], auc, spread, n, [seed, 300 + number, i], shape)[1]
                for shape in ("heavy tails", "skewed")
                for i, spread in enumerate(SPREADS)
            ]
            print(f"| {name} | {auc} | " + " | ".join(f"{share:.1%}" for share in found) + " |", flush=True)


def _covered(design: Design, auc: float, spread: float, n: int, seed: list[int], shape: str = "normal") -> np.ndarray:
    rng, found = np.random.default_rng(seed), []
    for _ in range(n):
        score = design.scores(auc, spread, rng, shape)
        intervals = [
            metrics.auc_interval(*_estimate(design, score)),
            metrics.auc_interval_unequal(design.labels, score, blocks=design.blocks),
        ]
        found.append([i.low <= auc <= i.high for i in intervals] + [i.high - i.low for i in intervals])
    return np.mean(found, axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=2000, help="simulated studies for each number")
    parser.add_argument("--seed", type=int, default=2026)
    parts = {"size": size, "coverage": coverage, "shapes": shapes, "power": power}
    parser.add_argument("--only", nargs="*", choices=parts, default=list(parts), help="parts to run")
    parser.add_argument("--designs", nargs="*", choices=DESIGNS, default=list(DESIGNS), help="for size and coverage")
    arguments = parser.parse_args()
    for name in set(DESIGNS) - set(arguments.designs):
        DESIGNS[name].skipped = True
    start = time.perf_counter()
    for name in arguments.only:
        parts[name](arguments.n, arguments.seed)
    print(f"\n{time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
