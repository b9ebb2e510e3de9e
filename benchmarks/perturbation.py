"""Leaderboard of perturbation prediction with verdicts: Norman 2019, McFaline-Figueroa 2023, or another screen.

    python benchmarks/perturbation.py [--data norman] [--hold-out combination] [--seeds 10] [--figure board.png]
    python benchmarks/perturbation.py --data responders --method moved_cells    # simulation: half of the cells respond
    python benchmarks/perturbation.py --data kang --method pooled_transfer      # one perturbation in many contexts
    python benchmarks/perturbation.py --data norman --hold-out single --method vector_knn --embedding   # GO and Pfam
    python benchmarks/perturbation.py --controls    # Norman: the effect of counting both changes from the same controls
    python benchmarks/perturbation.py --time        # seconds of each method (bench_perturbation.py)

Each seed is another split of the same screen. The scores of a perturbation are averaged over the contexts and splits in
which it was held out. Then perturbations are the units. Each counts once, and methods are compared on the perturbations
that both predict. The intervals are over the perturbations of this one screen and are not valid for another screen.
Perturbations that share a target, or are predicted from almost the same train cells, are less independent than a
bootstrap assumes. In a screen with one perturbation, the units are contexts. The pooled intervals do not include the sampling of control cells (heldout.tl.evaluate, on a single
split, does). For these reasons, read a narrow win as a tie.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
from _screens import SCREENS

import heldout as ho
from heldout._core import keys, store
from heldout._core.metric import metric_of
from heldout._core.verdict import against, few_units, interval
from heldout.tasks.perturbation import METHODS
from heldout.tasks.perturbation.judging.scores import METRICS as ALL_METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence

DATA = Path(os.environ.get("HELDOUT_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))
FILE = DATA / "norman2019" / "norman19_mcfaline23_devel.h5ad"
NAMES = {"norman": "norman19", "mcfaline": "mcfaline23"}
USUAL = {"norman": "combination", "mcfaline": "context", "simulation": "combination", "responders": "combination"}
USUAL |= dict.fromkeys(SCREENS, "context")
VECTORS = DATA / "gene_sets" / "gene_vectors_go_pfam_svd64.npz"
SHARE = {"combination": 0.5, "single": 0.3, "context": 0.3}
SHOWN = ("pearson_delta", "pearson_delta_perturbed", "discrimination", "l2", "deg_recall", "energy_distance")
METRICS = tuple(name for name in ALL_METRICS if name != "variance_ratio")  # it has no value for one perturbation
KEY, CONTEXT, N_BOOTSTRAP = "perturbation", "cell_type", 5000


def load(name: str, how: str) -> ad.AnnData:
    """Load log-normalised cells with the perturbation and the context in obs, and vectors of the targets."""
    if name in NAMES:
        adata = ad.read_h5ad(FILE)
        adata = adata[adata.obs["dataset"] == NAMES[name]].copy()
        if VECTORS.exists():
            stored = np.load(VECTORS)
            vectors = pd.DataFrame(stored["vectors"].astype(np.float64), index=stored["genes"])
            ho.pp.embedding(adata, vectors, perturbation_key=KEY, key_added="modules")
        return adata
    if name in SCREENS:
        return SCREENS[name]()
    if name == "responders":
        return partial_responders()
    import scanpy as sc

    contexts = {"n_doubles": 0, "n_contexts": 3} if how == "context" else {"n_doubles": 124}
    adata = ho.datasets.perturbations_simulated(n_singles=100, n_genes=1000, n_cells=40, **contexts)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    vectors = pd.DataFrame(adata.varm["true_embedding"], index=adata.var_names)
    ho.pp.embedding(adata, vectors, key_added="modules")
    adata.obs[CONTEXT] = adata.obs["cell_line"]
    return adata


def partial_responders() -> ad.AnnData:
    """Simulate a screen in which half of the cells respond to each perturbed gene."""
    import scanpy as sc

    adata = ho.datasets.perturbations_simulated(
        n_singles=40, n_doubles=60, n_genes=600, n_cells=120, responders=0.5, effect_strength=10
    )
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    adata.obs[CONTEXT] = "one"
    return adata


def split(adata: ad.AnnData, how: str, *, seed: int, test: float | None = None) -> None:
    """Hold out a part of the screen. val stays empty, because no method here chooses anything on it."""
    options: dict[str, Any] = {}
    if adata.obs[CONTEXT].nunique() > 1:
        options["covariate_keys"] = CONTEXT
    if how == "context" and adata.obs[KEY].nunique() > 2:
        options["max_contexts"] = 1
    ho.pp.split_perturbations(adata, KEY, hold_out=how, val=0, test=test or SHARE[how], rng=seed, **options)


def evaluated(adata: ad.AnnData, method: str, config: Any, baselines: Sequence[str] | None) -> ad.AnnData:
    """Return a copy with the fit and its evaluation, on all genes."""
    adata = adata.copy()
    ho.tl.perturbation(adata, method=method, config=config, mask_var=None)
    ho.tl.evaluate(adata, KEY, baselines=baselines, n_bootstrap=20)  # intervals come from the pooled scores
    return adata


def pooled(scores: pd.DataFrame, tables: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Compute the table of an evaluation from the scores of several splits."""
    roles = scores.drop_duplicates("method").set_index("method")["role"]
    unit = "at" if scores[KEY].nunique() == 1 else KEY
    units = scores[unit].unique()
    weights = rng.multinomial(len(units), np.full(len(units), 1 / len(units)), size=N_BOOTSTRAP)
    weights = np.vstack([np.ones(len(units)), weights])
    ceiling = tables.groupby("metric")["ceiling"].mean()
    rows = []
    for metric in METRICS:
        wide = scores.pivot_table(
            index=list(dict.fromkeys([unit, KEY, "seed", "at"])),
            columns="method",
            values=metric,
            dropna=False,
            observed=True,
        )
        wide = wide.reindex(columns=roles.index)
        for method, role in roles.items():
            draws, n = _means(wide[method], units, weights)
            low, high = interval(draws, n, bounds=metric_of(metric).bounds)
            level = "context" if unit == "at" else KEY
            row = {
                "method": method,
                "role": role,
                "level": level,
                "metric": metric,
                "estimate": draws[0],
                "ci_low": low,
            }
            row |= {"ci_high": high, "n": n, "chance": metric_of(metric).chance, "ceiling": ceiling[metric]}
            lost = scores.loc[scores["method"] == method, "l2"].isna().all()
            row |= {
                "note": f"predicts 0 of {len(units)}" if lost else few_units(n, level),
                "verdict": "",
                "baseline": "",
            }
            rows.append(row | (_judged(metric, method, wide, roles, units, weights) if role == "model" else {}))
    return pd.DataFrame(rows)


def _means(values: pd.Series, units: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, int]:
    """Average over perturbations their mean over splits and contexts, plain and in each draw; return the number too."""
    of_units = values.groupby(level=0, observed=True).mean().reindex(units).to_numpy()
    known = np.isfinite(of_units)
    if not known.any():
        return np.full(len(weights), np.nan), 0
    total = weights[:, known].sum(axis=1)
    sums = weights[:, known] @ of_units[known]
    return np.divide(sums, total, out=np.full(len(total), np.nan), where=total > 0), int(known.sum())


def _judged(
    metric: str, method: str, wide: pd.DataFrame, roles: pd.Series, units: np.ndarray, weights: np.ndarray
) -> dict[str, object]:
    """Compare with the best baseline, paired, on the perturbations and splits that both predict."""
    sign = metric_of(metric).sign
    rivals = {}
    for name in roles.index[roles == "baseline"]:
        both = wide[[method, name]].dropna()
        if len(both):
            rivals[name] = both
    if not rivals:
        return against(None, np.array([np.nan]), sign=sign, n_units=0)
    best = max(rivals, key=lambda name: sign * _means(rivals[name][name], units, weights[:1])[0][0])
    draws, n = _means(rivals[best][method] - rivals[best][best], units, weights)
    return against(best, draws, sign=sign, n_units=n)


def board(adata: ad.AnnData, arguments: argparse.Namespace) -> tuple[ad.AnnData, pd.DataFrame]:
    """Evaluate on several splits and pool; the table is stored in an AnnData like that of one evaluation."""
    config = None
    if arguments.embedding:
        config = type(METHODS[arguments.method].check_config(None))(perturbation_embedding="modules")
    scores, tables = [], []
    for seed in range(arguments.seeds):
        split(adata, arguments.hold_out, seed=seed, test=arguments.test)
        fitted = evaluated(adata, arguments.method, config, arguments.baselines)
        frame = ho.get.scores(fitted, KEY)
        frame["at"] = frame[CONTEXT].astype(str) if CONTEXT in frame else ""
        scores.append(frame.assign(seed=seed))
        tables.append(ho.get.evaluation(fitted, KEY).assign(seed=seed))
    all_scores = pd.concat(scores, ignore_index=True)
    if arguments.measured:
        all_scores = without_fallbacks(all_scores)
    table = pooled(all_scores, pd.concat(tables), np.random.default_rng(0))
    kept = ad.AnnData(np.zeros((1, 1), dtype=np.float32))
    store.commit(kept, heldout={keys.EVALUATIONS: {KEY: table.rename(index=str)}})
    return kept, all_scores


def shares_harmed(scores: pd.DataFrame) -> pd.Series:
    """Share of the units with a larger error than the mean of the context, for each method."""
    unit = "at" if scores[KEY].nunique() == 1 else KEY
    wide = (
        scores.pivot_table(index=[unit, "seed"], columns="method", values="l2", observed=True).groupby(level=0).mean()
    )
    if "context_mean" not in wide:
        return pd.Series(dtype=float)
    return wide.drop(columns="context_mean").gt(wide["context_mean"] * (1 + 1e-9), axis=0).mean()


def without_fallbacks(scores: pd.DataFrame) -> pd.DataFrame:
    """Keep the scores of perturbations that the additive baseline predicts from measured members only."""
    sure = scores[(scores["method"] == "additive") & ~scores["fallback"]].set_index([KEY, "seed", "at"]).index
    return scores[scores.set_index([KEY, "seed", "at"]).index.isin(sure)]


def report(kept: ad.AnnData, scores: pd.DataFrame, arguments: argparse.Namespace) -> None:
    """Print the leaderboard, the verdicts, and the units."""
    of_model = scores[scores["role"] == "model"]
    kinds = of_model.groupby(["n_targets", "n_seen"])[KEY].nunique()
    kinds = ", ".join(f"{n} with {seen} of {targets} targets seen" for (targets, seen), n in kinds.items())
    print(
        f"{arguments.data}, hold_out={arguments.hold_out!r}, {arguments.seeds} splits; "
        f"held out at least once: {kinds}\n"
    )
    with pd.option_context("display.width", 250, "display.max_columns", 20):
        print(ho.get.leaderboard(kept, metrics=SHOWN).to_string(), end="\n\n")
    table = ho.get.evaluation(kept, KEY)
    judged = table[table["role"] == "model"].set_index("metric")
    print(f"{judged['method'].iloc[0]} against the best baseline by each metric")
    for metric, row in judged.iterrows():
        same = row["difference"] == row["difference_low"] == row["difference_high"] == 0
        found = f"{row['difference']:+.3g} ({row['difference_low']:+.3g} to {row['difference_high']:+.3g})"
        print(f"  {metric:24s}{row['baseline']:17s} {'the same predictions' if same else found:37s} {row['verdict']}")
    harmed = ", ".join(f"{name} {share:.0%}" for name, share in shares_harmed(scores).items())
    if harmed:
        print(f"\nshare of units with a larger L2 than context_mean: {harmed}")
    print("\nother metrics, estimate by method")
    print(
        table.pivot(index="method", columns="metric", values="estimate").drop(columns=list(SHOWN)).round(3).to_string()
    )
    print(
        f"\nunit: {judged['level'].iloc[0]} ({int(judged['n'].max())}), mean over contexts and splits; "
        "control cells are not resampled; see --help"
    )


def controls(adata: ad.AnnData, *, draws: int = 200, rng: int = 0) -> pd.DataFrame:
    """Compute the Pearson delta of the additive baseline for each measured pair, for several choices of controls.

    A pair is measured if both members were measured alone. The table has three columns: all controls on both sides; the
    same half of the controls on both sides; and the true change counted from one half and the predicted change from the
    other half. The last two differ by the effect of shared controls. Further columns give the same for the sums of
    members of other pairs, which are unrelated to the pair. Values above zero there come from effects that all
    perturbations share, or from the noise of the controls.
    """
    X = np.asarray(adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X, dtype=np.float64)
    names = adata.obs[KEY].astype(str).to_numpy()
    mean = {name: X[names == name].mean(axis=0) for name in np.unique(names)}
    pairs = [name for name in mean if "+" in name and all(member in mean for member in name.split("+"))]
    cells, start = X[names == "control"], mean["control"]
    generator = np.random.default_rng(rng)
    halves = [np.array_split(generator.permutation(len(cells)), 2) for _ in range(draws)]
    halves = [(cells[a].mean(axis=0), cells[b].mean(axis=0)) for a, b in halves]

    def delta(truth: str, pair: str, true_start: np.ndarray, start: np.ndarray) -> float:
        a, b = pair.split("+")
        predicted = mean[a] + mean[b] - start
        return float(ho.metrics.pearson_delta(mean[truth], predicted, true_start, prediction_start=start))

    rows = []
    for pair in pairs:
        a, b = pair.split("+")
        others = [name for name in pairs if not {a, b} & set(name.split("+"))]
        disjoint = [delta(pair, pair, *half) for half in halves]
        row = {"pair": pair, "all controls": delta(pair, pair, start, start)}
        row["same half"] = np.mean([delta(pair, pair, half[0], half[0]) for half in halves])
        row["disjoint halves"] = np.mean(disjoint)
        row["low"], row["high"] = np.percentile(disjoint, [2.5, 97.5])
        row["other pairs, same half"] = np.mean(
            [delta(pair, other, half[0], half[0]) for other in others for half in halves]
        )
        row["other pairs, disjoint"] = np.mean([delta(pair, other, *half) for other in others for half in halves])
        row["l2 additive"] = float(ho.metrics.profile_l2(mean[pair], mean[a] + mean[b] - start))
        row["l2 no change"] = float(ho.metrics.profile_l2(mean[pair], start))
        rows.append(row)
    return pd.DataFrame(rows).set_index("pair")


def main() -> None:
    """Print one leaderboard."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=list(USUAL), help="norman if it is in HELDOUT_DATA_DIR, or else simulation")
    parser.add_argument("--hold-out", choices=list(SHARE), help="default: the usual question for the data")
    parser.add_argument("--test", type=float, help="share of perturbations to hold out")
    parser.add_argument("--measured", action="store_true", help="score only pairs whose two members are in train alone")
    parser.add_argument("--seeds", type=int, default=10, help="splits")
    parser.add_argument("--method", default="informed_additive", choices=METHODS.names(), help="method to judge")
    parser.add_argument("--embedding", action="store_true", help="give the method vectors of the targets")
    parser.add_argument("--baselines", nargs="+", choices=METHODS.names(), help="default: those of tl.evaluate")
    parser.add_argument("--figure", type=Path, help="file for the picture")
    parser.add_argument("--controls", action="store_true", help="Norman: shared control cells against separate ones")
    parser.add_argument("--time", action="store_true", help="time all methods instead")
    arguments = parser.parse_args()
    logging.getLogger("heldout").setLevel(logging.ERROR)
    if arguments.time:
        subprocess.run([sys.executable, str(Path(__file__).with_name("bench_perturbation.py"))], check=True)
        return
    arguments.data = arguments.data or ("norman" if FILE.exists() else "simulation")
    arguments.hold_out = arguments.hold_out or USUAL[arguments.data]
    if arguments.controls:
        with pd.option_context("display.width", 250, "display.max_columns", 20):
            print(controls(load("norman", "combination")).round(2).to_string())
        return
    kept, scores = board(load(arguments.data, arguments.hold_out), arguments)
    report(kept, scores, arguments)
    if arguments.figure:
        axes = ho.pl.leaderboard(kept)
        axes[0].figure.savefig(arguments.figure, dpi=150)


if __name__ == "__main__":
    main()
