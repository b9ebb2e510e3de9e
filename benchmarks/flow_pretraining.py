"""What a flow gains if it continues from a fit of another cell line, on simulated screens.

    python benchmarks/flow_pretraining.py [--seeds 3] [--updates 300]

Each screen has two cell lines. The flow is trained on all cells of the first line, without the test pairs of the second
line. It then continues on the second line (start=), for the same number of steps as a flow from initial weights. The
table has the mean over seeds, and the number of seeds in which the pretrained flow is better. Lower is better for
energy distance and L2, higher for Pearson delta.
"""

from __future__ import annotations

import argparse
import logging

import pandas as pd
import scanpy as sc
import torch

import heldout as ho

METRICS = ("energy_distance", "l2", "pearson_delta")


def scores(seed: int, n_updates: int) -> pd.DataFrame:
    """Scores of both flows on the second cell line, one row for each."""
    screen = ho.datasets.perturbations_simulated(
        n_singles=20, n_doubles=24, n_genes=120, n_cells=40, n_contexts=2, effect_strength=2.0, rng=seed
    )
    sc.pp.normalize_total(screen, target_sum=1e4)
    sc.pp.log1p(screen)
    adata = screen[screen.obs["cell_line"] == "line2"].copy()
    ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0, test=0.5, rng=seed)
    held_out = set(adata.obs.loc[adata.obs["split"] == "test", "perturbation"]) - {"control"}
    other = screen[(screen.obs["cell_line"] == "line1") & ~screen.obs["perturbation"].isin(held_out)].copy()
    ho.pp.split_assigned(other, "cell_line", train=["line1"], test=[])
    config = ho.model.PerturbationFlowConfig(width=96, n_condition=32, n_updates=n_updates)
    ho.tl.perturbation(other, "perturbation", method="flow", config=config, key_added="first", rng=seed)
    ho.tl.perturbation(adata, method="flow", config=config, key_added="scratch", rng=seed)
    ho.tl.perturbation(
        adata, method="flow", config=config, start="first", reference=other, key_added="continued", rng=seed
    )
    rows = {}
    for key in ("scratch", "continued"):
        table = pd.DataFrame(ho.tl.evaluate(adata, key, baselines=["latent_additive"], n_bootstrap=5))
        rows[key] = table[table["method"] == "flow"].set_index("metric")["estimate"]
    rows["latent_additive"] = table[table["method"] == "latent_additive"].set_index("metric")["estimate"]
    return pd.DataFrame(rows).T[list(METRICS)].assign(seed=seed)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=300)
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("heldout").setLevel(logging.ERROR)
    found = pd.concat([scores(seed, args.updates) for seed in range(args.seeds)])
    print(found.drop(columns="seed").groupby(level=0).mean().round(3).to_string())
    wide = found.set_index("seed", append=True).unstack(0)
    for metric in METRICS:
        better = wide[metric]["continued"] < wide[metric]["scratch"]
        better = ~better if metric == "pearson_delta" else better
        print(f"{metric}: continued is better in {int(better.sum())} of {args.seeds} seeds")


if __name__ == "__main__":
    main()
