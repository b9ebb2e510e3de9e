"""Low-rank and nearest baselines on 1,170 drug signatures without cells (LINCS L1000), and how long they take.

    python benchmarks/lincs.py [--folds 5]

Each signature is a consensus z-score of 978 genes, so there are no cells, no controls and no doses. The methods read
these signatures as changes with one cell each (:class:`Profiles`), and nothing else. The question is how well a part of
a signature predicts the rest: of each held-out drug some genes are measured, and the others are predicted

- from the mean signature of the train drugs (the template),
- from the train drugs whose measured genes are most similar, after the template is removed (``vector_knn``),
- by a lasso on the measured genes (``vector_lasso``), or by a ridge regression in components (``linear``),
- by ridge regression with effects shrunk towards the prediction (``informed_additive``).

The vector of a drug is the measured part. The same methods with shuffled vectors show what the vectors add. Drugs are
the units; the interval is over drugs.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout import metrics
from heldout.tasks.perturbation import METHODS
from heldout.tasks.perturbation.interface import Data, Profiles, Vectors
from heldout.tasks.perturbation.pairs import Pairs
from heldout.tasks.perturbation.predictions import Controls

if TYPE_CHECKING:
    from collections.abc import Sequence

DATA = Path(os.environ.get("HELDOUT_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))
FILE = DATA / "lincs" / "consensi-drugbank.tsv.gz"
NAMES = ("no_change", "mean", "latent_additive", "nearest", "vector_knn", "vector_lasso", "informed_additive")
N_MEASURED, N_VECTOR_COMPS = 100, 50


def data_of(drugs: Sequence[str], change: np.ndarray, vectors: Vectors) -> Data:
    """Signatures as the changes of drugs in one context, with one cell each; the noise of a signature is not known."""
    n, n_genes = change.shape
    profiles = Profiles(
        pairs=Pairs([(drug,) for drug in drugs], np.zeros(n, dtype=np.int64)),
        change=change,
        n_cells=np.ones(n, dtype=np.int64),
        control=np.zeros((1, n_genes)),
        half_difference=lambda: np.full(change.shape, np.nan),
    )

    def no_cells() -> Any:
        msg = "Signatures have no cells."
        raise TypeError(msg)

    return Data(np.arange(n_genes).astype(str).astype(object), profiles, no_cells, target_vectors=vectors)


def components(values: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Coordinates of all drugs in the leading components of the train drugs, (n × K)."""
    centred = values - values[train].mean(axis=0)
    _, _, Vt = np.linalg.svd(centred[train], full_matrices=False)
    return np.asarray(centred @ Vt[:N_VECTOR_COMPS].T)


def options_of(name: str) -> Any:
    """Default options; ten neighbours for ``nearest``."""
    config = METHODS[name].check_config(None)
    return type(config)(n_neighbors=10) if name == "nearest" else config


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folds", type=int, default=5, help="folds of drugs")
    arguments = parser.parse_args()
    table = pd.read_csv(FILE, sep="\t", index_col=0)
    drugs, values = table.index.astype(str).to_numpy(), table.to_numpy(dtype=np.float64)
    rng = np.random.default_rng(0)
    genes = rng.permutation(values.shape[1])
    measured, asked = genes[:N_MEASURED], genes[N_MEASURED:]
    fold = rng.permutation(np.arange(len(drugs)) % arguments.folds)
    rows: list[dict[str, Any]] = []
    for number in range(arguments.folds):
        train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        vectors = components(values[:, measured], train)
        for name in NAMES:
            for shuffled in (False, True):
                if shuffled and name in ("no_change", "mean", "latent_additive"):
                    continue
                order = rng.permutation(len(drugs)) if shuffled else np.arange(len(drugs))
                data = data_of(
                    drugs[train], values[np.ix_(train, asked)], Vectors(drugs.astype(object), vectors[order])
                )
                method = METHODS.implementation(name)
                start = time.perf_counter()
                fitted = method.fit(data, options_of(name), seed=0)
                pairs = Pairs([(drug,) for drug in drugs[test]], np.zeros(len(test), dtype=np.int64))
                controls = Controls.without_cells(np.zeros((1, len(asked))))
                change = method.predict(fitted, pairs, controls, seed=0).change
                seconds = time.perf_counter() - start
                truth = values[np.ix_(test, asked)]
                found = {
                    "rmse": metrics.profile_rmse(truth, change),
                    "pearson": metrics.pearson_delta(truth, change, np.zeros_like(truth)),
                    "rank": metrics.perturbation_rank(truth, change),
                }
                label = f"{name} (shuffled)" if shuffled else name
                rows += [
                    {"method": label, "drug": drugs[i], "seconds": seconds, **{k: v[j] for k, v in found.items()}}
                    for j, i in enumerate(test)
                ]
    scores = pd.DataFrame(rows)
    shown = scores.groupby("method", sort=False)[["rmse", "pearson", "rank", "seconds"]].mean()
    best = scores.pivot_table(index="drug", columns="method", values="rmse")
    for name in shown.index:
        gain = (best["mean"] - best[name]).to_numpy()
        draws = gain[np.random.default_rng(1).integers(len(gain), size=(1000, len(gain)))].mean(axis=1)
        low, high = np.percentile(draws, [2.5, 97.5])
        shown.loc[name, "rmse below mean"] = f"{gain.mean():+.3f} ({low:+.3f} to {high:+.3f})"
    print(f"{len(drugs)} drugs × {values.shape[1]} genes, {N_MEASURED} measured, {arguments.folds} folds of drugs\n")
    print(shown.round(3).to_string())


if __name__ == "__main__":
    main()
