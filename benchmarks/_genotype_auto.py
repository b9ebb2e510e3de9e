"""Simple methods of the genotype task against each other over many data sets, for ``genotype.py --auto``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from _genotype_simulations import donors
from scipy import stats

import heldout as ho
from heldout.metrics.classification import brier, log_loss, roc_auc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

CHOSEN = ho.model.LogisticConfig(C="auto", balanced=True, equal_groups=True, calibrated=True)
SMALL = ho.model.MLPConfig(n_hidden=64, n_layers=1, max_epochs=12, patience=4, batch_size=128)
METHODS: dict[str, dict[str, Any]] = {
    "logistic": {},
    "pseudobulk_logistic": {},
    "logistic, chosen": {"method": "logistic", "config": CHOSEN},
    "pseudobulk_logistic, chosen": {"method": "pseudobulk_logistic", "config": CHOSEN},
    "pseudobulk_shrunken": {},
    "celltype_pseudobulk": {},
    "mean_embedding": {},
    "stacked": {},
    "mlp": {"config": SMALL},
    "auto": {},
}
SIMPLE = ("logistic", "pseudobulk_logistic", "pseudobulk_shrunken", "celltype_pseudobulk", "mean_embedding")
Made = tuple[ad.AnnData, str, dict[str, Any]]


def simulated(signal: Any, n_donors: int, seed: int) -> Made:
    """Simulated donors in three folds."""
    adata = donors(signal, 1000 + seed, n_donors=n_donors, n_cells=20)
    ho.pp.folds(adata, "donor", "label", n_folds=3)
    return adata, "label", {"cell_type_key": "cell_type"}


def packer(folder: Path, held_out: str) -> Made:
    """Wing neurons (AWA, AWB, AWC) or others (ADL, ASG), with libraries or types of neurons held out."""
    adata = ad.read_h5ad(folder / "packer2019" / "packer2019_neurons.h5ad")
    adata = adata[adata.obs["cell.type"].isin(["ADL", "ASG", "AWA", "AWB", "AWC"])].copy()
    names = adata.obs["cell.type"].astype(str)
    adata.obs["wing"] = np.where(names.str.startswith("AW"), "wing", "other")
    adata.obs["sample"] = adata.obs["batch"].astype(str) + " " + names
    sizes = adata.obs["sample"].value_counts()
    adata = adata[adata.obs["sample"].isin(sizes.index[sizes >= 3])].copy()
    ho.pp.subsample(adata, "sample", 15)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    key = {"library": "batch", "lineage": "cell.type"}[held_out]
    ho.pp.folds(adata, key, scheme="leave_one_group_out", val=0)
    return adata, "wing", {"group_key": "sample", "n_top_genes": 300}


def data_sets(folder: Path, study: Callable[..., Any], seed: int) -> dict[str, tuple[str, Callable[[], Made]]]:
    """Name of each data set, its role, and how it is made."""

    def of_study(name: str, n: int | None, n_top_genes: int | None) -> Made:
        adata, label, options = study(name, folder)
        options = {key: value for key, value in options.items() if key not in ("methods", "covariate_keys")}
        if n is not None:
            unit = options.get("group_key") or "indiv"
            keep = np.random.default_rng(seed).permutation(adata.n_obs)
            rank = adata.obs.iloc[keep].groupby(unit, observed=True).cumcount()
            adata = adata[np.sort(keep[rank.to_numpy() < n])].copy()
        return adata, label, {**options, "n_top_genes": n_top_genes}

    found: dict[str, tuple[str, Callable[[], Made]]] = {
        "OneK1K, sex": ("real", lambda: of_study("onek1k_sex", 12, 200)),
        "OneK1K, over 65": ("real", lambda: of_study("onek1k_age", 12, 200)),
        "Zhao": ("real", lambda: of_study("zhao", 40, None)),
        "Kang": ("real", lambda: of_study("kang", 40, None)),
        "Blake": ("real", lambda: of_study("blake", None, 300)),
        "Packer, library": ("real", lambda: packer(folder, "library")),
        "Packer, lineage": ("real", lambda: packer(folder, "lineage")),
    }
    for signal in ("mean", "one type", "composition", "variance"):
        for size, n in (("few", 24), ("many", 48)):
            made = lambda s=signal, n=n: simulated(s, n, seed)  # noqa: E731
            found[f"simulated, {signal}, {size}"] = ("simulated", made)
    return found


def run(
    folder: Path, study: Callable[..., Any], seeds: Iterable[int], only: list[str] | None, kept: Path | None
) -> None:
    """Score all methods on all data sets, and print the tables. Scores in the folder ``kept`` are used again."""
    scores = []
    for seed in seeds:
        for name, (role, make) in data_sets(folder, study, seed).items():
            if only and not any(name.startswith(part) for part in only):
                continue
            path = None if kept is None else kept / f"{name.replace(', ', '_').replace(' ', '-')}_{seed}.csv"
            start = time.perf_counter()
            if path is not None and path.exists():
                found = pd.read_csv(path)
            else:
                adata, label, options = make()
                ho.tl.compare(adata, label, methods=METHODS, seeds=[seed], **options)
                found = pd.DataFrame(adata.uns["heldout"]["comparisons"]["comparison"]["scores"])
                if path is not None:
                    found.to_csv(path, index=False)
            scores.append(found.assign(data=name, role=role, draw=seed))
            print(f"{name}, seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
    show(pd.concat(scores, ignore_index=True))


def score(rows: pd.DataFrame) -> pd.Series:
    """AUC (mean over folds that have both classes, else of all groups), log-loss and Brier score of groups."""
    columns = [name for name in rows if name.startswith("log_probability_")]
    labels, log_p = rows["label"].to_numpy(int), rows[columns].to_numpy(float)
    of_fold = [roc_auc(part["label"].to_numpy(int), part[columns].to_numpy(float)) for _, part in rows.groupby("fold")]
    inside = np.isfinite(of_fold).all()
    auc = float(np.mean(of_fold)) if inside else roc_auc(labels, log_p)
    return pd.Series({"auc": auc, "loss": log_loss(labels, log_p), "brier": brier(labels, log_p)})


def show(scores: pd.DataFrame) -> None:
    """Print the score of each method, and paired differences of ``auto`` to each method.

    Units of the differences are data sets (mean over draws). Each draw of simulated donors is a study of its own, so
    there the units are also draws.
    """
    table = scores.groupby(["data", "role", "method", "draw"], sort=False)[list(scores)].apply(score)
    of_data = table.groupby(["data", "role", "method"], sort=False).mean()
    for role in ("real", "simulated, few", "simulated, many"):
        kept = of_data.index.get_level_values("role") == role.split(",")[0]
        kept &= of_data.index.get_level_values("data").str.endswith(role.removeprefix("simulated")) | (role == "real")
        for metric in ("auc", "loss") if kept.any() else ():
            part = of_data.loc[kept, metric].droplevel("role")
            wide = part.unstack("data").loc[list(METHODS), part.index.unique("data")]
            wide.columns = wide.columns.str.removeprefix("simulated, ").str.removesuffix(role.removeprefix("simulated"))
            print(f"\n{role}, {metric}\n| method | {' | '.join(wide)} | average |\n|---|{'---|' * (wide.shape[1] + 1)}")
            for method, row in wide.iterrows():
                print(f"| {method} | {' | '.join(f'{value:.3f}' for value in [*row, row.mean()])} |")
    role = of_data.index.get_level_values("role")
    parts = {"real": role == "real", "all": role != ""}
    print("\n| auto minus | units | AUC (95 %) | loss (95 %) | Brier (95 %) |\n|---|---|---|---|---|")
    for words, kept in parts.items():
        if kept.any():
            differences(of_data[kept].droplevel("role"), f"{words} data sets".removeprefix("all "))
    studies = table[table.index.get_level_values("role") == "simulated"].droplevel("role").reset_index("draw")
    if len(studies):
        names = studies.index.get_level_values("data") + [f" {draw}" for draw in studies.pop("draw")]
        studies.index = pd.MultiIndex.from_arrays(
            [names, studies.index.get_level_values("method")], names=["data", "method"]
        )
        differences(studies, "simulations")
        seen = names.str.contains("one type") | names.str.contains("variance")
        if seen.any():
            differences(studies[seen], "simulations, one type or variance")


def differences(of_data: pd.DataFrame, words: str) -> None:
    """Print ``auto`` minus each method, paired over data sets, with intervals of Student's t."""
    best = {m: of_data[m].unstack("method")[list(SIMPLE)].mean() for m in ("auc", "loss")}
    names = {best["auc"].idxmax(): "best single by AUC", best["loss"].idxmin(): "best single by loss"}
    if best["auc"].idxmax() == best["loss"].idxmin():
        names = {best["loss"].idxmin(): "best single"}
    for other in [name for name in METHODS if name != "auto"]:
        cells, n = [], 0
        for metric in ("auc", "loss", "brier"):
            wide = of_data[metric].unstack("method")
            gap = (wide["auto"] - wide[other]).to_numpy()
            n = len(gap)
            half = stats.t.ppf(0.975, n - 1) * gap.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
            cells.append(f"{gap.mean():+.3f} ({gap.mean() - half:+.3f} to {gap.mean() + half:+.3f})")
        name = f"{other} ({names[other]})" if other in names else other
        print(f"| {name} | {n} {words} | {' | '.join(cells)} |")
