"""Leaderboard of perturbation prediction with verdicts: measured screens and simulations, one method or many.

    python benchmarks/perturbation.py [--data norman] [--hold-out combination] [--seeds 10] [--figure board.png]
    python benchmarks/perturbation.py --data responders --methods moved_cells residual_flow --csv responders.csv
    python benchmarks/perturbation.py --data kang --method pooled_transfer      # one perturbation in many contexts
    python benchmarks/perturbation.py --hold-out single --embedding --methods vector_knn vector_lasso   # GO and Pfam
    python benchmarks/perturbation.py --controls    # Norman: the effect of counting both changes from the same controls
    python benchmarks/perturbation.py --time        # seconds of each method (bench_perturbation.py)

Each seed is another split of the same screen, and the seed of the methods. Each method is fitted once on each split,
and all methods are scored on the same cells. The scores of a perturbation are averaged over the contexts and splits in
which it was held out. Then perturbations are the units. Each counts once, and methods are compared on the perturbations
that both predict. With fewer than 3 perturbations, contexts are the units. The intervals are over the units of this one
screen and are not valid for another screen. Perturbations that share a target, or are predicted from almost the same
train cells, are less independent than a bootstrap assumes. The pooled intervals do not include the sampling of control
cells (heldout.tl.evaluate, on a single split, does). For these reasons, read a narrow win as a tie.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
from _judging import judge
from _pooling import METRICS, differences, pooled, unit_of
from _screens import CONTEXT, DATA, FILE, KEY, LOADERS, SHARE, USUAL, load, split, with_vectors
from _shared_controls import controls

import heldout as ho
from heldout._core import keys, store
from heldout.tasks.perturbation import METHODS
from heldout.tasks.perturbation.judging.strata import stratified

if TYPE_CHECKING:
    from collections.abc import Sequence

SHOWN = (
    "l2", "pearson_delta", "pearson_delta_perturbed", "discrimination", "deg_recall", "energy_distance", "mmd",
    "coexpression_error", "variance_error", "log_variance_ratio", "zero_share_error",
)  # fmt: skip


def scored(
    adata: ad.AnnData, arguments: argparse.Namespace, vectors: str | None
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Judge all methods on several splits: scores of perturbations, tables of the splits, and seconds of each fit."""
    scores, tables, seconds = [], [], []
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        print(f"split {seed}", flush=True)
        split(adata, arguments.hold_out, seed=seed, test=arguments.test)
        table, rows, times = judge(
            adata,
            arguments.methods,
            arguments.baselines,
            options=arguments.options,
            vectors=vectors,
            replaced=arguments.replaced,
            seed=seed,
        )
        rows["at"] = rows[CONTEXT].astype(str) if CONTEXT in rows else ""
        scores.append(rows.assign(seed=seed))
        tables.append(table.assign(seed=seed))
        seconds.append(times)
    all_scores = pd.concat(scores, ignore_index=True)
    if arguments.measured:
        all_scores = without_fallbacks(all_scores)
    return all_scores, pd.concat(tables), pd.DataFrame(seconds)


def read(files: Sequence[Path]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Read what earlier runs on the same screen wrote, and keep each method once on each split."""
    scores = pd.concat([pd.read_csv(_scores_of(file), keep_default_na=True) for file in files], ignore_index=True)
    scores["at"] = scores["at"].fillna("")
    twice = scores.duplicated(["method", KEY, "at", "seed"])
    seconds = pd.concat([pd.read_csv(_seconds_of(file)) for file in files])
    return scores[~twice], pd.concat([pd.read_csv(file) for file in files]), seconds


def _scores_of(file: Path) -> Path:
    return file.with_name(f"{file.stem}_scores.csv")


def _seconds_of(file: Path) -> Path:
    return file.with_name(f"{file.stem}_seconds.csv")


def without_fallbacks(scores: pd.DataFrame) -> pd.DataFrame:
    """Keep the scores of perturbations that the additive baseline predicts from measured members only."""
    sure = scores[(scores["method"] == "additive") & ~scores["fallback"]].set_index([KEY, "seed", "at"]).index
    return scores[scores.set_index([KEY, "seed", "at"]).index.isin(sure)]


def report(table: pd.DataFrame, scores: pd.DataFrame, seconds: pd.DataFrame, arguments: argparse.Namespace) -> None:
    """Print the table by method, the verdicts, the strata, and the units."""
    of_model = scores[scores["role"] == "model"]
    kinds = of_model.groupby(["n_targets", "n_seen"])[KEY].nunique()
    kinds = ", ".join(f"{n} with {seen} of {targets} targets seen" for (targets, seen), n in kinds.items())
    print(f"\n{arguments.data}, hold_out={arguments.hold_out!r}, {arguments.seeds} splits; held out: {kinds}\n")
    print(_estimates(table, SHOWN).to_string(), end="\n\n")
    harmed = table[table["metric"] == "l2"].set_index("method")["share_harmed"].dropna()
    if len(harmed):
        print(
            "share with a larger L2 than context_mean: " + ", ".join(f"{n} {x:.0%}" for n, x in harmed.items()) + "\n"
        )
    for method in table.loc[table["role"] == "model", "method"].unique():
        print(f"{method} against the best baseline by each metric")
        of_method = table[(table["method"] == method) & (table["verdict"] != "")]
        _print_differences(of_method.set_index("metric"))
    for reference in arguments.references:
        found = differences(scores, reference, np.random.default_rng(0))
        for method, of_method in found.groupby("method", sort=False):
            print(f"{method} against {reference}")
            _print_differences(of_method.set_index("metric"))
    for metric in arguments.strata:
        print(f"by how far {metric} is solved by baselines")
        print(stratified(scores, _ceiling(table, metric), metric=metric, unit=unit_of(scores)).to_string(index=False))
        print()
    others = [metric for metric in METRICS if metric not in SHOWN]
    print("other metrics\n" + _estimates(table, others).to_string())
    print("\nseconds, mean over splits\n" + seconds.mean().round(1).to_string())
    n = int(table.loc[table["role"] == "model", "n"].max())
    unit = "context" if unit_of(scores) == "at" else unit_of(scores)
    print(f"\nunit: {unit} ({n}), mean over splits; control cells are not resampled; see --help")


def _estimates(table: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    table = table[table["metric"].isin(metrics)]
    wide = table.pivot_table(index="method", columns="metric", values="estimate", sort=False)
    wide.loc["ceiling"] = table.groupby("metric")["ceiling"].first()
    return wide[[metric for metric in metrics if metric in wide]].round(4)


def _ceiling(table: pd.DataFrame, metric: str) -> float:
    return float(table.loc[table["metric"] == metric, "ceiling"].iloc[0])


def _print_differences(rows: pd.DataFrame) -> None:
    for metric, row in rows.iterrows():
        difference, low, high = (row.get(f"difference{end}", np.nan) for end in ("", "_low", "_high"))
        same = difference == low == high == 0
        found = f"{difference:+.3g} ({low:+.3g} to {high:+.3g})"
        print(f"  {metric:24s}{row['baseline']:17s} {'the same predictions' if same else found:37s} {row['verdict']}")
    print()


def evaluated(adata: ad.AnnData, method: str, config: Any, baselines: Sequence[str] | None) -> ad.AnnData:
    """Return a copy with the fit and its evaluation, on all genes."""
    adata = adata.copy()
    ho.tl.perturbation(adata, method=method, config=config, mask_var=None)
    ho.tl.evaluate(adata, KEY, baselines=baselines, n_bootstrap=20)  # intervals come from the pooled scores
    return adata


def stored(table: pd.DataFrame) -> ad.AnnData:
    """Return an AnnData with the table of the first model, as one evaluation would store it."""
    first = table.loc[table["role"] == "model", "method"].iloc[0]
    of_first = table[(table["role"] == "baseline") | (table["method"] == first)]
    kept = ad.AnnData(np.zeros((1, 1), dtype=np.float32))
    store.commit(kept, heldout={keys.EVALUATIONS: {KEY: of_first.reset_index(drop=True).rename(index=str)}})
    return kept


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=list(LOADERS), help="norman if it is in HELDOUT_DATA_DIR, or else simulation")
    parser.add_argument("--hold-out", choices=list(SHARE), help="default: the usual question for the data")
    parser.add_argument("--test", type=float, help="share of perturbations to hold out")
    parser.add_argument("--measured", action="store_true", help="score only pairs whose two members are in train alone")
    parser.add_argument("--seeds", type=int, default=10, help="splits")
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first split")
    parser.add_argument(
        "--methods", "--method", nargs="+", default=["informed_additive"], choices=METHODS.names(), help="to judge"
    )
    parser.add_argument("--options", type=json.loads, default={}, help='e.g. {"flow": {"max_epochs": 50}}')
    parser.add_argument("--embedding", action="store_true", help="give methods vectors: true modules, or GO and Pfam")
    parser.add_argument("--replaced", action="store_true", help="also fit with shuffled and random vectors")
    parser.add_argument("--baselines", nargs="+", choices=METHODS.names(), help="default: those of tl.evaluate")
    parser.add_argument("--references", nargs="+", default=[], choices=METHODS.names(), help="compare all with these")
    parser.add_argument("--strata", nargs="*", default=["l2", "energy_distance"], help="metrics to split results by")
    parser.add_argument("--csv", type=Path, help="file for the table; files with _scores and _seconds beside it")
    parser.add_argument("--pool", nargs="+", type=Path, default=[], help="tables of earlier runs to report together")
    parser.add_argument("--figure", type=Path, help="file for the picture")
    parser.add_argument("--controls", action="store_true", help="Norman: shared control cells against separate ones")
    parser.add_argument("--time", action="store_true", help="time all methods instead")
    arguments = parser.parse_args()
    arguments.data = arguments.data or ("norman" if FILE.exists() else "simulation")
    arguments.hold_out = arguments.hold_out or USUAL[arguments.data]
    return arguments


def main() -> None:
    """Print one leaderboard."""
    arguments = parsed()
    logging.getLogger("heldout").setLevel(logging.ERROR)
    if arguments.time:
        subprocess.run([sys.executable, str(Path(__file__).with_name("bench_perturbation.py"))], check=True)
        return
    pd.set_option("display.width", 250, "display.max_columns", 30)
    adata = None if arguments.pool else load(arguments.data, arguments.hold_out)
    if arguments.controls:
        print(controls(adata).round(2).to_string())
        return
    vectors = with_vectors(adata) if arguments.embedding else None
    scores, tables, seconds = read(arguments.pool) if arguments.pool else scored(adata, arguments, vectors)
    table = pooled(scores, tables, np.random.default_rng(0))
    report(table, scores, seconds, arguments)
    if arguments.csv:
        table.to_csv(arguments.csv, index=False)
        scores.to_csv(_scores_of(arguments.csv), index=False)
        seconds.to_csv(_seconds_of(arguments.csv), index=False)
    if arguments.figure:
        ho.pl.leaderboard(stored(table))[0].figure.savefig(arguments.figure, dpi=150)


__all__ = ["CONTEXT", "DATA", "KEY", "METRICS", "USUAL", "evaluated", "load", "pooled", "split", "without_fallbacks"]

if __name__ == "__main__":
    main()
