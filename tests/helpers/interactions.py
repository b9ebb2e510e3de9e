"""Screens with known interactions. Imported by the tests of measured and predicted interactions."""

from dataclasses import dataclass

import anndata as ad
import numpy as np


@dataclass(frozen=True)
class Known:
    """A screen and the deviations that were put in, (P × G), in the order of ``names``."""

    adata: ad.AnnData
    names: list[str]
    deviation: np.ndarray


def simulated(
    n_singles=20, n_doubles=40, n_genes=300, n_cells=30, *, share=0.05, size=0.6, noise="normal", kind="any", seed=0
):
    """Cells with normal noise about log profiles. A share of the double values deviates by about ``size``."""
    rng = np.random.default_rng(seed)
    control = rng.uniform(1.5, 4, n_genes)
    effects = rng.normal(0, 0.3, (n_singles, n_genes)) * (rng.random((n_singles, n_genes)) < 0.3)
    pairs = [(a, b) for a in range(n_singles) for b in range(a + 1, n_singles)]
    chosen = [pairs[i] for i in sorted(rng.choice(len(pairs), n_doubles, replace=False))]
    hit = rng.random((n_doubles, n_genes)) < share
    added = np.array([effects[a] + effects[b] for a, b in chosen])
    deviation = hit * rng.choice([-1, 1], hit.shape) * rng.gamma(20, size / 20, hit.shape)
    if kind == "buffering":  # as in real screens: where the members do much, together they do less than the sum
        deviation = -added * rng.uniform(0.3, 0.9, hit.shape) * (rng.random(hit.shape) < 0.4) * (np.abs(added) > 0.5)
    together = added + deviation
    singles = [f"T{a:02d}" for a in range(n_singles)]
    doubles = [f"T{a:02d}+T{b:02d}" for a, b in chosen]
    profiles = control + np.vstack([np.zeros((1, n_genes)), effects, together])
    sizes = np.array([10 * n_cells] + [n_cells] * (n_singles + n_doubles))
    of_cell = np.repeat(np.arange(len(sizes)), sizes)
    draws = rng.normal(size=(len(of_cell), n_genes))
    if noise != "normal":  # cells of one perturbation share it, as its library or guide would have them
        draws = draws + rng.standard_t(noise, (len(sizes), n_genes))[of_cell] / np.sqrt(n_cells)
    X = (profiles[of_cell] + 0.3 * draws).clip(0).astype(np.float32)
    labels = np.array(["control", *singles, *doubles])[of_cell]
    order = rng.permutation(len(of_cell))
    obs = {"guide": labels[order]}
    return Known(ad.AnnData(X[order], obs=obs), doubles, deviation)


def predicted(profiles, names, genes):
    """AnnData of predicted profiles, as the functions take them."""
    return ad.AnnData(np.asarray(profiles), obs={"perturbation": list(names)}, var={"n": range(len(genes))}).copy()
