"""Size of the tests and coverage of the intervals over groups, in simulated studies.

    python benchmarks/inference.py [--n 1000] [--only size coverage difference folds refit pooled]

A study has libraries of 100 cells. The score of a cell is the mean of its class, plus a term that its library shares
(variance 0.25), plus noise (variance 1). Under the null hypothesis the classes have the same mean. "attainable" is the
largest size at or below 5 % that the exact test can have with so few labellings. Tables are printed as Markdown, in the
form of docs/inference.md.
"""

from __future__ import annotations

import argparse
import time
from math import sqrt

import numpy as np
from scipy.stats import mannwhitneyu, norm

from heldout import metrics

CELLS, BETWEEN = 100, 0.25
DESIGNS = {  # class of each library, and its block (day)
    "3 against 3": ([0] * 3 + [1] * 3, None),
    "4 against 4": ([0] * 4 + [1] * 4, None),
    "4 against 8": ([0] * 8 + [1] * 4, None),
    "6 against 6": ([0] * 6 + [1] * 6, None),
    "10 against 10": ([0] * 10 + [1] * 10, None),
    "20 against 20": ([0] * 20 + [1] * 20, None),
    "3 days of 2 against 2": ([0, 0, 1, 1] * 3, np.repeat(range(3), 4)),
    "6 days of 1 against 1": ([0, 1] * 6, np.repeat(range(6), 2)),
    "10 days of 1 against 1": ([0, 1] * 10, np.repeat(range(10), 2)),
}


def as_log_p(score: np.ndarray) -> np.ndarray:
    """Return log-probabilities with these log-odds."""
    return np.stack([-np.logaddexp(0, score), score - np.logaddexp(0, score)], axis=1)


def cell_scores(labels, blocks, shift, rng):
    """Draw the score of each cell, (G × CELLS). Libraries of a day share a shift of the day."""
    library = sqrt(BETWEEN) * rng.normal(size=len(labels)) + shift * labels
    if blocks is not None:
        library = library + rng.normal(size=blocks.max() + 1)[blocks]
    return library[:, None] + rng.normal(size=(len(labels), CELLS))


def attainable(labels, blocks, within: bool) -> float:
    """Search for the largest size at or below 5 % of the exact test: the share of labellings that it rejects."""
    score = np.arange(len(labels), dtype=float)
    rng, best = np.random.default_rng(0), 0.0
    for _ in range(3000):
        permuted = labels.copy()
        for rows in [np.arange(len(labels))] if blocks is None else [np.flatnonzero(blocks == b) for b in set(blocks)]:
            permuted[rows] = rng.permutation(permuted[rows])
        p = metrics.auc_permutation(permuted, score, blocks=blocks, within=within).p_value
        best = max(best, p) if p <= 0.05 + 1e-12 else best
    return best


def size(n: int) -> None:
    """Share of null studies with p at most 0.05."""
    print(
        "\n| design | exact permutation | attainable | mid-p | randomised | cells as units |\n|---|---|---|---|---|---|"
    )
    for name, (labels, blocks) in DESIGNS.items():
        labels, rng = np.array(labels), np.random.default_rng(1)
        found = []
        for _ in range(n):
            cells = cell_scores(labels, blocks, 0.0, rng)
            test = metrics.auc_permutation(labels, cells.mean(axis=1), blocks=blocks, within=blocks is not None)
            naive = mannwhitneyu(cells[labels == 1].ravel(), cells[labels == 0].ravel(), alternative="greater").pvalue
            # The randomised p counts a random share of the labellings with an equal statistic.
            drawn = test.p_value - 2 * (test.p_value - test.mid_p) * rng.random()
            found.append([test.p_value <= 0.05 + 1e-12, test.mid_p <= 0.05, drawn <= 0.05, naive <= 0.05])
        exact, mid, drawn, naive = np.mean(found, axis=0)
        largest = attainable(labels, blocks, blocks is not None)
        print(f"| {name} | {exact:.1%} | {largest:.1%} | {mid:.1%} | {drawn:.1%} | {naive:.0%} |", flush=True)


def coverage(n: int) -> None:
    """Share of 95 % intervals that contain the truth."""
    print(
        "\n| AUC of libraries | design | `auc_interval` | unequal variances | skewed | jackknife "
        "| bootstrap of libraries |"
    )
    print("|---|---|---|---|---|---|---|")
    rng = np.random.default_rng(2)
    for auc in (0.5, 0.75, 0.9):
        for name, (labels, blocks) in DESIGNS.items():
            labels = np.array(labels)
            if blocks is None:
                row = [_covered(labels, auc, shape, n, rng) for shape in ("normal", "unequal", "skewed")]
                score, jack, boot = row[0]
                print(
                    f"| {auc} | {name} | {score:.1%} | {row[1][0]:.1%} | {row[2][0]:.1%} | {jack:.0%} | {boot:.0%} |",
                    flush=True,
                )
            else:
                score = _covered_in_blocks(labels, blocks, auc, n, rng)
                print(f"| {auc}, within days | {name} | {score:.1%} | | | | |", flush=True)
    print(
        "\n| design | cell AUC: library bootstrap | cell bootstrap | loss: jackknife | Brier: jackknife "
        "| accuracy: Wilson |"
    )
    print("|---|---|---|---|---|---|")
    for name, (labels, blocks) in DESIGNS.items():
        if blocks is None:
            found = np.mean([_of_cells(np.array(labels), rng) for _ in range(min(n, 500))], axis=0)
            print(f"| {name} | " + " | ".join(f"{share:.1%}" for share in found) + " |", flush=True)


def _draw(labels, auc, shape, rng):
    positive = labels == 1
    if shape == "skewed":
        return rng.exponential(np.where(positive, auc / (1 - auc), 1.0))
    sd = np.where(positive, 2.0 if shape == "unequal" else 1.0, 1.0)
    shift = norm.ppf(auc) * sqrt(5 if shape == "unequal" else 2)
    return rng.normal(size=len(labels)) * sd + shift * positive


def _covered(labels, auc, shape, n, rng):
    sizes, hits = ((labels == 1).sum(), (labels == 0).sum()), []
    leave, weights = metrics.jackknife_weights(labels), metrics.bootstrap_weights(labels, 400, rng)
    for i in range(n):
        scores = metrics.group_scores(labels, as_log_p(_draw(labels, auc, shape, rng)), np.arange(len(labels)))
        estimate = float(scores.evaluate("auc", np.ones((1, len(labels))))[0])
        interval = metrics.auc_interval(estimate, *sizes)
        hit = [interval.low <= auc <= interval.high, np.nan, np.nan]
        if shape == "normal" and i < 500:
            jack = metrics.jackknife_interval(estimate, scores.evaluate("auc", leave), labels)
            low, high = np.percentile(scores.evaluate("auc", weights), [2.5, 97.5])
            hit[1:] = [jack.low <= auc <= jack.high, low <= auc <= high]
        hits.append(hit)
    return np.nanmean(hits, axis=0) if shape == "normal" else np.array(hits)[:, :1].mean(axis=0)


def _covered_in_blocks(labels, blocks, auc, n, rng):
    counts = np.array([[(labels[blocks == b] == c).sum() for c in (1, 0)] for b in np.unique(blocks)])
    hits = []
    for _ in range(n):
        log_p = as_log_p(_draw(labels, auc, "normal", rng) + 3 * rng.normal(size=blocks.max() + 1)[blocks])
        found = metrics.auc_interval(metrics.block_auc(labels, log_p, blocks), counts[:, 0], counts[:, 1])
        hits.append(found.low <= auc <= found.high)
    return np.mean(hits)


def _of_cells(labels, rng, auc=0.75):
    shift = norm.ppf(auc) * sqrt(2 * (1 + BETWEEN))
    cells = cell_scores(labels, None, shift, rng)
    groups = np.repeat(np.arange(len(labels)), CELLS)
    scores = metrics.group_scores(labels[groups], as_log_p(cells.ravel()), groups)
    low, high = np.percentile(scores.evaluate("auc", metrics.bootstrap_weights(labels, 300, rng)), [2.5, 97.5])
    hits = [low <= auc <= high]
    draws = []
    for _ in range(60):  # the naive bootstrap: cells drawn within classes, normal limits
        drawn = [rng.choice(cells[labels == c].ravel(), (labels == c).sum() * CELLS) for c in (0, 1)]
        classes = np.repeat([0, 1], [len(drawn[0]), len(drawn[1])])
        draws.append(metrics.roc_auc(classes, as_log_p(np.concatenate(drawn))))
    centre = float(scores.evaluate("auc", np.ones((1, len(labels))))[0])
    hits.append(abs(centre - auc) <= 1.96 * np.std(draws, ddof=1))
    pooled = as_log_p(cells.mean(axis=1) - shift / 2)
    by_library = metrics.group_scores(labels, pooled, np.arange(len(labels)))
    library = (
        cell_scores(np.repeat([0, 1], 20000), None, shift, np.random.default_rng(0)).mean(axis=1) - shift / 2
        if not _TRUTH
        else None
    )
    if library is not None:
        truth = as_log_p(library)
        of_class = [
            [
                f(np.repeat([0, 1], 20000)[half], truth[half])
                for f in (metrics.log_loss, metrics.brier, metrics.accuracy)
            ]
            for half in (slice(0, 20000), slice(20000, None))
        ]
        _TRUTH["parts"] = np.array(of_class)
    share = np.array([(labels == 0).mean(), (labels == 1).mean()])
    truths = share @ _TRUTH["parts"]
    for metric, value in zip(("loss", "brier"), truths, strict=False):
        estimate = float(by_library.evaluate(metric, np.ones((1, len(labels))))[0])
        without = by_library.evaluate(metric, metrics.jackknife_weights(labels))
        jack = metrics.jackknife_interval(estimate, without, labels)
        hits.append(jack.low <= value <= jack.high)
    right = float(by_library.evaluate("accuracy", np.ones((1, len(labels))))[0]) * len(labels)
    wilson = metrics.proportion_interval(right, len(labels))
    hits.append(wilson.low <= truths[2] <= wilson.high)
    return hits


_TRUTH: dict[str, np.ndarray] = {}


def difference(n: int) -> None:
    """Paired differences of two methods, correlated by 0.5 within libraries."""
    print(
        "\n| design | AUCs | `difference_interval` covers | calls the equal one better | swap test p ≤ 0.05 "
        "| verdict better |"
    )
    print("|---|---|---|---|---|---|")
    rng = np.random.default_rng(3)
    for name, (labels, blocks) in DESIGNS.items():
        if blocks is not None:
            continue
        labels = np.array(labels)
        m, k = (labels == 1).sum(), (labels == 0).sum()
        for first, second in ((0.6, 0.6), (0.8, 0.8), (0.95, 0.7)):
            found = []
            for _ in range(min(n, 600)):
                noise = rng.normal(size=len(labels))
                z = [
                    (noise + rng.normal(size=len(labels))) / sqrt(2) + norm.ppf(a) * sqrt(2) * labels
                    for a in (first, second)
                ]
                scores = [metrics.group_scores(labels, as_log_p(values), np.arange(len(labels))) for values in z]
                aucs = [float(s.evaluate("auc", np.ones((1, len(labels))))[0]) for s in scores]
                without = [s.evaluate("auc", metrics.jackknife_weights(labels)) for s in scores]
                parts = [metrics.auc_interval(a, m, k) for a in aucs]
                interval = metrics.difference_interval(*parts, *without, labels)
                covers, above = interval.low <= first - second <= interval.high, interval.low > 0
                p = metrics.swap_test(labels, *z, n_swaps=1024)
                found.append([covers, above, p <= 0.05, above and p <= 0.05])
            cover, better, swap, verdict = np.mean(found, axis=0)
            false = f"{better:.1%}" if first == second else ""
            print(f"| {name} | {first}, {second} | {cover:.1%} | {false} | {swap:.1%} | {verdict:.1%} |", flush=True)


def _centroid_scores(X, labels, train, test, genes):
    means = [X[train][labels[train] == c][:, genes].mean(axis=0) for c in (0, 1)]
    return X[test][:, genes] @ (means[1] - means[0]) - (means[1] @ means[1] - means[0] @ means[0]) / 2


def folds(n: int) -> None:
    """Difference of two methods of equal quality over five folds of donors.

    There are 40 genes; each method is a nearest centroid of 20 of them.
    """
    print("\n| donors | `fold_interval` (Nadeau-Bengio) covers | plain t over folds | bootstrap of folds |")
    print("|---|---|---|---|")
    rng = np.random.default_rng(4)
    for donors in (20, 40, 80):
        labels, found = np.arange(donors) % 2, []
        for _ in range(n):
            X = rng.normal(size=(donors, 40)) + 0.25 * labels[:, None]
            order = np.argsort(rng.random(donors // 2))
            fold = np.empty(donors, dtype=int)
            for c in (0, 1):
                fold[np.flatnonzero(labels == c)[order]] = np.arange(donors // 2) % 5
            gaps = []
            for k in range(5):
                train, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
                aucs = [
                    metrics.roc_auc(labels[test], as_log_p(_centroid_scores(X, labels, train, test, genes)))
                    for genes in (slice(0, 20), slice(20, 40))
                ]
                gaps.append(aucs[0] - aucs[1])
            interval = metrics.fold_interval(gaps, n_train=donors * 0.8, n_test=donors * 0.2)
            half = (interval.high - interval.estimate) / sqrt((1 / 5 + 0.25) / (1 / 5))
            drawn = rng.choice(gaps, (300, 5)).mean(axis=1)
            low, high = np.percentile(drawn, [2.5, 97.5])
            covers = interval.low <= 0 <= interval.high
            found.append([covers, abs(interval.estimate) <= half, low <= 0 <= high])
        print(f"| {donors} | " + " | ".join(f"{share:.1%}" for share in np.mean(found, axis=0)) + " |", flush=True)


def refit(n: int) -> None:
    """Pooled predictions of leave-one-pair-out on noise: nearest centroids of 30 genes."""
    print("\n| libraries | fit repeated for each labelling | conditional on the fits |\n|---|---|---|")
    rng = np.random.default_rng(5)
    for k in (4, 6, 10):
        labels, found = np.repeat([0, 1], k), []
        for _ in range(min(n, 500)):
            X = rng.normal(size=(2 * k, 30))

            def pooled(y, X=X, k=k):
                score, a, b = np.empty(2 * k), np.flatnonzero(y == 0), np.flatnonzero(y == 1)
                for pair in zip(a, b, strict=True):
                    test = np.array(pair)
                    score[test] = _centroid_scores(X, y, np.setdiff1d(np.arange(2 * k), test), test, slice(None))
                return score

            scores = pooled(labels)
            conditional = metrics.auc_permutation(labels, scores).p_value
            whole = metrics.permutation_test(
                labels, lambda y, pooled=pooled: metrics.roc_auc(y, as_log_p(pooled(y))), n_labellings=100, rng=rng
            )
            found.append([whole.p_value <= 0.05, conditional <= 0.05])
        print(
            f"| {k} against {k} | " + " | ".join(f"{share:.1%}" for share in np.mean(found, axis=0)) + " |", flush=True
        )


def pooled(n: int) -> None:
    """Held-out groups pooled over folds: tests that ignore the shared train groups, and the interval that does not."""
    print(
        "\n| design | signal | test within folds, conditional | interval, folds independent | interval of `tl.compare` |"
        "\n|---|---|---|---|---|"
    )
    rng = np.random.default_rng(6)
    designs = {"5 pairs": (1, 1, 5), "8 pairs": (1, 1, 8), "5 folds of 4 + 4": (4, 4, 5), "5 folds of 2 + 6": (2, 6, 5)}
    for name, (m, k, n_folds) in designs.items():
        labels, fold = np.tile(np.repeat([1, 0], [m, k]), n_folds), np.repeat(np.arange(n_folds), m + k)
        for signal in (0.0, 0.25, 0.5):
            truth, found = _expected(labels, fold, signal, rng), []
            for _ in range(n):
                score = _out_of_fold(rng.normal(size=(len(labels), 30)) + signal * labels[:, None], labels, fold)
                p = metrics.auc_permutation(labels, score, blocks=fold, within=True).p_value
                factors = (1.0, n_folds / (n_folds - 1) + 1)
                both = [
                    metrics.auc_interval_unequal(labels, score, blocks=fold, variance_factor=factor)
                    for factor in factors
                ]
                found.append([p <= 0.05, *(interval.low <= truth <= interval.high for interval in both)])
            rejected, *covered = np.mean(found, axis=0)
            share = f"{rejected:.1%}" if signal == 0 else ""
            print(f"| {name} | {signal} | {share} | {covered[0]:.1%} | {covered[1]:.1%} |", flush=True)


def _out_of_fold(X: np.ndarray, labels: np.ndarray, fold: np.ndarray) -> np.ndarray:
    score = np.empty(len(labels))
    for number in np.unique(fold):
        train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        score[test] = _centroid_scores(X, labels, train, test, slice(None))
    return score


def _expected(labels: np.ndarray, fold: np.ndarray, signal: float, rng: np.random.Generator) -> float:
    """Expected AUC within folds."""
    if signal == 0:
        return 0.5
    found = []
    for _ in range(400):
        score = _out_of_fold(rng.normal(size=(len(labels), 30)) + signal * labels[:, None], labels, fold)
        found.append(metrics.block_auc(labels, as_log_p(score), fold))
    return float(np.mean(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1000, help="simulated studies for each number")
    parts = {
        "size": size,
        "coverage": coverage,
        "difference": difference,
        "folds": folds,
        "refit": refit,
        "pooled": pooled,
    }
    parser.add_argument("--only", nargs="*", choices=parts, default=list(parts), help="parts to run")
    arguments = parser.parse_args()
    start = time.perf_counter()
    for name in arguments.only:
        print(f"\n### {name}: {' '.join((parts[name].__doc__ or '').split())}", flush=True)
        parts[name](arguments.n)
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
