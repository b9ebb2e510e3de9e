"""Prediction of the label of a new donor: networks and simple methods on real data, with folds of donors.

    python benchmarks/genotype.py [--data DIR] [--only onek1k_sex zhao ...] [--seeds 5] [--simple]
    python benchmarks/genotype.py --methods pseudobulk_shrunken "pseudobulk_logistic, chosen"
    python benchmarks/genotype.py --auto [--seeds 3] [--scores DIR]

Networks are small (one layer of 64, at most 12 epochs) and are trained with five seeds. OneK1K, Kang and Zhao are
reduced to 30, 100 and 100 cells per library. With these sizes the script takes about 20 minutes on one core. Genes are
scaled on the train cells of each fold. The table is that of ``heldout.tl.compare``: each network against the best
baseline of the same folds, with the interval of Nadeau and Bengio. With ``--auto``, simple methods with and without a
chosen penalty, a small network and ``auto`` are scored on fewer cells of these studies, of Packer and of simulations.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import _genotype_auto as auto
import anndata as ad
import numpy as np
import scanpy as sc

import heldout as ho

DATA = os.environ.get("HELDOUT_DATA_DIR", str(Path(__file__).parents[1].parent / "shared" / "data"))
NET = {"n_hidden": 64, "n_layers": 1, "max_epochs": 12, "patience": 4, "batch_size": 128}
BASELINES = [
    *("majority", "qc_logistic", "logistic", "nearest_centroid"),
    *("pseudobulk_logistic", "pseudobulk_shrunken", "pseudobulk_ridge", "pseudobulk_boosting"),
    *("celltype_pseudobulk", "mean_embedding", "stacked"),
]


def methods(auxiliary_key: str | None, *, cell_types: bool, bags: int) -> dict[str, dict[str, object]]:
    """Return the baselines and networks of one study."""
    config, attention = ho.model.MLPConfig, ho.model.AttentionConfig
    found: dict[str, dict[str, object]] = {name: {} for name in BASELINES}
    chosen = {"config": auto.CHOSEN}
    found |= {f"{name}, chosen": {"method": name, **chosen} for name in ("logistic", "pseudobulk_logistic")}
    if cell_types:
        found["composition_logistic"] = {}
    found["mlp (A)"] = {"method": "mlp", "config": config(**NET)}
    found["mlp ensemble"] = {"method": "mlp", "config": config(**NET, n_members=3)}
    bagged = {**NET, "batch_size": bags, "lr": 3e-3}
    found["attention"] = {"method": "attention", "config": attention(**bagged)}
    if auxiliary_key is not None:
        found["covariate_logistic"] = {}
        found["mlp (B)"] = {"method": "mlp", "config": config(**NET), "auxiliary_key": auxiliary_key}
        reversed_ = config(**NET, reversal=True)
        found["mlp (B reversed)"] = {"method": "mlp", "config": reversed_, "auxiliary_key": auxiliary_key}
    return found


def logged(adata: ad.AnnData) -> ad.AnnData:
    """Convert counts to logs, and add the QC measures of scanpy."""
    adata.obs["total_counts"] = np.asarray(adata.X.sum(axis=1)).ravel()
    adata.obs["n_genes_by_counts"] = np.asarray((adata.X > 0).sum(axis=1)).ravel()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


def onek1k(folder: Path) -> ad.AnnData:
    """Load forty donors with their sex, and whether they are older than 65."""
    adata = ad.read_h5ad(folder / "onek1k" / "onek1k_40donors.h5ad")
    ho.pp.subsample(adata, "indiv", 30)
    adata.obs["older"] = np.where(adata.obs["age"].astype(float) > 65, "over 65", "up to 65")
    return logged(adata)


def study(name: str, folder: Path) -> tuple[ad.AnnData, str, dict[str, object]]:
    """Return cells with folds, the label, and the options of the comparison."""
    if name.startswith("onek1k"):
        adata, label = onek1k(folder), {"onek1k_sex": "sex", "onek1k_age": "older"}[name]
        ho.pp.folds(adata, "indiv", label, n_folds=5)
        return adata, label, {"methods": methods(None, cell_types=True, bags=32), "cell_type_key": "cell_type"}
    if name == "kang":
        adata = ad.read_h5ad(folder / "kang2018" / "kang2018_3donors_ctrl_stim_lognorm_100genes.h5ad")
        adata.obs["donor"] = adata.obs["sample_id"].astype(str).str.extract(r"(\d+)", expand=False).to_numpy()
        ho.pp.subsample(adata, "sample_id", 100)
        ho.pp.folds(adata, "donor", scheme="leave_one_group_out", val=0)  # leaves two donors for training
        how = methods("donor", cell_types=True, bags=32)
        return (
            adata,
            "stim",
            {"methods": how, "group_key": "sample_id", "cell_type_key": "cell", "covariate_keys": ["donor"]},
        )
    if name == "zhao":
        adata = logged(ad.read_h5ad(folder / "zhao2021" / "zhao2021_5patients.h5ad"))
        ho.pp.subsample(adata, "sample_id", 100)
        ho.pp.folds(adata, "patient_id", scheme="leave_one_group_out")
        how = methods("patient_id", cell_types=False, bags=32)
        return adata, "condition", {"methods": how, "group_key": "sample_id", "covariate_keys": ["patient_id"]}
    adata = logged(ad.read_h5ad(folder / "blake2018" / "blake2018_bulk.h5ad"))
    ho.pp.folds(adata, "Individual", "Species", n_folds=4)
    how = methods("Day", cell_types=False, bags=4)
    return adata, "Species", {"methods": how, "covariate_keys": ["Day"], "n_top_genes": 1000}


def show(table, metric: str) -> None:
    """Print one metric as a Markdown table, best first."""
    rows = table[table["metric"] == metric].sort_values("rank")
    if rows.empty:
        return
    print(
        f"\n{metric} of {rows['level'].iloc[0]}s, {rows['n_folds'].iloc[0]} folds of {rows['n_groups'].iloc[0]} groups"
    )
    print("| method | role | estimate | 95 % | rank | seed SD | against | difference (95 %) | verdict |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows.itertuples():
        span = (
            f"{row.difference:+.3f} ({row.difference_low:+.3f} to {row.difference_high:+.3f})" if row.baseline else ""
        )
        print(
            f"| {row.method} | {row.role} | {row.estimate:.3f} | {row.ci_low:.2f} to {row.ci_high:.2f} "
            f"| {row.rank:.1f} | {row.seed_sd:.3f} | {row.baseline} | {span} | {row.verdict} |"
        )


STUDIES = ("blake", "zhao", "kang", "onek1k_sex", "onek1k_age")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=DATA, help="folder with the real data")
    parser.add_argument("--only", nargs="*", choices=STUDIES, default=STUDIES, help="studies to run")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of each network")
    parser.add_argument("--simple", action="store_true", help="baselines only, without networks")
    parser.add_argument("--methods", nargs="*", help="only these methods")
    parser.add_argument("--auto", action="store_true", help="simple methods and auto on all data sets")
    parser.add_argument("--scores", type=Path, help="folder that keeps the scores of --auto")
    parser.add_argument("--sets", nargs="*", help="names of data sets of --auto begin with one of these")
    arguments = parser.parse_args()
    if arguments.auto:
        auto.run(Path(arguments.data), study, range(arguments.seeds), arguments.sets, arguments.scores)
        return
    for name in arguments.only:
        start = time.perf_counter()
        adata, label, options = study(name, Path(arguments.data))
        if arguments.simple:
            options["methods"] = {name: how for name, how in options["methods"].items() if not how}
        if arguments.methods:
            options["methods"] = {name: options["methods"][name] for name in arguments.methods}
        table = ho.tl.compare(adata, label, seeds=range(arguments.seeds), **options)
        print(f"\n## {name}: {label}, {adata.n_obs} cells × {adata.n_vars} genes", flush=True)
        for metric in ("auc", "loss", "accuracy", "accuracy_calibrated", "cell_auc"):
            show(table, metric)
        print(f"\n{time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
