"""How often a learning curve is called improving, if more train donors do not help, and if they do.

    python benchmarks/learning_curves.py [--n 200] [--seed 2026]

Donors have a mean profile of 20 genes, and are classified by the nearest class mean. There is no signal (more donors
cannot help), a strong one (a few donors suffice), or a weak one (more donors help). The truth of each curve is the mean
change over all simulated studies. ``improves`` is the share of studies whose sentence says so; where more donors do not
help, 2.5 % are expected. "covered" is the share of the 95 % intervals of the change that contain the truth.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd

from heldout.splitting._folds import FoldUnits
from heldout.tasks.genotype.learning import gains_table, scores_of, subsets_of

SIGNALS = {"none": 0.0, "strong": 3.0, "weak": 0.5}
N_GENES, N_REPEATS, N_FOLDS = 20, 10, 5


def study(n: int, signal: float, rng: np.random.Generator) -> pd.DataFrame:
    """Change of the scores from about half to all of the train donors."""
    labels = np.arange(n) % 2
    X = rng.normal(size=(n, N_GENES))
    X[:, :5] += signal * labels[:, None] / np.sqrt(5)
    names = np.array([f"D{i:03d}" for i in range(n)], dtype=object)
    units = FoldUnits.of(names, np.array(["control", "patient"], dtype=object)[labels])
    most = n - -(-n // N_FOLDS)
    sizes = [most // 4 * 2, most]
    drawn = subsets_of(units, sizes, n_repeats=N_REPEATS, n_folds=N_FOLDS, held_out=np.arange(n), rng=rng)
    frames: dict[tuple[int, int], list[pd.DataFrame]] = {}
    for subset in drawn:
        means = [X[subset.train][labels[subset.train] == c].mean(axis=0) for c in (0, 1)]
        distance = [((X[subset.held_out] - mean) ** 2).sum(axis=1) for mean in means]
        odds = (distance[0] - distance[1]) / 2
        frame = pd.DataFrame(
            {
                "group": names[subset.held_out],
                "fold": f"fold_{subset.fold}",
                "label": labels[subset.held_out],
                "log_probability_0": -np.logaddexp(0, odds),
                "log_probability_1": -np.logaddexp(0, -odds),
            }
        ).assign(method="centroid", size=subset.size, repeat=subset.repeat)
        frames.setdefault((subset.size, subset.repeat), []).append(frame)
    number = {str(name): i for i, name in enumerate(names)}
    scores = [scores_of(pd.concat(parts, ignore_index=True), number, 2) for parts in frames.values()]
    words = {size: f"{size} donors" for size in sizes}
    return gains_table(scores, units.strata, words, unit="donor", where="")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=200, help="simulated studies for each row")
    parser.add_argument("--seed", type=int, default=2026)
    options = parser.parse_args()
    print("| donors | signal | metric | from | to | improves | worsens | covered |\n|---|---|---|---|---|---|---|---|")
    for n in (16, 40):
        for name, signal in SIGNALS.items():
            rng = np.random.default_rng([options.seed, n, len(name)])
            found = pd.concat([study(n, signal, rng) for _ in range(options.n)])
            for metric, rows in found.groupby("metric"):
                truth = rows["gain"].mean()
                inside = ((rows["gain_low"] <= truth) & (truth <= rows["gain_high"])).mean()
                shares = [(rows["trend"] == trend).mean() for trend in ("improves", "worsens")]
                scores = " | ".join(f"{rows[key].mean():.2f}" for key in ("score_from", "score_to"))
                cells = " | ".join(f"{share:.1%}" for share in (*shares, inside))
                print(f"| {n} | {name} | {metric} | {scores} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
