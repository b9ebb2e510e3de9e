"""Networks that start from control cells, with one option changed, on a simulation in which half of the cells respond.

    python benchmarks/control_networks.py                      # all rows
    python benchmarks/control_networks.py --rows decoded moved

Each row is one fit. The columns are means over 30 test pairs: distance and correlation of the mean change, energy
distance of 60 predicted to the measured cells in 50 components of the train cells, and log ratio of their variances.
The default options of the networks were chosen on this simulation (``--rng 11``) and on ``--rng 5 --responders 0.2
0.9``, so its numbers are no test of them.
"""

from __future__ import annotations

import argparse
import logging

import numpy as np
import pandas as pd
import scanpy as sc

import heldout as ho
from heldout._core.partition import read_partition
from heldout.metrics import energy_distance
from heldout.tasks.perturbation.task import Task, predict

ROWS = {
    "no_change": ("no_change", None),
    "latent_additive": ("latent_additive", None),
    "moved_cells": ("moved_cells", None),
    "moved": ("latent_additive_network", ho.model.LatentAdditiveNetworkConfig()),
    "decoded": ("latent_additive_network", ho.model.LatentAdditiveNetworkConfig(cells="decoded")),
    "adversary": ("compositional", ho.model.CompositionalConfig()),
    "no_adversary": ("compositional", ho.model.CompositionalConfig(adversary=0.0)),
    "mmd": ("set_transport", ho.model.SetTransportConfig()),
    "energy": ("set_transport", ho.model.SetTransportConfig(loss="energy")),
}


def screen(rng: int, responders: float | tuple[float, float], n_cells: int) -> Task:
    """Simulate 40 singles and 60 pairs × 300 genes, and hold out half of the pairs."""
    adata = ho.datasets.perturbations_simulated(
        n_singles=40,
        n_doubles=60,
        n_genes=300,
        n_cells=n_cells,
        responders=responders,
        effect_strength=10,
        rng=rng,
    )
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0, test=0.5, rng=rng)
    return Task.of(adata, read_partition(adata, "split"))


def score(task: Task, method: str, config: object) -> dict[str, float]:
    """Fit and compare with the measured cells of the test pairs."""
    fit = task.fit(method, config)
    test, control = task.observed("test"), fit.arrays["control"][0]
    prediction = predict(fit, test.pairs, task.controls(fit.arrays["control"]))
    of_cell, in_test = task.screen.of_cell, task.partition.mask("test")
    train = task.cells.dense(task.partition.rows("train"))
    components = np.linalg.svd(train - train.mean(axis=0), full_matrices=False)[2][:50].T
    rows = []
    for i, number in enumerate(test.number):
        cells = prediction.cells(i, 200, np.random.default_rng(i))
        truth = task.cells.dense(np.flatnonzero(in_test & (of_cell == number)))
        change = cells.mean(axis=0) - control
        rows.append(
            {
                "L2": np.linalg.norm(cells.mean(axis=0) - test.mean[i]),
                "Pearson delta": np.corrcoef(change, test.change[i])[0, 1],
                "energy distance": energy_distance(truth @ components, cells[: len(truth)] @ components),
                "log variance ratio": np.log(cells.var(axis=0).sum() / truth.var(axis=0).sum()),
            }
        )
    return pd.DataFrame(rows).mean().to_dict()


def main() -> None:
    """Print one row for each fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="default: all")
    parser.add_argument("--rng", type=int, default=11, help="seed of the simulation and of the split")
    parser.add_argument("--responders", type=float, nargs="+", default=[0.5], help="share, or lowest and highest share")
    parser.add_argument("--cells", type=int, default=60, help="cells of each perturbation")
    arguments = parser.parse_args()
    logging.getLogger("heldout").setLevel(logging.ERROR)
    shares = arguments.responders
    task = screen(arguments.rng, shares[0] if len(shares) == 1 else (shares[0], shares[1]), arguments.cells)
    for name in arguments.rows:
        print(
            f"{name:20s}", {key: round(float(value), 3) for key, value in score(task, *ROWS[name]).items()}, flush=True
        )


if __name__ == "__main__":
    main()
