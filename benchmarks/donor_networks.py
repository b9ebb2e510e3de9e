"""Networks on simulated donors: AUC and log-loss of new donors with the present options, and with earlier ones.

    python benchmarks/donor_networks.py [--seeds 5] [--train 24] [--only mean ...] [--networks NAME ...]

Each network is fitted on the train donors of a simulation and predicts 60 new donors. There is no val. The present
options train one network without each of three inner folds over the groups of train, stop on its log-loss, draw groups
with equal weight, and have a weight decay and a temperature. The earlier options have none of these, are wider, and
train for 40 epochs. The tables have mean (standard error) over simulations, and the processor time of a fit.
"""

from __future__ import annotations

import argparse
import logging
import time

import numpy as np
from _genotype_simulations import SIGNALS, Signal, donors

import heldout as ho
from heldout.tasks.genotype import METHODS
from heldout.tasks.genotype.interface import Data
from heldout.tasks.genotype.rows import predict_groups

N_TEST = 60
EARLIER = {"balanced": False, "weight_decay": 0.0, "n_inner_folds": 0, "calibrated": False}
MLP, Attention = ho.model.MLPConfig, ho.model.AttentionConfig
NETWORKS = {
    "mlp, earlier": ("mlp", MLP(n_hidden=512, **EARLIER)),
    "mlp": ("mlp", MLP()),
    "attention, earlier": ("attention", Attention(lr=1e-3, **EARLIER)),
    "attention": ("attention", Attention()),
    "pseudobulk_logistic": ("pseudobulk_logistic", None),
}
"""Method and options by the name in the table."""


def data_of(signal: Signal, seed: int, n_train: int, n_genes: int) -> Data:
    """Cells of simulated donors; the first ``n_train`` donors are train, and the others are in no partition."""
    adata = donors(signal, seed, n_donors=n_train + N_TEST, n_genes=n_genes)
    groups = np.unique(adata.obs["donor"], return_inverse=True)[1]
    labels = (adata.obs["label"] == "patient").to_numpy().astype(int)
    return Data(adata.X, labels, 2, np.flatnonzero(groups < n_train), np.arange(0), groups=groups)


def scores(data: Data, method: str, config: object, seed: int) -> tuple[float, float, float]:
    """AUC and log-loss of the new donors, and the processor time of the fit."""
    implementation = METHODS.implementation(method)
    start = time.process_time()
    fitted = implementation.fit(data, METHODS[method].check_config(config), seed=seed)
    used = time.process_time() - start
    assert data.groups is not None
    rows = np.setdiff1d(np.arange(len(data.labels)), data.train)
    _, first, number = np.unique(data.groups[rows], return_index=True, return_inverse=True)
    log_p = predict_groups(implementation, fitted, data.X[rows], number)
    labels = data.labels[rows][first]
    return ho.metrics.roc_auc(labels, log_p), ho.metrics.log_loss(labels, log_p), used


def main() -> None:
    """Print a table for each number of train donors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="number of simulations")
    parser.add_argument("--train", type=int, nargs="*", default=[24], help="numbers of train donors")
    parser.add_argument("--genes", type=int, default=200, help="number of genes, of which ten differ")
    parser.add_argument("--only", nargs="*", choices=SIGNALS, default=SIGNALS, help="signals")
    parser.add_argument("--networks", nargs="*", choices=list(NETWORKS), default=list(NETWORKS))
    arguments = parser.parse_args()
    logging.getLogger("heldout").setLevel(logging.ERROR)
    for n_train in arguments.train:
        print(f"\n{n_train} train donors; AUC, log-loss\n")
        print(f"| method | {' | '.join(arguments.only)} | s |\n|---|{'---|' * (len(arguments.only) + 1)}", flush=True)
        found: dict[str, list[np.ndarray]] = {name: [] for name in arguments.networks}
        for signal in arguments.only:
            datas = [data_of(signal, seed, n_train, arguments.genes) for seed in range(arguments.seeds)]
            for name in arguments.networks:
                each = [scores(data, *NETWORKS[name], seed) for seed, data in enumerate(datas)]
                found[name].append(np.array(each))
        for name, tables in found.items():
            errors = [table.std(axis=0, ddof=1) / np.sqrt(len(table)) for table in tables]
            cells = [
                f"{auc:.2f} ({auc_error:.2f}), {loss:.2f} ({loss_error:.2f})"
                for (auc, loss, _), (auc_error, loss_error, _) in zip(
                    [t.mean(axis=0) for t in tables], errors, strict=True
                )
            ]
            seconds = np.concatenate(tables)[:, 2].mean()
            print(f"| {name} | {' | '.join(cells)} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
