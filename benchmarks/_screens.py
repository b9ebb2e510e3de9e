"""Load or simulate screens for benchmarks, log-normalised, and split them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd

import heldout as ho

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = Path(os.environ.get("HELDOUT_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))
FILE = DATA / "norman2019" / "norman19_mcfaline23_devel.h5ad"
KEY, CONTEXT = "perturbation", "cell_type"

FEWEST_CELLS = 20
"""Contexts with fewer control or perturbed cells are left out."""


def kang() -> ad.AnnData:
    """Kang 2018: interferon beta, 2 donors × 5 cell types; 1,267 genes."""
    adata = ad.read_h5ad(DATA / "kang2018" / "kang2018_2donors_ctrl_stim.h5ad")
    adata.obs[CONTEXT] = [
        f"{donor} {cell}" for donor, cell in zip(adata.obs["donor"], adata.obs["cluster_id"], strict=True)
    ]
    return _ready(adata, adata.obs["group_id"], {"ctrl": "control", "stim": "stimulated"}, counts=True)


def kang_100_genes() -> ad.AnnData:
    """Kang 2018: interferon beta, 3 donors × 8 cell types; 100 genes."""
    adata = ad.read_h5ad(DATA / "kang2018" / "kang2018_3donors_ctrl_stim_lognorm_100genes.h5ad")
    donors = adata.obs["sample_id"].astype(str).str.split("_").str[1]
    adata.obs["donor"] = donors.to_numpy()
    adata.obs[CONTEXT] = [f"{donor} {cell}" for donor, cell in zip(donors, adata.obs["cell"], strict=True)]
    return _ready(adata, adata.obs["stim"], {"ctrl": "control", "stim": "stimulated"}, counts=False)


def zhao() -> ad.AnnData:
    """Zhao 2021: panobinostat in slices of glioblastomas of 5 patients; 300 genes."""
    adata = ad.read_h5ad(DATA / "zhao2021" / "zhao2021_5patients.h5ad")
    adata.obs[CONTEXT] = adata.obs["patient_id"].astype(str).to_numpy()
    return _ready(adata, adata.obs["condition"], {"ctrl": "control"}, counts=True)


def _ready(adata: ad.AnnData, condition: pd.Series, names: dict[str, str], *, counts: bool) -> ad.AnnData:
    """Name the controls, leave out contexts with few cells, and log-normalise counts."""
    import scanpy as sc

    adata.obs[KEY] = [names.get(name, name) for name in condition.astype(str)]
    n = adata.obs.groupby([CONTEXT, KEY], observed=True).size().unstack(fill_value=0).min(axis=1)
    adata = adata[adata.obs[CONTEXT].isin(n.index[n >= FEWEST_CELLS])].copy()
    if counts:
        sc.pp.normalize_total(adata, target_sum=1e4)
        sc.pp.log1p(adata)
    return adata


def _of_study(name: str) -> Callable[[str], ad.AnnData]:
    def load(hold_out: str) -> ad.AnnData:
        adata = ad.read_h5ad(FILE)
        return adata[adata.obs["dataset"] == name].copy()

    return load


def simulation(hold_out: str) -> ad.AnnData:
    """Simulate 100 singles, and 124 pairs or three cell lines; all cells respond."""
    options = {"n_doubles": 0, "n_contexts": 3} if hold_out == "context" else {"n_doubles": 124}
    adata = ho.datasets.perturbations_simulated(n_singles=100, n_genes=1000, n_cells=40, **options)
    return log_normalised(adata)


def responders(hold_out: str) -> ad.AnnData:
    """Simulate a screen in which half of the cells respond to each perturbed gene, independently."""
    return log_normalised(
        ho.datasets.perturbations_simulated(
            n_singles=40, n_doubles=60, n_genes=600, n_cells=120, responders=0.5, effect_strength=10
        )
    )


def responders_varied(hold_out: str) -> ad.AnnData:
    """Simulate another screen, in which 20 to 90 % of the cells respond, another share for each perturbed gene."""
    return log_normalised(
        ho.datasets.perturbations_simulated(
            n_singles=40, n_doubles=60, n_genes=600, n_cells=120, responders=(0.2, 0.9), effect_strength=10, rng=1
        )
    )


def responders_joint(hold_out: str) -> ad.AnnData:
    """Simulate a screen in which half of the cells respond, and the same cells respond to both genes of a pair."""
    return log_normalised(
        ho.datasets.perturbations_simulated(
            n_singles=40,
            n_doubles=60,
            n_genes=600,
            n_cells=120,
            responders=0.5,
            joint_response=True,
            effect_strength=10,
            rng=2,
        )
    )


def log_normalised(adata: ad.AnnData) -> ad.AnnData:
    """Log-normalise simulated counts, and name the context as in the other screens."""
    import scanpy as sc

    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    adata.obs[CONTEXT] = adata.obs["cell_line"]
    return adata


def with_vectors(adata: ad.AnnData) -> str:
    """Add vectors of the perturbed genes, the true modules of a simulation or GO and Pfam; return their key."""
    kind = "modules" if "true_embedding" in adata.varm else "go"
    if kind == "modules":
        vectors = pd.DataFrame(adata.varm["true_embedding"], index=adata.var_names)
    else:
        with np.load(DATA / "gene_sets" / "gene_vectors_go_pfam_svd64.npz", allow_pickle=False) as stored:
            vectors = pd.DataFrame(stored["vectors"].astype(np.float64), index=stored["genes"])
    ho.pp.embedding(adata, vectors, perturbation_key=KEY, key_added=kind)
    return kind


def split(adata: ad.AnnData, how: str, *, seed: int, test: float | None = None) -> None:
    """Hold out a part of the screen. val stays empty, because no method here chooses anything on it."""
    options: dict[str, Any] = {}
    if adata.obs[CONTEXT].nunique() > 1:
        options["covariate_keys"] = CONTEXT
    if how == "context" and adata.obs[KEY].nunique() > 2:
        options["max_contexts"] = 1
    ho.pp.split_perturbations(adata, KEY, hold_out=how, val=0, test=test or SHARE[how], rng=seed, **options)


SHARE = {"combination": 0.5, "single": 0.3, "context": 0.3}
"""Share of the perturbations that is held out."""

SCREENS = {"kang": kang, "kang_100_genes": kang_100_genes, "zhao": zhao}
"""Loaders of contexts by name; each returns cells with the perturbation (``control``) and the context in obs."""

LOADERS: dict[str, Callable[[str], ad.AnnData]] = {
    "norman": _of_study("norman19"),
    "mcfaline": _of_study("mcfaline23"),
    "simulation": simulation,
    "responders": responders,
    "responders_varied": responders_varied,
    "responders_joint": responders_joint,
    **{name: lambda _, load=load: load() for name, load in SCREENS.items()},
}
"""Loaders of all screens by name; their argument is what is held out."""

_PAIRS = ("norman", "simulation", "responders", "responders_varied", "responders_joint")
USUAL = {name: "combination" if name in _PAIRS else "context" for name in LOADERS}
"""What is held out by default."""


def load(name: str, how: str) -> ad.AnnData:
    """Load log-normalised cells with the perturbation and the context in obs."""
    return LOADERS[name](how)
