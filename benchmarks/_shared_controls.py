"""The effect of counting the true and the predicted change from the same control cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from _screens import KEY

import heldout as ho

if TYPE_CHECKING:
    import anndata as ad


def controls(adata: ad.AnnData, *, draws: int = 200, rng: int = 0) -> pd.DataFrame:
    """Compute the Pearson delta of the additive baseline for each measured pair, for several choices of controls.

    A pair is measured if both members were measured alone. The table has three columns: all controls on both sides; the
    same half of the controls on both sides; and the true change counted from one half and the predicted change from the
    other half. The last two differ by the effect of shared controls. Further columns give the same for the sums of
    members of other pairs, which are unrelated to the pair. Values above zero there come from effects that all
    perturbations share, or from the noise of the controls.
    """
    X = np.asarray(adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X, dtype=np.float64)
    names = adata.obs[KEY].astype(str).to_numpy()
    mean = {name: X[names == name].mean(axis=0) for name in np.unique(names)}
    pairs = [name for name in mean if "+" in name and all(member in mean for member in name.split("+"))]
    cells, start = X[names == "control"], mean["control"]
    generator = np.random.default_rng(rng)
    halves = [np.array_split(generator.permutation(len(cells)), 2) for _ in range(draws)]
    halves = [(cells[a].mean(axis=0), cells[b].mean(axis=0)) for a, b in halves]

    def delta(truth: str, pair: str, true_start: np.ndarray, start: np.ndarray) -> float:
        a, b = pair.split("+")
        predicted = mean[a] + mean[b] - start
        return float(ho.metrics.pearson_delta(mean[truth], predicted, true_start, prediction_start=start))

    rows = []
    for pair in pairs:
        a, b = pair.split("+")
        others = [name for name in pairs if not {a, b} & set(name.split("+"))]
        disjoint = [delta(pair, pair, *half) for half in halves]
        row = {"pair": pair, "all controls": delta(pair, pair, start, start)}
        row["same half"] = np.mean([delta(pair, pair, half[0], half[0]) for half in halves])
        row["disjoint halves"] = np.mean(disjoint)
        row["low"], row["high"] = np.percentile(disjoint, [2.5, 97.5])
        row["other pairs, same half"] = np.mean(
            [delta(pair, other, half[0], half[0]) for other in others for half in halves]
        )
        row["other pairs, disjoint"] = np.mean([delta(pair, other, *half) for other in others for half in halves])
        row["l2 additive"] = float(ho.metrics.profile_l2(mean[pair], mean[a] + mean[b] - start))
        row["l2 no change"] = float(ho.metrics.profile_l2(mean[pair], start))
        rows.append(row)
    return pd.DataFrame(rows).set_index("pair")
