"""Check published findings on the data at hand: PerturBench (Wu 2024) and PRiMeFlow (Yan 2026), each confirmed or not.

    python benchmarks/published_findings.py                      # closed forms, on Norman, McFaline and simulations
    python benchmarks/published_findings.py --findings guidance flow [--seeds 3]    # these train a flow

collapse    A prediction that is the same for all perturbations reaches much of the best cosine, but ranks at chance.
            Confirmed if its cosine is at least half of the best, with an interval above 0, and the interval of its rank
            contains 0.5.
disagree    Distances of cells and metrics of means order methods differently. Confirmed if two methods differ with
            intervals that exclude 0, in favour of one by a metric of means and of the other by a metric of cells.
guidance    Guidance 5 instead of 1 finds more responding genes, and worsens the energy distance. Confirmed if both
            differences have intervals that exclude 0.
flow        A flow from noise loses to the latent additive model on means, and wins on cells. Confirmed if both
            differences have intervals that exclude 0.

Units are perturbations: scores are averaged over the splits and contexts in which a perturbation was held out, and
differences are paired. The intervals do not include the sampling of the controls.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import perturbation as board
import scanpy as sc

import heldout as ho
from heldout._core.metric import metric_of
from heldout._core.partition import read_partition
from heldout._core.verdict import interval
from heldout.tasks.perturbation.judging.judge import Judged
from heldout.tasks.perturbation.task import Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    import anndata as ad

    from heldout._core.fits import Fit


DATA = {"norman": 10, "mcfaline": 5, "responders": 2, "shift": 3, "no_shift": 3}
"""Data, and the number of splits. The last two are simulations of singles with and without a shift that all share."""

CLOSED = {
    "norman": ("no_change", "mean", "additive", "latent_additive", "moved_cells"),
    "mcfaline": ("no_change", "mean", "additive", "latent_additive", "context_mean", "transfer", "moved_cells"),
    "shift": ("no_change", "mean", "additive", "latent_additive", "linear", "nearest"),
}
OF_MEANS, OF_CELLS = ("cosine_logfc", "pearson_delta", "l2"), ("energy_distance", "mmd")
WEIGHTS = (1.0, 2.0, 5.0)
N_BOOTSTRAP = 5000
MOST_SHOWN = 5
"""Opposed comparisons that are printed, about."""


def unit_means(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Mean score of each perturbation by each method, over splits and contexts: (perturbations × methods)."""
    return scores.pivot_table(index=board.KEY, columns="method", values=metric, dropna=False, observed=True)


def estimate(values: pd.Series, metric: str | None = None) -> tuple[float, float, float]:
    """Mean over perturbations, with the ends of its interval. A ``metric`` keeps the interval in its range."""
    known = values.dropna().to_numpy()
    if not len(known):
        return np.nan, np.nan, np.nan
    draws = np.random.default_rng(0).choice(known, (N_BOOTSTRAP, len(known))).mean(axis=1)
    bounds = {} if metric is None else {"bounds": metric_of(metric).bounds}
    return float(known.mean()), *interval(np.append(known.mean(), draws), len(known), **bounds)


def gain(scores: pd.DataFrame, metric: str, method: str, other: str) -> tuple[float, float, float]:
    """How much better a method is than another by a metric; above 0 is better."""
    wide = unit_means(scores, metric)
    return estimate(metric_of(metric).sign * (wide[method] - wide[other]))


def shown(values: Sequence[float]) -> str:
    """An estimate with its interval."""
    return "{:.3g} ({:.3g} to {:.3g})".format(*values)


def load(data: str) -> tuple[ad.AnnData, str]:
    """A screen, and what is held out of it."""
    if data in board.USUAL:
        return board.load(data, board.USUAL[data]), board.USUAL[data]
    strength = 1.0 if data == "shift" else 0.0
    adata = ho.datasets.perturbations_simulated(n_singles=60, n_doubles=0, n_genes=500, shift_strength=strength)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    adata.obs[board.CONTEXT] = "one"
    return adata, "single"


def closed_scores(data: str, seeds: int) -> pd.DataFrame:
    """Scores of the closed forms on several splits."""
    adata, how = load(data)
    rows = []
    for seed in range(seeds):
        board.split(adata, how, seed=seed)
        names = CLOSED.get(data) or CLOSED["norman" if data == "responders" else "shift"]
        fitted = board.evaluated(adata, "informed_additive", None, names)
        rows.append(ho.get.scores(fitted, board.KEY).query("role != 'control'").assign(seed=seed))
    return pd.concat(rows, ignore_index=True)


def flow_scores(data: str, seeds: int, config: object, *, weights: Sequence[float]) -> pd.DataFrame:
    """Scores of one trained flow with several weights of guidance, and of the latent additive model."""
    adata, how = load(data)
    rows = []
    for seed in range(seeds):
        board.split(adata, how, seed=seed)
        task = Task.of(adata, read_partition(adata, "split"), board.KEY, mask_var=None)
        judged = Judged.of(task, "test")
        fit = task.fit("flow", config, seed=seed, data=judged.data)
        guided = [_guided(fit, weight) for weight in weights]
        scored = [judged.scored(of, f"flow, w={w:g}", "model") for w, of in zip(weights, guided, strict=True)]
        scored += judged.baselines(["latent_additive", "no_change"])
        rows.append(judged.table(scored, n_bootstrap=20, rng=seed)[1].assign(seed=seed))
    return pd.concat(rows, ignore_index=True)


def _guided(fit: Fit, weight: float) -> Fit:
    """The same flow with another weight of guidance, which only matters when cells are generated."""
    fitted = fit.info["fitted"]
    network = fitted["network"] | {"guidance": weight}
    return replace(fit, info=fit.info | {"fitted": fitted | {"network": network}})


def collapse(data: str, scores: pd.DataFrame) -> str:
    """The same change for all perturbations (of a context): its cosine and its rank."""
    same = "context_mean" if data == "mcfaline" else "mean"
    cosine, rank = unit_means(scores, "cosine_logfc"), unit_means(scores, "rank")
    best = cosine.drop(columns=["no_change", same]).mean().idxmax()
    of_same, of_best = estimate(cosine[same], "cosine_logfc"), estimate(cosine[best], "cosine_logfc")
    ranked, best_rank = estimate(rank[same], "rank"), estimate(rank[best], "rank")
    is_half = of_same[1] > 0 and of_same[0] >= 0.5 * of_best[0]
    at_chance = not (ranked[1] > 0.5 or ranked[2] < 0.5)
    return (
        f"{same}: cosine {shown(of_same)}, rank {shown(ranked)}; best, {best}: cosine {shown(of_best)}, rank "
        f"{shown(best_rank)}: {_verdict(is_half and at_chance)}"
    )


def disagree(data: str, scores: pd.DataFrame) -> str:
    """Pairs of methods that a metric of means and a metric of cells put in opposite orders, both beyond chance."""
    methods = [name for name in scores["method"].unique() if scores.loc[scores["method"] == name, "l2"].notna().any()]
    opposed, resolved = [], 0
    for a, b in combinations(methods, 2):
        for first in OF_MEANS:
            for second in OF_CELLS:
                mean, cells = gain(scores, first, a, b), gain(scores, second, a, b)
                if not (_resolved(mean) and _resolved(cells)):
                    continue
                resolved += 1
                if mean[0] * cells[0] < 0:
                    better, worse = (a, b) if mean[0] > 0 else (b, a)
                    what = f"{first} prefers {better} by {abs(mean[0]):.2g}, {second} {worse} by {abs(cells[0]):.2g}"
                    opposed.append(what)
    examples = "".join(f"\n    {what}" for what in opposed[:: max(1, len(opposed) // MOST_SHOWN)])
    return f"{data}: {len(opposed)} of {resolved} comparisons are opposed: {_verdict(bool(opposed))}{examples}"


def guidance(data: str, scores: pd.DataFrame) -> str:
    """Genes found and energy distance of each weight, and the differences from weight 1."""
    lines = []
    for weight in WEIGHTS:
        name = f"flow, w={weight:g}"
        values = [
            f"{metric} {shown(estimate(unit_means(scores, metric)[name], metric))}"
            for metric in ("deg_recall", "energy_distance", "l2", "pearson_delta", "rank")
        ]
        lines.append(f"\n    {name}: {', '.join(values)}")
    recall, energy = (gain(scores, m, "flow, w=5", "flow, w=1") for m in ("deg_recall", "energy_distance"))
    is_so = recall[1] > 0 and energy[2] < 0
    return f"{data}: recall {shown(recall)}, energy gain {shown(energy)}: {_verdict(is_so)}{''.join(lines)}"


def flow(data: str, scores: pd.DataFrame) -> str:
    """Gains of a flow from noise over the latent additive model."""
    gains = {m: gain(scores, m, "flow, w=1", "latent_additive") for m in ("cosine_logfc", "rmse", *OF_CELLS)}
    is_so = gains["cosine_logfc"][2] < 0 and gains["energy_distance"][1] > 0
    return f"{data}: {', '.join(f'{m} {shown(v)}' for m, v in gains.items())}: {_verdict(is_so)}"


def _resolved(values: tuple[float, float, float]) -> bool:
    return values[1] > 0 or values[2] < 0


def _verdict(is_so: bool) -> str:
    return "confirmed" if is_so else "not confirmed"


FINDINGS = {"collapse": collapse, "disagree": disagree, "guidance": guidance, "flow": flow}


def main() -> None:
    """Print each finding on each data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--findings", nargs="+", choices=list(FINDINGS), default=["collapse", "disagree"])
    parser.add_argument("--data", nargs="+", choices=list(DATA), default=list(DATA))
    parser.add_argument(
        "--seeds", type=int, help="splits; default: 10 for Norman, 5 for McFaline, 2 or 3 for simulations"
    )
    parser.add_argument("--updates", type=int, default=2000, help="training steps of the flow")
    arguments = parser.parse_args()
    logging.getLogger("heldout").setLevel(logging.ERROR)
    for data in arguments.data:
        seeds = arguments.seeds or DATA[data]
        scores: dict[str, pd.DataFrame] = {}
        for finding in arguments.findings:
            kind = "flow" if finding in ("guidance", "flow") else "closed"
            if kind not in scores:
                scores[kind] = _of_flow(data, seeds, arguments) if kind == "flow" else closed_scores(data, seeds)
            print(f"{finding}, {data}, {seeds} splits\n  {FINDINGS[finding](data, scores[kind])}", flush=True)


def _of_flow(data: str, seeds: int, arguments: argparse.Namespace) -> pd.DataFrame:
    weights = WEIGHTS if "guidance" in arguments.findings else WEIGHTS[:1]
    config = ho.model.PerturbationFlowConfig(source="noise", n_updates=arguments.updates)
    return flow_scores(data, seeds, config, weights=weights)


if __name__ == "__main__":
    main()
