"""Which method finds which signal: simulated donors whose classes differ in the mean, a type, composition or variance.

    python benchmarks/genotype_simulations.py [--seeds 5] [--train 20 60] [--only mean variance ...]

Each method is fitted on the train donors of a simulation and predicts 60 new donors. The tables have the AUC and the
log-loss of donors, as mean (standard error) over simulations. The options are the defaults. ``celltype_pseudobulk``
is fitted with the true types, and with clusters instead.
"""

from __future__ import annotations

import argparse
import logging
import time

import numpy as np
from _genotype_simulations import SIGNALS, Signal, donors

import heldout as ho

N_TEST = 60
METHODS = {
    "nearest_centroid": ("nearest_centroid", True),
    "pseudobulk_logistic": ("pseudobulk_logistic", True),
    "pseudobulk_shrunken": ("pseudobulk_shrunken", True),
    "composition_logistic": ("composition_logistic", True),
    "celltype_pseudobulk": ("celltype_pseudobulk", True),
    "celltype_pseudobulk, clusters": ("celltype_pseudobulk", False),
    "mean_embedding": ("mean_embedding", True),
    "stacked": ("stacked", True),
    "auto": ("auto", True),
}
"""Method, and whether it gets the cell types, by the name in the table."""


def scores(signal: Signal, seed: int, n_train: int) -> dict[str, tuple[float, float]]:
    """AUC and log-loss of the test donors with each method."""
    adata = donors(signal, seed, n_donors=n_train + N_TEST)
    names = np.unique(adata.obs["donor"])
    ho.pp.split_assigned(adata, "donor", train=list(names[:n_train]), test=list(names[n_train:]))
    tested = adata.obs["split"] == "test"
    labels = (adata.obs.loc[tested].groupby("donor", observed=True)["label"].first() == "patient").to_numpy()
    found = {}
    for name, (method, types) in METHODS.items():
        ho.tl.genotype(
            adata,
            "label",
            method=method,
            group_key="donor",
            cell_type_key="cell_type" if types else None,
            mask_var=None,
            rng=seed,
        )
        log_p = adata.obsm["genotype_log_probability"][tested.to_numpy()].astype(float)
        of_donor = np.unique(adata.obs.loc[tested, "donor"], return_inverse=True)[1]
        means = np.stack([log_p[of_donor == number].mean(axis=0) for number in range(N_TEST)])
        means -= np.log(np.exp(means).sum(axis=1, keepdims=True))
        found[name] = ho.metrics.roc_auc(labels.astype(int), means), ho.metrics.log_loss(labels.astype(int), means)
    return found


def main() -> None:
    """Print two tables for each number of train donors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="number of simulations")
    parser.add_argument("--train", type=int, nargs="*", default=[20, 60], help="numbers of train donors")
    parser.add_argument("--only", nargs="*", choices=SIGNALS, default=SIGNALS, help="signals")
    arguments = parser.parse_args()
    logging.getLogger("heldout").setLevel(logging.ERROR)
    start = time.perf_counter()
    for n_train in arguments.train:
        table = {
            signal: [scores(signal, seed, n_train) for seed in range(arguments.seeds)] for signal in arguments.only
        }
        for position, metric in enumerate(("AUC", "log-loss")):
            print(f"\n{metric}, {n_train} train donors\n\n| method | {' | '.join(table)} |\n|---|{'---|' * len(table)}")
            for name in METHODS:
                cells = [np.array([found[name][position] for found in table[signal]]) for signal in table]
                errors = [each.std(ddof=1) / np.sqrt(len(each)) if len(each) > 1 else np.nan for each in cells]
                row = [f"{each.mean():.2f} ({error:.2f})" for each, error in zip(cells, errors, strict=True)]
                print(f"| {name} | {' | '.join(row)} |", flush=True)
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
