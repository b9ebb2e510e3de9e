"""Options of the flow on a simulation in which half of the cells respond, next to simple methods.

    python benchmarks/flow_options.py [--seed 0] [--updates 600] [--width 192]

30 singles, 40 pairs, 250 genes, 60 cells of each; half of the pairs are held out. Lower is better for energy distance
and L2, higher for Pearson delta.
"""

from __future__ import annotations

import argparse
import logging

import pandas as pd
import scanpy as sc
import torch

import heldout as ho

OPTIONS = {
    "matched": {},
    "noise": {"source": "noise"},
    "x-prediction": {"prediction": "x"},
    "control": {"source": "control"},
    "composed": {"source": "composed"},
}


def main() -> None:
    """Print a row for each option and simple method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--updates", type=int, default=600)
    parser.add_argument("--width", type=int, default=192)
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("heldout").setLevel(logging.ERROR)
    adata = ho.datasets.perturbations_simulated(
        n_singles=30,
        n_doubles=40,
        n_genes=250,
        n_cells=60,
        effect_strength=2.0,
        responders=0.5,
        rng=args.seed + 100,
    )
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0.1, test=0.5, rng=args.seed)
    runs = {name: (name, None) for name in ("latent_additive", "moved_cells")}
    for name, options in OPTIONS.items():
        runs[name] = (
            "flow",
            ho.model.PerturbationFlowConfig(width=args.width, n_updates=args.updates, **options),
        )
    for name, (method, config) in runs.items():
        ho.tl.perturbation(adata, method=method, config=config, key_added=name, rng=args.seed)
        table = pd.DataFrame(ho.tl.evaluate(adata, name, baselines=[], n_bootstrap=5))
        row = table[table["method"] == method].set_index("metric")["estimate"]
        shown = [f"{metric} {row[metric]:.3f}" for metric in ("energy_distance", "l2", "pearson_delta")]
        print(f"{name:16}", "  ".join(shown), flush=True)


if __name__ == "__main__":
    main()
